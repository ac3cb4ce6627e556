"""LAPACK's eigenvalue routines without the interpreter."""

import _thread
import threading
import time

import numpy as np
import pytest
import scipy.linalg

import rigidities as rg
from rigidities.runtime import lapack


def symmetric(n, seed=0):
    A = np.random.default_rng(seed).normal(size=(n, n))
    return A + A.T


@pytest.fixture(params=["own", "wrapped"])
def route(request, monkeypatch):
    """Both ways to LAPACK: without the interpreter, and SciPy's wrappers."""
    if request.param == "wrapped":
        monkeypatch.setattr(lapack, "_routine", lambda name: None)
    return request.param


def test_this_scipy_is_called_without_the_interpreter():
    assert lapack._routine("dsyevd") is not None
    assert lapack._routine("dsytrd") is not None


def test_another_signature_is_not_called(monkeypatch):
    monkeypatch.setitem(lapack.SIGNATURES, "dsytrd", lapack.SIGNATURES["dsytrd"].replace("i)", "l)"))
    assert lapack._routine.__wrapped__("dsytrd") is None


@pytest.mark.parametrize("n", [1, 2, 50, lapack.SMALL + 1])
@pytest.mark.parametrize("order", ["C", "F"])
def test_eigenvectors(route, n, order):
    A = symmetric(n)
    values, vectors = lapack.eigh(A.copy(order))
    tolerance = 100 * np.finfo(float).eps * np.linalg.norm(A, 2)  # a few u‖A‖√n
    np.testing.assert_allclose(vectors * values @ vectors.T, A, atol=tolerance)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), atol=100 * np.finfo(float).eps)
    np.testing.assert_allclose(values, scipy.linalg.eigvalsh(A), atol=tolerance)


def test_fortran_order_is_overwritten(route):
    A = np.asfortranarray(symmetric(40))
    assert np.shares_memory(lapack.eigh(A)[1], A)
    assert np.shares_memory(lapack.tridiagonalise(A)[0], A)


@pytest.mark.parametrize("n", [2, 50, lapack.SMALL + 1])
def test_tridiagonal_form(route, n):
    A = symmetric(n)
    packed, diagonal, beside, tau = lapack.tridiagonalise(A.copy("F"))
    Q = np.eye(n)
    for i in range(n - 1):
        v = np.r_[np.zeros(i + 1), 1.0, packed[i + 2 :, i]]
        Q = Q - tau[i] * np.outer(Q @ v, v)
    T = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    np.testing.assert_allclose(Q @ T @ Q.T, A, atol=100 * np.finfo(float).eps * np.linalg.norm(A, 2))


def test_what_lapack_complains_of_is_an_error():
    with pytest.raises(np.linalg.LinAlgError, match="dsyevd returned -3"):
        lapack._routine("dsyevd")(b"V", b"L", -1, np.zeros(1), 1, np.zeros(1), np.zeros(1), 1, np.zeros(1, np.intc), 1)


def longest_wait(work):
    """Return how long this thread had to wait for the interpreter while another worked, and how long that took."""
    done, longest, last = [], 0.0, time.perf_counter()
    thread = threading.Thread(target=lambda: done.append(work()))
    start = last
    thread.start()
    while not done:
        time.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    thread.join()
    return longest, last - start


def test_other_threads_go_on():
    A = symmetric(1200)
    waited, taken = longest_wait(lambda: lapack.eigh(A.copy("F")))
    assert waited < 0.5 * taken  # with SciPy's wrapper: all of it


def test_what_the_thread_raises_is_raised_here():
    def fail():
        assert threading.current_thread().name == "rigidities-lapack"
        raise np.linalg.LinAlgError("no eigenvalues")

    with pytest.raises(np.linalg.LinAlgError, match="no eigenvalues"):
        lapack._wait(lapack.SMALL + 1, fail)


def test_ctrl_c_is_answered_meanwhile(monkeypatch):
    """Ctrl-C comes as LAPACK begins, a second of work, and is answered before LAPACK has ended."""
    p = 2000
    covariance = rg.Covariance(p)
    covariance.update(np.random.default_rng(0).normal(size=(p // 2, p)), targets=np.ones(p // 2))
    matrix = covariance.matrix()
    dsyevd, ended = lapack._routine("dsyevd"), threading.Event()

    def interrupted(*arguments):
        query = -1 in [argument for argument in arguments if isinstance(argument, int)]
        if not query:
            _thread.interrupt_main()
        dsyevd(*arguments)
        if not query:
            ended.set()

    monkeypatch.setattr(lapack, "_routine", lambda name: interrupted)
    with pytest.raises(KeyboardInterrupt):
        rg.regularizer_path(covariance)
    assert not ended.is_set()
    assert ended.wait(60)  # the call that was abandoned ends by itself
    np.testing.assert_array_equal(covariance.matrix(), matrix)
