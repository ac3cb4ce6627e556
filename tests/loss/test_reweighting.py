"""Huber's loss: λ and the baseline are chosen as if no label were far off."""

from dataclasses import replace

import numpy as np
import pytest
from loss_batches import P, batches, dense
from scipy.optimize import minimize

import rigidities as rg
from rigidities.loss.terms import without_thresholds


def reweighted(rows, coef, delta):
    u = np.minimum(1, delta / abs(rows.targets - rows.values @ coef))
    return replace(rows, weights=rows.weights * u**2)


@pytest.mark.parametrize("rule", ["auto", "evidence", "gcv", "loo"])
def test_a_huber_fit_chooses_from_bounded_residuals(rule):
    """The rule is applied to squares of weights w·min(1, δ/|r|)², with the residuals of the fit itself."""
    delta = 0.2
    loss = rg.Loss(energy=rg.Term(weight=2.0, huber=delta), forces=rg.Term(weight=0.5, huber=delta))
    rows = batches(loss, outliers=0.15)
    penalty = np.arange(1.0, P + 1)
    fit = rg.fit_loss(rows, regularizer=rule, penalty=penalty)
    X, y, w = dense(rows, loss)
    r = y - X @ fit.coef
    assert 3 < np.sum(abs(r) > delta) < len(r) / 2
    w = w * np.minimum(1, delta / abs(r)) ** 2
    np.testing.assert_allclose(fit.covariance.matrix(), X.T @ (w[:, None] * X), rtol=1e-10, atol=1e-10)
    covariance = rg.Covariance(P)
    covariance.update(X, targets=y, weights=w)
    if rule == "auto":
        expected = covariance.factorize(penalty=penalty).regularizer
    elif rule == "loo":
        bounded = [{name: reweighted(rows, fit.coef, delta) for name, rows in batch.items()} for batch in rows]
        expected = rg.fit_loss(
            bounded, without_thresholds(loss), regularizer="loo", penalty=penalty
        ).hessian.regularizer
    else:
        expected = rg.regularizer_path(covariance, penalty=penalty).best(rule)
    assert fit.hessian.regularizer == pytest.approx(expected, rel=0.15)  # the last step of less than a twentieth


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("rule", ["auto", "evidence", "gcv", "loo"])
@pytest.mark.parametrize("name", ["energy", "forces"])
def test_the_size_of_an_outlier_does_not_matter(name, rule, size):
    """Ten times the data and one wrong target: λ and θ are near those without it, however wrong it is."""
    loss = rg.Loss(energy=rg.Term(weight=2.0, huber=0.5), forces=rg.Term(weight=0.5, huber=0.5))
    clean, wrong = batches(loss, 10), batches(loss, 10)
    targets = wrong[3][name].targets.copy()
    targets[1] += size
    wrong[3] |= {name: replace(wrong[3][name], targets=targets)}
    expected, found = (rg.fit_loss(rows, regularizer=rule) for rows in (clean, wrong))
    assert 0.3 < found.hessian.regularizer / expected.hessian.regularizer < 3
    np.testing.assert_allclose(found.coef, expected.coef, atol=0.03)


def test_only_the_last_choice_warns(recwarn):
    """Squares are emptied by an outlier, which a threshold bounds: nothing is left to warn of."""
    loss = rg.Loss(energy=rg.Term(huber=0.5))
    rows = batches(loss, 10)
    targets = rows[0]["energy"].targets.copy()
    targets[0] += 1e4
    rows[0] = {"energy": replace(rows[0]["energy"], targets=targets)}
    with pytest.warns(rg.EmptyFitWarning):
        rg.fit_loss(rows, rg.Loss(energy=rg.Term()))
    recwarn.clear()
    rg.fit_loss(rows)
    assert not recwarn.list


@pytest.mark.parametrize("per_atom", [True, False])
def test_a_baseline_with_a_threshold_is_of_least_huber_loss(per_atom):
    rng = np.random.default_rng(0)
    numbers = [rng.choice([1, 6, 8], size=n) for n in rng.integers(3, 12, size=40)]
    sizes = np.array([len(entry) for entry in numbers])
    shares = np.array([[np.mean(entry == species) for species in (1, 6, 8)] for entry in numbers])
    means = shares @ [-10.0, -1000.0, -2000.0] + 0.3 * rng.standard_t(2, size=40)
    means[5] += 500.0
    delta = 0.1
    units = np.ones(40) if per_atom else sizes

    def loss(energies):
        r = abs(means - shares @ energies) * units
        return np.sum(np.where(r < delta, r**2 / 2, delta * (r - delta / 2)) / units**2)

    baseline = rg.Baseline.fit(numbers, means * sizes, huber=delta, per_atom=per_atom)
    best = minimize(loss, baseline.energies, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
    np.testing.assert_allclose(baseline.energies, best, atol=0.02)
    np.testing.assert_allclose(baseline.energies, [-10.0, -1000.0, -2000.0], atol=0.6)
    squares = rg.Baseline.fit(numbers, means * sizes)
    assert np.abs(np.array(squares.energies) - [-10.0, -1000.0, -2000.0]).max() > 5
