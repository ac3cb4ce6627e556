"""Ctrl-C and warnings turned into errors: either a change is made and returned, or nothing has changed."""

import pickle
import random
import signal
import time
import warnings

import numpy as np
import pytest

import rigidities as rg

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")

SECONDS = 3.0
"""Length of each trial: hundreds of interrupts."""


class StopError(Exception):
    """Raised by the handler of a timer: unlike KeyboardInterrupt, pytest takes it for no Ctrl-C of ours."""


@pytest.fixture
def timer():
    """Return a function that raises `StopError` here after some seconds."""

    def interrupt(*_):
        raise StopError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def random_times(longest):
    """Yield times up to `longest`, for some seconds."""
    choose, end = random.Random(0), time.monotonic() + SECONDS
    while time.monotonic() < end:
        yield choose.uniform(20e-6, longest)


@pytest.mark.parametrize(
    ("n", "p", "longest", "accumulation"),
    [
        pytest.param(3, 8, 2e-3, "sums", id="single rows"),
        pytest.param(40, 300, 5e-3, "sums", id="rows that wait"),
        pytest.param(300, 64, 5e-3, "sums", id="a block"),
        pytest.param(2000, 200, 0.02, "sums", id="blocks side by side"),
        pytest.param(300, 900, 0.03, "sums", id="few behind the stage"),
        pytest.param(2500, 600, 0.1, "sums", id="blocks"),
        pytest.param(300, 600, 0.05, "qr", id="few taken up"),
        pytest.param(2500, 300, 0.1, "qr", id="blocks taken up"),
    ],
)
def test_an_update_that_raises_has_added_nothing(timer, n, p, longest, accumulation):
    """One update after the other, until a signal comes; its place is random, so all of them are met."""
    X = np.random.default_rng(0).normal(size=(n, p))
    covariance, n_updates, n_interrupts = rg.Covariance(p, accumulation=accumulation), 1, 0
    covariance.update(X, targets=X[:, 0])  # imports what NumPy imports late
    for seconds in random_times(longest):
        try:
            timer(seconds)
            while True:
                covariance.update(X, targets=X[:, 0])
                n_updates += 1  # no signal is handled between the return of a function and the next statement
        except StopError:
            n_interrupts += 1
        assert covariance.n_rows == n * n_updates
    assert n_interrupts > 10
    np.testing.assert_allclose(covariance.trace, n_updates * np.sum(X**2), rtol=1e-9)
    np.testing.assert_allclose(covariance.moments().cross[:, 0], n_updates * (X.T @ X[:, 0]), rtol=1e-6, atol=1e-6 * n)


@pytest.mark.parametrize("accumulation", ["sums", "qr"])
def test_a_merge_that_raises_has_added_nothing(timer, accumulation):
    p = 1000 if accumulation == "sums" else 300
    X = np.random.default_rng(0).normal(size=(700, p))
    part, total = (rg.Covariance(p, accumulation=accumulation) for _ in range(2))
    n_merges = 0
    part.update(X)
    for seconds in random_times(0.02):
        try:
            timer(seconds)
            while True:
                total += part
                n_merges += 1
        except StopError:
            pass
        assert total.n_rows == 700 * n_merges
    np.testing.assert_allclose(total.trace, n_merges * part.trace, rtol=1e-9)


def test_sums_are_whole_where_a_factor_that_takes_their_place_is_not_returned(timer):
    rng = np.random.default_rng(0)
    base = rg.Covariance(700)
    base.update(rng.normal(size=(900, 700)), targets=rng.normal(size=900))
    right, state = base.factorize(1.0).log_determinant, base.matrix()
    start = time.perf_counter()
    base.copy().factorize(1.0, consume=True)
    length, n_interrupts = 1.3 * (time.perf_counter() - start), 0
    for seconds in random_times(length):
        covariance, hessian = base.copy(), None
        try:
            timer(seconds)
            hessian = covariance.factorize(1.0, consume=True)
            timer(0)
        except StopError:
            n_interrupts += 1
            assert hessian is not None or np.array_equal(covariance.matrix(), state)
        if hessian is not None:
            assert hessian.log_determinant == right
    assert n_interrupts > 10


def test_a_warning_turned_into_an_error_leaves_the_sums():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(300, 20))
    covariance = rg.Covariance(20)
    covariance.update(np.concatenate([F, F[:, :1] * 1e-10], axis=1)[:, 1:])
    before = pickle.dumps(covariance)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(rg.IllConditionedWarning):
            covariance.factorize(1e-30, consume=True)
        assert pickle.dumps(covariance) == before
    with pytest.warns(rg.IllConditionedWarning):
        hessian = covariance.factorize(1e-30, consume=True)
    del hessian
    with pytest.raises(ValueError, match="this covariance was consumed"):
        covariance.matrix()
