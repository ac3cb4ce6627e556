"""A calibration report as text, at most 100 columns wide where names allow it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rigidities.report.calibration.content import Table, facts, tables
from rigidities.report.calibration.remarks import remarks

if TYPE_CHECKING:
    from rigidities.calibration.report import CalibrationNumbers

WIDTH = 100


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
    lines += ["", "Where these numbers say little"]
    for remark in remarks(numbers):
        lines += textwrap.wrap(remark, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def _table_lines(table: Table) -> list[str]:
    cells = [table.head, *table.rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(table.head))]
    lines = [table.title, *textwrap.wrap(table.explanation, WIDTH)]
    for row in cells:
        first, *rest = (
            f"{text:<{width}}" if k == 0 else f"{text:>{width}}"
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([f"  {first}", *rest]).rstrip())
    return lines
