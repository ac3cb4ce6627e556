"""Run attacks: functions that try to break a promise of the package, and raise if it is broken.

An attack takes a seeded random generator and an empty folder, and returns how many of its tries were
answered right and how many were refused: by an error that the contract names, with nothing changed.
It runs in a process of its own (`attack.child`), since it may kill the process or hang.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Attack:
    """Where an attack is, and what a run of it takes."""

    module: str
    function: str
    #: Seeds that `make test-slow` tries.
    seeds: int
    #: Seconds after which one seed counts as hanging.
    patience: float = 180.0
    #: Packages that it needs.
    needs: tuple[str, ...] = ()

    @property
    def name(self):
        return f"{self.module}.{self.function}"

    def command(self, seed):
        """The command that repeats one seed."""
        return f"PYTHONPATH=tests {sys.executable} -m attack {self.name} --seed {seed} --seeds 1"


@dataclass
class Tally:
    """What came of the tries of an attack."""

    right: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def tries(self):
        return self.right + self.refused + len(self.failures)

    def add(self, counts):
        self.right += counts.get("right", 0)
        self.refused += counts.get("refused", 0)


def right(n=1):
    """What an attack returns for tries that were answered right."""
    return Counter(right=n)


def refused(n=1):
    """What an attack returns for tries that were refused, with nothing changed."""
    return Counter(refused=n)


def run(attack, first, seeds=sys.maxsize, seconds=float("inf")):
    """Attack with seeds from `first` on until one of the limits is reached; a failure ends nothing but its seed."""
    tally, seed = Tally(), first
    end = time.monotonic() + seconds
    while seed < first + seeds and time.monotonic() < end:
        left = min(end - time.monotonic(), 1e9)
        seed = _run_child(attack, tally, seed, first + seeds - seed, left)
    return tally


def _run_child(attack, tally, first, seeds, seconds):
    """Run seeds in one process until it ends, dies or hangs; return the seed to go on with."""
    command = [sys.executable, "-m", "attack.child", attack.module, attack.function, str(first), str(seeds)]
    paths = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    seed, fault = first, None
    with tempfile.TemporaryDirectory(prefix="attack-") as folder, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, str(seconds), str(attack.patience), folder],
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # what it starts can be ended with it
        )
        try:
            for message in _messages(process.stdout, attack.patience):
                seed = message["seed"] + 1
                if "fault" in message:
                    tally.failures.append(_described(attack, message["seed"], message["fault"], errors))
                tally.add(message)
            if process.wait(attack.patience) or seed == first:
                fault = f"the process ended by {process.returncode}"
        except (TimeoutError, subprocess.TimeoutExpired):
            fault = f"no end after {attack.patience:g} s"
        finally:
            _end(process)
        if fault:
            tally.failures.append(_described(attack, seed, fault, errors))
            return seed + 1
    return seed


def _messages(stream, patience):
    """Yield what the child reports of each seed; raise TimeoutError if it reports nothing for too long."""
    rest = b""
    while True:
        if not select.select([stream], [], [], patience)[0]:
            raise TimeoutError
        chunk = os.read(stream.fileno(), 1 << 16)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _end(process):
    with contextlib.suppress(ProcessLookupError):  # all of them may have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def _described(attack, seed, fault, errors):
    """A failure with the end of what the process and its children said, and the command that repeats it."""
    length = os.fstat(errors.fileno()).st_size
    said = os.pread(errors.fileno(), 2000, max(length - 2000, 0)).decode(errors="replace")
    parts = [f"{attack.name}, seed {seed}: {fault}", said, f"repeat: {attack.command(seed)}"]
    return "\n".join(part.rstrip() for part in parts if part.strip())
