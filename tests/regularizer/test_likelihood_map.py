"""The map of λ and scale against a dense evaluation of every pair, and what it says in words."""

import numpy as np
import pytest
from scipy import stats

import rigidities as rg
from rigidities.plot import draw_likelihood_map

RNG = np.random.default_rng(0)
F, X = RNG.normal(size=(80, 6)), RNG.normal(size=(40, 6))
THETA = RNG.normal(size=6)
Y, Z = F @ THETA + 0.3 * RNG.normal(size=80), X @ THETA + 0.3 * RNG.normal(size=40)
W = RNG.uniform(0.5, 2.0, 80)
GRID = np.logspace(-3, 3, 13)


def path_of(targets=Y, weights=None, grid=GRID):
    covariance = rg.Covariance(6)
    covariance.update(F, targets=targets, weights=weights)
    return rg.regularizer_path(covariance, grid)


def dense(X, y, w, regularizer, weights=None):
    """Residuals and variances by inversion."""
    weights = np.ones(80) if weights is None else weights
    inverse = np.linalg.inv(F.T * weights @ F + regularizer * np.eye(6))
    return y - X @ (inverse @ (F.T @ (weights * Y))), np.einsum("ij,jk,ik->i", X, inverse, X)


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_every_pair(noise):
    scales, w = np.geomspace(0.01, 10, 9), RNG.uniform(0.5, 2, 40)
    found = rg.likelihood_map(path_of(weights=W), X, Z, scales, weights=w, noise=noise)
    for i, regularizer in enumerate(GRID):
        r, v = dense(X, Z, w, regularizer, W)
        for j, scale in enumerate(scales):
            expected = -stats.norm.logpdf(r, scale=scale * np.sqrt(v + noise / w)).mean()
            np.testing.assert_allclose(found.nll[i, j], expected, rtol=1e-9)
    assert found.n == 40


def test_the_best_pair_is_that_of_a_search():
    found = rg.likelihood_map(path_of(), X, Z, noise=1.0)
    np.testing.assert_allclose(found.least_nll, path_of().score(X, Z, "nll", noise=1.0), rtol=1e-12)
    assert found.regularizer == path_of().best("nll", X, Z, noise=1.0)
    at = int(np.argmin(found.least_nll))
    assert (found.least_nll[at] <= found.nll + 1e-12).all()
    near = rg.likelihood_map(path_of(), X, Z, [found.scale], noise=1.0)
    np.testing.assert_allclose(near.nll[at, 0], found.least_nll[at], rtol=1e-12)


def test_left_out_targets_are_those_of_refits():
    found = rg.likelihood_map(path_of(weights=W), F, Y, [0.5], weights=W, noise=1.0, left_out=True)
    for i in (0, 6, 12):
        total = 0.0
        for n in range(80):
            rest = np.arange(80) != n
            inverse = np.linalg.inv(F[rest].T * W[rest] @ F[rest] + GRID[i] * np.eye(6))
            r = Y[n] - F[n] @ inverse @ (F[rest].T @ (W[rest] * Y[rest]))
            total -= stats.norm.logpdf(r, scale=0.5 * np.sqrt(F[n] @ inverse @ F[n] + 1 / W[n])) / 80
        np.testing.assert_allclose(found.nll[i, 0], total, rtol=1e-9)


def test_the_interval_of_equally_good_regularizers():
    found = rg.likelihood_map(path_of(grid=np.logspace(-6, 4, 201)), X, Z, noise=1.0)
    inside = (found.regularizers >= found.low) & (found.regularizers <= found.high)
    rise = 40 * (found.least_nll - found.least_nll.min())
    assert (rise[inside] <= 1.92).all()
    assert rise[np.flatnonzero(inside)[-1] + 1] > 1.92
    assert found.at_end
    assert "(an end of the grid: others may be, too)" in str(found)
    assert "choose among them by another criterion" in str(found)


def test_words_where_the_ridge_is_the_only_thing_that_counts():
    """Predictions in directions without data: v = |g|²/λ, so that only scale²/λ counts."""
    rows = np.zeros((80, 8))
    rows[:, :6] = F
    covariance = rg.Covariance(8)
    covariance.update(rows, targets=Y)
    G = np.zeros((30, 8))
    G[:, 6:] = RNG.normal(size=(30, 2))
    found = rg.likelihood_map(rg.regularizer_path(covariance, np.logspace(-4, 4, 41)), G, RNG.normal(size=30))
    np.testing.assert_allclose(found.slope, 0.5, rtol=1e-9)
    assert (found.low, found.high) == (found.regularizers[0], found.regularizers[-1])
    assert "grows as λ^0.5" in str(found)


def test_a_sharp_best():
    sharp = rg.likelihood_map(path_of(), X, Z, [1.0])
    assert str(rg.likelihood_map(path_of(grid=[0.1, 1e3]), X, Z)).endswith("its neighbours in the grid are worse")
    assert sharp.scales.tolist() == [1.0]


def test_order_of_the_grid_and_rows_of_zeros():
    mixed = rg.likelihood_map(path_of(grid=GRID[::-1]), X, Z)
    np.testing.assert_array_equal(mixed.nll, rg.likelihood_map(path_of(), X, Z).nll)
    with pytest.warns(rg.IllConditionedWarning, match="1 of 41 targets"):
        found = rg.likelihood_map(path_of(), np.vstack([X, np.zeros(6)]), np.r_[Z, 5.0])
    np.testing.assert_allclose(found.least_nll, rg.likelihood_map(path_of(), X, Z).least_nll)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rg.likelihood_map(path_of(np.c_[Y, Y]), X, np.c_[Z, Z]), "2 outputs: expected one"),
        (lambda: rg.likelihood_map(path_of(), X, Z, [0.0]), "scales must be finite and positive"),
        (lambda: rg.likelihood_map(path_of(), X, Z, []), "scales must be finite and positive"),
        (lambda: rg.likelihood_map(path_of(), X, Z, noise=-1.0), "noise is -1"),
        (lambda: rg.likelihood_map(path_of(), X, Z[:-1]), "y has shape"),
        (lambda: rg.likelihood_map(path_of(0 * Y), X, 0 * Z), "all residuals are 0"),
        (lambda: rg.likelihood_map(path_of(), 0 * X, Z), "variance 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_figure():
    figure = draw_likelihood_map(rg.likelihood_map(path_of(grid=np.logspace(-6, 4, 101)), X, Z, noise=1.0), unit="eV")
    axes, bar = figure.axes
    assert axes.get_ylabel() == "scale (eV)"
    assert "40 targets" in bar.get_ylabel()
    one = draw_likelihood_map(rg.likelihood_map(path_of(grid=[1.0]), X, Z))
    assert one.axes[0].get_ylabel() == "scale"
