"""The λ of a path: given ones, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.validation import as_array, as_floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

GRID_SIZE = 200
"""λ in the default grid: a dozen in each of the 17 or so decades that float64 resolves."""


def as_grid(regularizers: ArrayLike) -> NDArray[np.float64]:
    """Return λ, or raise unless all are finite and positive."""
    grid = as_array(regularizers, "regularizers")
    if grid.ndim != 1 or not grid.size:
        raise ValueError(f"regularizers has shape {grid.shape}: expected at least one, in one dimension")
    grid = as_floats(grid, "regularizers", ndim=1, double=True).copy()
    bad = ~(np.isfinite(grid) & (grid > 0))
    if bad.any():
        raise ValueError(
            f"regularizers[{int(np.argmax(bad))}] is {grid[bad][0]:g}: expected finite and positive numbers"
        )
    return grid
