"""The variables that choose a library's kernels and threads, and how a benchmark gets rid of them.

OpenBLAS, OpenMP, MKL and others read their variables once, when they are loaded. Deleting one in a
running process comes too late if NumPy is there already, so whoever starts a suite cleans the
environment (`cleaned`), and the suite only looks (`refuse`). Standard library only.
"""

import os
import sys
from pathlib import Path

#: Variables that start like this slow one side of a comparison: other kernels, fewer threads.
PREFIXES = (
    "ATEN_",
    "BLIS_",
    "DNNL_",
    "GOMP_",
    "GOTO_",
    "KMP_",
    "MKL_",
    "NPY_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "RIGIDITIES_",
    "VECLIB_",
)

#: Of those, what threadpoolctl and scikit-learn set themselves when they are imported; no kernel or
#: thread depends on it.
HARMLESS = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")

#: Exit status of a suite that was started with one of these variables.
REFUSED = 3


def steers(name):
    """Whether a variable chooses kernels or threads."""
    return name.startswith(PREFIXES) and name not in HARMLESS


def cleaned(variables):
    """Return the variables without those that steer a library."""
    return {name: value for name, value in variables.items() if not steers(name)}


def steering(variables):
    """Return the variables that steer a library, as NAME=VALUE."""
    return sorted(f"{name}={value}" for name, value in variables.items() if steers(name))


def at_start():
    """Return the environment that this process was started with; empty where the system does not tell."""
    path = Path("/proc/self/environ")
    if not path.exists():
        return {}
    entries = path.read_bytes().decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def refuse():
    """End the process if a library may have been loaded with one of the variables set.

    The variables of the start count too: deleting one afterwards does not change what is loaded.
    """
    found = steering(at_start() | os.environ)
    if found:
        print(
            f"benchmarks do not run with {', '.join(found)} set, which may hold NumPy or others back: "
            "start them by benches/run.py, which clears them",
            file=sys.stderr,
        )
        sys.exit(REFUSED)
