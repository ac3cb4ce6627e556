"""Our speed beside what people would use instead.

    python benches/run.py [--short]                    # all suites, in a clean environment
    python benches/peers.py [--short] [--output FILE]  # this one alone; refuses an unclean environment

Each pair is interleaved in one run, on a machine that was seen to be quiet (`pairs.py`). Pairs of
what a loss with forces adds are in `losses.py`, of selection in `selecting.py`, and with packages
that may be missing in `optional.py`.
"""

import subprocess
import sys
from dataclasses import asdict

import losses
import numpy as np
import optional
import scipy.linalg
import selecting
import skmatter.metrics
import suite
from pairs import Pair, measure
from scipy.linalg.lapack import dpotrf
from table import line
from workload import accumulate, rows_of

import rigidities as rg
from rigidities.interop import skmatter as drop_in

#: What `import rigidities` must not load.
HEAVY = ("torch", "sklearn", "ase", "dask", "matplotlib", "scipy")

#: Seconds that a call may cost over its arithmetic, and the least that such a difference can
#: resolve.
ALLOWED, RESOLVED = 15e-6, 1e-6


def importing():
    """The cost of `import rigidities`, and that it loads nothing heavy."""
    run = lambda code: subprocess.run([sys.executable, "-c", code], check=True)
    run(f"import sys, rigidities; loaded = set({HEAVY}) & set(sys.modules); assert not loaded, loaded")
    yield Pair(
        "`import rigidities`", None, "`import numpy, scipy.linalg`", 1 / 1.3,
        lambda: run("import rigidities"), lambda: run("import numpy, scipy.linalg"),
    )  # fmt: skip


def accumulation(sizes, n):
    """Ungrouped rows in float64, at least so many numbers that few features fill more than the caches."""
    for p in sizes:
        X = np.random.default_rng(0).normal(size=(rows_of(p, n), p))
        ours, theirs, flops = lambda: accumulate(X), lambda: X.T @ X, len(X) * p * p
        yield Pair("`update`, float64", p, "NumPy `X.T @ X`", 1.0, ours, theirs, flops, X.nbytes)


def accumulation_of_float32(sizes, n):
    """The same from float32 rows: with exact sums, and with products in float32."""
    for p in sizes:
        X = np.random.default_rng(0).normal(size=(n, p))
        X32 = X.astype(np.float32)
        exact, double, flops = lambda: accumulate(X32), lambda: accumulate(X), n * p * p
        yield Pair("`update` from float32, exact sums", p, "our float64", 0.95, exact, double, flops, X32.nbytes)
        yield Pair(
            '`update`, `precision="float32"`', p, "NumPy float64 `X.T @ X`", 1.8,
            lambda: accumulate(X32, precision="float32"), lambda: X.T @ X, flops, X32.nbytes, "float32",
        )  # fmt: skip


def square_root_accumulation(sizes, n):
    """The triangular factor of the rows, beside their sums and beside NumPy's QR of rows in memory."""
    for p in sizes:
        X = np.random.default_rng(0).normal(size=(n, p))
        ours, flops = lambda: accumulate(X, accumulation="qr"), 2 * n * p * p
        work = '`update`, `accumulation="qr"`'
        yield Pair(work, p, "our `update`, float64", 1 / 2.5, ours, lambda: accumulate(X), flops, X.nbytes)
        yield Pair(
            work, p, "NumPy `linalg.qr`, R alone", 1.0, ours, lambda: np.linalg.qr(X, "r"), flops, X.nbytes, rounds=2
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

        work, peer = "64 atoms a structure", "reshape, sum, `F.T @ F`"
        size = {"flops": n_structures * p * p, "read_bytes": X.nbytes}
        yield Pair(work, p, "`numpy.add.reduceat` alone", 8.0, ours, lambda: np.add.reduceat(X, starts), **size)
        yield Pair(work, p, peer, 1.0, ours, reshape, **size)
        work, peer = f"{work}, shuffled labels", f"{peer} of sorted rows"
        yield Pair(work, p, peer, 0.8 if p <= 256 else 1.0, lambda: ours(shuffled), reshape, **size)


def factorization(sizes):
    """H = C + λ, a new factor each time, against SciPy and raw LAPACK, which copies H too."""
    goals = {1024: (2.0, 1.1), 2048: (2.0, 1.05), 4096: (1.7, 1.05)}
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


def changing(p, k):
    """Rows added to a factor and removed from it, beside summing them and factorising again; on all threads, on one."""
    rng = np.random.default_rng(8)
    covariance, rows = accumulate(rng.normal(size=(2 * p, p))), rng.normal(size=(k, p))
    hessian, count = covariance.factorize(1.0), rg.get_num_threads()

    def there_and_back():
        hessian.update(rows)
        hessian.downdate(rows)

    def again(times=1):
        for _ in range(times):
            covariance.update(rows)
            covariance.factorize(1.0)

    def on(n_threads, call):
        rg.set_num_threads(n_threads)
        try:
            call()
        finally:
            rg.set_num_threads(count)

    for n in sorted({1, count}, reverse=True):
        threads = "one thread" if n == 1 else f"{n} threads"
        yield Pair(
            f"`Hessian.update` with {k} rows, {threads}", p, "`update`, `factorize`", 5.0,
            lambda n=n: on(n, lambda: hessian.update(rows)), lambda n=n: on(n, again), 2 * k * p * p, 8 * p * p,
        )  # fmt: skip
        yield Pair(
            f"the same and `downdate`, {threads}", p, "`update`, `factorize`, twice", 5.0,
            lambda n=n: on(n, there_and_back), lambda n=n: on(n, lambda: again(2)), 5 * k * p * p, 20 * p * p,
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
        yield Pair("`variance`", p, "`solve_triangular`, norms", goals.get(p, 1.0), ours, theirs, flops, X.nbytes)
        single, work = lambda: hessian.variance(X32, precision="float32"), '`variance`, `precision="float32"`'
        yield Pair(work, p, "our float64", 1.7, single, ours, flops, X32.nbytes, "float32")


def in_pieces(X, rows):
    """Structures of 64 atoms, so many rows a call."""
    covariance, groups = rg.Covariance(X.shape[1]), np.repeat(np.arange(rows // 64), 64)
    for start in range(0, len(X), rows):
        covariance.update(X[start : start + rows], groups=groups)


def streaming(p, n_structures, runs):
    """Single structures against batches of 32; the worst of several runs counts."""
    X = np.random.default_rng(5).normal(size=(64 * n_structures, p))
    yield Pair(
        f"stream of single structures, worst of {runs} runs", p, "batches of 2,048 rows", 0.8,
        lambda: in_pieces(X, 64), lambda: in_pieces(X, 2048), n_structures * p * p, X.nbytes, runs=runs,
    )  # fmt: skip


def calling(p, n_structures):
    """What a call costs: the same structures, one a call and 32 a call, do the same arithmetic.

    The difference is divided by the calls saved. That a single structure keeps one core alone busy
    counts as a cost.
    """
    X = np.random.default_rng(6).normal(size=(64 * n_structures, p))
    saved = n_structures - n_structures // 32
    yield Pair(
        "a call of 64 rows, over its arithmetic", p, f"{1e6 * ALLOWED:.0f} µs allowed", 1.0,
        lambda: in_pieces(X, 64), lambda: in_pieces(X, 2048), rounds=9,
        compared=lambda ours, theirs: (max((ours - theirs) / saved, RESOLVED), ALLOWED),
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
    yield Pair(work, p, "one thread", 0.9 * count, lambda: accumulate(X), one, n * p * p, X.nbytes)


def scikit_matter(sizes, n_atoms):
    """LPR and CPR as scikit-matter's users call them, training included; flop are those of the atoms' variances."""
    goals = {1024: 6.0, 2048: 12.0}
    for p in sizes:
        arguments = training_and_test(p, n_atoms)
        yield Pair(
            f"LPR of {n_atoms:,} atoms", p, "scikit-matter", goals.get(p, 1.0),
            lambda: drop_in.local_prediction_rigidity(*arguments),
            lambda: skmatter.metrics.local_prediction_rigidity(*arguments), n_atoms * p * p, rounds=1,
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


def all_pairs(short):
    """All pairs, or a short form that only shows that they still run."""
    sizes = [128] if short else [1024, 2048, 4096]
    n = 1024 if short else 16_384
    yield from importing()
    yield from accumulation([64, 128] if short else [64, 128, 256, 512, *sizes], n)
    yield from accumulation_of_float32(sizes, n)
    yield from square_root_accumulation([128] if short else [512, 1024, 2048], n // 2)
    yield from grouped([64] if short else [256, 1024], 40 if short else 2000)
    yield from factorization(sizes)
    yield from factorization_rate(sizes if short else [4096, 8192], n // 2)
    yield from changing(256 if short else 4096, 16)
    yield from scoring(sizes, n)
    yield from selecting.pairs(short)
    yield from streaming(sizes[0], 64 if short else 800, runs=2 if short else 5)
    yield from calling(64 if short else 256, 64 if short else 3200)
    yield from threads(sizes[0] if short else 2048, n)
    yield from scikit_matter([64] if short else [1024, 2048], 500 if short else 50_000)
    yield from losses.all_pairs(short)
    yield from optional.all_pairs(short)


def run(short, roof):
    """Measure and print every pair, then what was left out."""
    results = []
    for pair in all_pairs(short):
        results.append(asdict(measure(pair, tries=1 if short else 3)))
        print(line(results[-1], roof), flush=True)
    left_out = optional.left_out()
    for name in left_out:
        print(f"left out, because it is not installed: {name}")
    return {"results": results, "left_out": left_out}


if __name__ == "__main__":
    suite.run("peers", __doc__, run)
