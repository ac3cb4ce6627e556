"""Structures whose atoms have rows of a descriptor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import blame
from rigidities.rows import Rows

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.interop.featomic import Soap


@dataclass(frozen=True, eq=False)
class Structures:
    """Structures whose atoms have SOAP rows.

    Parameters
    ----------
    name : str
        Where they come from: what messages and the summary call them.
    frames : list of ase.Atoms
    soap : Soap
        What the columns mean; of the species of the training set.
    progress : bool
        Show a progress bar on stderr.
    """

    name: str
    frames: list[Atoms]
    soap: Soap
    progress: bool = False

    @property
    def n_features(self) -> int:
        """Length of a row."""
        return self.soap.n_features

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of atoms of each structure."""
        return np.array([len(frame) for frame in self.frames], dtype=np.int64)

    def batches(self) -> Iterator[Rows]:
        """Yield the rows of one batch of structures after the other."""
        from rigidities.interop.featomic import iter_soap_rows

        with blame(self.name):
            yield from iter_soap_rows(self.frames, self.soap, progress=self.progress)

    def sample(self, n_atoms: int) -> NDArray[np.float64]:
        """Return the rows of about `n_atoms` atoms of evenly spread structures, or of all if there are fewer."""
        from rigidities.interop.featomic import soap_rows

        step = max(1, math.ceil(self.sizes.sum() / n_atoms))
        with blame(self.name if step == 1 else f"{self.name}@::{step}"):  # a refusal counts structures within these
            values = soap_rows(self.frames[::step], self.soap, progress=False).values
        return values[:: math.ceil(len(values) / n_atoms)]
