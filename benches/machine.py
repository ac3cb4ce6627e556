"""The machine a benchmark runs on: what it is, whether it is quiet, and what it can do at most.

Enters: calls to be timed in turn. Leaves: their durations, seen to be measured alone; the roofline (the rates of
reading memory and of a matrix product) that no implementation gets past; the file that keeps a machine's figures.

    python benches/machine.py     # prints the name of that file for today

Peers run at their best: variables that hold OpenBLAS back are unset before NumPy is loaded, so import this first.
"""

import datetime
import functools
import gc
import json
import os
import platform
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import numpy as np
import scipy.linalg
import skmatter
import threadpoolctl

import rigidities as rg

RESULTS = Path(__file__).parent / "results"

#: Share of all cores that others may use, above which a figure is marked as not measured alone.
QUIET = 0.05

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


def description():
    """Processor, cores, vector unit and versions: what the figures depend on."""
    flags = cpuinfo("flags", "Features").split()
    loaded = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    blas = {f"{x['internal_api']} {x['version']} ({x['architecture']}), {x['num_threads']} threads" for x in loaded}
    versions = {module.__name__: module.__version__ for module in (rg, np, scipy, skmatter)}
    return {
        "processor": cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "vector": next((unit for unit in VECTOR_UNITS if unit in flags), platform.machine()),
        "threads": rg.get_num_threads(),
        "blas": sorted(blas),
        "versions": {"python": platform.python_version(), **versions},
    }


def short_name(processor, cores, vector):
    """A machine in a file's name: "AMD EPYC 7763 64-Core Processor" is amd-epyc-7763-2-avx2."""
    plain = re.sub(r"\((R|TM)\)|@.*|\d+-Core|\b(CPU|Processor)\b", " ", processor)
    return re.sub(r"[^a-z0-9]+", "-", f"{plain} {cores} {vector}".lower()).strip("-")


def results_file():
    """Where today's figures of this machine belong."""
    this = description()
    return RESULTS / f"{datetime.date.today()}-{short_name(this['processor'], this['cores'], this['vector'])}.json"


def save(path, **parts):
    """Write these parts beside those that the same machine and versions have written to the file."""
    content = {"date": str(datetime.date.today()), "machine": description()}
    if path.exists():
        earlier = json.loads(path.read_text())
        content = earlier if earlier["machine"] == content["machine"] else content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | parts, indent=1) + "\n")


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


def alone(busy):
    """What to say behind a figure."""
    return "" if busy is None or busy < QUIET else f"  NOT ALONE ({busy:.0%} busy)"


if __name__ == "__main__":
    print(results_file())
