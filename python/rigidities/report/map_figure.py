"""The map of a report: its groups, its sizes and λ, and the training atoms' own rigidities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigidities.report.atom_map import MAP_ATOMS
from rigidities.report.maps import lpr_map

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rigidities.report.atom_map import AtomMap
    from rigidities.report.content import Report
    from rigidities.sources.source import Source


def map_figure(report: Report, atom_map: AtomMap) -> Figure:
    """Draw the map of a report.

    Parameters
    ----------
    report : Report
        With the places of its atoms.
    atom_map : AtomMap

    Returns
    -------
    matplotlib.figure.Figure
    """
    test, train = _size(report.test, " test"), _size(report.train)
    return lpr_map(
        report.rigidities.coordinates,
        report.rigidities.lpr,
        explained=atom_map.explained,
        background=atom_map.background,
        marks=report.classes.get("group"),
        title=f"{test}\ntrained on {train}, λ = {report.hessian.regularizer:.3g}",
        training=training_rigidities(report),
    )


def training_rigidities(report: Report) -> NDArray[np.float64]:
    """Return the LPR of a sample of at most `MAP_ATOMS` training atoms, of shape (n_atoms,)."""
    return report.hessian.rigidity(report.train.sample(MAP_ATOMS))


def _size(source: Source, kind: str = "") -> str:
    return f"{len(source.sizes):,}{kind} structures, {int(source.sizes.sum()):,} atoms"
