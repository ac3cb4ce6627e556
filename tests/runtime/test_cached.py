"""A property that is computed once, which no fork can leave locked."""

import os
import threading
import time

import pytest

import rigidities as rg
from rigidities.runtime.cached import cached_property


class Slow:
    def __init__(self):
        self.started, self.n = threading.Event(), 0

    @cached_property
    def value(self):
        """Five."""
        self.n += 1
        self.started.set()
        time.sleep(0.3)
        return 5


def test_it_is_computed_once_and_kept():
    slow = Slow()
    assert (slow.value, slow.value, slow.n) == (5, 5, 1)
    assert Slow.value.__doc__ == "Five."
    assert "value" in vars(slow)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_meanwhile_computes_it_itself():
    """With functools.cached_property of Python 3.11 the child waits for a lock that nobody holds."""
    slow = Slow()
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    slow.started.wait()
    child = os.fork()
    if child == 0:
        os._exit(Slow().value + slow.value)
    deadline, status = time.time() + 20, (0, 0)
    while status[0] == 0 and time.time() < deadline:
        status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.05)
    if status[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    thread.join()
    assert os.waitstatus_to_exitcode(status[1]) == 10


def test_factors_keep_nothing_behind_a_lock_of_functools():
    import functools

    for owner in (rg.Hessian, rg.RegularizerPath):
        assert not any(isinstance(value, functools.cached_property) for value in vars(owner).values())
