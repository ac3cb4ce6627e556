"""Names of species and the order of tensor components, as ASE has them."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from ase.data import atomic_numbers, chemical_symbols

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components of a symmetric tensor in ASE's order: xx, yy, zz, yz, xz, xy."""


def atomic_number(species: int | str) -> int:
    """Return the atomic number of a chemical symbol, or the number itself."""
    if not isinstance(species, str):
        return operator.index(species)
    if species not in atomic_numbers:
        raise ValueError(f"{species!r} is no chemical symbol: expected e.g. 'Si', or an atomic number")
    return int(atomic_numbers[species])


def symbols(numbers: Iterable[int]) -> str:
    """Name the elements of atomic numbers, for messages and labels."""
    # Other readers than ASE number what is no element from 120 on.
    return ", ".join(str(chemical_symbols[n]) if 0 <= n < len(chemical_symbols) else str(n) for n in numbers)
