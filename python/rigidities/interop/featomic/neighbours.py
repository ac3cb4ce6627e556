"""How many neighbours atoms have, estimated before featomic lists them.

A cell in the wrong unit, atoms on top of each other or a large cutoff make lists of neighbours that
no memory holds, and the process would be killed. The estimate is too small rather than too large:
it is there to refuse what cannot be computed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice
from rigidities.runtime import memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIR_BYTES = 100
"""Bytes for each neighbour of an atom. Featomic stores a pair of 64 bytes three times: in one list,
and in those of both atoms."""

CROWD = 1000
"""Atoms from which on their positions are looked at: fewer have at most half a million pairs."""


class Lists:
    """Memory for the lists of neighbours of a batch of systems, and for the gradients of one part.

    Parameters
    ----------
    cutoff : float
        Radius of the neighbourhood.
    gradient_bytes : float
        Bytes of the gradient rows of one neighbour of one atom.
    n_centres : int
        Most atoms of a structure whose gradients are in memory at once.
    """

    def __init__(self, cutoff: float, gradient_bytes: float = 0.0, n_centres: int = 0) -> None:
        self.cutoff, self.gradient_bytes, self.n_centres = cutoff, gradient_bytes, n_centres
        self.n_bytes = 0.0

    def add(self, system: Any, index: int) -> None:
        """Count the neighbours of a system; raise if there is not the memory for them."""
        positions, cell = np.asarray(system.positions()), np.asarray(system.cell())
        n = n_neighbours(positions, cell if cell.any() else None, self.cutoff)
        self.n_bytes += n * len(positions) * PAIR_BYTES
        needed = self.n_bytes + n * min(len(positions), self.n_centres) * self.gradient_bytes
        if needed >= memory.SMALL:
            found = f"about {n:.2g} neighbours within {self.cutoff:g} Å"
            what = f"structure {index}: its atoms have {found} each, and the list of them"
            memory.require(math.ceil(min(needed, 1e30)), what, Advice.CHECK_CELL)


def n_neighbours(positions: NDArray[np.float64], cell: NDArray[np.float64] | None, cutoff: float) -> float:
    """Return a low estimate of the mean number of neighbours of an atom."""
    n = len(positions)
    periodic = 0.0 if cell is None else _in_cell(n, cell, cutoff)
    return periodic if n < CROWD else max(periodic, _in_crowd(positions, cell, cutoff))


def _in_cell(n: int, cell: NDArray[np.float64], cutoff: float) -> float:
    """Return the density times the sphere, or the images of an atom if they are more."""
    a, b, c = cell.tolist()
    volume = abs(_dot(a, _cross(b, c)))
    if not 0 < volume < math.inf:
        return math.inf if volume == 0 else 0.0
    heights = (volume / math.hypot(*_cross(*others)) for others in ((b, c), (c, a), (a, b)))
    images = math.prod(max(1.0, 2 * cutoff / height) for height in heights)
    return max(images - 1, n * 4 / 3 * math.pi * cutoff**3 / volume)


def _in_crowd(positions: NDArray[np.float64], cell: NDArray[np.float64] | None, cutoff: float) -> float:
    """Half of the atoms in the same cube of the cutoff's size, on average over atoms."""
    if cell is not None:
        positions = (positions @ np.linalg.inv(cell) % 1.0) @ cell
    found = 0.0
    for shift in (0.0, 0.5):  # a crowd at the corner of eight cubes is in the middle of another
        cubes = np.unique(np.floor(positions / cutoff + shift), axis=0, return_counts=True)[1].astype(float)
        found = max(found, float(0.5 * (cubes @ cubes) / len(positions)))
    return found


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
