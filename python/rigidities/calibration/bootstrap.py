"""Bootstrap intervals of ratios and other functions of sums over independent units.

Units are drawn again with replacement: targets, or blocks of targets that are not independent of
each other, as the forces of one structure. The intervals are bias-corrected and accelerated (BCa;
Efron, J. Am. Stat. Assoc. 82 (1987) 171), which heavy tails need: with percentiles alone, the upper
limit of mean z² is too low. All statistics here are functions of sums over targets, so that one
product of the drawn numbers of units with the sums of each unit gives all repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPEATS = 2000
"""Number of times that the units are drawn."""

MOST_UNITS = 2000
"""More units than this are summed in that many groups, drawn at random, before they are drawn: sums
of random groups have the same variance and skewness in the whole, to a relative √(1/2000)."""

LEVEL = 0.95
"""Of all intervals of a report."""


class Estimate(NamedTuple):
    """A number and the limits of its 95 % interval.

    Attributes
    ----------
    value, low, high : float
        The limits are 0 and infinity (or what bounds the quantity) where nothing is known.
    """

    value: float
    low: float
    high: float

    def holds(self, number: float) -> bool:
        """Return whether the number lies in the interval, limits included."""
        return self.low <= number <= self.high


class Bootstrap:
    """Units drawn again, for intervals of any function of sums over targets.

    Parameters
    ----------
    block : ndarray of int of shape (n,)
        Index of the unit of each target.
    n_blocks : int
    rng : numpy.random.Generator

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> x = rng.exponential(size=400)
    >>> bootstrap = Bootstrap(np.arange(400), 400, rng)
    >>> columns = np.column_stack([x, np.ones(400)])
    >>> [mean] = bootstrap.intervals(columns, lambda sums: sums[..., :1] / sums[..., 1:])
    >>> mean.holds(1.0)
    True
    """

    def __init__(self, block: NDArray[np.int64], n_blocks: int, rng: np.random.Generator) -> None:
        self._n_units = min(n_blocks, MOST_UNITS)
        unit_of_block = np.arange(n_blocks)
        if n_blocks > MOST_UNITS:  # groups of as many blocks as possible, drawn at random
            unit_of_block = rng.permutation(n_blocks) % MOST_UNITS
        self._unit = unit_of_block[block]
        drawn = rng.integers(self._n_units, size=(REPEATS, self._n_units))
        drawn += self._n_units * np.arange(REPEATS)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=REPEATS * self._n_units)
        self._counts = counts.reshape(REPEATS, self._n_units).astype(np.float64)

    def intervals(
        self,
        columns: NDArray[np.float64],
        function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> list[Estimate]:
        """Return functions of sums over all targets, with their intervals.

        Parameters
        ----------
        columns : ndarray of shape (n, k)
            What is summed over the targets.
        function : callable
            Maps sums (..., k) to (..., m) statistics.

        Returns
        -------
        list of m Estimate
        """
        sums = np.array([np.bincount(self._unit, column, self._n_units) for column in columns.T], dtype=np.float64).T
        total = sums.sum(axis=0)
        values = function(total)
        repeats = function(self._counts @ sums)
        without = function(_without_each(sums))
        limits = [_bca(*one) for one in zip(values, repeats.T, without.T, strict=True)]
        return [Estimate(float(value), *ends) for value, ends in zip(values, limits, strict=True)]


def _without_each(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over all units but one, for the jackknife; a difference would cancel a leading unit."""
    before, after = np.cumsum(sums, axis=0), np.cumsum(sums[::-1], axis=0)[::-1]
    nothing = np.zeros((1, sums.shape[1]))
    return np.asarray(np.concatenate([nothing, before[:-1]]) + np.concatenate([after[1:], nothing]))


def _bca(value: float, repeats: NDArray[np.float64], without: NDArray[np.float64]) -> tuple[float, float]:
    """Efron's limits: quantiles of the repeats at Φ(z₀ + (z₀ ± z)/(1 − a(z₀ ± z)))."""
    from scipy.special import ndtr, ndtri

    # half of the ties: the share is never 0 or 1 where all repeats are the same
    below = (np.sum(repeats < value) + 0.5 * np.sum(repeats == value)) / len(repeats)
    z0 = ndtri(np.clip(below, 1 / (2 * len(repeats)), 1 - 1 / (2 * len(repeats))))
    influence = without.mean() - without
    largest = np.abs(influence).max()
    if largest == 0:
        return float(value), float(value)
    influence = influence / largest
    acceleration = np.sum(influence**3) / (6 * np.sum(influence**2) ** 1.5)
    z = z0 + ndtri([0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    # |a| ≤ 1/6 and |z| < 6 (z₀ of 2000 repeats is at most 3.5): the denominator is positive
    low, high = np.quantile(repeats, ndtr(z0 + z / (1 - acceleration * z)))
    return float(low), float(high)
