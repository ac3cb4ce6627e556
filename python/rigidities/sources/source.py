"""The interface of a source of feature rows, for reports, maps and the command line.

A subclass sets `name` and `frames` and defines the abstract methods. The other methods have
defaults, which follow from `sizes` and `frames`. Results are written as structures if there are
`frames`, else as plain arrays; the class does not matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities.exceptions import InputError
from rigidities.structures.read import GROUP_KEYS, coordination, kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.rows import Rows


SHOWN_RADIUS = 5.0
"""Radius in Å that a viewer shows around an atom if the features have no cutoff."""


class AtomLabels(NamedTuple):
    """Structure and atom of each row.

    Attributes
    ----------
    structures : ndarray of shape (n_atoms,)
        Label of each atom's structure: an integer, or its name.
    atoms : ndarray of shape (n_atoms,)
        Index of each atom in its structure.
    labels : ndarray of shape (n_structures,)
        Label of each structure, sorted.
    """

    structures: NDArray[Any]
    atoms: NDArray[np.int64]
    labels: NDArray[Any]


class Components(NamedTuple):
    """Components of a prediction: their names, and the indices of their columns.

    Attributes
    ----------
    body_orders : dict of str to ndarray
        Components of an atom's prediction. Empty if there is only one.
    structure : dict of str to ndarray
        Components of a structure's prediction. Empty if there is only one.
    """

    body_orders: dict[str, NDArray[np.int64]]
    structure: dict[str, NDArray[np.int64]]


class Description(NamedTuple):
    """Description of the columns of a source.

    Attributes
    ----------
    text : str
        Half a line, for the heading of a report.
    settings : dict
        All settings, as values of JSON, for the summary of a report.
    """

    text: str
    settings: dict[str, Any]


class Source(ABC):
    """Feature rows of a set of structures, one row per atom.

    Attributes
    ----------
    name : str
        Where the rows come from. Messages and summaries use it.
    frames : sequence of ase.Atoms, or None
        The structures; their labels are then 0, 1, …, and rows are in the order of structures and
        atoms. None if only rows are known.
    packages : tuple of str
        Packages that computed the rows. The summary of a report lists their versions.
    cutoff : float
        Radius of an atom's neighbourhood in Å, as a viewer shows it.
    """

    name: str
    frames: Sequence[Atoms] | None
    packages: tuple[str, ...] = ()

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Length of a row."""

    @property
    @abstractmethod
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows of each structure, in the order of the sorted labels."""

    @abstractmethod
    def batches(self) -> Iterator[Rows]:
        """Yield all rows, some structures at a time; groups are the labels of the structures.

        No structure is split between batches, and labels rise from batch to batch.
        """

    @abstractmethod
    def sample(self, n_atoms: int) -> NDArray[np.float64]:
        """Return about `n_atoms` evenly spread rows, or all rows if there are fewer."""

    @abstractmethod
    def describe(self) -> Description:
        """Describe the columns."""

    @property
    def cutoff(self) -> float:
        """Radius of an atom's neighbourhood in Å."""
        return SHOWN_RADIUS

    def labels(self) -> AtomLabels:
        """Return the structure and atom of each row; here rows are in that order."""
        sizes = self.sizes
        atoms = np.concatenate([np.arange(size) for size in sizes])
        return AtomLabels(np.repeat(np.arange(len(sizes)), sizes), atoms, np.arange(len(sizes)))

    def kinds(self, key: str | None = None) -> NDArray[np.str_] | None:
        """Return the kind of each structure, from its ``info``.

        Parameters
        ----------
        key : str, optional
            Name of the entry in ``info``. By default the first of `GROUP_KEYS` that is present.

        Returns
        -------
        ndarray of str of shape (n_structures,), or None
            "-" for a structure without the entry. None if no structure has it.

        Raises
        ------
        InputError
            If no structure has the entry `key`.
        """
        if self.frames is None:
            return None
        kinds = kinds_of(self.frames, GROUP_KEYS if key is None else (key,))
        if kinds is None and key is not None:
            raise InputError(f"{self.name}: no structure has {key!r} in its info (group key)")
        return kinds

    def classes(self, kinds: NDArray[np.str_] | None = None) -> dict[str, NDArray[Any]]:
        """Return the known classes of atoms, for statistics.

        Parameters
        ----------
        kinds : ndarray of str of shape (n_structures,), optional
            Kind of each structure, from `kinds`.

        Returns
        -------
        dict of str to ndarray of shape (n_atoms,)
            "group" (the kind of the atom's structure), "species" and "coordination".
        """
        classes: dict[str, NDArray[Any]] = {} if kinds is None else {"group": np.repeat(kinds, self.sizes)}
        if self.frames is not None:
            classes["species"] = np.concatenate([np.array([*frame.symbols]) for frame in self.frames])
            classes["coordination"] = np.concatenate([coordination(frame) for frame in self.frames])
        return classes

    def components(self) -> Components:
        """Return the components of a prediction, if there are several."""
        return Components({}, {})
