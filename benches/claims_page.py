"""The tables of docs/claims.md, from the figures of benches/claims.py.

    python benches/claims_page.py [--check]

As benches/table.py: what stands between the marks is replaced; with --check nothing is written, and
the exit status is 1 if the page does not say what the figures say.
"""

import pages
import records
import table

PAGE = table.ROOT / "docs" / "claims.md"
RESULTS = records.RESULTS / "claims" / "mlearn.json"

SETTINGS = {"structures": "structures left out", "test": "test set", "kinds": "kinds left out"}
"""Of claim 3, with their names on the page."""

WEIGHTS = "weights, energies : forces"


def figure(x):
    """Two digits, or all before the point; no exponent."""
    return f"{x:,.0f}" if abs(x) >= 9.95 else f"{x:.1f}" if abs(x) >= 0.995 else f"{x:#.2g}"


def times(x):
    """A ratio: three digits near 1, where the second says little."""
    return f"{x:.2f}" if x < 1.995 else figure(x)


def signed(x):
    """A correlation or a slope."""
    return f"{x:.2f}".replace("-", "−")


def percent(x):
    return f"{100 * x:.0f} %"


def change(record, name, factor=1.0):
    """Before → after."""
    return " → ".join(figure(factor * record[side][name]) for side in ("before", "after"))


def limits(found):
    """A rank correlation with its limits."""
    return f"{signed(found['value'])} [{signed(found['low'])}, {signed(found['high'])}]"


def span(values, form=figure):
    """Lowest to highest."""
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def each(content, claim):
    """(element, its figures, record) for all records of a claim."""
    for element, found in content["elements"].items():
        for record in found[claim]:
            yield element, found, record


def gains(content):
    """Claim 1: how much rigidities rise."""
    head = [
        "set", WEIGHTS, "before", "slabs added: LPR of atoms at surfaces", "of atoms inside", "PR of slabs",
        "vacancies added: LPR of atoms at surfaces", "more of the same kinds: LPR of atoms at surfaces",
    ]  # fmt: skip
    rows = []
    for element, _, record in each(content, "defects"):
        slabs, vacancies, control = (record[name] for name in ("Surface", "Vacancy", "control"))
        outside = slabs["exposed"]
        rows.append([
            element,
            record["weights"],
            f"{record['n_start']} {record['start']}",
            f"**{times(outside['median'])}** ({times(outside['low'])} to {times(outside['high'])})",
            times(slabs["inside"]["median"]),
            times(slabs["pr"]["median"]),
            times(vacancies["exposed"]["median"]),
            times(control["exposed"]["median"]),
        ])  # fmt: skip
    return table.table(head, rows, 3)


def conditions(content):
    """Claim 1: errors, the prior's share, and other λ."""
    head = [
        "set", WEIGHTS, "before", "energies of slabs, meV/atom", "forces, meV/Å", "prior's share at surfaces",
        "gain of LPR at λ/100", "at λ", "at 100 λ",
    ]  # fmt: skip
    rows = []
    for element, _, record in each(content, "defects"):
        slabs = record["Surface"]
        rows.append([
            element,
            record["weights"],
            f"{record['n_start']} {record['start']}",
            change(slabs, "energy_rmse", 1000),
            change(slabs, "force_rmse", 1000),
            " → ".join(f"{slabs[side]['prior_share']:.2f}" for side in ("before", "after")),
            times(record["surface_at_0.01"]),
            times(slabs["exposed"]["median"]),
            times(record["surface_at_100"]),
        ])  # fmt: skip
    return table.table(head, rows, 3)


def committees(content):
    """Claim 2: LPR beside the spread of a committee."""
    head = [
        "set", WEIGHTS, "members", "LPR and spread of local energies", "of all committees", "within kinds", "slope",
        "PR and spread of energies", "error over spread", "errors within 1.96 spreads", "error over σ", "within 1.96 σ",
    ]  # fmt: skip
    rows = []
    for element, _, record in each(content, "committees"):
        first = record["seeds"][0]
        over = lambda name, form=figure, record=record: span([seed[name] for seed in record["seeds"]], form)
        kinds = [value for seed in record["seeds"] for value in seed["by_kind"].values()]
        rows.append([
            element,
            record["weights"],
            record["draw"],
            limits(first["lpr"]),
            span([seed["lpr"]["value"] for seed in record["seeds"]], signed),
            span(kinds, signed),
            over("slope", signed),
            limits(first["pr"]),
            f"**{over('over_confidence', '{:.1f}'.format)}**",
            over("within_95", percent),
            f"{record['own_over_confidence']:.1f}",
            percent(record["own_within_95"]),
        ])  # fmt: skip
    return table.table(head, rows, 3)


def errors(content):
    """Claim 3: PR beside errors."""
    head = ["set", "model", WEIGHTS, "RMSE: of the fit", *(f"RMSE: {name}" for name in SETTINGS.values())]
    head += ["left out over fit", *(f"rank correlation, right σ: {name}" for name in SETTINGS.values())]
    head += ["rank correlation: errors of the fit"]
    rows = []
    for element, _, record in each(content, "errors"):
        missed = [record["training_rmse"], *(record[name]["rmse"] for name in SETTINGS)]
        cells = [f"{limits(record[name])}, {record[name]['expected']:.2f}" for name in SETTINGS]
        rows.append([
            element,
            record["model"],
            record["weights"],
            *(figure(1000 * x) for x in missed),
            figure(missed[1] / missed[0]),
            *cells,
            signed(record["training_correlation"]),
        ])  # fmt: skip
    return table.table(head, rows, 3)


def kinds(content):
    """Claim 3: σ, errors and their rank correlation within kinds, for the linear model."""
    names = list(dict.fromkeys(record["weights"] for _, _, record in each(content, "errors")))
    rows = []
    for element, found in content["elements"].items():
        records_of = {record["weights"]: record for record in found["errors"] if record["model"] == "linear"}
        for kind, first in records_of[names[0]]["by_kind"].items():
            own = [records_of[name]["by_kind"][kind] for name in names]
            cells = [
                f"{figure(1000 * one['std'])}, {figure(1000 * one['rmse'])}, {signed(one['correlation'])}"
                for one in own
            ]
            rows.append([f"{element}, {kind}", str(first["n"]), *cells])
    return table.table(
        ["left out, of this kind", "structures", *(f"{name}: σ, RMSE, rank correlation" for name in names)], rows, 1
    )


def summary(content):
    """The claims in a line each: both losses that users have most, all elements, linear model."""
    names = list(dict.fromkeys(record["weights"] for _, _, record in each(content, "committees")))
    columns = [[claim, *(verdict(content, name) for name in names)] for claim, verdict in CLAIMS.items()]
    return table.table(
        ["claim", *(f"energies and forces, {name}" if ":" in name else name for name in names)], columns, 3
    )


def gain_of_lpr(content, weights):
    """By what was there before, with the atoms inside for comparison."""
    of = [record for _, _, record in each(content, "defects") if record["weights"] == weights]
    parts = []
    for start in dict.fromkeys(record["start"] for record in of):
        found = [record["Surface"] for record in of if record["start"] == start]
        gain, inside, pr = (span([one[name]["median"] for one in found], times) for name in ("exposed", "inside", "pr"))
        parts.append(f"after {start} {gain} times (inside the slabs {inside}; PR of the slabs {pr})")
    return "; ".join(parts)


def of_committees(content, weights, form):
    """Range over elements, draws and seeds."""
    of = [record for _, _, record in each(content, "committees") if record["weights"] == weights]
    return span([form(seed) for record in of for seed in record["seeds"]], signed)


def of_errors(content, weights, setting):
    """Rank correlation of each element."""
    of = [
        f"{signed(record[setting]['value'])} ({element})"
        for element, _, record in each(content, "errors")
        if record["model"] == "linear" and record["weights"] == weights
    ]
    return "rank correlation " + ", ".join(of)


CLAIMS = {
    "LPR of atoms at surfaces rises when other slabs are added": gain_of_lpr,
    "LPR follows the spread of a committee's local energies": lambda content, weights: (
        "rank correlation " + of_committees(content, weights, lambda seed: seed["lpr"]["value"])
    ),
    "the spread of a committee is the error": lambda content, weights: (
        "error over spread " + of_committees(content, weights, lambda seed: seed["over_confidence"])
    ),
    "PR follows errors of structures that are left out": lambda content, weights: of_errors(
        content, weights, "structures"
    ),
    "PR follows errors of kinds that were never seen": lambda content, weights: of_errors(content, weights, "kinds"),
}
"""What each claim comes to, by the weights of a loss."""


def sources(content):
    """How the figures were made."""
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    sets = "; ".join(
        f"{element}: {found['n_training']} training and {found['n_test']} test structures"
        for element, found in content["elements"].items()
    )
    committees = f"{content['seeds']} of each kind with {content['members']} members each"
    return "\n".join([
        f"- {sets}.",
        f"- Committees: {committees}; tables show the limits of the first, and the range over all.",
        f"- In {content['at_edge']} fits leave-one-out was best at the smallest λ that rounding resolves.",
        f"- Versions: {versions}. The run took {content['seconds'] / 60:.0f} minutes.",
    ])  # fmt: skip


BLOCKS = {
    "bench-claims-summary": summary,
    "bench-claims-gains": gains,
    "bench-claims-conditions": conditions,
    "bench-claims-committees": committees,
    "bench-claims-errors": errors,
    "bench-claims-kinds": kinds,
    "bench-claims-sources": sources,
}


def blocks(content):
    """The text of every block of the page, by its mark."""
    return {name: block(content) for name, block in BLOCKS.items()}


def page(content, text):
    """The page as the figures would have it."""
    return pages.filled(BLOCKS, content, text)


if __name__ == "__main__":
    pages.main(__doc__, PAGE, RESULTS, BLOCKS)
