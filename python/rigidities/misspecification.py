"""Model error: the spread of the fits that pass exactly through single training targets.

With little noise in the targets the posterior scale²·H⁻¹ is far too narrow: what is left is that no
θ meets all targets at once. The fit that passes exactly through target n, and lies nearest to θ in
the metric of H, is θ + H⁻¹f r/h with r = y − fᵀθ and h = fᵀH⁻¹f. Over N targets these fits have the
second moment

    H⁻¹ (Σ (r/h)² f fᵀ) H⁻¹ / N

around θ (pointwise optimal parameter sets, POPS: Swinburne & Perez, Mach. Learn.: Sci. Technol. 6
(2025) 015008; npj Comput. Mater. (2025), doi 10.1038/s41524-025-01758-4). Weights of the loss
change θ and H, not the fit through a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import IllConditionedWarning, warn
from rigidities.hessian import Hessian
from rigidities.spectrum.eigen import eigh
from rigidities.validation import as_number
from rigidities.weight_spread import Coefficients, RowBatches, TrainingRows, WeightSpread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows
    from rigidities.validation import Reduction

ROUNDED = 1e-6
"""Targets whose leverage is at most this part of the mean are set aside. The row of a force that
symmetry holds at zero is rounding, and so are r and h: their quotient has no meaning. See
`rigidities.calibration.scale` for figures of silicon and lithium."""

LEAST_MODE = 1e-8
"""Directions in which S is below this part of its largest eigenvalue have no width in the box."""


@dataclass(frozen=True, eq=False)
class Misspecification(WeightSpread):
    """Model error: the fits that pass exactly through single training targets, around θ.

    Attributes
    ----------
    hessian, moment, n, n_aside
        As in `WeightSpread`.
    box : tuple of ndarray, or None
        Directions of S as columns (p, k), and the least and largest coordinate (k,) of the fits
        along each. None if the rows could be read only once.
    """

    box: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None

    def bounds(
        self, X: ArrayLike | Rows, *, groups: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and largest deviation from a prediction that the fits allow.

        The fits lie in a box along the directions of S. The bounds are those of the box, so they
        hold all predictions of the fits, and may be wider.

        Parameters
        ----------
        X, groups, reduction
            As for `variance`.

        Returns
        -------
        low, high : ndarray of shape (n_targets,)
            In the unit of the targets; low ≤ 0 ≤ high unless all fits are on one side.

        Raises
        ------
        ValueError
            If the rows could be read only once, or as `variance`.
        """
        if self.box is None:
            raise ValueError("bounds need the training rows twice, but they could be read only once: pass a list")
        directions, low, high = self.box
        along = [Z @ directions for Z in self._whitened(X, groups, reduction)]
        up, down = (np.concatenate([f(part, 0.0) for part in along]) for f in (np.maximum, np.minimum))
        return up @ low + down @ high, up @ high + down @ low


def misspecification(hessian: Hessian, batches: RowBatches, *, leverage_quantile: float = 0.0) -> Misspecification:
    """Estimate model error from the fits that pass exactly through single training targets.

    Use it beside scale·√v where targets have little noise and many of them: v shrinks with every
    target, model error does not. It takes one pass over the rows, O(n p²), and in bounded memory
    however many there are; a second one for `Misspecification.bounds`, and one before if
    `leverage_quantile` is not 0.

    Parameters
    ----------
    hessian : Hessian
        With targets of one output.
    batches : iterable of tuples
        The training rows F (n_rows, n_features) or `Rows`, their targets y (n_targets,) and, unless
        they are 1, weights (n_targets,): in any portions. Targets of weight 0 do not count. Pass a
        list, or another iterable that can be read repeatedly.
    leverage_quantile : float, default 0
        Part of the targets, those of least leverage h, that are left out. Fits through targets of
        small leverage are far from θ. ``popsregression`` takes 0.5 by default.

    Returns
    -------
    Misspecification
        With `variance`, `covariance` and `bounds`.

    Raises
    ------
    ValueError, TypeError
        If there are no targets, or shapes do not match.
    NotFittedError
        If no targets were accumulated.

    Warns
    -----
    IllConditionedWarning
        If targets were set aside whose leverage is rounding, as of forces that symmetry holds at 0.

    Examples
    --------
    A line through three points off it. The fits through each of them have the spread:

    >>> import numpy as np, rigidities as rg
    >>> F, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([0.0, 1.0, 4.0])
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(F, targets=y)
    >>> spread = rg.misspecification(covariance.factorize(0.0), [(F, y)])
    >>> np.sqrt(spread.variance(F)).round(2)
    array([0.43, 0.4 , 0.43])
    """
    share = as_number(leverage_quantile, "leverage_quantile", "a number from 0 to below 1")
    if not 0 <= share < 1:
        raise ValueError(f"leverage_quantile is {leverage_quantile}: expected a number from 0 to below 1")
    rows = TrainingRows(hessian, batches)
    least = 0.0
    if share > 0:
        rows.require_again("leverage_quantile")
        leverages = np.concatenate([h[h > ROUNDED * rows.mean_leverage] for _, _, h, _ in rows] or [np.zeros(0)])
        least = float(np.quantile(leverages, share)) if len(leverages) else 0.0

    def through(r: NDArray[np.float64], h: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
        used = (h >= least) & (w * h > ROUNDED * rows.mean_leverage)
        return np.where(used, r / np.where(used, h, 1.0), np.nan)

    moment, n, n_aside = rows.moment(through, least)
    _warn_of_rounding(n_aside, n)
    moment /= n
    box = None if rows.read_once else _box(moment, rows, through)
    return Misspecification(hessian, moment, n, n_aside, box)


def _box(
    moment: NDArray[np.float64], rows: TrainingRows, coefficients: Coefficients
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return directions of S, and the least and largest coordinate of c z along each."""
    values, directions = eigh(np.array(moment, order="F"))
    directions = directions[:, values > LEAST_MODE * values[-1]]
    low, high = np.full(directions.shape[1], np.inf), np.full(directions.shape[1], -np.inf)
    for Z, r, h, w in rows:
        c = coefficients(r, h, w)
        used = ~np.isnan(c)
        along = (c[used, None] * Z[used]) @ directions
        low, high = (
            np.minimum(low, along.min(axis=0, initial=np.inf)),
            np.maximum(high, along.max(axis=0, initial=-np.inf)),
        )
    return directions, low, high


def _warn_of_rounding(n_aside: int, n: int) -> None:
    if n_aside:
        warn(
            IllConditionedWarning,
            f"{n_aside} of {n + n_aside} targets have rows that are zero or nearly so: no fit through them has a "
            "meaning, and they are set aside",
        )
