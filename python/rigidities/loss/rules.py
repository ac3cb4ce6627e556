"""The rules that choose λ of a loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rigidities.covariance import Covariance
from rigidities.loss.rows import Batch, TermRows, join_rows
from rigidities.loss.structures import structures_of
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


def rows_to_leave_out(kept: TermRows | None, loss: Loss, batches: Iterable[Batch]) -> Iterable[Batch]:
    """Return energies that were kept if there is nothing else in the loss, or all batches."""
    return batches if kept is None or not energies_alone(loss) else [{"energy": kept}]


def energies_alone(loss: Loss) -> bool:
    """Whether a loss has energies, and nothing else."""
    return list(loss.terms) == ["energy"]
