"""A test set against the training set: what is low, what was seen, and what to compute next.

The command lines `report` and `score` both use it, so that they say the same of the same files.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.model.training_set import LOW, TrainingSet, equivalents, fingerprints
from rigidities.report.statistics import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.loss.terms import Term
    from rigidities.sources.source import Source
    from rigidities.validation import Reduction

NOT_HELD = "The rigidities of the training set are not in this file of the model; fit it again"
"""Said of a model in an older file."""

NAMED = 8
"""Structures that are named in a line of text. The files have all."""


@dataclass(frozen=True, eq=False)
class Against:
    """Structures of a test set beside a training set.

    Attributes
    ----------
    training : TrainingSet or None
        None if the model is of an older file that does not hold it.
    labels : ndarray of shape (n_structures,)
        Labels of the test structures.
    sizes : ndarray of shape (n_structures,)
        Numbers of atoms.
    pr, least_lpr : ndarray of shape (n_structures,)
        Prediction rigidity, and that of the least rigid atom.
    atom : ndarray of shape (n_structures,)
        That atom, counted from 0 in its structure.
    n_low : int
        Test atoms below the 1 % quantile of the training atoms.
    equivalents : ndarray of shape (n_structures,), or None
        PR/w. None if the loss has no energies.
    seen : ndarray of int of shape (n_structures,)
        The training structure that is the same, or −1.
    std : ndarray of shape (n_structures,), or None
        σ of the energy per atom, in meV; None without a fit.
    kinds : ndarray of str of shape (n_structures,), or None
        Kind of each structure, if it is known.
    """

    training: TrainingSet | None
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    pr: NDArray[np.float64]
    least_lpr: NDArray[np.float64]
    atom: NDArray[np.int64]
    n_low: int
    equivalents: NDArray[np.float64] | None
    seen: NDArray[np.int64]
    std: NDArray[np.float64] | None
    kinds: NDArray[np.str_] | None

    @property
    def order(self) -> NDArray[np.int64]:
        """Positions of the structures by PR, the least first: compute these next."""
        return np.argsort(self.pr, kind="stable")


def against(
    training: TrainingSet | None,
    *,
    structures: NDArray[np.int64],
    labels: NDArray[np.int64],
    lpr: NDArray[np.float64],
    pr: NDArray[np.float64],
    prints: NDArray[np.float64] | None,
    energy: Term | None,
    reduction: Reduction = "mean",
    std: NDArray[np.float64] | None = None,
    kinds: NDArray[np.str_] | None = None,
) -> Against:
    """Compare a test set with a training set.

    Parameters
    ----------
    training : TrainingSet or None
    structures : ndarray of shape (n_atoms,)
        Label of each atom's structure.
    labels : ndarray of shape (n_structures,)
        Labels of the structures, sorted.
    lpr : ndarray of shape (n_atoms,)
    pr : ndarray of shape (n_structures,)
    prints : ndarray of shape (n_structures, 5), or None
        From `rigidities.model.training_set.fingerprints`.
    energy : Term or None
        Energies in the loss, with their weight.
    reduction : {"mean", "sum"}
        PR is that of the energy per atom, or of the total energy.
    std, kinds : ndarray of shape (n_structures,), optional
    """
    place = np.searchsorted(labels, structures)
    sizes = np.bincount(place, minlength=len(labels))
    # atoms by structure, in each the least rigid first
    order = np.lexsort((lpr, place))
    first = order[np.cumsum(sizes) - sizes]
    rank_in = np.empty(len(lpr), dtype=np.int64)
    by_place = np.argsort(place, kind="stable")
    rank_in[by_place] = np.arange(len(lpr)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Against(
        training,
        labels,
        sizes,
        pr,
        lpr[first],
        rank_in[first],
        0 if training is None else int((lpr < training.low).sum()),
        equivalents(pr, energy, sizes, reduction),
        np.full(len(labels), -1) if training is None or prints is None else training.find(prints),
        std,
        kinds,
    )


def below_text(compared: Against) -> list[str]:
    """Return lines that say how many test atoms are low, in units that have a meaning."""
    n, n_low, training = int(compared.sizes.sum()), compared.n_low, compared.training
    text = f"{NOT_HELD}: what is low, and which structures it has seen, is unknown."
    if training is not None:
        text = (
            f"{n_low:,} of {n:,} test atoms ({100 * n_low / n:.3g} %) are less rigid than {100 - LOW} % of the "
            f"training atoms (LPR below {training.low:.2g})."
        )
    if compared.equivalents is not None:
        few = int((compared.equivalents < 1).sum())
        values = describe(compared.equivalents)
        text += (
            f" PR/weight counts equal training structures, and is at least 1 for a training structure itself: here "
            f"{values['min']:.2g} at least, {values['median']:.2g} in the median; below 1 for {few:,} of "
            f"{len(compared.pr):,} structures."
        )
    return textwrap.wrap(text, 100)


def seen_text(compared: Against) -> list[str]:
    """Return lines that count and name the test structures that are in the training set."""
    fact = seen_fact(compared.labels, compared.seen)
    return textwrap.wrap(f"{fact}.", 100) if fact else []


def seen_fact(labels: NDArray[Any], seen: NDArray[np.int64]) -> str:
    """Count and name the test structures that are in the training set; empty if there are none.

    `seen` (n_structures,) holds the training structure that is the same as each, or −1.
    """
    found = np.flatnonzero(seen >= 0)
    if not len(found):
        return ""
    pairs = [f"{labels[i]} (training {seen[i]})" for i in found[:NAMED].tolist()]
    rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return (
        f"{len(found):,} of {len(seen):,} test structures are in the training set, and say nothing about new ones: "
        f"{', '.join(pairs)}{rest}"
    )


def prints_of(source: Source) -> NDArray[np.float64]:
    """Return the fingerprints of the structures of a source, (n_structures, 5), in one pass."""
    return np.concatenate([fingerprints(rows) for rows in source.batches()])


def against_summary(compared: Against) -> dict[str, Any]:
    """Return the comparison as values of JSON."""
    training, n = compared.training, int(compared.sizes.sum())
    summary: dict[str, Any] = {}
    if training is not None:
        summary |= {
            "rank": training.rank,
            "lpr": training_row(training.lpr, int(training.sizes.sum())),
            "pr": training_row(training.pr, len(training.sizes)),
            "low": {"lpr": training.low, "n_atoms": compared.n_low, "share": compared.n_low / n},
        }
    if compared.equivalents is not None:
        summary["equivalent_structures"] = describe(compared.equivalents)
    found = np.flatnonzero(compared.seen >= 0)
    summary["in_training_set"] = {str(compared.labels[i]): int(compared.seen[i]) for i in found}
    return summary


def training_row(percentiles: NDArray[np.float64], n: int) -> dict[str, float]:
    """Return quantiles of a training set as `statistics.describe` returns those of a test set."""
    return describe(percentiles) | {"n": n}
