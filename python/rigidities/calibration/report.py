"""The numbers of a calibration report, for any residuals and standard deviations.

One number does not tell whether σ is right. Mean z², z = r/σ, says it on average; bins of σ, and
classes, say where; coverage says it of intervals; scores weigh errors and σ together; ranks say
whether a large σ announces a large error. Each stands beside what is good for *these* σ: a fixed
value, or a simulation of errors that agree with σ.

Here are numbers alone. `rigidities.report.calibration` has them as text, figures and a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.calibration.bootstrap import Bootstrap, Estimate
from rigidities.calibration.classes import By, by_class, read_classes
from rigidities.calibration.coverage import LEVELS, coverage_at, expected_area, miscalibration_area
from rigidities.calibration.errors import Errors, read_errors
from rigidities.calibration.provenance import Provenance
from rigidities.calibration.ranking import THRESHOLD_SHARE, Retention, StdRanks, ranks, retention
from rigidities.calibration.reliability import (
    Partition,
    Ratios,
    binned_error,
    equal_bins,
    error_bins,
    number_of_bins,
    one_ratio,
    ratios,
)
from rigidities.calibration.simulation import simulate
from rigidities.calibration.std_scores import constant_scores, information, mean_scores
from rigidities.calibration.tails import Tails, Worst, find_tails, worst
from rigidities.validation import as_integer, as_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationNumbers:
    """All numbers of a calibration report. r: residual, σ: standard deviation, z = r/σ.

    Attributes
    ----------
    n, n_blocks, n_aside : int
        Targets; independent units among them (blocks, or the targets); targets set aside, because
        their σ is 0 or rounding.
    has_blocks : bool
        Whether blocks were given.
    unit : str
        Unit of residuals and σ.
    rmse, sharpness : float
        RMSE, and RMS of σ, in the unit of the target.
    mean_square : Estimate
        Mean z² with its 95 % bootstrap interval: 1 if σ is right on average.
    ratio : Estimate
        RMSE/(RMS σ) of all targets. Few targets of large σ govern it: rely on `mean_square`.
    bins : Ratios
        RMSE beside RMS σ in bins of like σ, of equal count.
    binned_error : dict of int to float
        ENCE, by the number of bins. It grows with them; compare with `gaussian` and `student`.
    levels, coverage, coverage_low, coverage_high : ndarray of shape (n_levels,)
        Share of |r| ≤ kσ, k for this level of a Gaussian, with 95 % limits.
    miscalibration_area, expected_area : float
        ∫|coverage(p) − p|dp, between 0 and ½, and its mean for n independent calibrated targets.
    nll, crps, interval_68, interval_95 : float
        Proper scores of N(0, σ²); NLL in nats, the others in the unit of the target. Less is
        better.
    constant : dict of str to float
        The same scores for one σ for all targets, their RMSE.
    information : Estimate
        Nats per target that σ gains over one σ for all, both at their best scale: above 0 if σ
        changes with the size of errors.
    tails : Tails
        Kurtosis of z, shares beyond 3 and 5, and ν of Student's t.
    worst : tuple of Worst
        The ten targets of the largest |z|.
    spearman : float
        Rank correlation of |r| and σ.
    auroc, threshold : float
        Probability that σ of a target with |r| > threshold is above that of another one. NaN if all
        or none are.
    retention : Retention
        RMSE of the targets that remain as those of the largest σ are left out.
    by : dict of str to dict of label to ClassCalibration
        The comparison given each class, by the name of the classes.
    gaussian, student : dict of str to Estimate
        Mean and central 95 % range of statistics of errors drawn from σ: "nll", "crps",
        "interval_68", "interval_95", "spearman", "auroc", "retention_gain",
        "ratio_holds", "mean_square_holds" (shares of `bins` whose interval holds 1) and "ence_k"
        for k bins. Student's t has the ν of `tails`.
    is_constant : bool
        Whether all σ are the same: ranks then say nothing.
    provenance : Provenance
    residuals, std : ndarray of shape (n,)
        Those that were compared, by rising σ.
    """

    n: int
    n_blocks: int
    n_aside: int
    has_blocks: bool
    unit: str
    rmse: float
    sharpness: float
    mean_square: Estimate
    ratio: Estimate
    bins: Ratios
    binned_error: Mapping[int, float]
    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    coverage_low: NDArray[np.float64]
    coverage_high: NDArray[np.float64]
    miscalibration_area: float
    expected_area: float
    nll: float
    crps: float
    interval_68: float
    interval_95: float
    constant: Mapping[str, float]
    information: Estimate
    tails: Tails
    worst: tuple[Worst, ...]
    spearman: float
    auroc: float
    threshold: float
    retention: Retention
    by: By
    gaussian: Mapping[str, Estimate]
    student: Mapping[str, Estimate]
    is_constant: bool
    provenance: Provenance
    residuals: NDArray[np.float64]
    std: NDArray[np.float64]


def calibration_numbers(
    residuals: ArrayLike,
    std: ArrayLike,
    *,
    by: ArrayLike | Mapping[str, ArrayLike] | None = None,
    blocks: ArrayLike | None = None,
    levels: Sequence[float] = LEVELS,
    threshold: float | None = None,
    unit: str = "",
    provenance: Provenance | None = None,
    random_state: int = 0,
) -> CalibrationNumbers:
    """Compute the numbers; `rigidities.calibration_report` has the arguments and errors."""
    errors = read_errors(residuals, std, blocks)
    classes = read_classes(by, len(errors) + errors.n_aside)
    shares = _levels(levels)
    if not isinstance(unit, str):
        raise TypeError(f"unit is {unit!r}: expected a string, such as 'eV/Å'")
    if not (provenance is None or isinstance(provenance, Provenance)):
        raise TypeError(f"provenance is a {type(provenance).__name__}: expected a rigidities.Provenance")
    seed = as_integer(random_state, "random_state", "a seed, an integer from 0")
    if seed < 0:
        raise ValueError(f"random_state is {seed}: expected a seed, an integer from 0")
    misses = np.abs(errors.residuals)
    tau = float(np.quantile(misses, THRESHOLD_SHARE)) if threshold is None else as_number(threshold, "threshold")

    rng = np.random.default_rng(seed)
    bootstrap = Bootstrap(errors.block, errors.n_blocks, rng)
    bins = Partition(equal_bins(len(errors), number_of_bins(len(errors))), errors.block)
    std_ranks = StdRanks(errors.std)
    tails = find_tails(errors)
    r2, s2 = errors.residuals**2, errors.std**2
    n_large = int((misses > tau).sum())
    coverage = np.array(coverage_at(errors, shares, bootstrap))
    drawn = {nu: simulate(errors, bins, std_ranks, n_large, nu, rng) for nu in (None, tails.degrees_of_freedom)}
    return CalibrationNumbers(
        n=len(errors),
        n_blocks=errors.n_blocks,
        n_aside=errors.n_aside,
        has_blocks=errors.labels is not None,
        unit=unit,
        rmse=float(np.sqrt(r2.mean())),
        sharpness=float(np.sqrt(s2.mean())),
        mean_square=_mean_square(errors, bootstrap),
        ratio=Estimate(*np.sqrt(one_ratio(errors, r2, s2)).tolist()),
        bins=ratios(errors, bins),
        binned_error={k: binned_error(r2, s2, k) for k in error_bins(len(errors))},
        levels=np.array(shares),
        coverage=coverage[:, 0],
        coverage_low=coverage[:, 1],
        coverage_high=coverage[:, 2],
        miscalibration_area=miscalibration_area(errors.z),
        expected_area=expected_area(len(errors)),
        **mean_scores(errors.residuals, errors.std),
        constant=constant_scores(errors.residuals),
        information=information(errors, bootstrap),
        tails=tails,
        worst=worst(errors),
        spearman=std_ranks.spearman(ranks(misses)),
        auroc=std_ranks.auroc(misses > tau),
        threshold=tau,
        retention=retention(r2, s2, np.sort(r2)),
        by=by_class(errors, classes),
        gaussian=drawn[None],
        student=drawn[tails.degrees_of_freedom],
        is_constant=std_ranks.is_flat,
        provenance=Provenance() if provenance is None else provenance,
        residuals=errors.residuals,
        std=errors.std,
    )


def _levels(levels: Sequence[float]) -> tuple[float, ...]:
    if isinstance(levels, str) or not len(levels):
        raise ValueError("levels is empty, or a string: expected numbers between 0 and 1, such as 0.95")
    found = tuple(as_number(level, f"levels[{i}]", "a number between 0 and 1") for i, level in enumerate(levels))
    for i, level in enumerate(found):
        if not 0 < level < 1:
            raise ValueError(f"levels[{i}] is {level}: expected a number between 0 and 1, such as 0.95")
    return found


def _mean_square(errors: Errors, bootstrap: Bootstrap) -> Estimate:
    columns = np.column_stack([errors.z**2, np.ones(len(errors))])
    return bootstrap.intervals(columns, lambda sums: sums[..., :1] / sums[..., 1:])[0]
