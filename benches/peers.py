"""Our speed beside what people would use instead: each pair interleaved in one run, on a machine that was seen to be
quiet.

    python benches/peers.py [--short] [--output benches/results/NAME.json]

A ratio is the peer's best time over ours: above 1 we are faster. OpenBLAS's threads spin while they wait and lose
most of their speed when another process takes one of the cores, which would flatter us; so what others use of the
machine is looked at while a pair runs, a disturbed pair is measured again, and what was seen is kept in the result.
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import losses
import machine
import numpy as np
import scipy.linalg
import skmatter.metrics
from pipeline import accumulate
from scipy.linalg.lapack import dpotrf

import rigidities as rg
from rigidities.interop import skmatter as drop_in

#: What `import rigidities` must not load.
HEAVY = ("torch", "sklearn", "ase", "dask", "matplotlib", "scipy")

#: Seconds that a call may cost over its arithmetic.
ALLOWED = 15e-6


@dataclass
class Pair:
    """Two ways to do the same work, and how many times as fast ours should be."""

    work: str
    p: int | None
    peer: str
    goal: float
    ours: Callable[[], object]
    theirs: Callable[[], object]
    flops: float | None = None
    rounds: int = 5
    #: What the two durations become before they are compared, where the work is not the same.
    compared: Callable[[float, float], tuple[float, float]] = lambda ours, theirs: (ours, theirs)


@dataclass
class Result:
    """One line of the table."""

    work: str
    p: int | None
    peer: str
    goal: float
    ratio: float
    spread: float
    ours_ms: float
    peer_ms: float
    gigaflops: float | None
    busy: float | None


def measure(pair, tries):
    """Time both in turn; the best of each counts."""
    times, busy = machine.measure((pair.ours, pair.theirs), pair.rounds, tries)
    ours, theirs = pair.compared(*times.min(axis=0))
    ratios = [other / mine for mine, other in (pair.compared(*row) for row in times)]
    spread = statistics.pstdev(ratios) / statistics.fmean(ratios)
    rate = None if pair.flops is None else pair.flops / ours / 1e9
    return Result(
        pair.work, pair.p, pair.peer, pair.goal, theirs / ours, spread, 1e3 * ours, 1e3 * theirs, rate, busy
    )  # fmt: skip


def line(result):
    """One row of the table on the terminal."""
    work = result.work if result.p is None else f"{result.work}, p = {result.p}"
    rate = "" if result.gigaflops is None else f"{result.gigaflops:7.1f} GF/s"
    verdict = "met" if result.ratio >= result.goal else "MISSED"
    compared = f"{result.ratio:8.2f} of {result.goal:6.2f} {verdict:7}"
    return f"{work:52}{result.peer:36}{compared}{rate}{machine.alone(result.busy)}"


def importing():
    """The cost of `import rigidities`, and that it loads nothing heavy."""
    run = lambda code: subprocess.run([sys.executable, "-c", code], check=True)
    run(f"import sys, rigidities; loaded = set({HEAVY}) & set(sys.modules); assert not loaded, loaded")
    yield Pair(
        "`import rigidities`", None, "`import numpy, scipy.linalg`", 1 / 1.3,
        lambda: run("import rigidities"), lambda: run("import numpy, scipy.linalg"),
    )  # fmt: skip


def accumulation(sizes, n):
    """Ungrouped rows: float64, float32 with exact sums, float32 with float32 products."""
    rng = np.random.default_rng(0)
    for p in sizes:
        X = rng.normal(size=(n, p))
        X32 = X.astype(np.float32)
        ours, theirs, flops = lambda: accumulate(X), lambda: X.T @ X, n * p * p
        yield Pair("`update`, float64", p, "NumPy `X.T @ X`", 0.8 if p <= 512 else 1.0, ours, theirs, flops)
        exact = lambda: accumulate(X32)
        yield Pair("`update` from float32, exact sums", p, "our float64", 0.95, exact, ours, flops)
        if p > 512 or p == sizes[-1]:
            single = lambda: accumulate(X32, precision="float32")
            yield Pair('`update`, `precision="float32"`', p, "NumPy float64 `X.T @ X`", 1.8, single, theirs, flops)


def torch_products(sizes, n):
    """PyTorch's product, where it is installed; last, because its threads stay."""
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    for p in sizes:
        X = np.random.default_rng(0).normal(size=(n, p))
        T = torch.from_numpy(X)
        ours = lambda: accumulate(X)
        yield Pair("`update`, float64", p, "PyTorch `X.T @ X`", 1.0, ours, lambda: T.T @ T, n * p * p)


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

        work, peer = "64 atoms a structure", "reshape, sum, `F.T @ F`"
        yield Pair(work, p, "`numpy.add.reduceat` alone", 8.0, ours, lambda: np.add.reduceat(X, starts))
        yield Pair(work, p, peer, 1.0, ours, reshape)
        yield Pair(f"{work}, shuffled labels", p, f"{peer} of sorted rows", 1.0, lambda: ours(shuffled), reshape)


def factorization(sizes):
    """H = C + λ, a new factor each time, against SciPy and raw LAPACK."""
    goals = {1024: (2.0, 1.25), 2048: (2.0, 1.15), 4096: (1.7, 1.05)}
    rng = np.random.default_rng(2)
    for p in sizes:
        covariance = accumulate(rng.normal(size=(2 * p, p)))
        H = covariance.matrix() + np.eye(p)
        F = np.asfortranarray(H)
        scipys, raw = goals.get(p, (1.0, 1.0))
        ours, flops = lambda: covariance.factorize(1.0), p**3 / 3
        scipy_cholesky = lambda: scipy.linalg.cholesky(H, lower=True)
        yield Pair("`factorize`", p, "`scipy.linalg.cholesky`", scipys, ours, scipy_cholesky, flops)
        yield Pair("`factorize`", p, "LAPACK `dpotrf`, Fortran order", raw, ours, lambda: dpotrf(F, lower=1), flops)


def factorization_rate(sizes, n):
    """Flop a second of `factorize` over those of `update`: accumulation's time counts for as many flop."""
    for p in sizes:
        X = np.random.default_rng(2).normal(size=(n, p))
        covariance = accumulate(X)
        yield Pair(
            "`factorize`, GF/s", p, "our `update`, GF/s", 0.88,
            lambda: covariance.factorize(1.0), lambda: accumulate(X), p**3 / 3, rounds=3,
            compared=lambda ours, theirs: (ours, theirs * p / (3 * n)),
        )  # fmt: skip


def scoring(sizes, n):
    """Variances of many rows, in float64 and in float32."""
    goals = {1024: 1.4, 2048: 1.2, 4096: 1.1}
    rng = np.random.default_rng(3)
    for p in sizes:
        X = rng.normal(size=(n, p))
        X32 = X.astype(np.float32)
        covariance = accumulate(X)
        hessian = covariance.factorize(1.0)
        L = scipy.linalg.cholesky(covariance.matrix() + np.eye(p), lower=True)
        theirs = lambda: np.square(scipy.linalg.solve_triangular(L, X.T, lower=True)).sum(axis=0)
        ours, flops = lambda: hessian.variance(X), n * p * p
        yield Pair("`variance`", p, "`solve_triangular`, norms", goals.get(p, 1.0), ours, theirs, flops)
        single = lambda: hessian.variance(X32, precision="float32")
        yield Pair('`variance`, `precision="float32"`', p, "our float64", 1.7, single, ours, flops)


def in_pieces(X, rows):
    """Structures of 64 atoms, so many rows a call."""
    covariance, groups = rg.Covariance(X.shape[1]), np.repeat(np.arange(rows // 64), 64)
    for start in range(0, len(X), rows):
        covariance.update(X[start : start + rows], groups=groups)


def streaming(p, n_structures):
    """Single structures against batches of 32."""
    X = np.random.default_rng(5).normal(size=(64 * n_structures, p))
    yield Pair(
        "stream of single structures", p, "batches of 2,048 rows", 0.8,
        lambda: in_pieces(X, 64), lambda: in_pieces(X, 2048),
    )  # fmt: skip


def calling(p, n_structures):
    """What a call costs: the same structures, one a call and 32 a call, do the same arithmetic.

    The difference is divided by the calls saved. That a single structure keeps one core alone busy counts as a cost.
    """
    X = np.random.default_rng(6).normal(size=(64 * n_structures, p))
    saved = n_structures - n_structures // 32
    yield Pair(
        "a call of 64 rows, over its arithmetic", p, f"{1e6 * ALLOWED:.0f} µs allowed", 1.0,
        lambda: in_pieces(X, 64), lambda: in_pieces(X, 2048), rounds=9,
        compared=lambda ours, theirs: (max(ours - theirs, 1e-9) / saved, ALLOWED),
    )  # fmt: skip


def threads(p, n):
    """All threads against one."""
    X = np.random.default_rng(7).normal(size=(n, p))
    count = rg.get_num_threads()

    def one():
        rg.set_num_threads(1)
        try:
            accumulate(X)
        finally:
            rg.set_num_threads(count)

    work = f"`update` on {count} threads"
    yield Pair(work, p, "one thread", 0.9 * count, lambda: accumulate(X), one, n * p * p)


def scikit_matter(sizes, n_atoms):
    """LPR and CPR as scikit-matter's users call them, training included."""
    goals = {1024: 6.0, 2048: 12.0}
    for p in sizes:
        arguments = training_and_test(p, n_atoms)
        yield Pair(
            f"LPR of {n_atoms:,} atoms", p, "scikit-matter", goals.get(p, 1.0),
            lambda: drop_in.local_prediction_rigidity(*arguments),
            lambda: skmatter.metrics.local_prediction_rigidity(*arguments), rounds=1,
        )  # fmt: skip
    p = sizes[0]
    components = (*training_and_test(p, n_atoms), np.full(8, p // 8))
    yield Pair(
        "CPR with 8 components, same atoms", p, "scikit-matter", 100.0,
        lambda: drop_in.componentwise_prediction_rigidity(*components),
        lambda: skmatter.metrics.componentwise_prediction_rigidity(*components), rounds=1,
    )  # fmt: skip


def training_and_test(p, n_atoms):
    """Structures of 50 atoms, a fifth of them for training, and λ."""
    structures = np.array_split(np.random.default_rng(4).normal(size=(n_atoms, p)), n_atoms // 50)
    return structures[: len(structures) // 5], structures, 1e-6


def suite(short):
    """All pairs, or a short form that only shows that they still run."""
    sizes = [128] if short else [1024, 2048, 4096]
    n = 1024 if short else 16_384
    yield from importing()
    yield from accumulation([64, *sizes] if short else [512, *sizes], n)
    yield from grouped([64] if short else [256, 1024], 40 if short else 2000)
    yield from factorization(sizes)
    yield from factorization_rate(sizes if short else [4096, 8192], n // 2)
    yield from scoring(sizes, n)
    yield from streaming(sizes[0], 64 if short else 800)
    yield from calling(64 if short else 256, 64 if short else 3200)
    yield from threads(sizes[0] if short else 2048, n)
    yield from scikit_matter([64] if short else [1024, 2048], 500 if short else 50_000)
    yield from losses.suite(Pair, short)
    yield from torch_products(sizes, n)


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--output", type=Path, help="JSON file to write or to add to")
    arguments = parser.parse_args()
    results = []
    for pair in suite(arguments.short):
        results.append(measure(pair, tries=1 if arguments.short else 3))
        print(line(results[-1]), flush=True)
    if arguments.output:
        machine.save(arguments.output, results=[asdict(r) for r in results])
    missed = [r for r in results if r.ratio < r.goal]
    print(f"{len(results) - len(missed)} of {len(results)} goals met")


if __name__ == "__main__":
    main()
