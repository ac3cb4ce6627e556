"""How far forecasts of learning curves hold on real data: the table of docs/learning.md.

    python benches/learning.py FOLDER Si Li

FOLDER holds Si-training.xyz, Si-test.xyz, … with energies and forces, such as the mlearn sets of
Zuo et al., J. Phys. Chem. A 124 (2020) 731. Each curve ends at some size; its forecast for about
twice the data is compared with what the curve of all data has there.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from ase.io import read

import rigidities as rg
from rigidities.interop.featomic import LossRows, Soap

LOSS = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term())
N_ORDERS = 8


def joined(batches, name):
    """Rows, targets, weights in the loss and structures of a term."""
    parts = [batch[name] for batch in batches]
    return tuple(
        np.concatenate([getattr(part, field) for part in parts])
        for field in ("values", "known_targets", "weights_in_loss", "blocks")
    )


def problems(folder, element):
    """Yield the names, training rows and test rows of each fit and each quantity."""
    train, test = (read(folder / f"{element}-{name}.xyz", ":") for name in ("training", "test"))
    soap = Soap(element)
    rows = LossRows(train, soap, LOSS, baseline="fit", progress=False)
    batches = list(rows)
    judged = list(LossRows(test, soap, LOSS, baseline=rows.baseline, progress=False))
    for fit, names in (("energies and forces", ("energy", "forces")), ("energies alone", ("energy",))):
        F, y, w, blocks = (
            np.concatenate(column) for column in zip(*(joined(batches, name) for name in names), strict=True)
        )
        for name in ("energy", "forces"):
            X, y_test, _, _ = joined(judged, name)
            kept = np.abs(X).max(axis=1) > 1e-8 * np.abs(X).max()  # components that symmetry sets to 0
            yield fit, name, {"F": F, "y": y, "weights": w, "blocks": blocks}, X[kept], y_test[kept]


def lines(folder, element):
    """Yield the lines of the table for one element."""
    for fit, name, given, X, y_test in problems(folder, element):
        n = int(given["blocks"].max()) + 1
        sizes = np.unique(np.round(n * np.geomspace(1 / 32, 1, 16)).astype(int))
        common = {"y_test": y_test, "n_orders": N_ORDERS, "random_state": 0} | given
        F = common.pop("F")
        whole = rg.learning_curve(F, X, sizes=sizes, **common)
        truth = {
            "rigidity": np.exp(np.log(whole.median_rigidity()).mean(axis=0)),
            "rmse": np.sqrt((whole.rmse**2).mean(axis=0)),
        }
        for last in (n // 6, n // 4, n // 3, n // 2):
            end = int(np.argmin(np.abs(np.log(sizes / last))))
            after = int(np.argmin(np.abs(np.log(sizes / (2 * sizes[end])))))
            part = rg.LearningCurve(
                sizes[: end + 1],
                whole.rigidity[:, : end + 1],
                whole.rmse[:, : end + 1],
                whole.effective_dimension[:, : end + 1],
                whole.n_rows[:, : end + 1],
                whole.regularizer,
            )
            left = 1 - (part.effective_dimension[:, -1] / part.n_rows[:, -1]).mean()
            ratios = [part.forecast(int(sizes[after]), what).value / truth[what][after] for what in truth]
            cells = element, fit, name, f"{sizes[end]} → {sizes[after]}", f"{left:.2f}", *(f"{r:.2f}" for r in ratios)
            yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("elements", nargs="+")
    arguments = parser.parse_args()
    print("| set | fit | of | structures | m/n | forecast over found: R | RMSE |")
    print("|" + " --- |" * 4 + " --: |" * 3)
    for element in arguments.elements:
        for line in lines(arguments.folder, element):
            print(line, flush=True)
