"""One object in several threads, and in processes that were forked or spawned."""

import multiprocessing
import os
import resource
import threading
import time
import warnings
from collections import Counter

import numpy as np
from attack import things
from attack.harness import refused, right
from attack.processes import bits, ended, forked

import rigidities as rg


def threads(rng, folder):
    """Some threads add rows of ones and others look: nobody sees a part of a batch, and none is lost."""
    p, n = int(rng.choice([3, 70, 300])), int(rng.integers(1, 600))
    covariance, part = rg.Covariance(p), rg.Covariance(p)
    part.update(np.ones((n, p)))
    X, seen, repeats = np.ones((n, p)), [], int(rng.integers(5, 30))

    def write():
        for i in range(repeats):
            covariance.merge(part) if i % 3 == 0 else covariance.update(X)

    def look():
        while any(writer.is_alive() for writer in writers):
            C = covariance.matrix()
            seen.append((C.min() == C.max()) and C.max() % n == 0 and covariance.n_rows % n == 0)
            seen.append(covariance.copy().trace % (n * p) == 0)

    writers = [threading.Thread(target=write) for _ in range(2)]
    readers = [threading.Thread(target=look) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers + readers:
        thread.join()
    assert all(seen), "a thread has seen half a batch"
    assert (covariance.matrix() == 2.0 * repeats * n).all()
    assert covariance.n_rows == 2 * repeats * n
    return right(len(seen) + 1)


def forks(rng, folder):
    """A process forks while a thread computes: the child computes, and the object in use is refused or whole."""
    p = int(rng.choice([50, 400, 1000]))
    used, free, counts = rg.Covariance(p), things.covariance(rng, p), Counter()
    X = rng.normal(size=(500, p))
    used.update(X)
    expected, stop = free.factorize(1.0).log_determinant, threading.Event()

    def work():
        while not stop.is_set():
            used.update(X) if rng.random() < 0.7 else used.factorize(1.0)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(6):
            time.sleep(rng.uniform(0, 0.03))
            assert ended(forked(lambda: _check_free(free, expected)), 15) == 0
            status = ended(forked(lambda: _use(used, len(X))), 15)
            assert status in (0, 3), f"exit status {status}"
            counts += right() + (refused() if status == 3 else right())
    finally:
        stop.set()
        worker.join()
    return counts


def _check_free(covariance, expected):
    assert covariance.factorize(1.0).log_determinant == expected


def _use(covariance, n):
    """Return 3 where the object is refused since a thread of the parent holds it."""
    try:
        assert covariance.n_rows % n == 0
        covariance.update(np.ones((n, covariance.n_features)))
        assert covariance.factorize(1.0).n_rows % n == 0
    except RuntimeError as error:
        if "fork" not in str(error):
            raise
        return 3


def pools(rng, folder):
    """The parts of a sum in a pool of processes, by each way of starting them."""
    p, seeds = int(rng.choice([5, 300])), [int(seed) for seed in rng.integers(1000, size=4)]
    expected = sum(summed(seed, p) for seed in seeds)
    method = str(rng.choice(multiprocessing.get_all_start_methods()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: threads run where a process forks
        with multiprocessing.get_context(method).Pool(2) as pool:
            parts = pool.starmap(summed, [(seed, p) for seed in seeds])
    assert bits(sum(parts)) == bits(expected), f"other sums in a pool of {method}"
    return right(len(seeds))


def summed(seed, p):
    return things.covariance(np.random.default_rng(seed), p, n_outputs=1)


def little_memory(rng, folder):
    """`ulimit -v` leaves little: each call succeeds or raises MemoryError; the process is never aborted."""
    counts = Counter()
    p = int(rng.choice([200, 700, 1500]))
    for _ in range(4):
        limit = int(rng.uniform(0, 3e8))
        status = ended(forked(lambda limit=limit: _compute_within(limit, p)), 40)
        assert status in (0, 3), f"exit status {status} with {limit / 1e6:.0f} MB of address space left at p = {p}"
        counts += right() if status == 0 else refused()
    return counts


def _compute_within(limit, p):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
    try:
        X = np.ones((300, p)) + np.eye(300, p)
        covariance = rg.Covariance(p)
        covariance.update(X, targets=np.ones(300))
        hessian = covariance.factorize(1.0)
        assert (hessian.variance(X) > 0).all()
        hessian.solve(X.T)
        covariance.factorize(1.0, consume=True)
    except MemoryError:
        return 3
