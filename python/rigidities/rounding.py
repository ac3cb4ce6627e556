"""Unit roundoff u of the precisions in which products are formed, and units for squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities._core import SCALES
from rigidities.validation import Precision

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

UNIT_ROUNDOFF = float(np.finfo(np.float64).eps) / 2
"""u, of sums in float64."""


def unit_roundoff(precision: Precision) -> float:
    """Half the distance from 1 to the next number: the rounding of a product in that precision."""
    return float(np.finfo(precision).eps) / 2


def roundoff_of(rows: NDArray[Any]) -> float:
    """Return u of sums of these rows: of rows in float32, it may be that of float32."""
    return unit_roundoff("float32") if rows.dtype == np.float32 else UNIT_ROUNDOFF


def check_scale(value: float, what: str, advice: str) -> None:
    """Refuse a sum of squares out of the core's `SCALES`."""
    low, high = SCALES
    if not low <= value <= high:
        raise ValueError(f"{what} is {value:.3g}: expected {low:g} to {high:g}, beyond which digits are lost; {advice}")


def unit_of(largest: ArrayLike) -> NDArray[np.float64]:
    """Return the power of two at or below the largest of some numbers.

    In this unit their squares neither overflow nor vanish, and no bit of them changes.
    """
    return np.asarray(np.ldexp(1.0, np.frexp(largest)[1] - 1))
