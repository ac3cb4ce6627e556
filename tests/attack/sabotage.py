"""Attacks that find something, to see that the harness tells of it."""

import os
import signal
import time

from attack.harness import refused, right


def faulty(rng, folder):
    """Every seed but 3 is fine."""
    if folder.name == "3":
        raise AssertionError("other bits")
    return right(2) + refused()


def deadly(rng, folder):
    """Seed 3 kills the process."""
    if folder.name == "3":
        os.kill(os.getpid(), signal.SIGSEGV)
    return right()


def hanging(rng, folder):
    """Seed 3 never ends."""
    if folder.name == "3":
        time.sleep(3600)
    return right()


def silent(rng, folder):
    """The process ends without a report."""
    os._exit(0)
