"""Residuals and variances of many rows at many λ, and leave-one-out residuals.

Rows pass in batches, in the basis in which H is diagonal. A batch costs one product with the basis,
then three with diagonals. Rows that are left out together cost a product and a decomposition of
their own for each λ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice
from rigidities.rounding import unit_of
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
        """√(Σwe²/Σw) of leave-one-out residuals e = r/(1 − wv), (n_λ,); NaN if no digit is left."""
        left = 1 - w * self.variances
        least = (w * self.rounding / LEAST_DIGITS).max(axis=1, keepdims=True)
        left = np.where((left <= 0) | (least >= left), np.nan, left)
        scores = root_mean_square(self.residuals / left[:, None, :], w)
        noise = root_mean_square(self.noise / left[:, None, :], w)
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
    inverse, inverse_squared = _diagonals(projection, regularizers)
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


def block_scores(
    projection: Projection,
    basis: NDArray[np.float64],
    regularizers: NDArray[np.float64],
    F: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64],
    blocks: Iterable[NDArray[np.int64]],
) -> NDArray[np.float64]:
    """√(Σwe²/Σw) with whole blocks left out, (n_λ,), else as `PathResiduals.left_out`.

    W^½e = M⁻¹W^½r with M = 1 − W^½VW^½ (`rigidities.leave_one_out`). Rounding changes M by at most
    ε, the rounding of the block's Σwv, and W^½r by as much as a row with this v would be. A block
    of m rows takes O(m²p + m³) for each λ.
    """
    inverse, inverse_squared = _diagonals(projection, regularizers)
    coef = projection.coef(regularizers)
    squares, noise = np.zeros((len(inverse), y.shape[1])), np.zeros((len(inverse), y.shape[1]))
    least, epsilon = np.full(len(inverse), np.inf), np.zeros(len(inverse))
    for block in blocks:
        root = np.sqrt(w[block])[:, None]
        z, t = root * (F[block] @ basis), root * y[block]
        of_block, v = (factors @ (z**2).sum(axis=0)[:, None] for factors in (inverse_squared, inverse))
        epsilon = np.maximum(epsilon, projection.variance_rounding(v, of_block)[:, 0])
        of_residuals = projection.prediction_noise(regularizers, v, of_block)[:, :, 0] ** 2
        for i, scale in enumerate(np.sqrt(inverse)):
            half = z * scale
            left, Q = np.linalg.eigh(np.eye(len(z)) - half @ half.T)
            least[i] = min(least[i], left[0])
            with np.errstate(divide="ignore", invalid="ignore"):  # if M is singular, `least` is 0
                squares[i] += ((Q.T @ (t - z @ coef[i]) / left[:, None]) ** 2).sum(axis=0)
                noise[i] += of_residuals[i] / left[0] ** 2
    scores, noise = (np.sqrt(total.mean(axis=1)) / np.sqrt(w.sum()) for total in (squares, noise))
    known = (least > epsilon / LEAST_DIGITS) & (noise <= LEAST_DIGITS * scores)
    return np.where(known, scores, np.nan)


def squared_norms(factors: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ_i factor_i·z_i² of each row of z (n, p) for all factors (n_λ, p): (n_λ, n).

    z² alone can leave the range of float64, so it is taken in another unit.
    """
    unit = unit_of(max(z.max(initial=0.0), -z.min(initial=0.0)))
    return np.asarray(factors * unit * unit @ np.square(z / unit).T)


def _diagonals(
    projection: Projection, regularizers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors of z² in the sums v and `PathResiduals.rounding`, z = Aᵀf: two of (n_λ, p)."""
    inverse = 1 / projection.spectrum.denominators(regularizers)
    # ‖H⁻¹f‖² = ‖A z/d‖²: exact for orthogonal A; else A's columns are taken as orthogonal
    return inverse, (
        inverse * np.sqrt(projection.rounding * projection.spectrum.trace * projection.spectrum.spread)
    ) ** 2
