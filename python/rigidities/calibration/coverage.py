"""How many residuals lie within ±kσ: coverage with limits, and the factors that drawings need.

Coverage at level p is the share of |r| ≤ Φ⁻¹((1 + p)/2)·σ. Its limits are those of Clopper and
Pearson (Biometrika 26 (1934) 404) if targets are independent:

    low = B⁻¹(α/2; k, n − k + 1),    high = B⁻¹(1 − α/2; k + 1, n − k),

with k of n targets inside and B the distribution function of beta. If they come in blocks, whole
blocks are drawn again (`bootstrap`). Where all or none of the targets are inside, drawing blocks
shows no spread: the limits are then those of Clopper and Pearson for as many targets as there are
blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.calibration.bootstrap import LEVEL, Bootstrap, Estimate
from rigidities.calibration.intervals import gaussian_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rigidities.calibration.errors import Errors

LEVELS = (0.5, 0.68, 0.9, 0.95, 0.99)
"""Levels of coverage that are reported unless others are asked for."""


def clopper_pearson(k: float, n: float) -> Estimate:
    """Return k/n with its exact binomial limits; k and n need not be whole."""
    from scipy.special import betaincinv

    tail = 0.5 - LEVEL / 2
    low = 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - tail))
    return Estimate(k / n, low, high)


def share(inside: NDArray[np.bool_], block: NDArray[np.int64]) -> Estimate:
    """Return a share with limits for targets in blocks, without drawing anything.

    The limits are those of Clopper and Pearson for n_eff = p(1 − p)/var targets, with the variance
    of the share between blocks (Korn & Graubard, Survey Methodology 24 (1998) 193), at most n. If p
    is 0 or 1, n_eff is the number of blocks.
    """
    n = len(inside)
    p = float(inside.mean())
    _, compact = np.unique(block, return_inverse=True)
    n_blocks = int(compact.max()) + 1
    if n_blocks == n:
        return clopper_pearson(int(inside.sum()), n)
    effective = float(n_blocks)
    if 0 < p < 1 and n_blocks > 1:
        between = np.bincount(compact, inside - p) / n
        variance = n_blocks / (n_blocks - 1) * float(np.sum(between**2))
        effective = min(float(n), p * (1 - p) / variance) if variance > 0 else float(n)
    return clopper_pearson(p * effective, effective)


def coverage_at(errors: Errors, levels: Sequence[float], bootstrap: Bootstrap) -> list[Estimate]:
    """Return coverage at each level, with limits."""
    within = np.column_stack([np.abs(errors.z) <= gaussian_quantile(level) for level in levels])
    if errors.n_blocks == len(errors):  # each target is independent
        return [clopper_pearson(int(k), len(errors)) for k in within.sum(axis=0)]
    columns = np.column_stack([within, np.ones(len(errors))]).astype(np.float64)
    found = bootstrap.intervals(columns, lambda sums: sums[..., :-1] / sums[..., -1:])
    return [
        estimate if 0 < estimate.value < 1 else clopper_pearson(estimate.value * errors.n_blocks, errors.n_blocks)
        for estimate in found
    ]


def miscalibration_area(z: NDArray[np.float64]) -> float:
    """∫₀¹ |coverage(p) − p| dp, exactly: between 0 and ½.

    Coverage is a step function of p: i/n between the sorted u = 2Φ(|z|) − 1 of two targets.
    Uncertainty Toolbox has the same on 100 points.
    """
    from scipy.special import erf

    ends = np.concatenate([[0.0], np.sort(erf(np.abs(z) / np.sqrt(2))), [1.0]])
    steps = np.arange(len(z) + 1) / len(z)
    low, high = ends[:-1] - steps, ends[1:] - steps  # ∫|p − c| dp = ½(p − c)|p − c|
    return float(0.5 * np.sum(high * np.abs(high) - low * np.abs(low)))


def expected_area(n: int) -> float:
    """Mean area of n independent calibrated targets: √(π/32)/√n = 0.313/√n.

    √n (coverage(p) − p) tends to a Brownian bridge, whose mean absolute value at p is
    √(2/π)·√(p(1 − p)), and ∫√(p(1 − p)) dp = π/8.
    """
    return float(np.sqrt(np.pi / 32 / n))


def half_normal_interval(level: float) -> tuple[float, float]:
    """Return factors a and b: a σ ≤ |r| ≤ b σ holds a share of Gaussian errors, on log axes.

    Of all intervals of this share, it is the shortest in ln|r|: the density of ln|z| is 2|z|φ(z),
    which has the same value at both ends,

        a exp(−a²/2) = b exp(−b²/2) = c,    2[Φ(b) − Φ(a)] = level.

    With x² exp(−x²) = c², a² and b² are −W₀(−c²) and −W₋₁(−c²), of Lambert's function, and one
    search over c remains, between 0 and exp(−½).

    Examples
    --------
    >>> [round(factor, 4) for factor in half_normal_interval(0.6826895)]
    [0.3313, 1.8975]
    """
    from scipy.optimize import brentq
    from scipy.special import erf, lambertw

    def ends(log_c: float) -> NDArray[np.float64]:
        c2 = -np.exp(2 * log_c)
        squares = -np.array([lambertw(c2, 0).real, lambertw(c2, -1).real])
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    def excess(log_c: float) -> float:
        a, b = erf(ends(log_c) / np.sqrt(2))
        return float(b - a - level)

    log_c = brentq(excess, -300.0, -0.5 - 1e-15, xtol=1e-14, rtol=1e-14)
    a, b = ends(log_c)
    return float(a), float(b)
