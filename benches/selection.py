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
from ase.io import read

import rigidities as rg
from rigidities.interop.featomic import LossRows, Soap
from rigidities.model.target_rows import target_rows

LOSS = rg.Loss(energy=rg.Term(3000.0, per_atom=True), forces=rg.Term())
START, ASKED = ("Elastic",), ("Surface", "Vacancy")
"""Groups that the model starts from, and those whose predictions are asked for."""

PICKS = (0, 1, 2, 5, 10, 20, 40, 80)
N_RANDOM = 20
RULES = "target_rigidity", "target_variance", "determinant", "farthest points", "random"


def kind_of(atoms):
    return str(atoms.info.get("group", atoms.info.get("config_type", "")))


class Task:
    """Rows of an element: what is known, candidates, targets."""

    def __init__(self, folder, element):
        train, test = (read(folder / f"{element}-{name}.xyz", ":") for name in ("training", "test"))
        soap = Soap(element)
        made = LossRows(train, soap, LOSS, baseline="fit", progress=False)
        self.rows = target_rows(made, targets=True)
        kinds = np.array([kind_of(atoms) for atoms in train])
        self.start = np.flatnonzero(np.isin(kinds, [k for k in np.unique(kinds) if k.startswith(START)]))
        self.pool = np.setdiff1d(np.arange(len(train)), self.start)
        asked = [atoms for atoms in test if kind_of(atoms).startswith(ASKED)]
        judged = LossRows(asked, soap, LOSS, baseline=made.baseline, progress=False)
        batches = list(judged)
        for name in ("energy", "forces"):
            X, y = (
                np.concatenate([getattr(batch[name], field) for batch in batches])
                for field in ("values", "known_targets")
            )
            setattr(self, name, (X, y))
        whole = self.covariance(np.arange(len(train)))
        self.regularizer = whole.factorize().regularizer

    def members(self, structures):
        return np.flatnonzero(np.isin(self.rows.blocks, structures))

    def covariance(self, structures):
        chosen = self.members(structures)
        covariance = rg.Covariance(self.rows.values.shape[1])
        covariance.update(
            self.rows.values[chosen], weights=self.rows.weights[chosen], targets=self.rows.targets[chosen]
        )
        return covariance

    def judge(self, picks):
        """Mean rigidity of the targets' energies, and errors in meV/atom and meV/Å."""
        hessian = self.covariance(np.concatenate([self.start, picks])).factorize(self.regularizer)
        errors = [1000 * np.sqrt(np.mean((y - X @ hessian.coef) ** 2)) for X, y in (self.energy, self.forces)]
        return hessian.rigidity(self.energy[0]).mean(), *errors

    def picks(self, rule, seed=0):
        """Structures in the order of a rule, as many as there are at most."""
        n = min(max(PICKS), len(self.pool))
        if rule == "random":
            return np.random.default_rng(seed).permutation(self.pool)[:n]
        if rule == "farthest points":
            return self.pool[farthest(self.means(self.pool), self.means(self.start), n)]
        chosen = self.members(self.pool)
        selection = rg.select(
            self.covariance(self.start).factorize(self.regularizer),
            self.rows.values[chosen],
            n,
            weights=self.rows.weights[chosen],
            blocks=self.rows.blocks[chosen],
            objective=rule,
            targets=None if rule == "determinant" else self.energy[0],
        )
        return selection.labels

    def means(self, structures):
        """Rows of the energies: the mean over the atoms of each structure."""
        energies = self.rows.weights == LOSS.energy.weight
        order = {block: row for row, block in zip(np.flatnonzero(energies), self.rows.blocks[energies], strict=True)}
        return np.array([self.rows.values[order[structure]] for structure in structures])


def farthest(pool, known, n):
    """Farthest-point sampling as scikit-matter has it, from what is known."""
    from skmatter.sample_selection import FPS

    rows = np.concatenate([known, pool])
    selector = FPS(n_to_select=len(known) + n, initialize=list(range(len(known))))
    return selector.fit(rows).selected_idx_[len(known) :] - len(known)


def table(task, element):
    """Yield lines of the table and keep the numbers of the figure."""
    numbers = [n for n in PICKS if n <= len(task.pool)]
    found = {}
    for rule in RULES:
        seeds = range(N_RANDOM) if rule == "random" else [0]
        orders = [task.picks(rule, seed) for seed in seeds]
        found[rule] = np.array([[task.judge(order[:n]) for n in numbers] for order in orders])
    heads = "mean R", "energies, meV/atom", "forces, meV/Å"
    print(f"\n{element}: {len(task.start)} structures at the start, {len(task.pool)} candidates, "
          f"{len(task.energy[1])} targets, λ = {task.regularizer:.2g}")  # fmt: skip
    for k, head in enumerate(heads):
        print(f"\n| {head} | " + " | ".join(f"{n} picks" for n in numbers) + " |")
        print("| --- |" + " --: |" * len(numbers))
        for rule, values in found.items():
            low, middle, high = np.quantile(values[:, :, k], [0.16, 0.5, 0.84], axis=0)
            cells = [
                f"{m:.3g}" + (f" ({a:.3g} to {b:.3g})" if rule == "random" and n else "")
                for n, a, m, b in zip(numbers, low, middle, high, strict=True)
            ]
            print(f"| {rule} | " + " | ".join(cells) + " |", flush=True)
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
    results = {element: table(Task(arguments.folder, element), element) for element in arguments.elements}
    if arguments.output is not None:
        figure(results, arguments.output)
