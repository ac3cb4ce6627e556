"""Errors and times of sparse kernel models beside linear ones: the table of docs/kernels.md.

    python benches/sparse_kernels.py FOLDER Si Li

FOLDER holds Si-training.xyz, Si-test.xyz, … with energies and forces, such as the mlearn sets of
Zuo et al., J. Phys. Chem. A 124 (2020) 731. Times are those of the fit alone, wall clock and
processor, on one thread of each library if OMP_NUM_THREADS, RAYON_NUM_THREADS and
RIGIDITIES_NUM_THREADS are 1. Peak memory is that of the process, so give one model at a time for it:

    python benches/sparse_kernels.py FOLDER Si --only 500
"""

import argparse
import resource
import time
import warnings
from pathlib import Path

from ase.io import read

import rigidities as rg
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel, SparseKernel

WEIGHTS = (1000.0, 3000.0)
"""Of energies per atom, beside forces of weight 1."""

POINTS = (0, 250, 500, 1000)
"""0: the linear model."""


def measure(folder, element, n_points, weight):
    train, test = (read(folder / f"{element}-{name}.xyz", ":") for name in ("training", "test"))
    loss = rg.Loss(energy=rg.Term(weight, per_atom=True), forces=rg.Term())
    kernel = SparseKernel(n_points=n_points) if n_points else None
    wall, processor = time.perf_counter(), time.process_time()
    model = LinearModel.fit(train, Soap(element), loss, kernel=kernel, progress=False)
    times = f"{time.perf_counter() - wall:.0f} | {time.process_time() - processor:.0f}"
    errors = model.errors(test, progress=False).values()
    figures = " | ".join(f"{1000 * error.mae:.3g}" for error in errors)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    name = f"{n_points} points" if n_points else "linear"
    return f"| {element} | {name} | {weight:g} | {model.soap.n_features} | {figures} | {times} | {peak:.1f} |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("elements", nargs="+")
    parser.add_argument("--only", type=int, choices=POINTS, help="number of points; 0 for the linear model")
    arguments = parser.parse_args()
    print("| set | model | weight | features | energy, meV/atom | forces, meV/Å | s | s of processor | GB |")
    for element in arguments.elements:
        for weight in WEIGHTS:
            for n_points in POINTS if arguments.only is None else (arguments.only,):
                print(measure(arguments.folder, element, n_points, weight), flush=True)
