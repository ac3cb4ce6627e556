"""Rows of the atoms of structures, some structures at a time, from any descriptor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.rows import Rows
from rigidities.structures.descriptor import batches_of, checked_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.structures.descriptor import Descriptor

BATCH_SIZE = 2048
"""Atoms in a batch."""


def iter_atom_rows(
    frames: Sequence[Any], sizes: NDArray[np.int64], descriptor: Descriptor, progress: bool
) -> Iterator[Rows]:
    """Yield the rows of all atoms; groups are the positions of the structures.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    sizes : ndarray of shape (n_structures,)
        Their numbers of atoms.
    descriptor : Descriptor
    progress : bool
        Show a progress bar on stderr.

    Raises
    ------
    ValueError
        If the descriptor yields rows of another shape than (n_atoms, n_features).
    """
    from rigidities.structures.batches import batch_lengths, in_batches

    lengths = batch_lengths(sizes, BATCH_SIZE)
    found = batches_of(descriptor.atom_rows(in_batches(frames, lengths, "atoms", progress)), len(lengths))
    first = 0
    for length, values in zip(lengths, found, strict=True):
        own = np.arange(first, first + length)
        groups = np.repeat(own, sizes[own])
        values = checked_rows(values, "atoms", (len(groups), descriptor.n_features))
        yield Rows(values, groups, descriptor.feature_space)
        first += length
