"""Free memory, checked before large arrays are allocated.

On most systems an allocation that exceeds the memory does not fail: the process is killed when it
writes to the pages. So the need is compared with the free memory, within the limits of a container,
and an error gives both figures.
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

#: Smaller needs are not checked: 64 MB are always free, and small objects must be cheap to make.
SMALL = 64_000_000


def available() -> int | None:
    """Return the bytes that this process may still allocate, or None if they are unknown."""
    known = [free for free in (_system_free(), _container_free(), _address_space_free()) if free is not None]
    return min(known, default=None)


def require(n_bytes: int, what: str, advice: Advice) -> None:
    """Raise a `MemoryError` with the figures if `n_bytes` are not free."""
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
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS: the whole memory
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
    """Limit less use of one group; file caches can be reclaimed and count as free."""
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
