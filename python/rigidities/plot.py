"""Pictures of rigidities: a map of atoms coloured by LPR, and the same for the chemiscope viewer.

What enters: two sets of rows, or coordinates and rigidities as arrays. What leaves: the map's axes, matplotlib figures
(made without pyplot's global state, so scripts and threads can use them), a file for https://chemiscope.org; and, by
`write`, all files of a report. Criteria for λ are drawn by `regularizer_curves`.

Such a map is figure 2 of the LPR paper, J. Chem. Theory Comput. 19 (2023) 8020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.curves import regularizer_curves as regularizer_curves
from rigidities.report import PR_IS, Report, write_npz, write_summary, write_xyz
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.read import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

MAP_ATOMS = 3000
"""Atoms of each set that the axes are fitted to, evenly spread: 11 MB of power spectrum for one species."""

COLOUR_MAP = "plasma"
"""Dark: not rigid. Even in lightness from end to end, also in print and to colour-blind eyes."""


@dataclass(frozen=True, eq=False)
class AtomMap:
    """A plane through the atoms' feature space, along their two principal components.

    Attributes
    ----------
    centre : ndarray of shape (n_features,)
    axes : ndarray of shape (n_features, 2)
    explained : ndarray of shape (2,)
        Share of the variance along each axis.
    background : ndarray of shape (n_points, 2)
        Where (some of) the training atoms are.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    explained: NDArray[np.float64]
    background: NDArray[np.float64]

    def project(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the coordinates of rows, (n_rows, 2)."""
        return np.asarray((values - self.centre) @ self.axes)


def fit_map(train: Source, test: Source) -> AtomMap:
    """Fit a map to the atoms of a training and a test set together, `MAP_ATOMS` of each at most.

    Parameters
    ----------
    train, test : Structures or Features

    Returns
    -------
    AtomMap
        With the training atoms it was fitted to as its background.
    """
    known = train.sample(MAP_ATOMS)
    rows = np.concatenate([known, test.sample(MAP_ATOMS)])
    centre = rows.mean(axis=0)
    rows -= centre
    axes, explained = principal_axes(rows)
    return AtomMap(centre, axes, explained, rows[: len(known)] @ axes)


def principal_axes(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal axes of centred rows, (p, 2), and their shares of the variance, (2,).

    The cost is that of the smaller of the matrices RᵀR and RRᵀ. Where the rows span less than a plane, axes are zero.
    """
    n, p = rows.shape
    values, vectors = np.linalg.eigh(rows.T @ rows if p <= n else rows @ rows.T)
    leading = vectors[:, :-3:-1] if p <= n else rows.T @ vectors[:, :-3:-1]
    axes, shares = np.zeros((p, 2)), np.zeros(2)
    total = float((rows**2).sum())
    for i, axis in enumerate(leading.T):
        if values[-1 - i] > len(values) * np.finfo(np.float64).eps * total:
            # An eigenvector's sign is arbitrary: the largest entry is made positive, so that reruns look alike.
            axes[:, i] = axis / np.linalg.norm(axis) * np.sign(axis[np.abs(axis).argmax()])
            shares[i] = values[-1 - i] / total
    return axes, shares


# Figures ----------------------------------------------------------------------------------------------------


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
        `Scores.coordinates`, or of any other map.
    lpr : array_like of shape (n_atoms,)
        Infinite ones (rows of zeros) are drawn hollow.
    explained : iterable of two floats, optional
        Share of the variance along each axis, for their labels.
    background : array_like of shape (n_points, 2), optional
        Where the training atoms are: drawn in grey.
    marks : array_like of str of shape (n_atoms,), optional
        Kinds of atoms to tell apart by shape, at most five; those of an empty string are dots.
    title : str

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
    """Draw one `lpr_map` beside the other, of the same atoms, on one colour scale.

    Parameters
    ----------
    coordinates : array_like of shape (n_atoms, 2)
    panels : mapping of str to array_like of shape (n_atoms,)
        LPR by the title of its panel.
    explained, marks
        As for `lpr_map`.
    backgrounds : mapping of str to array_like of shape (n_points, 2), optional
        Where the training atoms are, by title.
    limits : tuple of two floats, optional
        Ends of the colour scale, in log₁₀ LPR; those of all panels by default.

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
    """Return log₁₀ LPR, inf for infinite ones."""
    with np.errstate(divide="ignore"):
        return np.log10(np.asarray(lpr, dtype=np.float64))


def log_limits(*logs: NDArray[np.float64]) -> tuple[float, float]:
    """Return the least and the largest finite value, (0, 1) if there is none."""
    values = np.concatenate(logs)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _shapes(marks: NDArray[Any]) -> dict[str, tuple[str, NDArray[np.bool_]]]:
    """Return, by its name in the legend, the shape of each kind of atoms and which they are."""
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
    """Draw the atoms of one panel, the least rigid on top; return what the colour bar needs."""
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


# The viewer -------------------------------------------------------------------------------------------------


def write_viewer(report: Report, path: Path) -> None:
    """Write the test structures for https://chemiscope.org: atoms on the map, in space, coloured by log₁₀ LPR.

    JSON has no infinity: an infinite rigidity stands as the largest finite one, and the descriptions say so.

    Parameters
    ----------
    report : Report
        Of structures, made with a map.
    path : Path
        Ending in ``.json`` or ``.json.gz``.
    """
    import chemiscope

    test = report.test
    assert isinstance(test, Structures)
    places = zip(report.structures.tolist(), report.atoms.tolist(), strict=True)
    chemiscope.write_input(
        str(path),
        structures=test.frames,
        properties=_properties(report),
        environments=[(structure, atom, test.soap.cutoff) for structure, atom in places],
        metadata={"name": "rigidities", "description": _description(report)},
        settings=chemiscope.quick_settings(
            x="PC1", y="PC2", map_color="log10 LPR", structure_color="log10 LPR", target="atom",
            structure_settings={"unitCell": True},
        ),
    )  # fmt: skip


def _properties(report: Report) -> dict[str, dict[str, Any]]:
    scores = report.scores
    atoms = {
        "PC1": (scores.coordinates[:, 0], "first principal component of the features of training and test atoms"),
        "PC2": (scores.coordinates[:, 1], "second principal component of the features of training and test atoms"),
        "log10 LPR": (_capped(scores.lpr), "local prediction rigidity; an infinite one as the largest finite one"),
    }
    atoms |= {name: (labels, f"{name} of the atom") for name, labels in report.classes.items()}
    text = f"prediction rigidity {PR_IS[report.reduction]}; an infinite one as the largest finite one"
    structures = {"log10 PR": (_capped(scores.pr), text)}
    targets = ("atom", atoms), ("structure", structures)
    return {
        name: {"target": target, "values": values.tolist(), "description": description}
        for target, properties in targets
        for name, (values, description) in properties.items()
    }


def _capped(rigidity: NDArray[np.float64]) -> NDArray[np.float64]:
    log = log_rigidity(rigidity)
    return np.clip(log, *log_limits(log))


def _description(report: Report) -> str:
    return (
        f"How far the training data ({report.train.name}) pin down the predictions for {report.test.name}, "
        f"at regularizer {report.hessian.regularizer:.3g} ({report.hessian.regularizer_reason}). "
        f"PR is {PR_IS[report.reduction]}."
    )


# All files of a report --------------------------------------------------------------------------------------


def write(report: Report, atom_map: AtomMap, directory: Path) -> list[str]:
    """Write the files of a report; return their names."""
    figure = lpr_map(
        report.scores.coordinates, report.scores.lpr, explained=atom_map.explained, background=atom_map.background
    )
    names = ["summary.json", "lpr_map.png"]
    write_summary(report, directory / "summary.json")
    figure.savefig(directory / "lpr_map.png")
    if isinstance(report.test, Features):
        write_npz(report, directory / "rigidities.npz")
        return ["rigidities.npz", *names]
    write_xyz(report, directory / "rigidities.xyz")
    write_viewer(report, directory / "viewer.json.gz")
    return ["rigidities.xyz", *names, "viewer.json.gz"]
