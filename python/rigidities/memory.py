"""What memory is left, asked before anything large is allocated.

An allocation that does not fit does not fail on most systems: the process is killed when the pages are touched. So
the need is compared with what is free, the limit of a container included, and refused with the figures.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Below this nothing is asked: 64 MB fit anywhere, and small objects must be cheap to make.
SMALL = 64_000_000


def available() -> int | None:
    """Bytes that this process may still allocate, or None where the system does not tell."""
    known = [free for free in (_system_free(), _container_free()) if free is not None]
    return min(known, default=None)


def require(n_bytes: int, what: str, remedy: str) -> None:
    """Raise a MemoryError with the figures where `n_bytes` do not fit."""
    if n_bytes < SMALL:
        return
    free = available()
    if free is not None and n_bytes > free:
        raise MemoryError(f"{what} needs {_size(n_bytes)}, {_size(free)} are free; {remedy}")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.0f} MB"


def _system_free() -> int | None:
    meminfo = _read("/proc/meminfo")
    for line in (meminfo or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS: all there is, the best bound at hand
    except (AttributeError, ValueError, OSError):
        return None


def _container_free() -> int | None:
    """Limit less use of the control group, version 2 or 1; file caches in use can be reclaimed and count as free."""
    for limit, use, stat, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        limit_text, use_text = _read(f"/sys/fs/cgroup/{limit}"), _read(f"/sys/fs/cgroup/{use}")
        if limit_text is None or use_text is None or not limit_text.strip().isdigit():
            continue
        reclaimable = 0
        for line in (_read(f"/sys/fs/cgroup/{stat}") or "").splitlines():
            if line.startswith(cache + " "):
                reclaimable = int(line.split()[1])
        return max(int(limit_text) - int(use_text) + reclaimable, 0)
    return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
