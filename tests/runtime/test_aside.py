"""Calls on a thread of their own: results, errors, Ctrl-C, and the end of the process."""

import _thread
import os
import subprocess
import sys
import threading
import time

import pytest

from rigidities.runtime import aside as module
from rigidities.runtime.aside import aside


def test_the_result_comes_from_another_thread():
    assert aside(lambda *numbers, power: (sum(numbers) ** power, threading.get_ident()), 1, 2, power=3)[0] == 27
    assert aside(threading.get_ident) != threading.get_ident()


def test_the_error_is_that_of_the_call():
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)


def test_ctrl_c_does_not_wait_for_the_call():
    ended, work = threading.Event(), threading.Event()

    def call():
        _thread.interrupt_main()
        ended.wait(10)
        work.set()

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        aside(call)
    assert time.monotonic() - start < 1
    assert not work.is_set()
    ended.set()
    assert work.wait(10)


def test_without_another_thread_there_is_a_memory_error(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module._thread, "start_new_thread", refuse)
    with pytest.raises(MemoryError, match=r"can't start new thread: raise the limits .*ulimit"):
        aside(int)


def test_the_process_ends_when_the_call_does():
    """Ctrl-C in a call of half a second: the error comes at once, and the process ends after the call."""
    code = (
        "import _thread, time\n"
        "from rigidities.runtime.aside import aside\n"
        "start = time.monotonic()\n"
        "try: aside(lambda: (_thread.interrupt_main(), time.sleep(0.5)))\n"
        "except KeyboardInterrupt: print(time.monotonic() - start < 0.4)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_does_not_wait_for_calls_of_its_parent():
    code = (
        "import os, sys, time, warnings\n"
        "from rigidities.runtime.aside import Call, aside\n"
        "warnings.simplefilter('ignore')\n"
        "call = Call(lambda: time.sleep(1) or 'parent')\n"
        "start, child = time.monotonic(), os.fork()\n"
        "if child == 0: print(aside(lambda: 'child'), flush=True); sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "print(time.monotonic() - start < 0.9, call.result())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "child\nTrue parent\n"


def test_a_second_ctrl_c_does_not_wait_for_the_call_at_the_end():
    code = (
        "import os, signal, threading, time\n"
        "from rigidities.runtime.aside import Call\n"
        "Call(lambda: time.sleep(5))\n"
        "time.sleep(0.1)\n"
        "timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "timer.daemon = True\n"
        "timer.start()"
    )
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert time.monotonic() - start < 4
