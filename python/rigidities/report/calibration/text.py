"""A calibration report as text of 80 columns where names allow it; wider tables go on below."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rigidities.report.calibration.content import Table, facts, tables
from rigidities.report.calibration.remarks import remarks

if TYPE_CHECKING:
    from rigidities.calibration.report import CalibrationNumbers

WIDTH = 80

INTERVAL = "95 %"
"""Head of a column of intervals."""


def report_text(numbers: CalibrationNumbers) -> str:
    """Return all facts, tables and remarks.

    Parameters
    ----------
    numbers : CalibrationNumbers

    Returns
    -------
    str
    """
    lines = ["Calibration report: residuals r beside their standard deviations σ", ""]
    for name, fact in facts(numbers).items():
        lines += textwrap.wrap(f"{name:16}{fact}", WIDTH, subsequent_indent=" " * 16)
    for table in tables(numbers):
        lines += ["", *_table_lines(table)]
    found = remarks(numbers)
    lines += ["", "Where these numbers say little"] if found else []
    for remark in found:
        lines += textwrap.wrap(remark, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def _table_lines(table: Table) -> list[str]:
    lines = [table.title, *textwrap.wrap(table.explanation, WIDTH)]
    cells = [table.head, *table.rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(table.head))]
    for number, columns in enumerate(_parts(table.head, widths)):
        lines += [""] * (number > 0)
        for row in cells:
            rest = [f"{row[k]:>{widths[k]}}" for k in columns]
            lines.append("  ".join([f"  {row[0]:<{widths[0]}}", *rest]).rstrip())
    return lines


def _parts(head: tuple[str, ...], widths: list[int]) -> list[list[int]]:
    """Return the columns of each part of a table, as many as fit beside the first column.

    An interval stays with the number before it.
    """
    parts: list[list[int]] = [[]]
    for column in range(1, len(head)):
        if head[column] == INTERVAL:
            continue
        with_interval = head[column + 1 : column + 2] == (INTERVAL,)
        own = [column, column + 1] if with_interval else [column]
        if parts[-1] and sum(widths[k] + 2 for k in [0, *parts[-1], *own]) > WIDTH:
            parts.append([])
        parts[-1] += own
    return parts
