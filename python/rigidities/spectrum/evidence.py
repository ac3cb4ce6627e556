"""Evidence and generalised cross-validation of a λ, from sums alone, where they are resolved.

The log marginal likelihood is

    −½ [n ln(2πs²) + n + ln|H| − ln|λΛ| − Σ ln w],    s² = S/n,    S = Σwy² − bᵀH⁻¹b,

summed over the outputs, each with its own s² (MacKay, Neural Comput. 4 (1992) 415). With m
unpenalised directions n − m stands for n, and |Λ| is the product over the others: restricted
likelihood (Harville, Biometrika 61 (1974) 383). Generalised cross-validation is n·Σwr²/(n − tr
CH⁻¹)² (Golub, Heath, Wahba, Technometrics 21 (1979) 215).

**Where they are resolved.** S(θ) = Σwy² − 2bᵀθ + θᵀHθ is stationary at the fit. So rounding of the
sums by δ(Σwy²), δb and δC changes its minimum by δ(Σwy²) − 2δbᵀθ + θᵀδCθ. Each sum is rounded by ρ
= u√(p + min(n, 1024) + n/256) of its terms' size, u the unit roundoff. The core multiplies runs of
256 rows (1024 in float32) and adds the n/256 products, rounding errors add up like a random walk
(Higham & Mary, SIAM J. Sci. Comput. 41 (2019) A2815), and divide and conquer leaves a residual of
u√p‖C‖ (measured). Hence

    |δS| ≤ ρ (√Σwy² + √trace(C) ‖θ‖)²,    |δ ln|H|| ≤ ρ trace(C) tr H⁻¹.

With fewer targets than features, ‖θ‖ can be large and S tiny, so that rounding exceeds S. A λ
counts as resolved if these errors change the log-likelihood by less than `RESOLVED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, EmptyFitWarning, UnresolvedEvidenceWarning, warn
from rigidities.moments import Moments
from rigidities.spectrum.decomposition import Spectrum
from rigidities.spectrum.tridiagonal import Tridiagonal

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


ROWS_AT_ONCE, LONGEST_RUN = 256, 1024
"""Rows that the core multiplies before it adds the product to C, in float64 and in float32."""

RESOLVED = 1.0
"""Largest change of a log-likelihood by rounding, in nats: two λ whose likelihoods differ by a
factor of e are equally good."""

EXPLAINED = 0.1
"""Least share of the squares of its targets that a fit explains without a warning."""

HIDDEN = "below it, rounding of the sums exceeds the training residual"
"""Why the evidence is not resolved at smaller λ, in warnings."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Moments in the coordinates of a spectrum. From them the evidence of each λ costs O(p).

    Attributes
    ----------
    spectrum : Spectrum
    moments : Moments
    projected : ndarray of shape (p, n_outputs)
        Aᵀb
    coef : callable
        (AᵀHA)⁻¹Aᵀb at each λ: from (n_λ,) to (n_λ, p, n_outputs).
    basis : ndarray of shape (p, p), or None
        A, if the penalty is a matrix.
    """

    spectrum: Spectrum
    moments: Moments
    projected: NDArray[np.float64]
    coef: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    basis: NDArray[np.float64] | None

    @classmethod
    def diagonal(cls, spectrum: Spectrum, basis: NDArray[np.float64], moments: Moments) -> Projection:
        """Project on the basis A in which H is diagonal."""
        projected = basis.T @ moments.cross
        coef = divide(projected, spectrum)
        plain = bool((spectrum.spread == 1).all())
        return cls(spectrum, moments, projected, coef, None if plain else basis)

    @classmethod
    def tridiagonal(cls, form: Tridiagonal, moments: Moments) -> Projection:
        """Project on the basis in which H is tridiagonal; it is cheaper to find."""
        return cls(form.spectrum, moments, form.projected, form.coef, None)

    @property
    def of_sums(self) -> bool:
        """Whether products of rows were summed, so that eigenvalues are known to u‖C‖."""
        return True

    @property
    def degrees(self) -> int:
        """Targets less unpenalised directions, n − m."""
        return self.moments.n_rows - self.spectrum.n_free

    @property
    def rounding(self) -> float:
        """ρ = u√(p + min(n, 1024) + n/256)."""
        n = self.moments.n_rows
        return self.moments.unit * float(np.sqrt(len(self.spectrum.values) + min(n, LONGEST_RUN) + n / ROWS_AT_ONCE))

    def residuals(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """S = Σwy² − bᵀH⁻¹b, twice the loss at the fit: (n_λ, n_outputs)."""
        return np.asarray(self.moments.squares - np.einsum("lpk,pk->lk", self.coef(regularizers), self.projected))

    def errors(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted squared training residuals Σwr² = S − λθᵀΛθ: (n_λ, n_outputs)."""
        coef = self.coef(regularizers)[:, : len(self.spectrum.penalised)]
        # the root of λ first: θ² leaves the range of float64 where targets far exceed features
        squares = (np.sqrt(regularizers)[:, None, None] * coef) ** 2
        return np.asarray(self.residuals(regularizers) - squares.sum(axis=1))

    def explained(self, regularizer: float) -> float:
        """Share of Σwy² that the fit explains, 1 − Σwr²/Σwy², of the output that it explains best.

        NaN if all targets are 0.
        """
        squares = self.moments.squares
        left = self.errors(np.array([regularizer]))[0][squares > 0] / squares[squares > 0]
        return float(1 - left.min()) if len(left) else float("nan")

    def residual_rounding(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of S, and of Σwr²: (n_λ, n_outputs)."""
        return self.rounding_of(self.coef(regularizers))

    def rounding_of(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of S at fits (n_λ, p, n_outputs) in this basis."""
        coef = np.sqrt(self.rounding * self.spectrum.trace) * coef  # first, as in `errors`
        if self.basis is None:
            squares = (coef[:, : len(self.spectrum.penalised)] ** 2).sum(axis=1)
        else:
            squares = np.array([(np.square(self.basis @ c)).sum(axis=0) for c in coef])
        return np.asarray((np.sqrt(self.rounding * self.moments.squares) + np.sqrt(squares)) ** 2)

    def determinant_rounding(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of ln|H|, and of tr CH⁻¹: (n_λ,)."""
        spectrum = self.spectrum
        n = len(spectrum.penalised)
        spread = spectrum.spread[:n] * spectrum.trace + (spectrum.penalised.max(initial=0.0) if n else 0.0)
        inverse = 1 / (spectrum.penalised + regularizers[:, None])
        return np.asarray(self.rounding * inverse @ spread)

    def variance_rounding(self, variances: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of variances: `squares`, ρ trace(C) ‖H⁻¹f‖² of each."""
        return squares

    def prediction_noise(
        self, regularizers: NDArray[np.float64], variances: NDArray[np.float64], squares: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Bound on the rounding of residuals of rows with these `squares`: (n_λ, n_outputs, n)."""
        return np.asarray(np.sqrt(squares)[:, None, :] * np.sqrt(self.residual_rounding(regularizers))[:, :, None])

    def effective_dimension(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return tr CH⁻¹ = Σ τ/(τ + λ) + m, (n_λ,)."""
        tau = self.spectrum.penalised
        return np.asarray((tau / (tau + regularizers[:, None])).sum(axis=1) + self.spectrum.n_free)

    def log_evidence(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log marginal likelihood, NaN where it is not resolved: (n_λ,)."""
        self.moments.require_targets("the evidence")
        n, k = self.degrees, self.moments.n_outputs
        S = self.residuals(regularizers)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.log(2 * np.pi * S / n) if n > 0 else np.full_like(S, np.nan)
            noise = n / 2 * (self.residual_rounding(regularizers) / S).sum(axis=1)
        tau = self.spectrum.penalised
        determinant = np.log1p(tau / regularizers[:, None]).sum(axis=1) + self.spectrum.log_free
        evidence = -0.5 * (n * scale.sum(axis=1) + k * (n + determinant - self.moments.log_weight))
        noise += k / 2 * self.determinant_rounding(regularizers)
        return np.where((S > 0).all(axis=1) & (noise < RESOLVED), evidence, np.nan)

    def gcv(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """n·Σwr²/(n − tr CH⁻¹)², averaged over outputs, NaN where it is not resolved: (n_λ,)."""
        self.moments.require_targets("generalised cross-validation")
        n = self.moments.n_rows
        errors, left = self.errors(regularizers), n - self.effective_dimension(regularizers)
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = (self.residual_rounding(regularizers) / errors).max(axis=1)
            noise += 2 * self.determinant_rounding(regularizers) / left
            gcv = n * errors.mean(axis=1) / left**2
        resolved = (errors > 0).all(axis=1) & (left > 0) & (n / 2 * noise < RESOLVED)
        return np.where(resolved, gcv, np.nan)


def divide(projected: NDArray[np.float64], spectrum: Spectrum) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the function (AᵀHA)⁻¹Aᵀb of λ where AᵀHA is diagonal."""
    return partial(_divide, projected, spectrum)


def _divide(
    projected: NDArray[np.float64], spectrum: Spectrum, regularizers: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(projected / spectrum.denominators(regularizers)[:, :, None])


def warn_of_empty(explained: float, regularizer: float, outlier: str = "") -> None:
    """Warn if the fit at a λ explains next to nothing of the targets.

    `outlier` says which target is the hardest to explain, if that is known.
    """
    if explained < EXPLAINED:
        warn(
            EmptyFitWarning,
            f"the fit explains {100 * max(explained, 0.0):.2g} % of the weighted squares of its targets: at the "
            f"regularizer {regularizer:.3g} it predicts little more than zero{outlier}",
            Advice.LOOK_FOR_OUTLIERS,
        )


def warn_of_rise(regularizer: float, least: float) -> None:
    """Warn that the evidence has a maximum, and rises again at the smallest λ where it is known."""
    warn(
        UnresolvedEvidenceWarning,
        f"evidence is best at regularizer {regularizer:.3g}, but it rises again towards {least:.3g}: {HIDDEN}, and a "
        "better regularizer may lie there",
        Advice.LEAVE_ONE_OUT,
    )


def warn_of_end(criterion: str, regularizer: float) -> None:
    """Warn that a criterion is best at the smallest λ that was looked at."""
    warn(
        UnresolvedEvidenceWarning,
        f"{criterion} is best at the smallest regularizer of the path, {regularizer:.3g}: a smaller one may be better",
        Advice.SMALLER_REGULARIZERS,
    )


def warn_of_top(criterion: str, regularizer: float) -> None:
    """Warn that a criterion is best at the largest λ that was looked at."""
    warn(
        UnresolvedEvidenceWarning,
        f"{criterion} is best at the largest regularizer of the path, {regularizer:.3g}: a larger one may be better",
        Advice.LARGER_OR_OTHER_CRITERION,
    )


def warn_of_hidden(criterion: str, regularizer: float) -> None:
    """Warn that an error falls up to the smallest λ at which rounding leaves a digit of it."""
    warn(
        UnresolvedEvidenceWarning,
        f"{criterion} is best at the smallest regularizer at which it is resolved, {regularizer:.3g}: below it, "
        "rounding of the sums exceeds the errors, and a better regularizer may lie there",
        Advice.FEWER_FEATURES,
    )


def warn_of_edge(criterion: str, regularizer: float) -> None:
    """Warn that a criterion is best at the smallest λ at which it is resolved."""
    warn(
        UnresolvedEvidenceWarning,
        f"{criterion} is best at the smallest regularizer at which it is resolved, {regularizer:.3g}: {HIDDEN}, and a "
        "better regularizer may lie there",
        Advice.LEAVE_ONE_OUT,
    )
