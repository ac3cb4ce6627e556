"""How many neighbours atoms have, estimated before featomic lists them.

A cell in the wrong unit, atoms on top of each other or a large cutoff make lists of neighbours that
no memory holds, and the process would be killed. The estimate is too small rather than too large:
it is there to refuse what cannot be computed.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ase.geometry
import numpy as np

from rigidities.exceptions import Advice
from rigidities.runtime import memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIR_BYTES = 200
"""Bytes for each neighbour of an atom. Featomic stores a pair of 64 bytes three times: in one list,
and in those of both atoms; the lists double when they are full. Measured: 220 to 260."""

_MINKOWSKI_REDUCE: Any = ase.geometry.minkowski_reduce  # it has no types

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
    volume, images = _images(cell, cutoff)
    if not 0 < volume < math.inf:
        return math.inf if volume == 0 else 0.0
    uniform = n * 4 / 3 * math.pi * cutoff**3 / volume
    if images > CROWD and images > 10 * uniform:  # or the cell is skew, and a shorter one has the same lattice
        with suppress(RuntimeError):
            images = _images(_MINKOWSKI_REDUCE(cell)[0], cutoff)[1]
    return max(images - 1, uniform)


def _images(cell: NDArray[np.float64], cutoff: float) -> tuple[float, float]:
    """Return the volume of a cell, and the images of an atom: 2·cutoff/height along each vector."""
    a, b, c = cell.tolist()
    volume = abs(_dot(a, _cross(b, c)))
    heights = (volume / (math.hypot(*_cross(*others)) or math.inf) for others in ((b, c), (c, a), (a, b)))
    return volume, math.prod(max(1.0, 2 * cutoff / (height or math.inf)) for height in heights)


def _in_crowd(positions: NDArray[np.float64], cell: NDArray[np.float64] | None, cutoff: float) -> float:
    """Half of the atoms in the same cube of the cutoff's size, on average over atoms.

    Along each axis the cubes begin where they divide crowds less.
    """
    if cell is not None:
        from_first = (positions - positions[0]) @ np.linalg.inv(cell)
        positions = ((from_first + 0.5) % 1.0) @ cell
    places = positions / cutoff
    shifted = [max((np.floor(x), np.floor(x + 0.5)), key=_together) for x in places.T]
    return 0.5 * _together(np.column_stack(shifted))


def _together(cubes: NDArray[np.float64]) -> float:
    """Atoms in the cube of an atom, on average over atoms."""
    counts = np.unique(cubes, axis=0, return_counts=True)[1].astype(float)
    return float(counts @ counts / len(cubes))


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
