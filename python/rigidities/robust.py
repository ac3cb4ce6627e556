"""The sandwich covariance of the weights θ: errors of targets are independent, but of any sizes.

H⁻¹ (Σ w²r² f fᵀ) H⁻¹ with the residuals r ("HC0": Huber 1967; White, Econometrica 48 (1980) 817),
or with the left-out residuals r/(1 − wh), h = fᵀH⁻¹f, in their place ("HC3": MacKinnon & White, J.
Econometrics 29 (1985) 305).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rigidities.exceptions import IllConditionedWarning, warn
from rigidities.hessian import Hessian
from rigidities.validation import check_word
from rigidities.weight_spread import RowBatches, TrainingRows, WeightSpread

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RobustCovariance(WeightSpread):
    """The sandwich covariance of θ.

    Attributes
    ----------
    hessian, moment, n, n_aside
        As in `WeightSpread`.
    kind : {"HC0", "HC3"}
    """

    kind: str


def robust_covariance(hessian: Hessian, batches: RowBatches, kind: Literal["HC0", "HC3"] = "HC3") -> RobustCovariance:
    """Sandwich covariance of θ: errors of the targets are independent, but of any sizes.

    It needs no scale, and stays right if the noise differs between targets, as v does not. It tells
    nothing of errors that all targets share.

    Parameters
    ----------
    hessian : Hessian
        With targets of one output.
    batches : iterable of tuples
        As for `misspecification`; they are read once.
    kind : {"HC0", "HC3"}
        "HC0" takes residuals of the fit, which are too small where the leverage wh is large; "HC3"
        those of fits without the target, r/(1 − wh).

    Returns
    -------
    RobustCovariance
        With `variance` and `covariance`.

    Raises
    ------
    ValueError, TypeError, NotFittedError
        As `misspecification`.

    Warns
    -----
    IllConditionedWarning
        If "HC3" sets targets aside whose leverage is 1 to rounding: there is no fit without them.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> F, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([0.0, 1.0, 4.0])
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(F, targets=y)
    >>> rg.robust_covariance(covariance.factorize(0.0), [(F, y)], kind="HC0").covariance.round(3)
    array([[ 0.13 , -0.056],
           [-0.056,  0.056]])
    """
    check_word(kind, "kind", ("HC0", "HC3"))
    rows = TrainingRows(hessian, batches)

    def weighted(r: NDArray[np.float64], h: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
        if kind == "HC0":
            return w * r
        left = 1 - w * h
        return np.where(left > rows.rounding, w * r / np.where(left > rows.rounding, left, 1.0), np.nan)

    moment, n, n_aside = rows.moment(weighted)
    if n_aside:
        warn(
            IllConditionedWarning,
            f"{n_aside} of {n + n_aside} targets determine a direction alone: there is no fit without them, and they "
            "are set aside",
        )
    return RobustCovariance(hessian, moment, n, n_aside, kind)
