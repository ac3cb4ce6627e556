"""A Hessian that changes while others use it: threads, Ctrl-C, forks. Each sees the old state or the new one."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from test_interrupts import StopError, random_times, timer
from updates import factorized

__all__ = ["timer"]  # a fixture


def problem(n, p):
    X = np.random.default_rng(0).normal(size=(n, p))
    return X, factorized("sums", np.random.default_rng(1).normal(size=(p + 9, p)), regularizer=1.0)


@pytest.mark.parametrize(
    ("n", "p", "longest"),
    [
        pytest.param(3, 8, 2e-3, id="one thread"),
        pytest.param(16, 600, 0.02, id="in place"),
        pytest.param(100, 400, 0.03, id="in a copy"),
        pytest.param(600, 400, 0.05, id="anew"),
    ],
)
def test_a_change_that_raises_has_changed_nothing(timer, n, p, longest):
    X, hessian = problem(n, p)
    n_rows, n_interrupts = hessian.n_rows, 0
    hessian.update(X)
    hessian.downdate(X)
    for seconds in random_times(longest):
        try:
            timer(seconds)
            while True:
                hessian.update(X)
                n_rows += n  # no signal is handled between the return of a function and the next statement
                hessian.downdate(X)
                n_rows -= n
        except StopError:
            n_interrupts += 1
        assert hessian.n_rows == n_rows
        if n_rows > p + 9:
            hessian.downdate(X)
            n_rows -= n
    assert n_interrupts > 10
    np.testing.assert_allclose(hessian.variance(X), problem(n, p)[1].variance(X), rtol=1e-7)


@pytest.mark.parametrize("form", ["sums", "span"])
def test_threads_change_one_hessian_in_turn(form):
    rng = np.random.default_rng(2)
    F, X = rng.normal(size=(40, 120)), rng.normal(size=(60, 120))
    hessian = factorized(form, F, regularizer=1.0)
    seen, errors = [], []

    def change(part):
        for row in part:
            hessian.update(row[None])

    def read():
        try:
            while any(worker.is_alive() for worker in workers):
                seen.append(
                    (hessian.effective_dimension, hessian.variance(X[:3]), hessian.rcond, hessian.prior_share(X[:1]))
                )
        except Exception as error:  # it would end with its thread
            errors.append(error)

    workers = [threading.Thread(target=change, args=(X[i::3],)) for i in range(3)]
    reader = threading.Thread(target=read)
    for thread in (*workers, reader):
        thread.start()
    for thread in (*workers, reader):
        thread.join()
    assert not errors
    whole = factorized("sums", np.r_[F, X], regularizer=1.0)
    assert hessian.n_rows == 100
    np.testing.assert_allclose(hessian.variance(X), whole.variance(X), rtol=1e-10)
    np.testing.assert_allclose(hessian.effective_dimension, whole.effective_dimension, rtol=1e-10)
    np.testing.assert_allclose(hessian.prior_share(X), whole.prior_share(X), rtol=1e-9)
    dimensions = [dimension for dimension, *_ in seen]
    assert all(np.diff(dimensions) > -1e-9)
    variances = np.array([variance for _, variance, *_ in seen])
    assert (np.diff(variances, axis=0) < 1e-12).all()


def test_a_reader_keeps_the_factor_that_it_began_with():
    """A change never waits for a long computation, nor disturbs it; and changes without a pause let readers in."""
    X, hessian = problem(1200, 700)
    expected, results, n_changes = hessian.variance(X), [], 0
    reader = threading.Thread(target=lambda: results.extend(hessian.variance(X) for _ in range(3)))
    reader.start()
    while reader.is_alive():
        hessian.update(X[:4])
        hessian.downdate(X[:4])
        n_changes += 2
    reader.join()
    assert n_changes < 500
    for variance in results:
        assert (variance <= expected * (1 + 1e-9)).all()
        assert (variance >= 0).all()
    np.testing.assert_allclose(hessian.variance(X), expected, rtol=1e-7)


START = """
import os, signal, sys, threading, time
import numpy as np, rigidities as rg
rg.set_num_threads(2)
X = np.random.default_rng(0).normal(size=(6000, 1500))
covariance = rg.Covariance(1500)
covariance.update(X[:2000])
hessian = covariance.factorize(1.0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("form", ["sums", "span"])
def test_a_forked_process_goes_on_or_is_told(form):
    code = """
        if %r == "span":
            hessian = rg.Hessian.from_rows(X[:50], 1.0)
        def work():
            while not ends:
                hessian.update(X[:600])
        ends = []
        worker = threading.Thread(target=work)
        if %r == "sums":  # in a span it works with NumPy's BLAS, in which a fork beside it can hang
            worker.start()
        told = 0
        for _ in range(6):
            time.sleep(0.05)
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                try:
                    hessian.update(X[:3])
                    hessian.variance(X[:3])
                    os._exit(0)
                except RuntimeError as error:
                    os._exit(7 * ("forked" in str(error)))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            told += status == 7
            assert status in (0, 7), status
        ends.append(1)
        if worker.is_alive():
            worker.join()
        print(told)
    """
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code % (form, form))],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0 if form == "sums" else int(done.stdout) == 0


def test_a_signal_handler_cannot_change_what_it_interrupts(timer):
    """It would start from a factor that is being changed."""
    X, hessian = problem(3000, 2000)
    said, added = [], []

    def handler(*_):
        try:
            hessian.update(X[:3])
            added.append(3)
        except RuntimeError as error:
            said.append(str(error))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for n_calls in range(1, 101):  # the time that a call takes is unknown
            signal.setitimer(signal.ITIMER_REAL, 0.005 * (n_calls % 50 + 1))
            hessian.update(X)
            if said:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert said
    assert all("a signal handler cannot use the object" in text for text in said)
    assert hessian.n_rows == 2009 + n_calls * 3000 + sum(added)
