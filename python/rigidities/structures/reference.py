"""Reference energies, forces and virials of structures of ASE, with their weights.

They are read before features are computed, so that missing or invalid values are found before the
long computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator

from rigidities.exceptions import Advice, AdvisedValueError
from rigidities.loss.terms import Loss, Term
from rigidities.runtime.cached import cached_property
from rigidities.structures.label_names import Kind, as_entries, label_names, other_names
from rigidities.structures.species import VOIGT

if TYPE_CHECKING:
    from numpy.typing import NDArray

SINGULAR = {"energy": "energy", "forces": "force", "virial": "virial"}
_KINDS: dict[str, Kind] = {"energy": "energy", "forces": "forces", "virial": "virial"}
PLURAL = {"energy": "energies", "forces": "forces", "virial": "virials"}


@dataclass(frozen=True, eq=False)
class Reference:
    """Reference values of one term: its targets, one array for each structure.

    Parameters
    ----------
    values : list of ndarray of shape (n_targets,)
        1 energy, 3·n_atoms force components, 6 components of a virial; NaN where there is none.
    weights : list of ndarray of shape (n_targets,)
        Weights w that the structures and atoms carry.
    """

    values: list[NDArray[np.float64]]
    weights: list[NDArray[np.float64]]

    @property
    def n_missing(self) -> int:
        """Number of missing targets."""
        return sum(int(np.isnan(values).sum()) for values in self.values)


def read_reference(structures: Iterable[Any], loss: Loss) -> dict[str, Reference]:
    """Read the targets of each term; raise if one is missing and the term does not skip it.

    Raises
    ------
    TypeError, ValueError
        If a target or weight is not of the expected type, shape or size, if a target is missing, or
        if no structure has the weights that a term names.
    """
    found = _collect(structures, loss)
    _check_present(found)
    for name, labels in found.items():
        if labels.term.weights is not None and not labels.n_weighted:
            _refuse_without_weights(name, labels)
    return {name: labels.reference for name, labels in found.items()}


def read_known_reference(structures: Iterable[Any], loss: Loss) -> dict[str, Reference]:
    """Read the targets of the terms of the loss that at least one structure has."""
    return {name: labels.reference for name, labels in _collect(structures, loss).items() if not labels.is_empty}


@dataclass(eq=False)
class _Labels:
    """Targets and weights of one term, and what was missing."""

    term: Term
    reference: Reference
    absent: list[int]
    n_weighted: int = 0
    example: Any = None
    """The first structure without a target; without one of those, the first structure."""

    @property
    def is_empty(self) -> bool:
        """Whether no structure has a target."""
        return self.reference.n_missing == sum(map(len, self.reference.values))


def _collect(structures: Iterable[Any], loss: Loss) -> dict[str, _Labels]:
    found = {name: _Labels(term, Reference([], []), []) for name, term in loss.terms.items()}
    for index, atoms in enumerate(structures):
        if not isinstance(atoms, ase.Atoms):
            kind = type(atoms).__name__
            raise TypeError(f"structure {index} is a {kind}: targets are read from ase.Atoms; or pass targets=False")
        attached = Attached(atoms)
        for name, labels in found.items():
            _add(labels, name, atoms, attached, index)
    return found


def _add(labels: _Labels, name: str, atoms: Any, attached: Attached, index: int) -> None:
    """Read the targets and weights of one term of one structure."""
    values = _READERS[name](atoms, attached, labels.term, f"structure {index}")
    weights = np.ones(_n_targets(name, atoms))
    if index == 0 or (values is None and not labels.absent):
        labels.example = atoms
    if values is None:
        labels.absent.append(index)
        values = np.full(len(weights), np.nan)
    else:
        _check_finite(values, name, labels.term, index)
        labels.n_weighted += _weigh(weights, atoms, name, labels.term, index)
    labels.reference.values.append(values)
    labels.reference.weights.append(weights)


# what is missing ----------------------------------------------------------------------------------


def _check_present(found: Mapping[str, _Labels]) -> None:
    """Raise if targets are missing; the message says which names there are."""
    lacking = {name: labels for name, labels in found.items() if labels.reference.values and _lacks(labels)}
    if not lacking:
        return
    name, labels = next(iter(lacking.items()))
    there = {
        other: label_names(entry.example, Attached(entry.example).results, _KINDS[other], _wanted(entry.term))
        for other, entry in lacking.items()
    }
    fault = _fault(name, labels, [each for names in there.values() for each in names])
    if labels.is_empty and there[name]:
        chosen = {other: names[0] for other, names in there.items() if names and lacking[other].is_empty}
        raise AdvisedValueError(fault, Advice.NAME_LABELS, labels=as_entries(chosen))
    refused = labels.term.missing == "refuse"
    raise AdvisedValueError(fault, Advice.LABEL_OR_DROP_TERM if refused else Advice.DROP_TERM, term=name)


def _lacks(labels: _Labels) -> bool:
    return labels.is_empty or bool(labels.absent and labels.term.missing == "refuse")


def _wanted(term: Term) -> str | None:
    return term.stress if term.target is None else term.target


def _fault(name: str, labels: _Labels, there: list[str]) -> str:
    """Say what is missing, where it was expected, and which names there are instead."""
    term, absent, what = labels.term, labels.absent, PLURAL[name]
    wanted = _wanted(term)
    where = "attached by a calculator" if wanted is None else f"under the name {wanted!r}"
    some = "1 structure has" if len(absent) == 1 else f"{len(absent)} structures have"
    first = ", ".join(map(str, absent[:3])) + (", …" if len(absent) > 3 else "")
    lack = f"{some} no {what}: number {first} of {len(labels.reference.values)}. They are expected {where}"
    if term.missing == "skip":
        lack = f"no structure has {what} {where}"
    if not there:
        others = other_names(labels.example, _KINDS[name])
        carried = f". There are only {', '.join(others)}" if others and labels.is_empty else ""
    else:
        carried = f". Structure {absent[0] if absent else 0} carries {', '.join(there)}"
    return f"{name} weight is {term.weight:g} but {lack}{carried}"


def _refuse_without_weights(name: str, labels: _Labels) -> None:
    there = label_names(labels.example, {}, "weight", labels.term.weights)
    carried = f"; structure 0 carries {', '.join(there)}" if there else ""
    place = "info or arrays" if name == "forces" else "info"
    raise ValueError(
        f"no structure has the {SINGULAR[name]} weight {labels.term.weights!r} in its {place}: expected it in at least "
        f"one, the others count 1{carried}"
    )


def _check_finite(values: NDArray[np.float64], name: str, term: Term, index: int) -> None:
    """Raise if a target is infinite, or if it is NaN and the term does not skip it."""
    bad = ~np.isfinite(values) if term.missing == "refuse" else np.isinf(values)
    if not bad.any():
        return
    target = int(np.argmax(bad))
    place = {
        "energy": "",
        "forces": f" on atom {target // 3}, component {'xyz'[target % 3]},",
        "virial": f", component {('xx', 'yy', 'zz', 'yz', 'xz', 'xy')[target % 6]},",
    }[name]
    raise AdvisedValueError(
        f"structure {index}: the {SINGULAR[name]}{place} is {values[target]}: expected a finite number",
        Advice.SKIP_UNLABELLED if np.isnan(values[target]) else Advice.CORRECT_OR_DROP,
    )


def _n_targets(name: str, atoms: Any) -> int:
    return {"energy": 1, "forces": 3 * len(atoms), "virial": 6}[name]


# targets ------------------------------------------------------------------------------------------


def _energy(atoms: Any, attached: Attached, term: Term, where: str) -> NDArray[np.float64] | None:
    value = attached.get("energy") if term.target is None else _named(term.target, atoms.info, attached)
    if np.shape(value) == (1,):
        value = value[0]
    return None if value is None else _shaped(value, (), f"{where}: the energy").reshape(1)


def _forces(atoms: Any, attached: Attached, term: Term, where: str) -> NDArray[np.float64] | None:
    value = attached.get("forces") if term.target is None else _named(term.target, atoms.arrays, attached)
    return None if value is None else _shaped(value, (len(atoms), 3), f"{where}: forces").reshape(-1)


def _virial(atoms: Any, attached: Attached, term: Term, where: str) -> NDArray[np.float64] | None:
    """−∂E/∂ε = −V·stress, in ASE's Voigt order."""
    if term.target is not None:
        value = _named(term.target, atoms.info, attached)
        return None if value is None else _voigt(value, f"{where}: the virial")
    stress = attached.get("stress") if term.stress is None else _named(term.stress, atoms.info, attached)
    if stress is None:
        return None
    volume = volume_of(atoms)
    if volume == 0.0:
        raise ValueError(f"{where} has a stress but its cell has no volume: set the cell, or give the virial by name")
    return np.asarray(-volume * _voigt(stress, f"{where}: the stress"))


def volume_of(atoms: Any) -> float:
    """Return the volume of the cell, in Å³; 0 without a cell."""
    return float(abs(np.linalg.det(np.array(atoms.cell))))


def _named(name: str, entries: Mapping[str, Any], attached: Attached) -> Any:
    """Return the entry of this name, or the calculator's result: readers move some names there."""
    value = entries.get(name)
    return attached.get(name) if value is None else value


_READERS = {"energy": _energy, "forces": _forces, "virial": _virial}


def _voigt(value: Any, what: str) -> NDArray[np.float64]:
    """Return a symmetric tensor as six numbers, from six, nine or 3 × 3."""
    array = np.asarray(value)
    if array.shape == (6,):
        return _shaped(array, (6,), what)
    tensor = _shaped(array.reshape(3, 3) if array.shape == (9,) else array, (3, 3), what)
    return np.array([0.5 * (tensor[i, j] + tensor[j, i]) for i, j in VOIGT])


class Attached:
    """Results that the calculator of a structure has for it; nothing is computed."""

    def __init__(self, atoms: Any) -> None:
        self._atoms = atoms

    @cached_property
    def results(self) -> Mapping[str, Any]:
        """The results by name."""
        calculator: Any = self._atoms.calc
        if isinstance(self._atoms.calc, Calculator):  # compares the structures once: this takes most of the time
            return {} if calculator.check_state(self._atoms) else calculator.results
        held = {}
        for name in () if calculator is None else ("energy", "free_energy", "forces", "stress"):
            with suppress(NotImplementedError):  # the calculator lacks the property
                held[name] = calculator.get_property(name, self._atoms, allow_calculation=False)
        return held

    def get(self, name: str) -> Any:
        """Return the result of this name, or None."""
        return self.results.get(name)


def _shaped(value: Any, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    try:
        array = np.array(value, dtype=np.float64)  # a copy: baselines are subtracted from it in place
    except (TypeError, ValueError):
        raise TypeError(f"{what} is {value!r}: expected numbers") from None
    if array.shape != shape:
        expected = "a number" if shape == () else f"shape {shape}"
        raise ValueError(f"{what} has shape {array.shape}: expected {expected}")
    return array


# weights ------------------------------------------------------------------------------------------


def _weigh(weights: NDArray[np.float64], atoms: Any, name: str, term: Term, index: int) -> bool:
    """Multiply `weights` by those of the structure and of its atoms; return whether it has any."""
    if term.weights is None:
        return False
    what = f"structure {index}: the {SINGULAR[name]} weight {term.weights!r}"
    of_atoms = name == "forces" and term.weights in atoms.arrays
    of_structure = term.weights in atoms.info
    if of_structure:
        weights *= _shaped(atoms.info[term.weights], (), what)
    if of_atoms:
        weights *= np.repeat(_shaped(atoms.arrays[term.weights], (len(atoms),), what), 3)
    if not (np.isfinite(weights).all() and weights.min() >= 0):
        bad = weights[~(np.isfinite(weights) & (weights >= 0))][0]
        raise ValueError(f"{what} is {bad}: expected finite numbers from 0")
    return of_structure or of_atoms
