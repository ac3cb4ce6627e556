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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities import _core
from rigidities.components import parts_of
from rigidities.exceptions import Advice
from rigidities.rows import reduce_rows
from rigidities.runtime import memory
from rigidities.state import INNER

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


class SpanForm:
    """A factorised H in the span of its training rows, with the members of the core's `Hessian`.

    Parameters
    ----------
    span : Span
    inner : _core.Hessian
        Of the rows' coordinates in the span, with the identity as penalty and the same λ.
    norm : float
        ‖C_m + λ‖₁
    """

    def __init__(self, span: Span, inner: _core.Hessian, norm: float) -> None:
        self.span, self.inner, self.norm = span, inner, norm

    # What holds in the span holds of all ----------------------------------------------------------

    @property
    def n_features(self) -> int:
        """Length p of a feature row."""
        return self.span.n_features

    @property
    def n_rows(self) -> int:
        """Number of target rows."""
        return self.inner.n_rows

    @property
    def n_outputs(self) -> int:
        """Number of outputs, 0 without targets."""
        return self.inner.n_outputs

    @property
    def regularizer(self) -> float:
        """λ."""
        return self.inner.regularizer

    @property
    def jitter(self) -> float:
        """0: the penalty is positive definite."""
        return self.inner.jitter

    @property
    def reason(self) -> str:
        """Why λ has its value."""
        return self.inner.reason

    def effective_dimension(self) -> float:
        """tr(CH⁻¹)."""
        return self.inner.effective_dimension()

    @property
    def n_across(self) -> int:
        """Number of directions of which no data say anything, p − m."""
        return self.n_features - len(self.span.basis)

    @property
    def log_determinant(self) -> float:
        """ln|H|."""
        across = self.n_across * float(np.log(self.regularizer)) if self.n_across else 0.0
        return self.inner.log_determinant + across + self.span.log_penalty

    def rcond(self) -> float:
        """1/cond(M⁻¹HM⁻ᵀ), whose least eigenvalue is λ if there are directions across the span."""
        return self.regularizer / self.norm if self.n_across else self.inner.rcond()

    def diagonal(self) -> NDArray[np.float64]:
        """Pivots L_jj, with √λ for the directions across the span."""
        inner = self.inner.diagonal()
        return np.append(inner, np.sqrt(self.regularizer)) if self.n_across else inner

    def coef(self) -> NDArray[np.float64]:
        """θ = H⁻¹b, (p, n_outputs)."""
        return self.span.lift(self.inner.coef())

    # Rows -----------------------------------------------------------------------------------------

    def solve(self, b: NDArray[np.float64]) -> NDArray[np.float64]:
        """H⁻¹B, (p, k)."""
        solved = []
        for inside, across in self.span.split(b.T):
            whole = self.inner.solve(np.ascontiguousarray(inside.T))
            solved.append(self.span.lift(whole, self._over(across.T)))
        return np.concatenate(solved, axis=1)

    def colour(self, Z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return W Z with H⁻¹ = W Wᵀ and the W of `whiten`, (p, k)."""
        inside = self.span.basis @ Z
        across = Z - self.span.basis.T @ inside
        along = self.inner.colour(np.ascontiguousarray(inside))
        return self.span.lift(along, across / np.sqrt(self.regularizer) if self.n_across else None)

    def variance(
        self, features: NDArray[Any], groups: NDArray[np.int64] | None, reduction: str, precision: str
    ) -> NDArray[np.float64]:
        """Return gᵀH⁻¹g of each target."""
        parts = []
        for inside, across in self.span.split(_reduced(features, groups, reduction)):
            along = self.inner.variance(inside, None, "sum", precision)
            parts.append(along + self._over(np.einsum("ij,ij->i", across, across)))
        return np.concatenate(parts)

    def prior_variance(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return λfᵀH⁻¹ΛH⁻¹f = λ‖(C_m + λ)⁻¹s‖² + ‖r‖²/λ of each row, (n,); λ is not 0."""
        parts, root = [], np.sqrt(self.regularizer)
        for inside, across in self.span.split(F):
            along = root * self.inner.solve(np.ascontiguousarray(inside.T))
            parts.append(np.einsum("ij,ij->j", along, along) + self._over(np.einsum("ij,ij->i", across, across)))
        return np.concatenate(parts)

    def whiten(self, features: NDArray[Any], groups: NDArray[np.int64] | None, reduction: str) -> NDArray[np.float64]:
        """Return z = VᵀL⁻¹s + r/√λ of each target, (n, p): z·z' is a covariance of predictions."""
        parts = []
        for inside, across in self.span.split(_reduced(features, groups, reduction)):
            z = self.inner.whiten(inside, None, "sum") @ self.span.basis
            parts.append(z + across / np.sqrt(self.regularizer) if self.n_across else z)
        return np.concatenate(parts)

    def component_variance(
        self,
        features: NDArray[Any],
        components: Sequence[NDArray[np.int64]],
        groups: NDArray[np.int64] | None,
        reduction: str,
    ) -> NDArray[np.float64]:
        """Return gᵀH⁻¹g of each component's part of each target, (n, n_components)."""
        rows = _reduced(features, groups, reduction)
        variances = np.empty((len(rows), len(components)))
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            for column, part in enumerate(parts_of(some, components)):
                variances[start : start + AT_ONCE, column] = self.variance(part, None, "sum", "float64")
        return variances

    def prediction_covariance(
        self, features: NDArray[Any], groups: NDArray[np.int64] | None, reduction: str
    ) -> NDArray[np.float64]:
        """Return GH⁻¹Gᵀ of targets, exactly symmetric, (n, n)."""
        z = self.whiten(features, groups, reduction)
        joint = z @ z.T
        return 0.5 * (joint + joint.T)

    def prediction_cross_covariance(self, features: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
        """Return G_X H⁻¹ G_Yᵀ, (n, m)."""
        return np.asarray(self.whiten(features, None, "sum") @ self.whiten(others, None, "sum").T)

    def _over(self, across: NDArray[np.float64]) -> NDArray[np.float64]:
        """Divide what lies across the span by λ; without such directions it is rounding."""
        return across / self.regularizer if self.n_across else np.zeros_like(across)

    @property
    def component_bytes(self) -> int:
        """Memory that `component_variance` needs beside its result."""
        return 8 * AT_ONCE * 3 * self.n_features

    # Files ----------------------------------------------------------------------------------------

    @property
    def n_stored(self) -> int:
        """Numbers in the state."""
        root = 0 if self.span.root is None else self.span.root.size
        return self.span.basis.size + root + len(self.span.basis) ** 2

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state: arrays in one dimension, and plain values."""
        root = self.span.root
        return {
            "n_features": self.n_features,
            "penalty": "identity" if root is None else "diagonal" if root.ndim == 1 else "matrix",
            "root": np.empty(0) if root is None else root.ravel(),
            "span": self.span.basis.ravel(),
            "norm": self.norm,
        } | {f"{INNER}{name}": value for name, value in self.inner.snapshot().items()}

    @classmethod
    def from_snapshot(cls, state: Mapping[str, Any]) -> SpanForm:
        """Return the form that has this state, which `rigidities.state.hessian_state` has checked.

        Raises
        ------
        ValueError
            If lengths of arrays do not match, or the basis is not orthonormal.
        """
        names = [name for name in state if name.startswith(INNER)]
        inner = _core.Hessian.from_snapshot({name.removeprefix(INNER): state[name] for name in names})
        p, m = state["n_features"], inner.n_features
        n_root = {"identity": 0, "diagonal": p, "matrix": p * p}[state["penalty"]]
        for name, length in (("span", m * p), ("root", n_root)):
            if len(state[name]) != length:
                raise ValueError(f"{name} has {len(state[name])} entries, expected {length}")
        basis, root = state["span"].reshape(m, p), state["root"]
        square = root.reshape(p, p) if state["penalty"] == "matrix" else None
        diagonal = root if square is None else np.diagonal(square)
        if not (np.isfinite(root).all() and (diagonal > 0).all()):
            raise ValueError("root is not that of a positive definite penalty")
        if m > p or not np.allclose(np.einsum("ij,ij->i", basis, basis), 1.0, atol=1e-8):
            raise ValueError("span is not an orthonormal basis")
        return cls(Span(basis, square if square is not None else root if len(root) else None), inner, state["norm"])


def _reduced(features: NDArray[Any], groups: NDArray[np.int64] | None, reduction: str) -> NDArray[Any]:
    if groups is None:
        return features
    return reduce_rows(features, groups, reduction)[1]  # type: ignore[arg-type]
