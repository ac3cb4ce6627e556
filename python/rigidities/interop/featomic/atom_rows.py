"""Structures → SOAP rows, computed by featomic.

What enters: structures (`ase.Atoms`, or any system featomic takes) and a `Soap`, which describes the columns.
What leaves: `AtomRows`, one float64 row per atom in the order of structures and atoms, labelled with both.
The columns depend on the `Soap` alone, never on the species that a batch happens to hold: rows of training
and test set fit together, and so do those of any two batches.

Radial and power spectrum: Bartók, Kondor, Csányi, Phys. Rev. B 87 (2013) 184115; Musil et al., Chem. Rev. 121
(2021) 9759.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.interop.featomic.soap import Soap, calculator
from rigidities.interop.featomic.systems import batches, iterable, types_of
from rigidities.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    structures = list(iterable(structures))
    types = [types_of(structure, index) for index, structure in enumerate(structures)]
    if not types:
        raise ValueError("there are no structures: expected at least one")
    soap = _chosen_soap(types, soap, species, settings)
    calculation = _Calculation(soap)
    values = np.zeros((sum(map(len, types)), soap.n_features))
    start = 0
    for systems in batches(structures, soap, batch_size, progress):
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
    for systems in batches(iterable(structures), soap, batch_size, progress):
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
