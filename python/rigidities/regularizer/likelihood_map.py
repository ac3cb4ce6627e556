"""The log-likelihood of λ and scale together, for all pairs from one decomposition.

The residuals r and variances v of n targets at one λ give the mean negative log-likelihood at every
scale s,

    ½ ln 2π + ln s + ½ mean ln(v + ν/w) + mean(r²/(v + ν/w))/(2s²),

from two means. Its minimum lies at s² = mean(r²/(v + ν/w)). A search over pairs that factorises H
for each takes thousands of times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.validation import as_array, as_floats, as_noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.regularizer.path import RegularizerPath
    from rigidities.rows import Rows
    from rigidities.validation import Reduction

N_SCALES = 101
"""Scales of the default grid."""

ROOM = 10.0
"""The default grid of scales ends this factor beyond the best scales of λ that are equally good."""

EQUALLY_GOOD = 1.92
"""Nats below the largest log-likelihood within which λ is equally good: half the 95 % point of χ²
with one degree of freedom (likelihood ratio)."""


@dataclass(frozen=True, eq=False)
class LikelihoodMap:
    """Mean negative log-likelihood of every pair of λ and scale, and where it is least.

    Attributes
    ----------
    regularizers : ndarray of shape (n_λ,)
        Rising.
    scales : ndarray of shape (n_scales,)
        In the unit of the targets.
    nll : ndarray of shape (n_λ, n_scales)
        Nats per target; NaN where rounding leaves no digit.
    best_scales : ndarray of shape (n_λ,)
        The best scale at each λ, which need not be one of `scales`.
    least_nll : ndarray of shape (n_λ,)
        The negative log-likelihood there.
    regularizer, scale : float
        The best pair: a λ of the grid, with its best scale.
    low, high : float
        Ends of the λ around it that are equally good: n times the negative log-likelihood is
        within 1.92 nats of the least.
    n : int
        Number of targets. Where they are not independent, as forces of one structure, fewer count,
        and more λ are equally good.
    """

    regularizers: NDArray[np.float64]
    scales: NDArray[np.float64]
    nll: NDArray[np.float64]
    best_scales: NDArray[np.float64]
    least_nll: NDArray[np.float64]
    regularizer: float
    scale: float
    low: float
    high: float
    n: int

    @property
    def at_end(self) -> bool:
        """Whether λ at an end of the grid are equally good, so that others may be, too."""
        known = self.regularizers[~np.isnan(self.least_nll)]
        return bool(self.low == known[0] or self.high == known[-1])

    @property
    def slope(self) -> float:
        """Slope d ln(scale)/d ln λ from `low` to `high`: ½ where only scale²/λ counts."""
        inside = (self.regularizers >= self.low) & (self.regularizers <= self.high)
        logs = np.log(self.regularizers[inside]), np.log(self.best_scales[inside])
        return float(np.polyfit(*logs, 1)[0]) if inside.sum() > 1 else float("nan")

    def __str__(self) -> str:
        best = f"best at regularizer {self.regularizer:.3g} with scale {self.scale:.3g}"
        if self.low == self.high:
            return f"{best}; its neighbours in the grid are worse"
        ends = " (an end of the grid: others may be, too)" if self.at_end else ""
        text = f"{best}; regularizers between {self.low:.2g} and {self.high:.2g} are equally good{ends}"
        if self.high > 10 * self.low:
            text += (
                f", each with its own scale, which grows as λ^{self.slope:.2g}: choose among them by another "
                "criterion, such as the error of left-out targets"
            )
        return text


def likelihood_map(
    path: RegularizerPath,
    X: ArrayLike | Rows,
    y: ArrayLike,
    scales: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    noise: float = 0.0,
    left_out: bool = False,
    groups: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> LikelihoodMap:
    """Return the log-likelihood of N(prediction, scale²(v + noise/w)) for all pairs of λ and scale.

    Parameters
    ----------
    path : RegularizerPath
        Of one output.
    X : array_like of shape (n_rows, n_features), or Rows
        Validation rows, or training rows with `left_out`.
    y : array_like of shape (n_targets,)
    scales : array_like of shape (n_scales,), optional
        In the unit of the targets, positive. By default 101 around the best ones.
    weights : array_like of shape (n_targets,), optional
        Loss weights w, 1 by default. Targets of weight 0 are ignored.
    noise : float, default 0
        As for `RegularizerPath.score`.
    left_out : bool, default False
        The rows are training rows, each predicted by the fit without it.
    groups, reduction
        As for `Covariance.update`.

    Returns
    -------
    LikelihoodMap
        Printed, it says which λ are equally good. `rigidities.plot.draw_likelihood_map` draws it.

    Raises
    ------
    ValueError, TypeError, MemoryError, NotFittedError
        As `RegularizerPath.score`; or if there are several outputs, all residuals are 0, a scale is
        not positive, or no λ of the path is resolved.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> rng = np.random.default_rng(0)
    >>> F = rng.normal(size=(60, 5))
    >>> y = F @ rng.normal(size=5) + 0.3 * rng.normal(size=60)
    >>> covariance = rg.Covariance(5)
    >>> covariance.update(F[:40], targets=y[:40])
    >>> path = rg.regularizer_path(covariance, np.logspace(-3, 3, 61))
    >>> found = rg.likelihood_map(path, F[40:], y[40:], noise=1.0)
    >>> print(f"{found.scale:.2f}, {found.low:.3g} to {found.high:.2g}")
    0.31, 0.001 to 1.6
    """
    noise = as_noise(noise)
    found, w = path.residuals(X, y, weights, groups=groups, reduction=reduction)
    if found.residuals.shape[1] != 1:
        raise ValueError(f"the path has {found.residuals.shape[1]} outputs: expected one; make a map of each alone")
    residuals, variances = found.without(w)[:2] if left_out else (found.residuals, found.variances)
    kept = w > 0
    if noise == 0:
        kept &= path.more_than_rounding(found.variances, "nll")
    order = np.argsort(path.regularizers)
    r, v = residuals[order, 0][:, kept], variances[order][:, kept] + noise / w[kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios, logs = np.mean(r**2 / v, axis=1), np.log(v).mean(axis=1)
        best = np.sqrt(ratios)
        least = 0.5 * (np.log(2 * np.pi * ratios) + 1 + logs)
    if np.isnan(least).all():
        raise ValueError("no regularizer of the path is resolved: pass larger ones")
    if not (ratios[~np.isnan(ratios)] > 0).all():
        raise ValueError("all residuals are 0 at a regularizer: there is no scale to learn")
    x, n = path.regularizers[order], int(kept.sum())
    at = int(np.nanargmin(least))
    low, high = _around(n * (least - least[at]) <= EQUALLY_GOOD, at)
    grid = _scales(scales, best[low : high + 1])
    nll = 0.5 * (np.log(2 * np.pi) + logs)[:, None] + np.log(grid) + ratios[:, None] / (2 * grid**2)
    return LikelihoodMap(x, grid, nll, best, least, float(x[at]), float(best[at]), float(x[low]), float(x[high]), n)


def _around(good: NDArray[np.bool_], at: int) -> tuple[int, int]:
    """Return the first and the last place of the good ones around a place."""
    low = high = at
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(good) - 1 and good[high + 1]:
        high += 1
    return low, high


def _scales(scales: ArrayLike | None, best: NDArray[np.float64]) -> NDArray[np.float64]:
    if scales is None:
        return np.geomspace(np.nanmin(best) / ROOM, np.nanmax(best) * ROOM, N_SCALES)
    grid = as_floats(as_array(scales, "scales"), "scales", ndim=1, double=True)
    if not len(grid) or not (np.isfinite(grid) & (grid > 0)).all():
        raise ValueError("scales must be finite and positive, and there must be at least one")
    return grid
