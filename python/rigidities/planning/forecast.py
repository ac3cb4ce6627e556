"""What more structures of the same kind would bring, from a learning curve.

Rigidities do not follow a power law of the number n of target rows: near n ≈ p each new row still
opens a direction of its own. They nearly do in the degrees of freedom that are left,

    m = n − d,    d = tr(CH⁻¹), the effective dimension,

which takes the place of n for random rows: H⁻¹ is on average that of m rows of their covariance, as
1 − d/n is the mean of 1 − leverage (deterministic equivalents: Dobriban & Wager, Ann. Stat. 46
(2018) 247). So over the last doubling of the data

    ln R = a + α ln m,    d = c + β ln m

are fitted, and n = m + d is solved for m. Errors have a part that data do not lower:

    mean squared error = e² + b/R,    e, b ≥ 0,

fitted over the last two doublings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import UndeterminedWarning, warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

FARTHEST = 8.0
"""Times the data that are there, beyond which nothing is forecast."""

OPEN = 0.5
"""Share m/n of the last size, below which a forecast is a guess: on silicon and lithium, forecasts
of R for twice the data were then 0.57 to 1.83 times what was found; above it, 0.93 to 1.08."""


@dataclass(frozen=True)
class Forecast:
    """A number that is expected at another size, and the range of the orders' own forecasts.

    Attributes
    ----------
    value : float
        From the mean curve of all orders. inf or NaN is never returned for what is not reached:
        see `reached`.
    low, high : float
        Least and largest among the forecasts of single orders.
    reached : bool
        For sizes: whether the goal is reached within eight times the data. If not, `value` is the
        size that is not enough, and `low`, `high` are the same.
    basis : str
        What the forecast is made of, in words.
    floor : float
        Of errors: the part that no number of structures of the same kind lowers. Else 0.
    is_open : bool
        For sizes: whether an order does not reach the goal within eight times the data. `high` is
        then a size that is not enough.
    """

    value: float
    low: float
    high: float
    reached: bool
    basis: str
    floor: float = 0.0
    is_open: bool = False

    def __str__(self) -> str:
        if not self.reached:
            return f"more than {self.value:.0f}: {self.basis}"
        return f"{self.value:.3g} ({self.range_text('.3g')}): {self.basis}"

    def range_text(self, form: str) -> str:
        """Return the range of the orders in words; open if an order does not reach the goal."""
        return f"{self.low:{form}} to {'more than ' * self.is_open}{self.high:{form}}"


@dataclass(frozen=True, eq=False)
class Curve:
    """Means over orders, at the sizes of a learning curve: what forecasts are made from.

    Attributes
    ----------
    sizes : ndarray of shape (n_sizes,)
        In blocks.
    dimension : ndarray of shape (n_sizes,)
        d = tr(CH⁻¹).
    n_rows : ndarray of shape (n_sizes,)
    log_rigidity : ndarray of shape (n_sizes,)
        ln of the median rigidity.
    mean_square : ndarray of shape (n_sizes,), or None
        Mean squared error.
    """

    sizes: NDArray[np.int64]
    dimension: NDArray[np.float64]
    n_rows: NDArray[np.float64]
    log_rigidity: NDArray[np.float64]
    mean_square: NDArray[np.float64] | None

    def left(self) -> NDArray[np.float64]:
        """Degrees of freedom m = n − d that are left at each size."""
        # n and d can agree to all digits; m then is as small as their rounding
        least = 64 * np.finfo(np.float64).eps * self.n_rows
        return np.maximum(self.n_rows - self.dimension, least)


class Extrapolation:
    """The laws of a curve, fitted at its end.

    Parameters
    ----------
    curve : Curve
    """

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        last = curve.sizes[-1]
        log_left = np.log(curve.left())
        recent = curve.sizes >= 0.49 * last
        self._last = log_left[-1]
        self._growth = _slope(log_left[recent], curve.log_rigidity[recent])
        self._opening = max(0.0, _slope(log_left[recent], curve.dimension[recent]))
        self._rows_a_block = curve.n_rows[-1] / last
        self._floor, self._falling = self._parts_of_error(curve.sizes >= 0.24 * last)

    def _parts_of_error(self, recent: NDArray[np.bool_]) -> tuple[float, float]:
        """e² and b/R of the last size."""
        from scipy.optimize import nnls

        if self._curve.mean_square is None:
            return math.nan, math.nan
        mse, log_r = self._curve.mean_square[recent], self._curve.log_rigidity[recent]
        parts = np.stack([np.ones_like(log_r), np.exp(log_r[-1] - log_r)], axis=1)
        positive = mse > 0
        if not positive.any():
            return 0.0, 0.0
        (floor, falling), _ = nnls(parts[positive] / mse[positive, None], np.ones(positive.sum()))
        return float(floor), float(falling)

    @property
    def size(self) -> float:
        """Last size of the curve."""
        return float(self._curve.sizes[-1])

    @property
    def share_left(self) -> float:
        """m/n at the last size."""
        return float(np.exp(self._last) / self._curve.n_rows[-1])

    def _log_left(self, size: float) -> float:
        """Ln m at a size from the last one on: m + d(m) = n."""
        from scipy.optimize import brentq

        rows = size * self._rows_a_block

        def excess(x: float) -> float:
            return float(math.exp(x) + self._curve.dimension[-1] + self._opening * (x - self._last) - rows)

        if excess(self._last) >= 0:  # the last size itself, to rounding
            return float(self._last)
        return float(brentq(excess, self._last, math.log(rows)))

    def rigidity(self, size: float) -> float:
        """Median rigidity at a size."""
        return math.exp(self._curve.log_rigidity[-1] + self._growth * (self._log_left(size) - self._last))

    def error(self, size: float) -> float:
        """Root mean squared error at a size."""
        fall = math.exp(-self._growth * (self._log_left(size) - self._last))
        return math.sqrt(self._floor + self._falling * fall)

    @property
    def floor(self) -> float:
        """Error e that no number of structures of the same kind lowers."""
        return math.sqrt(self._floor)

    def size_where(self, reached: Callable[[float], bool]) -> float | None:
        """Least size from which a condition holds; None if not at eight times the data."""
        first, last = self.size, FARTHEST * self.size
        if reached(first):
            return first
        if not reached(last):
            return None
        while last - first > 1e-6 * last:
            middle = 0.5 * (first + last)
            first, last = (first, middle) if reached(middle) else (middle, last)
        return last


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (x @ x)) if x @ x > 0 else 0.0


def forecast_at(size: float, mean: Extrapolation, orders: list[Extrapolation], quantity: str) -> Forecast:
    """Forecast the median rigidity, or the error, at a size."""
    warn_if_open(mean)

    def value(one: Extrapolation) -> float:
        return one.rigidity(size) if quantity == "rigidity" else one.error(size)

    each = [value(one) for one in orders]
    basis = "a power law of the degrees of freedom left, over the last doubling of the data"
    if quantity == "rmse":
        basis = f"{mean.floor:.3g} that data do not lower, and a part that falls as 1/rigidity"
    return Forecast(value(mean), min(each), max(each), True, basis, mean.floor if quantity == "rmse" else 0.0)


def more_needed(factor: float, mean: Extrapolation, orders: list[Extrapolation], quantity: str) -> Forecast:
    """Forecast how many more blocks change the median rigidity, or the error, by a factor."""
    warn_if_open(mean)

    def size(one: Extrapolation) -> float | None:
        if quantity == "rigidity":
            return one.size_where(lambda n: one.rigidity(n) >= factor * one.rigidity(one.size))
        return one.size_where(lambda n: one.error(n) <= factor * one.error(one.size))

    present = mean.size
    floor = mean.floor if quantity == "rmse" else 0.0
    found, each = size(mean), [size(one) for one in orders]
    if found is None:
        enough = (FARTHEST - 1) * present
        why = f"the {quantity} does not change by a factor of {factor:g} within {FARTHEST:g} times the data"
        if quantity == "rmse" and floor:
            why += f"; about {mean.floor:.3g} of it does not fall with more data of this kind"
        return Forecast(enough, enough, enough, False, why, floor)
    more = [(FARTHEST if one is None else one / present) * present - present for one in each]
    basis = "more blocks like those that are there"
    return Forecast(found - present, min(more), max(more), True, basis, floor, is_open=None in each)


def warn_if_open(mean: Extrapolation) -> None:
    """Warn where each structure still opens directions of its own."""
    if mean.share_left < OPEN:
        warn(
            UndeterminedWarning,
            f"the effective dimension is {100 * (1 - mean.share_left):.0f} % of the target rows: new structures "
            "still open new directions, and the forecast can be wrong by a factor of several",
        )
