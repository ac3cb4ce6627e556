"""Proper scores of predictions whose standard deviation is known up to a scale, at the best scale.

The predictive distribution of a target is N(prediction, scale²·v). Residuals r and variances v come
for several λ at once, (n_λ, n), and each λ gets the scale that minimises its mean score. The
comparison of λ then depends on how v varies from target to target, not on its unit.

NLL and CRPS: Gneiting & Raftery, J. Am. Stat. Assoc. 102 (2007) 359.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.rounding import unit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_RANGE = 28.0
"""Range of ln(scale) that is searched. A best scale below e⁻²⁸ of the largest |r|/√v is 0 to
rounding of the score."""

_STEPS, _CONVERGED = 100, 1e-12
"""Largest number of Newton steps in ln(scale), and the step that ends them. 6 to 10 are taken. An
error of 1e-12 changes the score by its square."""


def negative_log_likelihood(residuals: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """½ ln(2πe scale²) + ½ mean ln v at its minimum, scale² = mean(r²/v); nats per target."""
    unit = unit_of(np.abs(residuals).max(axis=-1, keepdims=True))  # their squares can leave the range of float64
    with np.errstate(divide="ignore"):
        scale2 = np.mean((residuals / unit) ** 2 / variances, axis=-1)
        ends = np.log(2 * np.pi * np.e * scale2) + np.log(variances).mean(axis=-1)
        return np.asarray(0.5 * ends + np.log(unit[..., 0]))


def continuous_ranked_probability_score(
    residuals: NDArray[np.float64], variances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of s[u(2Φ(u) − 1) + 2φ(u) − 1/√π] at its minimum, s = scale·√v, u = r/s."""
    from scipy.special import ndtr

    deviation = np.sqrt(variances)
    s = crps_scale(np.abs(residuals), deviation)[..., None] * deviation
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.where(s > 0, residuals / s, np.inf)
        spread = s * (u * (2 * ndtr(u) - 1) + 2 * density(u) - 1 / np.sqrt(np.pi))
    return np.asarray(np.where(s > 0, spread, np.abs(residuals)).mean(axis=-1))


def crps_scale(misses: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of Σ √v (2φ(u) − 1/√π), u = |r|/(scale·√v), the derivative of the CRPS by the scale.

    The derivative rises with the scale. It is positive where all u < √ln 2, so the root lies below
    the scale max(|r|/√v)/√ln 2. Newton's method in ln(scale) finds it; where a step would leave the
    interval, the interval is halved instead.
    """
    ratios = misses / deviation
    largest = ratios.max(axis=-1)
    high = np.log(np.where(largest > 0, largest, 1.0) / np.sqrt(np.log(2)))
    low, log = high - LARGEST_RANGE, high - 1.0
    for _ in range(_STEPS):
        u = ratios / np.exp(log)[..., None]
        twice = 2 * density(u)
        value = (deviation * (twice - 1 / np.sqrt(np.pi))).sum(axis=-1)
        slope = (deviation * twice * u**2).sum(axis=-1)
        low, high = np.where(value > 0, low, log), np.where(value > 0, log, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = log - value / slope
        before, log = log, np.where((low <= newton) & (newton <= high), newton, 0.5 * (low + high))
        if np.abs(log - before).max(initial=0.0) < _CONVERGED:
            break
    return np.asarray(np.where(largest > 0, np.exp(log), 0.0))


def density(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """φ(u)."""
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi))


def root_mean_square(residuals: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """√(Σwr²/Σw) over targets, its mean square over outputs: (n_λ, k, n) → (n_λ,)."""
    unit = unit_of(np.abs(residuals).max(axis=(-2, -1), keepdims=True))
    squares = ((residuals / unit) ** 2 @ (weights / weights.sum())).mean(axis=-1)
    return np.asarray(np.sqrt(squares) * unit[..., 0, 0])
