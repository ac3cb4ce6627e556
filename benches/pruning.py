"""Prunings on real data: the tables of docs/selection.md.

    python benches/pruning.py FOLDER Si Li

FOLDER holds Si-training.xyz, Si-test.xyz, … such as the mlearn sets of Zuo et al., J. Phys. Chem. A
124 (2020) 731. A half, 90 % and 99 % of the training structures are taken away, with their energies
and forces. What is left is judged on all test structures.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from training_sets import Task, farthest, print_table

import rigidities as rg

REMOVED = 0.0, 0.5, 0.9, 0.99
N_RANDOM = 20
RULES = "determinant", "target_rigidity", "target_variance", "farthest points", "random"
HEADS = "mean R", "energies, meV/atom", "forces, meV/Å"


def kept(task, rule, numbers, seed=0):
    """Structures that stay after so many removals, for each number of removals."""
    n = len(task.kinds)
    if rule == "random":
        order = np.random.default_rng(seed).permutation(n)
    elif rule == "farthest points":  # those that a thinning keeps longest last
        order = farthest(task.means(np.arange(n)), np.empty((0, 0)), n)[::-1]
    else:
        gone = rg.prune(
            task.covariance(np.arange(n)).factorize(task.regularizer),
            task.rows.values,
            max(numbers),
            weights=task.rows.weights,
            blocks=task.rows.blocks,
            objective=rule,
            targets=None if rule == "determinant" else task.energy[0],
        ).labels
        order = np.concatenate([gone, np.setdiff1d(np.arange(n), gone)])
    return [order[number:] for number in numbers]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("elements", nargs="+")
    arguments = parser.parse_args()
    for element in arguments.elements:
        task = Task(arguments.folder, element)
        n = len(task.kinds)
        numbers = [round(share * n) for share in REMOVED]
        found = {}
        for rule in RULES:
            seeds = range(N_RANDOM) if rule == "random" else [0]
            found[rule] = np.array([[task.judge(left) for left in kept(task, rule, numbers, seed)] for seed in seeds])
        print(f"\n{element}: {n} structures, λ = {task.regularizer:.2g}")
        print_table(HEADS, [f"{n - number} left" for number in numbers], found)
