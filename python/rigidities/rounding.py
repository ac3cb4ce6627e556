"""Unit roundoff u of the precisions in which products are formed."""

from __future__ import annotations

import numpy as np

from rigidities.validation import Precision

UNIT_ROUNDOFF = float(np.finfo(np.float64).eps) / 2
"""u, of sums in float64."""


def unit_roundoff(precision: Precision) -> float:
    """Half the distance from 1 to the next number: the rounding of a product in that precision."""
    return float(np.finfo(precision).eps) / 2
