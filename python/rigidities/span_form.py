"""The factor of H in the span of its training rows, with the members of the core's `Hessian`.

`rigidities.span` has the formulas. A form does not change: with rows added or removed it is another
one, in a span that has grown by the directions that they add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities import _core
from rigidities.components import parts_of
from rigidities.rows import reduce_rows
from rigidities.span import AT_ONCE, Span, grown
from rigidities.state import INNER

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SpanForm:
    """A factorised H in the span of its training rows, with the members of the core's `Hessian`.

    Parameters
    ----------
    span : Span
    inner : _core.Hessian
        Of the rows' coordinates in the span, with the identity as penalty and the same λ.
    norm : float
        ‖C_m + λ‖₁, estimated if rows were added or removed.
    revision : int
        How often that was.
    """

    def __init__(self, span: Span, inner: _core.Hessian, norm: float, revision: int = 0) -> None:
        self.span, self.inner, self.norm, self.revision = span, inner, norm, revision

    def copy(self) -> SpanForm:
        """Return the same form: a change makes another one."""
        return self

    def changed(
        self, F: NDArray[Any], weights: NDArray[np.float64] | None, targets: NDArray[np.float64] | None, add: bool
    ) -> SpanForm:
        """Return the form with rows added or removed; the span grows by the directions they add."""
        span = grown(self.span, reduce_rows(F)[1])  # which names a number that is not finite
        inner = extended(self.inner, len(span.basis) - len(self.span.basis))
        batch = span.coordinates(F), None, "sum", weights, targets
        if add:
            inner += batch
        else:
            inner -= batch
        return SpanForm(span, inner, inner.norm(), self.revision + 1)

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


def extended(inner: _core.Hessian, n: int) -> _core.Hessian:
    """Return the factor of H in a span with `n` more directions, in which H is λ."""
    if n == 0:
        return inner.copy()
    state, m = inner.snapshot(), inner.n_features
    ends = np.cumsum(np.arange(m, 0, -1))  # the columns of L, from the diagonal down, one after the other
    columns = np.split(state["lower"], ends[:-1])
    across = [np.append(np.sqrt(inner.regularizer), np.zeros(n - 1 - j)) for j in range(n)]
    state["lower"] = np.concatenate([np.append(column, np.zeros(n)) for column in columns] + across)
    cross = state["cross"].reshape(inner.n_outputs, m)
    state["cross"] = np.pad(cross, ((0, 0), (0, n))).ravel()
    return _core.Hessian.from_snapshot(state | {"n_features": m + n})
