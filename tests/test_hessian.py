"""What the factor answers, against the textbook; what it refuses, message by message."""

import pickle
import warnings

import numpy as np
import pytest
import reference
from layouts import LAYOUTS
from problems import P, factorized, oracle, problem
from scipy.linalg import solve_triangular

import rigidities as rg
from rigidities.exceptions import Advice

COMPONENTS = [np.arange(0, 10), np.array([23, 3, 17]), np.arange(10, 24)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_rigidities_in_every_layout(layout, dtype):
    X, groups = problem(dtype=dtype)
    G, labels = problem(n=57, seed=1, dtype=dtype)
    hessian, H = factorized(X, groups), oracle(X, groups)
    rtol = reference.tolerance(H)
    laid_out = LAYOUTS[layout](G)
    for reduction in ("mean", "sum"):
        F = reference.reduce_rows(G, labels, reduction)
        PR = hessian.rigidity(laid_out, groups=labels, reduction=reduction)
        CPR = hessian.component_rigidity(laid_out, COMPONENTS, groups=labels, reduction=reduction)
        np.testing.assert_allclose(PR, reference.rigidity(H, F), rtol=rtol)
        np.testing.assert_allclose(CPR, reference.component_rigidity(H, F, COMPONENTS), rtol=rtol)
    G = G.astype(np.float64)
    np.testing.assert_allclose(hessian.rigidity(laid_out), reference.rigidity(H, G), rtol=rtol)  # LPR
    LCPR = hessian.component_rigidity(laid_out, COMPONENTS)
    np.testing.assert_allclose(LCPR, reference.component_rigidity(H, G, COMPONENTS), rtol=rtol)
    np.testing.assert_allclose(hessian.variance(laid_out), reference.variance(H, G), rtol=rtol)


@pytest.mark.parametrize("n", [1, 60, 3000])
def test_both_ways_to_a_component_agree(n):
    """Few rows are solved for, many go through the factor of a diagonal block of the inverse: n decides."""
    rng = np.random.default_rng(5)
    p = 130
    X = rng.normal(size=(400, p)) * np.logspace(0, -3, p)
    hessian, H = factorized(X, regularizer=1e-6), oracle(X, regularizer=1e-6)
    G = rng.normal(size=(n, p))
    components = [slice(0, 50), slice(50, 130), np.arange(0, 130, 3), [129], np.arange(p) < 7]
    indices = [np.arange(p)[c] if isinstance(c, slice) else np.asarray(c) for c in components]
    result = hessian.component_rigidity(G, components)
    np.testing.assert_allclose(result, reference.component_rigidity(H, G, indices), rtol=reference.tolerance(H))


def test_forms_of_components_are_the_same():
    X, _ = problem()
    hessian = factorized(X)
    blocks = hessian.component_rigidity(X, [10, 2, 12])
    masks = [np.arange(P) < 10, (np.arange(P) >= 10) & (np.arange(P) < 12), np.arange(P) >= 12]
    slices = [slice(0, 10), slice(10, 12), slice(12, None)]
    for components in (masks, slices, np.array([10, 2, 12]), [m.tolist() for m in masks], tuple(slices)):
        np.testing.assert_array_equal(hessian.component_rigidity(X, components), blocks)
    np.testing.assert_array_equal(hessian.component_rigidity(X, [slice(None)])[:, 0], hessian.rigidity(X))


def test_solve_and_fit():
    X, groups = problem()
    rng = np.random.default_rng(8)
    n_targets = len(np.unique(groups))
    w, Y = rng.uniform(0, 2, n_targets), rng.normal(size=(n_targets, 3))
    hessian, H = factorized(X, groups, weights=w, targets=Y), oracle(X, groups, weights=w)
    b = reference.reduce_rows(X, groups).T @ (w[:, None] * Y)
    rtol = reference.tolerance(H)
    for B in (b, np.asfortranarray(b), b[:, 0], b.astype(np.float32), b[:, ::2]):
        np.testing.assert_allclose(H @ hessian.solve(B), B, rtol=rtol, atol=rtol * np.abs(b).max())
        assert hessian.solve(B).shape == B.shape
    np.testing.assert_allclose(H @ hessian.coef, b, rtol=rtol, atol=rtol * np.abs(b).max())
    single = factorized(X, groups, weights=w, targets=Y[:, 0]).coef
    np.testing.assert_allclose(single, hessian.coef[:, 0], rtol=rtol, atol=rtol)
    with pytest.raises(rg.NotFittedError, match="no targets were accumulated, so there is no fit"):
        _ = factorized(X, groups).coef


@pytest.mark.parametrize("order", ["C", "F"])
def test_whitened_rows(order):
    """z = L⁻¹g by a triangular solve with the textbook's factor; ‖z‖² is the variance, Z Zᵀ the joint covariance."""
    X, groups = problem()
    G, labels = problem(n=57, seed=1)
    hessian, L = factorized(X, groups)._core, np.linalg.cholesky(oracle(X, groups))
    rtol = reference.tolerance(L @ L.T)
    for reduction in ("mean", "sum"):
        F = reference.reduce_rows(G, labels, reduction)
        Z = hessian.whiten(np.asarray(G, order=order), labels, reduction)
        expected = solve_triangular(L, F.T, lower=True).T
        np.testing.assert_allclose(Z, expected, rtol=0, atol=rtol * np.abs(expected).max())
        joint = hessian.prediction_covariance(G, labels, reduction)
        np.testing.assert_allclose(Z @ Z.T, joint, rtol=0, atol=1e-14 * joint.max())
        np.testing.assert_allclose((Z**2).sum(axis=1), hessian.variance(G, labels, reduction, "float64"), rtol=1e-14)


def test_whitened_rows_of_more_targets_than_a_block():
    X, _ = problem()
    G, _ = problem(n=2000, seed=1, dtype=np.float32)
    hessian = factorized(X)._core
    Z = hessian.whiten(G, None, "sum")
    assert Z.shape == (2000, P)
    np.testing.assert_array_equal(Z[1600:], hessian.whiten(G[1600:], None, "sum"))
    with pytest.raises(ValueError, match="features have 5 columns but 24 were expected"):
        hessian.whiten(np.ones((3, 5)), None, "sum")


def test_prediction_covariance():
    X, groups = problem()
    G, labels = problem(n=300, seed=4)
    hessian, H = factorized(X, groups), oracle(X, groups)
    rtol = reference.tolerance(H)
    joint = hessian.prediction_covariance(G)
    expected = G @ np.linalg.solve(H, G.T)
    np.testing.assert_allclose(joint, expected, rtol=0, atol=rtol * np.abs(expected).max())
    np.testing.assert_array_equal(joint, joint.T)
    np.testing.assert_allclose(np.diag(joint), hessian.variance(G), rtol=rtol)
    np.testing.assert_allclose(hessian.prediction_covariance(G, G[:7]), joint[:, :7], rtol=0, atol=rtol * joint.max())
    rows = rg.Rows(G, labels)
    F = reference.reduce_rows(G, labels)
    expected = F @ np.linalg.solve(H, F.T)
    atol = rtol * np.abs(expected).max()
    np.testing.assert_allclose(hessian.prediction_covariance(rows), expected, rtol=0, atol=atol)
    np.testing.assert_allclose(hessian.prediction_covariance(rows, rows), expected, rtol=0, atol=atol)
    # a difference of two predictions, which the variances alone cannot tell
    contrast = joint[0, 0] + joint[1, 1] - 2 * joint[0, 1]
    assert contrast == pytest.approx(hessian.variance(G[:1] - G[1:2])[0], rel=1e3 * rtol)


def test_condition():
    for p, decades in ((1, 0), (2, 3), (40, 0), (40, 8), (300, 11)):
        rng = np.random.default_rng(p)
        Q = np.linalg.qr(rng.normal(size=(p, p)))[0]
        X = np.sqrt(np.logspace(0, -decades, p))[:, None] * Q
        hessian = factorized(X, regularizer=0.0)
        true = 1 / np.linalg.cond(X.T @ X, 1)
        assert true * 0.9 < hessian.rcond < 3 * true


def test_a_row_of_zeros_is_rigid():
    hessian = factorized(problem()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hessian.rigidity(np.zeros((1, P)))[0] == np.inf
        assert np.isinf(hessian.component_rigidity(np.eye(P)[:1], [[1], [0]])).tolist() == [[True, False]]
    assert hessian.variance(np.zeros((1, P)))[0] == 0


def test_masked_arrays_are_refused_everywhere():
    masked = np.ma.masked_equal([1, -999, 2], -999)
    hessian = factorized(np.eye(3))
    for call in (
        lambda: factorized(np.eye(3), targets=masked),
        lambda: factorized(np.eye(3), weights=masked),
        lambda: factorized(np.eye(3), groups=masked),
        lambda: factorized(np.eye(3), penalty=masked),
        lambda: hessian.solve(masked),
        lambda: hessian.variance(np.ma.masked_equal(np.eye(3), 0)),
    ):
        with pytest.raises(TypeError, match="is a masked array"):
            call()


@pytest.mark.parametrize("p", [3, 256, 257, 700])
def test_the_failing_pivot_is_named(p):
    rng = np.random.default_rng(p)
    X = rng.normal(size=(2 * p, p))
    column = p - 2
    X[:, column] = 0.0
    covariance = rg.Covariance(p)
    covariance.update(X)
    with pytest.raises(
        rg.NotPositiveDefiniteError, match=f"pivot {column} of {p} .counted from 0. is 0.0 at regularizer 0.0"
    ) as caught:
        covariance.factorize(0.0)
    assert (caught.value.pivot, caught.value.regularizer) == (column, 0.0)
    assert isinstance(caught.value, np.linalg.LinAlgError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.pivot, str(again)) == (column, str(caught.value))


def test_consume_takes_the_memory_and_fails_without_a_trace():
    X, groups = problem()
    X[:, 3] = 0
    covariance = rg.Covariance(P)
    covariance.update(X, groups=groups, targets=np.arange(len(np.unique(groups)), dtype=float))
    before = pickle.dumps(covariance)
    with pytest.raises(rg.NotPositiveDefiniteError):
        covariance.factorize(0.0, consume=True)
    assert pickle.dumps(covariance) == before
    kept = covariance.factorize(0.1)
    taken = covariance.factorize(0.1, consume=True)
    np.testing.assert_array_equal(taken.variance(X), kept.variance(X))
    np.testing.assert_array_equal(taken.coef, kept.coef)
    for use in (
        lambda: covariance.matrix(),
        lambda: covariance.trace,
        lambda: covariance.factorize(0.1),
        lambda: covariance.factorize(0.1, consume=True),
        lambda: covariance.update(X),
        lambda: covariance + covariance,
        lambda: 2 * covariance,
        lambda: pickle.dumps(covariance),
    ):
        with pytest.raises(ValueError, match="this covariance was consumed by factorize"):
            use()


COMPONENT_ERRORS = [
    (ValueError, [], "components are empty: name at least one"),
    (ValueError, [[]], "component 0 is empty"),
    (ValueError, [np.zeros(24, bool)], "component 0 is empty"),
    (ValueError, [[0], slice(5, 5)], "component 1 is empty"),
    (ValueError, [[0], [0, 24]], r"component 1 has feature index 24, but there are 24 features \(0 to 23\)"),
    (ValueError, [[-1]], "component 0 has feature index -1"),
    (ValueError, [[3, 1, 3]], "component 0 has feature 3 twice"),
    (ValueError, [10, 10], "component sizes sum to 20, but there are 24 features"),
    (ValueError, [24, 0], "component 1 has size 0: each must have at least one feature"),
    (ValueError, [25, -1], "component 1 has size -1"),
    (ValueError, [np.ones(3, bool)], "the mask of component 0 has 3 entries for 24 features"),
    (TypeError, np.array([12.0, 12.0]), "component sizes have dtype float64: expected integers"),
    (TypeError, [[0.5]], "component 0 has dtype float64: expected integer indices or a boolean mask"),
    (TypeError, [["a"]], "component 0 has dtype <U1"),
    (TypeError, [[[0]]], "component 0 is .*: expected an index array, a slice or a boolean mask"),
    (TypeError, 3, "components is 3: expected index arrays, slices, masks or sizes of components"),
]


@pytest.mark.parametrize(("error", "components", "message"), COMPONENT_ERRORS)
def test_impossible_components_are_named(error, components, message):
    hessian = factorized(problem()[0])
    with pytest.raises(error, match=message):
        hessian.component_rigidity(np.ones((2, P)), components)


def test_rows_are_checked_by_every_method():
    hessian = factorized(problem()[0])
    for method in (
        hessian.variance,
        hessian.rigidity,
        lambda X: hessian.component_rigidity(X, [P]),
        hessian.prediction_covariance,
        lambda X: hessian.prediction_covariance(np.ones((2, P)), X),
    ):
        for X, message in (
            (np.ones((2, 3)), "features have 3 columns but 24 were expected"),
            (np.ones(P), "expected 2 dimensions"),
            (np.ones((0, P)), "features have no rows"),
            (np.full((2, P), np.nan), r"features\[0, 0\] is NaN"),
        ):
            with pytest.raises(ValueError, match=message):
                method(X)
    for B, message in (
        (np.ones(3), "right-hand sides have 3 rows but the Hessian has 24"),
        (np.full(P, np.inf), r"\[0, 0\] is inf"),
        (np.ones((P, 0)), "right-hand sides"),
        (np.ones((P, 2, 2)), r"right-hand sides have shape \(24, 2, 2\): expected \(24,\) or \(24, k\)"),
    ):
        with pytest.raises(ValueError, match=message):
            hessian.solve(B)


def test_results_that_cannot_fit_are_refused(monkeypatch):
    hessian = factorized(problem()[0])
    monkeypatch.setattr(rg.runtime.memory, "available", lambda: 10**9)
    with pytest.raises(
        MemoryError, match=r"the joint covariance of 200000 and 200000 predictions needs 320\.0 GB, 1\.0 GB are free"
    ):
        hessian.prediction_covariance(np.ones((200_000, P)))
    with pytest.raises(
        MemoryError, match=r"the factor of 20000 features needs 3\.2 GB, 1\.0 GB are free; pass consume=True"
    ):
        rg.covariance._require_square(20_000, "the factor", Advice.CONSUME)


def test_a_hessian_is_not_made_by_hand():
    with pytest.raises(TypeError, match=r"a Hessian is made by Covariance\.factorize"):
        rg.Hessian()
    assert repr(factorized(problem()[0])) == "Hessian(n_features=24, n_rows=200, regularizer=0.001)"
