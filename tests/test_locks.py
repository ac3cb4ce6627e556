"""An object that another thread uses: waits end with Ctrl-C, and a forked process is told."""

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals of POSIX")

START = """
import os, pickle, signal, sys, threading, time
import numpy as np, rigidities as rg
signal.signal(signal.SIGINT, signal.default_int_handler)
rg.set_num_threads(2)
X = np.random.default_rng(0).normal(size=(6000, 1800))
covariance = rg.Covariance(1800)
other = rg.Covariance(1800)
"""


def run(code):
    """Run code in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


CALLS = {
    "trace": "covariance.trace",
    "n_rows": "covariance.n_rows",
    "matrix": "covariance.matrix()",
    "update": "covariance.update(X[:3])",
    "merge": "other.merge(covariance)",
    "merge into": "covariance.merge(other)",
    "copy": "covariance.copy()",
    "pickle": "pickle.dumps(covariance)",
    "factorize": "covariance.factorize(1.0)",
}


def test_a_forked_process_is_told_that_another_thread_had_the_object():
    calls = ", ".join(f"lambda: {call}" for call in CALLS.values())
    said = run(f"""
        worker = threading.Thread(target=lambda: [covariance.update(X) for _ in range(4)])
        worker.start()
        time.sleep(0.2)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            for call in [{calls}]:
                try:
                    print("answered", call())
                except RuntimeError as error:
                    print(error)
            other.update(X)  # the pool of the parent is another one
            print(other.factorize(1.0).n_rows, flush=True)
            os._exit(0)
        assert worker.is_alive()
        assert os.waitpid(child, 0)[1] == 0
        worker.join()
        print(covariance.n_rows)
    """)
    assert len(said) == len(CALLS) + 2
    for line in said[: len(CALLS)]:
        assert line.startswith("this object was in use by another thread when this process forked")
    assert said[-2:] == ["6000", "24000"]


def test_forks_while_pools_start_and_factors_are_shared_do_not_hang():
    """The locks of the pool and of what a Hessian keeps are held for microseconds: many forks meet some of them."""
    said = run("""
        covariance.update(X[:2000])
        hessian = covariance.factorize(1.0)
        ends = []
        def work():
            k = 0
            while not ends:
                k += 1
                rg.set_num_threads(1 + k % 3)
                hessian.component_rigidity(X[:200], [slice(0, 40), slice(40, 90)])
                hessian.variance(X[:200], precision="float32")
        workers = [threading.Thread(target=work) for _ in range(2)]
        [worker.start() for worker in workers]
        n, deadline = 0, time.time() + 8
        while time.time() < deadline:
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                try:
                    rg.set_num_threads(2)
                    hessian.component_rigidity(X[:200], [slice(0, 40), slice(40, 90)])
                    hessian.variance(X[:200], precision="float32")
                    os._exit(0)
                except BaseException as error:
                    print(repr(error), flush=True)
                    os._exit(1)
            status = os.waitpid(child, 0)[1]
            n += status == 0
            if status:
                print("a child ended with", status)
        ends.append(1)
        [worker.join() for worker in workers]
        print(n)
    """)
    assert len(said) == 1, said
    assert int(said[0]) > 3


@pytest.mark.parametrize("call", list(CALLS))
def test_a_wait_for_another_thread_ends_with_ctrl_c(call):
    said = run(f"""
        pid = os.getpid()
        worker = threading.Thread(target=lambda: [covariance.update(X) for _ in range(6)])
        def interrupt():
            time.sleep(0.3)
            sent.append(time.monotonic())
            os.kill(pid, signal.SIGINT)
        sent = []
        worker.start()
        time.sleep(0.1)
        threading.Thread(target=interrupt).start()
        try:
            while worker.is_alive():
                {CALLS[call]}
        except KeyboardInterrupt:
            print(worker.is_alive(), time.monotonic() - sent[0])
        worker.join()
        print(covariance.n_rows % 6000 % 3)
    """)
    alive, seconds = said[0].split()
    assert alive == "True"
    assert float(seconds) < 1.0
    assert said[1] == "0"


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_wait_for_the_pool_ends_with_ctrl_c(n_threads):
    said = run(f"""
        rg.set_num_threads({n_threads})
        pid, sent = os.getpid(), []
        worker = threading.Thread(target=lambda: [covariance.update(X) for _ in range(6)])
        def interrupt():
            time.sleep(0.3)
            sent.append(time.monotonic())
            os.kill(pid, signal.SIGINT)
        worker.start()
        time.sleep(0.1)
        threading.Thread(target=interrupt).start()
        try:
            while worker.is_alive():
                other.update(X[:600])
        except KeyboardInterrupt:
            print(worker.is_alive(), time.monotonic() - sent[0])
        worker.join()
        print(other.n_rows % 600)
    """)
    alive, seconds = said[0].split()
    assert alive == "True"
    assert float(seconds) < 1.0
    assert said[1] == "0"


def test_threads_take_turns_without_long_pauses():
    """A waiting thread looks at a lock again before an eighth of its wait has passed once more."""
    said = run("""
        small = rg.Covariance(64)
        rows = np.ones((50, 64))
        def work():
            for _ in range(300):
                small.update(rows)
        start = time.perf_counter(); work(); alone = time.perf_counter() - start
        workers = [threading.Thread(target=work) for _ in range(4)]
        start = time.perf_counter()
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
        print(small.n_rows, (time.perf_counter() - start) < 20 * alone + 1)
    """)
    assert said == ["75000 True"]
