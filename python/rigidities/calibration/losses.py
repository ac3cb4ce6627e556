"""The scale that each loss prefers, the noise beside it, and how much each row moves the scale.

    σ² = scale²·(v + ν),    z = r/σ

| loss | scale | what is least |
|---|---|---|
| "nll" | scale² = mean r²/(v + ν) | Gaussian negative log likelihood |
| "absolute" | scale = √(π/2) · mean abs(r)/√(v + ν) | Laplace negative log likelihood |
| "crps" | Σσ(1/√π − 2φ(z)) = 0 | continuous ranked probability score |
| "binned" | ln scale² = mean of ln(mean r²/mean (v + ν)) of bins | squared log ratio over bins |

√(π/2) is the standard deviation of a Gaussian over its mean absolute value: for Gaussian errors all
four give the same scale. "absolute" is robust: a few errors that are far off count in proportion to
their size, not to its square.

**Noise.** With ν given, the scale is one of the above. The two likelihoods can fit ν, too: at each
ν the best scale is known, so that one search over ν remains,

    minimise ln scale + ½ mean ln(v + ν) over ν ≥ 0.

Noise is taken if it raises the log likelihood by more than 1, as Akaike's criterion asks of a
parameter: where all v are alike, scale and noise cannot be told apart, and σ has to grow where v
does.

**Influence.** The scale solves Σ g = 0, a sum over rows. A row of weight 1 + ε moves ln scale by
−ε g / Σ ∂g/∂ln scale. The sum of squares of these, over rows or over blocks of rows that are not
independent, is the squared relative standard error of the scale (infinitesimal jackknife: Efron,
*The Jackknife, the Bootstrap and Other Resampling Plans*, 1982, chapter 6; by block: Liang & Zeger,
Biometrika 73 (1986) 13). It assumes no distribution of the errors: for Gaussian ones "nll" has
scale/√(2n).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from rigidities.scores import LARGEST_RANGE, crps_scale, density

if TYPE_CHECKING:
    from numpy.typing import NDArray

Likelihood = Literal["nll", "absolute"]
Loss = Literal["nll", "absolute", "crps", "binned"]

BIN_SIZE = 100
"""Rows of a bin, as in the paper on last layers (Mach. Learn.: Sci. Technol. 5 (2024) 045018)."""

LEAST_TARGETS = 10
"""Fewest targets that determine two numbers, scale and noise. Of fewer, the noise is 0."""

LEAST, LARGEST, HALVES = 1e-8, 1e4, 25
"""Ends of the search for ν, in median v, and its first values, half a decade apart. Smaller noise
does not show in any row above the floor. With the largest, σ still rises where v is far above that
of the training set, even if its errors were noise alone."""

UNRESOLVED = 1e-7
"""Where the information on scale and noise is singular to this share, they cannot be told apart."""


def scale_and_noise(
    residuals: NDArray[np.float64],
    variances: NDArray[np.float64],
    loss: Loss,
    *,
    noise: float | None = None,
    bin_size: int = BIN_SIZE,
) -> tuple[float, float]:
    """Return the scale, and scale·√ν, at the minimum of a loss.

    Parameters
    ----------
    residuals, variances : ndarray of shape (n,)
        r, at least one of them not 0, and v > 0; n > 0.
    loss : {"nll", "absolute", "crps", "binned"}
    noise : float, optional
        ν ≥ 0. None: fit it, by one of the likelihoods ("nll", "absolute").
    bin_size : int
        For "binned": at most n.

    Returns
    -------
    scale : float
        0 if the loss is least there: the CRPS where residuals of 0 carry 1/√2 of Σ√(v + ν) or
        more, and "binned" where all residuals of a bin are 0.
    noise : float
        Standard deviation scale·√ν.
    """
    median, unit = float(np.median(variances)), float(np.abs(residuals).max())  # so that squares stay in range
    v, r = variances / median, residuals / unit
    if noise is not None:
        scale = unit * size(r, np.sqrt(v + noise / median), loss, bin_size) / math.sqrt(median)
        return scale, scale * math.sqrt(noise)

    def misfit(nu: float) -> float:
        total = v + nu
        return float(np.log(size(r, np.sqrt(total), loss)) + 0.5 * np.log(total).mean())

    nu = _least(misfit, 1 / len(r)) if len(r) >= LEAST_TARGETS else 0.0
    scale = unit * size(r, np.sqrt(v + nu), loss)
    return scale / math.sqrt(median), scale * math.sqrt(nu)


def size(residuals: NDArray[np.float64], deviation: NDArray[np.float64], loss: Loss, bin_size: int = BIN_SIZE) -> float:
    """Return the scale of residuals over these deviations; 1 if the deviations are right."""
    match loss:
        case "nll":
            return float(np.sqrt(np.mean((residuals / deviation) ** 2)))
        case "absolute":
            return float(np.sqrt(np.pi / 2) * np.abs(residuals / deviation).mean())
        case "crps":
            return _crps_size(np.abs(residuals), deviation)
        case "binned":
            _, squares, variances = _bins(residuals, deviation, bin_size)
            with np.errstate(divide="ignore"):
                return float(np.exp(0.5 * np.mean(np.log(squares.mean(axis=1)) - np.log(variances.mean(axis=1)))))


def _crps_size(misses: NDArray[np.float64], deviation: NDArray[np.float64]) -> float:
    """Root of Σσ(1/√π − 2φ(z)); 0 if there is none above the rounding of the score.

    The sum falls as the scale grows, so there is one root at most. As the scale goes to 0, φ goes
    to 0 where r ≠ 0 and stays 1/√(2π) where r = 0. The sum begins at (Σσ − √2 Σ₀σ)/√π, with Σ₀ over
    the zeros, and there is a root if that is positive.
    """
    found = float(crps_scale(misses, deviation))
    lowest = float((misses / deviation).max()) * math.exp(-LARGEST_RANGE) / math.sqrt(math.log(2))
    return found if found > lowest * (1 + 1e-6) else 0.0


def _bins(
    residuals: NDArray[np.float64], deviation: NDArray[np.float64], bin_size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows of bins of equal numbers by variance, (n_bins, bin_size), their r² and v.

    The last bin, of the largest variances, is dropped if it is not full.
    """
    order = np.argsort(deviation, kind="stable")
    rows = order[: len(order) // bin_size * bin_size].reshape(-1, bin_size)
    return rows, residuals[rows] ** 2, deviation[rows] ** 2


def _least(misfit: Callable[[float], float], gain: float) -> float:
    """Return ν of the least misfit, or 0 if that is no more than the gain above it.

    There may be several minima, so a grid is searched first.
    """
    from scipy.optimize import minimize_scalar

    grid = np.linspace(np.log(LEAST), np.log(LARGEST), HALVES)
    values = [misfit(np.exp(log)) for log in grid]
    best = int(np.argmin(values))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, HALVES - 1)]
    found = minimize_scalar(lambda log: misfit(np.exp(log)), bounds=ends, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < misfit(0.0) - gain else 0.0


# The error of the scale ---------------------------------------------------------------------------


def relative_error(
    residuals: NDArray[np.float64],
    deviation: NDArray[np.float64],
    noise: NDArray[np.float64] | None,
    blocks: NDArray[np.int64],
    loss: Loss,
    bin_size: int = BIN_SIZE,
) -> float:
    """Return the standard error of ln scale.

    Parameters
    ----------
    residuals, deviation : ndarray of shape (n,)
        r, and σ with the scale of the loss.
    noise : ndarray of shape (n,), optional
        If the noise was fitted: its share of each σ², ν/(v + ν).
    blocks : ndarray of int of shape (n,)
        Index of the block of each row, from 0. Blocks are independent of each other; two or more.
    loss : {"nll", "absolute", "crps", "binned"}
    bin_size : int

    Returns
    -------
    float
        Infinite if the errors are noise alone, so that they leave the scale undetermined.
    """
    sums = np.bincount(blocks, _influence(residuals, deviation, noise, loss, bin_size))
    m = len(sums)
    return float(np.sqrt(m / (m - 1) * np.sum(sums**2)))


def _influence(
    residuals: NDArray[np.float64],
    deviation: NDArray[np.float64],
    noise: NDArray[np.float64] | None,
    loss: Loss,
    bin_size: int,
) -> NDArray[np.float64]:
    """Return what a row of weight 1 + ε adds to ln scale, over ε."""
    z, n = residuals / deviation, len(residuals)
    match loss:
        case "nll" | "absolute":
            power = 2 if loss == "nll" else 1
            q = z**2 if loss == "nll" else np.sqrt(np.pi / 2) * np.abs(z)
            return (q - 1) / (power * n) if noise is None else _joint_influence(q, noise, power)
        case "crps":
            g = deviation * (2 * density(z) - 1 / np.sqrt(np.pi))
            return np.asarray(-g / np.sum(deviation * 2 * density(z) * z**2))
        case "binned":
            rows, squares, variances = _bins(residuals, deviation, bin_size)
            influence = np.zeros(n)
            relative = squares / squares.mean(axis=1)[:, None] - variances / variances.mean(axis=1)[:, None]
            influence[rows] = 0.5 * relative / rows.size
            return influence


def _joint_influence(q: NDArray[np.float64], w: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    """Return the same where scale and noise are fitted together.

    A row's loss is ln σ + q/m, with q = z² and m = 2, or q = √(π/2)|z| and m = 1. With
    a = ln scale, c = ln ν and w = ν/(v + ν): ∂lnσ/∂a = 1, ∂lnσ/∂c = w/2, ∂q/∂lnσ = −m q,
    ∂w/∂c = w(1 − w).
    """
    cross = 0.5 * m * w @ q
    own = float(np.sum(0.5 * w * (1 - w) * (1 - q) + 0.25 * m * w**2 * q))
    information = np.array([[m * q.sum(), cross], [cross, own]])
    if np.linalg.det(information) <= UNRESOLVED * information[0, 0] * own:
        return np.full(len(q), np.inf)
    return np.asarray(np.linalg.solve(information, np.stack([q - 1, 0.5 * w * (q - 1)]))[0])
