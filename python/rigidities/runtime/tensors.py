"""Arrays and texts in one file: the layout of safetensors, with a checksum of every part.

A file has the length of the header (8 bytes), the header (JSON: type, length and place of each
array, and the texts), and the arrays one after another. The last array, `checksums`, has one number
for all that comes before the arrays and one for each array. It comes last, so that a file is
written in one pass. Any program that knows safetensors can read the file.

A checksum is the CRC-32 of the CRC-32s of pieces of 1 MiB: one flipped bit always changes it, other
damage goes unseen once in 2³² times.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

CHECKSUMS = "checksums"
"""Name of the array of checksums."""

_PIECE = 1 << 20
"""Bytes that are written or read, and summed, at a time: they stay in the cache in between."""

_LARGEST_HEADER = 1 << 24
"""Bytes: a header of arrays and hyper-parameters has a few thousand."""

_TYPES: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "U32": np.dtype("<u4")}


class DamagedError(ValueError):
    """What is read is not a file of this layout, or a part of it has changed."""


@dataclass(frozen=True)
class Header:
    """What a file says about its arrays.

    Attributes
    ----------
    texts : dict of str to str
    arrays : dict of str to (dtype, int)
        Type and number of entries of each array, in the order of the file.
    checksum : int
        That of the header itself.
    """

    texts: dict[str, str]
    arrays: dict[str, tuple[np.dtype[Any], int]]
    checksum: int


def write(file: BinaryIO, arrays: Mapping[str, NDArray[np.float64]], texts: Mapping[str, str]) -> None:
    """Write arrays of one dimension and texts, with their checksums.

    Parameters
    ----------
    file : file open for writing bytes
    arrays : mapping of str to ndarray of shape (n,)
    texts : mapping of str to str
    """
    header = _header(arrays, texts)
    file.write(header)
    checksums = [_joined([zlib.crc32(header)])]
    for array in arrays.values():
        sums = []
        for piece in _pieces(np.ascontiguousarray(array, dtype=_TYPES["F64"])):
            sums.append(zlib.crc32(piece))
            file.write(piece)
        checksums.append(_joined(sums))
    file.write(_as_bytes(checksums))


def _header(arrays: Mapping[str, NDArray[np.float64]], texts: Mapping[str, str]) -> bytes:
    """Return the header with its length in front; blanks fill it up to a multiple of 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": dict(texts)}
    start = 0
    parts = [(name, "F64", array.size) for name, array in arrays.items()]
    for name, code, length in [*parts, (CHECKSUMS, "U32", len(arrays) + 1)]:
        stop = start + length * _TYPES[code].itemsize
        entries[name] = {"dtype": code, "shape": [length], "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_header(file: FileIO) -> Header:
    """Read the header of a file that is open without a buffer, and check it against its size.

    Raises
    ------
    DamagedError
        If it is not a header, or the arrays that it announces do not fill the file.
    """
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, _LARGEST_HEADER):
        raise DamagedError("it does not begin with the length of a header")
    whole = bytearray(start) + bytearray(length)
    _fill(file, memoryview(whole)[8:])
    entries: dict[str, Any] = parsed(_decoded(whole[8:]), dict)
    texts = entries.pop("__metadata__", {})
    if not (isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values())):
        raise DamagedError("its header has no texts")
    places = sorted((*_place(name, entry), name) for name, entry in entries.items())
    stop = 0
    for begin, end, _, name in places:
        if begin != stop:
            raise DamagedError(f"{name} is not where the array before it ends")
        stop = end
    if 8 + length + stop != size:
        raise DamagedError(f"it has {size} bytes, but its header announces {8 + length + stop}")
    arrays = {name: (_TYPES[code], (end - begin) // _TYPES[code].itemsize) for begin, end, code, name in places}
    return Header(texts, arrays, _joined([zlib.crc32(whole)]))


def _decoded(text: bytearray) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise DamagedError(f"its header is not UTF-8: {error.reason}") from None


def parsed(text: str, kind: type[T]) -> T:
    """Return what a text of JSON holds.

    Raises
    ------
    DamagedError
        If it is not JSON, names an entry twice, or is not of this kind (a dict or a list).
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"its header is not JSON: {error}") from None
    if not isinstance(content, kind):
        raise DamagedError(f"its header has a {type(content).__name__} in place of a {kind.__name__}")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name occurs twice")
    return entries


def _place(name: str, entry: Any) -> tuple[int, int, str]:
    """Return begin, end and type of an array."""
    match entry:
        case {"dtype": str(code), "shape": [int(length)], "data_offsets": [int(begin), int(end)]}:
            known = len(entry) == 3 and code in _TYPES
            if known and 0 <= begin <= end == begin + length * _TYPES[code].itemsize:
                return begin, end, code
    raise DamagedError(f"{name} is not an array of one dimension of float64")


def read_arrays(file: FileIO, header: Header, *, checked: bool) -> dict[str, NDArray[np.float64]]:
    """Read the arrays that follow a header, and compare their checksums.

    Parameters
    ----------
    file : file open for reading bytes without a buffer, behind the header
    header : Header
    checked : bool
        Whether there are checksums; files of the first version had none.

    Raises
    ------
    DamagedError
        If a part of the file is not what was written.
    """
    arrays, checksums = {}, [header.checksum]
    for name, (kind, length) in header.arrays.items():
        arrays[name] = np.empty(length, dtype=kind)
        sums = []
        for piece in _pieces(arrays[name]):
            _fill(file, piece)
            if checked:
                sums.append(zlib.crc32(piece))
        checksums.append(_joined(sums))
    if checked:
        _compare(list(arrays), arrays.pop(CHECKSUMS, None), checksums)
    wrong = [name for name, array in arrays.items() if array.dtype != np.float64]
    if wrong:
        raise DamagedError(f"{wrong[0]} is not an array of float64")
    return {name: array.astype(np.float64, copy=False) for name, array in arrays.items()}


def _compare(names: list[str], stored: NDArray[Any] | None, found: list[int]) -> None:
    """Refuse a file of which a part has another checksum than the stored one."""
    if stored is None or names[-1] != CHECKSUMS or len(stored) != len(names):
        raise DamagedError("its checksums are missing")
    for name, before, now in zip(["the header", *names[:-1]], stored.tolist(), found, strict=False):
        if before != now:
            raise DamagedError(f"{name} has changed since it was written: its checksum is another")


def _joined(sums: list[int]) -> int:
    """Return the checksum of a part from those of its pieces."""
    return zlib.crc32(_as_bytes(sums))


def _as_bytes(checksums: list[int]) -> bytes:
    return np.array(checksums, dtype=_TYPES["U32"]).tobytes()


def _pieces(array: NDArray[Any]) -> Iterator[memoryview]:
    """Yield the bytes of an array, some at a time."""
    view = array.view(np.uint8).data
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]


def _fill(file: FileIO, buffer: memoryview) -> None:
    while buffer:
        n = file.readinto(buffer)
        if not n:
            raise DamagedError("it ends early")
        buffer = buffer[n:]
