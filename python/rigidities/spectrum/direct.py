"""The evidence of one λ from a Cholesky factor, for λ that the spectrum does not resolve.

Eigenvalues are rounded by a part of ‖C‖. A Cholesky factor of H = C + λΛ is exact for a matrix
whose elements differ from those of H by a part of √(H_ii H_jj) (Higham, Accuracy and Stability of
Numerical Algorithms, theorem 10.5), as do the sums themselves. So features of unlike sizes are
harmless, and so are the directions along which C nearly vanishes because its columns resemble each
other. With Δ² = diag(C), ρ = u√(p + n/256) and random signs of the rounding errors,

    |δS| ≤ ρ (√Σwy² + ‖Δθ‖)²,    |δ ln|H|| ≤ ρ tr(ΔH⁻¹Δ).

The core multiplies 256 rows at a time and adds the products. On silicon and lithium (mlearn,
energies and forces) the errors of S are 1/2 to 1/100 of this bound and those of ln|H| a tenth to a
thousandth, and the evidence is known to 0.03 nats where the bound reaches 1 nat: at λ = 3e-9, with
a trace of 1e7. The spectrum ends at 4e-6 there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rigidities.exceptions import NotPositiveDefiniteError
from rigidities.spectrum.evidence import RESOLVED, ROWS_AT_ONCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.spectrum.evidence import Projection


class Factored(Protocol):
    """What is needed of a factorised H."""

    @property
    def coef(self) -> NDArray[np.float64]:
        """θ = H⁻¹b."""
        ...

    @property
    def log_determinant(self) -> float:
        """ln|H|."""
        ...

    def variance(self, X: Any) -> NDArray[np.float64]:
        """Return xᵀH⁻¹x of each row."""
        ...


class DirectEvidence:
    """The evidence at single λ, each from a factor of its own.

    Parameters
    ----------
    factorize : callable
        Returns the factor at a λ, or raises `NotPositiveDefiniteError`.
    projection : Projection
        The same pencil, from which degrees of freedom and |Λ| are taken.
    diagonal : ndarray of shape (p,)
        C_jj
    """

    def __init__(
        self, factorize: Callable[[float], Factored], projection: Projection, diagonal: NDArray[np.float64]
    ) -> None:
        moments, spectrum = projection.moments, projection.spectrum
        self.factorize, self.moments, self.diagonal = factorize, moments, diagonal
        self.degrees, self.n_penalised = projection.degrees, len(spectrum.penalised)
        self.log_penalty = spectrum.log_scale - spectrum.log_free
        self.rounding = moments.unit * float(np.sqrt(len(diagonal) + moments.n_rows / ROWS_AT_ONCE))
        # tr(ΔH⁻¹Δ) at a λ bounds the one at a smaller λ': it grows no faster than 1/λ'
        self._known: tuple[float, float] | None = None

    @property
    def least(self) -> float:
        """Below this λ, C_jj + λ is C_jj to rounding in every feature that occurs."""
        return self.rounding * float(self.diagonal[self.diagonal > 0].min())

    @property
    def steepest(self) -> float:
        """How much the evidence falls from a λ to λ/e where all directions are determined."""
        return 0.5 * self.moments.n_outputs * self.n_penalised

    def log_evidence(self, regularizer: float) -> float:
        """Return the log marginal likelihood; NaN where it is not resolved."""
        try:
            factor = self.factorize(regularizer)
        except NotPositiveDefiniteError:
            return np.nan
        moments, n = self.moments, self.degrees
        coef = factor.coef.reshape(len(self.diagonal), -1)
        S = moments.squares - np.einsum("pk,pk->k", coef, moments.cross)
        if n <= 0 or not (S > 0).all():
            return np.nan
        root = np.sqrt(self.diagonal)[:, None]  # products of both stay in range, squares of one may not
        size = np.sqrt(moments.squares) + np.linalg.norm(root * coef, axis=0)
        noise = n / 2 * float((self.rounding * size**2 / S).sum())
        per_trace = moments.n_outputs / 2 * self.rounding
        if not noise + per_trace * self._trace(factor, regularizer, (RESOLVED - noise) / per_trace) < RESOLVED:
            return np.nan
        determinant = factor.log_determinant - self.n_penalised * np.log(regularizer) - self.log_penalty
        scale = np.log(2 * np.pi * S / n).sum()
        return float(-0.5 * (n * scale + moments.n_outputs * (n + determinant - moments.log_weight)))

    def _trace(self, factor: Factored, regularizer: float, enough: float) -> float:
        """Return a bound on tr(ΔH⁻¹Δ); it is computed only if what is known exceeds `enough`."""
        if self._known is not None:
            known, trace = self._known
            bound = trace * max(known / regularizer, 1.0)
            if bound < enough:
                return bound
        root = np.sqrt(self.diagonal)
        trace = 0.0
        for start in range(0, len(root), ROWS_AT_ONCE):
            columns = np.arange(start, min(start + ROWS_AT_ONCE, len(root)))
            rows = np.zeros((len(columns), len(root)))
            rows[np.arange(len(columns)), columns] = root[columns]
            trace += float(factor.variance(rows).sum())
        self._known = regularizer, trace
        return trace
