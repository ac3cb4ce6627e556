"""The map of the log-likelihood over λ and scale, as a figure without pyplot's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.regularizer.likelihood_map import EQUALLY_GOOD
from rigidities.report.palette import DENSITY, GUIDE, ORANGE, VERMILION, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rigidities.regularizer.likelihood_map import LikelihoodMap

LEVELS = (0.0, EQUALLY_GOOD, 10.0, 100.0, 1000.0, 1e4)
"""Nats below the best, of all targets together, at which colours change."""

WINDOW = 1e3
"""The figure ends this factor beyond the λ that are equally good."""


def draw_likelihood_map(found: LikelihoodMap, *, unit: str = "") -> Figure:
    """Draw a map of λ and scale: how far the log-likelihood of all targets is below the best.

    Parameters
    ----------
    found : LikelihoodMap
        From `rigidities.likelihood_map`.
    unit : str
        Unit of the targets, shown at the axis of the scale.

    Returns
    -------
    matplotlib.figure.Figure
        The line is the best scale at each λ. Dashed lines are the ends of the λ that are equally
        good, and the mark is the best pair.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> from rigidities.plot import draw_likelihood_map
    >>> rng = np.random.default_rng(0)
    >>> F, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    >>> covariance = rg.Covariance(5)
    >>> covariance.update(F[:40], targets=y[:40])
    >>> path = rg.regularizer_path(covariance, np.logspace(-3, 3, 61))
    >>> figure = draw_likelihood_map(rg.likelihood_map(path, F[40:], y[40:]), unit="eV")
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=200, layout="constrained")
    axes = figure.subplots()
    x, y = found.regularizers, found.scales
    below = np.ma.masked_invalid(found.n * (found.nll.T - np.nanmin(found.least_nll)))
    for set_limits, ends in ((axes.set_xlim, (x[0], x[-1])), (axes.set_ylim, (y[0], y[-1]))):
        if ends[0] < ends[1]:
            set_limits(ends)
    axes.set_xlim(max(axes.get_xlim()[0], found.low / WINDOW), min(axes.get_xlim()[1], found.high * WINDOW))
    axes.set_xscale("log")
    axes.set_yscale("log")
    if min(below.shape) > 1:
        shades = colormaps[DENSITY](np.linspace(1, 0, len(LEVELS)))  # one for each step, dark where it is best
        colours = axes.contourf(x, y, below, levels=LEVELS, colors=shades, extend="max")
        bar = figure.colorbar(colours, ax=axes, label=f"log-likelihood of {found.n:,} targets below the best, nats")
        bar.ax.set_yticks(LEVELS, [f"{level:g}" for level in LEVELS])
    axes.plot(x, found.best_scales, color=ORANGE, linewidth=1.5)
    for end in (found.low, found.high):
        axes.axvline(end, color=GUIDE, linewidth=1, linestyle="--")
    axes.plot(found.regularizer, found.scale, "o", color=VERMILION, markeredgecolor="white", zorder=3)
    axes.set_title(f"best: λ = {found.regularizer:.2g}, scale {found.scale:.2g} {unit}".rstrip(), fontsize=9)
    axes.set_xlabel("regularizer λ")
    axes.set_ylabel(f"scale ({unit})" if unit else "scale")
    open_frame(axes)
    return figure
