"""Covariances of force vectors: in which directions a force is well determined.

The three components of a force have three rows, x, y and z, which share the parameters θ. With
z = L⁻¹g the whitened rows, H = L Lᵀ, the covariance of atom a's force is the Gram matrix

    Vᵢⱼ = gᵢᵀH⁻¹gⱼ = zᵢ·zⱼ,    i, j in x, y, z.

Its eigenvectors are the directions in which the force is best and worst determined. If a structure
is turned by Q, rows turn to Σⱼ Qᵢⱼ gⱼ, and V to QVQᵀ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice
from rigidities.factor import finite, rows_for
from rigidities.rows import target_batches
from rigidities.runtime import memory

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.factor import Factor
    from rigidities.rows import CheckedRows, Rows
    from rigidities.validation import Reduction

AT_ONCE = 256
"""Atoms whose rows are whitened at a time: 3 MB at p = 500, which the products find in cache."""

PAIRS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
"""Components of a force whose covariances are different numbers."""


def force_covariance(
    hessian: Factor, X: ArrayLike | Rows, *, groups: ArrayLike | None = None, reduction: Reduction = "sum"
) -> NDArray[np.float64]:
    """Joint covariance of the three components of each atom's force.

    Times scale², with `scale` in eV/Å from calibration, it is in (eV/Å)². The diagonal has the
    variances of the components, which depend on the frame. The trace, and the eigenvalues, do not.

    Parameters
    ----------
    hessian : Hessian
    X : array_like of shape (3 n_atoms, n_features), or Rows
        Derivatives of the forces with respect to the parameters: three rows for each atom, x, y and
        z, one atom after the other. So are the forces of `LossRows`, if none lacks a label. Their
        sign does not matter. In place of x, y and z any three rows will do whose joint covariance
        is asked for.
    groups : array_like of int of shape (n_rows,), optional
        The force component that each row contributes to, if rows are those of neighbours:
        3·atom + 0, 1 or 2.
    reduction : {"sum", "mean"}
        How rows with the same label become one. A force is the sum of its contributions.

    Returns
    -------
    ndarray of shape (n_atoms, 3, 3)
        Exactly symmetric, and positive semi-definite to rounding.

    Raises
    ------
    ValueError, TypeError
        If the number of rows is no multiple of three, or as `Hessian.variance`.
    MemoryError
        If the whitened rows of some atoms do not fit in memory.

    Examples
    --------
    Training forces lay along x, and halfway between y and z. Across that, nothing is known.

    >>> import numpy as np, rigidities as rg
    >>> covariance = rg.Covariance(3)
    >>> covariance.update([[10.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    >>> hessian = covariance.factorize(0.01)
    >>> V = rg.force_covariance(hessian, np.eye(3))
    >>> variances, directions = np.linalg.eigh(V[0])
    >>> variances.round(2), abs(directions[:, 2]).round(2)  # the worst direction
    (array([1.e-02, 5.e-01, 1.e+02]), array([0.  , 0.71, 0.71]))
    >>> scale = 0.05  # eV/Å, from calibration
    >>> print(f"{scale**2 * np.trace(V[0]):.3f} (eV/Å)²")
    0.251 (eV/Å)²
    """
    rows = rows_for(hessian, X, groups)
    n, p = rows.n_targets, hessian.n_features
    if n % 3 or n == 0:
        raise ValueError(f"there are {n} rows of force components: expected three for each atom, x, y and z")
    need = 8 * (2 * min(n, 3 * AT_ONCE) * p + 3 * n)
    memory.require(need, f"the whitening of {n // 3} atoms' forces", Advice.FEWER_FEATURES)
    covariances = np.empty((n // 3, 3, 3))
    first = 0
    for F in _of_whole_atoms(rows, reduction):
        Z = hessian.whiten(F).reshape(len(F) // 3, 3, -1)
        V = covariances[first : first + len(Z)]
        with np.errstate(over="ignore", invalid="ignore"):  # said below, with the atom
            for i, j in PAIRS:  # half the time of a product of many small matrices
                V[:, i, j] = V[:, j, i] = np.einsum("ap,ap->a", Z[:, i], Z[:, j])
        first += len(Z)
    return finite(covariances, "the covariance of atom")


def _of_whole_atoms(rows: CheckedRows, reduction: Reduction) -> Iterator[NDArray[np.float64]]:
    """Yield target rows, those of about `AT_ONCE` atoms at a time, none of which is split."""
    left = np.empty((0, rows.values.shape[1]))
    for F in target_batches(rows, reduction, 3 * AT_ONCE):
        if len(left):
            F = np.concatenate([left, F])
        n = len(F) - len(F) % 3
        left = F[n:]
        if n:
            yield F[:n]
