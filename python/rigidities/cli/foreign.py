"""Lines that other libraries write on stderr, past Python: kept from the user, shown with a bug.

A library in C or Rust that gives up prints where, with a backtrace, before it returns an error. The
error becomes one line of ours, and the rest would hide it.
"""

from __future__ import annotations

import faulthandler
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rigidities.cli.interrupts import say_on

STDERR = 2


@contextmanager
def foreign_lines_aside() -> Iterator[None]:
    """Let stderr of the process lead to a file, and `sys.stderr` to where it led.

    If the process crashes, Python says where.
    """
    if not isinstance(sys.stderr, io.TextIOWrapper):  # replaced by a program that runs the command
        yield
        return
    try:
        ours, aside = os.dup(STDERR), tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # stderr is closed, or there is no place for the file
        yield
        return
    before = sys.stderr
    before.flush()
    with aside, open(ours, "w", 1, before.encoding, before.errors) as stderr:
        os.dup2(aside.fileno(), STDERR)
        sys.stderr = stderr
        faulthandler.enable(stderr)
        say_on(ours)
        try:
            yield
        except Exception:  # a bug
            aside.seek(0)
            stderr.write(aside.read().decode(errors="replace"))
            raise
        finally:
            stderr.flush()
            os.dup2(ours, STDERR)
            say_on(STDERR)
            faulthandler.disable()
            sys.stderr = before
