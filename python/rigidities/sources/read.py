"""Sources of rows: a set of structures, or of any model's features; reading them, and what their rows belong to.

What enters: names of files. What leaves: a `Structures` or a `Features`, which hand out `Rows` batch by batch, and the
labels of their structures and atoms. This is a door: what cannot be used is an `InputError`, which names the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import InputError, blame
from rigidities.rows import Rows
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.structures.read import GROUP_KEYS, coordination, read_structures, require_file
from rigidities.validation import as_floats

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.interop.featomic import Soap


Source = Structures | Features


def read_sources(train: str, test: str, descriptor: dict[str, Any], progress: bool = False) -> tuple[Source, Source]:
    """Read a training and a test set: both of structures, or both of features (``.npz``)."""
    if train.endswith(".npz") != test.endswith(".npz"):
        raise InputError(f"{train}, {test}: one holds features, the other structures; give two of a kind")
    if train.endswith(".npz"):
        features = read_features(train), read_features(test)
        _require_columns(*features)
        return features
    known = read_training(train, descriptor, progress)
    return known, read_test(test, known)


def read_training(path: str, descriptor: dict[str, Any], progress: bool = False) -> Structures:
    """Read structures, and describe them by SOAP features of their species."""
    frames = read_structures(path)
    species = sorted({number for frame in frames for number in frame.numbers.tolist()})
    if not species:
        raise InputError(f"{path}: its structures have no atoms")
    return Structures(path, frames, _soap(species, descriptor), progress)


def read_test(path: str, train: Structures) -> Structures:
    """Read structures of no other species than those of a training set, and describe them likewise."""
    frames = read_structures(path)
    _require_species(path, frames, train.name, train.soap.species)
    return Structures(path, frames, train.soap, train.progress)


def _soap(species: Sequence[int], descriptor: dict[str, Any]) -> Soap:
    from rigidities.interop.featomic import Soap

    with blame("descriptor"):
        return Soap(species, **descriptor)


def read_features(path: str) -> Features:
    """Read ``features`` (n_rows, n_features), and ``groups`` and ``species`` (n_rows,) if present, of an .npz file."""
    require_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # what is no archive, no array or a pickle: five unrelated types
        raise InputError(f"{path}: NumPy cannot read it as .npz ({' '.join(str(error).split())})") from error
    if "features" not in arrays:
        raise InputError(f"{path}: has no array features, but {', '.join(arrays) or 'none at all'}")
    groups, species = arrays.get("groups"), arrays.get("species")
    with blame(path):
        features = as_floats(arrays["features"], "features", ndim=2)
    if features.size == 0:
        raise InputError(f"{path}: features have shape {features.shape}, expected at least one row and one column")
    _require_finite(path, features)
    for name, labels in (("groups", groups), ("species", species)):
        if labels is not None and labels.shape != features.shape[:1]:
            raise InputError(f"{path}: {name} have shape {labels.shape}, expected {features.shape[:1]}")
    if groups is not None and groups.dtype.kind not in "iu":
        raise InputError(f"{path}: groups have dtype {groups.dtype}, expected integers")
    return Features(path, Rows(features, groups), None if species is None else species.astype(str))


def _require_finite(path: str, features: NDArray[Any]) -> None:
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        column = int((~np.isfinite(features[row])).argmax())
        raise InputError(f"{path}: features hold {features[row, column]} in row {row}, column {column}")


def _require_columns(train: Features, test: Features) -> None:
    if train.n_features != test.n_features:
        raise InputError(
            f"{test.name}: features have {test.n_features} columns, but {train.n_features} in {train.name}: "
            "compute both with the same model"
        )


def _require_species(path: str, frames: list[Atoms], train: str, species: Sequence[int]) -> None:
    from ase.data import chemical_symbols

    for index, frame in enumerate(frames):
        unknown = sorted(set(frame.numbers.tolist()).difference(species))
        if unknown:
            names, known = (", ".join(chemical_symbols[number] for number in part) for part in (unknown, species))
            raise InputError(f"{path}: structure {index} contains {names}, which {train} lacks: it holds {known} only")


def labels_of(source: Source) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each atom's structure and its index there, and the labels of the structures."""
    if isinstance(source, Structures):
        sizes = source.sizes
        atoms = np.concatenate([np.arange(size) for size in sizes])
        return np.repeat(np.arange(len(sizes)), sizes), atoms, np.arange(len(sizes))
    groups = source.groups
    labels, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    atoms = np.empty(len(groups), dtype=np.int64)
    atoms[np.argsort(inverse, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
    return groups, atoms, labels


def kinds_of(source: Source, key: str | None) -> NDArray[np.str_] | None:
    """Return the kind of each structure, "-" where it has none; None where none has one."""
    if isinstance(source, Features):
        return None
    for name in GROUP_KEYS if key is None else (key,):
        if any(name in frame.info for frame in source.frames):
            return np.array([str(frame.info.get(name, "-")) for frame in source.frames])
    if key is not None:
        raise InputError(f"{source.name}: no structure has {key!r} in its info (group key)")
    return None


def classes_of(source: Source, kinds: NDArray[np.str_] | None) -> dict[str, NDArray[Any]]:
    """Return what is known of each atom: "group", "species" and "coordination"."""
    if isinstance(source, Features):
        return {} if source.species is None else {"species": source.species}
    classes: dict[str, NDArray[Any]] = {} if kinds is None else {"group": np.repeat(kinds, source.sizes)}
    classes["species"] = np.concatenate([np.array([*frame.symbols]) for frame in source.frames])
    classes["coordination"] = np.concatenate([coordination(frame) for frame in source.frames])
    return classes
