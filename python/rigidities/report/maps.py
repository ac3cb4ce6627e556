"""Maps of atoms in a plane of feature space, coloured by their local prediction rigidity (LPR).

Figures do not use pyplot's global state, so that scripts and threads can make them. Figure 2 of the
LPR paper is an example: J. Chem. Theory Comput. 19 (2023) 8020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray


COLOUR_MAP = "plasma"
"""Dark colours are low rigidities. Lightness rises evenly, for grey prints and colour blindness."""


def lpr_map(
    coordinates: ArrayLike,
    lpr: ArrayLike,
    *,
    explained: Iterable[float] | None = None,
    background: ArrayLike | None = None,
    marks: ArrayLike | None = None,
    title: str = "",
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
        Places of the training atoms, drawn in grey.
    marks : array_like of str of shape (n_atoms,), optional
        Kind of each atom, shown by the shape of its mark. At most five kinds; an empty string gives
        a dot.
    title : str
        Title of the map.

    Returns
    -------
    matplotlib.figure.Figure
    """
    grounds = None if background is None else {title: background}
    return lpr_maps(coordinates, {title: lpr}, explained=explained, backgrounds=grounds, marks=marks)


def lpr_maps(
    coordinates: ArrayLike,
    panels: Mapping[str, ArrayLike],
    *,
    explained: Iterable[float] | None = None,
    backgrounds: Mapping[str, ArrayLike] | None = None,
    marks: ArrayLike | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw several maps of the same atoms side by side, on one colour scale.

    Parameters
    ----------
    coordinates : array_like of shape (n_atoms, 2)
    panels : mapping of str to array_like of shape (n_atoms,)
        LPR of the atoms, by the title of the panel.
    explained, marks
        As for `lpr_map`.
    backgrounds : mapping of str to array_like of shape (n_points, 2), optional
        Places of the training atoms, by the title of the panel.
    limits : tuple of two floats, optional
        Ends of the colour scale in log₁₀ LPR. By default the range of all panels.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    places = np.asarray(coordinates, dtype=np.float64)
    logs = {title: log_rigidity(lpr) for title, lpr in panels.items()}
    shapes = _shapes(np.zeros(len(places), dtype="U1") if marks is None else np.asarray(marks))
    figure = Figure(figsize=(1.6 + 4.8 * len(logs), 4.8), dpi=200, layout="constrained")
    grid = figure.subplots(1, len(logs), sharex=True, sharey=True, squeeze=False)[0]
    scale: dict[str, Any] = dict(
        zip(("vmin", "vmax"), log_limits(*logs.values()) if limits is None else limits, strict=True)
    )
    for axes, (title, log) in zip(grid, logs.items(), strict=True):
        _draw_background(axes, (backgrounds or {}).get(title))
        colours = _draw(axes, places, log, shapes, scale)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(_label(1, explained))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="best", handletextpad=0.2)
    grid[0].set_ylabel(_label(2, explained))
    bar = figure.colorbar(colours, ax=list(grid), pad=0.02, fraction=0.06, aspect=28)
    bar.set_label("log₁₀ LPR (low: not pinned down by the training data)", fontsize=9)
    bar.outline.set_visible(False)
    return figure


def log_rigidity(lpr: ArrayLike) -> NDArray[np.float64]:
    """Return log₁₀ LPR; an infinite LPR gives inf."""
    with np.errstate(divide="ignore"):
        return np.log10(np.asarray(lpr, dtype=np.float64))


def log_limits(*logs: NDArray[np.float64]) -> tuple[float, float]:
    """Return the smallest and the largest finite value, or (0, 1) if there is none."""
    values = np.concatenate(logs)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _shapes(marks: NDArray[Any]) -> dict[str, tuple[str, NDArray[np.bool_]]]:
    """Return the shape of each kind and a mask of its atoms, by the name in the legend."""
    names = [str(name) for name in np.unique(marks) if name]
    unmarked = marks == ""
    shapes = {"other test atoms" if names else "test atoms": ("o", unmarked)} if unmarked.any() else {}
    return shapes | {name: (shape, marks == name) for name, shape in zip(names, "^sDvP"[: len(names)], strict=True)}


def _draw_background(axes: Axes, places: ArrayLike | None) -> None:
    if places is not None:
        x, y = np.asarray(places).T
        axes.scatter(x, y, s=7, c="0.82", linewidths=0, label="training atoms", rasterized=True)


def _draw(
    axes: Axes,
    places: NDArray[np.float64],
    log: NDArray[np.float64],
    shapes: dict[str, tuple[str, NDArray[np.bool_]]],
    scale: dict[str, Any],
) -> Any:
    """Draw the atoms of one panel, the least rigid on top; return the artist for the colour bar."""
    size = float(np.clip(12000 / len(log), 8, 30))
    colours = axes.scatter([], [], c=[], cmap=COLOUR_MAP, **scale)
    for name, (shape, chosen) in shapes.items():
        order = np.flatnonzero(chosen & np.isfinite(log))
        order = order[np.argsort(-log[order], kind="stable")]
        x, y = places[order].T
        style: dict[str, Any] = {"marker": shape, "s": size if shape == "o" else 1.7 * size, "edgecolors": "0.15"}
        style |= {"linewidths": 0.0 if shape == "o" else 0.4, "rasterized": True}
        axes.scatter(x, y, c=log[order], cmap=COLOUR_MAP, **scale, **style)
        axes.scatter([], [], c="0.55", label=name, **style)
    infinite = np.isposinf(log)
    if infinite.any():
        x, y = places[infinite].T
        axes.scatter(x, y, s=size, facecolors="none", edgecolors="0.4", linewidths=0.7, label="infinite LPR")
    return colours


def _label(axis: int, explained: Iterable[float] | None) -> str:
    share = "" if explained is None else f" ({list(explained)[axis - 1]:.0%} of the variance)"
    return f"principal component {axis}{share}"
