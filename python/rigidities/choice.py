"""λ of sums, given, guaranteed or at the largest evidence, and their factor at that λ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rigidities.exceptions import Advice
from rigidities.moments import Moments
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.runtime import memory
from rigidities.spectrum import maximum
from rigidities.spectrum.maximum import ROWS_NEED, Choice, arrays_needed
from rigidities.spectrum.row_factor import RowFactor
from rigidities.validation import as_regularizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities import _core


def choose(core: _core.Covariance, regularizer: float | Literal["auto"], penalty: Penalty) -> Choice:
    """Choose λ as `Covariance.factorize` does, with its warnings and errors."""
    value = as_regularizer(regularizer)
    if value is not None:
        return Choice(value, 0.0, Reason.GIVEN)
    penalty.require_effect()
    if core.n_outputs == 0 or core.trace == 0:
        return Choice(None, 0.0, Reason.GUARANTEED)
    choice = largest_evidence(core, penalty)
    choice.check()
    return choice


def largest_evidence(core: _core.Covariance, penalty: Penalty) -> Choice:
    """Return the λ at the maximum of the marginal likelihood, without a warning."""
    p = core.n_features
    arrays = ROWS_NEED if core.accumulation == "qr" else arrays_needed(penalty)
    memory.require(8 * p * p * arrays, f"the evidence of {p} features", Advice.GIVE_REGULARIZER)
    moments = moments_of(core)
    moments.require_scale()
    if core.accumulation == "qr":
        return maximum.largest_evidence_of_rows(RowFactor.of(core), moments, penalty)
    return maximum.largest_evidence(
        core.matrix(), moments, penalty, lambda choice: _Factored(factorize(core, choice, penalty))
    )


def factorize(core: _core.Covariance, choice: Choice, penalty: Penalty, *, consume: bool = False) -> _core.Hessian:
    """Factorise sums at a λ that was chosen."""
    settled = choice.regularizer, choice.reason.value, choice.jitter
    return core.factorize(settled, penalty.values, penalty.eps, consume)


def moments_of(core: _core.Covariance) -> Moments:
    """Return the sums beside C."""
    return Moments.of_state(core.moments(), core.n_features, core.precision)


class _Factored:
    """What the evidence needs of a factor."""

    def __init__(self, core: _core.Hessian) -> None:
        self._core = core

    @property
    def coef(self) -> NDArray[Any]:
        """θ = H⁻¹b."""
        return self._core.coef()

    @property
    def log_determinant(self) -> float:
        """ln|H|."""
        return self._core.log_determinant

    def variance(self, X: Any) -> NDArray[Any]:
        """Return xᵀH⁻¹x of each row."""
        return self._core.variance(X, None, "sum", "float64")
