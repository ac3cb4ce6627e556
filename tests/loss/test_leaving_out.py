"""\"loo\" of a loss: each structure is left out with all its targets, against refits without it."""

from dataclasses import replace

import numpy as np
import pytest
from loss_batches import P, batches, left_out

import rigidities as rg
import rigidities.regularizer.blocks as blocks_left_out

ENERGY, FORCES, VIRIAL = rg.Term(weight=20.0), rg.Term(weight=0.5), rg.Term(weight=3.0)
LOSSES = {
    "energies and forces": rg.Loss(energy=ENERGY, forces=FORCES),
    "forces": rg.Loss(forces=FORCES),
    "energies and virials": rg.Loss(energy=ENERGY, virial=VIRIAL),
    "all": rg.Loss(energy=ENERGY, forces=FORCES, virial=VIRIAL),
    "several energies of a structure": rg.Loss(energy=ENERGY),
    "energies without effect": rg.Loss(energy=rg.Term(weight=0.0), forces=FORCES),
}


@pytest.fixture(params=["update", "decompose"])
def form(request, monkeypatch):
    """Leave out all structures by one of two forms, whatever their size."""
    monkeypatch.setattr(blocks_left_out, "FORMS", {"update": np.inf, "decompose": 0.0}[request.param])


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_structures_are_left_out_with_all_their_targets(loss, penalised):
    """√(Σwe²/n) of refits, at every λ of the path; λ is where it is least."""
    rows = batches(loss, 6)
    penalty = np.arange(1.0, P + 1) if penalised else None
    fit = rg.fit_loss(rows, regularizer="loo", penalty=penalty)
    n = fit.covariance.n_rows
    assert n == sum(len(batch[name]) for batch in rows for name, term in loss.terms.items() if term.weight)
    for i in range(0, len(fit.left_out), 5):
        lam = fit.path.regularizers[i]
        expected = np.sqrt(left_out(rows, loss, lam, penalty) / n)
        assert fit.left_out[i] == pytest.approx(expected, rel=1e-7 if lam > 1e-8 else 0.1)
    assert fit.hessian.regularizer == fit.path.regularizers[np.nanargmin(fit.left_out)]
    assert fit.hessian.regularizer_reason == "leave-one-out of structures: the least of a path"


def test_batches_and_the_order_of_rows_do_not_matter():
    loss = LOSSES["all"]
    rows = batches(loss, 4)
    fit = rg.fit_loss(rows, regularizer="loo")
    joined, random = {}, np.random.default_rng(0)
    for name in loss.terms:
        parts = [batch[name] for batch in rows]
        order = random.permutation(sum(map(len, parts)))
        values, targets, weights = (
            np.concatenate([getattr(part, what) for part in parts])[order] for what in ("values", "targets", "weights")
        )
        labels = np.concatenate([part.blocks - 7 * i for i, part in enumerate(parts)])[order]
        joined[name] = replace(parts[0], values=values, targets=targets, weights=weights, blocks=labels)
    whole = rg.fit_loss([joined], regularizer="loo")
    known = fit.path.regularizers > 1e-8
    np.testing.assert_allclose(whole.left_out[known], fit.left_out[known], rtol=1e-6)


def test_energies_alone_are_read_once():
    loss = rg.Loss(energy=ENERGY)
    fit = rg.fit_loss(iter(batches(loss, 6)), regularizer="loo")
    assert fit.hessian.regularizer == rg.fit_loss(batches(loss, 6), regularizer="loo").hessian.regularizer
    assert len(fit.energies) == 24
    without = [{"energy": replace(batch["energy"], blocks=None)} for batch in batches(loss, 6)]
    fit = rg.fit_loss(without, regularizer="loo")
    rows = fit.energies
    scores = fit.path.score(rows.values, rows.targets, "loo", weights=rows.weights_in_loss)
    np.testing.assert_allclose(fit.left_out, scores * np.sqrt(rows.weights_in_loss.sum() / 24), rtol=1e-12)


class Once:
    """An iterable that has its batches a single time."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        rows, self.rows = self.rows, []
        return iter(rows)


@pytest.mark.parametrize("make", [iter, Once])
def test_rows_that_can_be_read_only_once_are_refused(make):
    with pytest.raises(ValueError, match="regularizer 'loo', needs the rows several times, but these can be read only"):
        rg.fit_loss(make(batches()), regularizer="loo")


def test_rows_that_do_not_say_their_structure_are_refused():
    rows = batches()
    rows[1]["forces"] = replace(rows[1]["forces"], blocks=None)
    with pytest.raises(ValueError, match=r"the rows of forces have no blocks: regularizer 'loo' leaves out whole str"):
        rg.fit_loss(rows, regularizer="loo")
    assert rg.fit_loss(rows, regularizer="gcv").left_out is None
