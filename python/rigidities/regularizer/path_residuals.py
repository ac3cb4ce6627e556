"""Residuals and variances of many rows at many λ, and leave-one-out residuals.

Rows pass in batches, in the basis in which H is diagonal. A batch costs one product with the basis,
then three with diagonals. Rows that are left out together: `rigidities.regularizer.blocks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice
from rigidities.rounding import UNIT_ROUNDOFF, unit_of
from rigidities.runtime import memory
from rigidities.scores import root_mean_square

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rigidities.spectrum.evidence import Projection

LEAST_DIGITS = 0.1
"""Relative rounding from which leave-one-out residuals count as lost."""


@dataclass(frozen=True, eq=False)
class PathResiduals:
    """Residuals and variances at each λ, and bounds on their rounding.

    Rounding δC, δb of the sums (see `rigidities.spectrum.evidence`) changes v by fᵀH⁻¹δC H⁻¹f, at
    most `rounding`. It changes r by fᵀH⁻¹(δCθ − δb), at most `noise`.

    Attributes
    ----------
    residuals : ndarray of shape (n_λ, k, n)
        r = y − fᵀθ, for k outputs.
    variances : ndarray of shape (n_λ, n)
        v = fᵀH⁻¹f
    rounding : ndarray of shape (n_λ, n)
        ρ trace(C) ‖H⁻¹f‖², or what follows from it if the factor of the rows is kept.
    noise : ndarray of shape (n_λ, k, n)
        √(`rounding` · bound on the rounding of S), or what follows then.
    """

    residuals: NDArray[np.float64]
    variances: NDArray[np.float64]
    rounding: NDArray[np.float64]
    noise: NDArray[np.float64]

    def left_out(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """√(Σwe²/Σw) of leave-one-out residuals e = r/(1 − wv), (n_λ,); NaN if no digit is left.

        The rounding of e is bounded as in `rigidities.regularizer.blocks`.
        """
        left, epsilon = 1 - w * self.variances, w * self.rounding + UNIT_ROUNDOFF
        lost = left <= epsilon
        left = np.where(lost, np.nan, left)
        errors = self.residuals / left[:, None]
        noise = epsilon[:, None] * np.abs(errors) + self.noise
        scores, noise = (root_mean_square(e, w) for e in (errors, noise / (left - epsilon)[:, None]))
        return np.where(noise <= LEAST_DIGITS * scores, scores, np.nan)


def residuals_along(
    projection: Projection,
    basis: NDArray[np.float64],
    regularizers: NDArray[np.float64],
    batches: Iterable[NDArray[np.float64]],
    y: NDArray[np.float64],
) -> PathResiduals:
    """Return residuals and variances of rows in batches, with targets y (n, k), at every λ."""
    (n, k), n_path, p = y.shape, len(regularizers), len(basis)
    memory.require(8 * n_path * n * (2 * k + 2), f"the residuals of {n} targets", Advice.FEWER_REGULARIZERS_OR_TARGETS)
    inverse, inverse_squared = diagonals(projection, regularizers)
    coef = projection.coef(regularizers).transpose(1, 0, 2).reshape(p, n_path * k)
    residuals, variances, rounding = np.empty((n_path, k, n)), np.empty((n_path, n)), np.empty((n_path, n))
    start = 0
    for batch in batches:
        part = slice(start, start + len(batch))
        start += len(batch)
        z = batch @ basis
        residuals[:, :, part] = y[part].T - (z @ coef).T.reshape(n_path, k, -1)
        variances[:, part] = squared_norms(inverse, z)
        rounding[:, part] = squared_norms(inverse_squared, z)
    noise = projection.prediction_noise(regularizers, variances, rounding)
    return PathResiduals(residuals, variances, projection.variance_rounding(variances, rounding), noise)


def squared_norms(factors: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ_i factor_i·z_i² of each row of z (n, p) for all factors (n_λ, p): (n_λ, n).

    z² alone can leave the range of float64, so it is taken in another unit.
    """
    unit = unit_of(max(z.max(initial=0.0), -z.min(initial=0.0)))
    return np.asarray(factors * unit * unit @ np.square(z / unit).T)


def diagonals(
    projection: Projection, regularizers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors of z² in the sums v and `PathResiduals.rounding`, z = Aᵀf: two of (n_λ, p)."""
    inverse = 1 / projection.spectrum.denominators(regularizers)
    # ‖H⁻¹f‖² = ‖A z/d‖²: exact for orthogonal A; else A's columns are taken as orthogonal
    return inverse, (
        inverse * np.sqrt(projection.rounding * projection.spectrum.trace * projection.spectrum.spread)
    ) ** 2
