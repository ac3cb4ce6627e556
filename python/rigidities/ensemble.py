"""Ensembles of fits: how many members are enough, and the error of what is computed from them.

`Hessian.sample` draws fits from N(θ, scale²·H⁻¹). Any function of their predictions, linear or not,
has the spread that the fit leaves open: a melting point, a barrier, an elastic constant. Mean and σ
over n members have errors of their own (Monte Carlo), which fall as 1/√n:

    of the mean    σ/√n
    of σ           ½ σ √((κ − (n − 3)/(n − 1))/n),

κ the fourth moment over σ⁴, 3 for a Gaussian: σ/√(2(n − 1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.validation import as_array, as_floats, as_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Propagated:
    """A function of predictions over the members of an ensemble.

    Attributes
    ----------
    mean, standard_deviation : ndarray of the shape of the function's values
        Over the members; the standard deviation with n − 1.
    mean_error, standard_deviation_error : ndarray of the same shape
        Monte Carlo errors of both, one standard deviation each.
    n_members : int
    """

    mean: NDArray[np.float64]
    standard_deviation: NDArray[np.float64]
    mean_error: NDArray[np.float64]
    standard_deviation_error: NDArray[np.float64]
    n_members: int


def members_needed(relative_error: float) -> int:
    """Return how many members make σ of Gaussian predictions as exact as this.

    The relative error of σ over n members is 1/√(2(n − 1)).

    Parameters
    ----------
    relative_error : float
        Of σ, one standard deviation, above 0: 0.1 for 10 %.

    Returns
    -------
    int
        At least 2.

    Raises
    ------
    ValueError, TypeError
        If it is not a positive finite number.

    Examples
    --------
    >>> members_needed(0.1), members_needed(0.05)
    (51, 201)
    """
    error = as_number(relative_error, "relative_error", "a positive number")
    if error <= 0:
        raise ValueError(f"relative_error is {relative_error}: expected a positive number, such as 0.1")
    exact = 1 + 1 / (2 * error * error)
    if not exact < 2**53:
        raise ValueError(f"relative_error is {relative_error}: no ensemble has so many members")
    return max(2, math.ceil(round(exact, 9)))  # 1 + 1/(2·0.1²) is 51.000…01


def propagate(predictions: ArrayLike, function: Callable[[NDArray[np.float64]], Any] | None = None) -> Propagated:
    """Return mean and σ of a function of predictions, with their Monte Carlo errors.

    Parameters
    ----------
    predictions : array_like of shape (n_members, ...)
        Of each member, e.g. ``members @ X.T`` with ``members = hessian.sample(n, scale=...)``.
    function : callable, optional
        Of the predictions of one member; it returns a number or an array, of the same shape for all
        members. By default the predictions themselves.

    Returns
    -------
    Propagated

    Raises
    ------
    ValueError, TypeError
        If there are fewer than two members, or values are not finite or differ in shape.

    Examples
    --------
    The volume of least energy, in Å³, of a parabola through four:

    >>> import numpy as np, rigidities as rg
    >>> volumes = np.array([9.0, 10.0, 11.0, 12.0])
    >>> F, y = np.vander(volumes - 10, 3), np.array([1.2, 1.0, 1.1, 1.9])
    >>> covariance = rg.Covariance(3)
    >>> covariance.update(F, targets=y)
    >>> members = covariance.factorize(0.0).sample(members_needed(0.05), scale=0.1, random_state=0)
    >>> found = propagate(members, lambda theta: 10 - theta[1] / (2 * theta[0]))
    >>> print(f"{found.mean:.2f} ± {found.standard_deviation:.2f}")
    10.04 ± 0.14
    """
    array = as_array(predictions, "predictions")
    if array.ndim < 1 or len(array) < 2:
        raise ValueError(f"predictions has shape {array.shape}: expected those of two members or more")
    array = as_floats(array, "predictions", ndim=array.ndim, double=True)
    values = array if function is None else _values(array, function)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the value of member {int(np.argmin(finite))} is not finite: expected finite numbers of every member"
        )
    n = len(values)
    mean = values.mean(axis=0)
    deviations = values - mean
    variance = (deviations**2).sum(axis=0) / (n - 1)
    sigma = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        kurtosis = (deviations**4).mean(axis=0) / variance**2
    excess = np.maximum(np.where(variance > 0, kurtosis, 0.0) - (n - 3) / (n - 1), 0.0)
    return Propagated(mean, sigma, sigma / np.sqrt(n), 0.5 * sigma * np.sqrt(excess / n), n)


def _values(predictions: NDArray[np.float64], function: Callable[[NDArray[np.float64]], Any]) -> NDArray[np.float64]:
    values = [np.asarray(function(member), dtype=np.float64) for member in predictions]
    for index, value in enumerate(values):
        if value.shape != values[0].shape:
            raise ValueError(
                f"the function returns shape {value.shape} for member {index} and {values[0].shape} for member 0: "
                "expected the same for all"
            )
    return np.array(values)
