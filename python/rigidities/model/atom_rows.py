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


def known_structures(structures: Any, descriptor: Descriptor) -> tuple[list[Any], list[NDArray[np.int64]]]:
    """Return structures as a list, and their atomic numbers; raise for an unknown species."""
    from rigidities.structures.batches import iterable
    from rigidities.structures.species import symbols, unknown_species

    frames = list(iterable(structures))
    if not frames:
        raise ValueError("there are no structures: expected at least one")
    numbers = [descriptor.numbers(frame, index) for index, frame in enumerate(frames)]
    for index, entry in enumerate(numbers):
        unknown = unknown_species(entry, descriptor.species)
        if unknown:
            raise ValueError(
                f"structure {index} contains {symbols(unknown)}, which the model does not know: it was fitted to "
                f"{symbols(descriptor.species)} only"
            )
    return frames, numbers
