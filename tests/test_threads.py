"""Threads, Ctrl-C, fork: how computations run, seen from outside."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rigidities as rg


@pytest.fixture
def threads():
    """Restore the number of threads."""
    before = rg.get_num_threads()
    yield rg.set_num_threads
    rg.set_num_threads(before)


def run(code, **environment):
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def test_results_are_the_same_bits_on_any_number_of_threads(threads):
    rng = np.random.default_rng(0)
    X, G = rng.normal(size=(900, 777)), rng.normal(size=(600, 777))
    covariance = rg.Covariance(777)
    covariance.update(X)
    results = []
    for n_threads in (1, 2, 3, 8):
        threads(n_threads)
        hessian = covariance.factorize(0.5)
        results.append(
            [
                hessian.variance(G),
                hessian.solve(G[:300].T),
                np.array([hessian.log_determinant, hessian.rcond, hessian.effective_dimension]),
                hessian.component_rigidity(G, [300, 477]),
                hessian.prediction_covariance(G),
                hessian.prediction_covariance(G, G[:300]),
            ]
        )
    for others in results[1:]:
        for first, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(first, other)


def test_the_number_of_threads_can_be_set(threads):
    threads(3)
    assert rg.get_num_threads() == 3
    with pytest.raises(ValueError, match="n_threads is 0: expected a positive integer"):
        rg.set_num_threads(0)
    code = "import rigidities as rg; print(rg.get_num_threads())"
    assert run(code, RIGIDITIES_NUM_THREADS="5").stdout.strip() == "5"
    failed = run(code, RIGIDITIES_NUM_THREADS="many")
    assert 'RIGIDITIES_NUM_THREADS is "many": expected a positive integer' in failed.stderr


def test_threads_that_share_an_accumulator_lose_nothing():
    covariance = rg.Covariance(64)
    rng = np.random.default_rng(0)
    batches = rng.integers(-3, 4, size=(40, 50, 64)).astype(float)  # integers: sums are exact in any order

    def work(mine):
        for X in mine:
            covariance.update(X)
            covariance.matrix()

    workers = [threading.Thread(target=work, args=(batches[i::4],)) for i in range(4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    X = batches.reshape(-1, 64)
    np.testing.assert_array_equal(covariance.matrix(), X.T @ X)
    assert covariance.n_rows == 2000


def test_crosswise_merging_does_not_deadlock():
    a, b = rg.Covariance(300), rg.Covariance(300)
    a.update(np.eye(300)), b.update(np.eye(300))
    workers = [
        threading.Thread(target=lambda x=x, y=y: [x.merge(y) for _ in range(3)]) for x, y in ((a, b), (b, a)) * 4
    ]
    [worker.start() for worker in workers]
    [worker.join(timeout=60) for worker in workers]
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes():
    code = """
import os, warnings
import numpy as np, rigidities as rg
warnings.simplefilter("ignore")
def value():
    covariance = rg.Covariance(400)
    covariance.update(np.random.default_rng(0).normal(size=(600, 400)))
    return covariance.factorize(1.0).log_determinant
expected = value()  # the pool of the parent is made
child = os.fork()
if child == 0:
    os._exit(0 if value() == expected else 1)
print(os.waitpid(child, 0)[1], value() == expected)
"""
    assert run(code).stdout.split() == ["0", "True"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("call", ["covariance.factorize(1.0)", "covariance.update(X)"])
def test_ctrl_c_is_answered_and_leaves_objects_whole(call):
    """Each call takes seconds on one thread, and is made again should it end before the signal comes."""
    p = 5000
    code = f"""
import signal, time
import numpy as np, rigidities as rg
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may have inherited "ignore"
rg.set_num_threads(1)
X = np.random.default_rng(0).normal(size=(4000, {p}))
first = rg.Covariance({p})
first.update(X[:700])
before = first.matrix()
covariance = first
print("ready", flush=True)
try:
    while True:
        covariance = first.copy()
        {call}
except KeyboardInterrupt:
    caught = time.monotonic()
    whole = covariance.n_rows != 700 or (covariance.matrix() == before).all()
    print("interrupted", bool(whole), caught)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.stdout.read().split()
    assert process.returncode == 0
    assert said[:2] == ["interrupted", "True"]
    assert float(said[2]) - sent < 3.0  # a second, and room for a busy machine


def test_the_first_bad_row_is_named_on_several_threads(threads):
    threads(3)
    X = np.ones((600, 400))
    X[[130, 300, 470], 5] = np.nan
    for call in (rg.Covariance(400).update, rg.reduce_rows):
        with pytest.raises(ValueError, match=r"features\[130, 5\] is NaN"):
            call(X)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "5000"])
def test_impossible_numbers_of_threads_are_named(value):
    failed = run("import rigidities as rg; print(rg.get_num_threads())", RIGIDITIES_NUM_THREADS=value)
    assert f'RIGIDITIES_NUM_THREADS is "{value}": expected a positive integer' in failed.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_the_pool_has_as_many_threads_as_were_asked_for(threads):
    def pool_size(n):
        threads(n)
        covariance = rg.Covariance(400)
        covariance.update(np.ones((100, 400)))
        covariance.factorize(1.0)
        deadline = time.monotonic() + 10
        while True:  # threads of the pool before end on their own
            names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
            size = sum(name.startswith("rigidities-") for name in names)
            if size == n or time.monotonic() > deadline:
                return size
            time.sleep(0.05)

    assert [pool_size(n) for n in (2, 5, 3)] == [2, 5, 3]


def processors_of_pool():
    """Processors that each thread of the pool may use."""
    processors = {}
    for path in pathlib.Path("/proc/self/task").iterdir():
        try:
            if (path / "comm").read_text().startswith("rigidities-"):
                processors[int(path.name)] = os.sched_getaffinity(int(path.name))
        except OSError:  # a thread of an earlier pool has ended
            pass
    return processors


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs sched_getaffinity")
def test_threads_have_processors_of_their_own_while_they_compute(threads):
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("needs two processors")
    threads(2)
    covariance = rg.Covariance(1500)
    covariance.update(np.ones((2, 1500)))
    covariance.factorize(1.0)
    deadline = time.monotonic() + 10
    while len(processors_of_pool()) > 2 and time.monotonic() < deadline:
        time.sleep(0.05)  # threads of the pool before end on their own
    assert list(processors_of_pool().values()) == [allowed] * 2
    seen = []
    work = threading.Thread(target=lambda: [covariance.factorize(1.0) for _ in range(5)])
    work.start()
    while work.is_alive():
        seen.append(list(processors_of_pool().values()))
    work.join()
    apart = [(a, b) for a, b in seen if a < allowed and b < allowed]
    assert apart
    assert all(a != b for a, b in apart)
    assert list(processors_of_pool().values()) == [allowed] * 2


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_factorisation_stops_long_before_its_end(threads):
    threads(1)
    covariance = rg.Covariance(4500)
    covariance.update(np.ones((2, 4500)))
    start = time.perf_counter()
    covariance.factorize(1.0)
    whole = time.perf_counter() - start

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1 * whole)
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            covariance.factorize(1.0)
        assert time.perf_counter() - start < 0.8 * whole
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_handler_that_uses_the_object_gets_an_error(threads):
    """It would wait for the lock that the call it interrupts holds."""
    threads(1)
    X = np.random.default_rng(0).normal(size=(6000, 2000))
    covariance, seen = rg.Covariance(2000), []

    def look(*_):
        try:
            seen.append(covariance.n_rows)
        except RuntimeError as error:
            seen.append(str(error))

    before = signal.signal(signal.SIGALRM, look)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        covariance.update(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert covariance.n_rows == 6000
    assert len(seen) == 1
    assert "a signal handler cannot use the object whose computation it interrupted" in seen[0]


def test_bits_of_components_and_matrix_penalties_do_not_depend_on_threads(threads):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(500, 500))
    covariance = rg.Covariance(500)
    covariance.update(rng.normal(size=(700, 500)))
    G, results = rng.normal(size=(1500, 500)), []
    for n_threads in (1, 2, 3):
        threads(n_threads)
        hessian = covariance.factorize(penalty=A @ A.T)
        results.append(hessian.component_rigidity(G, [slice(0, 16), slice(0, 100), slice(100, 400)]))
        assert hessian.regularizer == covariance.factorize(penalty=A @ A.T).regularizer
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
