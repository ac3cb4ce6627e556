"""accumulation="qr": the triangular factor of the rows in place of their sums.

The oracle solves in exact rational arithmetic (`fractions`), on the numbers that are given.
"""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import rigidities as rg
from rigidities import _core

EPS = np.finfo(float).eps


def exact_fit(F, y, w, regularizer, penalty):
    """θ = (Σ w f fᵀ + λΛ)⁻¹ Σ w f y, Λ a diagonal, and S = Σ w y² − θᵀb, without rounding."""
    rows, targets, weights = ([[Fraction(x) for x in row] for row in np.atleast_2d(a).tolist()] for a in (F, y, w))
    p, n = F.shape[1], len(F)
    system = []
    for a in range(p):
        scaled = [weights[0][i] * rows[i][a] for i in range(n)]
        line = [sum(scaled[i] * rows[i][b] for i in range(n)) for b in range(p)]
        line[a] += Fraction(float(regularizer)) * Fraction(float(penalty[a]))
        system.append([*line, sum(scaled[i] * targets[0][i] for i in range(n))])
    for k in range(p):
        for line in system[k + 1 :]:
            factor = line[k] / system[k][k]
            line[k:] = [x - factor * y for x, y in zip(line[k:], system[k][k:], strict=True)]
    solution = [Fraction(0)] * p
    for k in reversed(range(p)):
        known = sum(system[k][c] * solution[c] for c in range(k + 1, p))
        solution[k] = (system[k][p] - known) / system[k][k]
    b = [sum(weights[0][i] * rows[i][a] * targets[0][i] for i in range(n)) for a in range(p)]
    squares = sum(weights[0][i] * targets[0][i] ** 2 for i in range(n))
    left = squares - sum(x * y for x, y in zip(solution, b, strict=True))
    return np.array([float(x) for x in solution]), float(left)


def problem(n, p, k=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), rng.normal(size=(n, k)), rng.uniform(0.5, 2, n)


def accumulated(F, y=None, w=None, accumulation="qr", sizes=(10**9,)):
    """Accumulate rows in batches of these sizes, over and over."""
    covariance = rg.Covariance(F.shape[1], accumulation=accumulation)
    start, i = 0, 0
    while start < len(F):
        part = slice(start, start + sizes[i % len(sizes)])
        covariance.update(F[part], targets=None if y is None else y[part], weights=None if w is None else w[part])
        start, i = part.stop, i + 1
    return covariance


def ill_conditioned(n=40, p=12, seed=1):
    """Rows of condition 1e14 that no scaling of columns improves, and targets with little noise."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.normal(size=shape))[0] for shape in ((n, p), (p, p)))
    F = U * np.logspace(0, -14, p) @ V.T
    return F, F @ rng.normal(size=p) + 1e-8 * rng.normal(size=n), rng.uniform(0.5, 2, n)


@pytest.mark.parametrize("regularizer", [1e-12, 1e-15, 1e-18])
def test_rows_of_condition_1e14_have_the_exact_weights(regularizer):
    """Weights are known to u·cond([F; √λ]) ≈ 1e-16/√λ; sums lose all digits from λ = 1e-16 on."""
    F, y, w = ill_conditioned()
    expected, _ = exact_fit(F, y, w, regularizer, np.ones(F.shape[1]))
    coef = accumulated(F, y, w).factorize(regularizer).coef
    assert np.linalg.norm(coef - expected) < 1e-6 * np.linalg.norm(expected)
    if regularizer < 1e-17:
        with pytest.raises(rg.NotPositiveDefiniteError):
            accumulated(F, y, w, "sums").factorize(regularizer)


@pytest.mark.filterwarnings("ignore::rigidities.IllConditionedWarning")
def test_columns_of_unlike_units_are_harmless_without_a_regularizer():
    rng = np.random.default_rng(2)
    units = np.logspace(0, -14, 12)
    F, y, w = rng.normal(size=(40, 12)) * units, rng.normal(size=40), rng.uniform(0.5, 2, 40)
    expected, _ = exact_fit(F, y, w, 0.0, units)
    np.testing.assert_allclose(accumulated(F, y, w).factorize(0.0).coef, expected, rtol=1e-12)


def test_the_residual_is_no_difference():
    """S at λ = 1e-28: the noise of the targets, eight orders below their size.

    Rounding changes √S by u(√Σwy² + ‖F‖‖θ‖), and ‖θ‖ is 1e6 here.
    """
    F, y, w = ill_conditioned()
    S = accumulated(F, y, w).factorize(1e-28)._core.unexplained()
    np.testing.assert_allclose(S, exact_fit(F, y, w, 1e-28, np.ones(12))[1], rtol=1e-3)
    assert S[0] < 1e-14 * (w @ y**2)


def matrix_penalty(p, rank, seed=3):
    A = np.random.default_rng(seed).normal(size=(p, rank))
    return A @ A.T


@pytest.mark.parametrize(("n", "p", "k"), [(1, 1, 1), (10, 3, 1), (1000, 30, 2), (700, 300, 1), (100, 200, 3)])
@pytest.mark.parametrize("penalty", [None, "diagonal", "matrix", "singular"])
def test_the_textbook(n, p, k, penalty):
    F, y, w = problem(n, p, k)
    Lambda = {
        None: np.eye(p),
        "diagonal": np.diag(np.random.default_rng(4).uniform(0.5, 2, p)),
        "matrix": matrix_penalty(p, p + 3),
        "singular": matrix_penalty(p, max(p - 2, 1)) if n > p else matrix_penalty(p, p + 1),
    }[penalty]
    given_as = None if penalty is None else np.diagonal(Lambda) if penalty == "diagonal" else Lambda
    covariance = accumulated(F, y, w)
    C, b = F.T * w @ F, F.T * w @ y
    np.testing.assert_allclose(covariance.matrix(), C, atol=1e-12 * n)
    np.testing.assert_allclose(covariance.moments().cross, b, atol=1e-12 * n)
    np.testing.assert_allclose(covariance.trace, np.trace(C), rtol=1e-12)
    H = C + 0.1 * Lambda
    hessian = covariance.factorize(0.1, penalty=given_as)
    tolerance = 1e2 * p * EPS * np.linalg.cond(H)
    theta = np.linalg.solve(H, b)
    np.testing.assert_allclose(hessian.coef.reshape(p, k), theta, atol=tolerance * np.abs(theta).max())
    np.testing.assert_allclose(
        hessian.variance(F[:9]), np.sum(F[:9].T * np.linalg.solve(H, F[:9].T), axis=0), rtol=tolerance
    )
    np.testing.assert_allclose(hessian.log_determinant, np.linalg.slogdet(H)[1], atol=p * tolerance)
    np.testing.assert_allclose(hessian.effective_dimension, np.trace(np.linalg.solve(H, C)), rtol=p * tolerance)
    S = w @ y**2 - np.sum(theta * b, axis=0)
    np.testing.assert_allclose(hessian._core.unexplained(), S, atol=tolerance * np.max(w @ y**2))
    assert (hessian._core.diagonal() > 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 150), st.integers(1, 900), st.lists(st.integers(1, 600), min_size=1, max_size=4))
def test_batches_change_no_bit(p, n, sizes):
    F, y, w = problem(n, p, 2, seed=p)
    whole, parts = accumulated(F, y, w), accumulated(F, y, w, sizes=sizes)
    for a, b in zip(whole._core.row_factor(), parts._core.row_factor(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.factorize(1.0).coef, parts.factorize(1.0).coef)


def test_threads_change_no_bit():
    F, y, w = problem(900, 333, 2)
    before, factors = rg.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3, 8):
            rg.set_num_threads(n_threads)
            hessian = accumulated(F, y, w).factorize(1e-3)
            factors.append(np.append(hessian._core.diagonal(), hessian.coef))
    finally:
        rg.set_num_threads(before)
    assert all((factor == factors[0]).all() for factor in factors)


@pytest.mark.parametrize("n", [3, 300, 1100])
def test_merging_scaling_and_copies(n):
    F, y, w = problem(2 * n, 40, 2)
    whole = accumulated(F, y, w).factorize(0.5)
    halves = [accumulated(F[part], y[part], w[part]) for part in (slice(n), slice(n, None))]
    kept = pickle.dumps(halves[0].__getstate__())
    for total in (halves[0] + halves[1], sum(halves), halves[1] + halves[0]):
        np.testing.assert_allclose(total.factorize(0.5).coef, whole.coef, rtol=1e-9, atol=1e-12)
        assert (total.n_rows, total.accumulation) == (2 * n, "qr")
    assert pickle.dumps(halves[0].__getstate__()) == kept
    heavier = 3 * (halves[0] + halves[1])
    np.testing.assert_allclose(heavier.factorize(1.5).coef, whole.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(heavier.moments().squares, 3 * (w @ y**2), rtol=1e-13)
    assert (0 * heavier).trace == 0
    for again in (copy.deepcopy(halves[0]), 1 * halves[0], pickle.loads(pickle.dumps(halves[0]))):
        again.update(F, targets=y)
        other = halves[0].copy()
        other.update(F, targets=y)
        np.testing.assert_array_equal(again.factorize(1.0).coef, other.factorize(1.0).coef)
    halves[0] += halves[1]
    np.testing.assert_allclose(halves[0].factorize(0.5).coef, whole.coef, rtol=1e-9, atol=1e-12)


def test_merging_into_an_empty_one():
    F, y, w = problem(300, 5, 2)
    filled, empty = accumulated(F, y, w), rg.Covariance(5, accumulation="qr")
    np.testing.assert_allclose((empty + filled).matrix(), filled.matrix(), rtol=1e-13, atol=1e-12)
    np.testing.assert_array_equal((filled + empty).matrix(), filled.matrix())


def test_files(tmp_path):
    F, y, w = problem(300, 20, 2)
    covariance = accumulated(F, y, w)
    covariance.save(tmp_path / "c")
    hessian = covariance.factorize(1e-9)
    hessian.save(tmp_path / "h")
    found = rg.Covariance.load(tmp_path / "c")
    assert found.accumulation == "qr"
    np.testing.assert_array_equal(found.factorize(1e-9).coef, hessian.coef)
    again = rg.Hessian.load(tmp_path / "h")
    np.testing.assert_array_equal(again.coef, hessian.coef)
    np.testing.assert_array_equal(again.variance(F), hessian.variance(F))


def test_consuming_uses_the_same_memory_and_bits():
    F, y, w = problem(300, 20, 2)
    covariance = accumulated(F, y, w)
    expected = covariance.factorize(0.3)
    state = pickle.dumps(covariance.__getstate__())
    rank_one = accumulated(np.ones((300, 20)), y)
    with pytest.raises(rg.NotPositiveDefiniteError):
        rank_one.factorize(0.0, consume=True)
    assert rank_one.n_rows == 300
    np.testing.assert_allclose(rank_one.matrix(), np.full((20, 20), 300.0), rtol=1e-13)
    assert pickle.dumps(covariance.__getstate__()) == state
    np.testing.assert_array_equal(covariance.factorize(0.3, consume=True).coef, expected.coef)
    with pytest.raises(ValueError, match="consumed"):
        covariance.factorize(0.3)


def test_a_refused_batch_changes_nothing():
    F, y, w = problem(2000, 30)
    covariance = accumulated(F, y, w)
    state = pickle.dumps(covariance.__getstate__())
    F[1900, 3] = np.nan
    with pytest.raises(ValueError, match=r"features\[1900, 3\] is NaN"):
        covariance.update(F, targets=y, weights=w)
    assert pickle.dumps(covariance.__getstate__()) == state
    fresh = rg.Covariance(30, accumulation="qr")
    with pytest.raises(ValueError, match="NaN"):
        fresh.update(F, targets=np.hstack([y, y]))
    fresh.update(F[:5], targets=y[:5])
    assert fresh.n_rows == 5


def test_the_guaranteed_regularizer_is_that_of_the_square():
    F, _, _ = problem(500, 10)
    F[:, 9] = F[:, 0] + F[:, 1]
    covariance = accumulated(F)
    hessian = covariance.factorize("auto")
    np.testing.assert_allclose(hessian.regularizer, 2 * 11 * (EPS / 2) ** 2 * covariance.trace, rtol=1e-10)
    with pytest.raises(rg.NotPositiveDefiniteError, match="pivot 9 of 10") as caught:
        covariance.factorize(0.0)
    assert caught.value.pivot == 9


def test_a_warning_where_no_digit_is_left():
    F = np.random.default_rng(0).normal(size=(200, 100))
    F[:, 99] = F[:, 0] + 4e-15 * F[:, 99]
    with pytest.warns(rg.IllConditionedWarning, match="regularizer 0"):
        accumulated(F).factorize(0.0)


def test_groups_and_single_precision_rows():
    rng = np.random.default_rng(6)
    X, groups = rng.normal(size=(900, 7)).astype(np.float32), rng.integers(0, 280, 900)
    covariances = [rg.Covariance(7, accumulation=accumulation) for accumulation in ("qr", "sums")]
    for covariance in covariances:
        covariance.update(X, groups=groups, reduction="sum")
    np.testing.assert_allclose(covariances[0].matrix(), covariances[1].matrix(), rtol=1e-12, atol=1e-10)


def test_refusals():
    with pytest.raises(ValueError, match='accumulation is "QR": expected "sums" or "qr"'):
        rg.Covariance(2, accumulation="QR")
    with pytest.raises(TypeError, match="accumulation is None"):
        rg.Covariance(2, accumulation=None)
    with pytest.raises(ValueError, match='"qr" is in float64, but precision is "float32"'):
        rg.Covariance(2, accumulation="qr", precision="float32")
    with pytest.raises(ValueError, match="expected precision"):
        _core.Covariance(2, "float32", "qr")
    F, y, _ = problem(300, 4)
    for mine, theirs in (("qr", "sums"), ("sums", "qr")):
        one, other = accumulated(F, y, accumulation=mine), accumulated(F, y, accumulation=theirs)
        before = one.matrix()
        with pytest.raises(ValueError, match=r"Accumulate both with the same accumulation=\.\.\."):
            one.merge(other)
        np.testing.assert_array_equal(one.matrix(), before)


@pytest.mark.parametrize(("value", "message"), [(-1.0, "numbers from 0"), (np.nan, "numbers from 0")])
def test_damaged_states(value, message):
    state = accumulated(*problem(300, 4)).__getstate__()
    with pytest.raises(ValueError, match=message):
        rg.Covariance(4).__setstate__(state | {"unexplained": np.array([value])})
    with pytest.raises(ValueError, match="unexplained squares has 2 entries"):
        rg.Covariance(4).__setstate__(state | {"unexplained": np.ones(2)})


def test_the_factor_is_that_of_a_qr_decomposition():
    F, y, w = problem(700, 90, 2)
    lower, z, unexplained = accumulated(F, y, w)._core.row_factor()
    root = np.sqrt(w)[:, None]
    R = scipy.linalg.qr(np.hstack([root * F, root * y]), mode="r")[0]
    signs = np.sign(np.diagonal(R)[:90] * np.diagonal(lower))
    np.testing.assert_allclose(lower.T, signs[:, None] * R[:90, :90], atol=1e-12)
    np.testing.assert_allclose(z, signs[:, None] * R[:90, 90:], atol=1e-12)
    np.testing.assert_allclose(unexplained, np.sum(R[90:92, 90:] ** 2, axis=0), rtol=1e-12)
