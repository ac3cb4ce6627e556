"""What does not fit is refused with figures, before it is allocated."""

import numpy as np
import pytest

import rigidities as rg


def test_all_that_is_large_asks_for_memory_first(monkeypatch):
    covariance = rg.Covariance(3000)
    covariance.update(np.ones((2, 3000)))
    small = rg.Covariance(2).factorize(1.0)
    monkeypatch.setattr(rg.memory, "available", lambda: 10**7)
    for call in (
        lambda: covariance.matrix(),
        lambda: covariance.factorize(1.0),
        lambda: covariance.factorize(1.0, penalty=np.broadcast_to(0.0, (3000, 3000)), consume=True),
        lambda: small.prediction_covariance(np.ones((3000, 2)), np.ones((3000, 2))),
    ):
        with pytest.raises(MemoryError, match="are free"):
            call()
    covariance.factorize(1.0, consume=True)  # takes no more


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts(version, monkeypatch):
    root = "/sys/fs/cgroup/"
    names = [
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ][version == 1]
    files = {
        root + names[0]: "1000\n",
        root + names[1]: "700\n",
        root + names[2]: f"anon 5\n{names[3]} 200\n",
        "/proc/meminfo": "MemAvailable: 9999 kB\n",
    }
    monkeypatch.setattr(rg.memory, "_read", files.get)
    assert rg.memory.available() == 500
