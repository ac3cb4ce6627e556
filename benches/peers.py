"""Our speed beside what people would use instead: each pair interleaved in one run, on a machine that was seen to be
quiet.

    python benches/peers.py [--short] [--output benches/results/NAME.json]

A ratio is the peer's best time over ours: above 1 we are faster. Peers run at their best: variables that hold
OpenBLAS back are unset before NumPy is loaded. OpenBLAS's threads spin while they wait and lose most of their speed
when another process takes one of the cores, which would flatter us; so the load is looked at before each pair and
kept in the result.
"""

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import numpy as np
import scipy.linalg
import skmatter.metrics
from scipy.linalg.lapack import dpotrf

import rigidities as rg
from rigidities.interop import skmatter as drop_in

#: Busy fraction of all cores, by others, above which a pair is marked as not measured alone.
QUIET = 0.05


#: OpenBLAS's threads spin for some 25 ms after a call, on cores that the next one needs.
PAUSE = 0.06


@dataclass
class Result:
    """One line of the table."""

    work: str
    peer: str
    goal: float
    ratio: float
    spread: float
    ours_ms: float
    peer_ms: float
    gigaflops: float | None
    busy: float


def cpu_times():
    """Jiffies that all cores spent working and idle."""
    values = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = values[3] + values[4]
    return sum(values) - idle, idle


def busy_fraction(seconds=0.3):
    """What others use of the machine while we sleep."""
    if not Path("/proc/stat").exists():
        return float("nan")
    work, idle = cpu_times()
    time.sleep(seconds)
    work_after, idle_after = cpu_times()
    return (work_after - work) / max(work_after - work + idle_after - idle, 1)


def seconds(f):
    """Duration of one call, once the threads of the one before have stopped spinning."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def compare(work, peer, goal, ours, theirs, flops=None, rounds=5):
    """Time both in turn, after one call each to warm up unless a single round is all there is time for."""
    gc.collect()
    busy = busy_fraction()
    if rounds > 1:
        ours(), theirs()
    times = np.array([(seconds(ours), seconds(theirs)) for _ in range(rounds)])
    mine, other = times.min(axis=0)
    ratios = times[:, 1] / times[:, 0]
    spread = statistics.pstdev(ratios) / statistics.fmean(ratios)
    rate = None if flops is None else flops / mine / 1e9
    result = Result(work, peer, goal, other / mine, spread, 1e3 * mine, 1e3 * other, rate, busy)
    print(line(result), flush=True)
    return result


def line(result):
    """One row of the table on the terminal."""
    rate = "" if result.gigaflops is None else f"{result.gigaflops:7.1f} GF/s"
    verdict = "met" if result.ratio >= result.goal else "MISSED"
    alone = "" if result.busy < QUIET else f"  NOT ALONE ({result.busy:.0%} busy)"
    return f"{result.work:52}{result.peer:28}{result.ratio:8.2f} of {result.goal:5.2f} {verdict:7}{rate}{alone}"


def accumulate(X, batch=2048, **kwargs):
    """C of rows that come in batches."""
    covariance = rg.Covariance(X.shape[1])
    for start in range(0, len(X), batch):
        covariance.update(X[start : start + batch], **kwargs)
    return covariance


def accumulation(sizes, n):
    """Ungrouped rows, float64 and float32."""
    rng = np.random.default_rng(0)
    for p in sizes:
        X = rng.normal(size=(n, p))
        goal = 0.8 if p <= 512 else 1.0
        yield compare(
            f"update, float64, p = {p}", "numpy X.T @ X", goal, lambda: accumulate(X), lambda: X.T @ X, n * p * p
        )
        single = X.astype(np.float32)
        yield compare(
            f"update from float32, exact sums, p = {p}",
            "our float64",
            0.95,
            lambda: accumulate(single),
            lambda: accumulate(X),
        )


def grouped(sizes, n_structures):
    """64 atoms a structure, sorted and shuffled."""
    rng = np.random.default_rng(1)
    for p in sizes:
        X = rng.normal(size=(64 * n_structures, p))
        labels = np.repeat(np.arange(n_structures), 64)
        shuffled = rng.permutation(labels)
        starts = np.arange(0, len(X), 64)

        def ours(groups=labels):
            rg.Covariance(p).update(X, groups=groups)

        def reshape():
            F = X.reshape(-1, 64, p).sum(axis=1)
            return F.T @ F

        yield compare(
            f"64 atoms a structure, p = {p}", "numpy.add.reduceat", 8.0, ours, lambda: np.add.reduceat(X, starts)
        )
        yield compare(f"64 atoms a structure, p = {p}", "reshape-sum, X.T @ X", 1.0, ours, reshape)
        yield compare(
            f"64 atoms, shuffled labels, p = {p}", "reshape-sum, X.T @ X", 1.0, lambda: ours(shuffled), reshape
        )


def factorization(sizes):
    """H = C + λ, a new factor each time, against SciPy and raw LAPACK."""
    goals = {1024: (2.0, 1.25), 2048: (2.0, 1.15), 4096: (1.7, 1.05)}
    rng = np.random.default_rng(2)
    for p in sizes:
        covariance = accumulate(rng.normal(size=(2 * p, p)))
        H = covariance.matrix() + np.eye(p)
        F = np.asfortranarray(H)
        scipys, raw = goals.get(p, (1.0, 1.0))
        ours = lambda covariance=covariance: covariance.factorize(1.0)
        yield compare(
            f"factorize, p = {p}", "scipy.linalg.cholesky", scipys, ours,
            lambda H=H: scipy.linalg.cholesky(H, lower=True), p**3 / 3,
        )  # fmt: skip
        yield compare(
            f"factorize, p = {p}", "dpotrf, Fortran order", raw, ours, lambda F=F: dpotrf(F, lower=1), p**3 / 3
        )


def scoring(sizes, n):
    """Variances of many rows."""
    goals = {1024: 1.4, 2048: 1.2, 4096: 1.1}
    rng = np.random.default_rng(3)
    for p in sizes:
        X = rng.normal(size=(n, p))
        covariance = accumulate(X)
        hessian = covariance.factorize(1.0)
        L = scipy.linalg.cholesky(covariance.matrix() + np.eye(p), lower=True)
        theirs = lambda L=L, X=X: np.square(scipy.linalg.solve_triangular(L, X.T, lower=True)).sum(axis=0)
        ours = lambda X=X, hessian=hessian: hessian.variance(X)
        yield compare(
            f"variance, n = {n}, p = {p}", "solve_triangular, norms", goals.get(p, 1.0), ours, theirs, n * p * p, 4
        )


def scikit_matter(sizes, n_atoms):
    """LPR and CPR as scikit-matter's users call them, training included."""
    goals = {1024: 6.0, 2048: 12.0}
    rng = np.random.default_rng(4)
    for p in sizes:
        X = rng.normal(size=(n_atoms, p))
        structures = np.array_split(X, n_atoms // 50)
        train = structures[: len(structures) // 5]
        arguments = (train, structures, 1e-6)
        yield compare(
            f"LPR of {n_atoms} atoms, p = {p}", "scikit-matter", goals.get(p, 1.0),
            lambda arguments=arguments: drop_in.local_prediction_rigidity(*arguments),
            lambda arguments=arguments: skmatter.metrics.local_prediction_rigidity(*arguments), rounds=1,
        )  # fmt: skip
    p = sizes[0]
    structures = np.array_split(rng.normal(size=(n_atoms, p)), n_atoms // 50)
    arguments = (structures[: len(structures) // 5], structures, 1e-6, np.full(8, p // 8))
    yield compare(
        f"CPR with 8 components, p = {p}", "scikit-matter", 100.0,
        lambda: drop_in.componentwise_prediction_rigidity(*arguments),
        lambda: skmatter.metrics.componentwise_prediction_rigidity(*arguments), rounds=1,
    )  # fmt: skip


def streaming(p, n_structures):
    """Single structures against batches; one thread against two."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(64 * n_structures, p))
    zeros, labels = np.zeros(64, dtype=np.int64), np.repeat(np.arange(32), 64)

    def stream(groups, rows):
        covariance = rg.Covariance(p)
        for start in range(0, len(X), rows):
            covariance.update(X[start : start + rows], groups=groups)

    yield compare(
        f"stream of single structures, p = {p}", "batches of 2,048 rows", 0.8,
        lambda: stream(zeros, 64), lambda: stream(labels, 2048),
    )  # fmt: skip


def threads(p, n):
    """Two threads against one."""
    X = np.random.default_rng(6).normal(size=(n, p))
    all_threads = rg.get_num_threads()

    def one():
        rg.set_num_threads(1)
        accumulate(X)
        rg.set_num_threads(all_threads)

    yield compare(f"accumulation on {all_threads} threads, p = {p}", "one thread", 1.8, lambda: accumulate(X), one)


def importing():
    """The cost of `import rigidities`."""
    run = lambda code: subprocess.run([sys.executable, "-c", code], check=True)
    yield compare(
        "import rigidities", "numpy, scipy.linalg", 1 / 1.3,
        lambda: run("import rigidities"), lambda: run("import numpy, scipy.linalg"),
    )  # fmt: skip


def suite(short):
    """All pairs, or a short form that only shows that they still run."""
    sizes = [128] if short else [1024, 2048, 4096]
    n = 1024 if short else 16_384
    yield from importing()
    yield from accumulation([64, *sizes] if short else [512, *sizes], n)
    yield from grouped([64] if short else [256, 1024], 40 if short else 2000)
    yield from factorization(sizes)
    yield from scoring(sizes, n)
    yield from streaming(sizes[0], 64 if short else 800)
    yield from threads(sizes[0] if short else 2048, n)
    yield from scikit_matter([64] if short else [1024, 2048], 500 if short else 50_000)


def machine():
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = next(
        (x.split(":")[1].strip() for x in text.splitlines() if x.startswith("model name")), platform.processor()
    )
    flags = next((x.split() for x in text.splitlines() if x.startswith("flags")), [])
    vector = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "unknown")
    versions = {"rigidities": rg.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
    return {"processor": model, "cores": os.cpu_count(), "vector": vector, "versions": versions}


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    results = list(suite(arguments.short))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        content = {"date": str(datetime.date.today()), "machine": machine(), "results": [asdict(r) for r in results]}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    missed = [r for r in results if r.ratio < r.goal]
    print(f"{len(results) - len(missed)} of {len(results)} goals met")


if __name__ == "__main__":
    main()
