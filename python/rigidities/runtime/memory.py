"""Free memory, asked before anything large is allocated.

An allocation that does not fit does not fail on most systems: the process is killed when its pages
are touched. So the need is compared with what is free, the limit of a container included, and
refused with the figures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rigidities.exceptions import Advice, AdvisedMemoryError

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

#: Below this nothing is asked: 64 MB fit anywhere, and small objects must be cheap to make.
SMALL = 64_000_000


def available() -> int | None:
    """Bytes that this process may still allocate, or None where the system does not tell."""
    known = [free for free in (_system_free(), _container_free(), _address_space_free()) if free is not None]
    return min(known, default=None)


def require(n_bytes: int, what: str, advice: Advice) -> None:
    """Raise a MemoryError with the figures where `n_bytes` do not fit."""
    if n_bytes < SMALL:
        return
    free = available()
    if free is not None and n_bytes > free:
        raise AdvisedMemoryError(f"{what} needs {_size(n_bytes)}, {_size(free)} are free", advice)


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
    """Limit less use of this process's control group, or of one around it if that is tighter."""
    free = [_group_free(folder, names) for folder, names in _groups()]
    return min((bytes_ for bytes_ in free if bytes_ is not None), default=None)


_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _groups() -> Iterator[tuple[PurePosixPath, tuple[str, str, str]]]:
    """Folders of the control groups that this process is in, with the names of their files."""
    root = PurePosixPath("/sys/fs/cgroup")
    for line in (_read("/proc/self/cgroup") or "0::/").splitlines():
        number, controllers, path = line.split(":", 2)
        below = PurePosixPath(path.lstrip("/"))
        for group in (below, *below.parents):
            if number == "0":
                yield root / group, _VERSION_2
            elif "memory" in controllers.split(","):
                yield root / "memory" / group, _VERSION_1


def _group_free(folder: PurePosixPath, names: tuple[str, str, str]) -> int | None:
    """Limit less use of one group; file caches in use can be reclaimed and count as free."""
    limit, use = _read(f"{folder / names[0]}"), _read(f"{folder / names[1]}")
    if limit is None or use is None or not limit.strip().isdigit():
        return None
    statistics = (line.split() for line in (_read(f"{folder / 'memory.stat'}") or "").splitlines())
    cache = next((int(fields[1]) for fields in statistics if fields[0] == names[2]), 0)
    return max(int(limit) - int(use) + cache, 0)


def _address_space_free() -> int | None:
    """Address space that ``ulimit -v`` leaves."""
    size = _read("/proc/self/statm")
    if resource is None or size is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else max(limit - int(size.split()[0]) * resource.getpagesize(), 0)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
