"""Shares of training targets in variances against their definition, and removal against refitting."""

import tracemalloc

import factors
import numpy as np
import pytest
import reference
from factors import FORMS
from hypothesis import given
from problems import P, data, penalties, problem, summed
from strategies import problems, tolerance

import rigidities as rg
from rigidities.planning import attribution as module
from rigidities.planning import removal

LAM = 1e-2


def setting(k=None, n=50, p=8, seed=0):
    F, y, w = data(n, p, k, seed=seed)
    X = data(9, p, seed=seed + 7)[0]
    return X, F, y, w, summed(F, y, w).factorize(LAM)


def dense_shares(H, X, F, w):
    """w (gᵀH⁻¹f)²/v"""
    return w * (X @ np.linalg.solve(H, F.T)) ** 2 / reference.variance(H, X)[:, None]


def fitted(F, y, w, penalty=None):
    """H and θ."""
    H = reference.hessian(reference.covariance(F, weights=w), LAM, penalty)
    return H, np.linalg.solve(H, F.T @ (w * y.T).T)


def by_label(shares, blocks):
    return np.stack([shares[:, blocks == label].sum(axis=1) for label in np.unique(blocks)], axis=1)


# Shares -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("at_once", [1024, 7])
def test_shares_are_their_definition(in_blocks, at_once, monkeypatch):
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(module, "PREDICTIONS_AT_ONCE", 4)
    X, F, y, w, hessian = setting()
    H = fitted(F, y, w)[0]
    expected = dense_shares(H, X, F, w)
    blocks = np.random.default_rng(1).integers(-3, 12, 50)
    found = rg.attribution(hessian, X, F, weights=w, blocks=blocks if in_blocks else None)
    np.testing.assert_allclose(found.shares, by_label(expected, blocks) if in_blocks else expected, atol=1e-12)
    np.testing.assert_allclose(found.prior, hessian.prior_share(X), rtol=1e-10)
    np.testing.assert_allclose(found.variances, hessian.variance(X), rtol=1e-12)
    np.testing.assert_array_equal(found.labels, np.unique(blocks) if in_blocks else np.arange(50))
    assert found.pulls is None
    assert found.indices is None


@given(problems())
def test_shares_and_prior_sum_to_one(problem):
    F = reference.reduce_rows(problem.X, problem.groups)
    hessian = summed(F, None, problem.weights).factorize(problem.regularizer)
    found = rg.attribution(hessian, problem.G, F, weights=problem.weights)
    rtol = tolerance(problem)
    assert (found.shares >= 0).all()
    np.testing.assert_allclose(found.shares.sum(axis=1) + found.prior, 1, rtol=0, atol=rtol)
    H = reference.hessian(reference.covariance(F, weights=problem.weights), problem.regularizer)
    np.testing.assert_allclose(found.shares, dense_shares(H, problem.G, F, problem.weights), rtol=0, atol=rtol)
    one = rg.attribution(hessian, problem.G, F, weights=problem.weights, blocks=np.zeros(len(F), dtype=int))
    np.testing.assert_allclose(one.shares[:, 0], 1 - found.prior, rtol=0, atol=rtol)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "eigenvectors"])
def test_of_every_form(form):
    made = factors.made(form)
    F = problem(n=made.hessian.n_rows)[0]
    X = problem(n=6, seed=4)[0]
    found = rg.attribution(made.hessian, X, F)
    expected = (X @ made.inverse @ F.T) ** 2 / np.einsum("ij,jk,ik->i", X, made.inverse, X)[:, None]
    np.testing.assert_allclose(found.shares, expected, rtol=0, atol=made.rtol)
    np.testing.assert_allclose(found.shares.sum(axis=1) + found.prior, 1, rtol=0, atol=made.rtol)


@pytest.mark.parametrize("name", penalties(8))
def test_of_every_penalty(name):
    X, F, y, w, _ = setting()
    penalty = penalties(8)[name]
    hessian = summed(F, y, w).factorize(LAM, penalty=penalty)
    H, _ = fitted(F, y, w, penalty)
    found = rg.attribution(hessian, X, F, weights=w)
    np.testing.assert_allclose(found.shares, dense_shares(H, X, F, w), rtol=0, atol=1e-7 if name == "single" else 1e-11)


def test_sums_in_float32():
    F = problem(n=3000)[0].astype(np.float32)
    covariance = rg.Covariance(P, precision="float32")
    covariance.update(F)
    found = rg.attribution(covariance.factorize(), problem(n=20, seed=3)[0], F)
    np.testing.assert_allclose(found.shares.sum(axis=1) + found.prior, 1, rtol=0, atol=1e-6)


def test_sums_in_float32_of_nearly_dependent_features():
    """Rounding of the sums by a part of 1e-7 is larger than what holds one direction: said, not refused."""
    rng = np.random.default_rng(4)
    F = rng.normal(size=(40, 3)).astype(np.float32)
    F[:, 2] = F[:, 1] + 1e-4 * F[:, 0] + 3e-4 * rng.normal(size=40)
    covariance = rg.Covariance(3, precision="float32")
    covariance.update(F)
    with pytest.warns(rg.IllConditionedWarning, match="rounding of H leaves no more digits"):
        rg.attribution(covariance.factorize(1e-9), [[0.0, 1.0, -1.0]], F)
    with pytest.raises(ValueError, match="not to 1"):
        rg.attribution(covariance.factorize(1.0), [[1.0, 1.0, 0.0]], F[20:])


def test_rows_with_labels():
    X, F, y, w, hessian = setting()
    plain = rg.attribution(hessian, X, F, y=y, weights=w)
    atoms, parts = rg.Rows(np.repeat(F, 2, axis=0), np.repeat(np.arange(50), 2)), np.repeat(X, 3, axis=0)
    labelled = rg.attribution(hessian, rg.Rows(parts, np.repeat(np.arange(9), 3)), atoms, y=y, weights=w)
    np.testing.assert_allclose(labelled.shares, plain.shares, atol=1e-13)
    summed_up = rg.attribution(hessian, parts, F, y=y, weights=w, groups=np.repeat(np.arange(9), 3), reduction="sum")
    np.testing.assert_allclose(summed_up.shares, plain.shares, atol=1e-13)
    np.testing.assert_allclose(summed_up.pulls, 3 * plain.pulls, rtol=1e-9, atol=1e-15)


def test_a_row_of_zeros_has_no_shares():
    X, F, y, w, hessian = setting()
    X[4] = 0
    found = rg.attribution(hessian, X, F, y=y, weights=w)
    for values in (found.shares[4], found.prior[4], found.variances[4], found.rises[4], found.pulls[4]):
        assert not values.any()
    assert found.shares[5].any()


def test_a_target_of_weight_zero_has_no_share():
    X, F, y, w, _ = setting()
    w[3] = 0
    found = rg.attribution(summed(F, y, w).factorize(LAM), X, F, y=y, weights=w)
    assert not found.shares[:, 3].any()
    assert not found.rises[:, 3].any()
    assert not found.pulls[:, 3].any()


# Removal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [None, 1, 3])
@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("name", ["none", "unpenalised"])
def test_removal_is_refitting(k, in_blocks, name):
    X, F, y, w, _ = setting(k)
    penalty = penalties(8)[name]
    hessian = summed(F, y, w).factorize(LAM, penalty=penalty)
    labels = np.random.default_rng(1).integers(0, 12, 50) if in_blocks else np.arange(50)
    found = rg.attribution(hessian, X, F, y=y, weights=w, blocks=labels if in_blocks else None)
    H, theta = fitted(F, y, w, penalty)
    for column, label in enumerate(np.unique(labels)):
        kept = labels != label
        without, coef = fitted(F[kept], y[kept], w[kept], penalty)
        rise = reference.variance(without, X) / reference.variance(H, X) - 1
        np.testing.assert_allclose(found.rises[:, column], rise, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found.pulls[:, column], X @ (theta - coef), rtol=1e-7, atol=1e-9)
    assert found.pulls.shape == (9, column + 1, *y.shape[1:])
    assert (found.rises > found.shares).all()  # the other targets lose nothing by it


@pytest.mark.parametrize("in_blocks", [False, True])
def test_a_row_that_alone_determines_a_direction(in_blocks):
    F = np.column_stack([np.random.default_rng(2).normal(size=(20, 3)), np.zeros(20)])
    F[7, 3] = 0.7
    y = np.arange(20.0)
    hessian = summed(F, y).factorize(LAM, penalty=[1.0, 1.0, 1.0, 0.0])
    blocks = np.arange(20) // 2 if in_blocks else None
    text = f"without {'block number 3' if in_blocks else 'target number 7'} the data leave a direction undetermined"
    with pytest.warns(rg.IllConditionedWarning, match=text) as caught:
        found = rg.attribution(hessian, F[:3] + 0.1, F, y=y, blocks=blocks)
    assert caught[0].filename == __file__
    lost = np.arange(found.rises.shape[1]) == (3 if in_blocks else 7)
    assert (np.isinf(found.rises) == lost).all()
    assert (np.isnan(found.pulls) == lost).all()
    np.testing.assert_allclose(found.shares.sum(axis=1) + found.prior, 1, rtol=1e-12)


def sole_source():
    """Rows of which the last ten alone determine two features, one of them by little."""
    rng = np.random.default_rng(5)
    F = rng.normal(size=(60, 10))
    F[:50, 8:] = 0.0
    F[50:, 9] *= 1e-4
    y = F @ rng.normal(size=10) + 0.1 * rng.normal(size=60)
    return F, y, (np.arange(60) >= 50).astype(int)


def test_a_block_that_nearly_alone_determines_a_direction():
    """Along the well determined one 1 − leverage is 1e-8, but its rounding is far less."""
    F, y, blocks = sole_source()
    lam = 1e-7
    hessian = summed(F, y).factorize(lam)
    found = rg.attribution(hessian, F[50:], F, y=y, blocks=blocks)
    left = rg.leave_one_out(hessian, F, y, blocks=blocks)
    residuals, variances = reference.left_out(F, y, lam, np.arange(50, 60))
    np.testing.assert_allclose(left.variances[50:], variances, rtol=1e-5)
    np.testing.assert_allclose(left.residuals[50:], residuals, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.variances * (1 + found.rises[:, 1]), variances, rtol=1e-5)
    np.testing.assert_allclose(y[50:] - F[50:] @ hessian.coef + found.pulls[:, 1], residuals, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [0.5, 0.9999999])
def test_both_ways_to_the_inverse_of_what_is_left(size):
    """Where the trace of the inverse is too rough a bound, eigenvalues are taken."""
    Z = np.sqrt(size) * np.eye(3)
    small, large = np.zeros((3, 3)), np.sqrt((1 - size) / 4 / (4 * 1.2e-16 * np.sqrt(3)))
    for solved in (small, large * np.eye(3)):
        B = removal._inverse_root(Z, solved)
        np.testing.assert_allclose(B.T @ B, np.eye(3) / (1 - size), rtol=1e-7, atol=1e-6)
    assert removal._inverse_root(Z, 10 * large * np.eye(3)) is None


# The largest --------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("top", [1, 5, 12])
def test_top_are_the_largest(in_blocks, top, monkeypatch):
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(module, "PREDICTIONS_AT_ONCE", 4)
    X, F, y, w, hessian = setting(2)
    blocks = 3 * np.random.default_rng(1).permutation(np.arange(50) % 12) if in_blocks else None
    whole = rg.attribution(hessian, X, F, y=y, weights=w, blocks=blocks)
    found = rg.attribution(hessian, X, F, y=y, weights=w, blocks=blocks, top=top)
    order = np.argsort(-whole.shares, axis=1)[:, :top]
    np.testing.assert_array_equal(found.indices, order)
    for name in ("shares", "rises", "pulls"):
        expected = getattr(whole, name)
        index = order[:, :, None] if expected.ndim == 3 else order
        np.testing.assert_allclose(getattr(found, name), np.take_along_axis(expected, index, 1), rtol=1e-12)
    np.testing.assert_array_equal(found.labels, whole.labels)


def test_top_takes_bounded_memory(tmp_path):
    """(n, n_targets) shares would take 320 MB, the rows 3.8 MB."""
    n = 20_000
    F = np.lib.format.open_memmap(tmp_path / "F.npy", "w+", np.float64, (n, P))
    F[:] = problem(n=n)[0]
    hessian, X = summed(F).factorize(LAM), problem(n=2000, seed=3)[0]
    tracemalloc.start()
    try:
        found = rg.attribution(hessian, X, F, top=3)
        assert tracemalloc.get_traced_memory()[1] < 120_000_000
    finally:
        tracemalloc.stop()
    assert found.shares.shape == found.rises.shape == found.indices.shape == (2000, 3)


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (dict(F=slice(1, None)), r"sum to 0\.\d+, not to 1.*H was made of 50 targets, F has 49 of positive weight"),
        (dict(weights=2.0), r"shares of prediction 0 and of the prior sum to 1\.\d+, not to 1: F and weights are not"),
        (dict(F=3), "not to 1"),
    ],
)
def test_other_rows_than_those_in_the_hessian(change, text):
    X, F, _, w, hessian = setting()
    if change.get("F") == 3:
        F[:, 3] *= 1.01
    elif "F" in change:
        F, w = F[change["F"]], w[change["F"]]
    with pytest.raises(ValueError, match=text):
        rg.attribution(hessian, X, F, weights=w * change.get("weights", 1.0))


def test_the_prediction_that_does_not_add_up_is_named(monkeypatch):
    monkeypatch.setattr(module, "PREDICTIONS_AT_ONCE", 2)
    F = np.eye(4)
    hessian = summed(F).factorize(0.1)
    with pytest.raises(ValueError, match="shares of prediction 3 and"):
        rg.attribution(hessian, F, F, weights=[1.0, 1.0, 1.0, 2.0])


def test_rounding_of_a_badly_conditioned_hessian_is_said():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(60, 6)) @ rng.normal(size=(6, 30)) + 1e-7 * rng.normal(size=(60, 30))
    hessian = summed(F).factorize(1e-11)
    with pytest.warns(rg.IllConditionedWarning, match="sum to 1 only to .* rounding of H leaves no more digits"):
        rg.attribution(hessian, rng.normal(size=(5, 30)), F)


@pytest.mark.parametrize(
    ("error", "arguments", "text"),
    [
        (TypeError, dict(hessian=rg.Covariance(8)), "hessian is a Covariance: expected a Hessian"),
        (ValueError, dict(X=np.ones((2, 3))), "features have 3 columns but 8 were expected"),
        (ValueError, dict(F=np.ones((50, 3))), "features have 3 columns but 8 were expected"),
        (ValueError, dict(F=np.full((50, 8), np.nan)), "NaN"),
        (ValueError, dict(y=np.ones(3)), r"y has shape \(3,\): expected 50 targets"),
        (ValueError, dict(weights=-np.ones(50)), r"weights\[0\] is -1"),
        (TypeError, dict(blocks=np.ones(50)), "blocks has dtype float64: expected integer labels"),
        (ValueError, dict(top=51), "top is 51, but there are 50 targets"),
        (ValueError, dict(top=3, blocks=np.arange(50) % 2), "top is 3, but there are 2 blocks"),
        (ValueError, dict(top=0), "top is 0: expected a positive integer"),
        (TypeError, dict(top=2.0), "top is 2.0: expected a positive integer"),
    ],
)
def test_what_is_refused(error, arguments, text):
    X, F, y, w, hessian = setting()
    with pytest.raises(error, match=text):
        rg.attribution(**{"hessian": hessian, "X": X, "F": F, "y": y, "weights": w, **arguments})


@pytest.mark.parametrize("few_rows", [True, False])
def test_variances_beyond_float64_are_refused(few_rows):
    with pytest.raises(ValueError, match="row 2 is too large"):
        rg.attribution(factors.nearly_undetermined(few_rows), 1e152 * np.eye(6), np.eye(2, 6))


def test_pulls_need_a_fit():
    X, F, y, _, _ = setting()
    with pytest.raises(rg.NotFittedError):
        rg.attribution(summed(F).factorize(LAM), X, F, y=y)
    made, F = factors.made("eigenvectors"), problem()[0]
    assert rg.attribution(made.hessian, F[:3], F).shares.shape == (3, len(F))
    with pytest.raises(TypeError, match="y needs the fit of a Hessian, but hessian is a PseudoInverse"):
        rg.attribution(made.hessian, F[:3], F, y=np.ones(len(F)))
