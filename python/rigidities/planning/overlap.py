"""Overlap of data sets: how much of one set the data of another determine.

Let U be the rows of a set X in coordinates in which the prior λΛ is the identity: a unit vector
there is a prediction of prior variance 1. The singular values σ and right singular vectors q of U
are the directions of X. X alone would determine each to the part κ/(1 + κ), κ = σ²: nearly all of
it if κ ≫ 1, next to nothing if κ ≪ 1. Data with the Hessian H leave open the part ρ = qᵀNᵀH⁻¹Nq of
the prior variance of q, with λΛ = NNᵀ. So

    remaining = Σ κ/(1 + κ) ρ / Σ κ/(1 + κ)

is the mean, over the directions that X alone would determine, of the part that the data leave open:
1 without data, 0 if they determine all of X. It falls with every target that is added. It counts
directions, not lengths: the mean row, which all rows of SOAP have in common, is one of many.

With Z = L⁻¹Xᵀ and the eigenvalues γ of ZZᵀ, X would add to the data

    an effective dimension of     Σ γ/(1 + γ) = tr C_X (H + C_X)⁻¹,
    a log-determinant of          Σ ln(1 + γ) = ln|H + C_X| − ln|H|,

which is twice the information in nats (MacKay, Neural Comput. 4 (1992) 590).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities import _core
from rigidities.covariance import Covariance
from rigidities.exceptions import Advice, UndeterminedWarning, warn
from rigidities.factor import rows_for
from rigidities.hessian import Hessian
from rigidities.prior import PriorRoot
from rigidities.rows import CheckedRows, target_batches
from rigidities.runtime import memory
from rigidities.spectrum.eigen import svd
from rigidities.spectrum.row_factor import RowFactor
from rigidities.validation import as_number, as_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows
    from rigidities.validation import Reduction

LEAST_DIMENSION = 0.5
"""Directions below which X alone determines nothing, so that no share of it says anything."""


@dataclass(frozen=True)
class Overlap:
    """How much of a set X the data determine. All are dimensionless and depend on λ.

    Attributes
    ----------
    remaining : float
        Mean part, from 0 to 1, that the data leave open of the prior variance along the directions
        that X alone would determine. 0: they are as good as known; 1: the data say nothing of X.
        Its reference is what a set leaves of itself, which is near 0 but not 0.
    dimension : float
        tr C_X(C_X + λΛ)⁻¹: how many directions X alone would determine.
    effective_dimension : float
        tr C_X(H + C_X)⁻¹: how many it would determine beyond the data. Half of `dimension` where
        the data know each direction as well as X does, as X does itself.
    log_determinant : float
        ln|H + C_X| − ln|H|, twice the information that X would add, in nats.
    log_determinant_alone : float
        ln|λΛ + C_X| − ln|λΛ|, the same without any data.
    """

    remaining: float
    dimension: float
    effective_dimension: float
    log_determinant: float
    log_determinant_alone: float


@dataclass(frozen=True, eq=False)
class PairwiseOverlap:
    """How much each of several sets determines of each other.

    Attributes
    ----------
    names : tuple
        Of the sets.
    remaining : ndarray of shape (n_sets, n_sets)
        ``remaining[i, j]``: part of set j that set i leaves open. On the diagonal what a set leaves
        of itself, which is the least that another of its size can be expected to leave.
    dimension : ndarray of shape (n_sets,)
        How many directions each set alone determines.
    log_determinant : ndarray of shape (n_sets, n_sets)
        ``log_determinant[i, j]``: twice the information that set j adds to set i, in nats.
    """

    names: tuple[Any, ...]
    remaining: NDArray[np.float64]
    dimension: NDArray[np.float64]
    log_determinant: NDArray[np.float64]


def overlap(
    hessian: Hessian,
    X: ArrayLike | Rows,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Overlap:
    """Say how much of a set of rows the data in a Hessian determine.

    It takes two decompositions of p × p arrays, and one pass over the rows.

    Parameters
    ----------
    hessian : Hessian
        Of the data, with a regularizer above 0 and a penalty without zeros: variances are compared
        with the prior's.
    X : array_like of shape (n_rows, n_features), or Rows
    weights : array_like of shape (n_targets,), optional
        Weights that the targets of X would have in the loss, 1 by default.
    groups : array_like of int of shape (n_rows,), optional
    reduction : {"mean", "sum"}
        See `Covariance.update`.

    Returns
    -------
    Overlap

    Raises
    ------
    ValueError, TypeError
        If the regularizer is 0, a feature is not penalised, or as `Hessian.variance`.
    MemoryError
        If three p × p arrays do not fit in memory.

    Warns
    -----
    UndeterminedWarning
        If X alone determines less than half a direction at this λ: the results say nothing.

    Examples
    --------
    The data hold the first of two directions that X has:

    >>> import numpy as np, rigidities as rg
    >>> covariance = rg.Covariance(3)
    >>> covariance.update([[1.0, 0.0, 0.0]])
    >>> found = rg.overlap(covariance.factorize(1e-6), np.eye(2, 3))
    >>> print(f"{found.remaining:.3f} of {found.dimension:.2f} directions")
    0.500 of 2.00 directions
    """
    rows = rows_for(hessian, X, groups)
    if not isinstance(hessian, Hessian):
        raise TypeError(f"hessian is a {type(hessian).__name__}: expected a Hessian")
    directions = _Directions.of(PriorRoot.of(hessian._prior), rows, reduction, weights)
    directions.warn("X")
    return directions.left_by(hessian)


def pairwise_overlap(
    sets: Mapping[Any, ArrayLike | Rows] | Sequence[ArrayLike | Rows],
    regularizer: float,
    *,
    penalty: ArrayLike | None = None,
) -> PairwiseOverlap:
    """Say how much each of several sets determines of each other, at one λ for all.

    Larger sets determine more: draw as many rows of each if kinds of structures are to be compared.

    Parameters
    ----------
    sets : mapping of name to array_like or Rows, or a sequence of them
        Target rows of each set (n_targets, n_features). The groups of `Rows` are reduced by their
        mean.
    regularizer : float
        λ > 0, such as that of a fit to all of them.
    penalty : array_like, optional
        Λ, as for `Covariance.factorize`.

    Returns
    -------
    PairwiseOverlap

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `overlap`, or if there are no sets.

    Warns
    -----
    UndeterminedWarning
        As `overlap`, for each set.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> sets = {"x": [[1.0, 0.0, 0.0]], "x and y": np.eye(2, 3), "z": [[0.0, 0.0, 1.0]]}
    >>> rg.pairwise_overlap(sets, 1e-6).remaining.round(3)
    array([[0. , 0.5, 1. ],
           [0. , 0. , 1. ],
           [1. , 1. , 0. ]])
    """
    if not isinstance(sets, Mapping | Sequence) or isinstance(sets, str):
        raise TypeError(f"sets is a {type(sets).__name__}: expected a mapping of names to rows, or a list of rows")
    names = tuple(sets) if isinstance(sets, Mapping) else tuple(range(len(sets)))
    if not names:
        raise ValueError("there are no sets: expected at least one")
    value = as_number(regularizer, "regularizer", "a positive number")
    hessians, checked = [], []
    for name in names:
        rows = CheckedRows.of(sets[name], None)
        # weak directions keep their digits in the triangular factor, where sums would round them
        sums = Covariance(rows.values.shape[1], feature_space=rows.feature_space, accumulation="qr")
        sums.update(sets[name])
        hessians.append(sums.factorize(value, penalty=penalty, consume=True))
        checked.append(rows_for(hessians[0], sets[name], None))
    root = PriorRoot.of(hessians[0]._prior)
    all_directions = [_Directions.of(root, rows, "mean", None) for rows in checked]
    for name, directions in zip(names, all_directions, strict=True):
        directions.warn(f"set {name!r}")
    found = [[directions.left_by(hessian) for directions in all_directions] for hessian in hessians]
    return PairwiseOverlap(
        names,
        np.array([[one.remaining for one in row] for row in found]),
        np.array([one.dimension for one in found[0]]),
        np.array([[one.log_determinant for one in row] for row in found]),
    )


@dataclass(frozen=True, eq=False)
class _Directions:
    """The directions of a set: rows Nq of prior variance 1, (p, p), and their κ, (p,)."""

    rows: NDArray[np.float64]
    kappa: NDArray[np.float64]

    @classmethod
    def of(cls, root: PriorRoot, rows: CheckedRows, reduction: Reduction, weights: ArrayLike | None) -> _Directions:
        """Return the directions of rows, by singular values: weak ones keep their digits."""
        p = rows.values.shape[1]
        memory.require(24 * p * p, f"the directions of {p} features", Advice.FEWER_FEATURES)
        w = as_weights(weights, rows.n_targets)
        core = _core.Covariance(p, "float64", "qr")
        start = 0
        for F in target_batches(rows, reduction):
            core += (np.ascontiguousarray(root.whiten(F)), None, "sum", w[start : start + len(F)], None)
            start += len(F)
        sigma, V, _ = svd(RowFactor.of(core).R, np.zeros((p, 0)))
        return cls(root.coloured(V), np.square(sigma))

    @property
    def determined(self) -> NDArray[np.float64]:
        """κ/(1 + κ): part of each direction that the set alone would determine."""
        return np.asarray(self.kappa / (1 + self.kappa))

    def warn(self, name: str) -> None:
        """Warn if the set determines nothing."""
        dimension = float(self.determined.sum())
        if dimension < LEAST_DIMENSION:
            warn(
                UndeterminedWarning,
                f"{name} alone would determine {dimension:.2g} directions at this regularizer: what others determine "
                "of it says nothing",
                Advice.LOWER_REGULARIZER,
            )

    def left_by(self, hessian: Hessian) -> Overlap:
        """Return what the data of a Hessian leave of the set."""
        Z = hessian.whiten(self.rows)
        open_parts = np.clip(np.square(Z).sum(axis=1), 0.0, 1.0)
        determined = self.determined
        total = float(determined.sum())
        Z *= np.sqrt(self.kappa)[:, None]
        gamma = np.maximum(np.linalg.eigvalsh(Z @ Z.T), 0.0)
        return Overlap(
            remaining=float(determined @ open_parts / total) if total > 0 else 1.0,
            dimension=total,
            effective_dimension=float((gamma / (1 + gamma)).sum()),
            log_determinant=float(np.log1p(gamma).sum()),
            log_determinant_alone=float(np.log1p(self.kappa).sum()),
        )
