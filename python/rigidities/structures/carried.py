"""What structures carry and extended XYZ cannot hold: left out, with a warning that names it.

In the file it would make other data unreadable or swallow them: an empty text, a text with line
breaks, a column of complex numbers. An entry of ``info`` can be held if ASE reads it back from the
line that ASE writes.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import NotWrittenWarning, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

_NAME = re.compile(r"[^\W\d][\w.-]*")
"""A name that needs no quotes."""

_TAKEN = {"species", "pos", "Properties", "Lattice", "pbc"}
"""Names that the format uses itself."""


def holdable(frames: Sequence[Atoms]) -> list[Atoms]:
    """Return copies of structures with what extended XYZ can hold.

    Warns
    -----
    NotWrittenWarning
        If something was left out.
    """
    copies: list[Atoms] = []
    lost: Counter[str] = Counter()
    whole: Sequence[Any] = frames
    for frame in whole:
        copy = frame.copy()
        copy.calc = frame.calc
        columns = {name: _column(name, values) for name, values in frame.arrays.items()}
        held = {name for name, value in frame.info.items() if _is_read_back(name, value)}
        copy.arrays = {name: values for name, values in columns.items() if values is not None}
        copy.info = {name: value for name, value in copy.info.items() if name in held}
        lost.update(f"array {name}" for name in columns.keys() - copy.arrays.keys())
        lost.update(f"info {name}" for name in frame.info.keys() - held)
        copies.append(copy)
    if lost:
        listed = ", ".join(f"{name} of {n} structure{'s' * (n > 1)}" for name, n in sorted(lost.items()))
        warn(NotWrittenWarning, f"extended XYZ cannot hold {listed}: left out of the file")
    return copies


def _column(name: str, values: NDArray[Any]) -> NDArray[Any] | None:
    """Return an array as the columns of the format can hold it, or None."""
    if not _NAME.fullmatch(name) or name in _TAKEN or values.ndim not in (1, 2) or 0 in values.shape:
        return None
    if values.dtype.kind in "iu":
        whole = values.astype(np.int64)
        return whole if (whole == values).all() else None
    words = values.dtype.kind == "U" and all(text.isprintable() and len(text.split()) == 1 for text in values.flat)
    return values if words or values.dtype.kind in "fb" else None


def _is_read_back(name: Any, value: Any) -> bool:
    """Whether ASE reads an entry of info back, and another one behind it."""
    extxyz: Any = import_module("ase.io.extxyz")
    if not isinstance(name, str) or name in _TAKEN:
        return False
    if _NAME.fullmatch(name) and isinstance(value, int | float):
        return True
    try:
        line = extxyz.key_val_dict_to_str({name: value, "behind": 1})
        found = extxyz.key_val_str_to_dict(line)
        return line.isprintable() and found.keys() == {name, "behind"} and _is_same(found[name], value)
    except Exception:  # ASE raises errors of any kind
        return False


def _is_same(found: Any, value: Any) -> bool:
    if isinstance(value, str):
        return str(found) == value
    if isinstance(value, np.ndarray | list | tuple):
        # ASE makes a matrix of nine numbers, column by column
        return any(np.array_equal(np.ravel(found, order), np.ravel(value)) for order in ("C", "F"))
    return bool(found == value) if value is None or isinstance(value, dict) else True  # others as their text
