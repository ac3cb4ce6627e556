"""Model error by fits through single targets, and the sandwich: against NumPy, refits and popsregression."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rigidities as rg


def data(n=60, p=5, seed=0, curved=0.3):
    """Targets without noise that a linear model cannot meet."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, p))
    return F, F @ rng.normal(size=p) + curved * np.sin(3 * F[:, 0]) * F[:, 1], rng.uniform(0.5, 2, n)


def fitted(F, y, w=None, regularizer=1e-3, **options):
    covariance = rg.Covariance(F.shape[1], **options)
    covariance.update(F, targets=y, weights=w)
    return covariance.factorize(regularizer)


def pieces(F, y, w, regularizer=1e-3):
    """Dense H⁻¹, residuals, h."""
    inverse = np.linalg.inv(F.T * w @ F + regularizer * np.eye(F.shape[1]))
    r = y - F @ (inverse @ (F.T @ (w * y)))
    return inverse, r, np.einsum("ij,jk,ik->i", F, inverse, F)


@pytest.mark.parametrize("accumulation", ["sums", "qr"])
def test_the_formula(accumulation):
    F, y, w = data()
    inverse, r, h = pieces(F, y, w)
    shifts = (r / h)[:, None] * F @ inverse
    expected = shifts.T @ shifts / len(F)
    spread = rg.misspecification(fitted(F, y, w, accumulation=accumulation), [(F, y, w)])
    np.testing.assert_allclose(spread.covariance, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
    X = np.random.default_rng(1).normal(size=(7, 5))
    np.testing.assert_allclose(spread.variance(X), np.einsum("ij,jk,ik->i", X, expected, X), rtol=1e-10)
    assert (spread.n, spread.n_aside) == (60, 0)


def test_each_fit_passes_through_its_target_and_is_the_nearest():
    """Minimise (θ' − θ)ᵀH(θ' − θ) with fᵀθ' = y by Lagrange's equations."""
    F, y, w = data(n=12)
    inverse = pieces(F, y, w)[0]
    H, theta = np.linalg.inv(inverse), inverse @ (F.T @ (w * y))
    moment = np.zeros((5, 5))
    for f, target in zip(F, y, strict=True):
        system = np.block([[H, f[:, None]], [f[None], np.zeros((1, 1))]])
        nearest = np.linalg.solve(system, np.r_[H @ theta, target])[:5]
        moment += np.outer(nearest - theta, nearest - theta) / len(F)
    np.testing.assert_allclose(rg.misspecification(fitted(F, y, w), [(F, y, w)]).covariance, moment, rtol=1e-8)


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.8])
def test_popsregression(quantile):
    """`posterior="ensemble"` of the authors' package, at the λ that it finds."""
    pops = pytest.importorskip("popsregression")
    F, y, _ = data(n=200, p=8)
    model = pops.POPSRegression(posterior="ensemble", leverage_percentile=100 * quantile).fit(F, y)
    hessian = fitted(F, y, regularizer=model.lambda_ / model.alpha_)
    np.testing.assert_allclose(hessian.coef, model.coef_, rtol=1e-9)
    spread = rg.misspecification(hessian, [(F[:90], y[:90]), (F[90:], y[90:])], leverage_quantile=quantile)
    expected = model.misspecification_sigma_
    np.testing.assert_allclose(spread.covariance, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    assert spread.n == model.posterior_samples_.shape[1]


@pytest.mark.parametrize("kind", ["HC0", "HC3"])
def test_the_sandwich(kind):
    F, y, w = data()
    inverse, r, h = pieces(F, y, w)
    e = w * r / (1 if kind == "HC0" else 1 - w * h)
    expected = inverse @ (F.T * e**2 @ F) @ inverse
    found = rg.robust_covariance(fitted(F, y, w), [(F, y, w)], kind)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-10, atol=1e-13 * np.abs(expected).max())
    assert found.kind == kind


def test_hc3_is_the_jackknife():
    """Σ (θ without i − θ)(…)ᵀ of refits."""
    F, y, w = data(n=25)
    theta = fitted(F, y, w).coef
    shifts = []
    for i in range(25):
        rest = np.arange(25) != i
        shifts.append(fitted(F[rest], y[rest], w[rest]).coef - theta)
    expected = np.array(shifts).T @ np.array(shifts)
    found = rg.robust_covariance(fitted(F, y, w), [(F, y, w)]).covariance
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-10 * np.abs(expected).max())


def test_the_sandwich_holds_where_noise_differs():
    """Noise that grows with the row: the posterior's σ is far off, that of the sandwich is not."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(400, 2))
    sizes, theta = 3 * np.abs(F[:, 0]), np.array([1.0, -1.0])
    fits, predicted = [], []
    for _ in range(400):
        y = F @ theta + sizes * rng.normal(size=400)
        hessian = fitted(F, y, regularizer=1e-9)
        fits.append(hessian.coef)
        predicted.append(np.diagonal(rg.robust_covariance(hessian, [(F, y)]).covariance))
    true = np.var(fits, axis=0)
    np.testing.assert_allclose(np.mean(predicted, axis=0), true, rtol=0.2)


def test_bounds_hold_all_fits_and_turn_with_the_features():
    F, y, w = data()
    inverse, r, h = pieces(F, y, w)
    X = np.random.default_rng(1).normal(size=(9, 5))
    spread = rg.misspecification(fitted(F, y, w), [(F, y, w)])
    low, high = spread.bounds(X)
    deviations = X @ ((r / h)[:, None] * F @ inverse).T
    assert (low <= deviations.min(axis=1) + 1e-12).all()
    assert (high >= deviations.max(axis=1) - 1e-12).all()
    assert (high < 6 * deviations.max(axis=1)).all()  # not empty words: p = 5 directions
    Q = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    turned = rg.misspecification(fitted(F @ Q, y, w), [(F @ Q, y, w)])
    np.testing.assert_allclose(turned.bounds(X @ Q), (low, high), rtol=1e-8)


@given(st.integers(1, 40), st.floats(0.01, 100))
def test_portions_and_units(size, unit):
    F, y, w = data()
    whole = rg.misspecification(fitted(F, y, w), [(F, y, w)])
    parts = [(F[i : i + size], unit * y[i : i + size], w[i : i + size]) for i in range(0, len(F), size)]
    scaled = rg.misspecification(fitted(F, unit * y, w), parts)
    np.testing.assert_allclose(scaled.covariance, unit**2 * whole.covariance, rtol=1e-9, atol=1e-12 * unit**2)
    np.testing.assert_allclose(scaled.bounds(F), unit * np.array(whole.bounds(F)), rtol=1e-6, atol=1e-9 * unit)


def test_it_stays_where_the_posterior_shrinks():
    """Ten times the data: v falls tenfold, model error by less than a third."""
    ratios = []
    for n in (300, 3000):
        F, y, _ = data(n=n)
        hessian = fitted(F, y)
        X = np.eye(5)
        ratios.append((hessian.variance(X).mean(), rg.misspecification(hessian, [(F, y)]).variance(X).mean()))
    (v, m), (less_v, less_m) = ratios
    assert less_v < 0.15 * v
    assert less_m > 0.6 * m


def test_the_dual_form_and_rows_with_groups():
    rng = np.random.default_rng(0)
    F, y = rng.normal(size=(20, 50)), rng.normal(size=20)
    inverse, r, h = pieces(F, y, np.ones(20), 0.5)
    shifts = (r / h)[:, None] * F @ inverse
    dual = rg.Hessian.from_rows(F, 0.5, targets=y)
    atoms = rg.Rows(np.repeat(F, 2, axis=0), np.repeat(np.arange(20), 2))
    for rows in (F, atoms):
        found = rg.misspecification(dual, [(rows, y)])
        np.testing.assert_allclose(found.covariance, shifts.T @ shifts / 20, rtol=1e-7, atol=1e-12)


def test_rows_at_rounding_and_of_no_weight_are_set_aside():
    F, y, w = data()
    expected = rg.misspecification(fitted(F, y, w), [(F, y, w)])
    zeros = np.vstack([np.zeros((2, 5)), 1e-9 * np.ones((3, 5)), np.ones((1, 5))])
    more = np.vstack([F, zeros]), np.r_[y, np.full(6, 1e-7)], np.r_[w, np.ones(5), 0.0]
    with pytest.warns(rg.IllConditionedWarning, match="5 of 65 targets have rows that are zero or nearly so"):
        found = rg.misspecification(fitted(F, y, w), [more])
    assert (found.n, found.n_aside) == (60, 5)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-10, atol=1e-14)


def test_a_target_of_full_leverage():
    F, y, w = data()
    alone = np.zeros((61, 6))
    alone[:60, :5], alone[60, 5] = F, 1.0
    targets, weights = np.r_[y, 3.0], np.r_[w, 1.0]
    hessian = fitted(alone, targets, weights, regularizer=1e-18)
    with pytest.warns(rg.IllConditionedWarning, match="1 of 61 targets determine a direction alone"):
        found = rg.robust_covariance(hessian, [(alone, targets, weights)])
    assert (found.n, found.n_aside) == (60, 1)


def test_rows_that_are_read_once():
    F, y, w = data()
    spread = rg.misspecification(fitted(F, y, w), iter([(F, y, w)]))
    with pytest.raises(ValueError, match="read only once"):
        spread.bounds(F)
    with pytest.raises(ValueError, match="leverage_quantile needs the rows twice"):
        rg.misspecification(fitted(F, y, w), iter([(F, y, w)]), leverage_quantile=0.5)


def test_bad_input():
    F, y, w = data()
    hessian = fitted(F, y, w)
    with pytest.raises(TypeError, match="hessian is a int"):
        rg.misspecification(3, [(F, y)])
    with pytest.raises(TypeError, match="batches is a int"):
        rg.misspecification(hessian, 3)
    with pytest.raises(TypeError, match="batch 1 is a ndarray: expected a tuple"):
        rg.misspecification(hessian, [(F, y), F])
    with pytest.raises(ValueError, match="y has shape"):
        rg.misspecification(hessian, [(F, y[:-1])])
    with pytest.raises(ValueError, match="4 columns"):
        rg.misspecification(hessian, [(F[:, :4], y)])
    with pytest.raises(ValueError, match="leverage_quantile is 1"):
        rg.misspecification(hessian, [(F, y)], leverage_quantile=1)
    with pytest.raises(ValueError, match="kind is"):
        rg.robust_covariance(hessian, [(F, y)], "HC1")
    with pytest.raises(ValueError, match="no targets of positive weight"):
        rg.misspecification(hessian, [])
    with pytest.raises(ValueError, match="2 outputs: expected one"):
        rg.misspecification(fitted(F, np.c_[y, y]), [(F, np.c_[y, y])])
    plain = rg.Covariance(5)
    plain.update(F)
    with pytest.raises(rg.NotFittedError):
        rg.misspecification(plain.factorize(1.0), [(F, y)])
