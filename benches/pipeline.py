"""The whole way from rows to rigidities over grids of n rows and p features: accumulate, factorize, score.

    python benches/run.py [--short]                       # all suites, in a clean environment
    python benches/pipeline.py [--short] [--output FILE]  # this one alone; refuses an unclean environment

It shows how the cost of each stage grows with n and p, fitted on the large sizes, and its rate
beside the roofline (`roofline.py`): a row takes p² flop and 8p bytes to accumulate or score, p/8
flop a byte, so that small p is bound by memory. A factorisation of p³/3 flop stands beside the peak
alone. There is one data set, larger than caches; each (n, p) takes the first n·p numbers of it.
"""

from dataclasses import asdict, dataclass
from itertools import product

import machine
import numpy as np
import suite
from roofline import bound
from table import alone
from workload import accumulate

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

#: Numbers n·p in the rows: 128, 256 and 512 MB.
DATA = (1 << 24, 1 << 25, 1 << 26)

#: From here on the exponents are fitted: below, calls and memory show beside the arithmetic.
LARGE = 1024

STAGES = ("accumulate", "factorize", "score")


@dataclass
class Point:
    """One stage at one size; `bound` is the roofline in GF/s, `read` the rows' GB/s."""

    stage: str
    n: int
    p: int
    ms: float
    gigaflops: float
    bound: float
    read: float | None
    busy: float | None


@dataclass
class Fit:
    """Cost ∝ n^α p^β; `residual` is the root mean square of ln(measured / fitted)."""

    stage: str
    exponents: dict[str, float]
    residual: float


def flops(stage, n, p):
    """A multiplication and an addition are two; of symmetric and triangular matrices one half is computed."""
    return p**3 / 3 if stage == "factorize" else n * p * p


def measure(X, roof, tries):
    """The three stages on one set of rows."""
    n, p = X.shape
    covariance = accumulate(X)
    hessian = covariance.factorize(1.0)
    calls = (lambda: accumulate(X), lambda: covariance.factorize(1.0), lambda: hessian.variance(X))
    times, busy = machine.measure(calls, rounds=3, tries=tries)
    for stage, duration in zip(STAGES, times.min(axis=0), strict=True):
        rate = flops(stage, n, p) / duration / 1e9
        read = None if stage == "factorize" else X.nbytes / duration / 1e9
        yield Point(stage, n, p, 1e3 * duration, rate, bound(stage, p, roof), read, busy)


def grid(sizes, data, roof, tries):
    """All points, printed as they come."""
    numbers = np.random.default_rng(0).standard_normal(max(data))
    for p, length in product(sizes, data):
        n = length // p
        for point in measure(numbers[: n * p].reshape(n, p), roof, tries):
            print(line(point), flush=True)
            yield point


def line(point):
    """One point on the terminal."""
    share = f"{point.gigaflops / point.bound:4.0%} of {point.bound:.1f}"
    read = "" if point.read is None else f"{point.read:7.2f} GB/s"
    return (
        f"{point.stage:11}n = {point.n:<9}p = {point.p:<6}{point.ms:9.2f} ms {point.gigaflops:7.2f} GF/s, {share}{read}"
        + alone(point.busy)
    )


def fit(stage, points):
    """Exponents of n and p by least squares in logarithms; a factorisation knows no n."""
    names = ("p",) if stage == "factorize" else ("n", "p")
    A = np.array([[1.0, *(np.log(getattr(point, name)) for name in names)] for point in points])
    cost = np.log([point.ms for point in points])
    solution = np.linalg.lstsq(A, cost)[0]
    residual = np.sqrt(np.mean((cost - A @ solution) ** 2))
    return Fit(stage, {name: float(x) for name, x in zip(names, solution[1:], strict=True)}, float(residual))


def fits(points, large):
    """One fit a stage."""
    for stage in STAGES:
        result = fit(stage, [point for point in points if point.stage == stage and point.p >= large])
        growth = " ".join(f"{name}^{exponent:.2f}" for name, exponent in result.exponents.items())
        print(f"{stage}: cost grows as {growth} for p >= {large}, off by {result.residual:.1%}")
        yield result


def run(short, roof):
    """Measure and print all points, then the fits."""
    sizes, data, large = ((16, 64, 128), (1 << 15, 1 << 16), 64) if short else (SIZES, DATA, LARGE)
    points = list(grid(sizes, data, roof, tries=1 if short else 3))
    growth = [asdict(x) for x in fits(points, large)]
    return {"pipeline": {"large": large, "fits": growth, "points": [asdict(x) for x in points]}}


if __name__ == "__main__":
    suite.run("pipeline", __doc__, run)
