"""Curves of all criteria over λ, as a matplotlib figure without pyplot's global state.

Each panel shows one quantity, in the range of λ around the best ones and the one in use. Criteria
rise by many powers of ten far from there, so the limits of an axis leave out the steep ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rigidities.report.palette import BLUE, GREEN, GUIDE, ORANGE, VERMILION, open_frame
from rigidities.validation import as_floats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from rigidities.regularizer.path import RegularizerPath

MARGIN = 300.0
"""The range of λ ends this factor beyond the least and the largest λ that is marked."""

STEEP = 0.25
"""Share of the values, the worst ones, that need not be in the picture."""

EDGE = 1.5
"""Room beyond the ends of the range of λ, as a factor: a line at an end is seen."""

FLAT = 0.1
"""Least height of a panel: 10 % of an error, 0.1 nats, so that curves that are flat look flat."""

COLOURS = {"evidence": GREEN, "√GCV": ORANGE, "leave-one-out": BLUE, "structures left out": BLUE, "test": VERMILION}


class Panel(NamedTuple):
    """The curves of one quantity.

    Attributes
    ----------
    label : str
        The quantity, with its unit.
    lines : dict of str to ndarray of shape (n_λ,)
        Values at each λ of the path, by the name of the criterion.
    has_best : bool
        Whether the quantity is a criterion, so that its best λ is marked.
    largest : bool
        Whether the largest value is the best one.
    relative : bool
        Whether ratios of values count: the axis is logarithmic where they span a decade.
    """

    label: str
    lines: dict[str, NDArray[np.float64]]
    has_best: bool = True
    largest: bool = False
    relative: bool = False


def regularizer_curves(
    path: RegularizerPath,
    *,
    train: tuple[ArrayLike, ArrayLike] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    weights: ArrayLike | None = None,
    left_out: ArrayLike | None = None,
    regularizer: float | None = None,
    unit: str = "",
    factor: float = 1.0,
) -> Figure:
    """Draw all criteria over λ, each with its best λ, and the effective dimension.

    Parameters
    ----------
    path : RegularizerPath
        With targets.
    train : tuple of rows and targets, optional
        The training rows, for leave-one-out.
    test : tuple of rows and targets, optional
        Test rows, for their error, NLL and CRPS.
    weights : array_like of shape (n_targets,), optional
        Loss weights of the training rows.
    left_out : array_like of shape (n_λ,), optional
        Errors √(Σwe²/n) of fits without the structure in question (`LossFit.left_out`), in the unit
        of √GCV.
    regularizer : float, optional
        The λ in use, drawn as a line. It need not be one of the path.
    unit : str
        Unit of errors, shown at the axes of the error and of the CRPS.
    factor : float
        What errors are multiplied by: 1000 for targets in eV and the unit meV.

    Returns
    -------
    matplotlib.figure.Figure
        Where rounding hides a criterion, its panel is grey. The axes show the range of λ around
        the best values and the one in use, within that of the path.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> from rigidities.plot import regularizer_curves
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), targets=[0.1, 1.0, 2.2])
    >>> figure = regularizer_curves(rg.regularizer_path(covariance), regularizer=1e-3)
    """
    from matplotlib.figure import Figure

    panels = _panels(path, train, test, weights, left_out, unit, factor)
    n_columns = 1 if len(panels) <= 3 else 2
    n_rows = len(panels) // n_columns  # 3, 4 or 6 panels
    figure = Figure(figsize=(5.2 * n_columns, 0.8 + 2.1 * n_rows), dpi=200, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
    order = np.argsort(path.regularizers)
    x = path.regularizers[order]
    ordered = [panel._replace(lines={name: line[order] for name, line in panel.lines.items()}) for panel in panels]
    window = _window(x, ordered, regularizer)
    for axes, panel in zip(grid, ordered, strict=True):
        _draw(axes, x, panel, window)
        if regularizer is not None and regularizer > 0:
            axes.axvline(regularizer, color=GUIDE, linewidth=1, linestyle="--", zorder=1)
    if regularizer is not None:
        _label_line(grid[:n_columns], regularizer)
    for axes in grid[-n_columns:]:
        axes.set_xlabel("regularizer λ")
    grid[0].set_xlim(window)  # first: automatic limits of a logarithmic axis may overflow
    grid[0].set_xscale("log")
    return figure


def _panels(
    path: RegularizerPath,
    train: tuple[ArrayLike, ArrayLike] | None,
    test: tuple[ArrayLike, ArrayLike] | None,
    weights: ArrayLike | None,
    left_out: ArrayLike | None,
    unit: str,
    factor: float,
) -> list[Panel]:
    """Return the panels, from the most to the least used to choose λ."""
    of_unit = f"\n({unit})" if unit else ""
    errors = {}
    if train is not None:
        errors["leave-one-out"] = factor * path.score(*train, "loo", weights=weights)
    if test is not None:
        errors["test"] = factor * path.score(*test, "rmse")
    panels = [Panel("log evidence\n(nats)", {"evidence": path.log_evidence}, largest=True)]
    validated = {"√GCV": np.sqrt(path.gcv)}
    if left_out is not None:
        validated["structures left out"] = as_floats(left_out, "left_out", ndim=1, double=True)
    label = "√GCV" if left_out is None else "cross-validation"
    panels.append(Panel(f"{label}\n(unit of √w · target)", validated, relative=True))
    if errors:
        panels.append(Panel(f"RMSE{of_unit}", errors, relative=True))
    if test is not None:
        panels.append(Panel("test NLL\n(nats)", {"test": path.score(*test, "nll")}))
        panels.append(Panel(f"test CRPS{of_unit}", {"test": factor * path.score(*test, "crps")}, relative=True))
    dimension = {"effective dimension": path.effective_dimension}
    return [*panels, Panel("effective dimension\n(directions)", dimension, has_best=False)]


# Limits -------------------------------------------------------------------------------------------


def _best(panel: Panel, line: NDArray[np.float64]) -> int | None:
    """Return where a criterion is best, or None where it is resolved nowhere."""
    if np.isnan(line).all() or not panel.has_best:
        return None
    return int(np.nanargmax(line) if panel.largest else np.nanargmin(line))


def _window(x: NDArray[np.float64], panels: list[Panel], regularizer: float | None) -> tuple[float, float]:
    """Return the range of λ around those that are marked, within the path."""
    places = [_best(panel, line) for panel in panels for line in panel.lines.values()]
    marked = [float(x[place]) for place in places if place is not None]
    marked += [regularizer] if regularizer else []
    low, high = float(x[0]), float(x[-1])
    if marked:
        low, high = max(low, min(marked) / MARGIN), min(high, max(marked) * MARGIN)
    return min([low, *marked]) / EDGE, max([high, *marked]) * EDGE


def _limits(panel: Panel, shown: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the limits of a quantity: all but its steep ends, with some room."""
    values = np.concatenate([line[shown] for line in panel.lines.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    if panel.has_best and panel.largest:
        low = float(np.quantile(values, STEEP))
    elif panel.has_best:
        high = max(float(np.quantile(values, 1 - STEEP)), *(np.nanmin(line[shown]) for line in panel.lines.values()))
    if panel.relative and 0 < 10 * low < high:
        return low / 1.3, high * 1.3
    missing = FLAT * (abs(low) if panel.relative else 1.0) - (high - low)
    room = 0.08 * (high - low) + max(missing, 0.0) / 2
    return (low - room, high + room) if room else None


# Drawing ------------------------------------------------------------------------------------------


def _draw(axes: Axes, x: NDArray[np.float64], panel: Panel, window: tuple[float, float]) -> None:
    """Draw the curves of a panel, their best λ in the legend, and the range that rounding hides."""
    for name, line in panel.lines.items():
        best, colour = _best(panel, line), COLOURS.get(name, "0.2")
        text = name if best is None else f"{name}, best at {x[best]:.1e}"
        hidden = panel.has_best and best is None
        axes.plot(x, line, color=colour, label=f"{name}: not resolved" if hidden else text)
        if best is not None:
            axes.plot(x[best], line[best], "o", color=colour, markersize=5, zorder=3)
    axes.set_ylabel(panel.label, fontsize=9)
    axes.tick_params(labelsize=8, which="both")
    open_frame(axes)
    limits = _limits(panel, (x >= window[0]) & (x <= window[1]))
    if limits is not None:
        axes.set_ylim(limits)
        axes.set_yscale("log" if panel.relative and 0 < 10 * limits[0] < limits[1] else "linear")
    if panel.has_best:
        axes.legend(frameon=False, fontsize=8)
    _mark_hidden(axes, x[np.all([np.isnan(line) for line in panel.lines.values()], axis=0)], window)


def _mark_hidden(axes: Axes, hidden: NDArray[np.float64], window: tuple[float, float]) -> None:
    """Shade the range of λ in which rounding hides a criterion."""
    if len(hidden):
        axes.axvspan(hidden[0], hidden[-1], color="0.9", linewidth=0, zorder=0)
    if len(hidden) and hidden[-1] > window[0]:
        place = max(float(hidden[0]), window[0])
        axes.text(
            place, 0.05, " not resolved", transform=axes.get_xaxis_transform(), fontsize=8, color=GUIDE, clip_on=True
        )


def _label_line(tops: Iterable[Axes], regularizer: float) -> None:
    """Write above the upper panels what the dashed line is."""
    for axes in tops:
        place = (regularizer, axes.get_xaxis_transform()) if regularizer > 0 else (0.0, axes.transAxes)
        text = f"λ in use: {regularizer:.3g}"
        axes.text(
            place[0], 1.02, text, transform=place[1], fontsize=8, color=GUIDE, ha="center" if regularizer else "left"
        )
