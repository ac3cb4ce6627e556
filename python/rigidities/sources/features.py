"""Feature rows of any model, held in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.rows import Rows
from rigidities.sources.source import AtomLabels, Description, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Features(Source):
    """Feature rows of any model. Positions of the atoms are unknown.

    Parameters
    ----------
    name : str
        Where the rows come from. Messages and summaries use it.
    rows : Rows
        Groups are the labels of the structures. Without groups, each row is a structure.
    species : ndarray of str of shape (n_rows,), optional
        Species of each atom.
    names : ndarray of str of shape (n_structures,), optional
        Names of the structures, in the order of the sorted labels, as all that follows.
    energies, weights : ndarray of shape (n_structures,), optional
        Reference energies and loss weights of the structures.
    """

    name: str
    rows: Rows
    species: NDArray[np.str_] | None = None
    names: NDArray[np.str_] | None = None
    energies: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None

    frames = None

    @property
    def n_features(self) -> int:
        """Length of a row."""
        return int(self.rows.values.shape[1])

    @property
    def groups(self) -> NDArray[np.int64]:
        """Label of each row's structure."""
        return np.arange(len(self.rows)) if self.rows.groups is None else self.rows.groups

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows of each structure, in the order of the sorted labels."""
        return np.unique(self.groups, return_counts=True)[1]

    def batches(self) -> Iterator[Rows]:
        """Yield all rows at once."""
        yield self.rows

    def sample(self, n_atoms: int) -> NDArray[np.float64]:
        """Return about `n_atoms` evenly spread rows, or all rows if there are fewer."""
        return np.asarray(self.rows.values[:: math.ceil(len(self.rows) / n_atoms)], dtype=np.float64)

    def describe(self) -> Description:
        """Describe the columns by their number; their meaning is unknown."""
        settings = {"kind": "features as given", "n_features": self.n_features}
        return Description(f"{self.n_features} as given", settings)

    def labels(self) -> AtomLabels:
        """Return the structure and atom of each row; rows of a structure can be anywhere."""
        groups = self.groups
        labels, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
        atoms = np.empty(len(groups), dtype=np.int64)
        atoms[np.argsort(inverse, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
        if self.names is not None:
            return AtomLabels(self.names[inverse], atoms, self.names)
        return AtomLabels(groups, atoms, labels)

    def classes(self, kinds: NDArray[np.str_] | None = None) -> dict[str, NDArray[Any]]:
        """Return the species of each atom, if they are known."""
        return {} if self.species is None else {"species": self.species}
