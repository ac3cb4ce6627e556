"""A report as text for the terminal, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.report.against import below_text, seen_text, training_row
from rigidities.report.content import PR_IS, Report
from rigidities.report.next_structures import TOP, ranking, ranking_table
from rigidities.report.prior_shares import share_lines
from rigidities.report.statistics import QUANTILES, by_class, describe, present_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian
    from rigidities.model.training_set import TrainingSet
    from rigidities.report.against import Against
    from rigidities.sources.source import Source


def fact_lines(facts: Mapping[str, str]) -> list[str]:
    """Return a line with name and text of each fact; long lines are wrapped."""
    return [
        line
        for name, fact in facts.items()
        for line in textwrap.wrap(f"{name:14}{fact}", 100, subsequent_indent=" " * 14)
    ]


def quantile_head(name: str, counted: str) -> str:
    """Return the head of a table of `QUANTILES`."""
    return f"{name:26}{counted:>7}" + "".join(f"{quantile:>9}" for quantile in QUANTILES)


def quantile_row(name: str, description: Mapping[str, float]) -> str:
    """Return a row of a table of `QUANTILES`, from the result of `statistics.describe`."""
    return f"{name:26.26}{description['n']:>7}" + "".join(f"{description[q]:>9.2g}" for q in QUANTILES)


TABLE_ROWS = 30
"""Most rows for a class on the terminal. The file summary.json has all."""


def size_text(source: Source) -> str:
    """Return the name of a source and how many structures and atoms it has."""
    return f"{source.name}: {_several(len(source.sizes), 'structure')}, {_several(int(source.sizes.sum()), 'atom')}"


def _several(n: int, what: str) -> str:
    return f"{n:,} {what}" + "s" * (n != 1)


def table(report: Report, top: int = TOP) -> str:
    """Return the report as text of at most 100 columns; `top` structures are in the ranking."""
    lpr, pr = report.rigidities.lpr, report.rigidities.pr
    compared = report.against
    lines = [
        *_caution(report),
        *_heading(report),
        "",
        quantile_head("LPR", "atoms"),
        quantile_row("all", describe(lpr)),
    ]
    lines += training_rows(compared, "lpr")
    for name, classes in report.classes.items():
        lines += [name, *_rows(by_class(lpr, classes))]
    lines += ["", quantile_head(f"PR {PR_IS[report.reduction]}", "number"), quantile_row("all", describe(pr))]
    lines += training_rows(compared, "pr")
    if report.kinds is not None:
        lines += _rows(by_class(pr, report.kinds))
    lines += ["", *below_text(compared), *seen_text(compared)]
    lines += _component_table("LCPR", report.body_orders, report.rigidities.lcpr)
    lines += _component_table("CPR", report.components, report.rigidities.cpr)
    lines += ["", *share_lines(report)]
    lines += ["", *ranking_table(ranking(compared), top), ""]
    return "\n".join([*lines, *_least_rigid(report)])


def _caution(report: Report) -> list[str]:
    """Return the first line where λ is not chosen by the data."""
    if not report.hessian.reason.is_guaranteed:
        return []
    return textwrap.wrap(
        f"λ is only the least that rounding allows{report.why}: where the data leave directions open, rigidities are "
        "rounding. Compare their order, not their size.",
        100,
    )


def _heading(report: Report) -> list[str]:
    hessian, test = report.hessian, report.test
    return fact_lines(
        {
            "training set": size_text(report.train),
            "test set": size_text(test),
            "features": test.describe().text,
            "regularizer": f"{hessian.regularizer:.3g} ({hessian.regularizer_reason})",
            "determined": determined(hessian, report.against.training),
        }
    )


def training_rows(compared: Against, what: Literal["lpr", "pr"]) -> list[str]:
    """Return a row of a table of quantiles for the training set, if its rigidities are known."""
    training = compared.training
    if training is None:
        return []
    if what == "lpr":
        return [quantile_row("training atoms", training_row(training.lpr, int(training.sizes.sum())))]
    return [quantile_row("training structures", training_row(training.pr, len(training.sizes)))]


def determined(hessian: Hessian, training: TrainingSet | None) -> str:
    """Return how many directions the data determine, of those that the training set has."""
    rank = None if training is None else training.rank
    p = hessian.n_features
    of = f"{p} directions" if rank is None else f"{rank} directions, the rank of C with {p} features"
    return f"{hessian.effective_dimension:.1f} of {of}; rcond {hessian.rcond:.1e}"


def _component_table(head: str, names: list[str], columns: NDArray[np.float64]) -> list[str]:
    """Return a table of components; a component that is absent has an infinite rigidity."""
    parts = present_components(names, columns)
    n = len(columns)
    absent = [f"{name} ({n - part['n']:,} of {n:,})" for name, part in parts.items() if part["n"] < n]
    rows = _rows({name: part for name, part in parts.items() if part["n"]})
    counted = textwrap.wrap(f"absent, and left out: {', '.join(absent)}", 100) if absent else []
    return ["", quantile_head(head, "number"), *rows, *counted] if parts else []


def _rows(descriptions: dict[str, dict[str, float]]) -> list[str]:
    rows = [quantile_row(f"  {name}", description) for name, description in descriptions.items()]
    rest = len(rows) - TABLE_ROWS
    return rows if rest <= 0 else [*rows[:TABLE_ROWS], f"  and {rest} more: see summary.json"]


def _least_rigid(report: Report) -> list[str]:
    chosen = report.least_rigid()
    columns: dict[str, Any] = {"structure": report.structures[chosen], "atom": report.atoms[chosen]}
    columns["LPR"] = np.array([f"{lpr:.2g}" for lpr in report.rigidities.lpr[chosen]])
    columns |= {name: classes[chosen] for name, classes in report.classes.items()}
    positions = report.positions(chosen)
    if positions is not None:
        columns |= {f"{axis} in Å": np.char.mod("%.2f", x) for axis, x in zip("xyz", positions.T, strict=True)}
    texts = [[name, *map(str, column)] for name, column in columns.items()]
    widths = [min(20, max(map(len, column))) for column in texts]
    cells = [[f"{text:>{width}.{width}}" for text in column] for column, width in zip(texts, widths, strict=True)]
    return ["least rigid atoms, counted from 0", *("  ".join(row) for row in zip(*cells, strict=True))]
