"""A Hessian with more rows: a new one, while the one given stays as it is.

H + Σ w f fᵀ = RᵀR with R the triangular factor of [Lᵀ; √w F]. Neither sum is formed, so rounding is
relative to the factor, not to its square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice
from rigidities.runtime import memory
from rigidities.span import SpanForm, span_of
from rigidities.state import ACCUMULATION, IN_COLUMN, INNER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian

AT_ONCE = 4096
"""Rows that are taken up together."""


def with_rows(hessian: Hessian, F: NDArray[np.float64], weights: NDArray[np.float64]) -> Hessian:
    """Return a Hessian that has these rows too. There is no fit: their targets are not known.

    Parameters
    ----------
    hessian : Hessian
        Left as it is.
    F : ndarray of shape (n, n_features)
    weights : ndarray of shape (n,)
        Rows of weight 0 count nowhere.

    Returns
    -------
    Hessian
        With the same λ and penalty.

    Raises
    ------
    MemoryError
        If the factor does not fit in memory.
    """
    counted = weights > 0
    F, w = F[counted], weights[counted]
    state: dict[str, Any] = hessian.__getstate__()
    inside = INNER if "span" in state else ""
    if isinstance(hessian._core, SpanForm):
        R, rows, state["span"] = _in_larger_span(hessian._core, F)
        state[f"{inside}n_features"] = len(R)
    else:
        R, rows = _unpacked(state["lower"], hessian.n_features), F
    R = _grown(R, rows * np.sqrt(w)[:, None])
    if inside:
        state["norm"] = float(np.abs(R.T @ R).sum(axis=0).max())
    state[f"{inside}lower"] = np.asarray(R[np.triu_indices(len(R))])
    state[f"{inside}n_rows"] += len(F)
    state[f"{inside}log_weight"] += float(np.log(w).sum())
    state[f"{inside}cross"] = state[f"{inside}squares"] = np.empty(0)
    if f"{inside}{ACCUMULATION}" in state:
        state[f"{inside}unexplained"] = np.empty(0)
    state.pop(IN_COLUMN, None)
    grown = type(hessian).__new__(type(hessian))
    grown.__setstate__(state)
    return grown


def _in_larger_span(
    form: SpanForm, F: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Extend a span by rows: the triangular factor and the rows in it, and its basis in one piece.

    Across the old span H is λ, so the factor of the new directions is √λ.
    """
    basis, whitened = form.span.basis, form.span.whiten(F)
    m, p = basis.shape
    R = _unpacked(form.inner.snapshot()["lower"], m)
    left = whitened
    for _ in range(2):  # rounding of the first pass is removed by the second
        left = left - (left @ basis.T) @ basis
    norms = np.linalg.norm(whitened, axis=1)
    new = left[np.linalg.norm(left, axis=1) > 1e-14 * np.sqrt(p) * norms]
    if len(new) and m < p:
        added = span_of(new).basis[: p - m]
        added = added - (added @ basis.T) @ basis
        basis = np.concatenate([basis, np.linalg.qr(added.T)[0].T])
        R = np.pad(R, (0, len(basis) - m))
        R[range(m, len(basis)), range(m, len(basis))] = np.sqrt(form.regularizer)
    return R, whitened @ basis.T, basis.ravel()


def _unpacked(lower: NDArray[np.float64], p: int) -> NDArray[np.float64]:
    """Lᵀ of L packed column by column."""
    memory.require(40 * p * p, f"the factor of {p} features", Advice.FEWER_FEATURES)
    R = np.zeros((p, p))
    R[np.triu_indices(p)] = lower
    return R


def _grown(R: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangular factor of [R; rows], with a positive diagonal."""
    for start in range(0, len(rows), AT_ONCE):
        R = np.asarray(np.linalg.qr(np.concatenate([R, rows[start : start + AT_ONCE]]), mode="r"))
    return np.where(np.diagonal(R) < 0, -1.0, 1.0)[:, None] * R
