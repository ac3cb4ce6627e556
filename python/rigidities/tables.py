"""Lines of tables for the terminal, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from rigidities.report import QUANTILES


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
