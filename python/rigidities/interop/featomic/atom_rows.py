"""SOAP rows of atoms, computed by featomic: all at once, or batch by batch.

Each atom has one float64 row, labelled with its structure, its index there and its species. The
columns depend only on the `Soap`, never on the species in a batch: rows of training and test set,
and of any two batches, have the same columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.interop.featomic.soap import Soap
from rigidities.interop.featomic.systems import stream, types_of
from rigidities.rows import Rows
from rigidities.structures.batches import iterable

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_SIZE = 2048
"""Atoms in one call of featomic: 4 MB of power spectrum for one species, and enough work for its
threads (13,233 atoms of silicon, 2 threads: 1.17 s one structure at a time, 0.65 s from about 1000
atoms on)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AtomRows(Rows):
    """SOAP rows of atoms, with `groups` the index of each atom's structure.

    Parameters
    ----------
    values : ndarray of shape (n_atoms, n_features)
        One float64 row per atom, in the order of structures and, within one, of its atoms.
    groups : ndarray of shape (n_atoms,)
        Index of the structure, from 0, in the order in which structures were given.
    feature_space : str
        Name of the columns, ``soap.feature_space``.
    atoms : ndarray of shape (n_atoms,)
        Index of the atom in its structure.
    species : ndarray of shape (n_atoms,)
        Its atomic number.
    soap : Soap
        Defines the columns. Use the same for rows of other structures.
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
        Positions and cells in Å. Any mixture of periodic and open directions; the cell of an open
        direction is ignored.
    soap : Soap, optional
        Defines the columns. For a test set, pass that of the training rows. By default it is made
        from `species` and `settings`.
    species : int, str, or iterable of them, optional
        Atomic numbers or symbols of the species that have columns; by default those in the
        structures.
    **settings
        Passed to `Soap`: cutoff, body_orders, ….
    batch_size : int, default 2048
        Atoms in one call of featomic; a batch ends with the structure that reaches this number. The
        result does not depend on it.
    progress : bool, default True
        Show a progress bar on stderr.

    Returns
    -------
    AtomRows
        Values of shape (n_atoms, n_features) and their labels.

    Raises
    ------
    TypeError
        If an entry is not a structure.
    ValueError
        If there is no structure, or one has no atoms, a position that is not finite, a periodic
        direction without a cell, or a species without columns.

    Examples
    --------
    >>> from rigidities.datasets import load_silicon
    >>> from rigidities.interop.featomic import soap_rows
    >>> soap_rows(load_silicon(groups="crystal")[:2], progress=False).values.shape
    (16, 252)
    """
    structures = list(iterable(structures))
    types = [types_of(structure, index) for index, structure in enumerate(structures)]
    if not types:
        raise ValueError("there are no structures: expected at least one")
    soap = _chosen_soap(types, soap, species, settings)
    start = 0
    with soap.calculators() as calculators:
        values = calculators.zeros(sum(map(len, types)))
        for systems in stream(structures, soap.species, soap.cutoff, batch_size, progress):
            stop = start + sum(system.size() for system in systems)
            calculators.fill(systems, values[start:stop])
            start = stop
    return _labelled(values, types, 0, soap)


def iter_soap_rows(
    structures: Any, soap: Soap, *, batch_size: int = BATCH_SIZE, progress: bool = True
) -> Iterator[AtomRows]:
    """Yield the SOAP rows of structures batch by batch: for more atoms than memory holds.

    Parameters
    ----------
    structures : ase.Atoms, another system featomic takes, or an iterable of them
        Read one at a time, so a generator is enough.
    soap : Soap
        Defines the columns. It is required, because the species of later structures are unknown.
    batch_size : int, default 2048
        Atoms in a batch, which ends with the structure that reaches this number. No structure is
        split.
    progress : bool, default True
        Show a progress bar on stderr.

    Yields
    ------
    AtomRows
        Rows of the next structures. Groups are numbered through all batches: labels are unique.

    Raises
    ------
    TypeError, ValueError
        As `soap_rows`, when the structure in question is read.
    """
    first = 0
    with _checked(soap).calculators() as calculators:
        for systems in stream(iterable(structures), soap.species, soap.cutoff, batch_size, progress):
            types = [np.array(system.types(), dtype=np.int64) for system in systems]
            yield _labelled(calculators.atom_rows(systems), types, first, soap)
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
        raise ValueError(f"soap and {given} are both given: give one of them")
    return _checked(soap)


def _checked(soap: Soap) -> Soap:
    if not isinstance(soap, Soap):
        raise TypeError(f"soap is a {type(soap).__name__}: expected a Soap, e.g. Soap(['Si'])")
    return soap


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
