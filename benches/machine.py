"""The machine a benchmark runs on: what it is, whether it is quiet, and what it can do at most.

Calls are timed in turn, each after the process has come to rest, and again if others used the
machine meanwhile. The roofline (the rates of reading memory and of a matrix product) is what no
implementation gets past.

    python benches/machine.py     # prints the description
"""

import functools
import gc
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import environment
import numpy as np
import scipy.linalg  # noqa: F401 (SciPy brings a BLAS of its own, which the description names)
import threadpoolctl
from records import QUIET

import rigidities as rg

#: Seconds between two looks at whether this process has come to rest.
PAUSE = 0.02

#: Units whose presence decides how fast a core multiplies, the widest first.
VECTOR_UNITS = ("avx512f", "avx2", "avx", "sve", "asimd")


def cpuinfo(*keys):
    """First entry of one of these names in what the system tells of its processors, or nothing."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


#: Distributions whose versions decide the figures; those that are not installed are left out.
PACKAGES = ("numpy", "scipy", "skmatter", "featomic", "scikit-learn-intelex", "torch")


def blas_libraries():
    """What NumPy and SciPy multiply with: threadpoolctl's entry of each library."""
    return [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def version(package):
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def description():
    """Processor, cores, vector unit, BLAS with its kernel, threads and versions: what the figures depend on."""
    flags = cpuinfo("flags", "Features").split()
    blas = {
        f"{x['internal_api']} {x['version']} ({x.get('architecture', 'unknown kernel')}), {x['num_threads']} threads"
        for x in blas_libraries()
    }
    installed = {package: found for package in PACKAGES if (found := version(package)) is not None}
    return {
        "processor": cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "vector": next((unit for unit in VECTOR_UNITS if unit in flags), platform.machine()),
        "threads": rg.get_num_threads(),
        "blas": sorted(blas),
        "versions": {"python": platform.python_version(), "rigidities": rg.__version__, **installed},
    }


def require_equal_threads():
    """End the process if a BLAS has another number of threads than we have, which would be no fair comparison."""
    ours = rg.get_num_threads()
    for library in blas_libraries():
        if library["num_threads"] != ours:
            sys.exit(
                f"{library['internal_api']} runs {library['num_threads']} threads and rigidities {ours}: "
                "give both the same cores, for example by `taskset --cpu-list 0-3 make bench`"
            )


def clocks():
    """Seconds that all cores were there for, that they worked, and that they worked for us; None if it is not told."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    ticks = [int(x) for x in path.read_text().split("\n", 1)[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / hertz, (sum(ticks) - ticks[3] - ticks[4]) / hertz, sum(os.times()[:4])


def busy_fraction(before, after):
    """Share of all cores that others used between two looks at the clocks."""
    if before is None or after is None:
        return None
    there, worked, ours = np.subtract(after, before)
    return float(max(worked - ours, 0) / there) if there > 0 else 0.0


def come_to_rest(limit=2.0):
    """Wait until no thread of this process works: OpenBLAS's spin for 0.1 s after a call, on cores needed next."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(PAUSE)
        if time.process_time() - before < 0.05 * PAUSE:
            return


def seconds(call):
    """Duration of one call on a machine at rest."""
    come_to_rest()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternate(calls, rounds):
    """Durations (rounds, calls), each call in turn, and what others used of the machine from shortly before to the end.

    One call each warms up, unless a single round is all there is time for.
    """
    gc.collect()
    come_to_rest()
    before = clocks()
    time.sleep(0.3)
    for call in calls if rounds > 1 else ():
        call()
    times = np.array([[seconds(call) for call in calls] for _ in range(rounds)])
    return times, busy_fraction(before, clocks())


def measure(calls, rounds=5, tries=3):
    """`alternate`, again while the machine is not quiet; the quietest of the tries counts."""
    best = None
    for _ in range(tries):
        times, busy = alternate(calls, rounds)
        if best is None or busy < best[1]:
            best = times, busy
        if busy is None or busy < QUIET:
            break
    return best


def best_rate(call, work, tries):
    """Billions of something a second at the best of five, and how busy others were."""
    times, busy = measure([call], tries=tries)
    return float(work / times.min() / 1e9), busy


def streaming_sum(array, pool, parts):
    """Read an array once, on all threads."""
    for _ in pool.map(np.sum, np.array_split(array, parts)):
        pass


def roofline(short=False):
    """Peaks: reading memory (GB/s; the array is larger than caches are) and OpenBLAS's square product (GF/s)."""
    length, size, tries = (1 << 18, 128, 1) if short else (1 << 26, 2048, 3)
    threads = rg.get_num_threads()
    array = np.ones(length)
    with ThreadPoolExecutor(threads) as pool:
        read, *busy = best_rate(functools.partial(streaming_sum, array, pool, threads), array.nbytes, tries)
    roof = {"read_gigabytes": read}
    for dtype in ("float64", "float32"):
        A = np.random.default_rng(0).normal(size=(size, size)).astype(dtype)
        B = A.T.copy()
        roof[f"{dtype}_gigaflops"], others = best_rate(lambda A=A, B=B: A @ B, 2 * size**3, tries)
        busy.append(others)
    known = [share for share in busy if share is not None]
    return roof | {"busy": max(known, default=None)}


if __name__ == "__main__":
    environment.refuse()
    for name, value in description().items():
        print(f"{name}: {value}")
