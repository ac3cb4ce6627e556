"""Progress of a step that has no parts to count: the time that has passed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from tqdm import tqdm

QUIET = 2.0
"""Seconds before anything is shown: most steps are over by then."""


@contextmanager
def stage(what: str, shown: bool) -> Iterator[None]:
    """Show, while the block runs, what it does and for how long, in a line on stderr.

    Parameters
    ----------
    what : str
        E.g. "fit of 4000 features".
    shown : bool
        If False, nothing is shown.
    """
    if not shown:
        yield
        return
    bar = tqdm(desc=what, bar_format="{desc}: {elapsed}", delay=QUIET, leave=False)
    over = Event()

    def tick() -> None:
        pause = QUIET
        while not over.wait(pause):
            bar.delay, pause = 0.0, 1.0  # from now on there is a line to remove
            bar.refresh()

    clock = Thread(target=tick, daemon=True)
    clock.start()
    try:
        yield
    finally:
        over.set()
        clock.join()
        bar.close()
