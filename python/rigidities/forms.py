"""The forms of a factorised H: the core's Cholesky factor, or a factor in the span of few rows.

A form has the members of the core's `Hessian`. Here is how one is made of rows, or restored from a
state, and what its work needs in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities import _core
from rigidities.choice import choose, factorize
from rigidities.exceptions import Advice, IllConditionedWarning, NotPositiveDefiniteError, warn
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.rows import CheckedRows, reduce_rows
from rigidities.runtime import memory
from rigidities.span import Span, root_of, span_of
from rigidities.span_form import SpanForm
from rigidities.validation import Accumulation, Reduction, as_floats, as_outputs, as_regularizer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


Form = _core.Hessian | SpanForm

SINGLE_ERROR = 1e-3
"""Relative error of a variance beyond which float32 is refused."""


def form_of_state(state: dict[str, Any]) -> Form:
    """Return the form that a state of a `Hessian`, already checked, describes."""
    return SpanForm.from_snapshot(state) if "span" in state else _core.Hessian.from_snapshot(state)


def target_rows(rows: CheckedRows, reduction: Reduction = "mean") -> NDArray[Any]:
    """Return one row per target."""
    return rows.values if rows.groups is None else reduce_rows(rows.values, rows.groups, reduction)[1]


def form_of_rows(
    rows: CheckedRows,
    regularizer: float | Literal["auto"],
    weights: ArrayLike | None,
    targets: ArrayLike | None,
    penalty: ArrayLike | None,
) -> Form:
    """Factorise H of training rows: in their span if they are few, or the penalty is a matrix."""
    F = target_rows(rows)
    w = None if weights is None else np.ascontiguousarray(as_floats(weights, "weights", ndim=1, double=True))
    y = None if targets is None else as_outputs(targets)
    n, p = F.shape
    value, checked = as_regularizer(regularizer), Penalty.of(penalty, p)
    # sums of whitened rows resolve λ that those of rows hide, if the penalty is ill-conditioned
    span = _whitened_span(F, checked) if n < p or checked.matrix is not None else None
    if span is None:
        memory.require(16 * p * p, f"C and the factor of {p} features", Advice.FEWER_FEATURES)
        return _factorize(_sums(F, w, y), regularizer, checked, consume=True)
    if value == 0 and len(span.basis) < p:
        raise NotPositiveDefiniteError(
            f"{n} rows determine {len(span.basis)} of {p} directions at most: H is singular at regularizer 0. Pass a "
            "larger regularizer",
            len(span.basis),
            0.0,
        )
    sums = _sums(span.coordinates(F), w, y)
    inner = _factorize(sums, regularizer, Penalty.of(None, sums.n_features))
    return SpanForm(span, inner, norm_of(sums.matrix(), inner.regularizer))


def lifted(form: Form, span: Span, norm: float) -> SpanForm:
    """Return the form of all features, from the one of their coordinates in a span."""
    if isinstance(form, SpanForm):
        raise TypeError("a form in a span is lifted once")
    return SpanForm(span, form, norm)


def norm_of(C: NDArray[np.float64], regularizer: float) -> float:
    """‖C + λ‖₁, to rounding."""
    return float(np.abs(C).sum(axis=0).max() + regularizer)


def _sums(
    F: NDArray[Any], weights: NDArray[np.float64] | None, targets: NDArray[np.float64] | None
) -> _core.Covariance:
    core = _core.Covariance(F.shape[1], "float64", "sums")
    core += (F, None, "mean", weights, targets)
    return core


def _whitened_span(F: NDArray[Any], penalty: Penalty) -> Span | None:
    """Return the span of rows; None if they cannot be whitened, as a direction is not penalised."""
    try:
        root = root_of(penalty)
    except np.linalg.LinAlgError:
        return None
    return span_of(reduce_rows(F)[1], root)  # which names a number that is not finite


def _factorize(
    core: _core.Covariance, regularizer: float | Literal["auto"], penalty: Penalty, consume: bool = False
) -> _core.Hessian:
    """Choose λ and factorise sums, with the warnings of both."""
    form = factorize(core, choose(core, regularizer, penalty), penalty, consume=consume)
    warn_if_unresolved(form.diagonal(), form.reason, form.regularizer, form.accumulation)
    return form


def warn_if_unresolved(
    diagonal: NDArray[np.float64], reason: str, regularizer: float, accumulation: Accumulation
) -> None:
    """Warn if cond(H) exceeds 1/(p·eps), or its square for "qr", so that no digit is left.

    The pivots bound the condition from below at no cost: cond(H) ≥ (max L_jj / min L_jj)². The form
    is not passed: a warning that is made an error would keep it, and the C that it stands in.
    """
    ratio = (diagonal.min() / diagonal.max()) ** 2
    least = len(diagonal) * np.finfo(np.float64).eps / 4
    if reason == Reason.GIVEN.value and ratio < (least**2 if accumulation == "qr" else least):
        warn(
            IllConditionedWarning,
            f"the pivots of H span a factor of {1 / ratio:.0e} at regularizer {regularizer:g}: rounding leaves "
            "no digit of the variances along its weakest directions",
            Advice.RAISE_OR_AUTO,
        )


# Memory and precision -----------------------------------------------------------------------------


def require_state(form: Form) -> None:
    """Raise unless the state of a form fits in memory: two triangles if the penalty is a matrix."""
    p = form.n_features
    need = form.n_stored if isinstance(form, SpanForm) else p * p
    memory.require(8 * need, f"the state of a Hessian of {p} features", Advice.FREE_MEMORY)


def require_components(form: Form, sizes: Sequence[int]) -> None:
    """Raise unless there is memory for the variances of components of these sizes."""
    if isinstance(form, SpanForm):
        need = form.component_bytes
    else:  # a triangle for each component, and the columns of L⁻¹ that one is made from
        need = 8 * (sum(size**2 for size in sizes) + form.n_features * max(sizes, default=0))
    memory.require(need, f"factors of {len(sizes)} components", Advice.FEWER_COMPONENTS)


def require_joint(n: int, m: int, p: int) -> None:
    """Raise unless the joint covariance of n and m predictions fits in memory."""
    memory.require(8 * (n * m + n * p), f"the joint covariance of {n} and {m} predictions", Advice.FEWER_AT_A_TIME)


def require_single(form: Form, rcond: float, is_made: bool) -> None:
    """Refuse float32 where its error in a variance, about eps32·√cond(H), would exceed 1e-3.

    Raise MemoryError if its factor is not made yet and does not fit in memory.
    """
    error = float(np.finfo(np.float32).eps / np.sqrt(rcond))
    if not error < SINGLE_ERROR:
        raise ValueError(
            f"float32 would leave a relative error of about {error:.1e} in the variances "
            f"(rcond is {rcond:.1e}), more than {SINGLE_ERROR:g}: "
            'pass precision="float64", or raise the regularizer'
        )
    n = form.inner.n_features if isinstance(form, SpanForm) else form.n_features
    if not is_made:
        memory.require(4 * n * n, f"the factor of {n} features in float32", Advice.FLOAT64)
