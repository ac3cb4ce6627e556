"""H = C + λΛ of fewer training rows than features, without a p × p array: the dual form.

With Λ = MMᵀ, rows are whitened, f' = M⁻¹f. Let the m ≤ n rows of V be an orthonormal basis of the
training rows f'. In the span of V the problem has m features, Vf', and the penalty is the identity.
Everything that is known of sums holds there: the factor, the evidence, leave-one-out. Across the
span no data say anything, and H' is λ. So with s = Vg' and r = g' − Vᵀs

    gᵀH⁻¹g = sᵀ(C_m + λ)⁻¹s + ‖r‖²/λ,    ln|H| = ln|C_m + λ| + (p − m) ln λ + ln|Λ|.

This equals (‖g − Fᵀa‖² + λaᵀW⁻¹a)/λ with a = K⁻¹Fg and K = FFᵀ + λW⁻¹. The residual r is formed as
a vector. The textbook's ‖g‖² − kᵀK⁻¹k has no digits left where λ is small.

V comes from block Gram-Schmidt with a second pass (Barlow & Smoktunowicz, Numer. Math. 123 (2013)
395), never from products FFᵀ, which square the condition. Blocks are small, so that Ctrl-C is
answered between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice
from rigidities.runtime import memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.penalty import Penalty

BLOCK = 128
"""Rows that are made orthogonal at a time."""

AT_ONCE = 1024
"""Rows of predictions that are split at a time."""

DEPENDENT = 1e-14
"""A row that the rows before it explain up to this part of its norm adds no direction."""


@dataclass(frozen=True, eq=False)
class Span:
    """An orthonormal basis of rows, in the coordinates in which the penalty is the identity.

    Attributes
    ----------
    basis : ndarray of shape (m, p)
        V, with orthonormal rows.
    root : None, ndarray of shape (p,) or (p, p)
        M with Λ = MMᵀ: None for the identity, a diagonal, or lower triangular.
    """

    basis: NDArray[np.float64]
    root: NDArray[np.float64] | None

    @property
    def n_features(self) -> int:
        """Length p of a row."""
        return int(self.basis.shape[1])

    @property
    def log_penalty(self) -> float:
        """ln|Λ|."""
        if self.root is None:
            return 0.0
        return 2 * float(np.log(self.root if self.root.ndim == 1 else np.diagonal(self.root)).sum())

    def coordinates(self, F: NDArray[Any]) -> NDArray[np.float64]:
        """Return s = VM⁻¹f of each row f, (n, m)."""
        return np.concatenate([rows @ self.basis.T for rows in self._whitened(F)])

    def split(self, F: NDArray[Any]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Yield s and r = M⁻¹f − Vᵀs of some rows at a time, (n, m) and (n, p)."""
        for rows in self._whitened(F):
            inside = rows @ self.basis.T
            yield inside, rows - inside @ self.basis

    def lift(self, S: NDArray[np.float64], R: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return M⁻ᵀ(Vᵀs + r) of columns s and r, (p, k)."""
        X = self.basis.T @ S if R is None else self.basis.T @ S + R
        if self.root is None:
            return X
        if self.root.ndim == 1:
            return np.asarray(X / self.root[:, None])
        return _triangular(self.root, X, transposed=True)

    def whiten(self, F: NDArray[Any]) -> NDArray[np.float64]:
        """Return M⁻¹f of each row, (n, p)."""
        if self.root is None:
            return np.asarray(F, dtype=np.float64)
        if self.root.ndim == 1:
            return np.asarray(F / self.root)
        return _triangular(self.root, np.asarray(F, dtype=np.float64).T).T

    def _whitened(self, F: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
        for start in range(0, max(len(F), 1), AT_ONCE):
            yield self.whiten(F[start : start + AT_ONCE])


def root_of(penalty: Penalty) -> NDArray[np.float64] | None:
    """Return M with Λ = MMᵀ, as in `Span`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a direction is not penalised beyond rounding.
    """
    if penalty.matrix is None:
        if penalty.leaves_features_free:
            raise np.linalg.LinAlgError("the penalty has zeros")
        return None if penalty.diagonal is None else np.sqrt(penalty.diagonal)
    root = np.asarray(np.linalg.cholesky(penalty.matrix))
    pivots = np.diagonal(root)
    if pivots.min() ** 2 <= len(pivots) * penalty.eps * pivots.max() ** 2:
        raise np.linalg.LinAlgError("the penalty is singular to rounding")
    return root


def span_of(F: NDArray[Any], root: NDArray[np.float64] | None = None) -> Span:
    """Return the span of training rows.

    Parameters
    ----------
    F : ndarray of shape (n, p)
    root : ndarray, optional
        M, from `root_of`; None for the identity.

    Returns
    -------
    Span
        Of m ≤ min(n, p) directions: rows that others explain to rounding add none.
    """
    n, p = F.shape
    memory.require(8 * min(n, p) * p, f"a basis of {n} rows of {p} features", Advice.FEWER_AT_A_TIME)
    basis = np.empty((min(n, p), p))
    span, m = Span(basis[:0], root), 0
    for start in range(0, n, BLOCK):
        if m == p:
            break
        rows = span.whiten(F[start : start + BLOCK])
        for row in _orthonormal(rows, basis[:m])[: p - m]:
            basis[m] = row
            m += 1
    if m == 0:  # rows of zeros: any direction will do
        basis[0], m = 0.0, 1
        basis[0, 0] = 1.0
    return Span(basis[:m], root)


def grown(span: Span, F: NDArray[Any]) -> Span:
    """Return a span with the directions that further rows add, (n, p)."""
    basis = span.basis
    for start in range(0, len(F), BLOCK):
        m, p = basis.shape
        if m == p:
            break
        memory.require(8 * min(m + BLOCK, p) * p, f"a basis of more than {m} rows", Advice.FEWER_AT_A_TIME)
        basis = np.concatenate([basis, _orthonormal(span.whiten(F[start : start + BLOCK]), basis)[: p - m]])
    return Span(basis, span.root)


def _orthonormal(rows: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis of what rows add to a basis."""
    from scipy.linalg import qr

    norms = np.linalg.norm(rows, axis=1)
    left = rows[norms > 0] / norms[norms > 0, None]
    for _ in range(2):  # rounding of the first pass is removed by the second
        left = left - (left @ basis.T) @ basis
    for _ in range(2):  # a row that was nearly explained keeps rounding along the basis
        if len(left) == 0:
            break
        Q, R, _ = qr(left.T, mode="economic", pivoting=True, check_finite=False)
        kept = np.abs(np.diagonal(R)) > DEPENDENT * np.sqrt(rows.shape[1])
        left = Q[:, : len(kept)][:, kept].T
        left = left - (left @ basis.T) @ basis
    return np.asarray(left / np.linalg.norm(left, axis=1)[:, None])


def _triangular(root: NDArray[np.float64], X: NDArray[np.float64], transposed: bool = False) -> NDArray[np.float64]:
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(root, X, lower=True, trans="T" if transposed else "N", check_finite=False))
