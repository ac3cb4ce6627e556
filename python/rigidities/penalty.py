"""The penalty Λ of H = C + λΛ: the identity, a diagonal or a matrix, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice
from rigidities.rounding import UNIT_ROUNDOFF
from rigidities.runtime import memory
from rigidities.validation import as_array, as_floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SYMMETRY_TOLERANCE = 1e-10
"""Largest difference between Λ and its transpose, as a share of the largest entry. Rounding of a
product such as K_MM leaves differences of this size."""

_SMALLEST = 1e-150
"""Smallest entry of a diagonal, and smallest largest entry of a matrix, that are not 0. The largest
ones are at most 1 over it."""

_ROWS_AT_ONCE = 256
"""Rows of Λ that are compared with their columns at a time: 16 MB at p = 8192, instead of three
more p × p arrays."""


@dataclass(frozen=True, eq=False)
class Penalty:
    """Λ: the identity, unless a diagonal or a matrix is given. `Penalty.of` checks and makes it.

    Attributes
    ----------
    n_features : int
        p
    diagonal : ndarray of shape (p,), or None
        Entries ≥ 0; zeros leave features such as an intercept unpenalised.
    matrix : ndarray of shape (p, p), or None
        Symmetric and positive semi-definite, both to rounding.
    eps : float
        Machine precision of the numbers as they were given.
    """

    n_features: int
    diagonal: NDArray[np.float64] | None = None
    matrix: NDArray[np.float64] | None = None
    eps: float = 2 * UNIT_ROUNDOFF

    @classmethod
    def of(cls, penalty: ArrayLike | Penalty | None, n_features: int) -> Penalty:
        """Check a penalty and return it; a `Penalty` was checked when it was made.

        Parameters
        ----------
        penalty : array_like of shape (n_features,) or (n_features, n_features), Penalty, or None
            A sparse matrix of SciPy, too.
        n_features : int

        Returns
        -------
        Penalty

        Raises
        ------
        ValueError
            If the shape is wrong, an entry is not finite or beyond 1e±150, or the penalty is not
            symmetric or not positive semi-definite.
        TypeError
            If its entries are not real numbers.
        MemoryError
            If the check of a matrix, which takes another array of its size, does not fit in memory.
        """
        if penalty is None:
            return cls(n_features)
        if isinstance(penalty, Penalty):
            _check_shape((penalty.n_features,), n_features)
            return penalty
        array = as_array(_dense(penalty, n_features), "penalty")
        _check_shape(array.shape, n_features)
        eps = _eps(array.dtype)
        array = as_floats(array, "penalty", ndim=array.ndim, double=True)
        if array.ndim == 1:
            _check_entries(array)
            _check_range(array)
            return cls(n_features, array, None, eps)
        _check_matrix(array, eps)
        return cls(n_features, None, array, eps)

    @property
    def values(self) -> NDArray[np.float64] | None:
        """The diagonal or the matrix; None for the identity."""
        return self.diagonal if self.matrix is None else self.matrix

    @property
    def is_zero(self) -> bool:
        """Whether Λ = 0, so that no λ makes a difference."""
        return self.values is not None and not self.values.any()

    def require_effect(self) -> None:
        """Refuse Λ = 0 where λ is to be chosen."""
        if self.is_zero:
            raise ValueError(
                "penalty is zero: no regularizer makes a difference. Pass a penalty with positive entries, or none"
            )

    @property
    def leaves_features_free(self) -> bool:
        """Whether a diagonal penalty has zeros: features that a decomposition eliminates first."""
        return self.diagonal is not None and not self.diagonal.all()

    def quadratic_form(self, coef: NDArray[np.float64], jitter: float = 0.0, *, everywhere: bool = False) -> float:
        """θᵀΛθ, with jitter on the diagonal: everywhere, or but for features without a penalty."""
        values = self.values
        if values is None:
            return float((1 + jitter) * (coef @ coef))
        penalised = everywhere or (values.any(axis=0) if values.ndim == 2 else values != 0)
        product = values @ coef if values.ndim == 2 else values * coef
        return float(coef @ product + jitter * np.sum(coef**2, where=penalised))


def _dense(penalty: Any, n_features: int) -> Any:
    """Return a sparse matrix of SciPy as an array: its diagonal, if it has no other entries."""
    if not (hasattr(penalty, "toarray") and hasattr(penalty, "tocoo")):
        return penalty
    _check_shape(penalty.shape, n_features)
    entries = penalty.tocoo()
    if entries.ndim == 2 and np.array_equal(entries.row, entries.col):
        return np.asarray(penalty.diagonal())
    memory.require(8 * n_features**2, f"a sparse penalty of {n_features} features as an array", Advice.FREE_MEMORY)
    return np.asarray(penalty.toarray())


def with_jitter(matrix: NDArray[np.float64], jitter: float) -> NDArray[np.float64]:
    """Return Λ with jitter on its diagonal; features whose row is zero get none."""
    matrix = matrix.copy()
    matrix[np.diag_indices_from(matrix)] += np.where(matrix.any(axis=0), jitter, 0.0)
    return matrix


def _eps(dtype: np.dtype[Any]) -> float:
    """Machine precision of this type, in either byte order; integers count as float64."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" and dtype.itemsize < 8 else 2 * UNIT_ROUNDOFF


def _check_shape(shape: tuple[int, ...], n_features: int) -> None:
    if shape not in ((n_features,), (n_features, n_features)):
        raise ValueError(
            f"penalty has shape {shape} but there are {n_features} features: "
            f"pass ({n_features},) or ({n_features}, {n_features})"
        )


def _check_entries(diagonal: NDArray[np.float64]) -> None:
    bad = ~(np.isfinite(diagonal) & (diagonal >= 0))
    if bad.any():
        _refuse_entry(int(np.argmax(bad)), int(np.argmax(bad)), float(diagonal[bad][0]))


def _check_range(values: NDArray[np.float64]) -> None:
    """Refuse entries whose squares float64 cannot hold: eigenvalues are found through squares."""
    sizes = np.abs(values[values != 0])
    if sizes.size and not (sizes.min() >= _SMALLEST and sizes.max() <= 1 / _SMALLEST):
        raise ValueError(
            f"penalty has entries from {sizes.min():.3g} to {sizes.max():.3g}: expected zeros, or entries from "
            f"{_SMALLEST:g} to {1 / _SMALLEST:g}; multiply it by a constant, and divide the regularizer by it"
        )


def _check_matrix(matrix: NDArray[np.float64], eps: float) -> None:
    """Refuse a matrix that is not finite, symmetric and positive semi-definite, to rounding."""
    p = len(matrix)
    memory.require(8 * p * p, f"the check of a penalty of {p} features", Advice.FEWER_FEATURES)
    bad = ~np.isfinite(matrix)
    bad[np.diag_indices_from(bad)] |= np.diagonal(matrix) < 0
    if bad.any():
        row, column = np.argwhere(bad)[0]
        _refuse_entry(int(row), int(column), float(matrix[row, column]))
    largest = max(float(matrix.max()), -float(matrix.min()))
    _check_range(np.array([largest]))
    tolerance = max(_SYMMETRY_TOLERANCE, 10 * eps) * largest
    for start in range(0, p, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        uneven = np.abs(matrix[:, part].T - matrix[part]) > tolerance
        if uneven.any():
            column, row = np.argwhere(uneven)[0]
            column += start
            raise ValueError(
                f"penalty is not symmetric: [{row}, {column}] is {matrix[row, column]:g} but [{column}, {row}] is "
                f"{matrix[column, row]:g}"
            )
    _check_definite(matrix, eps)


def _check_definite(matrix: NDArray[np.float64], eps: float) -> None:
    """Refuse a matrix with an eigenvalue below −2·p·eps·‖Λ‖∞.

    Entries rounded by eps, and sums of p of them, move an eigenvalue by p·eps·‖Λ‖∞ at most. The
    Cholesky factorisation that tests for it adds as much.
    """
    from scipy.linalg import LinAlgError, cholesky, eigvalsh

    shifted = 0.5 * matrix + 0.5 * matrix.T
    norm = max((float(np.abs(row).sum()) for row in matrix), default=0.0)
    shifted[np.diag_indices_from(shifted)] += 2 * len(matrix) * eps * norm
    if norm == 0.0:
        return
    try:
        cholesky(shifted, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        values = eigvalsh(0.5 * matrix + 0.5 * matrix.T, check_finite=False)
        raise ValueError(
            f"penalty is not positive semi-definite: its smallest eigenvalue is {values[0]:.3g}, its largest "
            f"{values[-1]:.3g}"
        ) from None


def _refuse_entry(row: int, column: int, value: float) -> None:
    raise ValueError(f"penalty[{row}, {column}] is {value:g}: a penalty is finite and positive semi-definite")
