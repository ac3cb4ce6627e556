"""C in a basis in which it is tridiagonal: all that the evidence needs, at a third of the cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.spectrum import eigen
from rigidities.spectrum.decomposition import Spectrum, eliminate, spectrum_of
from rigidities.spectrum.pencil import Pencil

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tridiagonal:
    """T = QᵀC''Q of the penalised part C'', and b in the same coordinates.

    Attributes
    ----------
    spectrum : Spectrum
    diagonal, beside : ndarray of shape (p − m,) and (p − m − 1,)
        Diagonal and off-diagonal of T; m directions are unpenalised.
    projected : ndarray of shape (p, k)
        Qᵀb'' (p − m rows), then L⁻¹b'_free (m rows).
    """

    spectrum: Spectrum
    diagonal: NDArray[np.float64]
    beside: NDArray[np.float64]
    projected: NDArray[np.float64]

    def coef(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (T + λ)⁻¹Qᵀb'', then L⁻¹b'_free at every λ: (n_λ, p, k)."""
        from scipy.linalg.lapack import dpttrf, dpttrs

        coef = np.repeat(self.projected[None], len(regularizers), axis=0)
        n = len(self.diagonal)
        if n == 1:  # SciPy's dpttrf takes no empty off-diagonal
            coef[:, :1] /= (self.diagonal + regularizers[:, None])[:, :, None]
            return coef
        for solution, regularizer in zip(coef, regularizers, strict=True):
            pivots, multipliers, info = dpttrf(self.diagonal + regularizer, self.beside)
            solution[:n] = dpttrs(pivots, multipliers, self.projected[:n])[0] if info == 0 else np.nan
        return coef


def tridiagonalise(pencil: Pencil, b: NDArray[np.float64]) -> Tridiagonal:
    """Tridiagonalise a pencil whose penalty is no matrix, in the memory of its C."""
    from scipy.linalg import eigvalsh_tridiagonal, solve_triangular

    eliminated = eliminate(pencil)
    free, n = pencil.free, len(eliminated.C)
    projected = pencil.project(b)
    fixed = projected[free]
    if free.any():
        fixed = solve_triangular(eliminated.L, fixed, lower=True, check_finite=False)
    moving = projected[~free] - eliminated.K.T @ fixed
    diagonal, beside, moving = eigen.tridiagonalise(eliminated.C.T, moving)
    values = eigvalsh_tridiagonal(diagonal, beside) if n > 1 else diagonal
    return Tridiagonal(spectrum_of(pencil, eliminated, values), diagonal, beside, np.r_[moving, fixed])
