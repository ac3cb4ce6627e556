"""The map of a report: its groups, its sizes and λ, and the training atoms' own rigidities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigidities.report.maps import lpr_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    training = report.against.training
    test, train = _size(report.test, " test"), _size(report.train)
    return lpr_map(
        report.rigidities.coordinates,
        report.rigidities.lpr,
        explained=atom_map.explained,
        background=atom_map.background,
        marks=report.classes.get("group"),
        title=f"{test}\ntrained on {train}, λ = {report.hessian.regularizer:.3g}",
        training=training.lpr if training is not None else None,
    )


def _size(source: Source, kind: str = "") -> str:
    return f"{len(source.sizes):,}{kind} structures, {int(source.sizes.sum()):,} atoms"
