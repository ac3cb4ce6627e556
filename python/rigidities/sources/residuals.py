"""Residuals and standard deviations of any model, from .npz or .csv files.

All faults of these files raise an `InputError` that names the file.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import InputError
from rigidities.sources.feature_files import unpacked
from rigidities.structures.read import require_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

ENDINGS = (".npz", ".csv")
"""Ends of the names of such files."""

NEEDED = ("residuals", "std")
"""Names of what a file must hold."""

BLOCKS = "blocks"
"""Name of what says which targets belong to one structure."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of targets, and what is known of them.

    Attributes
    ----------
    residuals, std : ndarray of shape (n,)
        Target minus prediction, and σ of the prediction, in one unit.
    blocks : ndarray of int of shape (n,), or None
        Targets with the same number are not independent, as the forces of one structure.
    by : dict of str to ndarray of shape (n,)
        All other entries: classes, or numbers such as a size.
    """

    residuals: NDArray[np.float64]
    std: NDArray[np.float64]
    blocks: NDArray[np.int64] | None = None
    by: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def are_residuals(path: str) -> bool:
    """Whether a file of this name holds residuals, not a model."""
    return path.endswith(ENDINGS)


def read_residuals(path: str) -> Residuals:
    """Read residuals and standard deviations.

    Parameters
    ----------
    path : str
        An .npz file with the arrays ``residuals`` and ``std``, both (n,), or a .csv file whose
        first line names its columns. ``blocks`` is optional; all other arrays or columns of n
        entries are classes.

    Returns
    -------
    Residuals

    Raises
    ------
    InputError
        If the file cannot be read, lacks an entry, or entries differ in length.
    """
    require_file(path)
    columns = _of_csv(path) if path.endswith(".csv") else _of_npz(path)
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise InputError(
            f"{path}: lacks {' and '.join(missing)}; it has {', '.join(columns) or 'nothing'}. Expected residuals "
            "(target minus prediction) and std (σ), in one unit"
        )
    n = len(columns["residuals"])
    for name in ("residuals", *columns):
        shape = columns[name].shape
        if len(shape) != 1:
            raise InputError(f"{path}: {name} has shape {shape}: expected one entry for each target, ({n},)")
        if shape != (n,):
            raise InputError(f"{path}: {name} has shape {shape}, residuals ({n},)")
    numbers = {name: _numbers(path, name, columns.pop(name)) for name in NEEDED}
    blocks = columns.pop(BLOCKS, None)
    if blocks is not None:  # of any kind: names of structures, too
        blocks = np.unique(blocks, return_inverse=True)[1].ravel().astype(np.int64)
    return Residuals(numbers["residuals"], numbers["std"], blocks, columns)


def _numbers(path: str, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    try:
        found = values.astype(np.float64)
    except (ValueError, TypeError):
        place = next(i for i, value in enumerate(values) if not _is_number(value))
        raise InputError(f"{path}: {name} holds {str(values[place])!r} at place {place}: expected numbers") from None
    return np.asarray(found)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True


def _of_npz(path: str) -> dict[str, NDArray[Any]]:
    try:
        return {name: np.atleast_1d(array) for name, array in unpacked(path).items()}
    except InputError:
        raise
    except Exception as error:  # NumPy raises five unrelated types
        raise InputError(f"{path}: is no .npz file of plain arrays ({' '.join(str(error).split())})") from error


def _of_csv(path: str) -> dict[str, NDArray[Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head, *rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(f"{path}: is no .csv file ({' '.join(str(error).split())})") from error
    names = [name.strip() for name in head]
    if len(set(names)) < len(names) or "" in names:
        raise InputError(f"{path}: its first line is {','.join(head)!r}: expected a different name for each column")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise InputError(f"{path}: line {number} has {len(row)} entries, the first line {len(names)}")
    return {name: _column([row[i].strip() for row in rows]) for i, name in enumerate(names)}


def _column(texts: list[str]) -> NDArray[Any]:
    """Return integers or numbers if all texts are such, or texts."""
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(text) for text in texts])
        except (ValueError, OverflowError):
            continue
    return np.array(texts)
