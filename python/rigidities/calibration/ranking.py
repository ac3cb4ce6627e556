"""Whether σ ranks targets by the size of their errors: rank correlation, retention, AUROC.

None of these depends on the scale of σ. They have no fixed value that is good: errors are random,
so that even a perfect σ leaves their order open. Each stands beside its value for errors that are
drawn from σ (`simulation`, or a closed form).

**Retention.** Targets of the largest σ are left out first. The curve is the RMSE of those that
remain. Left out at random, it stays level; the oracle leaves out the largest |r| first, which no σ
can do. If σ is right, the mean of r² of those that remain is the mean of their σ² (Pernot,
arXiv:2206.15272).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

THRESHOLD_SHARE = 0.9
"""τ is this quantile of |r| unless it is given: the errors above are the largest tenth."""

POINTS = 100
"""Largest number of points of the retention curve."""


@dataclass(frozen=True, eq=False)
class Retention:
    """RMSE of the targets that remain as those of the largest σ are left out.

    Attributes
    ----------
    fraction : ndarray of shape (k,)
        Share of the targets that remain, rising to 1.
    rmse : ndarray of shape (k,)
        By rising σ, in the unit of the target.
    calibrated : ndarray of shape (k,)
        RMS σ of the same targets: the RMSE if σ is right.
    oracle : ndarray of shape (k,)
        By rising |r|.
    random : float
        RMSE of all targets, at any fraction.
    """

    fraction: NDArray[np.float64]
    rmse: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    oracle: NDArray[np.float64]
    random: float

    @property
    def gain(self) -> float:
        """Area between random and σ, over that between random and oracle: 0 is random, 1 oracle."""
        best = float(np.trapezoid(self.random - self.oracle, self.fraction))
        return float(np.trapezoid(self.random - self.rmse, self.fraction)) / best if best > 0 else 0.0


def retention(r2: NDArray[np.float64], s2: NDArray[np.float64], sorted_r2: NDArray[np.float64]) -> Retention:
    """Return the retention curve of r² and σ² by rising σ, and of r² by its own size."""
    n = len(r2)
    counts = np.unique(np.linspace(1, n, min(n, POINTS)).round().astype(np.int64))

    def rms(squares: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(np.cumsum(squares)[counts - 1] / counts))

    by_std = rms(r2)
    return Retention(counts / n, by_std, rms(s2), rms(sorted_r2), float(by_std[-1]))


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share their mean rank."""
    _, place, n = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(n) - 0.5 * (n - 1))[place])


class StdRanks:
    """Ranks of σ, for the rank correlation and AUROC of any errors."""

    def __init__(self, std: NDArray[np.float64]) -> None:
        self.ranks = ranks(std)
        self._centred = self.ranks - self.ranks.mean()
        self._size = float(np.sqrt(np.sum(self._centred**2)))
        self.is_flat = self._size == 0

    def spearman(self, miss_ranks: NDArray[np.float64]) -> float:
        """Correlation of the ranks of |r| and of σ; 0 where one of them is the same throughout."""
        centred = miss_ranks - miss_ranks.mean()
        size = float(np.sqrt(np.sum(centred**2))) * self._size
        return float(centred @ self._centred) / size if size > 0 else 0.0

    def auroc(self, is_large: NDArray[np.bool_]) -> float:
        """Probability that σ of a large error is above that of another; NaN if there is one kind.

        Mann and Whitney: (Σ ranks of the n₁ large ones − n₁(n₁ + 1)/2)/(n₁n₀).
        """
        n1 = int(is_large.sum())
        n0 = len(is_large) - n1
        if n1 == 0 or n0 == 0:
            return float("nan")
        return float((self.ranks[is_large].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
