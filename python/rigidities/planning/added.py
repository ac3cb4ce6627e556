"""A Hessian with more rows: a new one, while the one given stays as it is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian


def with_rows(hessian: Hessian, F: NDArray[np.float64], weights: NDArray[np.float64]) -> Hessian:
    """Return a copy that has these rows too. There is no fit: their targets are not known."""
    grown = copy.copy(hessian)
    if len(F):
        grown.update(F, weights=weights)
    return grown
