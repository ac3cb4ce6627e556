"""Selections on real data: the tables and the figure of docs/selection.md.

    python benches/selection.py FOLDER Si Li --output docs/images/selection.png

FOLDER holds Si-training.xyz, Si-test.xyz, … such as the mlearn sets of Zuo et al., J. Phys. Chem. A
124 (2020) 731. A model of bulk structures is extended by other training structures, picked to
predict the surfaces and vacancies of the test file.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from training_sets import Task, farthest, print_table

import rigidities as rg

START, ASKED = ("Elastic",), ("Surface", "Vacancy")
"""Groups that the model starts from, and those whose predictions are asked for."""

PICKS = (0, 1, 2, 5, 10, 20, 40, 80)
N_RANDOM = 20
RULES = "target_rigidity", "target_variance", "determinant", "farthest points", "random"
HEADS = "mean R", "energies, meV/atom", "forces, meV/Å"


def picks(task, rule, start, pool, seed=0):
    """Structures in the order of a rule, as many as there are at most."""
    n = min(max(PICKS), len(pool))
    if rule == "random":
        return np.random.default_rng(seed).permutation(pool)[:n]
    if rule == "farthest points":
        return pool[farthest(task.means(pool), task.means(start), n)]
    chosen = task.members(pool)
    selection = rg.select(
        task.covariance(start).factorize(task.regularizer),
        task.rows.values[chosen],
        n,
        weights=task.rows.weights[chosen],
        blocks=task.rows.blocks[chosen],
        objective=rule,
        targets=None if rule == "determinant" else task.energy[0],
    )
    return selection.labels


def table(task, element):
    """Print the tables of an element; return the numbers of the figure."""
    structures = np.arange(len(task.kinds))
    start = structures[[kind.startswith(START) for kind in task.kinds]]
    pool = np.setdiff1d(structures, start)
    numbers = [n for n in PICKS if n <= len(pool)]
    found = {}
    for rule in RULES:
        seeds = range(N_RANDOM) if rule == "random" else [0]
        orders = [picks(task, rule, start, pool, seed) for seed in seeds]
        found[rule] = np.array([[task.judge(np.concatenate([start, order[:n]])) for n in numbers] for order in orders])
    n_asked = len(task.energy[1])
    print(f"\n{element}: {len(start)} structures at the start, {len(pool)} candidates, {n_asked} targets")
    print_table(HEADS, [f"{n} picks" for n in numbers], found)
    return numbers, found


def figure(results, path):
    """Errors of energies and mean rigidity of the targets against the number of picks."""
    from matplotlib.figure import Figure

    from rigidities.plot import PALETTE

    drawn = Figure(figsize=(9, 3.4 * len(results)), dpi=200, layout="constrained")
    panels = drawn.subplots(len(results), 2, squeeze=False)
    for (element, (numbers, found)), row in zip(results.items(), panels, strict=True):
        x = np.array(numbers) + 1
        for axes, k, label in zip(row, (0, 1), ("mean rigidity of the targets", "RMSE, meV/atom"), strict=True):
            for colour, (rule, values) in zip(PALETTE, found.items(), strict=False):
                low, middle, high = np.quantile(values[:, :, k], [0.16, 0.5, 0.84], axis=0)
                axes.plot(x, middle, "o-", color=colour, markersize=3, label=rule)
                if len(values) > 1:
                    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(x, numbers)
            axes.minorticks_off()
            axes.set_xlabel("structures picked")
            axes.set_ylabel(label)
            axes.set_title(element, fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].legend(frameon=False, fontsize=8)
    drawn.savefig(path)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("elements", nargs="+")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = {element: table(Task(arguments.folder, element, ASKED), element) for element in arguments.elements}
    if arguments.output is not None:
        figure(results, arguments.output)
