"""Reference energies, forces and virials of structures of ASE, with their weights.

They are read before features are computed, so that missing or invalid values are found before the
long computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator

from rigidities.exceptions import Advice, AdvisedValueError
from rigidities.loss.terms import Loss, Term
from rigidities.structures.species import VOIGT

if TYPE_CHECKING:
    from numpy.typing import NDArray

SINGULAR = {"energy": "energy", "forces": "force", "virial": "virial"}
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
    """Read the targets of each term; raise if one is missing and the term does not skip it."""
    found, absent = _collect(structures, loss)
    for name, term in loss.terms.items():
        _check_present(name, term, absent[name], found[name])
    return found


def read_known_reference(structures: Iterable[Any], loss: Loss) -> dict[str, Reference]:
    """Read the targets of the terms of the loss that at least one structure has."""
    found, absent = _collect(structures, loss)
    return {name: reference for name, reference in found.items() if len(absent[name]) < len(reference.values)}


def _collect(structures: Iterable[Any], loss: Loss) -> tuple[dict[str, Reference], dict[str, list[int]]]:
    """Return targets and weights by term, and the indices of the structures that have none."""
    found = {name: Reference([], []) for name in loss.terms}
    absent: dict[str, list[int]] = {name: [] for name in loss.terms}
    for index, atoms in enumerate(structures):
        if not isinstance(atoms, ase.Atoms):
            kind = type(atoms).__name__
            raise TypeError(f"structure {index} is a {kind}: targets are read from ase.Atoms; or pass targets=False")
        held = _held(atoms) if any(term.target is None for term in loss.terms.values()) else {}
        for name, term in loss.terms.items():
            values = _READERS[name](atoms, held, term.target, f"structure {index}")
            weights = np.ones(_n_targets(name, atoms))
            if values is None:
                absent[name].append(index)
                values = np.full(len(weights), np.nan)
            else:
                _check_finite(values, name, term, index)
                _weigh(weights, atoms, name, term, index)
            found[name].values.append(values)
            found[name].weights.append(weights)
    return found, absent


def _check_present(name: str, term: Term, absent: Sequence[int], reference: Reference) -> None:
    what = PLURAL[name]
    if absent and term.missing == "refuse":
        first = ", ".join(map(str, absent[:3])) + (", …" if len(absent) > 3 else "")
        where = "attached by a calculator" if term.target is None else f"under the name {term.target!r}"
        some = "1 structure has" if len(absent) == 1 else f"{len(absent)} structures have"
        raise AdvisedValueError(
            f"{name} weight is {term.weight:g} but {some} no {what}: number {first} of {len(reference.values)}. They "
            f"are expected {where}",
            Advice.LABEL_OR_DROP_TERM,
            term=name,
        )
    if reference.values and reference.n_missing == sum(map(len, reference.values)):
        fault = f"{name} weight is {term.weight:g} but no structure has {what}"
        raise AdvisedValueError(fault, Advice.DROP_TERM, term=name)


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


def _energy(atoms: Any, held: Mapping[str, Any], target: str | None, where: str) -> NDArray[np.float64] | None:
    value = held.get("energy") if target is None else atoms.info.get(target)
    return None if value is None else _shaped(value, (), f"{where}: the energy").reshape(1)


def _forces(atoms: Any, held: Mapping[str, Any], target: str | None, where: str) -> NDArray[np.float64] | None:
    value = held.get("forces") if target is None else atoms.arrays.get(target)
    return None if value is None else _shaped(value, (len(atoms), 3), f"{where}: forces").reshape(-1)


def _virial(atoms: Any, held: Mapping[str, Any], target: str | None, where: str) -> NDArray[np.float64] | None:
    """−∂E/∂ε = −V·stress, in ASE's Voigt order."""
    if target is not None:
        value = atoms.info.get(target)
        return None if value is None else _voigt(value, f"{where}: the virial")
    stress = held.get("stress")
    if stress is None:
        return None
    volume = abs(np.linalg.det(np.array(atoms.cell)))
    if volume == 0.0:
        raise ValueError(f"{where} has a stress but its cell has no volume: set the cell, or give the virial by name")
    return np.asarray(-volume * _voigt(stress, f"{where}: the stress"))


_READERS = {"energy": _energy, "forces": _forces, "virial": _virial}


def _voigt(value: Any, what: str) -> NDArray[np.float64]:
    """Return a symmetric tensor as six numbers, from six, nine or 3 × 3."""
    array = np.asarray(value)
    if array.shape == (6,):
        return _shaped(array, (6,), what)
    tensor = _shaped(array.reshape(3, 3) if array.shape == (9,) else array, (3, 3), what)
    return np.array([0.5 * (tensor[i, j] + tensor[j, i]) for i, j in VOIGT])


def _held(atoms: Any) -> Mapping[str, Any]:
    """Return the results that the calculator has for this structure; nothing is computed."""
    calculator = atoms.calc
    if isinstance(atoms.calc, Calculator):  # compares the structures once: this takes most of the time
        return {} if calculator.check_state(atoms) else calculator.results
    held = {}
    for name in () if calculator is None else ("energy", "forces", "stress"):
        with suppress(NotImplementedError):  # the calculator lacks the property
            held[name] = calculator.get_property(name, atoms, allow_calculation=False)
    return held


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


def _weigh(weights: NDArray[np.float64], atoms: Any, name: str, term: Term, index: int) -> None:
    """Multiply `weights` by the weight of the structure and by those of its atoms."""
    if term.weights is None:
        return
    what = f"structure {index}: the {name} weight {term.weights!r}"
    of_atoms = name == "forces" and term.weights in atoms.arrays
    if term.weights not in atoms.info and not of_atoms:
        place = "info or arrays" if name == "forces" else "info"
        raise ValueError(f"{what} is not in its {place}: give every structure one, or leave weights out of the term")
    if term.weights in atoms.info:
        weights *= _shaped(atoms.info[term.weights], (), what)
    if of_atoms:
        weights *= np.repeat(_shaped(atoms.arrays[term.weights], (len(atoms),), what), 3)
    if not (np.isfinite(weights).all() and weights.min() >= 0):
        bad = weights[~(np.isfinite(weights) & (weights >= 0))][0]
        raise ValueError(f"{what} is {bad}: expected finite numbers from 0")
