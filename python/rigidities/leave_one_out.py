"""Leave-one-out in closed form: each target, or block, predicted by the fit without it.

For a block of rows F with weights W, V = FH⁻¹Fᵀ, M = I − W^½VW^½ and r = y − Fθ, the fit without
the block has

    residuals  r + VW^½ M⁻¹ W^½r,    covariance  V + VW^½ M⁻¹ W^½V.

For a single row of leverage h = wv these are r/(1 − h) and v/(1 − h). No refit is needed (Woodbury;
Allen, Technometrics 16 (1974) 125; Cook & Weisberg, *Residuals and Influence in Regression*, 1982,
section 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, IllConditionedWarning, some_of, warn
from rigidities.hessian import Hessian
from rigidities.rounding import UNIT_ROUNDOFF
from rigidities.rows import CheckedRows, Rows, reduce_rows
from rigidities.validation import as_array, as_targets, as_weights, block_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

ROWS_AT_ONCE = 1024
"""Rows that are solved for together: 8 MB at p = 1024, enough for the solve to run at its full
speed."""


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Each training target, predicted by a fit without it.

    Attributes
    ----------
    residuals : ndarray of shape (n_targets,) or (n_targets, n_outputs)
        y minus the prediction of a fit without the target (without its block).
    variances : ndarray of shape (n_targets,)
        v = fᵀH⁻¹f of that fit, without noise.
    leverages : ndarray of shape (n_targets,)
        w fᵀH⁻¹f in the whole fit: the target's share of the degrees of freedom, between 0 and 1.
        Their sum over all targets is tr(CH⁻¹).
    """

    residuals: NDArray[np.float64]
    variances: NDArray[np.float64]
    leverages: NDArray[np.float64]


def leave_one_out(
    hessian: Hessian,
    F: ArrayLike | Rows,
    y: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
) -> LeaveOneOut:
    """Predict each training target by the fit without it, in closed form.

    The regularizer is the same. The cost is one solve with H per row, O(p²), and the memory that of
    a thousand rows.

    Parameters
    ----------
    hessian : Hessian
        With targets.
    F : array_like of shape (n_targets, n_features), or Rows
        Target rows that are in `hessian`: all of them or some. The groups of `Rows` are reduced by
        their mean.
    y : array_like of shape (n_targets,) or (n_targets, n_outputs)
        Their targets, as they went into the covariance.
    weights : array_like of shape (n_targets,), optional
        Their loss weights, 1 by default. A row of weight 0 is not part of the fit, which predicts
        it unchanged.
    blocks : array_like of int of shape (n_targets,), optional
        Rows with the same label (the energy and the forces of a structure) are left out together.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a weight is negative, or a number is not finite.
    NotFittedError
        If no targets were accumulated.

    Warns
    -----
    IllConditionedWarning
        If a target or block alone determines a direction, so that its leverage is 1 to rounding.
        There is no fit without it: its residuals are NaN, its variances infinite.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> F, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([0.0, 1.0, 4.0])
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(F, targets=y)
    >>> hessian = covariance.factorize(0.0)
    >>> rg.leave_one_out(hessian, F, y).residuals  # each off a line through the two others
    array([ 2., -1.,  2.])
    """
    if not isinstance(hessian, Hessian):
        raise TypeError(f"hessian is a {type(hessian).__name__}: expected a Hessian")
    found = leave_out(hessian, hessian.coef, F, y, weights, blocks)
    _warn_of(np.flatnonzero(np.isinf(found.variances)))
    return found


def leave_out(
    hessian: Hessian,
    coef: NDArray[np.float64],
    F: ArrayLike | Rows,
    y: ArrayLike,
    weights: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
) -> LeaveOneOut:
    """As `leave_one_out` for any `coef`, as Huber's fit is not H⁻¹b; without the warning."""
    CheckedRows.matching(F, None, hessian.n_features, hessian.feature_space)
    rows = reduce_rows(F)[1]
    outputs = as_targets(y, len(rows), coef.shape[1] if coef.ndim == 2 else 1)
    w = as_weights(weights, len(rows))
    fit = _Fit(rows, w, outputs - rows @ coef.reshape(len(coef), -1), float(w @ np.einsum("ij,ij->i", rows, rows)))
    variances, leverages = np.empty(len(rows)), np.empty(len(rows))
    for members in _batches(block_members(blocks, len(rows))):
        together = np.concatenate(members)
        solved = hessian.solve(rows[together].T).T
        leverages[together] = w[together] * np.einsum("ij,ij->i", rows[together], solved)
        if len(together) == len(members):
            fit.leave_rows(together, solved, leverages[together], variances)
            continue
        ends = np.cumsum([len(block) for block in members])
        for block, X in zip(members, np.split(solved, ends[:-1]), strict=True):
            fit.leave_block(block, X, variances)
    return LeaveOneOut(fit.residuals if as_array(y, "y").ndim == 2 else fit.residuals[:, 0], variances, leverages)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Rows, their weights and residuals (overwritten), and Σw‖f‖², which is at most the trace of H.

    If 1 − leverage is no larger than `rounding_of_left`, the fit without the rows is undetermined.
    """

    rows: NDArray[np.float64]
    w: NDArray[np.float64]
    residuals: NDArray[np.float64]
    size: float

    def _rounding(
        self, weighted: NDArray[np.float64] | float, leverage: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        return rounding_of_left(weighted, leverage, self.rows.shape[1])

    def _weighted(self, rows: NDArray[np.int64], X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return trace(H)·w‖H⁻¹f‖² of each row."""
        return np.asarray(np.square(self._scaled(rows, X)).sum(axis=1))

    def _scaled(self, rows: NDArray[np.int64], X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return √(trace(H)w) H⁻¹f of each row; ‖H⁻¹f‖² alone can leave the range of float64."""
        return np.asarray((np.sqrt(self.size) * np.sqrt(self.w[rows]))[:, None] * X)

    def leave_rows(
        self,
        rows: NDArray[np.int64],
        X: NDArray[np.float64],
        leverage: NDArray[np.float64],
        variances: NDArray[np.float64],
    ) -> None:
        """Leave out each row alone; X holds H⁻¹f of each."""
        left = 1 - leverage
        lost = left <= self._rounding(self._weighted(rows, X), leverage)
        left[lost] = np.nan
        variances[rows] = np.where(lost, np.inf, np.einsum("ij,ij->i", self.rows[rows], X) / left)
        self.residuals[rows] /= left[:, None]

    def leave_block(self, block: NDArray[np.int64], X: NDArray[np.float64], variances: NDArray[np.float64]) -> None:
        """Leave out all rows together; X holds H⁻¹f of each."""
        w, r = self.w[block], self.residuals[block]
        V = self.rows[block] @ X.T
        root = np.sqrt(w)
        leverage = root[:, None] * V * root
        left, Q = np.linalg.eigh(np.eye(len(w)) - 0.5 * (leverage + leverage.T))
        along = np.square(Q.T @ self._scaled(block, X)).sum(axis=1)
        if (left <= self._rounding(along, float(np.trace(leverage)))).any():
            self.residuals[block], variances[block] = np.nan, np.inf
            return
        G = V * root @ Q  # V + G left⁻¹Gᵀ is the covariance without the block: a sum, in which nothing cancels
        self.residuals[block] = r + (G / left) @ (Q.T @ (root[:, None] * r))
        variances[block] = np.diagonal(V) + (G**2 / left).sum(axis=1)


def rounding_of_left(
    weighted: NDArray[np.float64] | float, leverage: NDArray[np.float64] | float, n_features: int
) -> NDArray[np.float64]:
    """Bound the rounding of 1 − leverage; `weighted` is trace(H)·w‖H⁻¹f‖².

    Rounding of H, about u√p·trace(H), changes an eigenvalue qᵀMq of a block's M by at most that
    times ‖H⁻¹FᵀW^½q‖². There `weighted` is that of the row FᵀW^½q, and the leverage the block's.
    """
    return np.asarray(4 * UNIT_ROUNDOFF * (np.sqrt(n_features) * weighted + 1 + leverage))


def _warn_of(lost: NDArray[np.int64]) -> None:
    if len(lost):
        warn(
            IllConditionedWarning,
            f"without target {some_of(lost.tolist())} (or its block) the data leave a direction "
            "undetermined to rounding: residuals are NaN and variances infinite there",
            Advice.RAISE_REGULARIZER,
        )


def _batches(members: list[NDArray[np.int64]]) -> Iterator[list[NDArray[np.int64]]]:
    """Yield blocks in batches of at most `ROWS_AT_ONCE` rows, or of one larger block."""
    batch: list[NDArray[np.int64]] = []
    n_rows = 0
    for block in members:
        if batch and n_rows + len(block) > ROWS_AT_ONCE:
            yield batch
            batch, n_rows = [], 0
        batch.append(block)
        n_rows += len(block)
    yield batch
