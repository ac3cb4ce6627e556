"""The model of a report: a fit to the labels of the training set, as `rigidities fit` makes it.

PR depends on the loss and on λ. With the loss and the rule of `fit`, `report` and `score` give the
same PR for the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rigidities.exceptions import InputError, blame
from rigidities.loss.terms import Loss, Term

if TYPE_CHECKING:
    from rigidities.loss.minimum import Rule
    from rigidities.model.linear import LinearModel
    from rigidities.sources.source import Source
    from rigidities.validation import Reduction

WEIGHTS = {"energy": 1000.0, "forces": 1.0}
"""Weights of the terms, unless options of `rigidities fit` say otherwise."""


def labels_of(source: Source, keys: dict[str, str | None]) -> dict[str, Term]:
    """Return the terms, energy and forces, whose labels all structures of a training set have.

    Parameters
    ----------
    source : Source
    keys : dict of str to str or None
        Names of the labels, by term; None for those of the calculator.

    Raises
    ------
    InputError
        If a label that was named is missing, or one has an invalid value.
    """
    if source.frames is None:
        return {}
    from rigidities.structures.reference import read_known_reference, read_reference

    terms = {name: Term(weight, missing="skip", target=keys.get(name)) for name, weight in WEIGHTS.items()}
    named = {name: Term(target=key) for name, key in keys.items() if key is not None}
    with blame(source.name):
        if named:
            read_reference(source.frames, Loss(**named))
        known = read_known_reference(source.frames, Loss(**terms))
    return {name: terms[name] for name, reference in known.items() if not reference.n_missing}


def own_model(
    train: Source, terms: Mapping[str, Term], regularizer: float | Rule, reduction: Reduction
) -> LinearModel | None:
    """Fit the energies of a training set, and its forces if all structures have them.

    Parameters
    ----------
    train : Source
    terms : mapping of str to Term
        Labels that all structures have, from `labels_of`.
    regularizer : float or "auto", "evidence", "gcv", "loo"
        As for `LinearModel.fit`.
    reduction : {"mean", "sum"}
        Fit energies per atom, or total energies.

    Returns
    -------
    LinearModel or None
        None if not all structures have an energy: there is nothing to fit.

    Raises
    ------
    InputError
        If a rule is asked for that needs energies and there are none.
    """
    from dataclasses import replace

    from rigidities.model.linear import LinearModel
    from rigidities.sources.atoms import Structures

    if "energy" not in terms or not isinstance(train, Structures):
        if isinstance(regularizer, str) and regularizer != "auto":
            raise InputError(
                f"--regularizer {regularizer}: needs the energy of each structure, which {train.name} lacks: name it "
                "by --energy-key, or pass a number, or auto"
            )
        return None
    energy = replace(terms["energy"], per_atom=reduction == "mean")
    with blame(train.name):
        return LinearModel.fit(
            train.frames,
            train.soap,
            Loss(**{**terms, "energy": energy}),
            regularizer=regularizer,
            progress=train.progress,
        )
