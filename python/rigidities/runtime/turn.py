"""One thread at a time, without a wait that never ends.

A lock of `threading` keeps a signal handler waiting for the thread that it interrupted, and a
forked process for a thread that only its parent has. Here the first gets an error, and the second a
new lock.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType


class Turn:
    """A lock to be held in a ``with`` statement."""

    def __init__(self) -> None:
        self._lock, self._process, self._holder = threading.Lock(), os.getpid(), 0

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock, self._process, self._holder = threading.Lock(), os.getpid(), 0
        if self._holder == threading.get_ident():
            raise RuntimeError(
                "a signal handler cannot use the object whose computation it interrupted: set a flag there instead"
            )
        self._lock.acquire()
        self._holder = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder = 0
        self._lock.release()
