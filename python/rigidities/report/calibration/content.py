"""The tables of a calibration report: each number beside what is good, for text and page alike.

A table answers one question. Each row has a number, its limits, and the value that it would have if
σ were right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rigidities.calibration.bootstrap import Estimate
from rigidities.calibration.intervals import gaussian_quantile
from rigidities.calibration.simulation import number_of_draws
from rigidities.calibration.std_scores import SCORES
from rigidities.calibration.tails import FAR, LARGEST_NU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rigidities.calibration.report import CalibrationNumbers

MOST_CLASSES = 30
"""Most classes in a table. `to_dict` has all."""

LONGEST = 30
"""Characters of a name of classes, a class or a block that are shown."""

LEAST_UNITS = 5
"""Fewest independent units of a class from which its interval says anything."""

SCORE_NAMES = {
    "nll": "NLL",
    "crps": "CRPS",
    "interval_68": "68 % interval score",
    "interval_95": "95 % interval score",
}


REFERENCED = ("", "value", "if Gaussian", "if Student's t")
"""Head of a table of numbers beside those of errors drawn from σ."""


class Table(NamedTuple):
    """A question, and rows of numbers that answer it.

    Attributes
    ----------
    title : str
    explanation : str
        How to read it, in one or two sentences.
    head : tuple of str
    rows : sequence of tuple of str
        As many cells as the head; the first one is a name.
    """

    title: str
    explanation: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def facts(numbers: CalibrationNumbers) -> dict[str, str]:
    """Return what was compared, and where σ comes from."""
    origin = numbers.provenance
    units = "each taken as independent"
    if numbers.has_blocks:
        units = "each a block" if numbers.n_blocks == numbers.n else f"{numbers.n_blocks:,} blocks"
    aside = f"; {numbers.n_aside:,} set aside (σ is 0 or rounding)" if numbers.n_aside else ""
    calibrated = [origin.calibrated_on or "not stated"]
    if origin.n is not None:
        calibrated.append(f"{origin.n:,} targets")
    if origin.n_blocks is not None:
        calibrated.append(f"{origin.n_blocks:,} independent units")
    found = {"targets": f"{numbers.n:,}, {units}{aside}", "calibrated on": ", ".join(calibrated)}
    if origin.scale is not None:
        error = "" if origin.scale_error is None else f" ± {origin.scale_error:.2g}"
        found["scale"] = f"{origin.scale:.4g}{error}"
    if origin.regularizer is not None:
        found["λ"] = f"{origin.regularizer:.3g}"
    found["references"] = (
        f"errors drawn from σ {number_of_draws(numbers.n)} times: Gaussian, and Student's t with {nu_text(numbers)}; "
        "mean (95 % range)"
    )
    return found | {"versions": ", ".join(f"{name} {number}" for name, number in origin.versions.items())}


def nu_text(numbers: CalibrationNumbers) -> str:
    """Return ν of the tails; at the end of its search it is a bound."""
    nu = numbers.tails.degrees_of_freedom
    return f"ν = {nu:.3g}" if nu < LARGEST_NU else f"ν ≥ {LARGEST_NU:.0f} (Gaussian tails)"


def tables(numbers: CalibrationNumbers) -> list[Table]:
    """Return all tables, from the first question to the last."""
    found = [_average(numbers), _bins(numbers), _bins_summary(numbers), _coverage(numbers), _scores(numbers)]
    found += [_information(numbers), _ranking(numbers), _tails(numbers), _worst(numbers)]
    return found + [_classes(numbers, name) for name in numbers.by]


def verdict(estimate: Estimate) -> str:
    """Return in words what an interval of mean z² says of σ."""
    if estimate.holds(1.0):
        return "σ agrees"
    factor = np.sqrt(estimate.value)
    if estimate.low > 1:
        return f"σ too small, {factor:.3g}×"
    return f"σ too large, {1 / factor:.3g}×" if factor > 0 else "σ too large"


def limits(estimate: Estimate, form: str = ".3g") -> str:
    """Return "low to high", or a dash where nothing is known."""
    if not np.isfinite([estimate.low, estimate.high]).all():
        return "-"
    return f"{estimate.low:{form}} to {estimate.high:{form}}"


def short(text: object) -> str:
    """Return text of the caller on one line, cut where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _around(estimate: Estimate) -> str:
    """Return a reference, its mean and range."""
    return "-" if np.isnan(estimate.value) else f"{estimate.value:.3g} ({limits(estimate)})"


def _percent(estimate: Estimate) -> tuple[str, str]:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.3g} %", f"{low:.3g} to {high:.3g} %"


def _of_unit(numbers: CalibrationNumbers) -> str:
    return f", {numbers.unit}" if numbers.unit else ""


# Tables -------------------------------------------------------------------------------------------


def _average(numbers: CalibrationNumbers) -> Table:
    unit = _of_unit(numbers)
    ratio = "1 inside" if numbers.ratio.holds(1.0) else "1 outside"
    return Table(
        "Is σ right on average?",
        "Mean (r/σ)² is 1 if it is. RMSE/(RMS σ) asks the same of the largest σ, and is less stable.",
        ("", "value", "95 % interval", "good", "says"),
        [
            (
                "mean (r/σ)²",
                f"{numbers.mean_square.value:.3g}",
                limits(numbers.mean_square),
                "1 inside",
                verdict(numbers.mean_square),
            ),
            ("RMSE/(RMS σ)", f"{numbers.ratio.value:.3g}", limits(numbers.ratio), "1 inside", ratio),
            (f"RMSE{unit}", f"{numbers.rmse:.3g}", "", "small", ""),
            (f"RMS σ (sharpness){unit}", f"{numbers.sharpness:.3g}", "", "as RMSE", ""),
        ],
    )


def _bins(numbers: CalibrationNumbers) -> Table:
    bins, unit = numbers.bins, _of_unit(numbers)
    rows = [
        (
            f"{k + 1}",
            f"{bins.n[k]:,}",
            f"{bins.rms_std[k]:.3g}",
            f"{bins.rmse[k]:.3g}",
            f"{bins.ratio[k]:.3g}",
            limits(_at(bins.ratio, bins.ratio_low, bins.ratio_high, k)),
            f"{bins.mean_square[k]:.3g}",
            limits(_at(bins.mean_square, bins.mean_square_low, bins.mean_square_high, k)),
        )
        for k in range(len(bins.n))
    ]
    return Table(
        "Is σ right where it is small and where it is large?",
        f"Bins of rising σ, as many targets in each. RMS σ and RMSE{unit or ' in the unit of the target'}. "
        "Both ratios are 1 if σ is right.",
        ("bin", "n", "RMS σ", "RMSE", "RMSE/RMS σ", "95 %", "mean (r/σ)²", "95 %"),
        rows,
    )


def _at(value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], k: int) -> Estimate:
    return Estimate(float(value[k]), float(low[k]), float(high[k]))


def _bins_summary(numbers: CalibrationNumbers) -> Table:
    drawn = numbers.gaussian, numbers.student
    shares = {"ratio_holds": "RMSE/(RMS σ)", "mean_square_holds": "mean (r/σ)²"}
    k = len(numbers.bins.n)
    rows = []
    for name, text in shares.items():
        inside = getattr(numbers.bins, name)
        rows.append((f"of {k} bins, {text} agrees", f"{inside * k:.0f}", *(_count(one[name], k) for one in drawn)))
    for n_bins, error in numbers.binned_error.items():
        rows.append((f"ENCE, {n_bins} bins", f"{error:.3g}", *(_around(one[f"ence_{n_bins}"]) for one in drawn)))
    return Table(
        "The bins together",
        "How many bins have an interval that holds 1. ENCE, the mean of |1 − RMSE/(RMS σ)|, grows with the "
        "number of bins even if σ is right: compare each "
        "number with errors drawn from σ.",
        REFERENCED,
        rows,
    )


def _count(share: Estimate, k: int) -> str:
    """Return a number of bins of k, from the reference of their share."""
    return f"{k * share.value:.3g} ({k * share.low:.3g} to {k * share.high:.3g})"


def _coverage(numbers: CalibrationNumbers) -> Table:
    rows = []
    columns = (numbers.levels, numbers.coverage, numbers.coverage_low, numbers.coverage_high)
    for level, value, low, high in zip(*(column.tolist() for column in columns), strict=True):
        says = "agrees" if low <= level <= high else "too few inside" if value < level else "too many inside"
        rows.append(
            (
                f"{100 * level:g} %",
                f"{gaussian_quantile(level):.3f}",
                f"{100 * value:.2f} %",
                f"{100 * low:.2f} to {100 * high:.2f} %",
                says,
            )
        )
    rows.append(
        (
            "miscalibration area",
            "",
            f"{numbers.miscalibration_area:.3g}",
            f"good: about {numbers.expected_area:.2g}",
            "",
        )
    )
    return Table(
        "Do Gaussian intervals ±kσ hold what they promise?",
        "Share of targets inside; the level lies between the limits if they do.",
        ("level", "k", "inside", "95 % limits", "says"),
        rows,
    )


def _scores(numbers: CalibrationNumbers) -> Table:
    unit = _of_unit(numbers)
    rows = []
    for name in SCORES:
        label = f"{SCORE_NAMES[name]}{', nats' if name == 'nll' else unit}"
        rows.append(
            (
                label,
                f"{getattr(numbers, name):.4g}",
                _around(numbers.gaussian[name]),
                _around(numbers.student[name]),
                f"{numbers.constant[name]:.4g}",
            )
        )
    return Table(
        "Are errors small, and σ as small as they allow?",
        "Proper scores: less is better. One σ for all: the RMSE of these targets.",
        (*REFERENCED, "one σ for all"),
        rows,
    )


def _information(numbers: CalibrationNumbers) -> Table:
    gain = numbers.information
    says = "σ carries information" if gain.low > 0 else "none is shown" if gain.high >= 0 else "σ misleads"
    return Table(
        "Does σ carry information?",
        "Log likelihood that σ gains over one σ for all targets, both at their best scale.",
        ("", "value", "95 % interval", "good", "says"),
        [("gain, nats per target", f"{gain.value:.3g}", limits(gain), "above 0", says)],
    )


def _ranking(numbers: CalibrationNumbers) -> Table:
    auroc = "-" if np.isnan(numbers.auroc) else f"{numbers.auroc:.3g}"
    values = {
        "spearman": ("Spearman of |r| and σ", f"{numbers.spearman:.3g}", "0"),
        "auroc": (f"AUROC of |r| > {numbers.threshold:.3g}{_of_unit(numbers)[1:]}", auroc, "0.5"),
        "retention_gain": ("retention: 1 is the oracle", f"{numbers.retention.gain:.3g}", "0"),
    }
    return Table(
        "Does a large σ announce a large error?",
        "The scale of σ does not matter here. Errors are random: even a σ that is right reaches "
        "no more than the values for drawn errors.",
        (*REFERENCED, "at random"),
        [
            (name, value, _around(numbers.gaussian[key]), _around(numbers.student[key]), chance)
            for key, (name, value, chance) in values.items()
        ],
    )


def _tails(numbers: CalibrationNumbers) -> Table:
    from scipy.special import erfc

    tails = numbers.tails
    rows = [
        ("kurtosis of r/σ", f"{tails.kurtosis:.3g}", "", "3"),
        ("ν of Student's t", nu_text(numbers).removeprefix("ν ").removeprefix("= "), "", "large"),
    ]
    rows += [
        (f"|r|/σ above {far:g}", *_percent(tails.beyond[far]), f"{100 * erfc(far / np.sqrt(2)):.2g} %") for far in FAR
    ]
    return Table("How heavy are the tails?", "", ("", "value", "95 % limits", "Gaussian"), rows)


def _worst(numbers: CalibrationNumbers) -> Table:
    unit = _of_unit(numbers)
    rows = [
        (
            f"{one.index}",
            "-" if one.block is None else short(one.block),
            f"{one.residual:.3g}",
            f"{one.std:.3g}",
            f"{one.z:.3g}",
        )
        for one in numbers.worst
    ]
    return Table(
        "The largest |r|/σ",
        "Look for wrong labels, and for what these targets have in common. Targets count from 0.",
        ("target", "block", f"residual{unit}", f"σ{unit}", "r/σ"),
        rows,
    )


def _classes(numbers: CalibrationNumbers, name: str) -> Table:
    classes = numbers.by[name]
    rows = []
    for label, one in list(classes.items())[:MOST_CLASSES]:
        rows.append(
            (
                short(label),
                f"{one.n:,}",
                f"{one.n_blocks:,}",
                f"{one.rmse:.3g}",
                f"{one.rms_std:.3g}",
                f"{one.mean_square.value:.3g}",
                limits(one.mean_square),
                _percent(one.within_68)[0],
                _percent(one.within_95)[0],
                verdict(one.mean_square) if one.n_blocks >= LEAST_UNITS else "few units",
            )
        )
    more = len(classes) - len(rows)
    rest = f" The first {MOST_CLASSES} of {len(classes)} classes." if more > 0 else ""
    unit, units = _of_unit(numbers) or " in the unit of the target", "blocks" if numbers.has_blocks else "targets"
    return Table(
        f"Is σ right given {short(name)}?",
        f"Units are independent {units}. RMSE and RMS σ{unit}; shares inside the intervals of 68 and 95 %.{rest}",
        (short(name), "n", "units", "RMSE", "RMS σ", "mean (r/σ)²", "95 %", "in 68 %", "in 95 %", "says"),
        rows,
    )
