"""Feature rows of any model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Features:
    """Feature rows of any model.

    Parameters
    ----------
    name : str
    rows : Rows
        Their groups are the structures; without groups, each row is a structure.
    species : ndarray of str of shape (n_rows,), optional
    """

    name: str
    rows: Rows
    species: NDArray[np.str_] | None = None

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
        """Yield all rows: they are in memory."""
        yield self.rows

    def sample(self, n_atoms: int) -> NDArray[np.float64]:
        """Return about `n_atoms` evenly spread rows, or all if there are fewer."""
        return np.asarray(self.rows.values[:: math.ceil(len(self.rows) / n_atoms)], dtype=np.float64)
