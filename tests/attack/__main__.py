"""Attack for a while and print what came of it: `make attack`, or `PYTHONPATH=tests python -m attack NAME … --seed N`.

Exit code 1 if a promise was broken. Each failure names the command that repeats it.
"""

import argparse
import importlib.util
import secrets
import sys
import time

from attack.harness import run
from attack.known import ATTACKS


def main():
    parser = argparse.ArgumentParser(prog="attack", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"all by default: {', '.join(ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all of them together")
    parser.add_argument("--seed", type=int, help="the first seed; a new one by default")
    parser.add_argument("--seeds", type=int, default=sys.maxsize, help="most seeds of each attack")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ATTACKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(ATTACKS)}")
    first = secrets.randbelow(2**31) if options.seed is None else options.seed
    print(f"seeds from {first} on\n{'attack':24}{'tries':>8}{'right':>8}{'refused':>9}{'failures':>10}", flush=True)
    sys.exit(any([not attacked(ATTACKS[name], left, first, options) for name, left in shares(options)]))


def shares(options):
    """Names of the attacks, each with its share of the time that is left."""
    end, names = time.monotonic() + options.seconds, options.names or list(ATTACKS)
    for i, name in enumerate(names):
        yield name, (end - time.monotonic()) / (len(names) - i)


def attacked(attack, seconds, first, options):
    """Whether all promises were kept."""
    missing = [package for package in attack.needs if not importlib.util.find_spec(package)]
    if missing:
        print(f"{attack.name:24}left out: needs {', '.join(missing)}", flush=True)
        return True
    tally = run(attack, first, options.seeds, seconds)
    n = len(tally.failures)
    print(f"{attack.name:24}{tally.tries:8}{tally.right:8}{tally.refused:9}{n:10}", flush=True)
    for failure in tally.failures:
        print(failure, flush=True)
    return n == 0


main()
