"""Files of accumulators, factors and models: safetensors, without pickle.

Each part is an array; numbers and names are in the header, with the kind of the object and the
version of the layout. A file is written under a temporary name and moved to its place when it is
complete. It is checked when it is read, and nothing in it is executed.
"""

from __future__ import annotations

import json
import os
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from rigidities.exceptions import Advice
from rigidities.runtime import memory

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Version of the layout; raised when an older reader could misread a file.
VERSION = 1

_PREFIX = "rigidities."


def save(path: str | os.PathLike[str], kind: str, state: dict[str, Any]) -> None:
    """Write arrays and plain values of `state` to `path`, all or nothing.

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    kind : str
        Kind of the object, e.g. "covariance".
    state : dict
        Arrays of float64, and values that JSON can hold.

    Raises
    ------
    OSError
        If the file cannot be written.
    MemoryError
        If the bytes of the file do not fit in memory beside the state.
    """
    from safetensors.numpy import save as to_bytes

    # safetensors cannot hold arrays of length 0: the header lists their names
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray) and value.size}
    empty = [name for name, value in state.items() if isinstance(value, np.ndarray) and not value.size]
    values = {name: value for name, value in state.items() if not isinstance(value, np.ndarray)}
    memory.require(2 * sum(a.nbytes for a in arrays.values()), f"the file of a {kind}", Advice.FREE_MEMORY)
    header = {
        "format": _PREFIX + kind,
        "version": str(VERSION),
        "values": json.dumps(values),
        "empty": json.dumps(empty),
    }
    content = to_bytes(arrays, metadata=header)
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Return the permissions that are withheld from new files; mkstemp withholds more."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Read what `save` wrote.

    Raises
    ------
    ValueError
        If another program wrote the file, or it is of another kind, of a later version or damaged.
    OSError
        If it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    memory.require(2 * path.stat().st_size, f"reading {path.name}", Advice.FREE_MEMORY)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            _check_header(path, header, kind)
            state: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state.update({name: np.empty(0) for name in json.loads(header["empty"])})
        state.update(json.loads(header["values"]))
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from None
    return state


def _check_header(path: Path, header: dict[str, str], kind: str) -> None:
    found = header.get("format", "")
    if not found.startswith(_PREFIX):
        raise ValueError(f"{path} was not written by rigidities: it is a safetensors file of something else")
    if found != _PREFIX + kind:
        raise ValueError(f"{path} holds a {found.removeprefix(_PREFIX)}, not a {kind}")
    version = header.get("version", "")
    if not version.isdigit() or int(version) > VERSION:
        raise ValueError(f"{path} is of version {version}, this rigidities reads up to {VERSION}: upgrade it")


def restore(path: str | os.PathLike[str], kind: str, build: Callable[[dict[str, Any]], T]) -> T:
    """Read a file and build the object in it."""
    return rebuild(path, kind, load(path, kind), build)


def rebuild(path: str | os.PathLike[str], kind: str, state: dict[str, Any], build: Callable[[dict[str, Any]], T]) -> T:
    """Build the object of a file from its state; an error names the file."""
    try:
        return build(state)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is not a whole {kind}: {error}") from None


class Stored(ABC):
    """An object whose state is arrays and plain values: files and pickle hold it."""

    #: Name of this kind of object in files.
    _kind: ClassVar[str]

    @abstractmethod
    def __getstate__(self) -> dict[str, Any]:
        """Return the whole state of the object."""

    @abstractmethod
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state that `__getstate__` returned."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to a file: safetensors, no pickle, written whole or not at all.

        Parameters
        ----------
        path : path-like
            Replaced if it exists. C or the factor takes 4p² bytes, and so does a matrix as penalty.

        Raises
        ------
        OSError
            If the file cannot be written.
        MemoryError
            If the bytes of the file do not fit in memory beside the object.
        """
        save(path, self._kind, self.__getstate__())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an object that `save` wrote; all its results have the same bits.

        Raises
        ------
        ValueError
            If the file is damaged, of a later version, or holds something else.
        OSError
            If it cannot be read.
        """
        loaded = cls.__new__(cls)
        restore(path, cls._kind, loaded.__setstate__)
        return loaded
