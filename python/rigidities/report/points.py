"""Points of a scatter plot, one by one, or as a density where they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.report.palette import BLUE, DENSITY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SINGLE = 3000
"""Most points that are drawn one by one; of more, the density."""


def draw_points(
    figure: Figure,
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    extent: tuple[float, float, float, float],
) -> None:
    """Draw points, or the density of many. `extent`: ends of x and y; on log axes, their log10."""
    if len(x) <= SINGLE:
        size = float(np.clip(6000 / len(x), 4, 26))
        axes.scatter(x, y, s=size, color=BLUE, linewidths=0, alpha=0.5, rasterized=True, zorder=2)
        return
    scales: dict[str, Any] = {"xscale": axes.get_xscale(), "yscale": axes.get_yscale()}
    limits = axes.get_xlim(), axes.get_ylim()
    cells = axes.hexbin(
        x, y, gridsize=70, extent=extent, mincnt=1, bins="log", cmap=DENSITY, linewidths=0.1, zorder=2, **scales
    )
    axes.set(xlim=limits[0], ylim=limits[1])
    bar = figure.colorbar(cells, ax=axes, pad=0.02, fraction=0.05, aspect=30)
    bar.set_label("number of points", fontsize=8)
    bar.outline.set_visible(False)
