"""The structures of batches, with all their targets: what leave-one-out leaves out of a loss.

The energy of a structure and its forces come from one calculation, and their errors are alike. A
fit without the energy alone still knows the forces of the same atoms, and predicts the energy
better than that of any new structure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rigidities.loss.rows import Batch, TermRows
from rigidities.loss.terms import Loss

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Structure(NamedTuple):
    """All targets of a structure.

    Attributes
    ----------
    values : ndarray of shape (m, n_features)
    targets : ndarray of shape (m,)
    weights : ndarray of shape (m,)
        Weights in the loss, all positive.
    """

    values: NDArray[np.float64]
    targets: NDArray[np.float64]
    weights: NDArray[np.float64]


def structures_of(batches: Iterable[Batch], loss: Loss) -> Iterator[Structure]:
    """Yield the structures of each batch, in the order of their labels.

    Targets of weight 0 are left out.

    Raises
    ------
    ValueError
        If rows do not say which structure each target belongs to.
    """
    for batch in batches:
        terms = [(name, batch[name], term.weight) for name, term in loss.terms.items()]
        labels = np.concatenate([_labels(name, rows) for name, rows, _ in terms])
        weights = np.concatenate([weight * rows.known_weights for _, rows, weight in terms])
        values = np.concatenate([rows.values for _, rows, _ in terms])
        targets = np.concatenate([rows.known_targets for _, rows, _ in terms])
        order = np.argsort(labels, kind="stable")
        order = order[weights[order] > 0]
        for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
            if len(members):
                yield Structure(values[members], targets[members], weights[members])


def _labels(name: str, rows: TermRows) -> NDArray[np.int64]:
    if rows.blocks is None and len(rows):
        raise ValueError(
            f"the rows of {name} have no blocks: regularizer 'loo' leaves out whole structures, so pass the index of "
            "each target's structure, TermRows(..., blocks=...)"
        )
    return np.zeros(0, dtype=np.int64) if rows.blocks is None else rows.blocks


def each_alone(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield batches in which each target of rows without blocks is a structure of its own."""
    for batch in batches:
        first = 1 + max(
            (int(rows.blocks.max(initial=-1)) for rows in batch.values() if rows.blocks is not None), default=-1
        )
        numbered = {}
        for name, rows in batch.items():
            if rows.blocks is None:
                rows = replace(rows, blocks=np.arange(first, first + len(rows)))
                first += len(rows)
            numbered[name] = rows
        yield numbered
