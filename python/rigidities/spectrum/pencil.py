"""The pencil (C, Λ) in coordinates in which the penalty Λ is the identity.

C' = RᵀCR, with RᵀΛR = 1 on the penalised directions and 0 on the others.

Directions in which Λ is zero are unpenalised if the data determine them. If the data do not, and Λ
is a matrix, jitter is added to its diagonal (`Pencil.jitter`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import NotPositiveDefiniteError
from rigidities.penalty import Penalty, with_jitter
from rigidities.rounding import UNIT_ROUNDOFF, check_scale
from rigidities.spectrum.eigen import eigh

if TYPE_CHECKING:
    from numpy.typing import NDArray


ROUNDED_SUMS = 2000.0
"""Rounding error of a sum, in units of u times the size of its terms: √n for a few million rows n.
A direction in which C is no larger than that is not determined by the data."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates in which Λ is 1 on penalised directions and 0 on the others.

    Attributes
    ----------
    R : None (the identity), ndarray of shape (p,) (a diagonal) or (p, p)
    free : ndarray of bool of shape (p,)
        The unpenalised directions.
    jitter : float
        What was added to the diagonal of Λ, or 0.
    log_scale : float
        ln|R|
    trace : float
        Trace of C in the coordinates in which it is rounded: those of the features, each scaled by
        the root of a diagonal penalty.
    floor : float
        Smallest λ at which C' + λ is positive definite in spite of rounding: 2(p + 1)·u·trace(C'),
        as in the core.
    safe : float
        The same for H in the coordinates of the features. It exceeds `floor` if Λ is an
        ill-conditioned matrix.
    unit : float
        Unit roundoff u of C, relative to its trace.
    gain : float
        How many times smaller the λ are that sums of whitened rows (`rigidities.Whitening`) would
        resolve: 1 unless Λ is a matrix.
    """

    R: NDArray[np.float64] | None
    free: NDArray[np.bool_]
    jitter: float
    log_scale: float
    trace: float
    floor: float
    safe: float
    unit: float
    gain: float

    def project(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rᵀx of each column of X."""
        if self.R is None:
            return X
        return self.R[:, None] * X if self.R.ndim == 1 else self.R.T @ X

    def lift(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """R x of each column of X."""
        if self.R is None:
            return X
        return self.R[:, None] * X if self.R.ndim == 1 else np.asarray(self.R @ X)


@dataclass(frozen=True, eq=False)
class Pencil(Coordinates):
    """C' = RᵀCR, in such coordinates.

    Attributes
    ----------
    C : ndarray of shape (p, p)
    """

    C: NDArray[np.float64]


def make_pencil(C: NDArray[np.float64], penalty: Penalty, unit: float = UNIT_ROUNDOFF) -> Pencil:
    """Change to coordinates in which Λ is the identity.

    Parameters
    ----------
    C : ndarray of shape (p, p)
        Overwritten.
    penalty : Penalty
    unit : float
        Unit roundoff u of the products that C was summed from.

    Returns
    -------
    Pencil
    """
    penalty.require_effect()
    if np.trace(C) != 0:
        check_scale(float(np.trace(C)), "the trace of C", "rescale the features or weights")
    if penalty.matrix is not None:
        return _rotated(C, penalty.matrix, penalty.eps, unit)
    if penalty.diagonal is None:
        trace = float(np.trace(C))
        floor = guaranteed(len(C), trace, unit)
        return Pencil(None, np.zeros(len(C), dtype=bool), 0.0, 0.0, trace, floor, floor, unit, 1.0, C)
    return _scaled(C, penalty.diagonal, unit)


def guaranteed(p: int, trace: float, unit: float) -> float:
    """Twice the bound of Higham, Accuracy and Stability, theorem 10.7, as in the core."""
    return 2 * (p + 1) * unit * trace


def _scaled(C: NDArray[np.float64], penalty: NDArray[np.float64], unit: float) -> Pencil:
    """R = Λ^-½, and C_ii^-½ on unpenalised features.

    Rounding of C is relative to √(C_ii C_jj), so that scaling features does no harm.
    """
    free = penalty == 0
    diagonal = np.where(free, np.diagonal(C), penalty)
    if (diagonal <= 0).any():
        raise undetermined(int(np.argmax(diagonal <= 0)), "feature")
    R = 1 / np.sqrt(diagonal)
    C *= R
    C *= R[:, None]
    trace = float(np.diagonal(C)[~free].sum())
    floor = guaranteed(len(C), trace, unit)
    return Pencil(R, free, 0.0, float(np.log(R).sum()), trace, floor, floor, unit, 1.0, C)


def _rotated(C: NDArray[np.float64], matrix: NDArray[np.float64], eps: float, unit: float) -> Pencil:
    """R = U d^-½ with Λ = U d Uᵀ.

    Directions in which Λ is zero to rounding are unpenalised if the data determine all of them, as
    an intercept. If not, H would be singular, as with a kernel matrix K_MM of nearly equal points.
    Then jitter is added to the diagonal of Λ.
    """
    p, trace = len(C), float(np.trace(C))
    d, U = eigh((0.5 * matrix + 0.5 * matrix.T).T)
    free, jitter = d <= smallest_eigenvalue(d, eps), 0.0
    if free.any() and not _determined(U[:, free], C, trace, unit):
        jitter = float(max(np.sqrt(2 * (p + 1) * unit), 4 * p * eps) * d[-1])
        d, U = decomposed(with_jitter(matrix, jitter))
        free = d <= 0
    root = np.sqrt(np.where(free, 1.0, d))
    R = U / root
    rotated = R.T @ C @ R
    floor = guaranteed(p, float(np.diagonal(rotated)[~free].sum()), unit)
    safe = max(floor, guaranteed(p, trace, unit) / float(d[~free].min()))
    # whitened rows have no directions without a penalty but single features
    can_be_whitened = floor > 0 and int(free.sum()) == int((~matrix.any(axis=0)).sum())
    gain = safe / floor if can_be_whitened else 1.0
    return Pencil(R, free, jitter, float(-np.log(root).sum()), trace, floor, safe, unit, gain, rotated)


def smallest_eigenvalue(d: NDArray[np.float64], eps: float) -> float:
    """Return the size below which an eigenvalue of Λ is zero to rounding; d are all, rising."""
    return len(d) * eps * float(d[-1])


def decomposed(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and eigenvectors of Λ; exactly 0 for features whose row is zero."""
    zero = np.asarray(~matrix.any(axis=0))
    kept = np.flatnonzero(~zero)
    part = matrix[np.ix_(kept, kept)]
    part = 0.5 * part + 0.5 * part.T
    d, U = np.zeros(len(zero)), np.zeros_like(matrix)
    d[kept], U[np.ix_(kept, kept)] = eigh(part.T)
    U[zero, zero] = 1.0
    return d, U


def _determined(U: NDArray[np.float64], C: NDArray[np.float64], trace: float, unit: float) -> bool:
    """Whether the data determine all directions U: UᵀCU is positive definite beyond rounding."""
    return bool(np.linalg.eigvalsh(U.T @ C @ U)[0] > max(ROUNDED_SUMS, 2 * len(C)) * unit * trace)


def undetermined(index: int, what: str) -> NotPositiveDefiniteError:
    """Return the error for an H that is singular at every λ."""
    return NotPositiveDefiniteError(
        f"the data do not determine unpenalised {what} {index}: H is singular at every regularizer. Penalise it, "
        "leave it out, or add data",
        index,
        np.inf,
    )
