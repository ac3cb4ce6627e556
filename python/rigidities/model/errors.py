"""Errors of a model for each term, summed batch by batch.

Errors of energies and virials are in eV/atom, also if the loss is not per atom; errors of force
components are in eV/Å.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.loss.rows import join_rows
from rigidities.loss.terms import NAMES, Loss, Term

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rigidities.loss.rows import TermRows
    from rigidities.structures.loss_rows import LossRows
    from rigidities.structures.reference import Reference


@dataclass(frozen=True)
class Errors:
    """Errors of one term: energies and virials in eV/atom, force components in eV/Å.

    Attributes
    ----------
    n : int
        Number of targets.
    rmse, mae : float
        Root mean square and mean absolute value over all targets, each with the same weight. NaN if
        there are no targets.
    """

    n: int
    rmse: float
    mae: float


@dataclass(eq=False)
class Tally:
    """Sums over the residuals of one term."""

    n: int = 0
    squares: float = 0.0
    absolutes: float = 0.0

    def add(self, residuals: NDArray[np.float64]) -> None:
        """Add residuals."""
        if not np.isfinite(residuals).all():
            raise ValueError("an error is not finite: the rows of the descriptor are not finite, or too large")
        self.n += len(residuals)
        self.squares += float(residuals @ residuals)
        self.absolutes += float(np.abs(residuals).sum())

    def errors(self) -> Errors:
        """Return the errors from these sums."""
        n = self.n or math.nan
        return Errors(self.n, math.sqrt(self.squares / n), self.absolutes / n)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model compared with the reference values of structures.

    Attributes
    ----------
    errors : dict of str to Errors
        By the name of the term.
    energies : TermRows, optional
        Rows and targets of the energies, if they were kept.
    """

    errors: dict[str, Errors]
    energies: TermRows | None = None


def evaluate(rows: LossRows, coef: NDArray[np.float64], *, keep_energies: bool = False) -> Evaluation:
    """Compare fᵀθ with the targets of the rows, in one pass."""
    tallies = {name: Tally() for name in rows.loss.terms}
    energies: list[TermRows] = []
    for batch in rows:
        for name, part in batch.items():
            tallies[name].add(part.residuals(coef) * per_atom(name, part, rows.sizes))
        if keep_energies and "energy" in batch:
            energies.append(batch["energy"])
    joined = join_rows(energies, energies[0].term) if energies else None
    return Evaluation({name: tally.errors() for name, tally in tallies.items()}, joined)


def per_atom(name: str, rows: TermRows, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the factors that make residuals of these rows per atom; 1 for forces.

    `sizes` are the numbers of atoms of all structures, to which ``rows.blocks`` refer.
    """
    if name == "forces" or rows.term.per_atom:
        return np.ones(len(rows))
    assert rows.blocks is not None  # LossRows labels its rows
    return np.asarray(1 / sizes[rows.blocks])


def read_to_compare(
    frames: list[Any], loss: Loss, names: Iterable[str] | None
) -> tuple[Loss | None, dict[str, Reference]]:
    """Return a loss for evaluating errors and its reference values, read from structures.

    By default the terms are those that at least one structure has values of; the loss is None if
    there are none. Terms that are named must have values.
    """
    from rigidities.structures.reference import read_known_reference, read_reference

    unweighted = _unweighted(loss, loss.terms if names is None else names)
    if names is not None:
        return unweighted, read_reference(frames, unweighted)
    known = read_known_reference(frames, unweighted)
    return (Loss(**{name: unweighted.terms[name] for name in known}) if known else None), known


def _unweighted(loss: Loss, names: Iterable[str]) -> Loss:
    """Loss for evaluating errors: label names of the fit, unit weights, missing labels skipped."""
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise ValueError(f"terms has {', '.join(map(repr, unknown))}: expected some of {', '.join(NAMES)}")
    known = loss.terms
    terms = {name: known.get(name, Term()) for name in wanted}
    return Loss(**{name: replace(t, weight=1.0, huber=None, missing="skip", weights=None) for name, t in terms.items()})
