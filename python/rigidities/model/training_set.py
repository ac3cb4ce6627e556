"""What is kept of a training set: rigidities of its own predictions, and its structures.

A rigidity alone is neither high nor low. The rigidities of the training atoms are the scale for
those of new atoms. A training structure's own PR is at least its weight in the loss, because H
contains w f fᵀ (Sherman and Morrison: R = w + R without it). So PR/w counts training structures: as
many equal ones would determine the prediction as firmly.

A structure is recognised by its rows. They do not change if it is moved or rotated, or if its atoms
change places, so a fingerprint of them does not either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.covariance import Covariance
    from rigidities.hessian import Hessian
    from rigidities.loss.terms import Term
    from rigidities.rows import Rows
    from rigidities.validation import Reduction

N_DIRECTIONS = 2
"""Directions of a fingerprint. A structure that differs changes each of four numbers."""

FINGERPRINT = 1 + 2 * N_DIRECTIONS
"""Numbers of a fingerprint."""

SAME = 3e-5
"""Largest difference of two fingerprints of the same structure, relative to their size. Positions
that were rounded to five decimals of Å change SOAP rows by 1e-5; atoms that move by 1e-3 Å, by
1e-3."""

N_QUANTILES = 101
"""Quantiles that are kept, at 0 %, 1 %, … 100 %."""

LOW = 1
"""Percent of the training atoms that are less rigid than what counts as low."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Rigidities of a training set under its own Hessian, and fingerprints of its structures.

    Attributes
    ----------
    lpr : ndarray of shape (101,)
        Quantiles of the LPR of its atoms at 0 %, 1 %, … 100 %; each is one of the values.
    pr : ndarray of shape (101,)
        The same of the PR of its structures.
    fingerprints : ndarray of shape (n_structures, 5)
        Number of atoms of each structure, then mean and standard deviation over its atoms of their
        rows along two fixed directions.
    rank : int or None
        Rank of C. None if it is unknown.
    """

    lpr: NDArray[np.float64]
    pr: NDArray[np.float64]
    fingerprints: NDArray[np.float64]
    rank: int | None = None

    @classmethod
    def of(
        cls, hessian: Hessian, batches: Iterable[Rows], reduction: Reduction = "mean", rank: int | None = None
    ) -> TrainingSet:
        """Assess the training structures themselves.

        Parameters
        ----------
        hessian : Hessian
        batches : iterable of Rows
            Rows of the training atoms; groups are the structures.
        reduction : {"mean", "sum"}
            PR is that of the energy per atom, or of the total energy.
        rank : int, optional
            Rank of C, from `rank_of`.
        """
        parts = [
            (
                hessian.rigidity(rows.without_groups()),
                hessian.rigidity(rows, reduction=reduction),
                fingerprints(rows),
            )
            for rows in batches
        ]
        lpr, pr, prints = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(_percentiles(lpr), _percentiles(pr), prints, rank)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of atoms of each structure."""
        return self.fingerprints[:, 0].astype(np.int64)

    @property
    def low(self) -> float:
        """LPR that 1 % of the training atoms are below."""
        return float(self.lpr[LOW])

    def find(self, wanted: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the training structure that is the same as each of these, or −1.

        Parameters
        ----------
        wanted : ndarray of shape (n, 5)
            From `fingerprints`.

        Returns
        -------
        ndarray of int of shape (n,)
            Position among the training structures.
        """
        return find_same(self.fingerprints, wanted)

    def find_by_means(self, sizes: NDArray[np.int64], means: NDArray[np.float64]) -> NDArray[np.int64]:
        """As `find`, by the mean rows of structures alone, (n, n_features): without the spreads."""
        known = 1 + N_DIRECTIONS
        return find_same(self.fingerprints[:, :known], np.column_stack([sizes, means @ _directions(means.shape[1])]))


def find_same(own: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the position in `own` of the structure that is the same as each wanted one, or −1.

    Both are arrays of `fingerprints`, of shapes (n_own, 5) and (n, 5), or of their first columns.
    """
    from scipy.spatial import cKDTree

    units = np.ones(own.shape[1])
    units[1:] = np.sqrt(np.mean(own[:, 1:] ** 2)) or 1.0
    index = cKDTree(own / units).query(wanted / units, p=np.inf, distance_upper_bound=SAME)[1]
    return np.where(index == len(own), -1, index).astype(np.int64)


def _directions(n_features: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(n_features, N_DIRECTIONS))


def fingerprints(rows: Rows) -> NDArray[np.float64]:
    """Return numbers by which to recognise structures, in the order of their labels.

    Parameters
    ----------
    rows : Rows
        Rows of atoms; groups are the structures. Without groups, each row is a structure.

    Returns
    -------
    ndarray of shape (n_structures, 5)
    """
    values = np.asarray(rows.values, dtype=np.float64)
    labels = np.arange(len(values)) if rows.groups is None else rows.groups
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    along = values @ _directions(values.shape[1])
    mean = _sums(along, inverse, len(counts)) / counts[:, None]
    spread = np.sqrt(_sums((along - mean[inverse]) ** 2, inverse, len(counts)) / counts[:, None])
    return np.column_stack([counts, mean, spread])


def rank_of(covariance: Covariance) -> int | None:
    """Return how many directions of the features the training set has at all, the rank of C.

    None if a copy of C does not fit in memory: no fit is to fail for this.
    """
    try:
        return rank_of_products(covariance.matrix())
    except MemoryError:
        return None


def rank_of_products(products: NDArray[np.float64]) -> int:
    """Return the rank of FᵀF, or FFᵀ, in place of it.

    Cholesky's factorisation with pivots; a pivot below rounding, n·ε times the largest diagonal
    entry, counts as zero. It takes n²·rank operations, less than a factor.
    """
    from scipy.linalg.lapack import dpstrf

    return int(dpstrf(products.T, lower=1, overwrite_a=1)[2])


def equivalents(
    pr: NDArray[np.float64], term: Term | None, sizes: NDArray[np.int64], reduction: Reduction = "mean"
) -> NDArray[np.float64] | None:
    """Return PR/w: how many equal training structures would determine each prediction as firmly.

    Parameters
    ----------
    pr : ndarray of shape (n_structures,)
        Of the energy per atom with reduction "mean", of the total energy with "sum".
    term : Term or None
        Energies in the loss. They have another unit than `pr` if they are total energies and the
        reduction is "mean", or the reverse: R of E/n is n² times that of E.
    sizes : ndarray of shape (n_structures,)
        Numbers of atoms.
    reduction : {"mean", "sum"}

    Returns
    -------
    ndarray of shape (n_structures,), or None
        None if the loss has no energies.
    """
    if term is None or not term.weight:
        return None
    power = 2 * (int(reduction == "mean") - int(term.per_atom))
    return pr / (term.weight * sizes.astype(np.float64) ** power)


def _percentiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.quantile(values, np.linspace(0, 1, N_QUANTILES), method="inverted_cdf")


def _sums(values: NDArray[np.float64], inverse: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.column_stack([np.bincount(inverse, column, n) for column in values.T])
