"""One step of work ahead, on another thread."""

import threading

import pytest

from rigidities.runtime.ahead import ahead


def test_results_come_in_order_from_one_other_thread():
    threads = set()

    def function(i):
        threads.add(threading.get_ident())
        return 2 * i

    assert list(ahead(function, range(50))) == list(range(0, 100, 2))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
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
    before = threading.active_count()
    results = ahead(lambda i: 1 // (2 - i), range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before


def test_leaving_early_ends_the_thread_and_starts_nothing_new():
    before, done = threading.active_count(), []
    results = ahead(done.append, range(100))
    next(results)
    results.close()
    assert len(done) <= 2
    assert threading.active_count() == before
