"""Features that a model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rigidities.sources.labelled import structures_of
from rigidities.sources.read import read_features_for

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.model.linear import LinearModel


class Scored(NamedTuple):
    """Rows that a model predicts.

    Attributes
    ----------
    frames : list of ase.Atoms
        Structures that carry the rows.
    labels : ndarray of shape (n_structures,)
        Labels or names of the structures.
    mean : bool
        Whether their energies are per atom.
    """

    frames: list[Atoms]
    labels: NDArray[Any]
    mean: bool


def read_scored(path: str, model: LinearModel) -> Scored:
    """Read features, for a model of such."""
    features = read_features_for(path, model)
    mean = model.loss.energy is not None and model.loss.energy.per_atom
    frames, _ = structures_of(features, mean)
    return Scored(frames, features.labels().labels, mean)
