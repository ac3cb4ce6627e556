"""Proper scores of N(prediction, σ²), with σ as it is given, beside those of one σ for all.

    NLL              ½ ln(2πσ²) + ½ z²,                                z = r/σ, in nats
    CRPS             σ [z(2Φ(z) − 1) + 2φ(z) − 1/√π]
    interval score   2kσ + (2/(1 − p))·max(|r| − kσ, 0),               k = Φ⁻¹((1 + p)/2)

All are smaller for better predictions and standard deviations (Gneiting & Raftery, J. Am. Stat.
Assoc. 102 (2007) 359). `rigidities.scores` has NLL and CRPS at the best scale of σ. CRPS and
interval score have the unit of the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.calibration.intervals import gaussian_quantile
from rigidities.scores import density

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.calibration.bootstrap import Bootstrap, Estimate
    from rigidities.calibration.errors import Errors

INTERVAL_LEVELS = (0.68, 0.95)
"""Levels of the interval score."""

SCORES = ("nll", "crps", "interval_68", "interval_95")
"""Names of the scores, in this order."""


def mean_scores(residuals: NDArray[np.float64], std: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean of each of `SCORES`, with σ as it is."""
    from scipy.special import erf

    z = np.abs(residuals) / std
    found = {
        "nll": float(0.5 * np.log(2 * np.pi) + np.log(std).mean() + 0.5 * np.mean(z**2)),
        "crps": float(np.mean(std * (z * erf(z / np.sqrt(2)) + 2 * density(z) - 1 / np.sqrt(np.pi)))),
    }
    for level in INTERVAL_LEVELS:
        k = gaussian_quantile(level)
        found[f"interval_{100 * level:.0f}"] = float(np.mean(std * (2 * k + 2 / (1 - level) * np.maximum(z - k, 0))))
    return found


def constant_scores(residuals: NDArray[np.float64]) -> dict[str, float]:
    """Return the scores of one σ for all targets: their RMSE."""
    rmse = np.sqrt(np.mean(residuals**2))
    return mean_scores(residuals, np.full(len(residuals), rmse))


def information(errors: Errors, bootstrap: Bootstrap) -> Estimate:
    """Return how much better σ predicts than one σ for all, both at their best scale, in nats.

    NLL of the constant σ = RMSE less NLL of scale·σ with scale² = mean z²:

        ½ ln mean r² − ½ ln mean z² − mean ln σ.

    Above 0: from target to target, σ changes as the size of the errors does. The scale cannot be
    the reason, as both have their best.
    """
    unit = float(np.sqrt(np.mean(errors.residuals**2)))  # ln of numbers near 1
    columns = np.column_stack(
        [(errors.residuals / unit) ** 2, errors.z**2, np.log(errors.std / unit), np.ones(len(errors))]
    )

    def gain(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        r2, z2, log_std, n = np.moveaxis(sums, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = 0.5 * (np.log(r2) - np.log(z2)) - log_std / n
        return np.asarray(np.where(r2 > 0, found, 0.0))[..., None]  # no error drawn: nothing gained

    return bootstrap.intervals(columns, gain)[0]
