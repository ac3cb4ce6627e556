"""What the statistics of a report are for errors that agree with σ: simulated, not guessed.

Errors r = σz are drawn with z of unit variance, independent from target to target: Gaussian, and
Student's t with the ν of the residuals' own tails. Each statistic of a report that has no fixed
good value (scores, rank correlation, AUROC, the share of bins whose interval holds 1, ENCE) is
computed for each draw (Pernot, arXiv:2403.00423). A report then says which values are good *for
these σ*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.calibration.bootstrap import LEVEL, Estimate
from rigidities.calibration.ranking import StdRanks, retention
from rigidities.calibration.reliability import Partition, binned_error, error_bins
from rigidities.calibration.std_scores import mean_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.calibration.errors import Errors

FEWEST_DRAWS, MOST_DRAWS, NUMBERS = 24, 400, 1_000_000
"""Number of draws: as many as make a million targets, within these ends. Their spread falls with
the number of targets, so that large sets need fewer. Of 24 draws, the range is from the least to
the largest, which holds 23/25 = 92 % of further ones."""


def number_of_draws(n: int) -> int:
    """Return how many times errors of n targets are drawn."""
    return int(np.clip(NUMBERS // n, FEWEST_DRAWS, MOST_DRAWS))


def simulate(
    errors: Errors,
    bins: Partition,
    std_ranks: StdRanks,
    n_large: int,
    nu: float | None,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """Return mean and central 95 % range of each statistic, by its name.

    Parameters
    ----------
    errors : Errors
        Only σ is used.
    bins : Partition
        Bins of like σ.
    std_ranks : StdRanks
    n_large : int
        Number of errors that count as large for AUROC, which then depends on no scale of σ.
    nu : float, or None
        Degrees of freedom of Student's t; None: Gaussian.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to Estimate
        "nll", "crps", "interval_68", "interval_95", "spearman", "auroc",
        "retention_gain", "ratio_holds", "mean_square_holds", and "ence_k" for each number k of
        bins. NaN for AUROC if no error, or all of them, are large.
    """
    s2, ones, numbers = errors.std**2, np.ones(len(errors)), error_bins(len(errors))
    found: dict[str, list[float]] = {}
    for _ in range(number_of_draws(len(errors))):
        z = _draw(len(errors), nu, rng)
        r = errors.std * z
        r2, misses = r**2, np.abs(r)
        ordinal = np.empty(len(r))
        order = np.argsort(misses)
        ordinal[order] = np.arange(len(r))  # continuous: no ties
        one = mean_scores(r, errors.std)
        one |= {"spearman": std_ranks.spearman(ordinal), "auroc": std_ranks.auroc(ordinal >= len(r) - n_large)}
        one["retention_gain"] = retention(r2, s2, r2[order]).gain
        one |= {"ratio_holds": _holds(bins, r2, s2), "mean_square_holds": _holds(bins, z**2, ones)}
        one |= {f"ence_{k}": binned_error(r2, s2, k) for k in numbers}
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: _summary(np.array(values)) for name, values in found.items()}


def _draw(n: int, nu: float | None, rng: np.random.Generator) -> NDArray[np.float64]:
    if nu is None:
        return rng.standard_normal(n)
    return np.asarray(rng.standard_t(nu, n) * np.sqrt((nu - 2) / nu))  # unit variance


def _holds(bins: Partition, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    _, low, high = bins.ratio(a, b)
    return float(np.mean((low <= 1) & (high >= 1)))


def _summary(values: NDArray[np.float64]) -> Estimate:
    # "weibull": from 39 draws on, a further one lies in the range with a probability of 95 %
    low, high = np.quantile(values, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="weibull")
    return Estimate(float(values.mean()), float(low), float(high))
