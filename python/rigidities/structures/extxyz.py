"""Write structures with computed numbers as extended XYZ.

Every number is written with the digits that give it back, and one line and one column hold nothing
that ASE would read as something else. ASE's own writer has eight decimals: a rigidity of 1e-9 would
be written as zero.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.runtime.writing import write_text
from rigidities.structures.carried import holdable, is_output

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

_TYPES = {"f": "R", "i": "I", "b": "L", "U": "S", "O": "S"}
"""Letter of the format for each kind of array."""


def write_annotated(
    frames: Sequence[Atoms],
    path: Path,
    info: Mapping[str, NDArray[np.float64] | NDArray[np.int64]],
    arrays: Mapping[str, NDArray[np.float64]],
    earlier: Collection[str] = (),
) -> None:
    """Write structures with added numbers; their own info, arrays and results are kept.

    What extended XYZ cannot hold is left out, with a `NotWrittenWarning`.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        They are not changed.
    path : Path
        Replaced if it exists.
    info : mapping of str to ndarray of shape (n_structures,) or (n_structures, k)
        Numbers of each structure. An entry of the same name is replaced.
    arrays : mapping of str to ndarray of shape (n_atoms,) or (n_atoms, k)
        Numbers of each atom, in the order of structures. An array of the same name is replaced.
    earlier : collection of str
        Names that are left out of structures that come from an earlier output, which have info
        ``pr`` and array ``lpr``.

    Warns
    -----
    NotWrittenWarning
        If something that structures carry was left out or replaced.
    """
    kept = holdable(frames, info, {name: values[:1].size for name, values in arrays.items()})
    stops = np.cumsum([len(frame) for frame in frames])
    texts = []
    for index, (frame, carried) in enumerate(zip(frames, kept, strict=True)):
        own = slice(stops[index] - len(frame), stops[index])
        old = earlier if is_output(frame) else ()
        columns = _without(carried.columns, old) | {name: values[own] for name, values in arrays.items()}
        entries = _without(carried.info, old) | {name: values[index] for name, values in info.items()}
        texts.append(_text(frame, entries, columns))
    write_text(path, "".join(texts))


def _without(entries: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name not in names}


def _text(frame: Any, info: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> str:
    """Return a structure as its number of atoms, a line and a row for each atom."""
    extxyz: Any = import_module("ase.io.extxyz")
    whole = _species(frame) | {"pos": frame.positions, **columns}
    written = {extxyz.PROPERTY_NAME_MAP.get(name, name): np.asarray(values) for name, values in whole.items()}
    properties = ":".join(f"{name}:{_TYPES[values.dtype.kind]}:{values[:1].size}" for name, values in written.items())
    cell = " ".join(map(repr, np.asarray(frame.cell).ravel().tolist()))
    line = f'Lattice="{cell}" ' * bool(frame.cell.any()) + f"Properties={properties} "
    line += extxyz.key_val_dict_to_str({**info, "pbc": frame.pbc})
    fields = [field for values in written.values() for field in _fields(values)]
    rows = "".join(f"{' '.join(row)}\n" for row in zip(*fields, strict=True))
    return f"{len(frame)}\n{line}\n{rows}"


def _species(frame: Any) -> dict[str, NDArray[Any]]:
    """Return the column of symbols, or of atomic numbers beyond those of the elements."""
    names: Any = import_module("ase.data").chemical_symbols
    numbers = frame.numbers
    if numbers.min() < 0 or numbers.max() >= len(names):
        return {"Z": numbers}
    return {"species": np.array(names)[numbers]}


def _fields(values: NDArray[Any]) -> list[list[str]]:
    """Return the texts of each column, in one width."""
    columns = []
    for column in values.reshape(len(values), -1).T:
        values_of = column.tolist()
        texts = ["FT"[value] for value in values_of] if column.dtype.kind == "b" else list(map(str, values_of))
        width = max(map(len, texts))
        columns.append([text.rjust(width) for text in texts])
    return columns
