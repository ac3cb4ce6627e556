"""The part of a variance that λ alone answers for: λ gᵀH⁻¹ΛH⁻¹g, of v = gᵀH⁻¹g.

As H = C + λΛ, a variance is the sum of two parts. With x = H⁻¹g,

    v = xᵀHx = Σ w (fᵀx)² + λ xᵀΛx.

The first is shared by the training targets, the second is the prior's. Its share of v is also how v
answers to λ, because d ln v / d ln λ = −λ xᵀΛx / v: a share of 1 is a rigidity proportional to λ,
which no training target limits, and a share of 0 one that does not depend on λ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice, SetByPriorWarning, warn
from rigidities.forms import Form, require_state
from rigidities.runtime import memory
from rigidities.span_form import SpanForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

AT_ONCE = 256
"""Target rows that are solved for at a time. Ctrl-C is answered between them."""

NEAR_ONE = 0.9
"""Share from which on a rigidity counts as set by λ: the training targets answer for less than a
tenth of its variance, and λ times 100 makes it 63 to 100 times as large. Radial and power spectrum
of silicon, side by side, have 0.946 at the λ of a fit."""


@dataclass(frozen=True, eq=False)
class Prior:
    """λΛ of a factorised H = C + λΛ.

    Attributes
    ----------
    form : Form
        Of H.
    penalty : None, or ndarray of shape (p,) or (p, p)
        Λ with its jitter: None for a multiple of the identity, a diagonal, or a matrix. None, too,
        in the span of few rows, which keeps a root of Λ, and if λ is 0.
    jitter : float
        What is added to the identity, if that is the penalty.
    """

    form: Form
    penalty: NDArray[np.float64] | None = None
    jitter: float = 0.0

    @classmethod
    def of(cls, form: Form) -> Prior:
        """Return the prior of a form: it takes a copy of the state, once.

        Raises
        ------
        MemoryError
            If the copy does not fit in memory.
        """
        if isinstance(form, SpanForm) or form.regularizer == 0.0:
            return cls(form)
        require_state(form)
        state = form.snapshot()
        jitter = float(state["jitter"])  # that of a criterion is in the penalty already
        if "penalty_lower" in state:
            return cls(form, _square(state["penalty_lower"], form.n_features, jitter))
        if "penalty_diagonal" in state:
            return cls(form, state["penalty_diagonal"] + jitter)
        return cls(form, None, jitter)

    def variance(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        """λ fᵀH⁻¹ΛH⁻¹f of each row, (n,)."""
        if self.form.regularizer == 0.0:
            return np.zeros(len(F))
        if isinstance(self.form, SpanForm):
            return self.form.prior_variance(F)
        # √λ first: x alone can be too large to be squared
        X = np.sqrt(self.form.regularizer) * self.form.solve(np.ascontiguousarray(F.T))
        if self.penalty is None:
            return np.asarray((1 + self.jitter) * np.einsum("ij,ij->j", X, X))
        product = self.penalty @ X if self.penalty.ndim == 2 else self.penalty[:, None] * X
        return np.asarray(np.einsum("ij,ij->j", X, product))


@dataclass(frozen=True, eq=False)
class PriorRoot:
    """N with λΛ = NNᵀ. In coordinates N⁻¹f the prior variance of a row is its squared length.

    Attributes
    ----------
    scale : float
        √λ
    root : None, ndarray of shape (p,) or (p, p)
        N/√λ: None for the identity, a diagonal, or lower triangular.
    """

    scale: float
    root: NDArray[np.float64] | None

    @classmethod
    def of(cls, prior: Prior) -> PriorRoot:
        """Return the root of a prior.

        Raises
        ------
        ValueError
            If λ is 0, or a feature or direction is not penalised: prior variances are infinite.
        """
        scale = float(np.sqrt(prior.form.regularizer))
        if scale == 0:
            raise ValueError("the regularizer is 0: there is no prior to compare with; pass one above 0")
        if isinstance(prior.form, SpanForm):
            return cls(scale, prior.form.span.root)
        if prior.penalty is None:
            return cls(scale * float(np.sqrt(1 + prior.jitter)), None)
        if prior.penalty.ndim == 1:
            free = np.flatnonzero(prior.penalty == 0)
            if len(free):
                raise ValueError(f"feature {free[0]} is not penalised: its prior variance is infinite; leave it out")
            return cls(scale, np.sqrt(prior.penalty))
        try:
            return cls(scale, np.asarray(np.linalg.cholesky(prior.penalty)))
        except np.linalg.LinAlgError:
            fault = "the penalty leaves a direction unpenalised: its prior variance is infinite"
            raise ValueError(f"{fault}; pass a positive definite penalty") from None

    def whiten(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        """N⁻¹f of each row, (n, p)."""
        if self.root is None:
            return np.asarray(F / self.scale)
        if self.root.ndim == 1:
            return np.asarray(F / (self.scale * self.root))
        from scipy.linalg import solve_triangular

        return np.asarray(solve_triangular(self.root, F.T, lower=True, check_finite=False).T / self.scale)

    def coloured(self, Q: NDArray[np.float64]) -> NDArray[np.float64]:
        """(Nq)ᵀ of each column q of Q, as rows."""
        if self.root is None:
            return np.asarray(self.scale * Q.T)
        return np.asarray(self.scale * (Q.T * self.root if self.root.ndim == 1 else Q.T @ self.root.T))


def _square(lower: NDArray[np.float64], p: int, jitter: float) -> NDArray[np.float64]:
    """Return the matrix of a lower triangle, packed column by column."""
    memory.require(8 * p * p, f"the penalty of {p} features", Advice.FEWER_FEATURES)
    matrix = np.empty((p, p))
    start = 0
    for j in range(p):
        matrix[j, j:] = matrix[j:, j] = lower[start : start + p - j]
        start += p - j
    matrix[np.diag_indices(p)] += jitter
    return matrix


def share_of(part: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return part/variance, from 0 to 1 whatever rounding does; 0 where the variance is 0."""
    shares = np.divide(part, variance, out=np.zeros_like(variance), where=variance > 0)
    return np.clip(shares, 0.0, 1.0, out=shares)


def near_one(shares: NDArray[np.float64], present: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which components have a share near 1 in half of the predictions that they are part of.

    Parameters
    ----------
    shares : ndarray of shape (n, n_components)
    present : ndarray of bool of shape (n, n_components)
        Whether a component is part of a prediction: its features are not all 0.

    Returns
    -------
    ndarray of bool of shape (n_components,)
    """
    counts = present.sum(axis=0)
    return np.asarray((counts > 0) & (2 * ((shares >= NEAR_ONE) & present).sum(axis=0) >= counts))


def warn_if_near_one(shares: NDArray[np.float64], present: NDArray[Any]) -> None:
    """Warn of components whose rigidity is set by λ; arguments as for `near_one`."""
    numbers: Sequence[int] = np.flatnonzero(near_one(shares, present)).tolist()
    if numbers:
        which = f"component {numbers[0]}" if len(numbers) == 1 else f"components {_listed(numbers)}"
        warn(
            SetByPriorWarning,
            f"most rigidities of {which} are set by the regularizer, not by the data: the prior's share of their "
            f"variance is {NEAR_ONE} or more",
            Advice.OTHER_COMPONENTS,
        )


def _listed(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
