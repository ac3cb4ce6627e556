"""RMSE beside σ in parts of the targets: bins of like σ, or classes; each with an interval.

In each part, two numbers are 1 if σ is right: mean r²/mean σ², whose root is RMSE/(RMS σ), and
mean z². The first is governed by the largest σ of the part, and is unstable where σ has heavy
tails; the second weighs all targets alike (Pernot, arXiv:2402.10043).

**Interval of a part.** For q = Σa/Σb, with a = r² and b = σ² (or z² and 1), over m independent
units,

    se² = m/(m − 1) · Σᵤ(Σ_{i in u} aᵢ − q bᵢ)² / (Σb)²,    ln q ± t₀.₉₇₅(m − 1)·se/q.

On the logarithm, as q is positive and skewed. The closed form lets it be simulated many times:
with heavy tails and few targets, *no* interval of a variance holds its 95 %, so the share of bins
whose interval holds 1 stands beside the share that calibrated errors reach (`simulation`).

**Binned error.** ENCE, the mean over bins of |RMS σ − RMSE|/(RMS σ) (Levi et al., Sensors 22 (2022)
5540), grows as the root of the number of bins, even for a perfect σ (Pernot, *Properties of the
ENCE and other MAD-based calibration metrics*, 2023). It is reported for several numbers of bins,
each beside its value for calibrated errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rigidities.calibration.bootstrap import LEVEL, Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.calibration.errors import Errors

MOST_BINS, PER_BIN = 20, 30
"""Largest number of bins, and fewest targets in each (but there are two bins in any case)."""

BINNED_ERROR_BINS, PER_ERROR_BIN = (5, 10, 20, 50, 100), 20
"""Numbers of bins for ENCE, as far as each has this many targets; the first in any case."""


@dataclass(frozen=True, eq=False)
class Ratios:
    """Parts of the targets: how many, RMSE, RMS σ, and the ratios that are 1 if σ is right.

    Attributes
    ----------
    n, n_blocks : ndarray of int of shape (k,)
        Targets and independent units of each part.
    rmse, rms_std : ndarray of shape (k,)
        In the unit of the target.
    ratio, ratio_low, ratio_high : ndarray of shape (k,)
        RMSE/(RMS σ) and its 95 % limits; 0 and infinity for a single unit.
    mean_square, mean_square_low, mean_square_high : ndarray of shape (k,)
        Mean z² and its limits.
    """

    n: NDArray[np.int64]
    n_blocks: NDArray[np.int64]
    rmse: NDArray[np.float64]
    rms_std: NDArray[np.float64]
    ratio: NDArray[np.float64]
    ratio_low: NDArray[np.float64]
    ratio_high: NDArray[np.float64]
    mean_square: NDArray[np.float64]
    mean_square_low: NDArray[np.float64]
    mean_square_high: NDArray[np.float64]

    @property
    def ratio_holds(self) -> float:
        """Share of the parts whose interval of RMSE/(RMS σ) holds 1."""
        return float(np.mean((self.ratio_low <= 1) & (self.ratio_high >= 1)))

    @property
    def mean_square_holds(self) -> float:
        """Share of the parts whose interval of mean z² holds 1."""
        return float(np.mean((self.mean_square_low <= 1) & (self.mean_square_high >= 1)))


class Partition:
    """Targets split into parts, whose units are blocks.

    Parameters
    ----------
    part, block : ndarray of int of shape (n,)
        From 0; each part has at least one target.
    """

    def __init__(self, part: NDArray[np.int64], block: NDArray[np.int64]) -> None:
        self._part, self.n = part, np.bincount(part)
        is_sorted = bool((part[1:] >= part[:-1]).all())  # bins of sorted targets: three times as fast
        self._starts = np.cumsum(self.n) - self.n if is_sorted else None
        # a unit of a part: the targets of one block in it
        pairs = part.astype(np.int64) * (int(block.max()) + 1) + block
        names, self._cell = np.unique(pairs, return_inverse=True)
        self._part_of_cell = names // (int(block.max()) + 1)
        self.n_blocks = np.bincount(self._part_of_cell)
        self._is_plain = len(names) == len(part)

    @cached_property
    def _quantile(self) -> NDArray[np.float64]:
        from scipy.special import stdtrit

        return np.asarray(stdtrit(np.maximum(self.n_blocks - 1, 1), 0.5 + LEVEL / 2))

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the targets of each part."""
        if self._starts is not None:
            return np.asarray(np.add.reduceat(values, self._starts))
        return np.asarray(np.bincount(self._part, values, len(self.n)), dtype=np.float64)

    def ratio(
        self, a: NDArray[np.float64], b: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return q = Σa/Σb of each part and its limits."""
        over = self.sums(b)
        q = self.sums(a) / over
        excess = a - q[self._part] * b
        if self._is_plain:
            squares = self.sums(excess**2)
        else:
            of_cells = np.bincount(self._cell, excess) ** 2
            squares = np.asarray(np.bincount(self._part_of_cell, of_cells, len(self.n)), dtype=np.float64)
        m = self.n_blocks
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            error = np.sqrt(m / (m - 1) * squares) / over
            factor = np.exp(self._quantile * error / q)
            low, high = q / factor, q * factor
        # one unit: nothing is known. No error in any target of several units: every draw gives 0.
        known, zero = m > 1, q == 0
        low = np.where(known & ~zero, low, 0.0)
        high = np.where(known, np.where(zero, 0.0, high), np.inf)
        return q, low, high


def equal_bins(n: int, n_bins: int) -> NDArray[np.int64]:
    """Return the bin of each of n sorted targets; sizes differ by one at most."""
    sizes = np.full(n_bins, n // n_bins)
    sizes[: n % n_bins] += 1
    return np.repeat(np.arange(n_bins), sizes)


def number_of_bins(n: int) -> int:
    """Return how many bins n targets are split into."""
    return int(np.clip(n // PER_BIN, 2, MOST_BINS))


def ratios(errors: Errors, partition: Partition) -> Ratios:
    """Compare errors with σ in each part."""
    r2, s2 = errors.residuals**2, errors.std**2
    q, q_low, q_high = partition.ratio(r2, s2)
    squares = partition.ratio(errors.z**2, np.ones(len(errors)))
    return Ratios(
        partition.n,
        partition.n_blocks,
        np.sqrt(partition.sums(r2) / partition.n),
        np.sqrt(partition.sums(s2) / partition.n),
        np.sqrt(q),
        np.sqrt(q_low),
        np.sqrt(q_high),
        *squares,
    )


def error_bins(n: int) -> tuple[int, ...]:
    """Return the numbers of bins for which ENCE is reported."""
    return tuple(k for k in BINNED_ERROR_BINS if k == BINNED_ERROR_BINS[0] or n >= k * PER_ERROR_BIN)


def binned_error(r2: NDArray[np.float64], s2: NDArray[np.float64], n_bins: int) -> float:
    """ENCE of squares that are sorted by σ."""
    starts = np.searchsorted(equal_bins(len(r2), n_bins), np.arange(n_bins))
    found = np.sqrt(np.add.reduceat(r2, starts) / np.add.reduceat(s2, starts))
    return float(np.mean(np.abs(1 - found)))


def one_ratio(errors: Errors, a: NDArray[np.float64], b: NDArray[np.float64]) -> Estimate:
    """Return Σa/Σb over all targets, with the limits of a part."""
    q, low, high = Partition(np.zeros(len(errors), dtype=np.int64), errors.block).ratio(a, b)
    return Estimate(float(q[0]), float(low[0]), float(high[0]))
