"""Files of accumulators, factors and models: safetensors, without pickle.

Each part is an array; numbers and names are in the header, with the kind of the object, the version
of the layout and the package that wrote it. A file is written under a temporary name and moved to
its place when it is complete. It is checked when it is read: every part has a checksum, every entry
a range. Nothing in it is executed.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from rigidities._core import __version__
from rigidities.exceptions import Advice
from rigidities.runtime import memory, tensors
from rigidities.runtime.reading import open_regular
from rigidities.runtime.writing import replacing
from rigidities.state import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_PREFIX = "rigidities."

_TEXTS = {"1": {"format", "version", "values", "empty"}, "2": {"format", "version", "values", "writer"}}
"""Texts in the header, by version. Version 1 listed arrays of length 0 apart."""


def save(path: str | os.PathLike[str], kind: str, state: Mapping[str, Any]) -> None:
    """Write arrays and plain values of `state` to `path`, all or nothing.

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    kind : str
        Kind of the object, e.g. "covariance".
    state : mapping
        Arrays of float64 with one dimension, and finite values that JSON can hold.

    Raises
    ------
    OSError
        If the file cannot be written, or there is something else than a regular file.
    """
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in state.items() if name not in arrays and name != "version"}
    texts = {
        "format": _PREFIX + kind,
        "version": str(VERSION),
        "writer": f"rigidities {__version__}",
        "values": json.dumps(values, allow_nan=False),
    }
    with replacing(path) as file:
        tensors.write(file, arrays, texts)


def load(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Read what `save` wrote, and the version in which it was written.

    Raises
    ------
    ValueError
        If another program wrote the file, it is of another kind, of a later version or damaged, or
        there is no regular file.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    with open_regular(path) as file:
        memory.require(2 * os.fstat(file.fileno()).st_size, f"reading {path.name}", Advice.FREE_MEMORY)
        try:
            header = tensors.read_header(file)
            version = _version(path, header.texts, kind)
            arrays = tensors.read_arrays(file, header, checked=version > 1)
            return _state(arrays, header.texts, version)
        except tensors.DamagedError as error:
            raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from None


def _version(path: Path, texts: dict[str, str], kind: str) -> int:
    found = texts.get("format", "")
    if not found.startswith(_PREFIX):
        raise ValueError(f"{path} was not written by rigidities: it is a safetensors file of something else")
    if found != _PREFIX + kind:
        raise ValueError(f"{path} holds a {found.removeprefix(_PREFIX)}, not a {kind}")
    version = texts.get("version", "")
    if version not in _TEXTS:
        raise ValueError(f"{path} is of version {version}, this rigidities reads up to {VERSION}: upgrade it")
    if texts.keys() != _TEXTS[version]:
        raise tensors.DamagedError(f"its header has {', '.join(texts)}: expected {', '.join(_TEXTS[version])}")
    return int(version)


def _state(arrays: dict[str, Any], texts: dict[str, str], version: int) -> dict[str, Any]:
    """Return the state that the arrays and the header hold."""
    values = tensors.parsed(texts["values"], dict)
    empty = tensors.parsed(texts["empty"], list) if version == 1 else []
    parts = [arrays, values, {name: np.empty(0) for name in empty if isinstance(name, str)}, {"version": version}]
    state = {name: value for part in parts for name, value in part.items()}
    if len(state) < len(arrays) + len(values) + len(empty) + 1:
        raise tensors.DamagedError("a name occurs twice")
    return state


def restore(path: str | os.PathLike[str], kind: str, build: Callable[[dict[str, Any]], T]) -> T:
    """Read a file and build the object in it."""
    return rebuild(path, kind, load(path, kind), build)


def rebuild(path: str | os.PathLike[str], kind: str, state: dict[str, Any], build: Callable[[dict[str, Any]], T]) -> T:
    """Build the object of a file from its state; an error names the file.

    The state is checked entry by entry. What is left are settings of a descriptor, which foreign
    code judges, by errors of its own.
    """
    try:
        return build(state)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
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
        """Take over a state that `__getstate__` returned, in this version or an earlier one."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to a file: safetensors, no pickle, written whole or not at all.

        Parameters
        ----------
        path : path-like
            Replaced if it exists, and keeps its mode then. C or the factor takes 4p² bytes, and so
            does a matrix as penalty.

        Raises
        ------
        OSError
            If the file cannot be written, or `path` is something else than a regular file, or one
            with several hard links. What was there is unchanged then.
        MemoryError
            If the state does not fit in memory beside the object.
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
