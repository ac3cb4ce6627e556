"""Overlap of sets of structures under a model: how much of the energies of one others determine.

Rows of all sets are taken in coordinates in which the model's prior is the identity, so that each
pair is compared at the same λΛ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import InputError, UndeterminedWarning, blame, held
from rigidities.planning.overlap import Overlap, PairwiseOverlap, overlap, pairwise_overlap
from rigidities.prior import PriorRoot
from rigidities.rows import reduce_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rigidities.model.linear import LinearModel
    from rigidities.sources.source import Source
    from rigidities.validation import Reduction

LETTERS = "ABCDEFGHIJK"
"""Names of the columns: more sets do not fit in 100 columns."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Sets of structures, compared with a model's data and with each other.

    Attributes
    ----------
    names : list of str
    n_structures : list of int
    by_model : list of Overlap
        What the model's data leave of each set.
    pairs : PairwiseOverlap
        What the energies of each set leave of each.
    regularizer : float
        λ of the model.
    """

    names: list[str]
    n_structures: list[int]
    by_model: list[Overlap]
    pairs: PairwiseOverlap
    regularizer: float


def compare_sets(model: LinearModel, sources: Sequence[Source], name: str) -> Sets:
    """Compare the energies of sets, with their weight in the loss of a model.

    Parameters
    ----------
    model : LinearModel
    sources : sequence of Source
        With the model's columns.
    name : str
        Of the model's file.

    Raises
    ------
    InputError
        If there are more sets than letters, or the model has no prior to compare with.
    """
    if len(sources) > len(LETTERS):
        raise InputError(f"{len(sources)} sets are given: expected at most {len(LETTERS)}")
    with blame(name):
        root = PriorRoot.of(model.hessian._prior)
    by_model, whitened = [], {}
    for letter, source in zip(LETTERS, sources, strict=False):
        with blame(source.name):
            rows = _energy_rows(model, source)
            with held(UndeterminedWarning):  # which the pairs say again, with the letter
                by_model.append(overlap(model.hessian, rows))
            whitened[letter] = root.whiten(rows)
    return Sets(
        [source.name for source in sources],
        [len(source.sizes) for source in sources],
        by_model,
        pairwise_overlap(whitened, 1.0),
        model.hessian.regularizer,
    )


def _energy_rows(model: LinearModel, source: Source) -> NDArray[np.float64]:
    """Rows √w f of the energies of structures as in the loss; w is 1 in a loss without energies."""
    term = model.loss.energy
    reduction: Reduction = "mean" if term is None or term.per_atom else "sum"
    weight = 1.0 if term is None else term.weight
    parts = [reduce_rows(rows, reduction=reduction)[1] for rows in source.batches()]
    return np.asarray(np.sqrt(weight) * np.concatenate(parts))


def overlap_table(sets: Sets, model: str) -> str:
    """Return the comparison as text of at most 100 columns, unless a name is longer."""
    letters = sets.pairs.names
    counted = f"{len(letters)} set{'s' * (len(letters) != 1)}"
    lines = [
        f"Energies of {counted} of structures, λ = {sets.regularizer:.3g} of {model}",
        "",
        f"{'set':<60}{'structures':>12}{'directions':>12}",
    ]
    for letter, name, n, found in zip(letters, sets.names, sets.n_structures, sets.by_model, strict=True):
        lines.append(f"{letter}  {name:<57}{n:>12,}{found.dimension:>12.1f}")
    lines += ["", f"{'part left open, of':<22}" + "".join(f"{letter:>7}" for letter in letters)]
    lines.append(f"{'by data of the model':<22}" + "".join(f"{found.remaining:>7.3f}" for found in sets.by_model))
    for letter, row in zip(letters, sets.pairs.remaining, strict=True):
        lines.append(f"{'by energies of ' + letter:<22}" + "".join(f"{part:>7.3f}" for part in row))
    lines += [
        "",
        "directions: how many the energies of a set alone would determine. Part left open: mean share of",
        "the prior variance along them; 0: determined, 1: nothing is known. On the diagonal, what a set",
        "leaves of itself.",
    ]
    return "\n".join(lines)
