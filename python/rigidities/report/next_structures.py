"""What to compute next: structures by their PR, as a table, CSV, JSON and extended XYZ."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.model.prediction import PREDICTED
from rigidities.runtime.writing import write_text
from rigidities.structures.extxyz import write_annotated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms

    from rigidities.report.against import Against

TOP = 10
"""Structures in the table and in the file of structures, unless the caller says otherwise."""


@dataclass(frozen=True)
class Ranked:
    """A structure in its place.

    Attributes
    ----------
    rank : int
        1 is the structure to compute first.
    structure : int
        Its label.
    n_atoms : int
    pr : float
    equivalent_structures : float or None
        PR/w, in training structures.
    std : float or None
        σ of the energy per atom, in meV.
    least_lpr : float
        LPR of the least rigid atom.
    atom : int
        That atom, counted from 0.
    kind : str or None
    training_structure : int or None
        The training structure that is the same; None for a new structure.
    """

    rank: int
    structure: int | str
    n_atoms: int
    pr: float
    equivalent_structures: float | None
    std: float | None
    least_lpr: float
    atom: int
    kind: str | None
    training_structure: int | None


def ranking(compared: Against) -> list[Ranked]:
    """Return all structures, the one of least PR first.

    σ of an energy per atom falls with PR, so structures of one kind are in the order of σ as well,
    the largest first.
    """
    return [_ranked(compared, rank, index) for rank, index in enumerate(compared.order.tolist(), 1)]


def _ranked(compared: Against, rank: int, index: int) -> Ranked:
    seen = int(compared.seen[index])
    return Ranked(
        rank,
        _name(compared.labels[index]),
        int(compared.sizes[index]),
        float(compared.pr[index]),
        None if compared.equivalents is None else float(compared.equivalents[index]),
        None if compared.std is None else float(compared.std[index]),
        float(compared.least_lpr[index]),
        int(compared.atom[index]),
        None if compared.kinds is None else str(compared.kinds[index]),
        None if seen < 0 else seen,
    )


def _name(label: Any) -> int | str:
    return int(label) if isinstance(label, int | np.integer) else str(label)


def ranking_table(ranked: Sequence[Ranked], top: int = TOP) -> list[str]:
    """Return the first structures as lines of at most 100 columns."""
    heads = ("structure", "atoms", "PR", "PR/weight", "σ, meV/atom", "least LPR", "of atom", "kind", "in training")
    columns = [
        [name, *(_cell(getattr(entry, field), name) for entry in ranked[:top])]
        for name, field in zip(heads, list(Ranked.__dataclass_fields__)[1:], strict=True)
        if any(getattr(entry, field) is not None for entry in ranked[:top])
    ]
    widths = [min(20, max(map(len, column))) for column in columns]
    rows = zip(*columns, strict=True)
    lines = ["  ".join(f"{cell:>{width}.{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    shown = counted([entry.structure for entry in ranked])
    return [f"compute next: structures of least PR (in a kind, of largest σ), {shown}", *lines]


def counted(labels: Sequence[int | str]) -> str:
    """Say what all labels of a set of structures are: their places, or names of the user's own."""
    return "counted from 0" if set(labels) == set(range(len(labels))) else "by their labels"


def _cell(value: Any, head: str) -> str:
    if value is None:
        return "new" if head == "in training" else "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def ranking_summary(ranked: Sequence[Ranked], top: int = TOP) -> list[dict[str, Any]]:
    """Return the first structures as values of JSON."""
    return [asdict(entry) for entry in ranked[:top]]


def write_csv(ranked: Sequence[Ranked], path: Path) -> None:
    """Write all structures as CSV: a line of names, a line for each; empty where unknown."""
    text = StringIO()
    writer = csv.DictWriter(text, list(Ranked.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in ranked)
    write_text(path, text.getvalue())


def write_next(ranked: Sequence[Ranked], frames: Sequence[Atoms], path: Path, top: int = TOP) -> None:
    """Write the first structures as extended XYZ, with info ``rank``, ``structure`` and ``pr``.

    Predictions of an earlier output are left out.
    """
    chosen = ranked[:top]
    info = {name: np.array([getattr(entry, name) for entry in chosen]) for name in ("rank", "structure", "pr")}
    write_annotated([frames[int(entry.structure)] for entry in chosen], path, info, {}, PREDICTED)
