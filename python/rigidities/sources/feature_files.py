"""Files with the features of any model: .npz with labels, .npy, and metatensor's .mts.

All faults of these files raise an `InputError` that names the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice, InputError, blame
from rigidities.rows import Rows
from rigidities.runtime import memory
from rigidities.sources.features import Features
from rigidities.structures.read import require_file
from rigidities.validation import as_floats, as_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDINGS = (".npz", ".npy", ".mts")
"""Ends of the names of files with features."""

LARGEST = 1e100
"""Largest feature, so that squares, and sums of them, are finite."""


def are_features(path: str) -> bool:
    """Whether a file of this name holds features, not structures."""
    return path.endswith(ENDINGS)


def read_features(path: str) -> Features:
    """Read features of any model.

    Parameters
    ----------
    path : str
        An .npz file with the array ``features`` (n_rows, n_features). Optional are ``groups`` and
        ``species``, both (n_rows,), and ``labels``, ``energies`` and ``weights``, all
        (n_structures,). Groups are integers or strings. Energies and weights are in the order of
        the labels; without labels, or where these only name integer groups, in that of the sorted
        groups. Or an .npy file with the features alone, or a metatensor file (.mts) whose samples
        have "system".

    Returns
    -------
    Features

    Raises
    ------
    InputError
        If the file cannot be read, or an array is missing or has a wrong shape, type or value.
    """
    if path.endswith(".mts"):
        return _from_tensor(path)
    arrays = _read_arrays(path)
    if "features" not in arrays:
        raise InputError(f"{path}: has no array named features; it has {', '.join(arrays) or 'no arrays'}")
    with blame(path):
        features = as_floats(arrays["features"], "features", ndim=2)
    _require_entries(path, features)
    groups, names = _groups(path, arrays.get("groups"), len(features))
    order, labels = _order(path, arrays.get("labels"), groups, names, len(features))
    return Features(
        path,
        Rows(features, groups),
        _species(path, arrays.get("species"), len(features)),
        labels,
        _of_structures(path, arrays, "energies", order),
        _of_structures(path, arrays, "weights", order),
    )


def _read_arrays(path: str) -> Mapping[str, NDArray[Any]]:
    require_file(path)
    try:
        if path.endswith(".npy"):
            return {"features": np.load(path, allow_pickle=False)}
        found = unpacked(path)
    except InputError:
        raise
    except Exception as error:  # NumPy raises five unrelated types
        kind = path[-4:]
        raise InputError(f"{path}: NumPy cannot read it as {kind} ({' '.join(str(error).split())})") from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of what has no header of an array
            raise InputError(f"{path}: {name} is no array")
    return found


def unpacked(path: str) -> dict[str, Any]:
    """Return what an .npz file holds, if it fits in memory; NumPy has several errors for others."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    with blame(path):
        memory.require(size, "its content", Advice.FREE_MEMORY)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _from_tensor(path: str) -> Features:
    require_file(path)
    with blame(path):
        try:
            from rigidities.interop.metatensor import read_rows
        except ImportError as error:
            raise InputError(f"{path}: {error}") from error
        rows = read_rows(path)
    _require_entries(path, rows.values)
    return Features(path, Rows(rows.values, rows.groups))


def _require_entries(path: str, features: NDArray[Any]) -> None:
    """Refuse no features, NaN, infinity, and numbers so large that sums of squares overflow."""
    if features.size == 0:
        raise InputError(f"{path}: features have shape {features.shape}, expected at least one row and one column")
    limit = min(LARGEST, float(np.finfo(features.dtype).max))
    good = (features >= -limit) & (features <= limit)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        held = f"{features[row, column]} in row {row}, column {column}"
        raise InputError(f"{path}: features hold {held}: expected finite numbers, at most {LARGEST:g}")


def _texts(path: str, array: NDArray[Any], name: str) -> NDArray[np.str_]:
    with blame(f"{path}: {name}"):
        return array.astype(str)


def _groups(
    path: str, groups: NDArray[Any] | None, n_rows: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.str_] | None]:
    """Return groups as integers, and their names in the sorted order if they are strings."""
    if groups is None or groups.dtype.kind not in "SU":
        with blame(path):
            return groups if groups is None else as_labels(groups, "groups", n_rows, "row"), None
    if groups.shape != (n_rows,):
        raise InputError(f"{path}: groups has shape {groups.shape}: expected one label per row, {(n_rows,)}")
    names, inverse = np.unique(_texts(path, groups, "groups"), return_inverse=True)
    return inverse.astype(np.int64), names


def _order(
    path: str,
    labels: NDArray[Any] | None,
    groups: NDArray[np.int64] | None,
    names: NDArray[np.str_] | None,
    n_rows: int,
) -> tuple[NDArray[np.int64], NDArray[np.str_] | None]:
    """Return where each structure's energy stands, in the order of the groups, and the names.

    Labels of the type of the groups say which structure each energy is of. Strings for integer
    groups are names, in the order of the groups.
    """
    values = np.arange(n_rows) if groups is None else np.unique(groups)
    n, known = len(values), values if names is None else names
    if labels is None:
        return np.arange(n), names
    if labels.shape != (n,):
        raise InputError(f"{path}: labels have shape {labels.shape}, expected one for each structure, {(n,)}")
    labels = labels if labels.dtype.kind in "iu" else _texts(path, labels, "labels")
    if names is None and labels.dtype.kind == "U":
        return np.arange(n), labels
    order = np.argsort(labels, kind="stable")
    if labels.dtype.kind != known.dtype.kind and "U" in (labels.dtype.kind, known.dtype.kind):
        raise InputError(f"{path}: groups are strings but labels are integers: give the same labels in both")
    wrong = labels[order] != known
    if wrong.any():
        raise InputError(
            f"{path}: labels and groups name other structures, first {labels[order][wrong][0]} and {known[wrong][0]}: "
            "expected each label of the groups once"
        )
    return order, names


def _species(path: str, species: NDArray[Any] | None, n_rows: int) -> NDArray[np.str_] | None:
    if species is None:
        return None
    if species.shape != (n_rows,):
        raise InputError(f"{path}: species have shape {species.shape}, expected {(n_rows,)}")
    return _texts(path, species, "species")


def _of_structures(
    path: str, arrays: Mapping[str, NDArray[Any]], name: str, order: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the numbers of the structures in the order of the groups."""
    if name not in arrays:
        return None
    array = arrays[name]
    if array.shape not in ((len(order),), (len(order), 1)):
        raise InputError(
            f"{path}: {name} have shape {array.shape}, expected one for each structure, {(len(order),)}: structures "
            "are counted by groups"
        )
    with blame(path):
        return as_floats(array.reshape(-1), name, ndim=1, double=True)[order]
