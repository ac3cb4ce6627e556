"""Shares of training targets in variances, and what changes where a target or block is removed.

For a prediction gᵀθ and a block of rows F with weights W and residuals r = y − Fθ, let c = FH⁻¹g,
V = FH⁻¹Fᵀ and M = I − W^½VW^½. By Woodbury's identity, removal of the block

    raises the variance gᵀH⁻¹g by    cᵀW^½ M⁻¹ W^½c,
    lowers the prediction by         cᵀW^½ M⁻¹ W^½r.

For a single row of leverage h = wv these are wc²/(1 − h) and wcr/(1 − h) (Cook & Weisberg,
*Residuals and Influence in Regression*, 1982, chapter 3). Rows are whitened, so that c and V are
products of z = L⁻¹f; ẑ is that of g, of length 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.leave_one_out import rounding_of_left
from rigidities.rows import CheckedRows, reduce_rows, reduced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.factor import Factor

ROWS_AT_ONCE = 1024
"""Training rows that are whitened at a time: 8 MB at p = 1024."""


@dataclass(frozen=True, eq=False)
class Part:
    """Results of some predictions for some of the targets or blocks.

    Attributes
    ----------
    columns : ndarray of shape (m,) or (n, m)
        Numbers of the targets or blocks; in the second form each prediction has its own.
    shares, rises : ndarray of shape (n, m)
        Relative to the variance.
    pulls : ndarray of shape (n, m, n_outputs)
        In units of √variance times the targets'; no outputs without targets.
    """

    columns: NDArray[np.int64]
    shares: NDArray[np.float64]
    rises: NDArray[np.float64]
    pulls: NDArray[np.float64]

    def largest(self, k: int) -> Part:
        """Return the k largest shares of each prediction, the largest first."""
        columns = np.broadcast_to(self.columns, self.shares.shape)
        if k < self.shares.shape[1]:
            kept = np.sort(np.argpartition(-self.shares, k - 1, axis=1)[:, :k], axis=1)
        else:
            kept = np.broadcast_to(np.arange(self.shares.shape[1]), self.shares.shape)
        order = np.argsort(-np.take_along_axis(self.shares, kept, 1), axis=1, kind="stable")
        kept = np.take_along_axis(kept, order, 1)
        return Part(
            np.take_along_axis(columns, kept, 1),
            np.take_along_axis(self.shares, kept, 1),
            np.take_along_axis(self.rises, kept, 1),
            np.take_along_axis(self.pulls, kept[:, :, None], 1),
        )

    @classmethod
    def empty(cls, n: int, m: int, n_outputs: int) -> Part:
        """Return a part whose results are to be `put`."""
        return cls(np.arange(m), np.empty((n, m)), np.empty((n, m)), np.empty((n, m, n_outputs)))

    def put(self, part: Part) -> None:
        """Copy the results of some columns into this part of all."""
        these = slice(part.columns[0], part.columns[-1] + 1)
        self.shares[:, these], self.rises[:, these], self.pulls[:, these] = part.shares, part.rises, part.pulls

    @staticmethod
    def joined(parts: list[Part], axis: int) -> Part:
        """Return the predictions of all parts (axis 0), or the columns of all (1)."""
        if len(parts) == 1:
            return parts[0]
        columns = parts[0].columns
        if columns.ndim == 2:
            columns = np.concatenate([part.columns for part in parts], axis=axis)
        return Part(
            columns,
            np.concatenate([part.shares for part in parts], axis=axis),
            np.concatenate([part.rises for part in parts], axis=axis),
            np.concatenate([part.pulls for part in parts], axis=axis),
        )


class TrainingTargets:
    """Training rows, their weights and residuals, read some at a time.

    Parameters
    ----------
    hessian : Factor
    rows : CheckedRows
        One row per target, or labelled rows, which are reduced by their mean.
    w : ndarray of shape (n_targets,)
    members : list of ndarray, or None
        Targets of each block; None if each target is one.
    """

    def __init__(
        self, hessian: Factor, rows: CheckedRows, w: NDArray[np.float64], members: list[NDArray[np.int64]] | None
    ) -> None:
        if rows.groups is not None:
            rows = CheckedRows(reduce_rows(rows.values, rows.groups)[1], None, rows.feature_space)
        self.hessian, self.rows, self.w, self.members = hessian, rows, w, members
        self.residuals = np.zeros((len(w), 0))
        self.lost = np.zeros(self.n_columns, dtype=bool)
        self.size = 0.0  # Σw‖f‖², the trace of C
        for start in range(0, len(w), ROWS_AT_ONCE):
            batch = slice(start, start + ROWS_AT_ONCE)
            self.size += float(w[batch] @ np.square(self._features(batch)).sum(axis=1))

    @property
    def n_columns(self) -> int:
        """Number of blocks, or of targets."""
        return len(self.w) if self.members is None else len(self.members)

    def fit(self, y: NDArray[np.float64], coef: NDArray[np.float64]) -> None:
        """Keep the residuals of targets y (n_targets, n_outputs) of a fit (p, n_outputs)."""
        self.residuals = np.array(y)
        for start in range(0, len(y), ROWS_AT_ONCE):
            batch = slice(start, start + ROWS_AT_ONCE)
            self.residuals[batch] -= self._features(batch) @ coef

    def parts(self, directions: NDArray[np.float64]) -> Iterator[Part]:
        """Yield the results of predictions with these ẑ (n, rank), for some columns at a time.

        `lost` is True from then on for columns without which H is singular to rounding.
        """
        if self.members is None:
            for start in range(0, len(self.w), ROWS_AT_ONCE):
                yield self._of_rows(directions, np.arange(start, min(start + ROWS_AT_ONCE, len(self.w))))
            return
        first = 0
        for last in _ends([len(block) for block in self.members]):
            yield self._of_blocks(directions, first, self.members[first:last])
            first = last

    def _features(self, which: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        return reduced(self.rows, which, "mean")

    def _whitened(self, which: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return √w z of some targets, and √(trace(C)w) H⁻¹f, which bounds rounding."""
        Z = self.hessian._whitened(self._features(which))
        root = np.sqrt(self.w[which])[:, None]
        return root * Z, np.sqrt(self.size) * root * self.hessian._coloured(np.ascontiguousarray(Z.T)).T

    def _of_rows(self, directions: NDArray[np.float64], rows: NDArray[np.int64]) -> Part:
        Z, solved = self._whitened(rows)
        leverage = np.square(Z).sum(axis=1)
        left = 1 - leverage
        lost = left <= rounding_of_left(np.square(solved).sum(axis=1), leverage, self.rows.values.shape[1])
        self.lost[rows] = lost
        along = directions @ Z.T
        shares = along * along
        rises = shares / np.where(lost, 1.0, left)
        rises[:, lost] = np.inf
        factors = np.sqrt(self.w[rows])[:, None] * self.residuals[rows] / np.where(lost, np.nan, left)[:, None]
        return Part(rows, shares, rises, along[:, :, None] * factors)

    def _of_blocks(self, directions: NDArray[np.float64], first: int, blocks: list[NDArray[np.int64]]) -> Part:
        n, m, k = len(directions), len(blocks), self.residuals.shape[1]
        together = np.concatenate(blocks)
        Z, solved = self._whitened(together)
        along = directions @ Z.T
        part = Part(np.arange(first, first + m), np.empty((n, m)), np.empty((n, m)), np.empty((n, m, k)))
        start = 0
        for column, block in enumerate(blocks):
            these = slice(start, start + len(block))
            start += len(block)
            root = _inverse_root(Z[these], solved[these])
            self.lost[first + column] = root is None
            part.shares[:, column] = np.square(along[:, these]).sum(axis=1)
            if root is None:
                part.rises[:, column], part.pulls[:, column] = np.inf, np.nan
                continue
            G = along[:, these] @ root.T
            part.rises[:, column] = np.square(G).sum(axis=1)
            part.pulls[:, column] = G @ (root @ (np.sqrt(self.w[block])[:, None] * self.residuals[block]))
        return part


def _inverse_root(Z: NDArray[np.float64], solved: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return B with M⁻¹ = BᵀB for M = I − ZZᵀ; None if M is singular to rounding.

    The inverse of a Cholesky factor is ten times as fast as eigenvalues, and tells the smallest
    eigenvalue of M within a factor: it is at least 1/tr(M⁻¹). Eigenvalues, each with a bound of its
    own, are needed only near rounding.
    """
    from scipy.linalg import LinAlgError, cholesky, solve_triangular

    identity = np.eye(len(Z))
    M = identity - Z @ Z.T
    leverage, p = float(np.square(Z).sum()), solved.shape[1]
    bound = rounding_of_left(float(np.square(solved).sum()), leverage, p)
    try:
        B = solve_triangular(cholesky(M, lower=True, check_finite=False), identity, lower=True, check_finite=False)
        if np.square(B).sum() * bound < 1:
            return np.asarray(B)
    except LinAlgError:
        pass
    left, Q = np.linalg.eigh(M)
    bounds = rounding_of_left(np.square(Q.T @ solved).sum(axis=1), leverage, p)
    return None if (left <= bounds).any() else np.asarray(Q.T / np.sqrt(left)[:, None])


def _ends(sizes: list[int]) -> Iterator[int]:
    """Yield where batches of whole blocks end, of `ROWS_AT_ONCE` rows or one larger block."""
    n_rows = 0
    for index, size in enumerate(sizes):
        if n_rows and n_rows + size > ROWS_AT_ONCE:
            yield index
            n_rows = 0
        n_rows += size
    yield len(sizes)
