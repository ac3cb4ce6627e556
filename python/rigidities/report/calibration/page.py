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
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.87rem; }
div.wide { overflow-x: auto; }
th, td { padding: 0.15rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { border-bottom: 2px solid #888; }
table.facts th, table.facts td { text-align: left; white-space: normal; border-bottom: 1px solid #ddd; }
figure { display: inline-block; margin: 0.5rem; max-width: 28rem; } img { width: 100%; }
ul.remarks { border-left: 4px solid #0072b2; padding: 0.5rem 0.5rem 0.5rem 1.8rem; background: #f3f7fa; }
""".strip()

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
    return _document(title, _sections(numbers))


def reports_page(reports: Mapping[str, CalibrationNumbers], title: str) -> str:
    """Return several reports, by the name of what was predicted, as one page."""
    parts: list[str] = []
    for name, numbers in reports.items():
        parts += [f"<h1>{escape(name)}</h1>", *_sections(numbers)]
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


def _sections(numbers: CalibrationNumbers) -> list[str]:
    first, *others = tables(numbers)
    return [
        '<table class="facts">',
        *(f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts(numbers).items()),
        "</table>",
        _table(first),
        "<h2>Where these numbers say little</h2>",
        '<ul class="remarks">',
        *(f"<li>{escape(remark)}</li>" for remark in remarks(numbers)),
        "</ul>",
        "<h2>Figures</h2>",
        *(_figure(name, figure) for name, figure in report_figures(numbers).items()),
        *(_table(table) for table in others),
    ]


def _table(table: Table) -> str:
    explanation = f"<p>{escape(table.explanation)}</p>" if table.explanation else ""
    return f"<h2>{escape(table.title)}</h2>\n{explanation}\n{_rows(table.head, table.rows)}"


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{escape(text)}</th>" for text in head)]
    lines += ["".join(f"<td>{escape(text)}</td>" for text in row) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n{body}\n</table></div>'


def _figure(name: str, figure: Figure) -> str:
    caption = CAPTIONS.get(name, f"Mean (r/σ)² {name}, with 95 % intervals.")
    file = BytesIO()
    figure.savefig(file, format="png", dpi=150)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
