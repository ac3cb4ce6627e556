"""Structures → SOAP rows, computed by featomic.

What enters: structures (`ase.Atoms`, or any system featomic takes) and a `Soap`, which describes the columns.
What leaves: `AtomRows`, one float64 row per atom in the order of structures and atoms, labelled with both.
The columns depend on the `Soap` alone, never on the species that a batch happens to hold: rows of training
and test set fit together, and so do those of any two batches.

Radial and power spectrum: Bartók, Kondor, Csányi, Phys. Rev. B 87 (2013) 184115; Musil et al., Chem. Rev. 121
(2021) 9759.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from rigidities.interop.soap import Block, Soap, calculator, symbols
from rigidities.rows import Rows

import ase  # isort: skip  # after interop.soap, which says what to install where it is missing
from featomic.systems import wrap_system  # isort: skip

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AtomRows", "Block", "Soap", "iter_soap_rows", "soap_rows"]

BATCH_SIZE = 2048
"""Atoms given to featomic at once: 7 MB of power spectrum for one species, and enough work for its threads
(13,233 atoms of silicon, 2 threads: 1.17 s one structure at a time, 0.65 s from about 1000 atoms on)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AtomRows(Rows):
    """SOAP rows of atoms, with `groups` the index of each atom's structure.

    Parameters
    ----------
    values : ndarray of shape (n_atoms, n_features)
        One float64 row per atom, in the order of structures and, within one, of its atoms.
    groups : ndarray of shape (n_atoms,)
        Index of the structure, from 0 in the order they were given.
    feature_space : str
        Name of the columns, ``soap.feature_space``.
    atoms : ndarray of shape (n_atoms,)
        Index of the atom in its structure.
    species : ndarray of shape (n_atoms,)
        Its atomic number.
    soap : Soap
        What the columns mean; compute the rows of other structures with the same.
    n_structures : int
        Number of structures in these rows.
    """

    atoms: NDArray[np.int64]
    species: NDArray[np.int64]
    soap: Soap
    n_structures: int


def soap_rows(
    structures: Any,
    soap: Soap | None = None,
    *,
    species: int | str | Iterable[int | str] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: bool = True,
    **settings: Any,
) -> AtomRows:
    """Return the SOAP rows of all atoms of all structures.

    The memory needed is the result, 8·n_atoms·n_features bytes, and one batch.

    Parameters
    ----------
    structures : ase.Atoms, another system featomic takes, or an iterable of them
        Positions and cells in Å, any mixture of periodic and open directions (an open one's cell is ignored).
    soap : Soap, optional
        What the columns mean: for a test set, that of the training rows. By default made of the next two.
    species : int, str, or iterable of them, optional
        Atomic numbers or symbols the columns provide for; by default those in the structures.
    **settings
        Passed to `Soap`: cutoff, body_orders, ….
    batch_size : int, default 2048
        Atoms computed at once; a batch ends with the structure that reaches it. No effect on the result.
    progress : bool, default True
        Show a progress bar on stderr.

    Returns
    -------
    AtomRows
        Values of shape (n_atoms, n_features) and their labels.

    Raises
    ------
    TypeError
        If something is not a structure.
    ValueError
        If there is no structure, or one has no atoms, a position that is not finite, a periodic direction
        without a cell, or a species that the columns do not provide for.
    """
    structures = list(_iterable(structures))
    types = [_types(structure, index) for index, structure in enumerate(structures)]
    if not types:
        raise ValueError("there are no structures: expected at least one")
    soap = _chosen_soap(types, soap, species, settings)
    calculation = _Calculation(soap)
    values = np.zeros((sum(map(len, types)), soap.n_features))
    start = 0
    for systems in _batches(structures, soap, batch_size, progress):
        stop = start + sum(system.size() for system in systems)
        calculation.fill(systems, values[start:stop])
        start = stop
    return _labelled(values, types, 0, soap)


def iter_soap_rows(
    structures: Any, soap: Soap, *, batch_size: int = BATCH_SIZE, progress: bool = True
) -> Iterator[AtomRows]:
    """Yield the SOAP rows of structures batch by batch: for more atoms than memory holds.

    Parameters
    ----------
    structures : ase.Atoms, another system featomic takes, or an iterable of them
        Read as they are needed, so a generator will do.
    soap : Soap
        What the columns mean. Not optional: the species of structures still to come are not known.
    batch_size : int, default 2048
        Atoms of a batch, which ends with the structure that reaches it: no structure is split.
    progress : bool, default True
        Show a progress bar on stderr.

    Yields
    ------
    AtomRows
        Rows of the next structures. Their groups are numbered on through all batches: no label comes twice.

    Raises
    ------
    TypeError, ValueError
        As `soap_rows`; those of a structure when its turn comes.
    """
    calculation = _Calculation(_checked(soap))
    first = 0
    for systems in _batches(_iterable(structures), soap, batch_size, progress):
        types = [np.array(system.types(), dtype=np.int64) for system in systems]
        values = np.zeros((sum(map(len, types)), soap.n_features))
        calculation.fill(systems, values)
        yield _labelled(values, types, first, soap)
        first += len(systems)
    if first == 0:
        raise ValueError("there are no structures: expected at least one")


def _chosen_soap(
    types: Sequence[NDArray[np.int64]],
    soap: Soap | None,
    species: int | str | Iterable[int | str] | None,
    settings: Mapping[str, Any],
) -> Soap:
    if soap is None:
        return Soap(np.unique(np.concatenate(types)).tolist() if species is None else species, **settings)
    if species is not None or settings:
        given = ", ".join(([] if species is None else ["species"]) + list(settings))
        raise ValueError(f"a soap is given, and {given} beside it: give one or the other")
    return _checked(soap)


def _checked(soap: Soap) -> Soap:
    if not isinstance(soap, Soap):
        raise TypeError(f"soap is a {type(soap).__name__}: expected a Soap, e.g. Soap(['Si'])")
    return soap


# ------------------------------------------------------------------------------------------------ structures


def _iterable(structures: Any) -> Iterable[Any]:
    if isinstance(structures, ase.Atoms):  # which is an iterable of its atoms
        return [structures]
    try:
        return [wrap_system(structures)]
    except TypeError:
        pass
    if not isinstance(structures, Iterable):
        kind = type(structures).__name__
        raise TypeError(f"structures is a {kind}: expected ase.Atoms or an iterable of them")
    return structures


def _wrapped(structure: Any, index: int) -> Any:
    try:
        return wrap_system(structure)
    except TypeError:
        raise TypeError(
            f"structure {index} is a {type(structure).__name__}: expected ase.Atoms, as "
            "ase.io.read(path, ':') reads from a file, or another system featomic takes"
        ) from None


def _types(structure: Any, index: int) -> NDArray[np.int64]:
    is_atoms = isinstance(structure, ase.Atoms)
    types = np.array(structure.numbers if is_atoms else _wrapped(structure, index).types(), dtype=np.int64)
    if len(types) == 0:
        raise ValueError(f"structure {index} has no atoms: leave it out")
    return types


def _batches(structures: Iterable[Any], soap: Soap, batch_size: int, progress: bool) -> Iterator[list[Any]]:
    """Yield checked systems, as many at once as make `batch_size` atoms."""
    if operator.index(batch_size) < 1:
        raise ValueError(f"batch_size is {batch_size}: expected at least 1 atom")
    cutoff = soap.cutoff
    batch: list[Any] = []
    n_atoms = 0
    for index, structure in enumerate(tqdm(structures, "SOAP", unit=" structures", disable=not progress)):
        _check_species(_types(structure, index), index, soap)
        batch.append(_system(structure, index, cutoff))
        n_atoms += batch[-1].size()
        if n_atoms >= batch_size:
            yield batch
            batch, n_atoms = [], 0
    if batch:
        yield batch


def _check_species(types: NDArray[np.int64], index: int, soap: Soap) -> None:
    unknown = sorted(set(types.tolist()).difference(soap.species))
    if unknown:
        raise ValueError(
            f"structure {index} contains {symbols(unknown)}, which the training set lacks: the columns "
            f"provide for {symbols(soap.species)}; build the Soap with the species of all structures"
        )


def _system(structure: Any, index: int, cutoff: float) -> Any:
    """Return the structure as featomic takes it, after a look at what featomic lets pass."""
    if isinstance(structure, ase.Atoms):
        _check_positions(structure.positions, index)
        return wrap_system(_boxed(structure, index, cutoff))
    system = _wrapped(structure, index)
    _check_positions(np.asarray(system.positions()), index)
    return system


def _check_positions(positions: NDArray[np.float64], index: int) -> None:
    # Featomic takes an atom at NaN for one without neighbours: no NaN in its row betrays it.
    bad = ~np.isfinite(positions).all(axis=1)
    if bad.any():
        atom = int(np.argmax(bad))
        raise ValueError(f"structure {index}: atom {atom} is at {positions[atom]}, expected finite numbers")


def _boxed(atoms: Any, index: int, cutoff: float) -> Any:
    """Return atoms with a cell that featomic takes: three periodic directions, or none and no cell."""
    pbc, cell = np.array(atoms.pbc), np.array(atoms.cell)
    if not pbc.any():
        return ase.Atoms(atoms.numbers, atoms.positions)
    if not np.isfinite(cell).all() or np.linalg.matrix_rank(cell[pbc]) < pbc.sum():
        directions = ", ".join("abc"[i] for i in pbc.nonzero()[0])
        raise ValueError(
            f"structure {index} is periodic along {directions}, but its cell vectors are "
            f"{cell[pbc].tolist()}: expected finite, independent ones; set the cell, or pbc to False"
        )
    if pbc.all():
        return atoms
    padded = _padded(cell, pbc, atoms.positions, cutoff)
    return ase.Atoms(atoms.numbers, atoms.positions, cell=padded, pbc=True)


def _padded(
    cell: NDArray[np.float64], pbc: NDArray[np.bool_], positions: NDArray[np.float64], cutoff: float
) -> NDArray[np.float64]:
    """Return the cell with images along open directions out of reach: exact, as the cutoff ends all."""
    # The last right-singular vectors are unit vectors at right angles to all periodic ones.
    normals = np.linalg.svd(cell[pbc])[2][pbc.sum() :]
    extent = np.ptp(positions @ normals.T, axis=0)
    padded = cell.copy()
    padded[~pbc] = normals * (extent + 2 * cutoff)[:, None]
    return padded


# ------------------------------------------------------------------------------------------------------ rows


class _Calculation:
    """Featomic's calculators for a `Soap`, and the columns that their blocks go to.

    Made anew for each pass: a calculator of featomic is not to be used by two threads at once.
    """

    def __init__(self, soap: Soap) -> None:
        self.calculators = {order: calculator(soap.settings, order) for order in soap.body_orders}
        self.columns = {(b.body_order, b.centre, *b.neighbours): b.columns for b in soap.blocks}

    def fill(self, systems: list[Any], rows: NDArray[np.float64]) -> None:
        """Write the systems' blocks into `rows`, zeros of shape (n_atoms, n_features)."""
        starts = np.cumsum([0] + [system.size() for system in systems])
        for order, descriptor in self.calculators.items():
            for key, block in descriptor.compute(systems).items():
                # A block holds the atoms of one species only, whichever structures they are in.
                atoms = starts[block.samples["system"]] + block.samples["atom"]
                rows[atoms, self.columns[(order, *key.values.tolist())]] = block.values


def _labelled(values: NDArray[np.float64], types: Sequence[NDArray[np.int64]], first: int, soap: Soap) -> AtomRows:
    sizes = [len(numbers) for numbers in types]
    return AtomRows(
        values,
        np.repeat(np.arange(first, first + len(types), dtype=np.int64), sizes),
        soap.feature_space,
        atoms=np.concatenate([np.arange(size, dtype=np.int64) for size in sizes]),
        species=np.concatenate(types),
        soap=soap,
        n_structures=len(types),
    )
