"""Residuals and variances of many rows at many λ, and what they would be without each row.

What enters: the sums in the basis in which H is diagonal, and target rows block by block. What leaves: (n_λ, …)
arrays; a block of rows costs one product with the basis, then three with diagonals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities import memory
from rigidities.scoring import root_mean_square

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rigidities.evidence import Moments

LEAST_DIGITS = 0.1
"""Relative rounding at which leave-one-out residuals count as lost."""


@dataclass(frozen=True, eq=False)
class PathResiduals:
    """r = y − fᵀθ (n_λ, k, n), v = fᵀH⁻¹f (n_λ, n), and how far rounding moves them.

    Rounding δC, δb of the sums (see `rigidities.evidence`) moves v by fᵀH⁻¹δC H⁻¹f, at most `rounding`, which is
    ρ trace(C) ‖H⁻¹f‖² (n_λ, n), and r by fᵀH⁻¹(δCθ − δb), the square of which is at most `rounding`·`of_fit`, with the
    rounding of S (n_λ, k).
    """

    residuals: NDArray[np.float64]
    variances: NDArray[np.float64]
    rounding: NDArray[np.float64]
    of_fit: NDArray[np.float64]

    def left_out(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """√(Σwe²/Σw) of the leave-one-out residuals e = r/(1 − wv), (n_λ,); NaN where rounding leaves no digit."""
        left = 1 - w * self.variances
        least = (w * self.rounding / LEAST_DIGITS).max(axis=1, keepdims=True)
        left = np.where((left <= 0) | (least >= left), np.nan, left)
        scores = root_mean_square(self.residuals / left[:, None, :], w)
        noise = np.sqrt(self.rounding[:, None, :] * self.of_fit[:, :, None]) / left[:, None, :]
        noise = root_mean_square(noise, w)
        return np.where(noise <= LEAST_DIGITS * scores, scores, np.nan)


def residuals_along(
    moments: Moments,
    basis: NDArray[np.float64],
    regularizers: NDArray[np.float64],
    blocks: Iterable[NDArray[np.float64]],
    y: NDArray[np.float64],
) -> PathResiduals:
    """Return residuals and variances of the rows in `blocks`, with targets y (n, k), at every λ."""
    (n, k), n_path, p = y.shape, len(regularizers), len(basis)
    memory.require(8 * n_path * n * (k + 2), f"the residuals of {n} targets", "use fewer regularizers or targets")
    inverse = 1 / moments.spectrum.denominators(regularizers)
    # ‖H⁻¹f‖² = ‖A z/d‖² for z = Aᵀf: exact where A is orthogonal, else as if its columns were
    inverse_squared = (inverse * np.sqrt(moments.rounding * moments.spectrum.trace * moments.spectrum.spread)) ** 2
    coef = moments.coef(regularizers).transpose(1, 0, 2).reshape(p, n_path * k)
    residuals, variances, rounding = np.empty((n_path, k, n)), np.empty((n_path, n)), np.empty((n_path, n))
    start = 0
    for block in blocks:
        part = slice(start, start + len(block))
        start += len(block)
        z = block @ basis
        residuals[:, :, part] = y[part].T - (z @ coef).T.reshape(n_path, k, -1)
        z **= 2
        variances[:, part] = inverse @ z.T
        rounding[:, part] = inverse_squared @ z.T
    return PathResiduals(residuals, variances, rounding, moments.residual_rounding(regularizers))
