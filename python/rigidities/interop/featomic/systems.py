"""Structures as systems of featomic, checked and in batches.

Featomic accepts some invalid structures, and crashes with others. They are refused here, and the
message names the structure by its index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import ase
import numpy as np
from featomic.systems import wrap_system
from tqdm import tqdm

from rigidities.interop.featomic.coincident import require_apart
from rigidities.interop.featomic.neighbours import Lists
from rigidities.structures.batches import require_batch_size
from rigidities.structures.species import check_species

if TYPE_CHECKING:
    from numpy.typing import NDArray


FARTHEST = 1e6
"""Largest coordinate of an atom or a cell vector, in Å. Beyond, neighbour lists of featomic and ASE
fail. Four digits of features are lost there, and no structure is so large."""


def _wrapped(structure: Any, index: int) -> Any:
    try:
        return wrap_system(structure)
    except TypeError:
        raise TypeError(
            f"structure {index} is a {type(structure).__name__}: expected ase.Atoms, as "
            "ase.io.read(path, ':') reads from a file, or another system that featomic accepts"
        ) from None


def types_of(structure: Any, index: int) -> NDArray[np.int64]:
    """Return the atomic numbers of a structure; raise if it has no atoms."""
    is_atoms = isinstance(structure, ase.Atoms)
    types = np.array(structure.numbers if is_atoms else _wrapped(structure, index).types(), dtype=np.int64)
    if len(types) == 0:
        raise ValueError(f"structure {index} has no atoms: leave it out")
    return types


def systems_of(
    batches: Iterable[Sequence[Any]], cutoff: float, gradient_bytes: float = 0.0, n_centres: int = 0
) -> Iterator[list[Any]]:
    """Yield each batch of structures as checked systems; the other arguments are as for `Lists`."""
    index = count()
    for batch in batches:
        lists = Lists(cutoff, gradient_bytes, n_centres)
        yield [system_of(structure, next(index), lists) for structure in batch]


def stream(
    structures: Iterable[Any], species: Sequence[int], cutoff: float, batch_size: int, progress: bool
) -> Iterator[list[Any]]:
    """Yield checked systems in batches while structures are read.

    A batch ends with the structure that reaches `batch_size`, because the number and sizes of later
    structures are unknown. If they are known, `rigidities.structures.batches` ends a batch before
    it becomes too large.
    """
    require_batch_size(batch_size)
    batch: list[Any] = []
    n_atoms, lists = 0, Lists(cutoff)
    for index, structure in enumerate(tqdm(structures, "SOAP", unit=" structures", disable=not progress)):
        check_species(types_of(structure, index), index, species)
        batch.append(system_of(structure, index, lists))
        n_atoms += batch[-1].size()
        if n_atoms >= batch_size:
            yield batch
            batch, n_atoms, lists = [], 0, Lists(cutoff)
    if batch:
        yield batch


def system_of(structure: Any, index: int, lists: Lists) -> Any:
    """Return the structure as a system of featomic, with a valid cell and finite positions.

    No two atoms are at one place. Its neighbours are counted in `lists`.
    """
    if isinstance(structure, ase.Atoms):
        _check_positions(structure.positions, index)
        system = wrap_system(_boxed(structure, index, lists.cutoff))
    else:
        system = _wrapped(structure, index)
        _check_positions(np.asarray(system.positions()), index)
    lists.add(system, index)
    require_apart(np.asarray(system.positions()), np.asarray(system.cell()), index)
    return system


def _check_positions(positions: NDArray[np.float64], index: int) -> None:
    # for featomic an atom at NaN has no neighbours: its row has no NaN
    bad = ~(np.abs(positions) <= FARTHEST).all(axis=1)
    if bad.any():
        atom = int(np.argmax(bad))
        raise ValueError(
            f"structure {index}: atom {atom} is at {positions[atom]}, expected finite numbers, at most {FARTHEST:g} Å"
        )


def _boxed(atoms: Any, index: int, cutoff: float) -> Any:
    """Return the atoms periodic in three directions, or open and without a cell."""
    pbc, cell = np.array(atoms.pbc), np.array(atoms.cell)
    if not pbc.any():
        return ase.Atoms(atoms.numbers, atoms.positions)
    if not (np.abs(cell) <= FARTHEST).all() or np.linalg.matrix_rank(cell[pbc]) < pbc.sum():
        directions = ", ".join("abc"[i] for i in pbc.nonzero()[0])
        raise ValueError(
            f"structure {index} is periodic along {directions}, but its cell vectors are "
            f"{cell[pbc].tolist()}: expected finite, independent ones of at most {FARTHEST:g} Å; set the cell, or pbc "
            "to False"
        )
    if pbc.all():
        return atoms
    padded = _padded(cell, pbc, atoms.positions, cutoff)
    return ase.Atoms(atoms.numbers, atoms.positions, cell=padded, pbc=True)


def _padded(
    cell: NDArray[np.float64], pbc: NDArray[np.bool_], positions: NDArray[np.float64], cutoff: float
) -> NDArray[np.float64]:
    """Return a cell whose images along open directions are beyond the cutoff."""
    # the last right-singular vectors are unit vectors normal to all periodic cell vectors
    normals = np.linalg.svd(cell[pbc])[2][pbc.sum() :]
    extent = np.ptp(positions @ normals.T, axis=0)
    padded = cell.copy()
    padded[~pbc] = normals * (extent + 2 * cutoff)[:, None]
    return padded
