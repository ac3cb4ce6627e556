"""Feature rows that carry their labels, and their reduction to target rows.

Types and shapes are checked by `rigidities.validation`. The compiled core finds NaN, which only a
pass over the data shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities import _core
from rigidities.exceptions import Advice
from rigidities.moments import warn_of_totals
from rigidities.runtime import memory
from rigidities.validation import Reduction, as_floats, as_groups, check_columns, check_feature_space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Feature rows with labels: rows of the same label belong to one target.

    All functions that take features take `Rows` too (`Covariance.update`, `Hessian.rigidity`, …).
    They use its groups, unless other groups are passed, and check its feature space.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        One row per atom, or per other contribution to a target.
    groups : ndarray of shape (n_rows,), optional
        Integer label of the target (structure, force component, …) that each row belongs to.
    feature_space : str, optional
        What the columns mean, e.g. a descriptor's settings or their hash. Rows of another space are
        refused.
    """

    values: NDArray[Any]
    groups: NDArray[np.int64] | None = None
    feature_space: str | None = None

    def __len__(self) -> int:
        return len(self.values)

    def without_groups(self) -> Rows:
        """Return the same rows, each a target of its own, as local rigidities (LPR) need."""
        return Rows(self.values, None, self.feature_space)


@dataclass(frozen=True, eq=False)
class CheckedRows:
    """Rows as the compiled core takes them: floats, with int64 labels."""

    values: NDArray[Any]
    groups: NDArray[np.int64] | None
    feature_space: str | None

    @classmethod
    def of(cls, X: ArrayLike | Rows, groups: ArrayLike | None) -> CheckedRows:
        """Check types and shapes; copy only what is neither float32 nor float64, or not aligned."""
        if isinstance(X, Rows):
            check_feature_space(X.feature_space)
            checked = cls.of(X.values, X.groups if groups is None else groups)
            return replace(checked, feature_space=X.feature_space)
        values = as_floats(X, "features", ndim=2)
        return cls(values, as_groups(groups, len(values)), None)

    @classmethod
    def matching(
        cls, X: ArrayLike | Rows, groups: ArrayLike | None, n_features: int, feature_space: str | None
    ) -> CheckedRows:
        """Check rows as `of` does, then their width and feature space; None matches every space."""
        rows = cls.of(X, groups)
        if feature_space is not None and rows.feature_space not in (None, feature_space):
            raise ValueError(
                f"the rows are of feature space {rows.feature_space!r}, but {feature_space!r} was expected: "
                "compute both with the same descriptor"
            )
        check_columns(rows.values.shape[1], n_features)
        return rows

    def warn_of_totals(self, targets: NDArray[np.float64], reduction: Reduction) -> None:
        """Warn if targets of mean rows grow with the sizes of the groups, as totals do."""
        if reduction == "sum" or self.groups is None or targets.shape[1] != 1:
            return
        sizes = np.unique(self.groups, return_counts=True)[1]
        if len(sizes) == len(targets):
            warn_of_totals(targets[:, 0], sizes, Advice.TOTAL_ENERGIES)

    def spread(self, n: int) -> CheckedRows:
        """Return the rows of at most `n` targets, spread over all of them."""
        n_targets = self.n_targets
        return self if n_targets <= n else self.of_targets(np.linspace(0, n_targets - 1, n).astype(np.int64))

    def of_targets(self, chosen: NDArray[np.int64]) -> CheckedRows:
        """Return the rows of some targets, of these places, rising, among the sorted labels."""
        if self.groups is None:
            return replace(self, values=self.values[chosen])
        kept = np.isin(self.groups, np.unique(self.groups)[chosen])
        return replace(self, values=self.values[kept], groups=self.groups[kept])

    @property
    def n_targets(self) -> int:
        """Number of target rows that these are reduced to."""
        return len(self.values) if self.groups is None else len(np.unique(self.groups))


def target_batches(rows: CheckedRows, reduction: Reduction, size: int = 1024) -> Iterator[NDArray[np.float64]]:
    """Yield target rows in the order of the sorted labels, about `size` rows at a time."""
    for chosen in row_batches(rows, size):
        yield reduced(rows, chosen, reduction)


def row_batches(rows: CheckedRows, size: int = 1024) -> Iterator[slice | NDArray[np.int64]]:
    """Yield which rows the next targets are made of, sorted by label, about `size` at a time."""
    if rows.groups is None:
        for start in range(0, max(len(rows.values), 1), size):  # no rows at all: the core says so
            yield slice(start, start + size)
        return
    order = np.argsort(rows.groups, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(rows.groups[order])) + 1, len(order))
    start = 0
    for i, end in enumerate(ends):
        if end - start >= size or i == len(ends) - 1:
            yield order[start:end]
            start = end


def reduced(rows: CheckedRows, chosen: slice | NDArray[np.int64], reduction: Reduction) -> NDArray[np.float64]:
    """Reduce the chosen rows; an error names the place of a fault among all rows."""
    try:
        return _core.reduce_rows(rows.values[chosen], None if rows.groups is None else rows.groups[chosen], reduction)
    except ValueError:  # it counts from the first of the chosen rows
        return _core.reduce_rows(rows.values, rows.groups, reduction)


def reduce_rows(
    X: ArrayLike | Rows, groups: ArrayLike | None = None, reduction: Reduction = "mean"
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Reduce rows with the same label into one target row.

    Parameters
    ----------
    X : array_like of shape (n_rows, n_features), or Rows
        Features, float32 or float64.
    groups : array_like of int of shape (n_rows,), optional
        Labels, in any order and with gaps. None: each row is a target (unless `X` brings groups).
    reduction : {"mean", "sum"}
        How the rows of one label become one row.

    Returns
    -------
    labels : ndarray of shape (n_targets,)
        The sorted labels, each once (row numbers where there are no groups).
    rows : ndarray of shape (n_targets, n_features)
        float64, in the order of `labels`.

    Raises
    ------
    ValueError
        If shapes do not match, or a feature is NaN or infinite (named by row and column).
    TypeError
        If the features are not real numbers or the labels not integers.
    MemoryError
        If the result does not fit in memory.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> labels, rows = rg.reduce_rows(np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]]), [7, 7, 2])
    >>> labels
    array([2, 7])
    >>> rows
    array([[3. , 3. ],
           [0.5, 0.5]])
    """
    rows = CheckedRows.of(X, groups)
    if isinstance(X, Rows) and groups is None:
        groups = X.groups
    labels = np.arange(len(rows.values)) if groups is None else np.unique(np.asarray(groups))
    memory.require(8 * len(labels) * rows.values.shape[1], "the reduced rows", Advice.FEWER_AT_A_TIME)
    return labels, _core.reduce_rows(rows.values, rows.groups, reduction)
