"""Training and test sets of a fit: structures, or rows of any model, with labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities.exceptions import Advice, InputError, blame
from rigidities.loss.terms import Loss
from rigidities.moments import warn_of_totals
from rigidities.sources import read
from rigidities.sources.feature_files import are_features, read_features

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.sources.atoms import Structures
    from rigidities.sources.features import Features
    from rigidities.sources.source import Source
    from rigidities.structures.descriptor import Descriptor


class Labelled(NamedTuple):
    """Structures with labels, and the descriptor of their rows.

    Attributes
    ----------
    source : Source
    frames : list of ase.Atoms
    soap : Soap, or another Descriptor
    progress : bool
        Show a progress bar on stderr.
    """

    source: Source
    frames: list[Atoms]
    soap: Descriptor
    progress: bool

    @property
    def name(self) -> str:
        """Where the structures come from."""
        return self.source.name

    @property
    def labelled_sizes(self) -> NDArray[np.int64]:
        """Numbers of atoms of the structures made of rows that have an energy."""
        return np.array([len(frame) for frame in self.frames if np.isfinite(frame.info["energy"])])

    @property
    def has_species(self) -> bool:
        """Whether the species of the atoms are known."""
        return self.soap.species != (0,)


def read_training(path: str, loss: Loss, descriptor: dict[str, Any], progress: bool) -> Labelled:
    """Read a training set: structures with labels, or features with energies."""
    source = read_features(path) if are_features(path) else read.read_training(path, descriptor, progress)
    return labelled(source, loss, progress)


def read_test(path: str, known: Labelled, loss: Loss) -> Labelled:
    """Read a test set for a training set."""
    from rigidities.sources.atoms import Structures

    if isinstance(known.source, Structures) == are_features(path):
        raise InputError(f"{known.name}, {path}: one holds features, the other structures; give two of the same kind")
    if isinstance(known.source, Structures):
        return labelled(read.read_test(path, known.source), loss)
    features = read_features(path)
    read.require_columns(known.source, features)
    asked = labelled(features, loss, known.progress)
    if asked.has_species != known.has_species:
        raise InputError(f"{path}: species must be given in both files or in none, see {known.name}")
    return asked._replace(soap=known.soap)


def loss_of_rows(loss: Loss) -> Loss:
    """Return the loss of energies alone, where structures that are made of rows have labels."""
    if loss.energy is None:
        raise InputError("--energy-weight is 0: features are fitted to energies only")
    from rigidities.structures.given import ENERGY, WEIGHT

    return Loss(energy=replace(loss.energy, target=ENERGY, weights=WEIGHT))


def labelled(source: Structures | Features, loss: Loss, progress: bool = False) -> Labelled:
    """Return what a loss is fitted to or judged by.

    Structures know whether to show progress. Energies of features that look like totals are warned
    of if the loss takes them per atom.
    """
    from rigidities.sources.features import Features

    if isinstance(source, Features):
        return _of_features(source, loss, progress)
    return Labelled(source, source.frames, source.soap, source.progress)


def _of_features(features: Features, loss: Loss, progress: bool) -> Labelled:
    if features.energies is None:
        raise InputError(f"{features.name}: has no energies: add an array named energies to an .npz file")
    mean = loss.energy is not None and loss.energy.per_atom
    if mean:
        with blame(features.name):
            warn_of_totals(features.energies, features.sizes, Advice.TOTAL_ENERGIES)
    return Labelled(features, *structures_of(features, mean), progress)


def structures_of(features: Features, mean: bool) -> tuple[list[Atoms], Descriptor]:
    """Return structures that carry the rows, and their descriptor.

    Parameters
    ----------
    features : Features
    mean : bool
        Energies are per atom; else of the whole structure.
    """
    from rigidities.structures.given import GivenRows, structures_of_rows

    energies, weights = features.energies, features.weights
    if energies is not None and mean:
        energies = energies * features.sizes
    with blame(features.name):
        numbers = _atomic_numbers(features.species)
        frames = structures_of_rows(
            features.rows,
            energies,
            weights=np.ones(len(features.sizes)) if weights is None else weights,
            numbers=numbers,
            labels=None if features.names is None else features.names.tolist(),
        )
        species = (0,) if numbers is None else tuple(np.unique(numbers).tolist())
        return frames, GivenRows(features.n_features, species)


def compositions(source: Source) -> list[NDArray[np.int64]] | None:
    """Return the atomic numbers of each structure, or None if species are unknown."""
    from rigidities.sources.features import Features

    frames = source.frames
    if isinstance(source, Features) and source.species is not None:
        frames, _ = structures_of(source, mean=False)
    return None if frames is None else [np.asarray(frame.numbers, dtype=np.int64) for frame in frames]


def _atomic_numbers(species: NDArray[np.str_] | None) -> NDArray[np.int64] | None:
    """Return the atomic numbers of species that are symbols or numbers."""
    from rigidities.structures.species import atomic_number

    if species is None:
        return None
    names, inverse = np.unique(species, return_inverse=True)
    numbers = [atomic_number(int(name) if name.isdigit() else name) for name in names.tolist()]
    return np.array(numbers, dtype=np.int64)[inverse]
