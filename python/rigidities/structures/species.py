"""Names of species and the order of tensor components, as in ASE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import ase.data
import numpy as np
from ase.data import chemical_symbols

from rigidities.validation import as_atomic_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components of a symmetric tensor in ASE's order: xx, yy, zz, yz, xz, xy."""


def atomic_number(species: int | str) -> int:
    """Return the atomic number of a chemical symbol, or the number itself."""
    if not isinstance(species, str):
        return as_atomic_number(species, "a species", "a chemical symbol such as 'Si', or an atomic number")
    if species not in ase.data.atomic_numbers:
        raise ValueError(f"{species!r} is no chemical symbol: expected e.g. 'Si', or an atomic number")
    return int(ase.data.atomic_numbers[species])


def atomic_numbers(species: int | str | Iterable[int | str]) -> tuple[int, ...]:
    """Return the atomic numbers of one or several species, rising, each once."""
    if isinstance(species, str | int | np.integer):
        species = [species]
    numbers = tuple(sorted({atomic_number(entry) for entry in species}))
    if not numbers:
        raise ValueError("species is empty: expected at least one atomic number or chemical symbol")
    return numbers


def by_atomic_number(energies: Iterable[tuple[int | str, Any]]) -> dict[int, Any]:
    """Return values of species by atomic number; raise if a species is given twice."""
    found: dict[int, Any] = {}
    for species, energy in energies:
        number = atomic_number(species)
        if number in found:
            raise ValueError(f"{symbols([number])} is given twice: expected each species once")
        found[number] = energy
    return found


def symbols(numbers: Iterable[int]) -> str:
    """Return the symbols of atomic numbers, separated by commas."""
    # some readers use numbers from 120 on for sites that are not elements
    return ", ".join(str(chemical_symbols[n]) if 0 <= n < len(chemical_symbols) else str(n) for n in numbers)


def unknown_species(numbers: NDArray[np.int64], known: Iterable[int]) -> list[int]:
    """Return the atomic numbers that are not among the known ones, rising."""
    return sorted(set(numbers.tolist()).difference(known))


def check_species(numbers: NDArray[np.int64], index: int, known: Iterable[int]) -> None:
    """Raise if a structure has species for which a descriptor has no columns."""
    unknown = unknown_species(numbers, known)
    if unknown:
        raise ValueError(
            f"structure {index} contains {symbols(unknown)}, which the training set lacks: there are columns "
            f"for {symbols(known)} only; make the descriptor with the species of all structures"
        )
