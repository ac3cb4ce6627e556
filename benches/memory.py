"""Peak memory of each kind of work, beside the size of C: each runs in a process of its own.

    python benches/memory.py [--short]

A work prepares its input, then does what is measured. Counted is how far the resident memory rises
meanwhile (the peak, VmHWM of /proc/self/status, is set back before, so Linux alone). Rows that come
in are not counted, copies of them are.
"""

import gc
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import suite
from workload import accumulate

import rigidities as rg
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import LossRows, Soap
from rigidities.loss.structures import structures_of
from rigidities.model import LinearModel, SparseKernel

STATUS = Path("/proc/self/status")

N_POINTS = 500
"""Representative points of the sparse kernel."""


@dataclass
class Peak:
    """One line of the table."""

    work: str
    p: int
    megabytes: float
    #: The same in units of 8p² bytes, what C takes.
    arrays: float


def rows_of(p):
    """8,192 rows and their targets."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8192, p))
    return X, X @ rng.normal(size=p) + rng.normal(size=8192)


def with_targets(p, accumulation="sums"):
    """The same with targets."""
    X, y = rows_of(p)
    covariance = rg.Covariance(p, accumulation=accumulation)
    covariance.update(X, targets=y)
    return covariance


def update(p, accumulation="sums"):
    """Take up rows."""
    X, _ = rows_of(p)
    return lambda: accumulate(X, accumulation=accumulation)


def factorise(p, accumulation="sums", *, consume=False):
    """Factorise at a given λ."""
    covariance = with_targets(p, accumulation)
    return lambda: covariance.factorize(1.0, consume=consume)


def automatic(p, accumulation="sums"):
    """Factorise at the λ of the largest evidence."""
    covariance = with_targets(p, accumulation)
    return covariance.factorize


def path(p, accumulation="sums"):
    """Decompose for a path of λ."""
    covariance = with_targets(p, accumulation)
    return lambda: rg.regularizer_path(covariance).log_evidence


def silicon(p):
    """Structures, a descriptor of about p features, and a loss."""
    structures = load_silicon()
    soap = Soap("Si") if p > 100 else Soap("Si", cutoff=4.0, max_radial=2, max_angular=2)
    return structures if p > 100 else structures[::8], soap, rg.Loss(energy=rg.Term(per_atom=True), forces=rg.Term(0.1))


def leave_out(p):
    """Leave out each structure with its forces, at 50 λ, while rows are computed again."""
    structures, soap, loss = silicon(p)
    rows = LossRows(structures, soap, loss, progress=False)
    along = rg.regularizer_path(rg.loss_sums(rows).combined())
    along = along.at(along.regularizers[::4])
    return lambda: along.leave_out(structures_of(rows, loss))


def fit(p, kernel=None):
    """Fit energies and forces."""
    structures, soap, loss = silicon(p)
    return lambda: LinearModel.fit(structures, soap, loss=loss, kernel=kernel, progress=False)


WORKS = {
    "`update`": update,
    '`update`, `accumulation="qr"`': lambda p: update(p, "qr"),
    "`factorize(λ)`": factorise,
    "`factorize(λ, consume=True)`": lambda p: factorise(p, consume=True),
    '`factorize(λ)`, `"qr"`': lambda p: factorise(p, "qr"),
    "`factorize()`, largest evidence": automatic,
    '`factorize()`, largest evidence, `"qr"`': lambda p: automatic(p, "qr"),
    "`regularizer_path`": path,
    '`regularizer_path`, `"qr"`': lambda p: path(p, "qr"),
    "leaving out each structure, 50 λ": leave_out,
    "`LinearModel.fit`, energies and forces": fit,
    f"the same, sparse kernel of {N_POINTS} points": lambda p: fit(p, SparseKernel(2, N_POINTS if p > 100 else 50)),
}

OF_STRUCTURES = tuple(WORKS)[-3:]


def resident(key):
    """Resident memory of this process, VmRSS, or its peak, VmHWM, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def measured(work, p):
    """Growth of the resident memory while a work runs, in bytes: measured in this process."""
    call = WORKS[work](p)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is resident now
    before = resident("VmRSS")
    result = call()
    peak = resident("VmHWM")
    del result
    return peak - before


def in_process(work, p):
    """The same in a new process, which has no memory of earlier works."""
    command = [sys.executable, __file__, "--one", json.dumps([work, p])]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    growth = float(found.stdout.splitlines()[-1])
    return Peak(work, p, growth / 1e6, growth / (8 * p * p))


def run(short, roof):
    """Measure and print every work."""
    if not STATUS.exists():
        return {"memory": [{"work": "not measured: no /proc/self/status", "p": 0, "megabytes": 0.0, "arrays": 0.0}]}
    peaks = []
    for work in WORKS:
        of_structures = work in OF_STRUCTURES
        peak = in_process(work, (64 if short else 252) if of_structures else 128 if short else 2048)
        print(f"{peak.work:60} p = {peak.p:<6}{peak.megabytes:9.1f} MB {peak.arrays:7.2f} of C", flush=True)
        peaks.append(asdict(peak))
    return {"memory": peaks}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(measured(*json.loads(sys.argv[2])))
    else:
        suite.run("memory", __doc__, run)
