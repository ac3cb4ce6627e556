"""A selection as text, CSV, JSON, extended XYZ and a figure."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.report.files import versions_of, write_figure, write_json
from rigidities.report.next_structures import counted
from rigidities.report.palette import BLUE, open_frame
from rigidities.report.text import fact_lines, size_text
from rigidities.runtime.writing import write_text
from rigidities.structures.extxyz import write_annotated

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rigidities.planning.selection import Objective, Selection
    from rigidities.sources.source import Source

MEANINGS = {
    "determinant": "ln|H|: what all data say about the model, in nats",
    "target_rigidity": "mean rigidity R of the targets",
    "target_variance": "mean variance v = 1/R of the targets",
    "variance": "sum of the variances of the picks, before any pick",
}
"""What the objective is, by its name."""

LOG_FROM = 5
"""Least ratio of its ends at which a curve is drawn on a logarithmic axis.

Over less of a decade such an axis has labels like 1.575·10⁻⁵.
"""

SHOWN = 30
"""Most picks in the table on the terminal. The files have all."""


def costs_of(pool: Source, unit: str) -> NDArray[np.float64]:
    """Return the cost of each structure: its number of atoms with unit "atoms", else one."""
    return pool.sizes.astype(np.float64) if unit == "atoms" else np.ones(len(pool.sizes))


@dataclass(frozen=True, eq=False)
class Picked:
    """A selection among the structures of a source.

    Attributes
    ----------
    selection : Selection
    pool : Source
    targets : Source or None
    objective : str
    n_seen : int
        Candidates that the training set has, which were left out.
    costs : ndarray of shape (n_candidates,)
        In structures, or in atoms.
    unit : str
        "structures" or "atoms".
    """

    selection: Selection
    pool: Source
    targets: Source | None
    objective: Objective
    n_seen: int
    costs: NDArray[np.float64]
    unit: str

    @classmethod
    def of(
        cls,
        selection: Selection,
        pool: Source,
        targets: Source | None,
        objective: Objective,
        n_seen: int,
        unit: str,
    ) -> Picked:
        """Return a selection with the sizes of its structures."""
        return cls(selection, pool, targets, objective, n_seen, costs_of(pool, unit), unit)

    def rows(self) -> list[dict[str, Any]]:
        """Return the picks in their order, as values of a table."""
        found, kinds = self.selection, self.pool.kinds()
        names = self.pool.labels().labels
        return [
            {
                "rank": rank,
                "structure": names[index].item() if isinstance(names[index], np.generic) else names[index],
                "n_atoms": int(self.pool.sizes[index]),
                "kind": None if kinds is None else str(kinds[index]),
                "gain": float(gain),
                "objective": float(after),
            }
            for rank, (index, gain, after) in enumerate(
                zip(found.indices.tolist(), found.gains, found.objective_curve[1:], strict=True), 1
            )
        ]

    def lines(self) -> list[str]:
        """Return the selection as lines of at most 100 columns."""
        curve, indices = self.selection.objective_curve, self.selection.indices
        facts = {"candidates": size_text(self.pool)}
        if self.n_seen:
            facts["left out"] = f"{self.n_seen} that are in the training set of the model"
        if self.targets is not None:
            facts["targets"] = size_text(self.targets)
        facts["objective"] = MEANINGS[self.objective]
        if self.objective != "variance":
            facts["changes"] = f"from {curve[0]:.4g} to {curve[-1]:.4g} with {len(indices)} picks"
        facts["cost"] = f"{self.costs[indices].sum():,.0f} {self.unit}"
        rows = self.rows()
        head = f"{'rank':>5} {'structure':>20} {'atoms':>7} {'kind':>20} {'gain':>11} {'objective':>12}"
        table = [
            f"{row['rank']:>5} {row['structure']!s:>20.20} {row['n_atoms']:>7} {row['kind'] or '-':>20.20} "
            f"{row['gain']:>11.4g} {row['objective']:>12.6g}"
            for row in rows[:SHOWN]
        ]
        more = [f"… and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
        title = f"compute next, in this order; structures are {counted(self.pool.labels().labels.tolist())}"
        return [*fact_lines(facts), "", title, head, *table, *more]

    def write(self, place: Path) -> None:
        """Write the picks, their table, all numbers and the figure, beside one another."""
        rows = self.rows()
        if self.pool.frames is not None:
            info = {name: np.array([row[name] for row in rows]) for name in ("rank", "structure", "gain")}
            write_annotated([self.pool.frames[index] for index in self.selection.indices.tolist()], place, info, {})
        text = StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(place.with_suffix(".csv"), text.getvalue())
        write_json(self.content(), place.with_suffix(".json"))
        write_figure(self.figure(), place.with_suffix(".png"))

    def content(self) -> dict[str, Any]:
        """Return all numbers as values of JSON."""
        sources = [self.pool] if self.targets is None else [self.pool, self.targets]
        return {
            "versions": versions_of(*sources),
            "candidates": self.pool.name,
            "targets": None if self.targets is None else self.targets.name,
            "in_training_set": self.n_seen,
            "objective": self.objective,
            "objective_is": MEANINGS[self.objective],
            "before": float(self.selection.objective_curve[0]),
            "interrupted": self.selection.interrupted,
            "picks": self.rows(),
        }

    def figure(self) -> Figure:
        """Draw the objective against the cost of the picks."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.8, 3.4), dpi=200, layout="constrained")
        axes = figure.subplots()
        spent = np.concatenate([[0.0], np.cumsum(self.costs[self.selection.indices])])
        axes.plot(spent, self.selection.objective_curve, "o-", color=BLUE, markersize=3)
        ends = np.abs(self.selection.objective_curve)
        if self.objective.startswith("target") and ends.max() > LOG_FROM * ends.min():
            axes.set_yscale("log")
        axes.set_xlabel(f"picked {self.unit}")
        axes.set_ylabel(MEANINGS[self.objective].partition(":")[0])
        open_frame(axes)
        return figure
