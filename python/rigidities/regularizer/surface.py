"""The evidence as a function of one λ per component of the features, and its gradient.

With the diagonal penalty D, λ_c on the features of component c, and H = C + D, the log evidence of
`rigidities.spectrum.evidence` is

    −½ [n ln(2πS/n) + n + ln|H| − Σ_c p_c ln λ_c − Σ ln w],    S = Σwy² − bᵀH⁻¹b,

summed over the outputs. S is the minimum of Σw(y − fᵀθ)² + θᵀDθ over θ, so that its derivative is
the explicit one, ∂S/∂ln λ_c = λ_c‖θ_c‖². With ∂ln|H|/∂ln λ_c = λ_c tr (H⁻¹)_cc,

    ∂/∂ln λ_c = ½ Σ_outputs [γ_c − λ_c‖θ_c‖² n/S],    γ_c = p_c − λ_c tr (H⁻¹)_cc,

γ_c being the effective dimension of the component. At a maximum λ_c = γ_c s²/‖θ_c‖², s² = S/n
(MacKay, Neural Comput. 4 (1992) 415; Tipping, J. Mach. Learn. Res. 1 (2001) 211).

**Where it is resolved.** As in `rigidities.spectrum.direct`, with Δ² = diag(C) and ρ = u√(p +
n/256),

    |δS| ≤ ρ (√Σwy² + ‖Δθ‖)²,    |δ ln|H|| ≤ ρ tr(ΔH⁻¹Δ).

Where the triangular factor of the rows is kept, √S and the columns of the factor are rounded by
u√(p + …) of their size, so |δ ln|H|| ≤ 2√ρ Σ_j Δ_j √(H⁻¹)_jj with ρ of u².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.choice import factorize
from rigidities.exceptions import NotPositiveDefiniteError
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.spectrum.evidence import RESOLVED, ROWS_AT_ONCE
from rigidities.spectrum.maximum import Choice
from rigidities.spectrum.row_factor import rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities import _core
    from rigidities.moments import Moments


@dataclass(frozen=True, eq=False)
class Point:
    """The evidence at one choice of λ.

    Attributes
    ----------
    logs : ndarray of shape (n_components,)
        ln λ_c
    log_evidence : float
    gradient : ndarray of shape (n_components,)
        ∂ log evidence/∂ln λ_c
    effective_dimension : ndarray of shape (n_components,)
        γ_c
    noise : float
        Bound on the rounding of the evidence, in nats.
    explained : float
        Share of Σwy² that the fit explains, of the output that it explains best.
    """

    logs: NDArray[np.float64]
    log_evidence: float
    gradient: NDArray[np.float64]
    effective_dimension: NDArray[np.float64]
    noise: float
    explained: float

    @property
    def is_resolved(self) -> bool:
        """Whether rounding changes the evidence by less than `RESOLVED`."""
        return self.noise < RESOLVED


class Surface:
    """The evidence of sums with targets, for components that partition the features.

    Parameters
    ----------
    core : _core.Covariance
    moments : Moments
    components : list of ndarray
        Indices of the features of each.
    """

    def __init__(self, core: _core.Covariance, moments: Moments, components: list[NDArray[np.int64]]) -> None:
        self.core, self.moments, self.components = core, moments, components
        self.factored = core.accumulation == "qr"
        self.diagonal = np.diagonal(core.matrix()).copy()
        self.sizes = np.array([len(features) for features in components])
        p, n = core.n_features, moments.n_rows
        sums = moments.unit * np.sqrt(p + n / ROWS_AT_ONCE)
        #: ρ of sums; √ρ where the factor of the rows is kept
        self.rounding = float(np.sqrt(rounding(p, n)) if self.factored else sums)

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of C_jj over the features of each component: the unit of its λ."""
        return np.array([self.diagonal[features].mean() for features in self.components])

    @property
    def least(self) -> float:
        """Logarithm of λ_c over the mean of its C_jj, below which their sum is C_jj to rounding."""
        return float(np.log(self.rounding)) * (2 if self.factored else 1)

    def penalty(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the diagonal of D, (p,)."""
        penalty = np.empty(len(self.diagonal))
        for features, log in zip(self.components, logs, strict=True):
            penalty[features] = np.exp(log)
        return penalty

    def at(self, logs: NDArray[np.float64]) -> Point | None:
        """Return the evidence at ln λ_c; None if H is not positive definite to rounding."""
        penalty = self.penalty(logs)
        try:
            form = factorize(self.core, Choice(1.0, 0.0, Reason.GIVEN), Penalty.of(penalty, len(penalty)))
        except NotPositiveDefiniteError:
            return None
        moments, n, k = self.moments, self.moments.n_rows, self.moments.n_outputs
        coef = form.coef()
        S = form.unexplained() if self.factored else moments.squares - np.einsum("pk,pk->k", coef, moments.cross)
        if not (S > 0).all():
            return None
        inverse = self._inverse_diagonal(form)
        squares = np.square(np.sqrt(penalty)[:, None] * coef)  # λ_cθ²; θ² alone can leave the range of float64
        gamma = np.array([len(c) - penalty[c] @ inverse[c] for c in self.components])
        pull = np.array([(squares[c].sum(axis=0) * n / S).sum() for c in self.components])
        determinant = form.log_determinant - float(self.sizes @ logs)
        evidence = -0.5 * (n * np.log(2 * np.pi * S / n).sum() + k * (n + determinant - moments.log_weight))
        with np.errstate(divide="ignore", invalid="ignore"):
            left = (S - squares.sum(axis=0)) / moments.squares
        return Point(
            np.array(logs),
            float(evidence),
            0.5 * (k * gamma - pull),
            gamma,
            self._noise(coef, S, inverse),
            float(1 - np.nanmin(left)) if np.isfinite(left).any() else float("nan"),
        )

    def _inverse_diagonal(self, form: _core.Hessian) -> NDArray[np.float64]:
        """(H⁻¹)_jj, as variances of the unit rows, some at a time."""
        p = len(self.diagonal)
        inverse = np.empty(p)
        for start in range(0, p, ROWS_AT_ONCE):
            some = np.arange(start, min(start + ROWS_AT_ONCE, p))
            rows = np.zeros((len(some), p))
            rows[np.arange(len(some)), some] = 1.0
            inverse[some] = form.variance(rows, None, "sum", "float64")
        return inverse

    def _noise(self, coef: NDArray[np.float64], S: NDArray[np.float64], inverse: NDArray[np.float64]) -> float:
        """Bound on the rounding of the evidence, in nats."""
        n, k = self.moments.n_rows, self.moments.n_outputs
        size = np.sqrt(self.moments.squares) + np.linalg.norm(np.sqrt(self.diagonal)[:, None] * coef, axis=0)
        if self.factored:
            epsilon = self.rounding * size
            of_squares = epsilon * (2 * np.sqrt(S) + epsilon)
            of_determinant = 2 * self.rounding * float(np.sqrt(self.diagonal * inverse).sum())
        else:
            of_squares = self.rounding * np.square(size)
            of_determinant = self.rounding * float(self.diagonal @ inverse)
        return float(n / 2 * (of_squares / S).sum() + k / 2 * of_determinant)
