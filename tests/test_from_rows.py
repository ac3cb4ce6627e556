"""The dual form against the primal one and against long double, what it stores, what it refuses."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rigidities as rg
from rigidities.reason import Reason
from rigidities.span_form import SpanForm

N, P = 14, 40


def problem(n=N, p=P, seed=0, n_outputs=1):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, p)) @ np.diag(np.logspace(0, -2, p))
    w = np.exp(rng.normal(size=n))
    y = F @ rng.normal(size=(p, n_outputs)) + 0.01 * rng.normal(size=(n, n_outputs))
    return F, w, y[:, 0] if n_outputs == 1 else y


def penalties(p=P):
    A = np.random.default_rng(5).normal(size=(p, p))
    return {"none": None, "diagonal": np.linspace(0.5, 3, p), "matrix": A @ A.T + np.eye(p)}


def primal(F, regularizer, weights=None, targets=None, penalty=None):
    covariance = rg.Covariance(F.shape[1])
    covariance.update(F, weights=weights, targets=targets)
    return covariance.factorize(regularizer, penalty=penalty)


def pair(kind="none", regularizer=0.3, n_outputs=1):
    F, w, y = problem(n_outputs=n_outputs)
    arguments = {"weights": w, "targets": y, "penalty": penalties()[kind]}
    return rg.Hessian.from_rows(F, regularizer, **arguments), primal(F, regularizer, **arguments)


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # true: few rows leave much to λ
@pytest.mark.parametrize("regularizer", [1e-6, 0.3, 50.0])
@pytest.mark.parametrize("kind", list(penalties()))
def test_the_dual_form_is_the_primal_one(kind, regularizer):
    dual, other = pair(kind, regularizer)
    assert isinstance(dual, rg.Hessian)
    assert isinstance(dual._core, SpanForm)
    X, groups = np.random.default_rng(1).normal(size=(30, P)), np.arange(30) // 3
    close = {"rtol": 1e-6, "atol": 1e-12}
    np.testing.assert_allclose(dual.variance(X), other.variance(X), **close)
    np.testing.assert_allclose(dual.rigidity(X, groups=groups), other.rigidity(X, groups=groups), **close)
    np.testing.assert_allclose(
        dual.rigidity(X, groups=groups, reduction="sum"), other.rigidity(X, groups=groups, reduction="sum"), **close
    )
    parts = [slice(0, 10), np.array([3, 39]), np.arange(P) > 20]
    np.testing.assert_allclose(dual.component_rigidity(X, parts), other.component_rigidity(X, parts), **close)
    np.testing.assert_allclose(
        dual.prior_share(X, components=parts), other.prior_share(X, components=parts), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(dual.prediction_covariance(X[:4], X), other.prediction_covariance(X[:4], X), **close)
    joint = dual.prediction_covariance(X)
    assert (joint == joint.T).all()
    np.testing.assert_allclose(np.diagonal(joint), dual.variance(X), rtol=1e-9)
    z = dual.whiten(X)
    assert z.shape == (30, P)
    np.testing.assert_allclose(z @ z.T, joint, rtol=1e-9, atol=1e-12 * np.abs(joint).max())
    np.testing.assert_allclose(dual.solve(X.T), other.solve(X.T), rtol=1e-5, atol=1e-9 / regularizer)
    np.testing.assert_allclose(dual.solve(X[0]), other.solve(X[0]), rtol=1e-5, atol=1e-9 / regularizer)
    np.testing.assert_allclose(dual.coef, other.coef, rtol=1e-5, atol=1e-8)
    assert dual.log_determinant == pytest.approx(other.log_determinant, rel=1e-9)
    assert dual.effective_dimension == pytest.approx(other.effective_dimension, rel=1e-8)
    assert (dual.n_features, dual.n_rows, dual.regularizer) == (P, N, regularizer)
    assert dual.regularizer_reason == "given"
    if kind == "none":
        eigenvalues = np.linalg.eigvalsh(np.linalg.inv(other.solve(np.eye(P))))
        assert 0.2 < dual.rcond / (eigenvalues[0] / eigenvalues[-1]) < 2


@pytest.mark.parametrize("kind", list(penalties()))
def test_auto_is_the_same(kind):
    F, w, _ = problem()
    y = F[:, :3] @ [1.0, -2.0, 0.5] + 0.3 * np.random.default_rng(4).normal(size=N)
    arguments = {"weights": w, "targets": y, "penalty": penalties()[kind]}
    dual, other = rg.Hessian.from_rows(F, **arguments), primal(F, "auto", **arguments)
    assert dual.reason is other.reason is Reason.EVIDENCE_MAXIMUM
    assert dual.regularizer == pytest.approx(other.regularizer, rel=1e-3)
    guaranteed = rg.Hessian.from_rows(F, weights=w)
    assert guaranteed.reason.is_guaranteed
    assert guaranteed.regularizer <= primal(F, "auto", w).regularizer
    assert np.isfinite(guaranteed.variance(F)).all()


def test_several_outputs_and_left_out_rows():
    dual, other = pair(n_outputs=3)
    assert dual.coef.shape == (P, 3)
    F, w, y = problem(n_outputs=3)
    ours, theirs = (rg.leave_one_out(hessian, F, y, weights=w) for hessian in (dual, other))
    np.testing.assert_allclose(ours.residuals, theirs.residuals, rtol=1e-7)
    np.testing.assert_allclose(ours.variances, theirs.variances, rtol=1e-7)
    blocks = np.arange(N) // 3
    ours, theirs = (rg.leave_one_out(hessian, F, y, weights=w, blocks=blocks) for hessian in (dual, other))
    np.testing.assert_allclose(ours.residuals, theirs.residuals, rtol=1e-7)


def exact_variance(F, w, X, regularizer):
    """(‖g − Fᵀa‖² + λaᵀW⁻¹a)/λ with a = K⁻¹Fg, by Gauss elimination in long double."""
    F, X, w = (np.asarray(values, dtype=np.longdouble) for values in (F, X, w))
    K = F @ F.T + regularizer * np.diag(1 / w)
    A = np.concatenate([K, F @ X.T], axis=1)
    for i in range(len(K)):
        pivot = i + int(np.argmax(np.abs(A[i:, i])))
        A[[i, pivot]] = A[[pivot, i]]
        A[i] /= A[i, i]
        for j in range(len(K)):
            if j != i:
                A[j] -= A[j, i] * A[i]
    a = A[:, len(K) :]
    across = X.T - F.T @ a
    return ((across**2).sum(axis=0) + regularizer * (a**2 / w[:, None]).sum(axis=0)) / regularizer


@pytest.mark.parametrize("part", [1e-4, 1e-8, 1e-11])
def test_small_regularizers_keep_their_digits(part):
    """Of ‖g‖² − kᵀK⁻¹k, as in textbooks, no digit would be left at the smallest."""
    F, _, _ = problem()
    w = np.logspace(-3, 3, N)
    regularizer = part * float((w[:, None] * F**2).sum())
    X = np.concatenate([np.random.default_rng(2).normal(size=(5, P)), F[:5], F[:2] + 1e-5])
    hessian = rg.Hessian.from_rows(F, regularizer, weights=w)
    expected = exact_variance(F, w, X, regularizer).astype(np.float64)
    tolerance = 1e-13 / part if part > 1e-10 else 1e-3
    np.testing.assert_allclose(hessian.variance(X), expected, rtol=max(tolerance, 1e-11))


@given(st.integers(1, 12), st.integers(13, 60), st.floats(1e-6, 1e3), st.integers(0, 1000))
def test_any_shape(n, p, regularizer, seed):
    F, w, y = problem(n, p, seed)
    dual, other = rg.Hessian.from_rows(F, regularizer, weights=w, targets=y), primal(F, regularizer, w, y)
    X = np.random.default_rng(seed).normal(size=(3, p))
    np.testing.assert_allclose(dual.variance(X), other.variance(X), rtol=1e-6)
    np.testing.assert_allclose(F @ dual.coef, F @ other.coef, rtol=1e-6, atol=1e-8)


def test_dependent_and_empty_rows_add_no_direction():
    F, _, _ = problem()
    rows = np.concatenate([F, F[:3], np.zeros((2, P)), 2 * F[:1] - F[1:2]])
    dual = rg.Hessian.from_rows(rows, 1e-3)
    assert len(dual._core.span.basis) == N
    X = np.random.default_rng(3).normal(size=(4, P))
    np.testing.assert_allclose(dual.variance(X), primal(rows, 1e-3).variance(X), rtol=1e-7)
    prior = rg.Hessian.from_rows(np.zeros((3, P)), 0.5)
    np.testing.assert_allclose(prior.variance(X), (X**2).sum(axis=1) / 0.5)


def test_rows_of_weight_zero_count_nowhere():
    F, w, y = problem()
    w[:4] = 0
    dual = rg.Hessian.from_rows(F, 0.1, weights=w, targets=y)
    np.testing.assert_allclose(
        dual.coef, rg.Hessian.from_rows(F[4:], 0.1, weights=w[4:], targets=y[4:]).coef, rtol=1e-9
    )


def test_many_rows_or_free_features_are_summed():
    F, w, y = problem(60, 10)
    tall = rg.Hessian.from_rows(F, 0.1, weights=w, targets=y)
    assert not isinstance(tall._core, SpanForm)
    np.testing.assert_array_equal(tall.coef, primal(F, 0.1, w, y).coef)
    F, w, y = problem()
    F[:, 0] = 1.0
    free = np.r_[0.0, np.ones(P - 1)]
    intercept = rg.Hessian.from_rows(F, 0.1, weights=w, targets=y, penalty=free)
    np.testing.assert_array_equal(intercept.coef, primal(F, 0.1, w, y, free).coef)


def test_rows_bring_their_groups_and_space():
    F, _, y = problem()
    atoms = rg.Rows(np.repeat(F, 2, axis=0), np.repeat(np.arange(N), 2), "space")
    dual = rg.Hessian.from_rows(atoms, 0.3, targets=y)
    assert dual.feature_space == "space"
    np.testing.assert_allclose(dual.coef, rg.Hessian.from_rows(F, 0.3, targets=y).coef, rtol=1e-9)
    with pytest.raises(ValueError, match="feature space 'other'"):
        dual.variance(rg.Rows(F, None, "other"))


@pytest.mark.parametrize("kind", list(penalties()))
def test_files_and_pickles_have_the_same_bits(kind, tmp_path):
    dual, _ = pair(kind)
    dual.save(tmp_path / "h")
    X = np.random.default_rng(1).normal(size=(5, P))
    for other in (rg.Hessian.load(tmp_path / "h"), pickle.loads(pickle.dumps(dual)), copy.deepcopy(dual)):
        np.testing.assert_array_equal(other.variance(X), dual.variance(X))
        np.testing.assert_array_equal(other.coef, dual.coef)
        assert (other.log_determinant, other.rcond, repr(other)) == (dual.log_determinant, dual.rcond, repr(dual))
    for name, value in (("norm", -1.0), ("span", np.zeros(3)), ("penalty", "other"), ("inner.n_rows", -2)):
        with pytest.raises(ValueError, match=name.rpartition(".")[2]):
            rg.Hessian.__new__(rg.Hessian).__setstate__(dual.__getstate__() | {name: value})
    with pytest.raises(ValueError, match="orthonormal"):
        rg.Hessian.__new__(rg.Hessian).__setstate__(dual.__getstate__() | {"span": np.zeros(N * P)})


def test_float32_predictions():
    dual, _ = pair()
    X = np.random.default_rng(1).normal(size=(5, P))
    np.testing.assert_allclose(dual.variance(X, precision="float32"), dual.variance(X), rtol=1e-4)


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (rg.NotPositiveDefiniteError, "14 rows determine 14 of 40 directions at most", {"regularizer": 0.0}),
        (ValueError, r"features\[2, 3\] is NaN", {"bad": np.nan}),
        (ValueError, r"features\[2, 3\] is inf: only finite numbers", {"bad": np.inf}),
        (ValueError, "regularizer is -1", {"regularizer": -1.0}),
        (ValueError, "weights", {"weights": -np.ones(N)}),
        (ValueError, "targets", {"targets": np.ones(3)}),
        (ValueError, "penalty", {"penalty": np.ones(3)}),
    ],
)
def test_what_is_refused(error, match, change):
    F, w, y = problem()
    F[2, 3] = change.pop("bad", F[2, 3])
    arguments = {"regularizer": 0.1, "weights": w, "targets": y} | change
    with warnings.catch_warnings(), pytest.raises(error, match=match):
        rg.Hessian.from_rows(F, **arguments)


def test_a_hundred_thousand_features_take_no_square_array():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(30, 100_000))
    hessian = rg.Hessian.from_rows(F, 1.0, targets=rng.normal(size=30))
    assert hessian.variance(F).max() < 1.0
