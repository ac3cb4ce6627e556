"""Shares of a variance: how much of it is each atom's, and each component's, with its sign.

A prediction gᵀθ is a sum of parts gₐ, of atoms or of components, and its variance is the sum of
all entries of their joint covariance V. A part's share is the sum of its row of V:

    v = gᵀH⁻¹g = Σₐᵦ Vₐᵦ,    Vₐᵦ = gₐᵀH⁻¹gᵦ,    shareₐ = Σᵦ Vₐᵦ = gₐᵀH⁻¹g.

It is the covariance of the part with the whole, v·∂ln v/∂ln(a factor on gₐ)/2, and negative if the
part's error cancels errors of others. With x = H⁻¹g, solved for once per prediction, shares of all
parts cost p each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.components import component_indices, parts_of, require_partition
from rigidities.exceptions import Advice
from rigidities.factor import finite, rows_for
from rigidities.rows import reduced, row_batches, target_batches
from rigidities.runtime import memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rigidities.factor import Factor
    from rigidities.rows import CheckedRows, Rows
    from rigidities.validation import Reduction

AT_ONCE = 1024
"""Rows that are worked on at a time: 8 MB at p = 1024. Ctrl-C is answered between them."""


def variance_shares(
    hessian: Factor,
    X: ArrayLike | Rows,
    groups: ArrayLike | None = None,
    *,
    components: Any = None,
    reduction: Reduction = "mean",
) -> NDArray[np.float64]:
    """Share of each row in the variance of its group's prediction: the atoms of a structure, say.

    A share is the covariance of the row's contribution with the whole prediction. Over the rows of
    a group the shares sum to ``hessian.variance(X, groups=groups)``, whatever their signs. A
    negative one belongs to a row whose error cancels those of others. The cost is one solve with H
    per group.

    Parameters
    ----------
    hessian : Hessian
    X : array_like of shape (n_rows, n_features), or Rows
    groups : array_like of int of shape (n_rows,), optional
        Which rows are parts of one prediction; those of `Rows` by default. Without any, each row is
        a prediction of its own, and its share the whole variance.
    components : sequence, optional
        As for `Hessian.component_rigidity`, each feature in exactly one component: shares are those
        of each component of each row. The whole joint covariance is `component_covariance`.
    reduction : {"mean", "sum"}
        See `Covariance.update`.

    Returns
    -------
    ndarray of shape (n_rows,), or (n_rows, n_components) with components
        In the order of the rows of `X`, in the unit of the variance.

    Raises
    ------
    ValueError, TypeError
        If a feature is in no component or in two, or as `Hessian.variance`.

    Examples
    --------
    Two atoms, the second unlike those of the training set: nearly all of the variance is its share.

    >>> import numpy as np, rigidities as rg
    >>> covariance = rg.Covariance(2)
    >>> covariance.update([[1.0, 0.0]])
    >>> hessian = covariance.factorize(0.01)
    >>> atoms = np.array([[1.0, 0.1], [1.0, 0.3]])
    >>> shares = rg.variance_shares(hessian, atoms, [0, 0])
    >>> shares.round(3), hessian.variance(atoms, groups=[0, 0]).round(3)
    (array([1.495, 3.495]), array([4.99]))
    """
    rows = rows_for(hessian, X, groups)
    indices = None
    if components is not None:
        indices = component_indices(components, hessian.n_features)
        require_partition(indices, hessian.n_features)
    with np.errstate(over="ignore", invalid="ignore"):  # said by `finite`, with the row
        shares = finite(_shares(hessian, rows, indices, reduction), "the share of row")
    return shares[:, 0] if indices is None else shares


def _shares(
    hessian: Factor, rows: CheckedRows, indices: list[NDArray[np.int64]] | None, reduction: Reduction
) -> NDArray[np.float64]:
    """Return (af)ᵀH⁻¹g of each component of each row: a is 1, or 1/n of the group for a mean."""
    shares = np.empty((len(rows.values), 1 if indices is None else len(indices)))
    for chosen in row_batches(rows, AT_ONCE):
        x = hessian.solve(reduced(rows, chosen, reduction).T).T
        part = rows.values[chosen]
        target, sizes = _members(rows, chosen)
        products = x[target]
        products *= part if reduction == "sum" else part / sizes[target, None]
        if indices is None:
            shares[chosen, 0] = products.sum(axis=1)
        else:
            for component, features in enumerate(indices):
                shares[chosen, component] = products[:, features].sum(axis=1)
    return shares


def _members(rows: CheckedRows, chosen: slice | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the target of each chosen row, counted from 0, and how many rows each target has."""
    if rows.groups is None:
        n = len(rows.values[chosen])
        return np.arange(n), np.ones(n, dtype=np.int64)
    _, target, sizes = np.unique(rows.groups[chosen], return_inverse=True, return_counts=True)
    return target, sizes


def component_covariance(
    hessian: Factor,
    X: ArrayLike | Rows,
    components: Sequence[int] | Sequence[slice] | Sequence[ArrayLike],
    *,
    groups: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> NDArray[np.float64]:
    """Joint covariance of the parts of each prediction that the components contribute.

    The diagonal has their variances, ``1 / hessian.component_rigidity``. Off it, a negative entry
    means that the errors of two parts cancel in the whole: the data determine their sum better than
    either. If each feature is in one component, all entries of a matrix sum to the variance of the
    prediction, and each row of it to the share of a component. Where large parts cancel, the shares
    of `variance_shares` keep more digits than these sums.

    Parameters
    ----------
    hessian : Hessian
    X : array_like of shape (n_rows, n_features), or Rows
    components : sequence
        As for `Hessian.component_rigidity`; they may overlap.
    groups : array_like of int of shape (n_rows,), optional
    reduction : {"mean", "sum"}
        See `Covariance.update`.

    Returns
    -------
    ndarray of shape (n_targets, n_components, n_components)
        Exactly symmetric, and positive semi-definite to rounding.

    Raises
    ------
    ValueError, TypeError
        As `Hessian.component_rigidity`.
    MemoryError
        If the result, or the whitened parts of some predictions, do not fit in memory.

    Examples
    --------
    The data hold the sum of two features, not each: their errors are opposite.

    >>> import rigidities as rg
    >>> covariance = rg.Covariance(2)
    >>> covariance.update([[1.0, 1.0]])
    >>> hessian = covariance.factorize(0.1)
    >>> rg.component_covariance(hessian, [[1.0, 1.0]], [1, 1]).round(2)
    array([[[ 5.24, -4.76],
            [-4.76,  5.24]]])
    """
    rows = rows_for(hessian, X, groups)
    indices = component_indices(components, hessian.n_features)
    m, p = len(indices), hessian.n_features
    together = max(1, AT_ONCE // m)
    memory.require(
        8 * (rows.n_targets * m * m + 2 * together * m * p), f"covariances of {m} components", Advice.FEWER_AT_A_TIME
    )
    covariances = []
    for F in target_batches(rows, reduction, together):
        for start in range(0, len(F), together):
            some = F[start : start + together]
            Z = np.stack([hessian.whiten(part) for part in parts_of(some, indices)], axis=1)
            with np.errstate(over="ignore", invalid="ignore"):  # said below, with the row
                V = Z @ Z.transpose(0, 2, 1)
            covariances.append(0.5 * (V + V.transpose(0, 2, 1)))
    return finite(np.concatenate(covariances), "the covariance of row")
