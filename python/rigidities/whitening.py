"""Rows in coordinates in which a penalty matrix is the identity, for sums that keep their digits.

A sparse kernel model has the rows K_NM and the penalty Λ = K_MM, whose condition is 10⁶ and more.
Rounding of C = K_MN K_NM is a part of ‖C‖, and in the coordinates of the model, K_MM^(-½), it is
larger by that condition. Sums of rows that were whitened before have no such loss:

    f' = Wᵀf,    WᵀΛW = 1,    θ = Wθ',    H' = Σ w f'f'ᵀ + λ.

f'ᵀθ' = fᵀθ, θᵀΛθ = θ'ᵀθ', and so fits, variances and the evidence are those of Λ.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, overload

import numpy as np

from rigidities.exceptions import Advice
from rigidities.penalty import Penalty
from rigidities.rows import CheckedRows, Rows
from rigidities.runtime import memory
from rigidities.spectrum.eigen import eigh
from rigidities.spectrum.pencil import smallest_eigenvalue
from rigidities.validation import as_array, as_floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Whitening:
    """Coordinates in which a penalty matrix is the identity.

    Directions in which the matrix is zero to rounding are left out: the functions of a kernel that
    belong to them are zero. Features whose row is zero, such as an intercept, stay as they are,
    after the others.

    Parameters
    ----------
    penalty : array_like of shape (p, p)
        Λ, symmetric and positive semi-definite: K_MM of a sparse kernel model.

    Attributes
    ----------
    matrix : ndarray of shape (p, n_features)
        W, read-only.
    n_features : int
        Length m ≤ p of a whitened row.
    penalty : ndarray of shape (n_features,), or None
        The penalty of whitened rows: None for the identity, or a diagonal of ones, and zeros for
        features without a penalty.

    Raises
    ------
    ValueError, TypeError
        As `Covariance.factorize` for a penalty, or if it is a diagonal or zero.
    MemoryError
        If the decomposition does not fit in memory.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> x, points = np.linspace(0, 3, 200), np.linspace(0, 3, 12)
    >>> kernel = lambda a, b: np.exp(-((a[:, None] - b) ** 2) / 2)
    >>> y = np.sin(3 * x) + 1e-3 * np.random.default_rng(0).normal(size=200)
    >>> whitening = rg.Whitening(kernel(points, points))
    >>> covariance = rg.Covariance(whitening.n_features)
    >>> covariance.update(whitening.rows(kernel(x, points)), targets=y)
    >>> hessian = covariance.factorize(penalty=whitening.penalty)
    >>> new = kernel(np.array([0.5, 1.5]), points)
    >>> (whitening.rows(new) @ hessian.coef).round(2), (new @ whitening.coef(hessian.coef)).round(2)
    (array([ 1.  , -0.98]), array([ 1.  , -0.98]))
    """

    def __init__(self, penalty: ArrayLike) -> None:
        self.matrix, self.penalty = _whitening(penalty)
        self.matrix.flags.writeable = False

    def __repr__(self) -> str:
        return f"Whitening({len(self.matrix)} features to {self.n_features})"

    @property
    def n_features(self) -> int:
        """Length m of a whitened row."""
        return int(self.matrix.shape[1])

    @overload
    def rows(self, features: Rows) -> Rows: ...

    @overload
    def rows(self, features: ArrayLike) -> NDArray[np.float64]: ...

    def rows(self, features: ArrayLike | Rows) -> NDArray[np.float64] | Rows:
        """Whiten rows: f' = Wᵀf. Do so with training rows, and with those of predictions.

        Parameters
        ----------
        features : array_like of shape (n_rows, p), or Rows

        Returns
        -------
        ndarray of shape (n_rows, n_features), or Rows
            `Rows` keep their groups. Their feature space, if they have one, becomes another.

        Raises
        ------
        ValueError, TypeError
            As `Covariance.update`.
        """
        rows = CheckedRows.matching(features, None, len(self.matrix), None)
        memory.require(8 * len(rows.values) * self.n_features, f"{len(rows.values)} rows", Advice.FEWER_AT_A_TIME)
        values = np.asarray(rows.values, dtype=np.float64) @ self.matrix
        if not isinstance(features, Rows):
            return values
        space = features.feature_space
        return replace(features, values=values, feature_space=None if space is None else self._space(space))

    def coef(self, coef: ArrayLike) -> NDArray[np.float64]:
        """Return θ = Wθ', the parameters of rows that are not whitened.

        Parameters
        ----------
        coef : array_like of shape (n_features,) or (n_features, n_outputs)
            θ', as ``Hessian.coef`` of a fit to whitened rows.

        Returns
        -------
        ndarray of shape (p,) or (p, n_outputs)
        """
        given = as_array(coef, "coef")
        values = as_floats(given, "coef", ndim=2 if given.ndim == 2 else 1, double=True)
        if len(values) != self.n_features:
            raise ValueError(f"coef has {len(values)} rows: expected {self.n_features}, one for each whitened feature")
        return np.asarray(self.matrix @ values)

    def _space(self, space: str) -> str:
        digest = hashlib.sha256(self.matrix.tobytes()).hexdigest()[:16]
        return f"{space}-whitened-{digest}"


def _whitening(given: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """W = U d^-½ of the eigenvalues d that are not zero to rounding, then single features."""
    shape = np.shape(given) if not hasattr(given, "shape") else given.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"penalty has shape {shape}: expected a square matrix, such as K_MM")
    p = shape[0]
    memory.require(8 * p * p * 4, f"the whitening of {p} features", Advice.FEWER_FEATURES)
    penalty = Penalty.of(given, p)
    penalty.require_effect()
    values = penalty.matrix if penalty.diagonal is None else np.diag(penalty.diagonal)
    assert values is not None
    kept = values.any(axis=0)
    part = values[np.ix_(kept, kept)]
    d, U = eigh((0.5 * part + 0.5 * part.T).T)
    large = d > smallest_eigenvalue(d, penalty.eps)
    m, n_free = int(large.sum()), int((~kept).sum())
    W = np.zeros((p, m + n_free))
    W[kept, :m] = U[:, large] / np.sqrt(d[large])
    W[~kept, m:] = np.eye(n_free)
    return W, np.r_[np.ones(m), np.zeros(n_free)] if n_free else None
