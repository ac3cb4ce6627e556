"""The candidates of a selection: their rows, which rows belong together, and what each costs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice
from rigidities.forms import target_rows
from rigidities.rows import reduce_rows
from rigidities.runtime import memory
from rigidities.validation import as_array, as_floats, as_weights, block_members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rigidities.hessian import Hessian
    from rigidities.rows import CheckedRows, Rows
    from rigidities.validation import Reduction


@dataclass(frozen=True, eq=False)
class Candidates:
    """Target rows in the order of their candidates.

    Attributes
    ----------
    labels : ndarray of shape (n_candidates,)
        Label of each: of its block, of its group, or its place.
    rows : ndarray of shape (n_targets, n_features)
        All rows of the first candidate, then those of the second, ….
    weights : ndarray of shape (n_targets,)
    starts : ndarray of shape (n_candidates + 1,)
        Where the rows of each begin, and those of the last end.
    """

    labels: NDArray[np.int64]
    rows: NDArray[Any]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        hessian: Hessian,
        candidates: ArrayLike | Rows,
        groups: ArrayLike | None,
        reduction: Reduction,
        weights: ArrayLike | None,
        blocks: ArrayLike | None,
    ) -> Candidates:
        """Check and reduce the rows, and bring those of each block together."""
        checked: CheckedRows = hessian._rows(candidates, groups)
        if len(checked.values) == 0:
            raise ValueError("candidates have no rows: pass at least one")
        if checked.groups is None:
            labels, rows = np.arange(len(checked.values)), checked.values
        else:
            labels, rows = reduce_rows(checked.values, checked.groups, reduction)
        w = as_weights(weights, len(rows))
        if blocks is None:
            return cls(labels, rows, w, np.arange(len(rows) + 1))
        members = block_members(blocks, len(rows))
        order = np.concatenate(members)
        starts = np.cumsum([0, *(len(block) for block in members)])
        if not np.array_equal(order, np.arange(len(order))):
            need = rows.dtype.itemsize * rows.size
            memory.require(need, "the rows of candidates, sorted by blocks", Advice.SORTED_BLOCKS)
            _require_finite(rows)  # sorted rows would be named by other places
            rows, w = rows[order], w[order]
        return cls(np.unique(as_array(blocks, "blocks")), rows, w, starts)

    def __len__(self) -> int:
        return len(self.labels)

    def whitened(self, hessian: Hessian) -> NDArray[np.float64]:
        """√w L⁻¹f of each row."""
        Z = hessian.whiten(self.rows)
        Z *= np.sqrt(self.weights)[:, None]
        return Z

    def rows_of(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Places of the rows of some candidates."""
        parts = [np.arange(self.starts[i], self.starts[i + 1]) for i in indices]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _require_finite(rows: NDArray[Any]) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        column = int(np.argmin(np.isfinite(rows[row])))
        raise ValueError(f"features[{row}, {column}] is {rows[row, column]}: only finite numbers are taken")


def updated(hessian: Hessian, F: NDArray[Any], weights: NDArray[np.float64]) -> Hessian:
    """Return a Hessian with more rows; the one given is left as it is."""
    grown = copy.copy(hessian)
    if len(F):
        grown.update(np.asarray(F, dtype=np.float64), weights=weights)
    return grown


def whitened_targets(
    hessian: Hessian, targets: ArrayLike | Rows | None, weights: ArrayLike | None, objective: str
) -> tuple[NDArray[np.float64] | None, list[float]]:
    """L⁻¹g of each target and their weights; None for an objective without targets."""
    if not objective.startswith("target_"):
        if targets is not None or weights is not None:
            raise ValueError(f'targets have no effect on objective "{objective}": leave them out, or choose another')
        return None, []
    if targets is None:
        raise ValueError(f'objective "{objective}" needs targets: pass the rows of the predictions to make rigid')
    rows = hessian._rows(targets, None)
    if len(rows.values) == 0:
        raise ValueError("targets have no rows: pass at least one")
    G = target_rows(rows)
    return hessian.whiten(G), [] if weights is None else _as_target_weights(weights, len(G)).tolist()


def _as_target_weights(weights: ArrayLike, n: int) -> NDArray[np.float64]:
    values = np.array(as_floats(weights, "target_weights", ndim=1, double=True))
    if values.shape != (n,):
        raise ValueError(f"target_weights has {len(values)} entries but there are {n} targets")
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise ValueError(
            f"target_weights[{int(np.argmax(bad))}] is {values[bad][0]}: weights must be finite and not negative"
        )
    if not values.any():
        raise ValueError("target_weights are all 0: there is nothing to make rigid")
    with np.errstate(over="ignore"):
        if np.isinf(values.sum()):
            raise ValueError("target_weights sum to more than float64 holds: divide them by their largest")
    return values
