"""A fit takes the rows up by "qr" where sums hide the evidence, and left-out structures agree."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import rigidities as rg

LOSS = rg.Loss(energy=rg.Term(2.0), forces=rg.Term(0.5))


def ill_conditioned(n=80, p=12, noise=1e-6, seed=1):
    """Rows of condition 1e11 whose small directions carry signal: sums know λ down to 1e-13 or so."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.normal(size=shape))[0] for shape in ((n, p), (p, p)))
    F = U * np.logspace(0, -11, p) @ V.T
    return F, F @ (V @ np.logspace(0, 8, p)) + noise * rng.normal(size=n)


def batches_of(F, y, blocks=True):
    """Return four batches, each of energies and forces of structures of four targets."""
    found = []
    for part in np.split(np.arange(len(y)), 4):
        energies, forces = part[: len(part) // 2], part[len(part) // 2 :]
        labels = {"blocks": np.arange(len(energies)) // 2} if blocks else {}
        found.append(
            {
                "energy": rg.TermRows(F[energies], term=LOSS.energy, targets=y[energies], **labels),
                "forces": rg.TermRows(F[forces], term=LOSS.forces, targets=y[forces], **labels),
            }
        )
    return found


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("rule", ["auto", "evidence"])
def test_the_factor_is_taken_where_the_evidence_asks_for_it(rule, blocks):
    batches = batches_of(*ill_conditioned(), blocks=blocks)
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="smallest regularizer"):
        sums = rg.fit_loss(batches, regularizer=rule, accumulation="sums")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = rg.fit_loss(batches, regularizer=rule)
        factor = rg.fit_loss(batches, regularizer=rule, accumulation="qr")
    assert fit.covariance.accumulation == "qr"
    assert fit.hessian.regularizer == factor.hessian.regularizer
    np.testing.assert_array_equal(fit.coef, factor.coef)
    assert fit.hessian.regularizer < 0.1 * sums.hessian.regularizer
    F, y = ill_conditioned()
    rest = [np.linalg.norm(y - F @ one.coef) for one in (fit, sums)]
    assert rest[0] < 0.5 * rest[1]


def test_left_out_structures_can_speak_against_it():
    """Equal structures without noise: the evidence grows as λ falls, errors of others do not shrink."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(40, 60)) * np.logspace(0, -3, 60)
    F = np.vstack([F, F[:20]])
    y = np.sin(2 * F[:, 0]) + F[:, 1] ** 2
    batch = {"energy": rg.TermRows(F, term=rg.Term(), targets=y)}
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="regularizer at which it is resolved, 1.98e-24"):
        rg.fit_loss([batch], accumulation="qr")
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="evidence"):
        fit = rg.fit_loss([batch])
    assert fit.covariance.accumulation == "sums"
    assert fit.hessian.regularizer > 1e-13


def test_a_penalty_that_sums_refuse():
    """K_MM of condition 1e17: refused for sums, fitted as whitened rows are."""
    x, rng = np.linspace(0, 1, 200), np.random.default_rng(0)
    kernel = np.exp(-((x[:, None] - x[::5]) ** 2) / 0.3)
    y = np.sin(9 * x) + 0.01 * rng.normal(size=200)
    whitening = rg.Whitening(kernel[::5])

    def fitted(rows, penalty, accumulation="auto"):
        batch = {"energy": rg.TermRows(rows, term=rg.Term(), targets=y)}
        return rg.fit_loss([batch], penalty=penalty, accumulation=accumulation)

    with pytest.raises(ValueError, match="Whitening"):
        fitted(kernel, kernel[::5], "sums")
    fit, white = fitted(kernel, kernel[::5]), fitted(whitening.rows(kernel), whitening.penalty)
    assert fit.covariance.accumulation == "qr"
    np.testing.assert_allclose(kernel @ fit.coef, whitening.rows(kernel) @ white.coef, atol=2e-3)


def test_rows_that_are_read_once_keep_the_sums():
    with pytest.warns(rg.UnresolvedEvidenceWarning):
        fit = rg.fit_loss(iter(batches_of(*ill_conditioned())))
    assert fit.covariance.accumulation == "sums"


def test_where_memory_is_short_the_sums_are_kept(monkeypatch):
    from rigidities.loss import minimum

    def refuse(rows, *, accumulation):
        if accumulation == "qr":
            raise MemoryError
        return rg.loss_sums(rows, accumulation=accumulation)

    monkeypatch.setattr(minimum, "loss_sums", refuse)
    with pytest.warns(rg.UnresolvedEvidenceWarning):
        fit = rg.fit_loss(batches_of(*ill_conditioned()))
    assert fit.covariance.accumulation == "sums"


def test_huber_by_the_factor():
    """Without rounding both ways are one: the same minimum, λ given."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(80, 6))
    y = F @ rng.normal(size=6) + 0.1 * rng.normal(size=80)
    y[::9] += 5.0
    batches = batches_of(F, y)
    loss = rg.Loss(energy=replace(LOSS.energy, huber=0.2), forces=replace(LOSS.forces, huber=0.1))
    fits = [rg.fit_loss(batches, loss, regularizer=1e-3, accumulation=kind) for kind in ("sums", "qr")]
    np.testing.assert_allclose(fits[0].coef, fits[1].coef, rtol=1e-7)
    np.testing.assert_allclose(fits[0].hessian.variance(F), fits[1].hessian.variance(F), rtol=1e-9)


def test_training_errors_of_the_factor():
    """Σwr² by ‖z − Rθ‖², where sums have no digit of it."""
    F, y = ill_conditioned(noise=1e-9)
    batches = batches_of(F, y)
    fit = rg.fit_loss(batches, accumulation="qr", regularizer=1e-24)
    sums = rg.loss_sums(batches, accumulation="qr")
    found = sums.errors(np.array([fit.coef, 0.9 * fit.coef]))
    for name in ("energy", "forces"):
        rows = [batch[name] for batch in batches]
        for i, coef in enumerate((fit.coef, 0.9 * fit.coef)):
            direct = np.sqrt(np.mean(np.concatenate([part.residuals(coef) for part in rows]) ** 2))
            np.testing.assert_allclose(found[name][i], direct, rtol=0.2 if i == 0 else 1e-6)
    assert np.isnan(rg.loss_sums(batches).errors(fit.coef)["energy"])


def test_another_word():
    with pytest.raises(ValueError, match='accumulation is "both": expected "auto", "sums" or "qr"'):
        rg.fit_loss(batches_of(*ill_conditioned()), accumulation="both")
    with pytest.raises(ValueError, match='accumulation is "auto": expected "sums" or "qr"'):
        rg.loss_sums(batches_of(*ill_conditioned()), accumulation="auto")


def test_weights_of_terms_with_a_penalty_that_hides_the_evidence():
    """Refused for sums, as `factorize` does; resolved for "qr"."""
    x, rng = np.linspace(0, 1, 200), np.random.default_rng(0)
    kernel = np.exp(-((x[:, None] - x[::5]) ** 2) / 0.3)
    y, part = np.sin(9 * x), np.arange(200) % 2 == 0
    y += np.where(part, 0.001, 0.01) * rng.normal(size=200)
    loss = rg.Loss(energy=rg.Term(), forces=rg.Term())
    batch = {
        "energy": rg.TermRows(kernel[part], term=loss.energy, targets=y[part]),
        "forces": rg.TermRows(kernel[~part], term=loss.forces, targets=y[~part]),
    }
    losses = [loss.with_weights(energy=weight) for weight in (1.0, 100.0)]
    with pytest.raises(ValueError, match="Whitening"):
        rg.scan_term_weights(rg.loss_sums([batch]), losses, penalty=kernel[::5])
    with pytest.raises(ValueError, match="Whitening"):
        rg.most_probable_weights(rg.loss_sums([batch]), loss, penalty=kernel[::5])
    factors = rg.loss_sums([batch], accumulation="qr")
    assert rg.scan_term_weights(factors, losses, penalty=kernel[::5]).best == losses[1]
    weight = rg.most_probable_weights(factors, loss, penalty=kernel[::5]).forces.weight
    np.testing.assert_allclose(weight, 0.01, rtol=0.5)
