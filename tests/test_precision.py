"""float32 on request: products of sums, factor of variances. The digits that it costs; where it is refused."""

import numpy as np
import pytest

import rigidities as rg

EPS32 = np.finfo(np.float32).eps


def accumulated(X, precision="float32", batch=None, **kwargs):
    covariance = rg.Covariance(X.shape[1], precision=precision)
    for start in range(0, len(X), batch or len(X)):
        covariance.update(X[start : start + (batch or len(X))], **kwargs)
    return covariance


def rows(n=3000, p=230, seed=0):
    return np.random.default_rng(seed).normal(size=(n, p)) * np.logspace(0, -3, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 5000])
def test_sums_of_float32_products(n, dtype):
    """Each entry is off by rounding of rows and of products: a few u32 √(C_ii C_jj); the runs are added exactly."""
    X = rows(n).astype(dtype)
    covariance = accumulated(X)
    exact = X.astype(np.float64).T @ X.astype(np.float64)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    error = np.abs(covariance.matrix() - exact) / np.where(scale > 0, scale, 1)
    assert error.max() < 4 * EPS32
    if n > 1024:  # rows that wait are multiplied too; and it was not float64 under another name
        assert error.max() > 1e-3 * EPS32
    np.testing.assert_array_equal(covariance.matrix(), covariance.matrix().T)
    assert covariance.trace == pytest.approx(np.trace(exact), rel=1e-6)


def test_batches_and_threads_change_no_bit():
    X = rows(4100)
    whole = accumulated(X)
    n_threads = rg.get_num_threads()
    for batch in (1, 63, 1024, 2500):
        part = X[:1100] if batch == 1 else X
        reference = accumulated(part) if batch == 1 else whole
        np.testing.assert_array_equal(accumulated(part, batch=batch).matrix(), reference.matrix())
    try:
        for n in (1, 2, 3, 8):
            rg.set_num_threads(n)
            np.testing.assert_array_equal(accumulated(X).matrix(), whole.matrix())
            hessian = whole.factorize(1.0)
            scores = hessian.variance(X, precision="float32")
            if n == 1:
                expected = scores
            np.testing.assert_array_equal(scores, expected)
    finally:
        rg.set_num_threads(n_threads)


def test_weights_groups_and_targets_are_in_float64_until_rows_are_rounded():
    X = rows(2000, 40)
    rng = np.random.default_rng(1)
    groups, weights, y = rng.integers(0, 900, 2000), rng.uniform(0, 2, 900), rng.normal(size=(900, 3))
    labels, _ = rg.reduce_rows(X, groups)
    weights, y = weights[labels], y[labels]
    single = accumulated(X, groups=groups, weights=weights, targets=y)
    double = accumulated(X, "float64", groups=groups, weights=weights, targets=y)
    scale = np.abs(double.matrix()).max()
    np.testing.assert_allclose(single.matrix(), double.matrix(), rtol=0, atol=4 * EPS32 * scale)
    one, other = single._core.moments(), double._core.moments()
    assert (one["n_rows"], one["log_weight"]) == (other["n_rows"], other["log_weight"])
    np.testing.assert_array_equal(one["squares"], other["squares"])
    np.testing.assert_allclose(one["cross"], other["cross"], rtol=0, atol=4 * EPS32 * np.abs(other["cross"]).max())


def test_the_least_precision_is_remembered():
    X = rows(50, 5)
    single, double = accumulated(X), accumulated(X, "float64")
    assert (single.precision, double.precision, (single + double).precision) == ("float32", "float64", "float32")
    assert (double + single).precision == "float32"
    assert (double + rg.Covariance(5, precision="float32")).precision == "float64"  # nothing of it entered
    assert (2 * single).precision == "float32"
    # λ is guaranteed for that precision: 2 (p + 1) u trace(C)
    for covariance, eps in ((double, np.finfo(float).eps), (double + single, EPS32)):
        expected = 6 * eps * covariance.trace
        assert covariance.factorize().regularizer == pytest.approx(expected)
    total = double + single
    total.update(X)
    np.testing.assert_allclose(total.matrix(), 3 * double.matrix(), rtol=1e-5, atol=1e-6)


def test_auto_makes_rank_deficient_sums_of_float32_positive_definite():
    for seed in range(5):
        X = rows(600, 400, seed) @ np.diag(np.logspace(0, -6, 400))
        X[:, 200:] = X[:, :200]
        assert accumulated(X).factorize().rcond > 0


def test_what_float32_cannot_hold_is_refused_without_a_trace():
    covariance = accumulated(rows(1500, 8))
    before = covariance.matrix()
    for scale in (1e-20, 1e20):
        X = rows(2000, 8)
        X[1700] = scale
        with pytest.raises(
            ValueError, match=r"target row 1700 has norm .*in float32 squares below 1e-30 or above 1e30"
        ):
            covariance.update(X)
        np.testing.assert_array_equal(covariance.matrix(), before)
    with pytest.raises(ValueError, match=r'precision is "?\'?half'):
        rg.Covariance(3, precision="half")
    with pytest.raises(ValueError, match='precision is "half"'):
        covariance.factorize(1.0).variance(np.eye(8), precision="half")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variances_in_float32(dtype):
    """v is off by some u32 √cond(H) relative."""
    X = rows(3000)
    hessian = accumulated(X, "float64").factorize(1e-3)
    query = rows(333, seed=5).astype(dtype)
    groups = np.arange(333) // 4
    bound = 10 * EPS32 / np.sqrt(hessian.rcond)
    assert bound < 1e-2
    for kwargs in ({}, {"groups": groups}, {"groups": groups, "reduction": "sum"}):
        exact = hessian.variance(query, **kwargs)
        single = hessian.variance(query, precision="float32", **kwargs)
        np.testing.assert_allclose(single, exact, rtol=bound)
        assert (single != exact).any()
        np.testing.assert_array_equal(hessian.rigidity(query, precision="float32", **kwargs), 1 / single)


def test_variances_in_float32_are_refused_where_no_three_digits_are_left():
    hessian = accumulated(rows(3000) @ np.diag(np.logspace(0, -6, 230)), "float64").factorize(1e-9)
    with pytest.raises(
        ValueError, match=r"float32 would leave a relative error of about .*rcond is .*more than 0\.001"
    ):
        hessian.variance(rows(3), precision="float32")
