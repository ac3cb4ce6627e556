"""The figure of docs/error-bars.md, from the figures of benches/error_bars.py.

    python benches/error_bars_figure.py

Writes docs/images/error-bars.png. It carries the digest of what it shows, by which a test sees that
it is of the same run as the tables.
"""

import hashlib
import json

import error_bars_page
import numpy as np
import records
import table
from matplotlib.figure import Figure

from rigidities.report.palette import BLUE, GREEN, GUIDE, ORANGE, PURPLE, VERMILION, open_frame

IMAGE = table.ROOT / "docs" / "images" / "error-bars.png"

SHOWN = {
    '"nll"': ("Gaussian", BLUE, "o"),
    '"nll" by kind': ("Gaussian by kind", GREEN, "s"),
    "conformal": ("conformal", ORANGE, "^"),
    "conformal by kind": ("conformal by kind", PURPLE, "v"),
    "adaptive": ("adaptive", VERMILION, "D"),
    "adaptive by kind": ("adaptive by kind", "black", "P"),
}
"""Methods, calibrated on left-out structures, with name, colour and mark."""

IN_BINS = ('"nll"', "conformal", "adaptive")


def shown(content):
    """By element: coverage of methods in tenths of σ and in kinds, for forces of the linear model."""
    return {
        record["element"]: {
            name: {
                coverage: {part: of_method[coverage][part] for part in ("bins", "kinds")}
                for coverage in error_bars_page.COVERAGES
            }
            for name, of_method in record["thirds"]["left out"]["methods"].items()
            if name in SHOWN
        }
        for _, record in error_bars_page.quantities(content, "linear")
        if record["target"] == "forces"
    }


def digest(content):
    """Of everything that the figure shows."""
    return hashlib.sha256(json.dumps(shown(content), sort_keys=True).encode()).hexdigest()


def draw(content):
    """Two rows: tenths of σ, and kinds; a column for each element."""
    of = shown(content)
    figure = Figure(figsize=(9.6, 7.2), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(of), squeeze=False)
    for column, (element, methods) in zip(axes.T, of.items(), strict=True):
        draw_bins(column[0], methods)
        draw_kinds(column[1], methods)
        column[0].set_title(f"forces of {element}", fontsize=10)
    for ax, letter in zip(axes.flat, "abcdefgh", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.set_ylabel("held, %")
        open_frame(ax)
    handles, names = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=8)
    return figure


def draw_bins(ax, methods):
    """Coverage in ten bins of σ, from small to large."""
    for name in IN_BINS:
        _, colour, mark = SHOWN[name]
        for coverage in error_bars_page.COVERAGES:
            held = 100 * np.array(methods[name][coverage]["bins"])
            ax.plot(np.arange(1, len(held) + 1), held, color=colour, marker=mark, markersize=4, linewidth=1)
    ask(ax)
    ax.set(xlabel="tenth of the components by σ, from small to large", ylim=(30, 103))
    ax.set_xticks(range(1, 11))


def draw_kinds(ax, methods):
    """Coverage of each kind, methods side by side."""
    kinds = sorted({kind for of in methods.values() for kind in of["68"]["kinds"]})
    for index, name in enumerate(methods):
        title, colour, mark = SHOWN[name]
        places = np.arange(len(kinds)) + 0.12 * (index - (len(methods) - 1) / 2)
        for coverage in error_bars_page.COVERAGES:
            held = [100 * methods[name][coverage]["kinds"][kind] for kind in kinds]
            label = title if coverage == "68" else None
            ax.plot(places, held, mark, color=colour, markersize=5, linestyle="none", label=label)
    ask(ax)
    ax.set_xticks(range(len(kinds)), [error_bars_page.KINDS.get(kind, kind) for kind in kinds])
    ax.set_ylim(25, 103)


def ask(ax):
    """Lines at the coverage that was asked for."""
    for coverage in error_bars_page.COVERAGES.values():
        ax.axhline(100 * coverage, color=GUIDE, linestyle="--", linewidth=0.8, zorder=0)


def main():
    content = records.read(error_bars_page.RESULTS)
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    draw(content).savefig(IMAGE, metadata={"Description": f"figures {digest(content)}"})


if __name__ == "__main__":
    main()
