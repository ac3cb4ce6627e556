"""The rules that choose λ of a loss."""

from __future__ import annotations

from typing import Literal

from rigidities.covariance import Covariance
from rigidities.exceptions import Advice, AdvisedValueError
from rigidities.loss.rows import TermRows
from rigidities.loss.terms import Loss
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.regularizer.path import RegularizerPath, regularizer_path
from rigidities.spectrum.maximum import Choice
from rigidities.validation import as_regularizer

PathRule = Literal["evidence", "gcv", "loo"]
"""The rules that choose λ from a path."""

Rule = Literal["auto", PathRule]

REASONS: dict[PathRule, Reason] = {
    "evidence": Reason.PATH_EVIDENCE,
    "gcv": Reason.PATH_GCV,
    "loo": Reason.PATH_LEAVE_ONE_OUT,
}
"""The reason of λ, by the rule that chose it."""


def check_regularizer(regularizer: float | Rule, loss: Loss | None = None) -> None:
    """Raise if this is neither a number nor a rule, or a rule that this loss cannot follow."""
    if not isinstance(regularizer, str):
        as_regularizer(regularizer)
    elif regularizer not in ("auto", *REASONS):
        raise ValueError(f"regularizer is {regularizer!r}: expected a number, or auto, {', '.join(REASONS)}")
    if regularizer == "loo" and loss is not None and loss.energy is None:
        raise AdvisedValueError(_NOTHING_TO_LEAVE_OUT, Advice.OTHER_CRITERION)


_READ_ONCE = "a Huber fit needs the rows several times, but these can be read only once: pass a list"

_NOTHING_TO_LEAVE_OUT = "regularizer is 'loo', which leaves out energies, but the loss has none"


def choose(
    covariance: Covariance, regularizer: float | Rule, penalty: Penalty, energies: TermRows | None
) -> tuple[Choice, RegularizerPath | None]:
    """λ, and the path that it was chosen from."""
    if not isinstance(regularizer, str) or regularizer == "auto":
        return covariance.choose(regularizer, penalty), None
    if regularizer == "loo" and energies is None:
        raise AdvisedValueError(_NOTHING_TO_LEAVE_OUT, Advice.OTHER_CRITERION)
    path = regularizer_path(covariance, penalty=penalty)
    if regularizer == "loo" and energies is not None:
        value = path.best("loo", energies.values, energies.targets, weights=energies.weights_in_loss)
    else:
        value = path.best(regularizer)
    return Choice(value, path.jitter, REASONS[regularizer]), path
