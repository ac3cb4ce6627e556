"""Eigenvalues and eigenvectors, beside SciPy's; and what Ctrl-C does to them."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.linalg

import rigidities as rg
from rigidities.spectrum.eigen import eigh, tridiagonalise

EPS = np.finfo(float).eps
SIZES = (1, 2, 3, 191, 192, 193, 257, 700)


def symmetric(n, seed=0):
    A = np.random.default_rng(seed).normal(size=(n, n))
    return A + A.T


def rotated(values):
    Q = np.linalg.qr(symmetric(len(values), 1))[0]
    A = (Q * values) @ Q.T
    return 0.5 * (A + A.T)


ARRAYS = {
    "random": symmetric,
    "zero": lambda n: np.zeros((n, n)),
    "identity": np.eye,
    "diagonal": lambda n: np.diag(np.arange(n)[::-1] % 7.0),
    "graded": lambda n: rotated(np.logspace(0, -16, n)),
    "rising": lambda n: np.outer(*[np.logspace(-8, 0, n)] * 2) * (symmetric(n) + 20 * np.eye(n)),
    "clusters": lambda n: rotated(np.repeat([1.0, 1.0 + 1e-13, 2.0, 1e-9], n // 4 + 1)[:n]),
    "low rank": lambda n: symmetric(n)[:, :3] @ symmetric(n)[:, :3].T,
    "blocks": lambda n: np.kron(np.eye(-(-n // 5)), symmetric(5))[:n, :n],
    "huge": lambda n: 1e160 * symmetric(n),
    "tiny": lambda n: 1e-290 * symmetric(n),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", ARRAYS)
def test_eigenvectors_beside_scipy(kind, n):
    A = ARRAYS[kind](n)
    size = np.abs(A).max() or 1.0
    norm = np.linalg.norm(A / size)
    values, vectors = eigh(A.copy("F"))
    expected = scipy.linalg.eigvalsh(A / size)
    tolerance = 4 * (n + 8) * EPS  # a few u a step; by far the most that was seen is 1/4 of it
    np.testing.assert_allclose(values / size, expected, rtol=0, atol=tolerance * norm)
    np.testing.assert_allclose(vectors * (values / size) @ vectors.T, A / size, rtol=0, atol=tolerance * norm)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), rtol=0, atol=tolerance)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", ARRAYS)
def test_tridiagonal_form_beside_scipy(kind, n):
    A, B = ARRAYS[kind](n), np.random.default_rng(2).normal(size=(n, 2))
    size = np.abs(A).max() or 1.0
    norm = np.linalg.norm(A / size)
    diagonal, beside, projected = tridiagonalise(A.copy("F"), B)
    T = (np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)) / size
    tolerance = 4 * (n + 8) * EPS
    np.testing.assert_allclose(np.linalg.eigvalsh(T), scipy.linalg.eigvalsh(A / size), rtol=0, atol=tolerance * norm)
    bound = tolerance * np.linalg.norm(B) ** 2
    np.testing.assert_allclose(projected.T @ projected, B.T @ B, rtol=0, atol=bound)
    np.testing.assert_allclose(projected.T @ T @ projected, B.T @ (A / size) @ B, rtol=0, atol=bound * norm)


@pytest.mark.parametrize("order", ["C", "F"])
def test_only_fortran_order_is_overwritten(order):
    A = symmetric(40).copy(order)
    B, before = np.ones((40, 1)), A.copy()
    values, vectors = eigh(A)
    assert np.shares_memory(vectors, A) == (order == "F")
    np.testing.assert_allclose(vectors * values @ vectors.T, before, atol=100 * EPS * np.linalg.norm(before))
    assert not np.shares_memory(tridiagonalise(before.copy(order), B)[2], B)
    np.testing.assert_array_equal(B, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [1, 2, 50, 400])
def test_what_is_not_finite_is_named(bad, n):
    A = symmetric(n)
    A[n // 2, n // 2] = bad
    where = rf"the matrix\[{n // 2}, {n // 2}\] is (NaN|-?inf)"
    with pytest.raises(ValueError, match=where):
        eigh(A.copy("F"))
    with pytest.raises(ValueError, match=where):
        tridiagonalise(A, np.ones((n, 1)))


def test_nothing_has_no_eigenvalues():
    values, vectors = eigh(np.empty((0, 0)))
    assert values.shape == (0,)
    assert vectors.shape == (0, 0)


def test_bits_do_not_depend_on_threads():
    A, B, before = symmetric(1100), symmetric(1100)[:, :2], rg.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 8):
            rg.set_num_threads(n)
            results.append((*eigh(A.copy("F")), *tridiagonalise(A.copy("F"), B)))
    finally:
        rg.set_num_threads(before)
    for others in results[1:]:
        for first, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(first, other)


def test_other_threads_go_on():
    """SciPy's wrappers of these routines hold the interpreter to their end."""
    done, longest = [], 0.0
    A = symmetric(1200)
    thread = threading.Thread(target=lambda: done.append(eigh(A)))
    start = last = time.perf_counter()
    thread.start()
    while not done:
        time.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    thread.join()
    assert longest < 0.5 * (last - start)


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np, rigidities as rg
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may have inherited "ignore"
p = 1600
covariance = rg.Covariance(p)
covariance.update(np.random.default_rng(0).normal(size=(p // 2, p)), targets=np.ones(p // 2))
before, sent = covariance.matrix(), []
small = rg.Covariance(2)
small.update(np.eye(2), targets=np.ones(2))
rg.regularizer_path(small), small.factorize("auto")  # imports SciPy
start = time.perf_counter()
{call}
taken = time.perf_counter() - start
inside = threading.Event()
def interrupt():
    inside.wait()
    time.sleep({part} * taken)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
interrupter = threading.Thread(target=interrupt)
interrupter.start()
try:
    inside.set()
    {call}
    sys.exit("not interrupted")
except KeyboardInterrupt:
    answered = time.perf_counter() - sent[0]
interrupter.join()
assert threading.active_count() == 1  # nothing runs on
assert (covariance.matrix() == before).all()
{then}
print(answered, flush=True)
"""


def interrupt(call, part=0.4, then=""):
    """Seconds after which Ctrl-C, in the midst of a call, was answered in a process that then ends by itself."""
    code = INTERRUPTED.format(call=call, part=part, then=then)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            answered = process.communicate(timeout=60)[0]
        finally:
            process.kill()  # one that hangs
    assert process.returncode == 0
    return float(answered)


CALLS = ["rg.regularizer_path(covariance)", 'covariance.factorize("auto")']


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_is_answered_and_the_process_ends(call):
    """It hung for ever in some of 20: OpenBLAS waited at exit for a thread that LAPACK had held."""
    assert max(interrupt(call, 0.1 * i) for i in range(6)) < 3.0  # a second, and room for a busy machine


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forks_after_ctrl_c_and_the_child_computes():
    """It hung for ever in os.fork, where OpenBLAS shuts its threads down, too."""
    then = """
child = os.fork()
if child == 0:
    small = rg.Covariance(400)
    small.update(np.random.default_rng(0).normal(size=(500, 400)), targets=np.ones(500))
    rg.regularizer_path(small)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    for _ in range(3):
        interrupt(CALLS[0], then=then)
