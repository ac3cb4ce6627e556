"""A learning curve as a figure, text and JSON."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import UndeterminedWarning, held
from rigidities.report.against import seen_fact
from rigidities.report.files import versions_of
from rigidities.report.palette import BLUE, GUIDE, ORANGE, legend_below, open_frame, plain_numbers
from rigidities.report.text import fact_lines, size_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rigidities.planning.curve import LearningCurve, Quantity
    from rigidities.planning.forecast import Forecast
    from rigidities.sources.source import Source


AHEAD = 2
"""How many times the data the dashed line of a forecast goes."""


def draw_learning_curve(
    curve: LearningCurve,
    *,
    unit: str = "",
    factor: float = 1.0,
    what: str = "structures",
    rows: str = "test rows",
) -> Figure:
    """Draw the median rigidity, and the error if it is known, with bands over the orders.

    Parameters
    ----------
    curve : LearningCurve
        Of whole rows, not of components.
    unit : str
        Unit of errors.
    factor : float
        What errors are multiplied by: 1000 for targets in eV and the unit meV.
    what : str
        What the blocks are, at the horizontal axis.
    rows : str
        What the rigidities are of.

    Returns
    -------
    matplotlib.figure.Figure
        Lines are medians over the orders, bands hold the middle 68 % of them, and dashed lines are
        forecasts for up to twice the data, where there are sizes enough to make one.

    Raises
    ------
    ValueError
        If the curve is of components.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> from rigidities.plot import draw_learning_curve
    >>> rng = np.random.default_rng(0)
    >>> F, X = rng.normal(size=(400, 20)), rng.normal(size=(50, 20))
    >>> curve = rg.learning_curve(F, X, regularizer=1e-6, random_state=0)
    >>> figure = draw_learning_curve(curve)
    """
    from matplotlib.figure import Figure

    if curve.rigidity.ndim == 4:
        raise ValueError(f"the curve is of {curve.rigidity.shape[3]} components: draw a curve of whole rows")
    n_panels = 1 if curve.rmse is None else 2
    figure = Figure(figsize=(4.6 * n_panels, 3.6), dpi=200, layout="constrained")
    panels = figure.subplots(1, n_panels, squeeze=False).ravel()
    chosen = None if curve.selected is None else np.median(curve.selected.rigidity, axis=1)
    _draw(panels[0], curve, "rigidity", chosen, 1.0)
    panels[0].set_ylabel(f"median rigidity of {rows}")
    if curve.rmse is not None:
        _draw(panels[1], curve, "rmse", None if curve.selected is None else curve.selected.rmse, factor)
        panels[1].set_ylabel("RMSE" + (f", {unit}" if unit else ""))
    for axes in panels:
        axes.set_xlabel(f"training {what}")
        axes.set_xscale("log")
        plain_numbers(axes, [axes.xaxis])
        _scale(axes)
        open_frame(axes)
        legend_below(axes)
    return figure


def _orders(n: int) -> str:
    return f"{n} random order{'s' * (n != 1)}"


def _scale(axes: Axes) -> None:
    """Make the vertical axis logarithmic, unless nothing on it has a logarithm."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines])
    if (np.isfinite(values) & (values > 0)).any():
        axes.set_yscale("log")
        plain_numbers(axes, [axes.yaxis])
    elif not np.isfinite(values).any():
        axes.set_yticks([])
        axes.text(0.5, 0.5, "infinite at all sizes", ha="center", va="center", transform=axes.transAxes)


def _draw(
    axes: Axes, curve: LearningCurve, quantity: Quantity, chosen: NDArray[np.float64] | None, factor: float
) -> None:
    low, middle, high = factor * curve.band(quantity)
    axes.fill_between(curve.sizes, low, high, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(curve.sizes, middle, "o-", color=BLUE, markersize=3, label=_orders(len(curve.rigidity)))
    if chosen is not None:
        axes.plot(curve.sizes, factor * chosen, "s-", color=ORANGE, markersize=3, label="selected order")
    _draw_forecast(axes, curve, quantity, factor)


def _draw_forecast(axes: Axes, curve: LearningCurve, quantity: Quantity, factor: float) -> None:
    last = int(curve.sizes[-1])
    sizes = np.unique(np.round(np.geomspace(last, AHEAD * last, 8)).astype(np.int64))
    with held(UndeterminedWarning):
        try:
            values = [factor * curve.forecast(int(size), quantity).value for size in sizes]
        except ValueError:  # too few sizes
            return
    axes.plot(sizes, values, "--", color=GUIDE, linewidth=1, label="forecast")


# Text and numbers ---------------------------------------------------------------------------------


def curve_text(
    curve: LearningCurve, sources: tuple[Source, Source], of: str, unit: str, seen: NDArray[np.int64]
) -> str:
    """Return sizes, rigidities, errors and forecasts as lines of at most 100 columns.

    `seen` holds the training structure that is the same as each test structure, or −1.
    """
    what = "PR of structures" if of == "structures" else "LPR of atoms"
    n_orders = len(curve.rigidity)
    facts = {
        "training set": size_text(sources[0]),
        "test set": size_text(sources[1]),
        "λ": f"{curve.regularizer:.3g}, the same at all sizes",
        "orders": "1 random"
        if n_orders == 1
        else f"{n_orders} random; in brackets the range of the middle 68 % of them",
    }
    facts |= {"in both": fact} if (fact := seen_fact(sources[1].labels().labels, seen)) else {}
    columns = [
        ["structures", *map(str, curve.sizes)],
        [f"median {what}", *(_cell(band, n_orders) for band in curve.band("rigidity").T)],
    ]
    if curve.rmse is not None:
        columns.append([f"RMSE of energies, {unit}", *(_cell(band, n_orders) for band in 1000 * curve.band("rmse").T)])
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]
    return "\n".join([*fact_lines(facts), "", *lines, "", *_forecast_lines(curve, what, unit)])


def _cell(band: NDArray[np.float64], n_orders: int) -> str:
    low, middle, high = band
    return f"{middle:.3g}" if n_orders == 1 else f"{middle:.3g} ({low:.3g} to {high:.3g})"


def _forecasts(curve: LearningCurve) -> dict[str, tuple[float, Forecast]]:
    """Forecasts of what doubles the rigidity and halves the error, where there are sizes enough."""
    found: dict[str, tuple[float, Forecast]] = {}
    try:
        found["rigidity"] = 2.0, curve.more_needed(2.0)
        if curve.rmse is not None:
            found["rmse"] = 0.5, curve.more_needed(0.5, "rmse")
    except ValueError:
        pass
    return found


def _forecast_lines(curve: LearningCurve, what: str, unit: str) -> list[str]:
    found = _forecasts(curve)
    if not found:
        return ["no forecast: it needs three sizes from a quarter of the last one on, and finite rigidities"]
    lines = []
    for quantity, goal in (("rigidity", f"doubles the median {what}"), ("rmse", "halves the error of energies")):
        if quantity not in found:
            continue
        forecast = found[quantity][1]
        if forecast.reached:
            said = f"{forecast.value:.0f} more structures like these"
            said += f" ({forecast.range_text('.0f')})" if len(curve.rigidity) > 1 else ""
        else:
            said = f"not even {forecast.value:.0f} more structures like these"
            if quantity == "rmse" and forecast.floor:
                said += f": about {1000 * forecast.floor:.3g} {unit} does not fall with more data of this kind"
        lines += textwrap.wrap(f"what {goal}: {said}", 100, subsequent_indent="  ")
    return lines


def curve_content(
    curve: LearningCurve, sources: tuple[Source, Source], of: str, unit: str, seen: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the curve and its forecasts as values of JSON; errors in eV, or eV/atom."""
    names = ("low", "median", "high")
    content: dict[str, Any] = {
        "versions": versions_of(*sources),
        "train": sources[0].name,
        "test": sources[1].name,
        "in_training_set": int((seen >= 0).sum()),
        "of": of,
        "regularizer": curve.regularizer,
        "orders": len(curve.rigidity),
        "sizes": curve.sizes.tolist(),
        "effective_dimension": curve.effective_dimension.mean(axis=0).tolist(),
        "target_rows": curve.n_rows.mean(axis=0).tolist(),
        "median_rigidity": dict(zip(names, curve.band("rigidity").tolist(), strict=True)),
    }
    if curve.rmse is not None:
        content["rmse"] = dict(zip(names, curve.band("rmse").tolist(), strict=True)) | {"unit": unit.removeprefix("m")}
    content["more_needed"] = {
        quantity: {
            "factor": factor,
            "structures": one.value,
            "low": one.low,
            "high": one.high,
            "reached": one.reached,
            "open": one.is_open,
            "basis": one.basis,
        }
        for quantity, (factor, one) in _forecasts(curve).items()
    }
    return content
