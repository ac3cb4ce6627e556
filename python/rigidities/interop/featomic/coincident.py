"""Atoms at one place, by a slip: they are refused before featomic logs a warning for each pair.

The energy of such a structure has no meaning, and its forces are not defined.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from rigidities.exceptions import Advice, AdvisedValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLOSEST = 0.05
"""Smallest distance of two atoms, in Å. Featomic warns below 0.032 Å. Structures that were computed
to describe collisions begin at a few tenths of an Å, bonds at 0.7 Å."""

AT_ONCE = 4096
"""Atoms whose nearest neighbours are searched at once: the search ends with the first pair."""


def require_apart(positions: NDArray[np.float64], cell: NDArray[np.float64], index: int) -> None:
    """Raise if two atoms of a structure, or of its periodic images, are nearly at one place.

    Parameters
    ----------
    positions : ndarray of shape (n_atoms, 3)
    cell : ndarray of shape (3, 3)
        Cell of a structure that is periodic in three directions, or zeros.
    index : int
        Number of the structure, for the message.

    Raises
    ------
    AdvisedValueError
        If a distance is below `CLOSEST`. The message names the structure, both atoms and the
        distance.
    """
    points, atoms = (positions, np.arange(len(positions))) if not cell.any() else _with_images(positions, cell)
    if len(points) < 2:
        return
    tree = cKDTree(points)
    for start in range(0, len(points), AT_ONCE):
        distances, others = tree.query(points[start : start + AT_ONCE], k=2, distance_upper_bound=CLOSEST)
        close = np.isfinite(distances[:, 1])
        if close.any():
            row = int(np.argmax(close))
            pair = atoms[others[row]]
            # of two points at distance 0 either may come first
            _refuse(index, int(pair.min()), int(pair.max()), float(distances[row, 1]))


def _refuse(index: int, one: int, other: int, distance: float) -> None:
    which = f"atoms {one} and {other} are" if one != other else f"atom {one} and its periodic image are"
    raise AdvisedValueError(
        f"structure {index}: {which} {distance:.2g} Å apart, expected at least {CLOSEST:g} Å", Advice.CORRECT_OR_DROP
    )


def _with_images(
    positions: NDArray[np.float64], cell: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the atoms in the cell, then images beyond the upper faces of those near a lower one.

    The second array has the atom of each point.
    """
    inverse = np.linalg.inv(cell)
    places = positions @ inverse % 1.0
    places[places == 1.0] = 0.0  # what rounding makes of a small negative number
    near = places <= CLOSEST * np.linalg.norm(inverse, axis=0)  # 1/height of the cell above each face
    points, atoms = [places], [np.arange(len(places))]
    for shift in product((0, 1), repeat=3):
        moved = near[:, np.array(shift, dtype=bool)].all(axis=1) if any(shift) else np.zeros(len(near), dtype=bool)
        if moved.any():
            points.append(places[moved] + shift)
            atoms.append(np.flatnonzero(moved))
    return np.concatenate(points) @ cell, np.concatenate(atoms)
