"""Huber fits: rows that cannot be read again, and penalties that are singular."""

import warnings

import numpy as np
import pytest
from loss_batches import P, batches

import rigidities as rg


class ReadOnce:
    """Rows that do not begin anew, though they are no iterator."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def __iter__(self):
        return self.rows


def test_rows_that_do_not_begin_anew_are_refused():
    loss = rg.Loss(energy=rg.Term(huber=0.1), forces=rg.Term())
    for rows in (iter(batches(loss)), ReadOnce(batches(loss))):
        with pytest.raises(ValueError, match="needs the rows several times, but these can be read only once"):
            rg.fit_loss(rows, regularizer=1e-3)

    class Fewer:
        made = batches(loss)

        def __iter__(self):
            yield from self.made
            self.made = self.made[1:]

    with pytest.raises(ValueError, match="the rows came in 3 batches, then in 2: pass a list"):
        rg.fit_loss(Fewer(), regularizer=1e-3)


@pytest.mark.parametrize(("regularizer", "n_batches"), [("auto", 1), ("auto", 8), ("gcv", 8)])
def test_a_singular_penalty_keeps_its_jitter_in_a_huber_fit(regularizer, n_batches):
    """With eight batches the data determine all directions, with one they leave some to the jitter."""
    rng = np.random.default_rng(5)
    B = rng.normal(size=(2, P))
    penalty = B.T @ B
    penalty[-1], penalty[:, -1] = 0.0, 0.0
    loss = rg.Loss(energy=rg.Term(huber=0.05))
    rows = batches(loss, n_batches, outliers=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.UnresolvedEvidenceWarning)
        squares = rg.fit_loss(rows, rg.Loss(energy=rg.Term()), regularizer=regularizer, penalty=penalty).hessian
        fit = rg.fit_loss(rows, regularizer=regularizer, penalty=penalty)
    assert fit.hessian.regularizer_reason == squares.regularizer_reason
    assert (fit.hessian.jitter > 0) == (squares.jitter > 0) == (n_batches == 1)
    assert np.isfinite(fit.coef).all()
    # the loss that is watched has the jitter, too
    H = fit.hessian
    jitter = H.jitter * np.eye(P) if n_batches == 1 else 0.0
    r = np.concatenate([batch["energy"].residuals(fit.coef) for batch in rows])
    w = np.concatenate([batch["energy"].weights for batch in rows])
    loss_of_rows = w @ np.where(abs(r) < 0.05, r**2 / 2, 0.05 * (abs(r) - 0.025))
    expected = loss_of_rows + H.regularizer / 2 * fit.coef @ (penalty + jitter) @ fit.coef
    assert fit.objective == pytest.approx(expected, rel=1e-6)
