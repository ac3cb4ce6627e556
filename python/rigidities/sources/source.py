"""What every source of feature rows offers to reports, maps and the command line.

A subclass sets `name` and `frames` and fills the abstract methods. The other methods have defaults:
they follow from `sizes` and from `frames`. Whether structures or plain arrays are written for a
source depends on `frames`, never on its class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities.exceptions import InputError
from rigidities.structures.read import GROUP_KEYS, coordination

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.rows import Rows


SHOWN_RADIUS = 5.0
"""Å. What a viewer shows around an atom where the features have no cutoff of their own."""


class AtomLabels(NamedTuple):
    """Where each row belongs.

    Attributes
    ----------
    structures : ndarray of shape (n_atoms,)
        Label of each atom's structure.
    atoms : ndarray of shape (n_atoms,)
        Index of each atom in its structure.
    labels : ndarray of shape (n_structures,)
        Label of each structure, sorted.
    """

    structures: NDArray[np.int64]
    atoms: NDArray[np.int64]
    labels: NDArray[np.int64]


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
    """What the columns of a source are.

    Attributes
    ----------
    text : str
        In half a line, for the heading of a report.
    settings : dict
        In full and ready for JSON, for the summary of a report.
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
        The structures, in the order of their labels, which then count from 0. Rows are in the order
        of structures and atoms. None where only rows are known.
    packages : tuple of str
        Packages behind the rows. The summary of a report states their versions.
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
        """Say what the columns are."""

    @property
    def cutoff(self) -> float:
        """Radius of an atom's neighbourhood in Å."""
        return SHOWN_RADIUS

    def labels(self) -> AtomLabels:
        """Return where each row belongs: here rows are in the order of structures and atoms."""
        sizes = self.sizes
        atoms = np.concatenate([np.arange(size) for size in sizes])
        return AtomLabels(np.repeat(np.arange(len(sizes)), sizes), atoms, np.arange(len(sizes)))

    def kinds(self, key: str | None = None) -> NDArray[np.str_] | None:
        """Return the kind of each structure, as its ``info`` names it.

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
        for name in GROUP_KEYS if key is None else (key,):
            if any(name in frame.info for frame in self.frames):
                return np.array([str(frame.info.get(name, "-")) for frame in self.frames])
        if key is not None:
            raise InputError(f"{self.name}: no structure has {key!r} in its info (group key)")
        return None

    def classes(self, kinds: NDArray[np.str_] | None = None) -> dict[str, NDArray[Any]]:
        """Return the classes of atoms that statistics are made for, as far as they are known.

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
        """Return the components of a prediction, where there are several."""
        return Components({}, {})
