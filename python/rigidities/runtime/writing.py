"""Files that are written whole or not at all. Everything that the package writes goes through here.

A file is written under a temporary name in the same folder, brought to the disk, and then moved to
its name. Until then the old file is whole, whatever happens: a full disk, an error, Ctrl-C, a kill.
A kill leaves the temporary file, and the next write of the same name removes it. It does not remove
that of a writer who is still at work: a writer locks its file (on Windows, an open file cannot be
removed).
"""

from __future__ import annotations

import errno
import functools
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rigidities.runtime.reading import kind_of

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_KEPT = 50
"""Characters of a file's name in that of its temporary file: at most 200 bytes of the 255 that file
systems take."""

_TOKEN_BYTES = 4
"""Random bytes in the name of a temporary file."""

_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Answers to fsync of file systems that cannot bring a file or a folder to the disk on demand."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to write; it takes the place of the one at `path` when all is written.

    Parameters
    ----------
    path : path-like
        A regular file, or nothing yet. A symbolic link is followed and stays. Mode and owner of a
        file that is replaced are kept, the owner as far as the system allows it.

    Yields
    ------
    file open for writing bytes

    Raises
    ------
    OSError
        If the file cannot be written, is write-protected or has several hard links (the other names
        would keep the old content), or if there is something else than a regular file. What was
        there is unchanged then, also after any error in the block.
    """
    path = os.fspath(Path(path))
    old = replaceable(path)
    target = os.path.realpath(path)
    prefix = os.path.join(os.path.dirname(target), f".{os.path.basename(target)[:_KEPT]}.rigidities-")
    _remove_leftovers(prefix)
    temporary = None
    try:
        file, temporary = _create(prefix, private=old is not None)
        with file:
            if old is not None:
                _take_over(file.fileno(), old)
            yield file
            file.flush()
            _to_disk(file.fileno())
            if fcntl is None:  # Windows moves only closed files
                file.close()
            os.replace(temporary, target)  # while it is locked
        _folder_to_disk(os.path.dirname(target))
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError) and (error.filename is None or str(error.filename).startswith(prefix)):
            raise OSError(error.errno, error.strerror or str(error), path) from error
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8, whole or not at all, as `replacing` does."""
    with replacing(path) as file:
        file.write(text.encode())


def replaceable(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return what there is of a file, or None; raise an `OSError` if `replacing` refuses it."""
    path = os.fspath(path)
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory: expected the name of a file", path)
    if not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, f"is a {kind_of(old.st_mode)}: expected a regular file, or a new name", path)
    if old.st_nlink > 1:
        raise OSError(
            errno.EMLINK,
            f"has {old.st_nlink} hard links, and the others would keep the old content: remove it first, or write to "
            "another name",
            path,
        )
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "is write-protected: change its mode, or write to another name", path)
    return old


def _create(prefix: str, *, private: bool) -> tuple[BinaryIO, str]:
    """Make a new file that no other writer removes; return it with its name.

    The mode is that of a new file. A private one gives access to nobody else until it has the mode
    of the file that it replaces.
    """
    opener = functools.partial(os.open, mode=0o600 if private else 0o666)
    while True:
        temporary = f"{prefix}{secrets.token_hex(_TOKEN_BYTES)}"
        file = open(temporary, "xb", opener=opener)  # noqa: SIM115
        if _lock(file) and os.path.exists(temporary):
            return file, temporary
        file.close()  # a writer of the same name took it for a leftover before it was locked


def _lock(file: BinaryIO) -> bool:
    """Lock a new file; False if another process has locked it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: leftovers stay there
            pass
    return True


def _remove_leftovers(prefix: str) -> None:
    """Remove temporary files of writers that were killed."""
    folder, start = os.path.split(prefix)
    pattern = re.compile(f"{re.escape(start)}[0-9a-f]{{{2 * _TOKEN_BYTES}}}")
    with suppress(OSError), os.scandir(folder) as entries:  # a folder may be closed to reading
        for entry in entries:
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # its writer is at work, or it is somebody else's
                    _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
    if fcntl is None:  # Windows refuses to remove an open file
        os.unlink(path)
        return
    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _take_over(handle: int, old: os.stat_result) -> None:
    """Give a new file the owner and the mode of an old one."""
    new = os.fstat(handle)
    for owner, group in ((old.st_uid, -1), (-1, old.st_gid)):
        if owner not in (-1, new.st_uid) or group not in (-1, new.st_gid):
            with suppress(OSError):  # only root can give files away
                os.fchown(handle, owner, group)
    if hasattr(os, "fchmod"):  # Windows has no modes
        os.fchmod(handle, old.st_mode & 0o777)


def _folder_to_disk(folder: str) -> None:
    """Bring the entries of a folder to the disk, where a folder can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows, or a folder that is closed to reading
        return
    try:
        _to_disk(handle)
    finally:
        os.close(handle)


def _to_disk(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


@contextmanager
def without_empty(*folders: Path) -> Iterator[None]:
    """Remove those of these directories, and of their parents, that the block made and left empty.

    Only if it fails. What was there before stays.
    """
    wanted = dict.fromkeys(parent for folder in folders for parent in (folder, *folder.parents))
    made = [folder for folder in wanted if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in sorted(made, key=lambda folder: -len(folder.parts)):
            with suppress(OSError):  # it was not made, or holds a file that was written
                folder.rmdir()
        raise
