"""Whether an ill-conditioned penalty matrix hides a better λ from sums that were made without it.

Rounding of C is relative to C. In coordinates in which Λ is the identity it grows by the condition
of Λ, 10⁶ and more for K_MM of a sparse kernel model. Then the evidence is resolved at large λ only,
where the fit may be a hundred times worse than the best. A matrix that is singular to rounding gets
jitter besides, which takes away functions that the data may ask for. Sums of whitened rows
(`rigidities.Whitening`) lose nothing of this, so a λ that would be chosen in the dark is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, AdvisedValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.spectrum.decomposition import Spectrum
    from rigidities.spectrum.evidence import Projection

GAIN = 100.0
"""A λ at an edge of resolution is refused if whitened rows resolved λ so many times smaller."""

LESS_JITTER = 0.01
"""Part of the jitter at which the evidence is looked at again."""

SLOPE = 1.0
"""Nats in a decade by which the evidence rises towards the smallest λ, to be worth a warning. With
fewer targets than features it becomes constant there."""

RISE = 10.0
"""Nats by which the evidence may rise with less jitter. It is a trial beyond what is resolved: with
RBF kernels, harmless jitter (errors within 4 % of those of whitened rows) gave up to 7.4 nats,
harmful jitter (errors 3 to 6 times as large) 27 to 41."""


def fault(projection: Projection, regularizer: float, log_evidence: float, edge: float | None) -> str | None:
    """Say how the penalty hides a better fit than the one at this λ, where the evidence is best.

    `edge` is the smallest λ at which the evidence is resolved, if it is best there or rises towards
    it. None: nothing is hidden.
    """
    spectrum = projection.spectrum
    if edge is not None:
        return below(spectrum, edge)
    if with_less_jitter(projection, regularizer) > log_evidence + RISE:
        return (
            f"the evidence is best at regularizer {regularizer:.3g}, but the penalty is singular to rounding, and it "
            f"rises with less jitter than {spectrum.jitter:.3g} on its diagonal: jitter removes what the data ask for"
        )
    return None


def fault_on_path(
    projection: Projection,
    regularizers: NDArray[np.float64],
    likelihood: NDArray[np.float64],
    edge: float | None,
    criterion: str,
) -> str | None:
    """Say how the penalty hides a better fit than the best of a path.

    `likelihood` is the criterion in nats, NaN where it is not resolved; the best is the largest.
    `edge` is the smallest λ at which it is resolved, if a smaller one on the path would not be.
    """
    order = np.argsort(regularizers)[~np.isnan(likelihood[np.argsort(regularizers)])]
    grid, values = regularizers[order], likelihood[order]
    if edge is not None and (np.argmax(values) == 0 or rises(grid, values)):
        return below(projection.spectrum, edge, criterion)
    chosen = grid[np.argmax(values)]
    return fault(projection, float(chosen), float(projection.log_evidence(np.array([chosen]))[0]), None)


def rises(grid: NDArray[np.float64], likelihood: NDArray[np.float64]) -> bool:
    """Whether a likelihood rises by more than `SLOPE` in a decade towards the smallest λ."""
    decades = np.log10(grid[1:2] / grid[:1])
    return bool((likelihood[:1] - likelihood[1:2] > SLOPE * decades).any())


def below(spectrum: Spectrum, edge: float | None, criterion: str = "the evidence") -> str | None:
    """Say that the penalty hides λ below the edge; None if whitened rows would resolve none."""
    if spectrum.gain <= GAIN:
        return None
    where = "at no regularizer" if edge is None else f"down to regularizer {edge:.3g} only"
    return (
        f"{criterion} is resolved {where}, and the best lies there or below: the penalty is a matrix so near to "
        "singular that rounding of the sums hides smaller ones, at which the fit may be far better"
    )


def with_less_jitter(projection: Projection, regularizer: float) -> float:
    """Return the best evidence at three λ, from this one down, with a hundredth of the jitter.

    −∞ if there is no jitter, or if nothing is left of the evidence. With Λ' = Λ + j the basis A of
    the spectrum has AᵀΛ'A = 1 and AᵀHA = τ + λ. Then with j' in place of j, and D the features that
    have jitter, both are less by (j − j')AᵀDA and λ(j − j')AᵀDA.
    """
    spectrum, basis, n_outputs = projection.spectrum, projection.basis, projection.moments.n_outputs
    n = projection.degrees
    if spectrum.jitter == 0.0 or basis is None or n <= 0:
        return -np.inf
    rows, m = basis[~spectrum.free], len(spectrum.penalised)
    less = (1 - LESS_JITTER) * spectrum.jitter * (rows.T @ rows)
    log_penalty = _log_determinant(np.eye(m) - less[:m, :m])
    best = -np.inf
    values = regularizer / np.array([1.0, 10.0, 100.0])
    fits, left = projection.coef(values), projection.residuals(values)
    for value, denominators, coef, S in zip(values, spectrum.denominators(values), fits, left, strict=True):
        taken = value * less
        H = np.diag(denominators) - taken
        # with E = `taken`, S falls by θᵀEθ + (Eθ)ᵀH⁻¹Eθ: digits that Σwy² − bᵀH⁻¹b would lose
        S = S - np.einsum("pk,pk->k", coef, taken @ coef) - _quadratic_form(H, taken @ coef)
        determinant = _log_determinant(H) - m * np.log(value) - log_penalty + spectrum.log_free
        if (S > 0).all() and np.isfinite(determinant):
            scale = np.log(2 * np.pi * S / n).sum()
            best = max(best, -0.5 * (n * scale + n_outputs * (n + determinant - projection.moments.log_weight)))
    return float(best)


def _quadratic_form(H: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """bᵀH⁻¹b of each column; NaN if H is not positive definite."""
    try:
        L = np.linalg.cholesky(H)
    except np.linalg.LinAlgError:
        return np.full(b.shape[1], np.nan)
    return np.asarray((np.linalg.solve(L, b) ** 2).sum(axis=0))


def _log_determinant(A: NDArray[np.float64]) -> float:
    """ln|A|; NaN if A is not positive definite."""
    sign, value = np.linalg.slogdet(A)
    return float(value) if sign > 0 else np.nan


def refusal(fault: str) -> AdvisedValueError:
    """Return the error for a λ that would be chosen in the dark."""
    return AdvisedValueError(fault, Advice.WHITEN_ROWS)
