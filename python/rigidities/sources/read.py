"""Read sources from files: structures, or the features of any model.

All faults of these files raise an `InputError` that names the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rigidities.exceptions import InputError, blame
from rigidities.sources.atoms import Structures, soaps_of
from rigidities.sources.feature_files import are_features, read_features
from rigidities.sources.source import Source
from rigidities.structures.given import KIND
from rigidities.structures.read import read_structures

if TYPE_CHECKING:
    from ase import Atoms

    from rigidities.interop.featomic import Soap
    from rigidities.model.linear import LinearModel
    from rigidities.sources.features import Features


def read_sources(
    train: str,
    test: str,
    descriptor: dict[str, Any],
    progress: bool = False,
    *,
    model: LinearModel | None = None,
    name: str = "",
) -> tuple[Source, Source]:
    """Read a training and a test set: both structures, or both features.

    They are read for a fitted model, whose file has this name, if there is one.
    """
    if model is not None:
        return read_for_model(train, model, name, progress), read_for_model(test, model, name, progress)
    if are_features(train) != are_features(test):
        raise InputError(f"{train}, {test}: one holds features, the other structures; give two files of the same kind")
    if are_features(train):
        features = read_features(train), read_features(test)
        require_columns(*features)
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


def read_for_model(path: str, model: LinearModel, name: str, progress: bool = False) -> Source:
    """Read structures, or features, for a fitted model, whose file has this name."""
    if are_features(path):
        return read_features_for(path, model)
    if not soaps_of(model.soap):
        raise InputError(f"{name}: its descriptor is {model.soap.describe()}; structures are read for SOAP only")
    frames = read_structures(path)
    _require_species(path, frames, name, model.soap.species)
    return Structures(path, frames, model.soap, progress)


def read_features_for(path: str, model: LinearModel) -> Features:
    """Read features, for a model of such."""
    if model.soap.kind != KIND:
        raise InputError(f"{path}: holds features, but the model computes its own from structures: pass these")
    features = read_features(path)
    if features.n_features != model.soap.n_features:
        raise InputError(
            f"{path}: features have {features.n_features} columns, but the model {model.soap.n_features}: compute them "
            "as those that it was fitted to"
        )
    return features


def _soap(species: Sequence[int], descriptor: dict[str, Any]) -> Soap:
    from rigidities.interop.featomic import Soap

    with blame("descriptor"):
        return Soap(species, **descriptor)


def require_columns(train: Source, test: Source) -> None:
    """Raise unless both sets have as many columns."""
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
