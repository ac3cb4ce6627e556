"""The figures of a calibration report, without pyplot's global state.

Colours are those of Okabe and Ito; what matters is also told by marks, for prints in grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.calibration.coverage import half_normal_interval
from rigidities.report.calibration.content import LEAST_UNITS, MOST_CLASSES, short
from rigidities.report.palette import (
    BLUE,
    GREEN,
    GUIDE,
    ORANGE,
    PURPLE,
    VERMILION,
    legend_below,
    open_frame,
    plain_numbers,
)
from rigidities.report.points import draw_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rigidities.calibration.report import CalibrationNumbers

BANDS = {0.6827: "-", 0.9545: "--", 0.9973: ":"}
"""Shares of Gaussian errors between the pairs of lines of the error figure, and their style."""

NEAR_ZERO = 1e-3
"""Residuals are drawn from this share of the least σ: a third of the lowest line, which 0.1 % of
Gaussian errors are below. Residuals at rounding would fill the figure with empty decades."""

FARTHEST = 1e3
"""Mean (r/σ)² of a class beyond 1000, or below 1/1000, is drawn at the edge."""

FARTHEST_END = 3.0
"""Ends of intervals are in view up to this factor from their RMSE."""

SIZE = (4.6, 4.3)
"""Of a figure, in inches. On a phone of 400 pixels its text, 8 points, is 9 pixels high."""


def report_figures(numbers: CalibrationNumbers) -> dict[str, Figure]:
    """Draw all figures.

    Parameters
    ----------
    numbers : CalibrationNumbers

    Returns
    -------
    dict of str to matplotlib.figure.Figure
        "reliability", "errors", "coverage", "retention", and "by NAME" for each of `by`.
    """
    found = {
        "reliability": reliability_figure(numbers),
        "errors": error_figure(numbers),
        "coverage": coverage_figure(numbers),
        "retention": retention_figure(numbers),
    }
    return found | {f"by {name}": class_figure(numbers, name) for name in numbers.by}


def reliability_figure(numbers: CalibrationNumbers) -> Figure:
    """Draw RMSE against RMS σ in bins of σ, each with its interval, on logarithmic axes."""
    figure, axes = _new()
    bins = numbers.bins
    x, y = bins.rms_std, bins.rmse
    low, high = bins.ratio_low * x, bins.ratio_high * x
    shown = y > 0  # a bin of zero errors has no logarithm
    agrees = (bins.ratio_low <= 1) & (bins.ratio_high >= 1)
    reach = np.maximum(low, y / FARTHEST_END), np.minimum(high, FARTHEST_END * y)
    ends = _log_ends(np.concatenate([x, *(end[shown] for end in reach)]))
    for chosen, colour, mark, text in (
        (agrees & shown, BLUE, "o", "interval holds RMSE = RMS σ"),
        (~agrees & shown, VERMILION, "s", "interval does not hold it"),
    ):
        if chosen.any():
            spread = np.abs(np.array([low, np.minimum(high, 10 * ends[1])]) - y)[:, chosen]
            axes.errorbar(
                x[chosen], y[chosen], spread, fmt=mark, color=colour, markersize=5, capsize=2, linewidth=1, label=text
            )
    axes.plot(ends, ends, color=GUIDE, linewidth=1, zorder=1, label="RMSE = RMS σ")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axes.set(xlabel=f"RMS σ in the bin{_unit(numbers)}", ylabel=f"RMSE in the bin{_unit(numbers)}")
    k, expected = len(x), numbers.student["ratio_holds"]
    axes.set_title(
        f"{agrees.sum()} of {k} bins agree; expected {k * expected.value:.1f} "
        f"({k * expected.low:.0f} to {k * expected.high:.0f}) if σ is right",
        fontsize=9,
    )
    _finish(axes)
    return figure


def error_figure(numbers: CalibrationNumbers) -> Figure:
    """Draw |r| against σ on log axes, with lines that hold known shares of Gaussian errors."""
    figure, axes = _new()
    std, misses = numbers.std, np.abs(numbers.residuals)
    least = NEAR_ZERO * std.min()
    shown = misses > least
    x_ends = _log_ends(std)
    most = _log_ends(np.concatenate([misses, std]))[1]
    axes.set(xscale="log", yscale="log", xlim=x_ends, ylim=(least, most))
    draw_points(figure, axes, std[shown], misses[shown], (*np.log10(x_ends), *np.log10([least, most])))
    line = np.array(x_ends)
    for level, style in BANDS.items():
        a, b = half_normal_interval(level)
        held = np.mean((misses >= a * std) & (misses <= b * std))
        text = f"{100 * level:.2f} % of Gaussian errors (here {100 * held:.2f} %)"
        axes.plot(line, a * line, color="black", linewidth=1, linestyle=style, zorder=3, label=text)
        axes.plot(line, b * line, color="black", linewidth=1, linestyle=style, zorder=3)
    axes.set(xlabel=f"σ{_unit(numbers)}", ylabel=f"|residual|{_unit(numbers)}")
    n_hidden = int((~shown).sum())
    hidden = f" ({n_hidden:,} residuals near 0 not drawn)" if n_hidden else ""
    axes.set_title(f"n = {numbers.n:,}{hidden}", fontsize=9)
    _finish(axes)
    return figure


def coverage_figure(numbers: CalibrationNumbers) -> Figure:
    """Draw the share of targets inside ±kσ against the share that a Gaussian has there."""
    from scipy.special import erf

    figure, axes = _new()
    promised = np.sort(erf(np.abs(numbers.residuals / numbers.std) / np.sqrt(2)))
    observed = np.arange(1, len(promised) + 1) / len(promised)
    axes.plot([0, 1], [0, 1], color=GUIDE, linewidth=1, label="as promised")
    steps = np.concatenate([[0.0], promised, [1.0]]), np.concatenate([[0.0], observed, [1.0]])
    axes.plot(*steps, color=BLUE, linewidth=1.5, drawstyle="steps-post", label="all levels")
    spread = np.array([numbers.coverage - numbers.coverage_low, numbers.coverage_high - numbers.coverage])
    axes.errorbar(
        numbers.levels,
        numbers.coverage,
        np.maximum(spread, 0),
        fmt="s",
        color=VERMILION,
        markersize=4,
        capsize=3,
        label="with 95 % limits",
    )
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), aspect="equal")
    axes.set(xlabel="level of the interval ±kσ", ylabel="share of targets inside")
    area, expected = numbers.miscalibration_area, numbers.expected_area
    axes.set_title(f"miscalibration area {area:.3g}; about {expected:.2g} if σ is right", fontsize=9)
    _finish(axes, logarithmic=False)
    return figure


def retention_figure(numbers: CalibrationNumbers) -> Figure:
    """Draw the RMSE of the targets that remain as those of the largest σ are left out."""
    figure, axes = _new()
    curve = numbers.retention
    out = 100 * (1 - curve.fraction)
    axes.axhline(curve.random, color=GUIDE, linewidth=1, linestyle=":", label="at random")
    axes.plot(out, curve.rmse, color=BLUE, linewidth=2, label="largest σ first")
    axes.plot(out, curve.calibrated, color=ORANGE, linewidth=1.5, linestyle="--", label="the same, if σ is right")
    axes.plot(out, curve.oracle, color=GREEN, linewidth=1.5, linestyle="-.", label="largest error first (oracle)")
    axes.set(xlim=(0, 100), ylim=(0, 1.05 * max(curve.random, curve.calibrated.max(), curve.rmse.max())))
    axes.set(xlabel="targets left out (%)", ylabel=f"RMSE of the others{_unit(numbers)}")
    ceiling = numbers.student["retention_gain"].value
    axes.set_title(
        f"gain {curve.gain:.2f} of the oracle's; {ceiling:.2f} if σ is right\n"
        f"Spearman {numbers.spearman:.2f}; {numbers.student['spearman'].value:.2f} if σ is right",
        fontsize=9,
    )
    _finish(axes, logarithmic=False)
    return figure


def class_figure(numbers: CalibrationNumbers, name: str) -> Figure:
    """Draw mean (r/σ)² of each class with its interval, on a logarithmic axis."""
    from matplotlib.figure import Figure

    classes = list(numbers.by[name].items())[:MOST_CLASSES]
    figure = Figure(figsize=(SIZE[0], 1.4 + 0.28 * len(classes)), dpi=150, layout="constrained")
    axes = figure.subplots()
    values = np.clip(np.array([one.mean_square for _, one in classes]), 1 / FARTHEST, FARTHEST)
    place = np.arange(len(classes))[::-1]
    ends = _log_ends(np.append(values, 1.0))
    few = np.array([one.n_blocks < LEAST_UNITS for _, one in classes])
    for chosen, colour, mark, text in _by_verdict(values, few):
        spread = np.abs(values[chosen, 1:].T - values[chosen, 0])
        axes.errorbar(
            values[chosen, 0],
            place[chosen],
            xerr=spread,
            fmt=mark,
            color=colour,
            markersize=5,
            capsize=2,
            linewidth=1,
            label=text,
        )
    axes.axvline(1, color=GUIDE, linewidth=1, zorder=1)
    axes.set_yticks(place, [f"{_plain(label)}  ({one.n:,})" for label, one in classes], fontsize=8)
    axes.set(xscale="log", xlim=ends, ylim=(-0.7, len(classes) - 0.3))
    axes.set(xlabel="mean (r/σ)² with 95 % interval", ylabel=_plain(name))
    open_frame(axes)
    plain_numbers(axes, (axes.xaxis,))
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, borderaxespad=0.2)
    return figure


def _by_verdict(values: NDArray[np.float64], few: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], str, str, str]]:
    """Which classes agree, have a σ that is too small, or too large; with colour, mark and text."""
    small, large = (values[:, 1] > 1) & ~few, (values[:, 2] < 1) & ~few
    parts = [
        (few, GUIDE, "x", "few units"),
        (~small & ~large & ~few, BLUE, "o", "σ agrees"),
        (small, VERMILION, ">", "σ too small"),
        (large, PURPLE, "<", "σ too large"),
    ]
    return [part for part in parts if part[0].any()]


# Axes ---------------------------------------------------------------------------------------------


def _new() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=150, layout="constrained")
    return figure, figure.subplots()


def _finish(axes: Axes, logarithmic: bool = True) -> None:
    open_frame(axes)
    axes.tick_params(labelsize=8, which="both")
    if logarithmic:
        plain_numbers(axes)
    legend_below(axes)


def _unit(numbers: CalibrationNumbers) -> str:
    return f" ({_plain(numbers.unit)})" if numbers.unit else ""


def _plain(text: object) -> str:
    """Return text of the caller, in which a dollar is no formula."""
    return short(text).replace("$", r"\$")


def _log_ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return ends of a logarithmic axis with room beyond finite positive values."""
    usable = values[np.isfinite(values) & (values > 0)]
    return float(usable.min()) / 1.5, float(usable.max()) * 1.5
