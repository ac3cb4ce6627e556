"""Files that are read: regular ones only. A named pipe would wait for a writer without end."""

from __future__ import annotations

import os
import stat
from io import FileIO

_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def kind_of(mode: int) -> str:
    """Return in words what has this mode of `os.stat`."""
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """Open a regular file to read bytes, without a buffer.

    Parameters
    ----------
    path : path-like
        Symbolic links are followed.

    Raises
    ------
    ValueError
        If it is something else than a regular file.
    OSError
        If it cannot be opened.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{os.fspath(path)} is a {kind_of(mode)}: expected a regular file")
    return open(path, "rb", buffering=0)
