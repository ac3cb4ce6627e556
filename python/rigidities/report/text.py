"""Lines of tables for the terminal, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from rigidities.report.content import PR_IS, Report
from rigidities.report.statistics import QUANTILES, by_class, describe
from rigidities.sources.atoms import Structures
from rigidities.sources.read import Source


def fact_lines(facts: Mapping[str, str]) -> list[str]:
    """Return a line for each fact after its name, wrapped where it is long."""
    return [
        line
        for name, fact in facts.items()
        for line in textwrap.wrap(f"{name:14}{fact}", 100, subsequent_indent=" " * 14)
    ]


def quantile_head(name: str, counted: str) -> str:
    """Return the head of columns of `QUANTILES`."""
    return f"{name:26}{counted:>7}" + "".join(f"{quantile:>9}" for quantile in QUANTILES)


def quantile_row(name: str, description: Mapping[str, float]) -> str:
    """Return a row of them, from what `report.describe` gives."""
    return f"{name:26.26}{description['n']:>7}" + "".join(f"{description[q]:>9.2g}" for q in QUANTILES)


TABLE_ROWS = 30
"""Labels of a class that the terminal shows; summary.json has them all."""


def table(report: Report) -> str:
    """Return the report as text of at most 100 columns."""
    scores = report.scores
    lines = [*_heading(report), "", quantile_head("LPR", "atoms"), quantile_row("all", describe(scores.lpr))]
    for name, labels in report.classes.items():
        lines += [name, *_rows(by_class(scores.lpr, labels))]
    lines += ["", quantile_head(f"PR {PR_IS[report.reduction]}", "number"), quantile_row("all", describe(scores.pr))]
    if report.kinds is not None:
        lines += _rows(by_class(scores.pr, report.kinds))
    for head, names, columns in (("LCPR", report.body_orders, scores.lcpr), ("CPR", report.components, scores.cpr)):
        parts = {name: describe(column) for name, column in zip(names, columns.T, strict=True)}
        lines += ["", quantile_head(head, "number"), *_rows(parts)] if parts else []
    return "\n".join([*lines, "", *_least_rigid(report)])


def _heading(report: Report) -> list[str]:
    hessian, test = report.hessian, report.test
    facts = {
        "training set": _size(report.train),
        "test set": _size(test),
        "features": f"{test.n_features} as given",
        "regularizer": f"{hessian.regularizer:.3g} ({hessian.regularizer_reason})",
        "determined": f"{hessian.effective_dimension:.1f} of {test.n_features} directions; rcond {hessian.rcond:.1e}",
    }
    if isinstance(test, Structures):
        orders = ", ".join(map(str, test.soap.body_orders))
        facts["features"] = f"{test.n_features} of SOAP: cutoff {test.soap.cutoff:g} Å, body orders {orders}"
    return fact_lines(facts)


def _size(source: Source) -> str:
    return f"{source.name}: {len(source.sizes):,} structures, {source.sizes.sum():,} atoms"


def _rows(descriptions: dict[str, dict[str, float]]) -> list[str]:
    rows = [quantile_row(f"  {name}", description) for name, description in descriptions.items()]
    rest = len(rows) - TABLE_ROWS
    return rows if rest <= 0 else [*rows[:TABLE_ROWS], f"  and {rest} more: see summary.json"]


def _least_rigid(report: Report) -> list[str]:
    """Return where the ten least rigid atoms are."""
    chosen = report.least_rigid()
    columns: dict[str, Any] = {"structure": report.structures[chosen], "atom": report.atoms[chosen]}
    columns["LPR"] = np.array([f"{lpr:.2g}" for lpr in report.scores.lpr[chosen]])
    columns |= {name: labels[chosen] for name, labels in report.classes.items()}
    if isinstance(report.test, Structures):
        places = zip(columns["structure"], columns["atom"], strict=True)
        positions = np.array([report.test.frames[structure].positions[atom] for structure, atom in places])
        columns |= {f"{axis} in Å": np.char.mod("%.2f", x) for axis, x in zip("xyz", positions.T, strict=True)}
    texts = [[name, *map(str, column)] for name, column in columns.items()]
    widths = [min(20, max(map(len, column))) for column in texts]
    cells = [[f"{text:>{width}.{width}}" for text in column] for column, width in zip(texts, widths, strict=True)]
    return ["least rigid atoms, counted from 0", *("  ".join(row) for row in zip(*cells, strict=True))]
