"""The penalty Λ, checked, and coordinates in which it is the identity.

What enters: C and Λ as a diagonal or a matrix. What leaves: a `Pencil`, C' = RᵀCR with RᵀΛR = 1 on the penalised
directions and 0 on the others. Directions in which Λ is zero are unpenalised if the data determine them; if Λ is a
matrix and they do not, jitter goes on its diagonal, and the pencil says how much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.rounding import UNIT_ROUNDOFF
from rigidities.validation import as_array, as_floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


_SYMMETRY_TOLERANCE = 1e-10
"""Entries of Λ may differ across the diagonal by so much of the largest, as in the core: what a product leaves."""


def as_penalty(
    penalty: ArrayLike | None, n_features: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, float]:
    """Λ as a diagonal or as a matrix, and the machine precision of its numbers."""
    eps = 2 * UNIT_ROUNDOFF
    if penalty is None:
        return None, None, eps
    array = as_array(penalty, "penalty")
    if array.shape not in ((n_features,), (n_features, n_features)):
        raise ValueError(
            f"penalty has shape {array.shape} but there are {n_features} features: "
            f"pass ({n_features},) or ({n_features}, {n_features})"
        )
    if array.dtype in (np.float16, np.float32):
        eps = float(np.finfo(array.dtype).eps)
    array = as_floats(array, "penalty", ndim=array.ndim, double=True)
    return (array, None, eps) if array.ndim == 1 else (None, array, eps)


def jittered(penalty: NDArray[np.float64], jitter: float) -> NDArray[np.float64]:
    """Λ with jitter on its diagonal, but for features whose row is zero: they are unpenalised."""
    penalty = penalty.copy()
    penalty[np.diag_indices_from(penalty)] += np.where(penalty.any(axis=0), jitter, 0.0)
    return penalty


def _check_matrix(penalty: NDArray[np.float64], eps: float) -> None:
    """Refuse what the core refuses, in its words."""
    bad = ~np.isfinite(penalty)
    bad[np.diag_indices_from(bad)] |= np.diagonal(penalty) < 0
    if bad.any():
        row, column = np.argwhere(bad)[0]
        _refuse_entry(int(row), float(penalty[row, column]), int(column))
    largest = float(np.abs(penalty).max())
    uneven = np.abs(penalty - penalty.T) > max(_SYMMETRY_TOLERANCE, 10 * eps) * largest
    if uneven.any():
        column, row = np.argwhere(uneven)[0]
        raise ValueError(
            f"penalty is not symmetric: [{row}, {column}] is {penalty[row, column]:g} but [{column}, {row}] is "
            f"{penalty[column, row]:g}"
        )


def _refuse_entry(row: int, value: float, column: int | None = None) -> None:
    column = row if column is None else column
    raise ValueError(f"penalty[{row}, {column}] is {value:g}: a penalty is finite and positive semi-definite")
