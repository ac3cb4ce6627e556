"""The terms of a loss: their weights, whether they are per atom, and Huber thresholds.

Rows, fit and predictions use the same immutable `Loss`, so that they are consistent. Its formula is
in `rigidities.loss`.

P. J. Huber, Ann. Math. Statist. 35 (1964) 73.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from rigidities.validation import as_number

NAMES = ("energy", "forces", "virial")
"""The terms that a loss can have, in the order in which they are summed."""


@dataclass(frozen=True)
class Term:
    """One term of a loss: the squares (or Huber's function) of one kind of residual.

    Parameters
    ----------
    weight : float, default 1.0
        Weight of the whole term, ≥ 0. It multiplies the term's sums when terms are combined,
        unsquared, and can be changed without a new pass over the data (`LossSums.combined`). With
        weight 0 the rows of the term are made but have no effect.
    per_atom : bool, default False
        Divide row and target by the structure's number of atoms. Common for energies and virials.
        Weights and the Huber threshold then refer to eV/atom. Not allowed for forces.
    huber : float, optional
        Threshold δ > 0 in the unit of the residual: eV (with `per_atom`, eV/atom) for energies and
        virials, eV/Å for each force component. Beyond it the loss grows as w δ(|r| − δ/2) instead
        of ½ w r². None: squares.
    missing : {"refuse", "skip"}
        Structures that lack this target, or whose target is NaN: refuse them, or skip (drop and
        count) those target rows, for sets that are labelled in part.
    target : str, optional
        Name under which structures carry the target: in ``info`` for an energy or a virial (−∂E/∂ε
        in eV, as 3 × 3 or 9 numbers, or as 6 in ASE's Voigt order xx, yy, zz, yz, xz, xy), in
        ``arrays`` for forces. Where they have no such entry, the result of that name which a
        calculator attached, e.g. "free_energy". None: the calculator's energy, forces and stress.
    weights : str, optional
        Name under which structures carry their own weights w: in ``info`` one number for the
        structure, and for forces in ``arrays`` one per atom; their product where both exist. A
        structure that has none counts 1, but at least one must have it. None: all 1.
    stress : str, optional
        For virials, in place of `target`: name under which structures carry a stress in eV/Å³, with
        ASE's sign (positive under tension), in the same three forms. The virial is −volume ·
        stress, as it is of the calculator's stress.

    Raises
    ------
    ValueError, TypeError
        If a weight is negative or not finite, a threshold is not positive, both `target` and
        `stress` are given, or a field has another type.
    """

    weight: float = 1.0
    per_atom: bool = False
    huber: float | None = None
    missing: Literal["refuse", "skip"] = "refuse"
    target: str | None = None
    weights: str | None = None
    stress: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", as_number(self.weight, "weight", "a number from 0"))
        if self.weight < 0:
            raise ValueError(f"weight is {self.weight:g}: expected a number from 0; leave the term out with None")
        if self.huber is not None:
            object.__setattr__(self, "huber", as_number(self.huber, "huber", "a positive threshold, or None"))
            if self.huber <= 0:
                raise ValueError(f"huber is {self.huber:g}: expected a positive threshold, or None for squares")
        if not isinstance(self.per_atom, bool | np.bool_):
            raise TypeError(f"per_atom is {self.per_atom!r}: expected True or False")
        object.__setattr__(self, "per_atom", bool(self.per_atom))
        if not (isinstance(self.missing, str) and self.missing in ("refuse", "skip")):
            raise ValueError(f"missing is {self.missing!r}: expected 'refuse' or 'skip'")
        for field in ("target", "weights", "stress"):
            _check_name(getattr(self, field), field)
        if self.target is not None and self.stress is not None:
            raise ValueError(
                f"target is {self.target!r} and stress {self.stress!r}: give one, the virial or the stress"
            )

    def same_rows(self, other: Term) -> bool:
        """Whether the other term has the same rows: all but `weight` and `huber` agree."""
        return replace(self, weight=1.0, huber=None) == replace(other, weight=1.0, huber=None)


@dataclass(frozen=True)
class Loss:
    """The terms of a loss. A term that is None is not part of it.

    Parameters
    ----------
    energy : Term, optional
        Energies of structures; one target each, in eV (with ``per_atom``, eV/atom).
    forces : Term, optional
        Force components −∂E/∂R, three for each atom, in eV/Å.
    virial : Term, optional
        Virials −∂E/∂ε = −volume · stress, six for each structure in ASE's Voigt order, in eV.

    Raises
    ------
    ValueError, TypeError
        If there is no term, forces are per atom, or a term is not a `Term`.

    Examples
    --------
    >>> import rigidities as rg
    >>> loss = rg.Loss(energy=rg.Term(weight=10.0, per_atom=True), forces=rg.Term(weight=0.1))
    >>> list(loss.terms)
    ['energy', 'forces']
    >>> loss.with_weights(forces=0.2).forces.weight
    0.2
    """

    energy: Term | None = None
    forces: Term | None = None
    virial: Term | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            term = getattr(self, field.name)
            if not (term is None or isinstance(term, Term)):
                raise TypeError(f"{field.name} is {term!r}: expected a Term or None, e.g. Term(weight=0.1)")
        if not self.terms:
            raise ValueError("the loss has no term: give at least one, e.g. Loss(energy=Term())")
        if self.forces is not None and self.forces.per_atom:
            raise ValueError("forces are per atom already: leave per_atom to energies and virials")
        for name in ("energy", "forces"):
            term = getattr(self, name)
            if term is not None and term.stress is not None:
                raise ValueError(f"{name} has stress={term.stress!r}: only the virial can be made of a stress")

    @property
    def terms(self) -> dict[str, Term]:
        """The terms by name, without those that are None."""
        named = {name: getattr(self, name) for name in NAMES}
        return {name: term for name, term in named.items() if term is not None}

    def with_weights(self, **weights: float) -> Loss:
        """Return this loss with other term weights.

        Parameters
        ----------
        **weights : float
            New weights by the name of the term; the others stay.

        Returns
        -------
        Loss

        Raises
        ------
        ValueError
            If the loss lacks a term, or as `Term`.
        """
        terms = self.terms
        for name in weights:
            if name not in terms:
                raise ValueError(f"there is no term {name!r} to weigh: the loss has {', '.join(terms)}")
        return Loss(**(terms | {name: replace(terms[name], weight=weight) for name, weight in weights.items()}))


def _check_name(value: object, field: str) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise TypeError(f"{field} is {value!r}: expected the name under which structures carry it, or None")


def without_thresholds(loss: Loss) -> Loss:
    """Return the loss with squares in place of Huber's function."""
    return Loss(**{name: replace(term, huber=None) for name, term in loss.terms.items()})
