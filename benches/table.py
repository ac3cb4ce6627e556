"""The tables in README.md and docs/speed.md, written from the newest file in benches/results.

    python benches/table.py [--check]

What stands between `<!-- NAME -->` and `<!-- /NAME -->` is replaced; with --check nothing is written, and the exit code
is 1 if a table is not what the file says.
"""

import argparse
import json
import re
import sys
from itertools import groupby
from pathlib import Path

import machine

ROOT = Path(__file__).parent.parent

DISTURBED = f"\\* Others used more than {100 * machine.QUIET:.0f} % of the machine meanwhile."


def newest():
    """The results of the latest day."""
    contents = [(path, json.loads(path.read_text())) for path in machine.RESULTS.glob("*.json")]
    path, content = max(contents, key=lambda item: (item[1]["date"], item[0].name))
    return content | {"file": path.relative_to(ROOT).as_posix()}


def number(x):
    """Three digits, no exponent."""
    return f"{x:.0f}" if abs(x) >= 99.95 else f"{x:.1f}" if abs(x) >= 9.995 else f"{x:.2g}" if x < 0.1 else f"{x:.2f}"


def goal(x):
    """A goal as one would say it: 0.77, 1.15, 2, 100."""
    return f"{x:.2f}".rstrip("0").rstrip(".")


def star(row):
    """A mark on what was not measured alone."""
    return "\\*" if row.get("busy") is not None and row["busy"] >= machine.QUIET else ""


def table(head, rows, left):
    """Markdown, the first `left` columns aligned left, with a note if a figure is marked."""
    rule = [":--"] * left + ["--:"] * (len(head) - left)
    lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
    return "\n".join([*lines, *(["", DISTURBED] if any("\\*" in line for line in lines) else [])])


def each(values):
    """Values of several p; once if they agree."""
    values = list(values)
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def verdict(rows):
    """Whether a goal is met, and at which p it is not."""
    missed = [row for row in rows if row["ratio"] < row["goal"]]
    if not missed:
        return "met"
    return "missed" if len(missed) == len(rows) else f"missed at {', '.join(str(row['p']) for row in missed)}"


def short_row(work, peer, rows):
    """One goal at several p."""
    rows = sorted(rows, key=lambda row: row["p"] or 0)
    return [
        work,
        peer,
        ", ".join(str(row["p"]) for row in rows if row["p"] is not None),
        ", ".join(number(row["ratio"]) + star(row) for row in rows),
        each(goal(row["goal"]) for row in rows),
        verdict(rows),
        ", ".join(number(row["gigaflops"]) for row in rows if row["gigaflops"] is not None),
    ]


def short_peers(content):
    """README's table: a line for each work and peer."""
    key = lambda row: (row["work"], row["peer"])
    order = list(dict.fromkeys(map(key, content["results"])))
    groups = groupby(sorted(content["results"], key=lambda row: order.index(key(row))), key)
    head = ["work", "beside", "p", "times as fast", "goal", "", "GF/s"]
    return table(head, [short_row(*names, list(rows)) for names, rows in groups], 3)


def full_peers(content):
    """Every pair, with its times."""
    head = ["work", "beside", "p", "ours, ms", "theirs, ms", "times as fast", "goal", "", "GF/s", "others busy"]
    return table(head, [full_row(row) for row in content["results"]], 2)


def full_row(row):
    """One pair; ± is the standard deviation of the ratio over the rounds."""
    return [
        row["work"],
        row["peer"],
        "" if row["p"] is None else str(row["p"]),
        number(row["ours_ms"]),
        number(row["peer_ms"]),
        f"{number(row['ratio'])} ± {row['spread']:.0%}{star(row)}",
        goal(row["goal"]),
        verdict([row]),
        "" if row["gigaflops"] is None else number(row["gigaflops"]),
        "" if row["busy"] is None else f"{row['busy']:.0%}",
    ]


def hardware(content):
    """Machine, versions, date and roofline in one line."""
    this, roof = content["machine"], content.get("roofline")
    versions = ", ".join(f"{name} {version}" for name, version in this["versions"].items())
    peaks = "" if roof is None else (
        f" At most it reads {number(roof['read_gigabytes'])} GB/s and multiplies matrices (OpenBLAS) at "
        f"{number(roof['float64_gigaflops'])} GF/s in float64 and {number(roof['float32_gigaflops'])} in float32"
        f"{star(roof)}."
    )  # fmt: skip
    return (
        f"{this['processor']}, {this['cores']} cores, {this['vector']}; {versions}; {content['date']}.{peaks} "
        "Above 1 we are faster."
    )


def blas(content):
    """What the peers multiply with."""
    libraries = "".join(f" {library}." for library in content["machine"].get("blas", []))
    return f"{hardware(content)}{libraries} From `{content['file']}`."


def stages(content):
    """Rates over p, at the largest n, beside the roofline."""
    points = content["pipeline"]["points"]
    largest = {p: max(point["n"] for point in points if point["p"] == p) for p in {point["p"] for point in points}}
    rows = []
    for p, n in sorted(largest.items()):
        at = {point["stage"]: point for point in points if (point["p"], point["n"]) == (p, n)}
        rate = lambda stage, at=at: f"{number(at[stage]['gigaflops'])}{star(at[stage])}"
        share = lambda stage, at=at: f"{at[stage]['gigaflops'] / at[stage]['bound']:.0%}"
        limit = "memory" if at["accumulate"]["bound"] < content["roofline"]["float64_gigaflops"] else "arithmetic"
        rows.append([
            str(p), f"{n:,}", f"{number(at['accumulate']['bound'])} ({limit})", rate("accumulate"), share("accumulate"),
            number(at["accumulate"]["read"]), rate("score"), share("score"), rate("factorize"), share("factorize"),
        ])  # fmt: skip
    head = ["p", "n", "roofline", "accumulate", "of it", "GB/s read", "score", "of it", "factorize", "of the peak"]
    return table(head, rows, 0)


def growth(content):
    """The fitted exponents."""
    pipeline = content["pipeline"]
    rows = [
        [
            fit["stage"],
            " ".join(f"{name}^{exponent:.2f}" for name, exponent in fit["exponents"].items()),
            f"{fit['residual']:.1%}",
        ]
        for fit in pipeline["fits"]
    ]
    return table(["stage", f"cost at p ≥ {pipeline['large']} grows as", "residual"], rows, 2)


def blocks(content):
    """What belongs between which markers of which document."""
    yet = lambda block, part: block(content) if part in content else "Not measured yet: `make bench`."
    return {
        "README.md": {"bench": f"{yet(short_peers, 'results')}\n\n{hardware(content)}"},
        "docs/speed.md": {
            "bench-machine": blas(content),
            "bench-peers": yet(full_peers, "results"),
            "bench-pipeline": yet(stages, "pipeline"),
            "bench-growth": yet(growth, "pipeline"),
        },
    }


def replaced(text, name, block):
    """The document with another block between the markers of this name."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"expected one <!-- {name} --> ... <!-- /{name} -->")
    return pattern.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text)


def stale(content):
    """Documents that do not say what the results say, with the text that they should have."""
    for file, named in blocks(content).items():
        text = wanted = (ROOT / file).read_text()
        for name, block in named.items():
            wanted = replaced(wanted, name, block)
        if wanted != text:
            yield file, wanted


def main():
    """Write, or only look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a table is stale, write nothing")
    check = parser.parse_args().check
    content = newest()
    documents = dict(stale(content))
    for file, text in documents.items():
        print(f"{file} {'differs from' if check else 'now has the tables of'} {content['file']}")
        if not check:
            (ROOT / file).write_text(text)
    sys.exit(1 if check and documents else 0)


if __name__ == "__main__":
    main()
