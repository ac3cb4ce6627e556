"""One decomposition of the pencil (C, Λ), after which every λ costs O(p).

The basis A has AᵀΛA = diag(1, …, 1, 0, …, 0) and AᵀCA = diag(τ, 1, …, 1), so that

    Aᵀ(C + λΛ)A = diag(τ + λ, 1, …, 1)

at any λ. The ones at the end are the unpenalised directions, which are eliminated first (a Schur
complement). Without a penalty A holds the eigenvectors of C and τ its eigenvalues.

Why eigenvectors and not tridiagonalisation alone (C = QTQᵀ, solves with T + λI): eigenvectors cost
twice as much. But with eigenvectors a row's 200 variances are one product of matrices, where T + λI
asks for 200 recurrences. `rigidities.spectrum.evidence` needs no rows and tridiagonalises.

Why the core and not LAPACK: a thread in LAPACK cannot be stopped, and a process that exits or forks
after Ctrl-C may hang in OpenBLAS's shutdown. One AMD core of a busy machine, p = 1024 and 2048,
seconds of processor time: eigenvectors 0.17 and 1.28 (LAPACK's dsyevd 0.22 and 1.63), tridiagonal
form 0.067 and 0.68 (dsytrd 0.057 and 0.64).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.spectrum.eigen import eigh
from rigidities.spectrum.pencil import ROUNDED_SUMS, Coordinates, Pencil, undetermined

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Eliminated:
    """A pencil after the elimination of its unpenalised directions.

    C' has a penalised part P, an unpenalised part LLᵀ, and F = C'_free,pen between them. What
    remains is C'' = P − KᵀK with K = L⁻¹F.
    """

    C: NDArray[np.float64]
    K: NDArray[np.float64]
    L: NDArray[np.float64]


def eliminate(pencil: Pencil) -> Eliminated:
    """Eliminate the unpenalised directions. If there are none, C is the pencil's own array."""
    from scipy.linalg import LinAlgError, cholesky, solve_triangular

    free, m = pencil.free, int(pencil.free.sum())
    if m == 0:
        return Eliminated(pencil.C, np.zeros((0, len(free))), np.zeros((0, 0)))
    try:
        L = cholesky(pencil.C[np.ix_(free, free)], lower=True, check_finite=False)
        weakest = int(np.argmin(np.diagonal(L)))
        lost = L[weakest, weakest] ** 2 <= ROUNDED_SUMS * pencil.unit * np.diagonal(L).max() ** 2
    except LinAlgError as error:
        weakest, lost = int(str(error).split("-th")[0]) - 1 if "-th" in str(error) else 0, True
    if lost:
        what = "direction" if pencil.R is not None and pencil.R.ndim == 2 else "feature"
        raise undetermined(int(np.flatnonzero(free)[weakest]), what)
    K = solve_triangular(L, pencil.C[np.ix_(free, ~free)], lower=True, check_finite=False)
    return Eliminated(pencil.C[np.ix_(~free, ~free)] - K.T @ K, K, L)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigenvalues of a pencil (C, Λ).

    Attributes
    ----------
    values : ndarray of shape (p,)
        τ ≥ 0 of the penalised directions (0 where rounding made it negative), then 1 for each
        unpenalised direction.
    n_free : int
        Number of unpenalised directions.
    spread : ndarray of shape (p,)
        ‖a‖² of the columns of A in the coordinates in which C is rounded: ones unless the penalty
        is a matrix.
    log_scale : float
        −2 ln|A|, so that ln|H| = Σ ln(τ + λ) + log_scale.
    log_free : float
        ln|H| − ln|λΛ| = Σ ln(1 + τ/λ) + log_free, where |Λ| is the product over the penalised
        directions.
    jitter, trace, floor, safe, gain
        As in `Pencil`.
    free : ndarray of bool of shape (p,)
        If there is jitter, the features that have none: their row of Λ is zero.
    """

    values: NDArray[np.float64]
    n_free: int
    spread: NDArray[np.float64]
    log_scale: float
    log_free: float
    jitter: float
    trace: float
    floor: float
    safe: float
    gain: float
    free: NDArray[np.bool_]

    @property
    def penalised(self) -> NDArray[np.float64]:
        """τ of the penalised directions."""
        return self.values[: len(self.values) - self.n_free]

    def denominators(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Diagonals of AᵀHA, τ + λ or 1: (n_λ, p)."""
        d = np.repeat(self.values[None, :], len(regularizers), axis=0)
        d[:, : len(self.penalised)] += regularizers[:, None]
        return d

    def log_determinant(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """ln|H|, (n_λ,)."""
        return np.asarray(np.log(self.denominators(regularizers)).sum(axis=1) + self.log_scale)


def spectrum_of(
    pencil: Coordinates, eliminated: Eliminated, values: NDArray[np.float64], spread: NDArray[np.float64] | None = None
) -> Spectrum:
    """Return the spectrum of a pencil in these coordinates that has these eigenvalues."""
    m = len(eliminated.L)
    log_pivots = 2 * float(np.log(np.diagonal(eliminated.L)).sum())
    R = pencil.R
    log_scale_free = 0.0 if R is None or R.ndim == 2 else float(np.log(R[pencil.free]).sum())
    return Spectrum(
        values=np.r_[np.maximum(values, 0.0), np.ones(m)],
        n_free=m,
        spread=np.ones(len(pencil.free)) if spread is None else spread,
        log_scale=log_pivots - 2 * pencil.log_scale,
        log_free=log_pivots - 2 * log_scale_free,
        jitter=pencil.jitter,
        trace=pencil.trace,
        floor=pencil.floor,
        safe=pencil.safe,
        gain=pencil.gain,
        free=pencil.free,
    )


def decompose(pencil: Pencil) -> tuple[Spectrum, NDArray[np.float64]]:
    """Return the spectrum and the basis A of a pencil; its C is overwritten."""
    eliminated = eliminate(pencil)
    values, V = eigh(eliminated.C.T)
    basis = pencil.lift(eliminated_from(eliminated, pencil.free, V))
    rotated = pencil.R is not None and pencil.R.ndim == 2
    spread = np.einsum("ij,ij->j", basis, basis) if rotated else None
    return spectrum_of(pencil, eliminated, values, spread), basis


def eliminated_from(eliminated: Eliminated, free: NDArray[np.bool_], V: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the basis of all directions, from eigenvectors V of the penalised part C''."""
    from scipy.linalg import solve_triangular

    m = len(eliminated.L)
    if m == 0:
        return V
    basis = np.zeros((len(free), len(free)))
    basis[np.ix_(~free, np.arange(len(V)))] = V
    both = np.hstack([-eliminated.K @ V, np.eye(m)])
    basis[free] = solve_triangular(eliminated.L, both, lower=True, trans="T", check_finite=False)
    return basis
