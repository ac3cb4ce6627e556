"""The tails of z = r/σ: its kurtosis, shares beyond 3 and 5, Student's t, and the worst targets.

For Gaussian errors the kurtosis, mean z⁴/(mean z²)², is 3, and 0.27 % of |z| are above 3. Heavier
tails are usual: models miss some targets by far, and σ itself is uncertain. Student's t with ν
degrees of freedom describes them by one number; ν and the scale of z are fitted by maximum
likelihood. At small ν, estimates of mean z² and of RMSE depend on few targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities.calibration.coverage import share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.calibration.bootstrap import Estimate
    from rigidities.calibration.errors import Errors

FAR = (3.0, 5.0)
"""|z| beyond which shares are reported."""

N_WORST = 10

LEAST_NU, LARGEST_NU = 2.2, 100.0
"""Ends of the search for ν. Below 2 there is no standard deviation; 100 is Gaussian to the eye."""


@dataclass(frozen=True)
class Worst:
    """One of the targets of the largest |r|/σ.

    Attributes
    ----------
    index : int
        Place in the arrays that were passed.
    block : int or None
        Label of its block, as its structure; None without blocks.
    residual, std, z : float
        r, σ and r/σ.
    """

    index: int
    block: Any
    residual: float
    std: float
    z: float


class Tails(NamedTuple):
    """The tails of z = r/σ.

    Attributes
    ----------
    kurtosis : float
        mean z⁴/(mean z²)²: 3 for Gaussian errors. It has no limit in n if ν is at most 4.
    beyond : dict of float to Estimate
        Shares of |z| above 3 and 5, with 95 % limits.
    degrees_of_freedom : float
        ν of Student's t, from 2.2 to 100, where it is Gaussian to the eye.
    """

    kurtosis: float
    beyond: dict[float, Estimate]
    degrees_of_freedom: float


def find_tails(errors: Errors) -> Tails:
    """Return kurtosis, shares beyond `FAR`, and ν."""
    z = errors.z / np.abs(errors.z).max()
    kurtosis = float(np.mean(z**4) / np.mean(z**2) ** 2)
    beyond = {far: share(np.abs(errors.z) > far, errors.block) for far in FAR}
    return Tails(kurtosis, beyond, degrees_of_freedom(errors.z))


def worst(errors: Errors) -> tuple[Worst, ...]:
    """Return the ten targets of the largest |z|, the largest first."""
    order = np.argsort(-np.abs(errors.z), kind="stable")[:N_WORST]
    labels = errors.labels
    return tuple(
        Worst(
            int(errors.index[i]),
            None if labels is None else labels[errors.block[i]].item(),
            float(errors.residuals[i]),
            float(errors.std[i]),
            float(errors.z[i]),
        )
        for i in order
    )


def degrees_of_freedom(z: NDArray[np.float64]) -> float:
    """Return ν of Student's t at the maximum of the likelihood over ν and the scale of z.

    With s the scale, the mean negative log likelihood is

        ln s + ½ ln(πν) + ln Γ(ν/2) − ln Γ((ν + 1)/2) + (ν + 1)/2 · mean ln(1 + z²/(νs²)).
    """
    from scipy.optimize import minimize
    from scipy.special import gammaln

    z2 = z**2
    start = float(np.median(z2)) or float(np.mean(z2))
    z2 = z2 / start

    def misfit(x: NDArray[np.float64]) -> float:
        log_s, inverse = x
        nu = 1 / inverse
        constant = 0.5 * np.log(np.pi * nu) + gammaln(nu / 2) - gammaln((nu + 1) / 2)
        return float(log_s + constant + 0.5 * (nu + 1) * np.log1p(z2 * (inverse * np.exp(-2 * log_s))).mean())

    bounds = [(-20.0, 350.0), (1 / LARGEST_NU, 1 / LEAST_NU)]
    found = minimize(misfit, [0.4, 0.2], method="L-BFGS-B", bounds=bounds)
    return float(1 / found.x[1])
