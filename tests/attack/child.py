"""The process that an attack runs in. It reports each seed on stdout in a line of JSON.

`python -m attack.child module function first_seed n_seeds seconds patience folder`; `attack.harness` starts it.
"""

import faulthandler
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np


def main(module, function, first, seeds, seconds, patience, folder):
    end = time.monotonic() + float(seconds)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may have inherited "ignore"
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an attack prints is no report
    attack = getattr(importlib.import_module(f"attack.{module}"), function)
    for seed in range(int(first), int(first) + int(seeds)):
        place = Path(folder, str(seed))
        place.mkdir()
        faulthandler.dump_traceback_later(0.9 * float(patience))  # where it hangs
        try:
            outcome = dict(attack(np.random.default_rng(seed), place))
        except BaseException:
            outcome = {"fault": traceback.format_exc(limit=-6)}
        report.write(json.dumps({"seed": seed, **outcome}) + "\n")
        if time.monotonic() > end:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
