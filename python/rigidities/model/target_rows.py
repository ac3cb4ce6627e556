"""All target rows of a set of structures, in memory: for selections and learning curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice
from rigidities.runtime import memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.structures.loss_rows import LossRows


@dataclass(frozen=True, eq=False)
class TargetRows:
    """Rows of all terms of a loss, one per target.

    Attributes
    ----------
    values : ndarray of shape (n_targets, n_features)
    targets : ndarray of shape (n_targets,), or None
        Reference values, less the baseline; None if there are none.
    weights : ndarray of shape (n_targets,)
        Weights in the loss, with that of the term.
    blocks : ndarray of shape (n_targets,)
        Index of each target's structure.
    """

    values: NDArray[np.float64]
    targets: NDArray[np.float64] | None
    weights: NDArray[np.float64]
    blocks: NDArray[np.int64]


def target_rows(rows: LossRows, *, targets: bool) -> TargetRows:
    """Compute all rows; the terms of each batch of structures follow one another.

    Raises
    ------
    MemoryError
        If the rows do not fit in memory.
    """
    n, p = rows.n_targets, rows.n_features
    memory.require(8 * n * p, f"{n:,} rows of {p:,} features", Advice.FEWER_AT_A_TIME)
    values, weights = np.empty((n, p)), np.empty(n)
    labels, blocks = np.empty(n), np.empty(n, dtype=np.int64)
    end = 0
    for batch in rows:
        for part in batch.values():
            place = slice(end, end + len(part))
            values[place], weights[place] = part.values, part.weights_in_loss
            assert part.blocks is not None
            blocks[place] = part.blocks
            if targets:
                labels[place] = part.known_targets
            end = place.stop
    return TargetRows(values[:end], labels[:end] if targets else None, weights[:end], blocks[:end])
