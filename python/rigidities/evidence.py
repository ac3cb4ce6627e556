"""Evidence and generalised cross-validation of a λ from sums alone, where rounding leaves them resolved.

What enters: b, Σwy², n, Σ ln w of a `Covariance` and the eigenvalues of its pencil. What leaves: the log marginal
likelihood

    −½ [n ln(2πs²) + n + ln|H| − ln|λΛ| − Σ ln w],    s² = S/n,    S = Σwy² − bᵀH⁻¹b,

summed over the outputs, each with its own s² (MacKay, Neural Comput. 4 (1992) 415; with m unpenalised directions n − m
stands for n and |Λ| is the product over the others: restricted likelihood, Harville, Biometrika 61 (1974) 383), and
n·Σwr²/(n − tr CH⁻¹)² (Golub, Heath, Wahba, Technometrics 21 (1979) 215).

**Where they are resolved.** S(θ) = Σwy² − 2bᵀθ + θᵀHθ is stationary at the fit, so that rounding of the sums by
δ(Σwy²), δb and δC changes its minimum by δ(Σwy²) − 2δbᵀθ + θᵀδCθ. Each sum is rounded by ρ = u√(p + n) of its terms'
size (u the unit roundoff; p + n rounding errors add up like a random walk, Higham & Mary, SIAM J. Sci. Comput. 41
(2019) A2815; divide and conquer leaves a residual of u√p‖C‖, measured). Hence

    |δS| ≤ ρ (√Σwy² + √trace(C) ‖θ‖)²,    |δ ln|H|| ≤ ρ trace(C) tr H⁻¹.

Training energies fitted with fewer targets than features are what S drowns for: ‖θ‖ is large, S tiny. A λ counts as
resolved where all this moves the logarithm of the likelihood by less than `RESOLVED`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import NotFittedError, UnresolvedEvidenceWarning
from rigidities.rounding import UNIT_ROUNDOFF, unit_roundoff
from rigidities.spectrum import Spectrum, Tridiagonal

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rigidities.covariance import Covariance

RESOLVED = 1.0
"""Nats that rounding may move a log-likelihood by: two λ whose likelihoods differ by a factor of e are as good."""

DIGIT = 10.0
"""How often the bound on its rounding a sum of squares must exceed. It is then known to 10 %, its root to 5 %."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What a `Covariance` keeps beside C: b (p, n_outputs), Σwy² (n_outputs,), n and Σ ln w of the rows with w > 0.

    `unit` is the unit roundoff u of the least precise products.
    """

    cross: NDArray[np.float64]
    squares: NDArray[np.float64]
    n_rows: int
    log_weight: float
    unit: float = UNIT_ROUNDOFF

    @property
    def n_outputs(self) -> int:
        """Number of outputs, 0 without targets."""
        return len(self.squares)

    def require_targets(self, what: str) -> None:
        """Refuse what needs targets."""
        if self.n_outputs == 0:
            raise NotFittedError(
                f"{what} needs targets, and none were accumulated: pass targets=... to every Covariance.update"
            )

    def squared_residuals(self, C: NDArray[np.float64], coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Σwr² = Σwy² − 2θᵀb + θᵀCθ of any θ, (n_coefs, p), with one output; NaN where rounding leaves no digit.

        An entry C_ij is rounded by ρ√(C_ii C_jj) at most and b_i by ρ√(C_ii Σwy²), so that Σwr² is rounded by no more
        than ρ(√Σwy² + Σ_i √C_ii |θ_i|)²: the bound of the module without its last step, Cauchy and Schwarz's.
        """
        rounding = self.unit * np.sqrt(len(C) + self.n_rows)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self.squares[0] + np.einsum("lp,lp->l", coef, coef @ C - 2 * self.cross[:, 0])
            bound = rounding * (np.sqrt(self.squares[0]) + np.abs(coef) @ np.sqrt(np.diagonal(C))) ** 2
            return np.where(squares > DIGIT * bound, squares, np.nan)


def read_sums(covariance: Covariance) -> Sums:
    """Take the sums out of a covariance, rows that wait to be summed included."""
    state = covariance._core.moments()
    squares = state["squares"]
    cross = state["cross"].reshape(len(squares), covariance.n_features).T.copy()
    unit = unit_roundoff(covariance.precision)
    return Sums(cross, squares, state["n_rows"], state["log_weight"], unit)


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums in the coordinates of a spectrum: all that the evidence of any λ takes, O(p) each.

    `coef` gives (AᵀHA)⁻¹Aᵀb of some λ, (n_λ, p, n_outputs), and `basis` is A where the penalty is a matrix.
    """

    spectrum: Spectrum
    sums: Sums
    projected: NDArray[np.float64]
    coef: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    basis: NDArray[np.float64] | None

    @classmethod
    def diagonal(cls, spectrum: Spectrum, basis: NDArray[np.float64], sums: Sums) -> Moments:
        """In the basis in which H is diagonal."""
        projected = basis.T @ sums.cross
        coef = partial(_divide, projected, spectrum)
        plain = bool((spectrum.spread == 1).all())
        return cls(spectrum, sums, projected, coef, None if plain else basis)

    @classmethod
    def tridiagonal(cls, form: Tridiagonal, sums: Sums) -> Moments:
        """In the basis in which H is tridiagonal: cheaper, and all that a search for the best λ needs."""
        return cls(form.spectrum, sums, form.projected, form.coef, None)

    @property
    def degrees(self) -> int:
        """Targets less unpenalised directions, n − m."""
        return self.sums.n_rows - self.spectrum.n_free

    @property
    def rounding(self) -> float:
        """ρ = u√(p + n)."""
        return self.sums.unit * float(np.sqrt(len(self.spectrum.values) + self.sums.n_rows))

    def residuals(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """S = Σwy² − bᵀH⁻¹b, the loss left at the fit times two: (n_λ, n_outputs)."""
        return np.asarray(self.sums.squares - np.einsum("lpk,pk->lk", self.coef(regularizers), self.projected))

    def errors(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted squared training residuals Σwr² = S − λθᵀΛθ: (n_λ, n_outputs)."""
        coef = self.coef(regularizers)[:, : len(self.spectrum.penalised)]
        return np.asarray(self.residuals(regularizers) - regularizers[:, None] * (coef**2).sum(axis=1))

    def residual_rounding(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of S, and of Σwr²: (n_λ, n_outputs)."""
        coef = self.coef(regularizers)
        if self.basis is None:
            squares = (coef[:, : len(self.spectrum.penalised)] ** 2).sum(axis=1)
        else:
            squares = np.array([(np.square(self.basis @ c)).sum(axis=0) for c in coef])
        size = np.sqrt(self.sums.squares) + np.sqrt(self.spectrum.trace * squares)
        return np.asarray(self.rounding * size**2)

    def determinant_rounding(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of ln|H|, and of tr CH⁻¹: (n_λ,)."""
        spectrum = self.spectrum
        n = len(spectrum.penalised)
        spread = spectrum.spread[:n] * spectrum.trace + (spectrum.penalised.max(initial=0.0) if n else 0.0)
        inverse = 1 / (spectrum.penalised + regularizers[:, None])
        return np.asarray(self.rounding * inverse @ spread)

    def effective_dimension(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return tr CH⁻¹ = Σ τ/(τ + λ) + m, (n_λ,)."""
        tau = self.spectrum.penalised
        return np.asarray((tau / (tau + regularizers[:, None])).sum(axis=1) + self.spectrum.n_free)

    def log_evidence(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log marginal likelihood, NaN where it is not resolved: (n_λ,)."""
        self.sums.require_targets("the evidence")
        n, k = self.degrees, self.sums.n_outputs
        S = self.residuals(regularizers)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.log(2 * np.pi * S / n) if n > 0 else np.full_like(S, np.nan)
            noise = n / 2 * (self.residual_rounding(regularizers) / S).sum(axis=1)
        tau = self.spectrum.penalised
        determinant = np.log1p(tau / regularizers[:, None]).sum(axis=1) + self.spectrum.log_free
        evidence = -0.5 * (n * scale.sum(axis=1) + k * (n + determinant - self.sums.log_weight))
        noise += k / 2 * self.determinant_rounding(regularizers)
        return np.where((S > 0).all(axis=1) & (noise < RESOLVED), evidence, np.nan)

    def gcv(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """n·Σwr²/(n − tr CH⁻¹)², the mean over the outputs, NaN where it is not resolved: (n_λ,)."""
        self.sums.require_targets("generalised cross-validation")
        n = self.sums.n_rows
        errors, left = self.errors(regularizers), n - self.effective_dimension(regularizers)
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = (self.residual_rounding(regularizers) / errors).max(axis=1)
            noise += 2 * self.determinant_rounding(regularizers) / left
            gcv = n * errors.mean(axis=1) / left**2
        resolved = (errors > 0).all(axis=1) & (left > 0) & (n / 2 * noise < RESOLVED)
        return np.where(resolved, gcv, np.nan)


def _divide(
    projected: NDArray[np.float64], spectrum: Spectrum, regularizers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(AᵀHA)⁻¹Aᵀb where AᵀHA is diagonal."""
    return np.asarray(projected / spectrum.denominators(regularizers)[:, :, None])


def warn_of_edge(criterion: str, regularizer: float, stacklevel: int) -> None:
    """Say that rounding hides what lies below the best λ of a criterion, and what to do."""
    warnings.warn(
        f"{criterion} is best at the least regularizer at which it is resolved, {regularizer:.3g}: below, the training "
        "residual drowns in the rounding of the sums, and a better regularizer may lie there. Choose by leave-one-out, "
        "path.best('loo', F, y) of a regularizer_path",
        UnresolvedEvidenceWarning,
        stacklevel=stacklevel + 1,
    )
