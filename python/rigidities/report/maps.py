"""Maps of atoms in a plane of feature space, coloured by their local prediction rigidity (LPR).

Figures do not use pyplot's global state, so that scripts and threads can make them. Figure 2 of the
LPR paper is an example: J. Chem. Theory Comput. 19 (2023) 8020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.report.palette import COLOUR_MAP, GUIDE, legend_below, open_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray


MARKS = "^sDvP*"
"""Shapes of the kinds of atoms; further kinds share the dot of atoms without a kind."""

SHOWN = 0.02, 0.95
"""Quantiles of log₁₀ LPR between which colours change; of few atoms all are between."""

REFERENCE = {"1 %": 0.01, "median": 0.5}
"""Quantiles of the training atoms' LPR that are marked beside the colours."""


def lpr_map(
    coordinates: ArrayLike,
    lpr: ArrayLike,
    *,
    explained: Iterable[float] | None = None,
    background: ArrayLike | None = None,
    marks: ArrayLike | None = None,
    title: str = "",
    training: ArrayLike | None = None,
) -> Figure:
    """Draw atoms in the plane of two principal components, coloured by log₁₀ LPR.

    Parameters
    ----------
    coordinates : array_like of shape (n_atoms, 2)
        Places of the atoms: `Rigidities.coordinates`, or those of any other map.
    lpr : array_like of shape (n_atoms,)
        LPR of the atoms. Infinite ones (rows of zeros) are drawn hollow.
    explained : iterable of two floats, optional
        Share of the variance along each axis, shown in its label.
    background : array_like of shape (n_points, 2), optional
        Places of the training atoms, drawn as a grey cloud behind the others.
    marks : array_like of str of shape (n_atoms,), optional
        Kind of each atom, shown by the shape of its mark; an empty string gives a dot. Of more than
        six kinds, those of lowest median LPR have their own shape, and the others are dots.
    title : str
        Title of the map.
    training : array_like of shape (n_points,), optional
        LPR of training atoms. Their 1 % quantile and their median are marked beside the colours:
        what is low beside the training atoms themselves.

    Returns
    -------
    matplotlib.figure.Figure
    """
    grounds = None if background is None else {title: background}
    options: dict[str, Any] = {"explained": explained, "backgrounds": grounds, "marks": marks, "training": training}
    return lpr_maps(coordinates, {title: lpr}, **options)


def lpr_maps(
    coordinates: ArrayLike,
    panels: Mapping[str, ArrayLike],
    *,
    explained: Iterable[float] | None = None,
    backgrounds: Mapping[str, ArrayLike] | None = None,
    marks: ArrayLike | None = None,
    limits: tuple[float, float] | None = None,
    training: ArrayLike | None = None,
) -> Figure:
    """Draw several maps of the same atoms side by side, on one colour scale.

    Parameters
    ----------
    coordinates : array_like of shape (n_atoms, 2)
    panels : mapping of str to array_like of shape (n_atoms,)
        LPR of the atoms, by the title of the panel.
    explained, marks, training
        As for `lpr_map`.
    backgrounds : mapping of str to array_like of shape (n_points, 2), optional
        Places of the training atoms, by the title of the panel.
    limits : tuple of two floats, optional
        Ends of the colour scale in log₁₀ LPR. By default the quantiles 2 % and 95 % of all panels.
        Arrows at the ends of the scale say that there are values beyond.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    places = np.asarray(coordinates, dtype=np.float64)
    logs = {title: log_rigidity(lpr) for title, lpr in panels.items()}
    shapes = _shapes(np.zeros(len(places), dtype="U1") if marks is None else np.asarray(marks), list(logs.values()))
    reference = {} if training is None else _reference(log_rigidity(training))
    ends = _ends(list(logs.values()), list(reference.values())) if limits is None else limits
    figure = Figure(figsize=(1.8 + 4.6 * len(logs), 5.2), dpi=200, layout="constrained")
    grid = figure.subplots(1, len(logs), sharex=True, sharey=True, squeeze=False)[0]
    scale: dict[str, Any] = dict(zip(("vmin", "vmax"), ends, strict=True))
    for axes, (title, log) in zip(grid, logs.items(), strict=True):
        _draw_background(axes, (backgrounds or {}).get(title))
        colours = _draw(axes, places, log, shapes, scale)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(_label(1, explained))
        open_frame(axes)
        legend_below(axes)
    grid[0].set_ylabel(_label(2, explained))
    bar = figure.colorbar(
        colours, ax=list(grid), pad=0.02, fraction=0.06, aspect=28, extend=_beyond(list(logs.values()), ends)
    )
    bar.set_label("log₁₀ LPR (low: not pinned down by the training data)", fontsize=9)
    bar.outline.set_visible(False)
    _mark_reference(bar.ax, reference, ends)
    return figure


def log_rigidity(lpr: ArrayLike) -> NDArray[np.float64]:
    """Return log₁₀ LPR; an infinite LPR gives inf."""
    with np.errstate(divide="ignore"):
        return np.log10(np.asarray(lpr, dtype=np.float64))


def log_limits(*logs: NDArray[np.float64]) -> tuple[float, float]:
    """Return the quantiles 2 % and 95 % of the finite values, or (0, 1) if there is none."""
    values = np.concatenate(logs)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = np.quantile(values, SHOWN[0], method="lower"), np.quantile(values, SHOWN[1], method="higher")
    return float(low), float(high)


# The scale of colours -----------------------------------------------------------------------------


def _reference(log: NDArray[np.float64]) -> dict[str, float]:
    """Return the quantiles of training atoms that are marked, by their names."""
    finite = log[np.isfinite(log)]
    if not len(finite):
        return {}
    return {name: float(np.quantile(finite, share, method="inverted_cdf")) for name, share in REFERENCE.items()}


def _ends(logs: list[NDArray[np.float64]], reference: list[float]) -> tuple[float, float]:
    """Return ends of the scale that hold the reference, a tenth apart at least."""
    low, high = log_limits(*logs)
    low, high = min(low, *reference, low), max(high, *reference, high)
    return (low, high) if high - low > 0.1 else ((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)


def _beyond(logs: list[NDArray[np.float64]], ends: tuple[float, float]) -> str:
    """Return where finite values are beyond the scale, in matplotlib's word."""
    values = np.concatenate(logs)
    values = values[np.isfinite(values)]
    low, high = bool((values < ends[0]).any()), bool((values > ends[1]).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[low, high]


def _mark_reference(bar: Axes, reference: dict[str, float], ends: tuple[float, float]) -> None:
    """Mark quantiles of the training atoms left of the colours."""
    shown = {name: value for name, value in reference.items() if ends[0] <= value <= ends[1]}
    if not shown:
        return
    if len(shown) > 1 and max(shown.values()) - min(shown.values()) < 0.05 * (ends[1] - ends[0]):
        shown = {", ".join(shown): min(shown.values())}
    axis = bar.secondary_yaxis("left")
    axis.set_yticks(list(shown.values()), [f"training\n{name}" for name in shown], fontsize=7, color=GUIDE)
    axis.tick_params(length=5, width=1.2, color=GUIDE)
    axis.spines["left"].set_visible(False)


# Atoms --------------------------------------------------------------------------------------------


def _shapes(marks: NDArray[Any], logs: list[NDArray[np.float64]]) -> dict[str, tuple[str, NDArray[np.bool_]]]:
    """Return the shape of each kind and a mask of its atoms, by the name in the legend."""
    names = [str(name) for name in np.unique(marks) if name]
    if len(names) > len(MARKS):
        least = {name: min(float(np.median(log[marks == name])) for log in logs) for name in names}
        names = sorted(sorted(names, key=least.__getitem__)[: len(MARKS)])
    unmarked = ~np.isin(marks, names)
    shapes = {"other test atoms" if names else "test atoms": ("o", unmarked)} if unmarked.any() else {}
    return shapes | {name: (shape, marks == name) for name, shape in zip(names, MARKS[: len(names)], strict=True)}


def _draw_background(axes: Axes, places: ArrayLike | None) -> None:
    """Draw training atoms as a cloud, wider than the marks of test atoms on top of it."""
    x, y = np.empty((2, 0)) if places is None else np.asarray(places, dtype=np.float64).T
    if len(x):
        axes.scatter(x, y, s=60, c="0.87", linewidths=0, label="training atoms", rasterized=True, zorder=0)


def _draw(
    axes: Axes,
    places: NDArray[np.float64],
    log: NDArray[np.float64],
    shapes: dict[str, tuple[str, NDArray[np.bool_]]],
    scale: dict[str, Any],
) -> Any:
    """Draw the atoms of one panel, the least rigid on top; return the artist for the colour bar."""
    size = float(np.clip(12000 / max(len(log), 1), 8, 30))
    edge = 0.4 if len(log) < 1000 else 0.15  # thick edges of many marks would hide their colours
    colours = axes.scatter([], [], c=[], cmap=COLOUR_MAP, **scale)
    for name, (shape, chosen) in shapes.items():
        order = np.flatnonzero(chosen & ~np.isposinf(log))
        order = order[np.argsort(-log[order], kind="stable")]
        x, y = places[order].T
        style: dict[str, Any] = {"marker": shape, "s": size if shape == "o" else 1.7 * size, "edgecolors": "0.15"}
        style |= {"linewidths": 0.0 if shape == "o" else edge, "rasterized": True}
        axes.scatter(x, y, c=np.where(np.isneginf(log), scale["vmin"], log)[order], cmap=COLOUR_MAP, **scale, **style)
        if len(order):
            axes.scatter([], [], c="0.55", label=name, **style | {"s": 24.0})
        hollow = {"marker": shape, "s": style["s"], "facecolors": "none", "edgecolors": "0.4", "linewidths": 0.7}
        axes.scatter(*places[chosen & np.isposinf(log)].T, **hollow)
        if chosen.any() and not len(order):
            axes.scatter([], [], label=name, **hollow)
    if np.isposinf(log).any():
        axes.scatter([], [], s=24, facecolors="none", edgecolors="0.4", linewidths=0.7, label="infinite LPR (hollow)")
    return colours


def _label(axis: int, explained: Iterable[float] | None) -> str:
    share = "" if explained is None else f" ({list(explained)[axis - 1]:.0%} of the variance)"
    return f"principal component {axis}{share}"
