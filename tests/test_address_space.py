"""Little address space (ulimit -v): each call succeeds or raises MemoryError; the process goes on."""

import os
import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")

CODE = """
import os, resource, signal, sys, warnings
import numpy as np, rigidities as rg
import rigidities.spectrum.maximum, scipy.linalg, scipy.optimize
signal.alarm(100)
warnings.simplefilter("ignore")
p, call, room, n_threads = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rg.set_num_threads(n_threads)
X, y = np.random.default_rng(0).normal(size=(700, p)), np.arange(700.0)
calls = {
    "update": lambda: rg.Covariance(p).update(X, targets=y),
    "float32": lambda: rg.Covariance(p, precision="float32").update(X, targets=y),
    "factorize": lambda: covariance.factorize(1.0),
    "consume": lambda: covariance.copy().factorize(1.0, consume=True),
    "merge": lambda: covariance.copy().merge(covariance),
    "variance": lambda: hessian.variance(X),
    "components": lambda: hessian.component_rigidity(X, [p // 2, p - p // 2]),
    "solve": lambda: hessian.solve(X.T),
    "joint": lambda: hessian.prediction_covariance(X, X[:90]),
    "reduce": lambda: rg.reduce_rows(X, np.arange(700) // 3),
    "small": lambda: [rg.Covariance(30).update(X[:9, :30]) for _ in range(9)],
}
if call not in ("update", "float32", "reduce", "small"):
    covariance = rg.Covariance(p)
    for row in X[:250]:
        covariance.update(row[None], targets=[1.0])  # on this thread: no pool yet
if call not in ("update", "float32", "reduce", "small", "factorize", "consume", "merge"):
    hessian = covariance.factorize(1.0)
    rg.set_num_threads(n_threads + 1)  # another pool has to start
used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20),) * 2)
try:
    calls[call]()
    print("done")
except MemoryError as error:
    print("refused:", error)
"""

CALLS = [
    "update",
    "float32",
    "factorize",
    "consume",
    "merge",
    "variance",
    "components",
    "solve",
    "joint",
    "reduce",
    "small",
]


def outcome(p, call, room, n_threads=2):
    """Return what a process says that makes a call with so many MB left, or how it ended."""
    arguments = [str(one) for one in (p, call, room, n_threads)]
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=120)
    return done.stdout.strip() if done.returncode == 0 else f"ended by {done.returncode}: {done.stderr[-300:]}"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("room", [20, 70, 150])
def test_a_call_succeeds_or_is_refused(call, room):
    said = outcome(900, call, room)
    assert said == "done" or said.startswith("refused: "), said
    assert len(said) > len("refused: ") or said == "done"


def test_the_message_names_the_need_and_the_limit():
    assert "of memory could not be allocated: free some, or raise its limit (ulimit -v)" in outcome(300, "update", 30)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_many_limits(call):
    bad = {}
    for room in range(4, 484, 16):
        said = outcome(1100, call, room)
        if said != "done" and not said.startswith("refused: "):
            bad[room] = said
    assert not bad
