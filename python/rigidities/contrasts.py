"""Variances of contrasts: differences and other linear combinations of predictions.

A contrast Σ cᵢ gᵢᵀθ is itself a prediction, whose row is Σ cᵢ gᵢ. Its variance is

    v = (Σ cᵢ gᵢ)ᵀ H⁻¹ (Σ cᵢ gᵢ) = Σᵢⱼ cᵢ cⱼ gᵢᵀH⁻¹gⱼ = c V cᵀ,

with V the joint covariance of the predictions. Predictions of like structures share most of their
error, so v is mostly far below the Σ cᵢ² vᵢ of independent errors. Rows are combined first: V is
never made, and what the rows have in common cancels before anything is rounded by H⁻¹.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice
from rigidities.factor import finite, rows_for
from rigidities.rows import target_batches
from rigidities.runtime import memory
from rigidities.validation import as_array, as_floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.factor import Factor
    from rigidities.rows import CheckedRows, Rows
    from rigidities.validation import Reduction

AT_ONCE = 4096
"""Contrasts whose rows are combined in one pass over the targets: 16 MB at p = 500. Each pass
reduces rows again, which costs about 1/4096 of the multiplications with dense coefficients."""


def contrast(
    hessian: Factor,
    X: ArrayLike | Rows,
    coefficients: Any,
    *,
    groups: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> NDArray[np.float64]:
    """Variance of linear combinations of predictions, such as formation or reaction energies.

    The standard deviation of a contrast is scale·√v, in the unit of the target, with `scale` from
    calibration. It accounts for the correlations of the predictions: those of like structures
    cancel in their difference. The cost is that of `Hessian.variance` of one row per contrast, and
    of combining the rows; no matrix of all pairs is made.

    Parameters
    ----------
    hessian : Hessian
    X : array_like of shape (n_rows, n_features), or Rows
        Rows of the predictions f₁, f₂, … that are combined.
    coefficients : array_like or scipy.sparse array of shape (n_contrasts, n_targets)
        One row c per contrast Σ cᵢ fᵢ. Columns are in the order of the sorted labels of `groups`,
        or of the rows of `X` without groups. Where rows are means over atoms, fᵢ is an energy per
        atom; for total energies pass ``reduction="sum"``.
    groups : array_like of int of shape (n_rows,), optional
    reduction : {"mean", "sum"}
        See `Covariance.update`.

    Returns
    -------
    ndarray of shape (n_contrasts,)
        Variances, dimensionless for unit weights and coefficients.

    Raises
    ------
    ValueError, TypeError
        If coefficients are of another shape, not real or not finite, or as `Hessian.variance`.
    MemoryError
        If the combined rows do not fit in memory.

    Examples
    --------
    A vacancy in a crystal: its formation energy is E(defect) − (N − 1)/N · E(bulk), in eV.

    >>> import numpy as np, rigidities as rg
    >>> bulk, defect = np.array([8.0, 0.0]), np.array([3.0, 4.0])  # sums over 8 and 7 atoms
    >>> covariance = rg.Covariance(2)
    >>> covariance.update([bulk / 8, defect / 7])  # energies per atom
    >>> hessian = covariance.factorize(0.01)
    >>> v = rg.contrast(hessian, [bulk, defect], [[-7 / 8, 1.0]])
    >>> scale = 0.002  # eV per atom, from calibration
    >>> print(f"{scale * np.sqrt(v[0]):.4f} eV")
    0.0195 eV
    """
    rows = rows_for(hessian, X, groups)
    C = _as_coefficients(coefficients, rows.n_targets)
    n_together = min(AT_ONCE, C.shape[0])
    memory.require(8 * n_together * hessian.n_features, f"rows of {n_together} contrasts", Advice.FEWER_FEATURES)
    with np.errstate(over="ignore", invalid="ignore"):  # said by `finite`, with the contrast
        variances = [hessian.variance(G) for G in _combined(rows, C, reduction)]
    return finite(np.concatenate(variances), "the variance of contrast")


def _combined(rows: CheckedRows, C: Any, reduction: Reduction) -> Iterator[NDArray[np.float64]]:
    """Yield the rows Σ cᵢ gᵢ of some contrasts at a time.

    The first pass reads all rows, so that a number that is not finite is found wherever it stands.
    In later ones, rows that few contrasts use are picked.
    """
    for start in range(0, C.shape[0], AT_ONCE):
        some = C[start : start + AT_ONCE]
        G = np.zeros((some.shape[0], rows.values.shape[1]))
        used = np.flatnonzero((some != 0).sum(axis=0))
        if start > 0 and 4 * len(used) < C.shape[1]:
            _add_combined(G, some[:, used], rows.of_targets(used), reduction)
        else:
            _add_combined(G, some, rows, reduction)
        if not np.isfinite(G).all():
            lost = start + int(np.argmin(np.isfinite(G).all(axis=1)))
            raise ValueError(f"the row of contrast {lost} exceeds float64: scale its coefficients down")
        yield G


def _add_combined(G: NDArray[np.float64], C: Any, rows: CheckedRows, reduction: Reduction) -> None:
    """Add CF to G, of the target rows F that `rows` are reduced to."""
    if C.shape[1] == 0:
        return
    first = 0
    for F in target_batches(rows, reduction):
        G += C[:, first : first + len(F)] @ F
        first += len(F)


def _as_coefficients(coefficients: Any, n_targets: int) -> Any:
    """Return coefficients as float64, dense or in sparse rows, finite, (n_contrasts, n_targets)."""
    is_sparse = hasattr(coefficients, "tocsr")
    if not is_sparse:
        coefficients = as_array(coefficients, "coefficients")
    shape = coefficients.shape
    if len(shape) != 2 or shape[1] != n_targets or shape[0] == 0:
        raise ValueError(
            f"coefficients has shape {shape}: expected one row per contrast and one column for each of the "
            f"{n_targets} predictions, (n_contrasts, {n_targets})"
        )
    if not is_sparse:
        C = as_floats(coefficients, "coefficients", ndim=2, double=True)
        _require_finite(C.ravel(), lambda index: divmod(index, n_targets))
        return C
    C = coefficients.tocsr()
    values = as_floats(C.data, "coefficients", ndim=1, double=True)
    _require_finite(values, lambda index: (int(np.searchsorted(C.indptr, index, side="right")) - 1, C.indices[index]))
    return type(C)((values, C.indices, C.indptr), shape=shape)


def _require_finite(values: NDArray[np.float64], place_of: Callable[[int], tuple[int, int]]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        index = int(np.argmin(finite))
        row, column = place_of(index)
        raise ValueError(f"coefficients[{row}, {column}] is {values[index]}: only finite numbers are taken")
