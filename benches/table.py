"""The tables in docs/speed.md and the three lines in README.md, from the newest file in benches/results.

    python benches/table.py [--check]

What stands between `<!-- NAME -->` and `<!-- /NAME -->` is replaced; with --check nothing is
written, and the exit status is 1 if a document does not say what the file says. Incomplete results
are an error, and so is a table in the documents that no results are there for. Standard library
only.
"""

import argparse
import re
import sys
from itertools import groupby
from pathlib import Path

import records
import roofline

ROOT = Path(__file__).parent.parent

NOTE = f"Others used more than {100 * records.QUIET:.0f} % of the machine meanwhile."

DISTURBED = f"\\* {NOTE}"

#: What stands in place of a table before the first results.
NOT_YET = "Not measured yet: `make bench`."


def newest():
    """The complete results of the latest day, or None if nothing was ever measured."""
    path = records.newest()
    if path is None:
        return None
    content = records.read(path)
    records.require_complete(content, path.name)
    return content | {"file": f"benches/results/{path.name}"}


def number(x):
    """Three digits, no exponent."""
    return f"{x:.0f}" if abs(x) >= 99.95 else f"{x:.1f}" if abs(x) >= 9.995 else f"{x:.2g}" if x < 0.1 else f"{x:.2f}"


def goal(x):
    """A goal as one would say it: 0.77, 1.15, 2, 100."""
    return f"{x:.2f}".rstrip("0").rstrip(".")


def star(row):
    """A mark on what was not measured alone."""
    return "\\*" if disturbed(row.get("busy")) else ""


def disturbed(busy):
    """Whether others used so much of the machine that the figure was not measured alone."""
    return busy is not None and busy >= records.QUIET


def alone(busy):
    """What to say behind a figure on the terminal."""
    return f"  NOT ALONE ({busy:.0%} busy)" if disturbed(busy) else ""


def line(row, roof):
    """One pair on the terminal; a missed goal stands beside the roofline."""
    work = row["work"] if row["p"] is None else f"{row['work']}, p = {row['p']}"
    rate = "" if row["gigaflops"] is None else f"{row['gigaflops']:.1f} GF/s"
    verdict = f"met     {rate}" if row["ratio"] >= row["goal"] else f"MISSED  {roofline.explanation(row, roof)}"
    return f"{work:60} {row['peer']:38} {row['ratio']:8.2f} of {row['goal']:6.2f} {verdict}{alone(row['busy'])}"


def summary(content):
    """What a run ends with on the terminal: every missed goal beside the roofline, and what was left out."""
    rows, roof = content["results"], content["roofline"]
    missed = [line(row, roof) for row in rows if row["ratio"] < row["goal"]]
    left_out = [f"left out, not installed: {name}" for name in content["left_out"]]
    return "\n".join([*missed, *left_out, f"{len(rows) - len(missed)} of {len(rows)} goals met"])


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


def shares(rows, roof):
    """How much of the roofline we reach, where flop or bytes were counted."""
    counted = [roofline.share(row, roof) for row in rows if "precision" in row]
    return ", ".join(f"{share:.0%}" for share in counted if share is not None)


def short_row(work, peer, rows, roof):
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
        shares(rows, roof),
    ]


def short_peers(content):
    """A line for each work and peer."""
    key = lambda row: (row["work"], row["peer"])
    order = list(dict.fromkeys(map(key, content["results"])))
    groups = groupby(sorted(content["results"], key=lambda row: order.index(key(row))), key)
    head = ["work", "beside", "p", "times as fast", "goal", "", "GF/s", "of the roofline"]
    return table(head, [short_row(*names, list(rows), content["roofline"]) for names, rows in groups], 3)


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
    """The machine and the day, in a few words."""
    this = content["machine"]
    return f"{this['processor']}, {this['cores']} cores, {this['vector']}, {content['date']}"


def roof_line(roof):
    """What the machine can do at most, in one sentence."""
    return (
        f"At most it reads {number(roof['read_gigabytes'])} GB/s and multiplies matrices (OpenBLAS) at "
        f"{number(roof['float64_gigaflops'])} GF/s in float64 and {number(roof['float32_gigaflops'])} GF/s in "
        f"float32{star(roof)}."
    )


def whole_machine(content):
    """Machine, libraries, versions, roofline and what was left out: a list."""
    this, roof = content["machine"], content["roofline"]
    left_out = content.get("left_out", [])
    lines = [
        f"Machine: {hardware(content)}. {roof_line(roof)}",
        f"Peers multiply with {' and '.join(this['blas'])}.",
        f"Versions: {', '.join(f'{name} {version}' for name, version in this['versions'].items())}.",
        *([f"Left out, because not installed: {', '.join(left_out)}."] if left_out else []),
        f"Figures: `{content['file']}`.",
        *([DISTURBED] if star(roof) else []),
    ]
    return "\n".join(f"- {text}" for text in lines)


def find(content, work, peer):
    """All results of a pair, over p."""
    rows = [row for row in content["results"] if row["work"].startswith(work) and row["peer"] == peer]
    if not rows:
        raise records.RecordError(f"the results have no pair of {work} beside {peer}")
    return sorted(rows, key=lambda row: row["p"])


def spread(rows):
    """Ratios and sizes as ranges: ("0.82 to 0.96", "p = 512 to 4096")."""
    span = lambda values: values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"
    ratios = sorted(row["ratio"] for row in rows)
    mark = "\\*" if any(map(star, rows)) else ""
    return f"{span([number(x) for x in ratios])}{mark}", f"p = {span([row['p'] for row in rows])}"


def readme(content):
    """Three lines for README: sums, factorisation, LPR."""
    pairs = {
        "`update`": (find(content, "`update`, float64", "NumPy `X.T @ X`"), "NumPy's `X.T @ X`"),
        "`factorize`": (find(content, "`factorize`", "LAPACK `dpotrf`, Fortran order"), "LAPACK's `dpotrf`"),
        "LPR": (find(content, "LPR of", "scikit-matter"), "scikit-matter"),
    }
    lines = []
    for work, (rows, peer) in pairs.items():
        ratios, sizes = spread(rows)
        lines.append(f"- {work}: {ratios} times as fast as {peer} ({sizes}).")
    note = " \\*: others used the machine." if any("\\*" in text for text in lines) else ""
    return "\n".join([*lines[:-1], f"{lines[-1]} {hardware(content)}.{note}"])


def stages(content):
    """Rates over p, at the largest n, beside the roofline."""
    points = content["pipeline"]["points"]
    largest = {p: max(point["n"] for point in points if point["p"] == p) for p in {point["p"] for point in points}}
    rows = []
    for p, n in sorted(largest.items()):
        at = {point["stage"]: point for point in points if (point["p"], point["n"]) == (p, n)}
        rate = lambda stage, at=at: f"{number(at[stage]['gigaflops'])}{star(at[stage])}"
        bound = {stage: roofline.bound(stage, p, content["roofline"]) for stage in at}
        share = lambda stage, at=at, bound=bound: f"{at[stage]['gigaflops'] / bound[stage]:.0%}"
        limit = "memory" if bound["accumulate"] < bound["factorize"] else "arithmetic"
        rows.append([
            str(p), f"{n:,}", f"{number(bound['accumulate'])} ({limit})", rate("accumulate"), share("accumulate"),
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


def peaks(content):
    """Peak memory of each work."""
    rows = [[row["work"], str(row["p"]), number(row["megabytes"]), number(row["arrays"])] for row in content["memory"]]
    return table(["work", "p", "MB", "in units of C"], rows, 1)


#: Which block belongs between which markers of which document.
DOCUMENTS = {
    "README.md": {"bench": readme},
    "docs/speed.md": {
        "bench-machine": whole_machine,
        "bench-goals": short_peers,
        "bench-peers": full_peers,
        "bench-pipeline": stages,
        "bench-growth": growth,
        "bench-memory": peaks,
    },
}


def blocks(content):
    """The text of every block; NOT_YET for each if there are no results."""
    return {
        file: {name: NOT_YET if content is None else block(content) for name, block in named.items()}
        for file, named in DOCUMENTS.items()
    }


def replaced(text, name, block):
    """The document with another block between the markers of this name; a table never gives way to NOT_YET."""
    pattern = re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", flags=re.DOTALL)
    found = pattern.findall(text)
    if len(found) != 1:
        raise records.RecordError(f"expected one <!-- {name} --> ... <!-- /{name} -->, found {len(found)}")
    if block == NOT_YET and found[0][1].strip() not in ("", NOT_YET):
        raise records.RecordError(f"there are figures between the {name} markers, and none in benches/results")
    return pattern.sub(lambda match: f"{match[1]}{block}\n{match[3]}", text)


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
    parser.add_argument("--check", action="store_true", help="fail if a document is stale, write nothing")
    check = parser.parse_args().check
    try:
        documents = dict(stale(newest()))
    except records.RecordError as error:
        sys.exit(f"no document is changed: {error}")
    for file, text in documents.items():
        print(f"{file} {'differs from' if check else 'now says what is in'} benches/results")
        if not check:
            (ROOT / file).write_text(text)
    sys.exit(1 if check and documents else 0)


if __name__ == "__main__":
    main()
