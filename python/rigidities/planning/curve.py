"""A learning curve: rigidities and errors against the number of training blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rigidities.planning.forecast import Curve, Extrapolation, Forecast, forecast_at, more_needed
from rigidities.validation import as_count, as_integer, as_number, check_word

if TYPE_CHECKING:
    from numpy.typing import NDArray

Quantity = Literal["rigidity", "rmse"]


@dataclass(frozen=True, eq=False)
class Steps:
    """What one order of the blocks gives at each size.

    Attributes
    ----------
    rigidity : ndarray of shape (n_sizes, n_test), or (n_sizes, n_test, n_components)
    rmse : ndarray of shape (n_sizes,), or None
    effective_dimension : ndarray of shape (n_sizes,)
        tr(CH⁻¹): how many directions the data determine.
    n_rows : ndarray of shape (n_sizes,)
        Target rows in C.
    """

    rigidity: NDArray[np.float64]
    rmse: NDArray[np.float64] | None
    effective_dimension: NDArray[np.float64]
    n_rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Rigidities and errors against the number of training blocks, for several orders of them.

    Attributes
    ----------
    sizes : ndarray of shape (n_sizes,)
        Numbers of blocks (structures), rising.
    rigidity : ndarray of shape (n_orders, n_sizes, n_test), or with n_components behind
        R of the test rows, in units of the loss weights.
    rmse : ndarray of shape (n_orders, n_sizes), or None
        Root mean squared error in the unit of the targets; see `learning_curve`. NaN where no
        target is left to test on.
    effective_dimension, n_rows : ndarray of shape (n_orders, n_sizes)
        tr(CH⁻¹), and target rows in C.
    regularizer : float
        λ, the same at all sizes.
    selected : Steps or None
        The same along the order that was passed as `selected`; NaN beyond its end.
    """

    sizes: NDArray[np.int64]
    rigidity: NDArray[np.float64]
    rmse: NDArray[np.float64] | None
    effective_dimension: NDArray[np.float64]
    n_rows: NDArray[np.int64]
    regularizer: float
    selected: Steps | None = None

    def median_rigidity(self) -> NDArray[np.float64]:
        """Median over the test rows: (n_orders, n_sizes), or with n_components behind."""
        return np.asarray(np.median(self.rigidity, axis=2))

    def band(self, quantity: Quantity = "rigidity", coverage: float = 0.68) -> NDArray[np.float64]:
        """Low end, median and high end over the orders, of the median rigidity or of the error.

        Parameters
        ----------
        quantity : {"rigidity", "rmse"}
        coverage : float
            Share of the orders between both ends, between 0 and 1.

        Returns
        -------
        ndarray of shape (3, n_sizes), or with n_components behind

        Raises
        ------
        ValueError, TypeError
            If there are no errors, or the coverage is out of range.
        """
        share = as_number(coverage, "coverage", "a number between 0 and 1")
        if not 0 < share < 1:
            raise ValueError(f"coverage is {coverage}: expected a number between 0 and 1")
        values = self.median_rigidity() if quantity == "rigidity" else self._errors(quantity)
        with np.errstate(invalid="ignore"):
            found = np.quantile(values, [0.5 - share / 2, 0.5, 0.5 + share / 2], axis=0)
        # rows of zeros have R = inf; between two of them, interpolation takes inf − inf
        return np.where(np.isnan(found) & np.isinf(values).any(axis=0), np.inf, found)

    def forecast(self, size: int, quantity: Quantity = "rigidity", *, component: int | None = None) -> Forecast:
        """Forecast the median rigidity, or the error, with more blocks like these.

        On silicon and lithium (energies and forces, from 34 structures on), forecasts for twice the
        data were within 8 % in R and 21 % in errors; docs/learning.md has the figures.

        Parameters
        ----------
        size : int
            From the last of `sizes` on, up to eight times that.
        quantity : {"rigidity", "rmse"}
        component : int, optional
            Index of the component, where the curve is of several.

        Returns
        -------
        Forecast

        Raises
        ------
        ValueError, TypeError
            If the size is out of range, there are fewer than three sizes in the last quarter of the
            data, or no errors.

        Warns
        -----
        UndeterminedWarning
            If less than half of the target rows are degrees of freedom that are left.
        """
        number = as_count(size, "size")
        last = int(self.sizes[-1])
        if not last <= number <= 8 * last:
            raise ValueError(f"size is {size}: expected from {last}, the last of the curve, to eight times that")
        return forecast_at(number, *self._extrapolations(quantity, component), quantity)

    def more_needed(
        self, factor: float = 2.0, quantity: Quantity = "rigidity", *, component: int | None = None
    ) -> Forecast:
        """Forecast how many more blocks like these multiply the median rigidity, or the error.

        Parameters
        ----------
        factor : float
            Above 1 for "rigidity" (2: until it doubles), below 1 for "rmse" (0.5: until the error
            halves).
        quantity : {"rigidity", "rmse"}
        component : int, optional
            As for `forecast`.

        Returns
        -------
        Forecast
            `reached` is False if eight times the data are not enough, as when most of the error
            does not depend on how much data there are.

        Raises
        ------
        ValueError, TypeError
            If the factor is on the wrong side of 1, or as `forecast`.

        Warns
        -----
        UndeterminedWarning
            As `forecast`.

        Examples
        --------
        >>> import numpy as np, rigidities as rg
        >>> rng = np.random.default_rng(0)
        >>> F, X = rng.normal(size=(400, 20)), rng.normal(size=(50, 20))
        >>> curve = rg.learning_curve(F, X, regularizer=1e-6, random_state=0)
        >>> print(f"{curve.more_needed(2.0).value:.0f}")
        398
        """
        number = as_number(factor, "factor", "a positive number")
        if not (number > 1 if quantity == "rigidity" else 0 < number < 1):
            side = "above 1" if quantity == "rigidity" else "between 0 and 1"
            raise ValueError(f'factor is {factor}: expected a number {side} for "{quantity}"')
        return more_needed(number, *self._extrapolations(quantity, component), quantity)

    def _errors(self, quantity: str) -> NDArray[np.float64]:
        check_word(quantity, "quantity", ("rigidity", "rmse"))
        if self.rmse is None:
            raise ValueError("the curve has no errors: pass targets, y, to learning_curve")
        return self.rmse

    @staticmethod
    def _component(component: int | None, n: int) -> int:
        if component is None:
            raise ValueError(f"the curve is of {n} components: pass component, the index of one")
        index = as_integer(component, "component")
        if not 0 <= index < n:
            raise ValueError(f"component is {component}: expected an index from 0 to {n - 1}")
        return index

    def _extrapolations(self, quantity: str, component: int | None) -> tuple[Extrapolation, list[Extrapolation]]:
        """Return the laws of the mean curve, and of the curve of each order."""
        if quantity != "rigidity":
            self._errors(quantity)
        median = self.median_rigidity()
        if median.ndim == 3:
            median = median[:, :, self._component(component, median.shape[2])]
        elif component is not None:
            raise ValueError(f"component is {component}, but the curve is of whole predictions: leave it out")
        # where errors are of targets outside the fit, none are left at the last size
        known = np.ones(len(self.sizes), dtype=bool) if self.rmse is None else np.isfinite(self.rmse).all(axis=0)
        if quantity == "rigidity":
            known = np.isfinite(median).all(axis=0)
        if quantity == "rigidity" and np.isposinf(median).any():
            raise ValueError(
                "half of the rows of X are zeros, whose rigidity is infinite: leave them out for a forecast"
            )
        sizes = self.sizes[known]
        if (sizes >= 0.24 * sizes.max(initial=0)).sum() < 3:
            raise ValueError("a forecast needs three sizes from a quarter of the last size on: pass more sizes")
        logs, mse = np.log(median[:, known]), None if self.rmse is None else self.rmse[:, known] ** 2
        dimension, n_rows = self.effective_dimension[:, known], self.n_rows[:, known].astype(np.float64)

        def law(orders: slice) -> Extrapolation:
            d, n, log_r = (part[orders].mean(axis=0) for part in (dimension, n_rows, logs))
            return Extrapolation(Curve(sizes, d, n, log_r, None if mse is None else mse[orders].mean(axis=0)))

        return law(slice(None)), [law(slice(i, i + 1)) for i in range(len(logs))]
