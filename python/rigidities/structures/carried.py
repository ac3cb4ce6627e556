"""What structures carry, as far as ASE reads it back from extended XYZ.

The rest would make a file unreadable or change other data in it: an empty text, a text with line
breaks, a column of complex numbers, two columns of one name. It is left out, with one warning that
names it. An entry of ``info`` can be held if ASE reads it back from the line that ASE writes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib import import_module
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities.exceptions import NotWrittenWarning, warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

_NAME = re.compile(r"[^\W\d][\w.-]*")
"""A name that needs no quotes."""

_OF_THE_LINE = {"Properties", "Lattice", "pbc"}
"""Entries of the line that the format uses itself."""

_MATRICES = {"virial", "stress"}
"""Entries that ASE reads as 3 × 3 matrices, and as nothing else."""

_OF_THE_COLUMNS = {"species", "symbols", "numbers", "Z", "pos", "positions", "charge", "move_mask"}
"""Columns that ASE takes for something else than an array of that name."""

_FIRST_FIELDS = {"species", "Z", "pos0", "pos1", "pos2"}
"""Fields of the columns that every structure has: a column of several numbers has one for each."""


class Carried(NamedTuple):
    """What is written of a structure beside species, positions and cell."""

    info: dict[str, Any]
    columns: dict[str, NDArray[Any]]


def holdable(frames: Sequence[Any], info: Iterable[str] = (), arrays: Mapping[str, int] | None = None) -> list[Carried]:
    """Return what extended XYZ can hold of info, arrays, results and constraints of structures.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        They are not changed. Results of a calculator come before info and arrays of that name,
        because ASE reads both as results.
    info : iterable of str
        Names that are added to each structure: they replace entries.
    arrays : mapping of str to int
        Names that are added to the arrays of each structure, with their numbers of columns.

    Warns
    -----
    NotWrittenWarning
        If something was left out, or replaced that does not look like an earlier output.
    """
    lost: Counter[str] = Counter()
    kept = [_carried(frame, set(info), arrays or {}, lost) for frame in frames]
    replaced: Counter[str] = Counter()
    for frame in frames:
        names = frame.info.keys() & set(info), frame.arrays.keys() & set(arrays or {})
        if not (all(names) or is_output(frame)):  # with both, it comes from an earlier output
            replaced.update([f"info {name}" for name in names[0]] + [f"array {name}" for name in names[1]])
    texts = [f"extended XYZ cannot hold {_listed(lost)}: left out of the file"] if lost else []
    texts += [f"the file holds new numbers in place of {_listed(replaced)}"] if replaced else []
    if texts:
        warn(NotWrittenWarning, "; ".join(texts))
    return kept


def is_output(frame: Any) -> bool:
    """Whether a structure comes from an earlier output, which has both rigidities."""
    return "pr" in frame.info and "lpr" in frame.arrays


def _listed(names: Counter[str]) -> str:
    return ", ".join(f"{name} of {n} structure{'s' * (n > 1)}" for name, n in sorted(names.items()))


def _carried(frame: Any, info: set[str], arrays: Mapping[str, int], lost: Counter[str]) -> Carried:
    """Return what is held of one structure, and count what is lost."""
    extxyz: Any = import_module("ase.io.extxyz")
    results = {} if frame.calc is None else getattr(frame.calc, "results", {})
    of_cell = {name: results[name] for name in extxyz.per_config_properties if results.get(name) is not None}
    of_atoms = {name: results[name] for name in extxyz.per_atom_properties if results.get(name) is not None}
    entries, hidden_entries = _merged(frame.info, of_cell, info)
    columns, hidden_columns = _merged(frame.arrays, of_atoms, {"numbers", "positions", *arrays})
    kept = {name: value for name, value in entries.items() if _is_read_back(name, value)}
    held = _held_columns(columns, arrays)
    mask, others = _movable(frame)
    lost.update(f"info {name}" for name in (entries.keys() - kept.keys()) | hidden_entries)
    lost.update(f"array {name}" for name in (columns.keys() - held.keys()) | hidden_columns)
    lost.update(f"constraint {name}" for name in others)
    return Carried(kept, held if mask is None else {"move_mask": mask} | held)


def _merged(own: Mapping[Any, Any], results: Mapping[str, Any], added: set[str]) -> tuple[dict[Any, Any], set[str]]:
    """Return all entries but the added ones, and the names of those that a result hides."""
    merged = {name: _as_matrix(name, value) for name, value in {**own, **results}.items() if name not in added}
    hidden = {name for name in (own.keys() & results) - added if not _agree(merged[name], _as_matrix(name, own[name]))}
    return merged, hidden


# columns ------------------------------------------------------------------------------------------


def _held_columns(columns: Mapping[str, Any], added: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Return the columns that can be held, beside the added ones."""
    held: dict[str, NDArray[Any]] = {}
    fields = set(_FIRST_FIELDS).union(*(_fields(name, n) for name, n in added.items()))
    for name, values in columns.items():
        column = _column(name, values)
        if column is None or fields & _fields(name, column[:1].size):
            continue
        held[name] = column
        fields |= _fields(name, column[:1].size)
    return held


def _fields(name: str, n_columns: int) -> set[str]:
    """Return the names under which ASE keeps the columns while it reads."""
    return {name} if n_columns == 1 else {f"{name}{index}" for index in range(n_columns)}


def _column(name: Any, values: Any) -> NDArray[Any] | None:
    """Return an array as the columns of the format can hold it, or None."""
    values = np.asarray(values)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _OF_THE_COLUMNS:
        return None
    if values.ndim not in (1, 2) or 0 in values.shape or not _suits(name, values):
        return None
    kind = values.dtype.kind
    if kind in "iu":
        return _if_equal(values, np.int32)  # ASE reads integers of 32 bits
    if kind == "f":
        return _if_equal(values, np.float64)
    words = kind in "UO" and all(
        isinstance(text, str) and text.isprintable() and text.split() == [text] for text in values.flat
    )
    return values if words or kind == "b" else None


def _suits(name: str, values: NDArray[Any]) -> bool:
    """Whether ASE can make of a column what it makes of this name."""
    extxyz: Any = import_module("ase.io.extxyz")
    numbers = values.dtype.kind in "iuf"
    if name == "initial_charges":
        return numbers and values.ndim == 1
    return name not in extxyz.all_properties or (numbers and name in extxyz.per_atom_properties)


def _if_equal(values: NDArray[Any], dtype: Any) -> NDArray[Any] | None:
    converted = values.astype(dtype)
    return converted if _equal(converted, values) else None


def _movable(frame: Any) -> tuple[NDArray[np.bool_] | None, set[str]]:
    """Return the mask of what constraints leave free, or None, and the kinds that have no mask."""
    constraints: Any = import_module("ase.constraints")
    mask = np.ones((len(frame), 3), dtype=bool)
    others = set()
    for constraint in frame.constraints:
        if isinstance(constraint, constraints.FixCartesian):
            mask[constraint.index] &= ~np.asarray(constraint.mask, dtype=bool)
        elif isinstance(constraint, constraints.FixAtoms):
            mask[constraint.index] = False
        else:
            others.add(type(constraint).__name__)
    if mask.all():
        return None, others
    return mask[:, 0] if (mask == mask[:, :1]).all() else mask, others


# entries of the line ------------------------------------------------------------------------------


def _as_matrix(name: Any, value: Any) -> Any:
    """Return a stress of six numbers as a matrix, as ASE writes it."""
    if name != "stress" or not isinstance(value, np.ndarray) or value.shape != (6,):
        return value
    from rigidities.structures.species import VOIGT  # it loads ASE

    matrix = np.empty((3, 3), dtype=value.dtype)
    for (i, j), component in zip(VOIGT, value, strict=True):
        matrix[i, j] = matrix[j, i] = component
    return matrix


def _is_read_back(name: Any, value: Any) -> bool:
    """Whether ASE reads an entry of info back, and another one behind it."""
    extxyz: Any = import_module("ase.io.extxyz")
    if not isinstance(name, str) or name in _OF_THE_LINE:
        return False
    if name in _MATRICES and (not isinstance(value, np.ndarray) or value.size != 9):
        return False
    try:
        if name in extxyz.per_config_properties and np.asarray(value).dtype.kind not in "iufb":
            return False
        if name == "stress" and not (value.shape == (3, 3) and _equal(value.T, value)):
            return False  # ASE reads six components of it
        if not isinstance(value, str | bool | np.bool_ | Real | extxyz.Spacegroup):
            json.dumps(value.tolist() if isinstance(value, np.ndarray) else value)  # ASE only warns where this fails
        line = extxyz.key_val_dict_to_str({name: value, "behind": 1})
        found = extxyz.key_val_str_to_dict(line)
        return line.isprintable() and found.keys() == {name, "behind"} and _is_same(found[name], value)
    except Exception:  # ASE raises errors of any kind
        return False


def _agree(one: Any, other: Any) -> bool:
    try:
        return np.shape(one) == np.shape(other) and _equal(np.asarray(one), np.asarray(other))
    except (TypeError, ValueError):  # no array can be made of it
        return False


def _is_same(found: Any, value: Any) -> bool:
    if isinstance(value, str):
        return str(found) == value
    if isinstance(value, np.ndarray | list | tuple):
        # ASE reads some matrices column by column
        return any(_equal(np.ravel(found, order), np.ravel(value)) for order in ("C", "F"))
    if isinstance(value, Real):
        kind: Any = type(value)
        return not isinstance(found, str) and bool(kind(found) == value or value != value)
    if value is None or isinstance(value, dict):
        return bool(found == value)
    return bool(found == getattr(value, "symbol", None))  # a space group


def _equal(found: NDArray[Any], values: NDArray[Any]) -> bool:
    """Whether numbers are the same, in the precision of `values`; NaN is NaN."""
    if values.dtype.kind == "f" and found.dtype.kind in "iuf":
        return np.array_equal(found.astype(values.dtype), values, equal_nan=True)
    return np.array_equal(found, values)
