"""Read sources from files: structures, or the features of any model as ``.npz``.

All faults of these files raise an `InputError` that names the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice, InputError, blame
from rigidities.rows import Rows
from rigidities.runtime import memory
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.source import Source
from rigidities.structures.read import read_structures, require_file
from rigidities.validation import as_floats, as_labels

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.interop.featomic import Soap
    from rigidities.model.linear import LinearModel


LARGEST = 1e100
"""Largest feature, so that squares, and sums of them, are finite."""


def read_sources(train: str, test: str, descriptor: dict[str, Any], progress: bool = False) -> tuple[Source, Source]:
    """Read a training and a test set: both structures, or both features (``.npz``)."""
    if train.endswith(".npz") != test.endswith(".npz"):
        raise InputError(f"{train}, {test}: one holds features, the other structures; give two files of the same kind")
    if train.endswith(".npz"):
        features = read_features(train), read_features(test)
        _require_columns(*features)
        return features
    known = read_training(train, descriptor, progress)
    return known, read_test(test, known)


def read_training(path: str, descriptor: dict[str, Any], progress: bool = False) -> Structures:
    """Read training structures; the SOAP features have columns for their species."""
    frames = read_structures(path)
    species = sorted({number for frame in frames for number in frame.numbers.tolist()})
    if not species:
        raise InputError(f"{path}: its structures have no atoms")
    return Structures(path, frames, _soap(species, descriptor), progress)


def read_test(path: str, train: Structures) -> Structures:
    """Read test structures; the descriptor is that of the training set."""
    frames = read_structures(path)
    _require_species(path, frames, train.name, train.soap.species)
    return Structures(path, frames, train.soap, train.progress)


def read_for_model(path: str, model: LinearModel, name: str, progress: bool = False) -> Structures:
    """Read structures with the descriptor of a fitted model, whose file has this name."""
    from rigidities.interop.featomic import Soap

    if not isinstance(model.soap, Soap):
        raise InputError(f"{name}: its descriptor is {model.soap.describe()}; structures are read for SOAP only")
    frames = read_structures(path)
    _require_species(path, frames, name, model.soap.species)
    return Structures(path, frames, model.soap, progress)


def _soap(species: Sequence[int], descriptor: dict[str, Any]) -> Soap:
    from rigidities.interop.featomic import Soap

    with blame("descriptor"):
        return Soap(species, **descriptor)


def read_features(path: str) -> Features:
    """Read features of any model.

    Parameters
    ----------
    path : str
        An .npz file with the array ``features`` (n_rows, n_features). The arrays ``groups`` and
        ``species``, both (n_rows,), are optional.

    Returns
    -------
    Features

    Raises
    ------
    InputError
        If the file cannot be read, or an array is missing or has a wrong shape, type or value.
    """
    arrays = _read_arrays(path)
    if "features" not in arrays:
        raise InputError(f"{path}: has no array named features; it has {', '.join(arrays) or 'no arrays'}")
    with blame(path):
        features = as_floats(arrays["features"], "features", ndim=2)
    if features.size == 0:
        raise InputError(f"{path}: features have shape {features.shape}, expected at least one row and one column")
    _require_range(path, features)
    groups, species = arrays.get("groups"), arrays.get("species")
    if groups is not None:
        with blame(path):
            as_labels(groups, "groups", len(features), "row")
    if species is not None and species.shape != (len(features),):
        raise InputError(f"{path}: species have shape {species.shape}, expected {(len(features),)}")
    with blame(f"{path}: species"):
        return Features(path, Rows(features, groups), None if species is None else species.astype(str))


def _read_arrays(path: str) -> dict[str, NDArray[Any]]:
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        with blame(path):
            memory.require(unpacked, "its content", Advice.FREE_MEMORY)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except InputError:
        raise
    except Exception as error:  # NumPy raises five unrelated types
        raise InputError(f"{path}: NumPy cannot read it as .npz ({' '.join(str(error).split())})") from error


def _require_range(path: str, features: NDArray[Any]) -> None:
    """Refuse NaN, infinity, and numbers so large that sums of their squares overflow."""
    limit = min(LARGEST, float(np.finfo(features.dtype).max))
    good = (features >= -limit) & (features <= limit)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        held = f"{features[row, column]} in row {row}, column {column}"
        raise InputError(f"{path}: features hold {held}: expected finite numbers, at most {LARGEST:g}")


def _require_columns(train: Features, test: Features) -> None:
    if train.n_features != test.n_features:
        raise InputError(
            f"{test.name}: features have {test.n_features} columns, but {train.n_features} in {train.name}: "
            "compute both with the same model"
        )


def _require_species(path: str, frames: list[Atoms], train: str, species: Sequence[int]) -> None:
    from rigidities.structures.species import symbols, unknown_species

    for index, frame in enumerate(frames):
        unknown = unknown_species(frame.numbers, species)
        if unknown:
            raise InputError(
                f"{path}: structure {index} contains {symbols(unknown)}, which {train} lacks: its species are "
                f"{symbols(species)}"
            )
