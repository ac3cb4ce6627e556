"""What does not fit is refused with figures, before it is allocated."""

import subprocess
import sys

import numpy as np
import pytest

import rigidities as rg


def test_all_that_is_large_asks_for_memory_first(monkeypatch):
    covariance = rg.Covariance(3000)
    covariance.update(np.ones((2, 3000)), targets=np.ones((2, 2)))
    small = rg.Covariance(2).factorize(1.0)
    few = rg.Covariance(2)
    few.update(np.eye(2), targets=np.ones(2))
    path = rg.regularizer_path(few)
    monkeypatch.setattr(rg.runtime.memory, "available", lambda: 10**7)
    for call, what in (
        (lambda: covariance.factorize("auto", consume=True), "the evidence of 3000 features needs 72 MB"),
        (lambda: rg.regularizer_path(covariance), "the decomposition of 3000 features needs 0.3 GB"),
        (lambda: path.variance(np.ones((50_000, 2))), "the variances of 50000 targets needs 80 MB"),
        (lambda: path.score(np.ones((50_000, 2)), np.ones(50_000), "rmse"), "the residuals of 50000 targets"),
    ):
        with pytest.raises(MemoryError, match=what):
            call()
    for call in (
        lambda: covariance.matrix(),
        lambda: covariance.factorize(1.0),
        lambda: covariance.factorize(1.0, penalty=np.broadcast_to(0.0, (3000, 3000)), consume=True),
        lambda: small.prediction_covariance(np.ones((3000, 2)), np.ones((3000, 2))),
    ):
        with pytest.raises(MemoryError, match="are free"):
            call()
    wide = covariance.factorize(1.0, consume=True)  # takes no more
    for call, what in (
        (lambda: wide.component_rigidity(np.ones((2, 3000)), [1500, 1500]), "factors of 2 components needs 72 MB"),
        (lambda: wide.save("nowhere"), "the state of a Hessian of 3000 features needs 72 MB"),
    ):
        with pytest.raises(MemoryError, match=what):
            call()


@pytest.mark.parametrize("group", ["/", "/job/step"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts(version, group, monkeypatch):
    """The group that a process is in, or one around it: a batch system sets its limit on any of them."""
    limit, use, cache = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    folder = {1: "/sys/fs/cgroup/memory", 2: "/sys/fs/cgroup"}[version] + group.rstrip("/").removesuffix("/step")
    files = {
        "/proc/self/cgroup": {1: f"3:cpu,memory:{group}\n", 2: f"0::{group}\n"}[version],
        f"{folder}/{limit}": "1000\n",
        f"{folder}/{use}": "700\n",
        f"{folder}/memory.stat": f"anon 5\n{cache} 200\n",
        "/proc/meminfo": "MemAvailable: 9999 kB\n",
    }
    monkeypatch.setattr(rg.runtime.memory, "_read", files.get)
    assert rg.runtime.memory.available() == 500


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit of the system's")
@pytest.mark.parametrize(
    "call", ["c.copy()", "c.matrix()", "c.factorize(1.0)", "pickle.dumps(c)", "rg.reduce_rows(c.X)", "c + c"]
)
def test_a_limit_on_the_address_space_is_a_memory_error(call):
    """Neither an abort nor a panic."""
    code = f"""
import pickle, resource
import numpy as np, rigidities as rg
rg.set_num_threads(1)
c = rg.Covariance(3000)
c.X = np.ones((3000, 3000), dtype=np.float32)
c.update(c.X[:600])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000,) * 2)
try:
    {call}
except MemoryError:
    print("refused")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.returncode) == ("refused\n", 0), result.stderr
