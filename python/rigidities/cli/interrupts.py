"""Ctrl-C ends the command at once: one line, exit code 130.

`KeyboardInterrupt` is not enough for a command. Raised while modules are imported or C code calls
Python back, it is printed as a traceback, turned into another error or dropped. Nothing has to be
cleaned up before the process ends, but for a file that is being written: there it is raised.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_CODE = 130


class _State:
    """What Ctrl-C must know: whether files are open, whether it came meanwhile, where to say so."""

    writing = False
    came = False
    stderr = 2


def is_command() -> bool:
    """Whether this process was started as the command, by its script or by ``python -m``."""
    script = sys.argv[0] if sys.argv else ""
    if script == "-m":  # while Python imports the package of the module that it is to run
        given = " ".join([*sys.orig_argv, ""])
        return "-m rigidities " in given or "-mrigidities " in given
    return os.path.splitext(os.path.basename(script))[0] == "rigidities"


def leave_on_interrupt() -> None:
    """Answer Ctrl-C from now on, unless this process ignores it or answers it in its own way."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # not the main thread: another program runs the command
            signal.signal(signal.SIGINT, _answer)
            # Python then takes its handlers back: all is done, and Ctrl-C comes too late
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


@contextmanager
def files_whole() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` in the block, so that no temporary file is left."""
    try:
        _State.writing = True
        yield
    finally:
        _State.writing = False
        if _State.came:
            _leave()


def say_on(handle: int) -> None:
    """Write the line to this file handle from now on, in place of that of stderr."""
    _State.stderr = handle


def _answer(number: int, frame: FrameType | None) -> None:
    if _State.writing:
        _State.came = True
        raise KeyboardInterrupt
    _leave()


def _leave() -> None:
    on_terminal = False
    with suppress(OSError):  # stderr is closed
        on_terminal = os.isatty(_State.stderr)  # after ^C, or after a progress bar
        os.write(_State.stderr, b"\n" * on_terminal + b"rigidities: interrupted\n")
    os._exit(EXIT_CODE)
