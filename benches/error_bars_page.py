"""The tables of docs/error-bars.md, from the figures of benches/error_bars.py.

    python benches/error_bars_page.py [--check]

As benches/table.py: what stands between the marks is replaced; with --check nothing is written, and
the exit status is 1 if the page does not say what the figures say. `error_bars_figure.py` draws.
"""

import re

import pages
import records
import table
from error_bars_judged import FEWEST, worst_bin, worst_kind

PAGE = table.ROOT / "docs" / "error-bars.md"
RESULTS = records.RESULTS / "error_bars" / "mlearn.json"

KINDS = {"AIMD-NVT": "dynamics", "Elastic": "strained", "Surface": "slabs", "Vacancy": "vacancies"}
"""Kinds of the sets in the words of the page."""

COVERAGES = {"68": 0.68, "95": 0.95}

TITLES = {
    ("energies alone", "energy"): "energy, fitted alone",
    ("energies and forces", "energy"): "energy, with forces",
    ("energies and forces", "forces"): "forces",
}

SUMMARY = {
    ("left out", '"nll"'): 'Gaussian, `"nll"`',
    ("left out", '"nll" by kind'): 'Gaussian, `"nll"` by kind',
    ("left out", "conformal"): "conformal",
    ("left out", "conformal by kind"): "conformal by kind",
    ("left out", "adaptive"): "adaptive",
    ("left out", "adaptive by kind"): "adaptive by kind",
    ("left out", "one width for all"): "one width for all",
    ("held out", "conformal"): "conformal, held out",
    ("held out", "misspecification, conformal"): "misspecification, conformal, held out",
    ("held out", "sandwich, conformal"): "sandwich, conformal, held out",
    ("none", "misspecification"): "misspecification as it is",
    ("none", "sandwich, HC3"): "sandwich HC3 as it is",
    ("none", "box of misspecification"): "box of misspecification",
}
"""Rows of the short tables: methods and their names there."""

SOURCES = {"left out": "left out", "held out": "held out", "none": "–"}


def number(x):
    """meV per atom or meV/Å, three digits; ∞ where a half-width is unbounded."""
    return "∞" if x is None else table.number(1000 * x)


def percent(x):
    return f"{100 * x:.0f}"


def limits(one):
    """Share in percent, with its limits."""
    return f"{percent(one['held'])} ({percent(one['low'])} to {percent(one['high'])})"


def method(record, setting, source, name):
    """Figures of a method at both coverages; None if it was not measured for this target."""
    return record.get(setting, {}).get(source, {"methods": {}})["methods"].get(name)


def quantities(content, model):
    """(title, record) of each element, loss and target of a model."""
    for record in content["records"]:
        if record["model"] == model:
            yield f"{record['element']}: {TITLES[record['loss'], record['target']]}", record


def rows_of(content, model, setting, cell, without=None):
    """A row for each method of `SUMMARY`, but those with this in their name, and a column for each quantity."""
    columns = dict(quantities(content, model))
    found = []
    for (source, name), title in SUMMARY.items():
        figures = [method(record, setting, source, name) for record in columns.values()]
        if any(figures) and not (without and without in name):
            cells = [
                cell(one, record[setting][source]) if one else "–"
                for one, record in zip(figures, columns.values(), strict=True)
            ]
            found.append([title, *cells])
    return table.table(["error bars", *columns], found, 1)


def held(one, _):
    """Shares at both coverages, and the interval score at 95 %."""
    return f"{percent(one['68']['held'])} / {percent(one['95']['held'])} ({number(one['95']['score'])})"


def of_worst(one, source):
    """Worst kinds at both coverages."""
    shares = []
    for name, coverage in COVERAGES.items():
        kind, share = worst_kind(one[name], source["kinds"], coverage)
        shares.append(f"{KINDS.get(kind, kind)} {percent(share)}")
    return " / ".join(shares)


def summary(content):
    return rows_of(content, "linear", "thirds", held)


def kernel(content):
    return rows_of(content, "kernel", "thirds", held)


def kernel_kinds(content):
    return rows_of(content, "kernel", "thirds", of_worst)


def kinds(content):
    return rows_of(content, "linear", "thirds", of_worst)


def new_kinds(content):
    """Without methods by kind: a kind that is new has the quantile of all others."""
    return rows_of(content, "linear", "new kinds", of_worst, without="by kind")


def bins(content):
    """Forces: the tenth of σ whose coverage is farthest from what was asked for."""
    head, rows = ["error bars"], {}
    for element, model in (("Si", "linear"), ("Li", "linear"), ("Si", "kernel"), ("Li", "kernel")):
        found = [one for _, one in quantities(content, model) if (one["element"], one["target"]) == (element, "forces")]
        for record in found:
            head.append(f"{element}, {model}")
            for (source, name), title in SUMMARY.items():
                one = method(record, "thirds", source, name)
                rows.setdefault(title, [title]).append(" / ".join(_bins(one)))
    return table.table(head, list(rows.values()), 1)


def _bins(one):
    """Worst tenth of σ at both coverages; a dash for targets that are too few for ten bins."""
    found = [worst_bin(one[name], coverage) for name, coverage in COVERAGES.items()]
    return ["–" if held is None else percent(held) for held in found]


def features(content):
    """What adaptive intervals of forces follow: worst tenth, worst kind, score."""
    columns = {title: record for title, record in quantities(content, "linear") if record["target"] == "forces"}
    plain = {title: method(record, "thirds", "left out", "conformal") for title, record in columns.items()}
    rows = [["nothing (conformal)", *(_followed(plain[title], record) for title, record in columns.items())]]
    first = next(iter(columns.values()))
    for name in first["thirds"]["followed"]["methods"]:
        cells = [_followed(method(record, "thirds", "followed", name), record) for record in columns.values()]
        rows.append([name, *cells])
    return table.table(
        ["features", *(f"{title}: worst tenth; worst kind; score at 95 %" for title in columns)], rows, 1
    )


def _followed(one, record):
    return f"{' / '.join(_bins(one))}; {of_worst(one, record['thirds']['left out'])}; {number(one['95']['score'])}"


def structures(content):
    """Forces: share of structures all of whose components are held, and the half-width for it."""
    names = {("held out", "conformal"): "conformal", ("held out", "conformal by structure"): "conformal by structure"}
    columns = [
        (f"{record['element']}, {model}", record)
        for model in ("linear", "kernel")
        for _, record in quantities(content, model)
        if record["target"] == "forces"
    ]
    rows = []
    for key, title in names.items():
        cells = []
        for _, record in columns:
            one = method(record, "thirds", *key)
            shares = " / ".join(percent(one[name]["whole"]) for name in COVERAGES)
            cells.append(f"{shares} ({' / '.join(number(one[name]['width']) for name in COVERAGES)})")
        rows.append([title, *cells])
    return table.table(["error bars", *(title for title, _ in columns)], rows, 1)


def every(element):
    """A block with all figures of the linear model of an element."""

    def block(content):
        parts = []
        for title, record in quantities(content, "linear"):
            if record["element"] == element:
                parts.append(f"**{title}.** {_numbers(record)}\n\n{_all_methods(record)}")
        return "\n\n".join(parts)

    return block


def _numbers(record):
    """How many targets, and what they miss by."""
    found = []
    for setting, words in (("test", "Test file"), ("thirds", "Thirds")):
        of = record[setting]
        count = sum(n for n, _ in of["left out"]["kinds"].values())
        n = f"{count} structures" if record["target"] == "energy" else f"{of['left out']['n']:,} components"
        errors = " and ".join(number(of[source]["rmse"]) for source in ("left out", "held out"))
        found.append(f"{words}: {n}, RMSE {errors} (fit to the whole and to two thirds).")
    return " ".join(found)


def _all_methods(record):
    head = [
        "error bars", "from", "test: 68 %", "test: 95 %", "test: half-widths", "test: scores",
        "thirds: 68 %", "thirds: 95 %", "thirds: half-widths", "thirds: scores", "worst kind", "worst tenth",
    ]  # fmt: skip
    rows = []
    for source, words in SOURCES.items():
        of = record["thirds"][source]
        for name, thirds in of["methods"].items():
            test = record["test"][source]["methods"][name]
            shown = re.sub(r'"\w+"', r"`\g<0>`", name)
            of_test, of_thirds = (
                [limits(one["68"]), limits(one["95"]), *(_both(one, field) for field in ("width", "score"))]
                for one in (test, thirds)
            )
            rows.append([shown, words, *of_test, *of_thirds, of_worst(thirds, of), " / ".join(_bins(thirds))])
    return table.table(head, rows, 2)


def _both(one, field):
    """At 68 and 95 %; half-widths that are unbounded for some targets are marked."""
    cells = []
    for name in COVERAGES:
        endless = field == "width" and one[name]["unbounded"]
        cells.append(number(one[name][field]) + (f" (∞ for {one[name]['unbounded']})" if endless else ""))
    return " / ".join(cells)


def sources(content):
    """How the figures were made."""
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    lines = []
    for element in dict.fromkeys(record["element"] for record in content["records"]):
        record = next(record for record in content["records"] if record["element"] == element)
        lines.append(f"- {element}: training file {_counts(record, 'thirds')}; test file {_counts(record, 'test')}.")
    lines.append(f"- Kinds of fewer than {FEWEST} structures do not count as the worst.")
    lines.append(f"- Versions: {versions}. The run took {content['seconds'] / 60:.0f} minutes of one core.")
    return "\n".join(lines)


def _counts(record, setting):
    of = {kind: n for kind, (n, _) in record[setting]["left out"]["kinds"].items()}
    return f"{sum(of.values())} structures ({', '.join(f'{n} {KINDS.get(kind, kind)}' for kind, n in of.items())})"


BLOCKS = {
    "bench-error-bars-sources": sources,
    "bench-error-bars-summary": summary,
    "bench-error-bars-kinds": kinds,
    "bench-error-bars-bins": bins,
    "bench-error-bars-features": features,
    "bench-error-bars-structures": structures,
    "bench-error-bars-new-kinds": new_kinds,
    "bench-error-bars-kernel": kernel,
    "bench-error-bars-kernel-kinds": kernel_kinds,
    "bench-error-bars-Si": every("Si"),
    "bench-error-bars-Li": every("Li"),
}


def blocks(content):
    """The text of every block of the page, by its mark."""
    return {name: block(content) for name, block in BLOCKS.items()}


def page(content, text):
    """The page as the figures would have it."""
    return pages.filled(BLOCKS, content, text)


if __name__ == "__main__":
    pages.main(__doc__, PAGE, RESULTS, BLOCKS)
