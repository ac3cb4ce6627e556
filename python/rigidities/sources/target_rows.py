"""Rows of training targets and of test predictions of two sources, for a learning curve."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rigidities.exceptions import Advice, InputError, blame
from rigidities.loss.terms import Loss, Term
from rigidities.model.target_rows import TargetRows, target_rows
from rigidities.runtime import memory
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.labelled import labelled, loss_of_rows, structures_of

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.loss.baseline import Baseline
    from rigidities.model.linear import LinearModel
    from rigidities.sources.source import Source
    from rigidities.structures.descriptor import Descriptor


class Training(NamedTuple):
    """Rows of a training set, and what test rows are compared with.

    Attributes
    ----------
    rows : TargetRows
    loss : Loss
    baseline : Baseline or None
    """

    rows: TargetRows
    loss: Loss
    baseline: Baseline | None


def training_rows(train: Source, loss: Loss | None, model: LinearModel | None) -> Training:
    """Return the rows of all targets of a training set.

    Parameters
    ----------
    train : Source
    loss : Loss, optional
        Terms whose labels all structures have. Without them and a model, the energy of each
        structure is a target of weight 1 without a value.
    model : LinearModel, optional
        Its loss and baseline are taken instead. Targets that are not labelled are left out.
    """
    assert isinstance(train, Structures | Features)
    from rigidities.structures.loss_rows import LossRows

    if model is None and loss is None:
        loss = Loss(energy=Term(per_atom=True))
        frames, soap = _structures(train)
        with blame(train.name):
            rows = LossRows(frames, soap, loss, targets=False, progress=getattr(train, "progress", False))
            return Training(target_rows(rows, targets=False), loss, None)
    if model is not None:
        loss = Loss(**{name: replace(term, missing="skip", huber=None) for name, term in model.loss.terms.items()})
    assert loss is not None
    loss = loss_of_rows(loss) if isinstance(train, Features) else loss
    known = labelled(train, loss)
    baseline: Baseline | Literal["fit"] | None = "fit" if known.has_species else None
    baseline = baseline if model is None else model.baseline
    with blame(train.name):
        rows = LossRows(known.frames, known.soap, loss, baseline=baseline, progress=known.progress)
        return Training(target_rows(rows, targets=True), loss, rows.baseline)


def candidate_rows(pool: Source, loss: Loss) -> TargetRows:
    """Return the rows that structures would bring to a loss; they need no labels."""
    assert isinstance(pool, Structures | Features)
    from rigidities.structures.loss_rows import LossRows

    frames, soap = _structures(pool)
    terms = {name: replace(term, weights=None, huber=None) for name, term in loss.terms.items()}
    with blame(pool.name):
        rows = LossRows(frames, soap, Loss(**terms), targets=False, progress=getattr(pool, "progress", False))
        return target_rows(rows, targets=False)


def query_rows(source: Source, loss: Loss, of: Literal["structures", "atoms"]) -> NDArray[np.float64]:
    """Return the rows of the energies of structures, as the loss takes them, or of their atoms."""
    nothing = TargetRows(np.empty((0, source.n_features)), None, np.empty(0), np.empty(0, dtype=np.int64))
    return test_rows(source, Training(nothing, loss, None), of).values


class Test(NamedTuple):
    """Rows of predictions for a test set.

    Attributes
    ----------
    values : ndarray of shape (n_test, n_features)
    targets : ndarray of shape (n_test,), or None
        Energies less the baseline; None unless all structures have one.
    """

    values: NDArray[np.float64]
    targets: NDArray[np.float64] | None


def test_rows(test: Source, training: Training, of: Literal["structures", "atoms"]) -> Test:
    """Return the rows of the energies of a test set's structures, or of its atoms."""
    assert isinstance(test, Structures | Features)
    from rigidities.structures.loss_rows import LossRows
    from rigidities.structures.reference import read_known_reference

    if of == "atoms":
        n, p = int(test.sizes.sum()), test.n_features
        memory.require(16 * n * p, f"{n:,} rows of {p:,} features", Advice.FEWER_AT_A_TIME)
        return Test(np.concatenate([rows.values for rows in test.batches()]), None)
    if training.loss.energy is None:
        raise InputError("the loss of the model has no energies: pass --of atoms")
    loss = Loss(energy=replace(training.loss.energy, weight=1.0, huber=None, missing="skip", weights=None))
    frames, soap = _structures(test)
    with blame(test.name):
        reference = read_known_reference(frames, loss) if training.rows.targets is not None else {}
        known = "energy" in reference and not reference["energy"].n_missing
        rows = LossRows(
            frames,
            soap,
            loss,
            baseline=training.baseline if known else None,
            targets=reference if known else False,
            progress=getattr(test, "progress", False),
        )
        found = target_rows(rows, targets=known)
    return Test(found.values, found.targets)


def _structures(source: Structures | Features) -> tuple[list[Atoms], Descriptor]:
    if isinstance(source, Structures):
        return source.frames, source.soap
    return structures_of(source, mean=True)
