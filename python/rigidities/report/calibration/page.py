"""A calibration report as one page of HTML: no script, no link, its figures inside.

All text that comes from the caller (units, labels of classes and blocks, provenance) is escaped.
"""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from rigidities.report.calibration.content import Table, facts, tables
from rigidities.report.calibration.figures import report_figures
from rigidities.report.calibration.remarks import remarks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.figure import Figure

    from rigidities.calibration.report import CalibrationNumbers

STYLE = """
:root { color-scheme: light dark;
  --text: #222; --page: #fff; --line: #ddd; --head: #888; --note: #f3f7fa; --shade: #0003; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --page: #17191c; --line: #3a3d42; --head: #888; --note: #1f2730; --shade: #fff3; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--text); background: var(--page); }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
h3 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.87rem; }
div.wide { overflow-x: auto; background:
  linear-gradient(to right, transparent, var(--page) 60%) 100% 0 / 3rem 100% no-repeat local,
  linear-gradient(to right, transparent, var(--shade)) 100% 0 / 1rem 100% no-repeat scroll; }
th, td { padding: 0.15rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { border-bottom: 2px solid var(--head); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
table.facts th, table.facts td { text-align: left; vertical-align: top; white-space: normal;
  border-bottom: 1px solid var(--line); }
figure { display: inline-block; margin: 0.5rem; max-width: 28rem; vertical-align: top; }
img { width: 100%; background: #fff; border-radius: 4px; }
ul.remarks { border-left: 4px solid #0072b2; padding: 0.5rem 0.5rem 0.5rem 1.8rem; background: var(--note); }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 0.7rem; } figure { margin: 0.5rem 0; max-width: 100%; }
  table { font-size: 0.78rem; } th, td { padding: 0.15rem 0.3rem; white-space: normal; vertical-align: top; }
}
""".strip()
"""Light or dark as the reader's system asks; figures stay on white. On a phone, cells break into
lines. A table that is still too wide has a shade at its right edge until it is moved there; its
first column stays in view."""

GENERATOR = '<meta name="generator" content="rigidities">'
"""By which a command knows that it wrote a page."""

CAPTIONS = {
    "reliability": "RMSE against RMS σ in bins of σ, with 95 % intervals.",
    "errors": "Residuals against σ. The lines hold the given shares of Gaussian errors.",
    "coverage": "Share of targets inside ±kσ against the share of a Gaussian.",
    "retention": "RMSE of the targets that remain as those of the largest σ are left out.",
}


def report_page(numbers: CalibrationNumbers, title: str) -> str:
    """Return the page.

    Parameters
    ----------
    numbers : CalibrationNumbers
    title : str

    Returns
    -------
    str
        In UTF-8, as the page says itself.
    """
    return _document(title, _sections(numbers, 2))


def reports_page(reports: Mapping[str, CalibrationNumbers], title: str) -> str:
    """Return several reports, by the name of what was predicted, as one page."""
    parts: list[str] = []
    for name, numbers in reports.items():
        parts += [_heading(name.capitalize(), 2), *_sections(numbers, 3)]
    return _document(title, parts)


def _document(title: str, parts: Iterable[str]) -> str:
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        GENERATOR,
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>",
        f"<h1>{escape(title)}</h1>",
        *parts,
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


def _sections(numbers: CalibrationNumbers, level: int) -> list[str]:
    """Return a report whose headings are of this level."""
    first, *others = tables(numbers)
    return [
        '<table class="facts">',
        *(f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts(numbers).items()),
        "</table>",
        _table(first, level),
        *_remarks(remarks(numbers), level),
        _heading("Figures", level),
        *(_figure(name, figure) for name, figure in report_figures(numbers).items()),
        *(_table(table, level) for table in others),
    ]


def _heading(text: str, level: int) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def _remarks(found: list[str], level: int) -> list[str]:
    if not found:
        return []
    items = [f"<li>{escape(remark)}</li>" for remark in found]
    return [_heading("Where these numbers say little", level), '<ul class="remarks">', *items, "</ul>"]


def _table(table: Table, level: int) -> str:
    explanation = f"<p>{escape(table.explanation)}</p>" if table.explanation else ""
    return f"{_heading(table.title, level)}\n{explanation}\n{_rows(table.head, table.rows)}"


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{_cell(text)}</th>" for text in head)]
    lines += ["".join(f"<td>{_cell(text)}</td>" for text in row) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n{body}\n</table></div>'


def _cell(text: str) -> str:
    """Return text that breaks into lines, but not before %."""
    return escape(text).replace(" %", "&nbsp;%")


def _figure(name: str, figure: Figure) -> str:
    caption = CAPTIONS.get(name, f"Mean (r/σ)² {name}, with 95 % intervals.")
    file = BytesIO()
    figure.savefig(file, format="png", dpi=150)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
