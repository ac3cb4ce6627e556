"""Calls on a thread of their own, for foreign code that calls Python back.

Ctrl-C raises `KeyboardInterrupt` on the main thread, wherever it is. In a function that C code
called, the exception cannot pass through the C code: it is dropped, and the C code goes on with a
result that was never written. Other threads take no signals. The main thread waits for them, where
Ctrl-C reaches it at once; the call that is under way then ends on its thread, and its result is
dropped. The process waits for that call before it exits.

The main thread uses bare locks alone, each in one step of the interpreter. `threading` and
`concurrent.futures` are written in Python: Ctrl-C in the middle of their work leaves a lock held or
released twice, and then another error comes or the process never ends.
"""

from __future__ import annotations

import _thread
import atexit
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PATIENCE = 0.1
"""Seconds between looks at signals: on Windows, a thread that waits is not woken by Ctrl-C."""


class Call(Generic[Result]):
    """A call that runs on a thread of its own from now on."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function: Callable[[], Result] | None = function
        self._outcome: list[Any] = []
        self._error: BaseException | None = None
        self._running = _thread.allocate_lock()
        self._running.acquire()
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as error:
            advice = "raise the limits of this process (ulimit -u, ulimit -v), or end other programs"
            raise MemoryError(f"{error}: {advice}") from error

    def _run(self) -> None:
        _under_way.add(self)
        try:
            assert self._function is not None
            self._outcome.append(self._function())
        except BaseException as error:
            self._error = error
        finally:
            self._function = None
            _under_way.discard(self)
            self._running.release()

    def wait(self) -> None:
        """Wait until the call has ended; Ctrl-C ends the wait."""
        while not self._running.acquire(timeout=PATIENCE):
            pass

    def result(self) -> Result:
        """Wait, and return what the call returned, or raise what it raised. Ask once."""
        self.wait()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback holds this object
        result: Result = self._outcome.pop()
        return result


def aside(function: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
    """Return ``function(*arguments, **options)``, computed on another thread."""
    return Call(lambda: function(*arguments, **options)).result()


_under_way: set[Call[Any]] = set()
"""Calls that have not ended, waited for or not."""


def _before_exit() -> None:
    """Wait for the calls under way: a further Ctrl-C ends the process without them."""
    with suppress(KeyboardInterrupt):
        for call in tuple(_under_way):
            call.wait()


atexit.register(_before_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)  # their threads are not in the child
