"""One step of work ahead, on another thread."""

import threading
import time

import pytest

from rigidities.runtime.ahead import ahead
from rigidities.runtime.aside import _under_way


def all_calls_end():
    """Calls that nobody waits for end by themselves."""
    deadline = time.monotonic() + 5
    while _under_way and time.monotonic() < deadline:
        time.sleep(0.001)
    return not _under_way


def test_results_come_in_order_from_other_threads_one_at_a_time():
    threads, at_once, most = set(), [], []

    def function(i):
        threads.add(threading.get_ident())
        at_once.append(i)
        most.append(len(at_once))
        at_once.remove(i)
        return 2 * i

    assert list(ahead(function, range(50))) == list(range(0, 100, 2))
    assert threading.get_ident() not in threads
    assert max(most) == 1
    assert list(ahead(function, [])) == []


def test_items_are_taken_one_ahead_on_the_callers_thread():
    taken = []

    def items():
        for i in range(10):
            taken.append(threading.get_ident())
            yield i

    results = ahead(lambda i: i, items())
    assert not taken
    for n in range(1, 10):
        next(results)
        assert len(taken) == min(n + 1, 10)
    assert set(taken) == {threading.get_ident()}


def test_an_error_comes_in_its_turn_and_ends_the_thread():
    results = ahead(lambda i: 1 // (2 - i), range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert all_calls_end()


def test_leaving_early_ends_the_thread_and_starts_nothing_new():
    done = []
    results = ahead(done.append, range(100))
    next(results)
    results.close()
    assert all_calls_end()
    assert len(done) <= 2


def test_leaving_early_does_not_wait_for_the_call_under_way():
    begun, done = threading.Event(), threading.Event()

    def function(i):
        if i:
            begun.set()
            done.wait(10)
        return i

    results = ahead(function, range(100))
    assert next(results) == 0
    assert begun.wait(10)
    results.close()
    assert not done.is_set()
    done.set()
    assert all_calls_end()
