"""Rows of the terms of a loss, with their targets, weights and structures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.loss.terms import NAMES, Loss, Term
from rigidities.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class TermRows(Rows):
    """Rows of one term of a loss, one per target: reduced, with their sign, per atom if asked.

    Parameters
    ----------
    values : ndarray of shape (n_targets, n_features)
        Derivatives of the model's energies, forces or virials with respect to its parameters θ.
    feature_space : str, optional
        What the columns mean.
    term : Term
        The term of the loss that the rows belong to.
    weights : ndarray of shape (n_targets,), optional
        Weights w of the targets, excluding the weight of the term. None: all 1.
    targets : ndarray of shape (n_targets,), optional
        Reference energies (less the baseline), forces or virials. None: rows for predictions.
    blocks : ndarray of shape (n_targets,), optional
        Index of each target's structure: the same number in all terms of a batch.
    """

    term: Term
    weights: NDArray[np.float64] | None = None
    targets: NDArray[np.float64] | None = None
    blocks: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.term, Term):
            raise TypeError(f"term is a {type(self.term).__name__}: expected a Term, e.g. Term(weight=10.0)")

    @property
    def known_weights(self) -> NDArray[np.float64]:
        """Weights w of the targets; 1 where none were given."""
        return np.ones(len(self)) if self.weights is None else self.weights

    @property
    def known_targets(self) -> NDArray[np.float64]:
        """Targets; an error where there are none."""
        if self.targets is None:
            raise ValueError("the rows have no targets: there are no residuals")
        return self.targets

    @property
    def weights_in_loss(self) -> NDArray[np.float64]:
        """Weights of the targets times that of the term."""
        return self.term.weight * self.known_weights

    def residuals(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return y − fᵀθ of each target."""
        return np.asarray(self.known_targets - self.values @ coef)


Batch = Mapping[str, TermRows]
"""Rows of some structures, by the name of the term. All rows of a structure are in one batch."""


def loss_of(batch: Batch) -> Loss:
    """Return the loss that the rows of a batch were made for."""
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"a batch is a {type(batch).__name__}: expected a mapping from a term's name to TermRows; pass a single "
            "batch as [batch]"
        )
    unknown = [name for name in batch if name not in NAMES]
    if unknown:
        raise ValueError(f"a batch has rows of {', '.join(map(repr, unknown))}: expected some of {', '.join(NAMES)}")
    for name, rows in batch.items():
        if not isinstance(rows, TermRows):
            raise TypeError(f"the rows of {name} are a {type(rows).__name__}: expected TermRows(values, term=Term())")
    return Loss(**{name: rows.term for name, rows in batch.items()})


def check_loss(loss: object) -> None:
    """Raise if this is no loss."""
    if not isinstance(loss, Loss):
        raise TypeError(f"loss is a {type(loss).__name__}: expected a Loss, e.g. Loss(energy=Term())")


def check_rows(loss: Loss, made_for: Loss) -> None:
    """Raise if `loss` has a term that `made_for` lacks, or one whose rows would change."""
    check_loss(loss)
    terms = made_for.terms
    for name, term in loss.terms.items():
        if name not in terms:
            raise ValueError(f"the loss has a term {name!r}, but rows only of {', '.join(terms)}: make its rows too")
        if not term.same_rows(terms[name]):
            raise ValueError(
                f"the rows of {name} were made for {terms[name]}, but {term} is asked for: "
                "only weight and huber may change; compute the rows again"
            )


READ_ONCE = (
    "a Huber fit, or regularizer 'loo', needs the rows several times, but these can be read only once: pass a list"
)


def read_again(batches: Iterable[Batch], n_batches: int) -> Iterator[Batch]:
    """Yield batches in a further pass over them; raise unless they come as often as before."""
    found = 0
    for batch in batches:
        found += 1
        yield batch
    if found == 0:
        raise ValueError(READ_ONCE)
    if found != n_batches:
        raise ValueError(f"the rows came in {n_batches} batches, then in {found}: pass a list")


def join_rows(parts: Sequence[TermRows], term: Term) -> TermRows:
    """Join batches of one term's rows; `term` gives the weight in the loss.

    Blocks, whose labels may begin anew in each batch, are numbered through. They are None if each
    row is a block of its own.
    """
    values, weights = (np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "known_weights"))
    targets = np.concatenate([part.known_targets for part in parts])
    blocks, n_blocks = [], 0
    for part in parts:
        labels = np.arange(len(part)) if part.blocks is None else np.unique(part.blocks, return_inverse=True)[1]
        blocks.append(n_blocks + labels)
        n_blocks += int(labels.max(initial=-1)) + 1
    return TermRows(
        values,
        feature_space=parts[0].feature_space,
        term=term,
        weights=weights,
        targets=targets,
        blocks=None if n_blocks == len(values) else np.concatenate(blocks),
    )
