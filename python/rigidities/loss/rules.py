"""The rules that choose λ of a loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import Advice, AdvisedValueError, UnresolvedEvidenceWarning, held
from rigidities.loss.rows import Batch, TermRows, join_rows
from rigidities.loss.structures import each_alone, structures_of
from rigidities.loss.terms import Loss
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.regularizer import RegularizerPath, regularizer_path
from rigidities.spectrum.maximum import Choice
from rigidities.validation import as_regularizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

PathRule = Literal["evidence", "gcv", "loo"]
"""The rules that choose λ from a path."""

Rule = Literal["auto", PathRule]

REASONS: dict[PathRule, Reason] = {
    "evidence": Reason.PATH_EVIDENCE,
    "gcv": Reason.PATH_GCV,
    "loo": Reason.PATH_LEAVE_ONE_OUT,
}
"""The reason of λ, by the rule that chose it."""


ABOVE = Advice.LARGER_OR_OTHER_CRITERION
"""Advice of a warning that larger λ may be better, which sums resolve."""

BY_EVIDENCE = ("auto", "evidence")
"""The rules that take the largest evidence."""

AS_WELL = 1.02
"""Ratio of left-out errors up to which one λ predicts as well as another."""

EVERY = 4
"""Structures with forces are left out at every fourth λ of a path, which differ by a factor of two:
test errors of silicon and lithium (mlearn) change by less than 0.5 % between them near the best."""


class Chosen(NamedTuple):
    """λ, and what it was chosen from.

    Attributes
    ----------
    choice : Choice
    path : RegularizerPath or None
    left_out : ndarray of shape (n_λ,), or None
        √(Σwe²/n) at the λ of the path, with the error e of each of n targets in a fit without its
        structure.
    """

    choice: Choice
    path: RegularizerPath | None = None
    left_out: NDArray[np.float64] | None = None


def check_regularizer(regularizer: float | Rule) -> None:
    """Raise if this is neither a number nor a rule."""
    if not isinstance(regularizer, str):
        as_regularizer(regularizer)
    elif regularizer not in ("auto", *REASONS):
        raise ValueError(f"regularizer is {regularizer!r}: expected a number, or auto, {', '.join(REASONS)}")


def choose(
    covariance: Covariance, regularizer: float | Rule, penalty: Penalty, loss: Loss, batches: Iterable[Batch]
) -> Chosen:
    """Choose λ. The rows of a loss are read for "loo" alone.

    "loo" takes the least Σwe² of the loss, with the errors e of fits that leave out one structure
    at a time, with all its targets.
    """
    if not isinstance(regularizer, str) or regularizer == "auto":
        return Chosen(covariance.choose(regularizer, penalty))
    path = regularizer_path(covariance, penalty=penalty)
    if regularizer != "loo":
        return Chosen(Choice(path.best(regularizer), path.jitter, REASONS[regularizer]), path)
    if energies_alone(loss):
        rows = join_rows([batch["energy"] for batch in batches], loss.terms["energy"])
        values = path.score(
            rows.values, rows.known_targets, "loo", weights=rows.weights_in_loss, blocks=rows.blocks
        ) * np.sqrt(rows.weights_in_loss.sum() / covariance.n_rows)
    else:
        path = path.at(path.regularizers[::EVERY])
        values = np.sqrt(path.leave_out(structures_of(batches, loss)) / covariance.n_rows)
    return Chosen(Choice(path.least(values), path.jitter, REASONS[regularizer]), path, values)


class Found(NamedTuple):
    """What a rule finds for sums: λ or an error, and its warnings, which are not yet issued.

    Attributes
    ----------
    covariance : Covariance
    answer : Chosen or AdvisedValueError
    told : list of Warning
    """

    covariance: Covariance
    answer: Chosen | AdvisedValueError
    told: list[Warning]

    @classmethod
    def of(
        cls,
        covariance: Covariance,
        regularizer: float | Rule,
        penalty: Penalty,
        loss: Loss,
        batches: Iterable[Batch],
    ) -> Found:
        """Choose λ as `choose`."""
        with held(Warning) as told:
            try:
                return cls(covariance, choose(covariance, regularizer, penalty, loss, batches), told)
            except AdvisedValueError as error:
                return cls(covariance, error, told)

    @property
    def is_hidden(self) -> bool:
        """Whether rounding of sums hides λ that may be better than the one found, or every λ."""
        at_edge = (isinstance(one, UnresolvedEvidenceWarning) and one.advice is not ABOVE for one in self.told)
        return isinstance(self.answer, AdvisedValueError) or any(at_edge)

    def chosen(self) -> Chosen:
        """Return λ, or raise the error."""
        if isinstance(self.answer, AdvisedValueError):
            raise self.answer
        return self.answer


def is_better(finer: Found, found: Found, penalty: Penalty, loss: Loss, batches: Iterable[Batch]) -> bool:
    """Whether the λ of finer sums predicts structures that are left out as well as that of others.

    Converged reference values have no noise. If structures are few, the evidence may then be
    largest at tiny λ, at which all targets are met, and errors of other structures are larger.
    """
    if isinstance(found.answer, AdvisedValueError) or isinstance(finer.answer, AdvisedValueError):
        return isinstance(found.answer, AdvisedValueError)
    new, old = finer.answer.choice.regularizer, found.answer.choice.regularizer
    if new is None or old is None:
        return new is not None
    path = finer.answer.path
    path = regularizer_path(finer.covariance, [new, old], penalty=penalty) if path is None else path.at([new, old])
    left_out = np.sqrt(path.leave_out(structures_of(each_alone(batches), loss)))
    return bool(left_out[0] <= AS_WELL * left_out[1])


def rows_to_leave_out(kept: TermRows | None, loss: Loss, batches: Iterable[Batch]) -> Iterable[Batch]:
    """Return energies that were kept if there is nothing else in the loss, or all batches."""
    return batches if kept is None or not energies_alone(loss) else [{"energy": kept}]


def energies_alone(loss: Loss) -> bool:
    """Whether a loss has energies, and nothing else."""
    return list(loss.terms) == ["energy"]
