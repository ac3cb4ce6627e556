"""Variances of differences and other combinations, against c V cᵀ with the dense joint covariance."""

import tracemalloc

import factors
import numpy as np
import pytest
import reference
import scipy.sparse
from factors import FORMS, scaled_close
from hypothesis import given
from hypothesis import strategies as st
from problems import P, factorized, problem
from strategies import problems, tolerance

import rigidities as rg
from rigidities import contrasts


def rows(n=30, seed=1):
    return problem(n=n, seed=seed)[0]


def coefficients(n_contrasts, n, seed=5):
    return np.random.default_rng(seed).normal(size=(n_contrasts, n))


def expected(made, F, C):
    return np.einsum("ki,ij,kj->k", C, made.joint(F), C)


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_dense_formula(form):
    made, F, C = factors.made(form), rows(), coefficients(7, 30)
    dense = expected(made, F, C)
    found = rg.contrast(made.hessian, F, C)
    assert found.shape == (7,)
    np.testing.assert_allclose(found, dense, rtol=made.rtol)
    sizes = np.abs(C) @ np.sqrt(np.diagonal(made.joint(F)))
    assert (dense < 0.9 * sizes**2).all()  # correlations are a part of it


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_of_groups_in_the_order_of_their_sorted_labels(reduction):
    hessian, (X, groups) = factors.made("sums").hessian, problem(n=300, seed=3)
    F = reference.reduce_rows(X, groups, reduction)
    C = coefficients(4, len(F))
    found = rg.contrast(hessian, X, C, groups=groups, reduction=reduction)
    np.testing.assert_allclose(found, rg.contrast(hessian, F, C), rtol=1e-10)
    np.testing.assert_array_equal(found, rg.contrast(hessian, rg.Rows(X, groups), C, reduction=reduction))


def test_reductions_differ():
    hessian, (X, groups) = factors.made("sums").hessian, problem(n=300, seed=3)
    C = coefficients(4, len(np.unique(groups)))
    sums, means = (rg.contrast(hessian, X, C, groups=groups, reduction=word) for word in ("sum", "mean"))
    assert (sums > 2 * means).all()


@pytest.mark.parametrize("kind", [
    scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.coo_array, scipy.sparse.csr_matrix,
    scipy.sparse.dia_array, scipy.sparse.lil_matrix,
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8])
def test_sparse_coefficients_are_as_good_as_dense_ones(kind, dtype):
    hessian, F = factors.made("sums").hessian, rows()
    C = np.random.default_rng(0).integers(-3, 4, size=(9, 30)).astype(dtype)
    C[np.random.default_rng(1).random(C.shape) < 0.8] = 0
    found = rg.contrast(hessian, F, kind(C))
    np.testing.assert_allclose(found, rg.contrast(hessian, F, C.tolist()), rtol=1e-12)
    assert found.max() > 0


def test_single_precision_and_strides():
    made, F, C = factors.made("sums"), rows(60)[::2], coefficients(3, 30)
    np.testing.assert_allclose(rg.contrast(made.hessian, F, C[:, ::-1]), expected(made, F, C[:, ::-1]), rtol=made.rtol)
    single = F.astype(np.float32)
    found = rg.contrast(made.hessian, np.asfortranarray(single), C)
    np.testing.assert_allclose(found, expected(made, single.astype(np.float64), C), rtol=made.rtol)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("grouped", [True, False])
def test_in_several_passes_as_in_one(sparse, grouped, monkeypatch):
    """Later passes read only the rows that they need, if these are few; one of them needs none."""
    made, (X, groups) = factors.made("sums"), problem(n=3000, seed=2)
    groups = groups if grouped else None
    F = reference.reduce_rows(X, groups)
    n = len(F)
    C = np.zeros((12, n))
    for k in range(12):
        C[k, [3 * k, n - 1 - 2 * k]] = 1, -0.5
    C[4:8] = 0
    monkeypatch.setattr(contrasts, "AT_ONCE", 4)
    read, batches = [], contrasts.target_batches
    monkeypatch.setattr(
        contrasts, "target_batches", lambda some, how: read.append(some.n_targets) or batches(some, how)
    )
    for last, passes in ((C[11], [n, 8]), (coefficients(1, n)[0], [n, n])):
        C[11] = last
        read.clear()
        found = rg.contrast(made.hessian, X, scipy.sparse.csr_array(C) if sparse else C, groups=groups)
        dense = np.einsum("kj,ji,ki->k", C @ F, made.inverse, C @ F)
        np.testing.assert_allclose(found, dense, rtol=made.rtol)
        assert (found > 0).sum() == 8
        assert read == passes


def test_a_row_that_no_contrast_uses_is_looked_at_too(monkeypatch):
    monkeypatch.setattr(contrasts, "AT_ONCE", 1)
    F = rows()
    F[17, 2] = np.nan
    C = scipy.sparse.csr_array(np.eye(3, 30))
    with pytest.raises(ValueError, match=r"features\[17, 2\] is NaN"):
        rg.contrast(factors.made("sums").hessian, F, C)


# Theorems -----------------------------------------------------------------------------------------


@given(problems(), st.integers(0, 2**32 - 1))
def test_theorems(drawn, seed):
    hessian = factorized(drawn.X, drawn.groups, drawn.regularizer, weights=drawn.weights)
    n, rtol = len(drawn.G), tolerance(drawn)
    v = hessian.variance(drawn.G)
    # each alone has its variance
    np.testing.assert_allclose(rg.contrast(hessian, drawn.G, np.eye(n)), v, rtol=rtol)
    C = np.random.default_rng(seed).normal(size=(3, n))
    found, scale = rg.contrast(hessian, drawn.G, C), (np.abs(C) @ np.sqrt(v)) ** 2
    # homogeneous, of the second degree; the sign and the order of the terms do not matter
    scaled_close(rg.contrast(hessian, drawn.G, -2.5 * C), 6.25 * found, rtol, 6.25 * scale)
    scaled_close(rg.contrast(hessian, drawn.G[::-1], C[:, ::-1]), found, rtol, scale)
    # √v is a norm: it obeys the triangle inequality
    both = rg.contrast(hessian, drawn.G, [C[0] + C[1]])[0]
    assert both <= np.sqrt(found[:2]).sum() ** 2 + rtol * scale[:2].sum()
    # of a prediction with itself there is no difference
    twice = np.concatenate([drawn.G, drawn.G])
    np.testing.assert_array_equal(rg.contrast(hessian, twice, np.hstack([np.eye(n), -np.eye(n)])), 0)


def test_a_small_difference_keeps_its_digits():
    """c V cᵀ has none left where two rows differ in the ninth digit."""
    made = factors.made("sums")
    g, d = rows()[:2]
    F = np.stack([g, g + 2.0**-30 * d])
    exact = F[1] - F[0]
    found = rg.contrast(made.hessian, F, [[-1, 1]])[0]
    assert found == pytest.approx(exact @ made.inverse @ exact, rel=made.rtol)
    c = np.array([-1.0, 1.0])
    assert abs(c @ made.hessian.prediction_covariance(F) @ c / found - 1) > 1e-2


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (
            np.zeros(30),
            ValueError,
            r"coefficients has shape \(30,\): expected one row per contrast.*\(n_contrasts, 30\)",
        ),
        (np.zeros((2, 29)), ValueError, r"shape \(2, 29\): .* 30 predictions"),
        (np.zeros((0, 30)), ValueError, r"shape \(0, 30\)"),
        (scipy.sparse.csr_array((3, 31)), ValueError, r"shape \(3, 31\)"),
        (np.full((2, 30), 1j), TypeError, "dtype complex128"),
        (scipy.sparse.csr_array(np.full((2, 30), 1j)), TypeError, "dtype complex128"),
        (np.where(np.eye(30, k=2) > 0, np.nan, 0), ValueError, r"coefficients\[0, 2\] is nan: only finite"),
        (np.where(np.eye(30, k=-4) > 0, np.inf, 1), ValueError, r"coefficients\[4, 0\] is inf: only finite"),
        (
            scipy.sparse.csr_array(np.where(np.eye(30, k=-4) > 0, -np.inf, 0)),
            ValueError,
            r"coefficients\[4, 0\] is -inf: only finite",
        ),
        (np.ma.masked_less(np.zeros((1, 30)), 1), TypeError, "masked"),
    ],
)
def test_coefficients_that_are_refused(given, error, text):
    with pytest.raises(error, match=text):
        rg.contrast(factors.made("sums").hessian, rows(), given)


def test_a_contrast_beyond_float64_is_refused():
    C = np.ones((3, 30))
    C[1] = 1e308
    with pytest.raises(ValueError, match="row of contrast 1 exceeds float64"):
        rg.contrast(factors.made("sums").hessian, 100 * rows(), C)


@pytest.mark.parametrize("few_rows", [True, False])
def test_answers_beyond_float64_are_refused(few_rows):
    hessian, F = factors.nearly_undetermined(few_rows), 1e152 * np.eye(6)
    with pytest.raises(ValueError, match=r"row 2 is too large|contrast 2 is too large"):
        rg.contrast(hessian, F, np.eye(6))


def test_other_refusals():
    hessian = factors.made("sums").hessian
    with pytest.raises(TypeError, match="hessian is a Covariance: expected a Hessian"):
        rg.contrast(rg.Covariance(P), rows(), np.eye(30))
    with pytest.raises(ValueError, match="features have 23 columns but 24"):
        rg.contrast(hessian, rows()[:, 1:], np.eye(30))
    with pytest.raises(ValueError, match='reduction is "max"'):
        rg.contrast(hessian, rows(), np.eye(30), reduction="max")
    with pytest.raises(ValueError, match="groups has 29 entries"):
        rg.contrast(hessian, rows(), np.eye(30), groups=np.arange(29))


def test_another_feature_space_is_refused():
    covariance = rg.Covariance(P, feature_space="a")
    covariance.update(problem()[0])
    hessian, F = covariance.factorize(1e-3), rows()
    with pytest.raises(ValueError, match="feature space 'b'"):
        rg.contrast(hessian, rg.Rows(F, None, "b"), np.eye(30))
    assert len(rg.contrast(hessian, rg.Rows(F, None, "a"), np.eye(30))) == 30


def test_memory_is_that_of_a_few_rows():
    """V of 20,000 predictions would take 3.2 GB."""
    hessian, X = factors.made("sums").hessian, problem(n=20_000, seed=2)[0]
    C = scipy.sparse.csr_array(([1.0, -1.0], ([0, 0], [0, 19_999])), shape=(3, 20_000))
    tracemalloc.start()
    try:
        rg.contrast(hessian, X, C)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
