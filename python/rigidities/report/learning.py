"""Figure of a learning curve: rigidities and errors against the number of training structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import UndeterminedWarning, held
from rigidities.report.palette import BLUE, GUIDE, ORANGE, legend_below, open_frame, plain_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rigidities.planning.curve import LearningCurve, Quantity


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
        axes.set_yscale("log")
        plain_numbers(axes)
        open_frame(axes)
        legend_below(axes)
    return figure


def _draw(
    axes: Axes, curve: LearningCurve, quantity: Quantity, chosen: NDArray[np.float64] | None, factor: float
) -> None:
    low, middle, high = factor * curve.band(quantity)
    axes.fill_between(curve.sizes, low, high, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(curve.sizes, middle, "o-", color=BLUE, markersize=3, label=f"{len(curve.rigidity)} random orders")
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
