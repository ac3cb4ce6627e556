"""Baseline: a constant energy for each species, subtracted before a model is fitted.

E₀ = Σ_species count · energy changes energies only; forces and virials do not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.validation import SPECIES_END, as_array, as_atomic_number, as_floats, as_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SAME = 1e-10
"""Relative difference of compositions that is rounding."""

MOST_FITS, SETTLED = 200, 0.01
"""Most re-weighted fits for a Huber threshold, and the change of energies, in thresholds, at which
they end. Forces and the features explain what is left."""


@dataclass(frozen=True, init=False)
class Baseline:
    """Energy of each species, summed over the atoms of a structure.

    It counts as exact: rigidities do not include its variance.

    Parameters
    ----------
    energies : mapping of int to float
        Energy per atom, in eV, by atomic number.
    undetermined : sequence of sequence of float, default ()
        Orthonormal changes of the energies, of shape (n, n_species), that the structures of a fit
        do not notice: all of these are CO₂, say, and a higher energy of C can be balanced by one
        of O.

    Attributes
    ----------
    species : tuple of int
        Atomic numbers, rising.
    energies : tuple of float
        Their energies, in eV per atom.
    undetermined : tuple of tuple of float
        As given.

    Raises
    ------
    ValueError
        If there is no energy, one is not finite, a species is out of range, or `undetermined` has
        another number of columns than there are species.
    TypeError
        If a species is no integer, or an energy is no number.

    Examples
    --------
    >>> import rigidities as rg
    >>> baseline = rg.Baseline({11: -1.0, 17: -2.0})
    >>> baseline.energy([11, 17, 17])
    -5.0
    """

    species: tuple[int, ...]
    energies: tuple[float, ...]
    undetermined: tuple[tuple[float, ...], ...]

    def __init__(self, energies: Mapping[int, float], undetermined: Sequence[Sequence[float]] = ()) -> None:
        if not isinstance(energies, Mapping):
            raise TypeError(f"energies is a {type(energies).__name__}: expected a mapping, e.g. {{14: -5.4}}")
        if not energies:
            raise ValueError("the baseline is empty: expected an energy for each atomic number")
        known = {
            as_atomic_number(number, "a species of the baseline"): as_number(
                energy, f"the baseline of species {number}", "an energy per atom"
            )
            for number, energy in energies.items()
        }
        # a frozen dataclass cannot set its fields in another way
        object.__setattr__(self, "species", tuple(sorted(known)))
        object.__setattr__(self, "energies", tuple(known[number] for number in sorted(known)))
        changes = tuple(tuple(as_number(share, "undetermined", "a number") for share in row) for row in undetermined)
        if any(len(row) != len(known) for row in changes):
            raise ValueError(
                f"undetermined has rows that are not of {len(known)} species, in the order of their numbers"
            )
        object.__setattr__(self, "undetermined", changes)

    @classmethod
    def fit(
        cls, numbers: Sequence[ArrayLike], energies: ArrayLike, *, huber: float | None = None, per_atom: bool = True
    ) -> Baseline:
        """Fit E/n = Σ_species (count/n) · energy by least squares over the structures.

        If the compositions do not determine the energies (as when all structures are NaCl), the
        solution of least norm is taken. All solutions give these compositions the same energies;
        `determines` tells other compositions.

        With a Huber threshold, errors beyond it count in proportion to their size, not to its
        square: one wrong energy does not move the baseline of all others. Energies differ by more
        than a threshold for errors of a model, so it is nearly the least sum of |errors|.

        Parameters
        ----------
        numbers : sequence of array_like of int
            Atomic numbers of each structure.
        energies : array_like of shape (n_structures,)
            Energy of each whole structure, in eV.
        huber : float, optional
            Threshold δ, in eV per atom, or in eV if `per_atom` is False.
        per_atom : bool, default True
            The threshold is that of energies per atom.

        Returns
        -------
        Baseline

        Raises
        ------
        ValueError
            If there is no structure, one has no atoms, or an energy is not finite.
        """
        atoms = [_numbers(entry, f"numbers[{index}]") for index, entry in enumerate(numbers)]
        energies = as_floats(energies, "energies", ndim=1, double=True)
        if len(energies) != len(atoms) or not atoms:
            raise ValueError(f"{len(atoms)} structures, but energies of shape {energies.shape}: expected one each")
        sizes = np.array([len(entry) for entry in atoms])
        if not sizes.all():
            raise ValueError(f"structure {int(np.argmin(sizes))} has no atoms: leave it out")
        if not np.isfinite(energies).all():
            structure = int(np.argmin(np.isfinite(energies)))
            raise ValueError(f"the energy of structure {structure} is {energies[structure]}: expected a finite number")
        species = np.unique(np.concatenate(atoms))
        shares = np.array([(entry[:, None] == species).mean(axis=0) for entry in atoms])
        units = np.ones(len(sizes)) if per_atom else sizes
        solution = _least(shares, energies / sizes, None if huber is None else huber / units)
        return cls(dict(zip(species.tolist(), solution.tolist(), strict=True)), _unnoticed(shares).tolist())

    @property
    def open_species(self) -> tuple[int, ...]:
        """Atomic numbers of the species whose energies are not determined apart."""
        changes = np.reshape(self.undetermined, (-1, len(self.species)))
        noticed = np.abs(changes).max(axis=0, initial=0.0) <= SAME
        return tuple(number for number, is_noticed in zip(self.species, noticed, strict=True) if not is_noticed)

    def determines(self, numbers: ArrayLike) -> bool:
        """Whether the structures of the fit determine the energy of this composition.

        Parameters
        ----------
        numbers : array_like of int of shape (n_atoms,)

        Returns
        -------
        bool
            True for a baseline of energies that were given.

        Examples
        --------
        >>> import rigidities as rg
        >>> baseline = rg.Baseline.fit([[6, 8, 8], [6, 8, 8]], [-30.0, -30.2])
        >>> baseline.determines([8, 6, 8, 8, 6, 8]), baseline.determines([6, 8])
        (True, False)
        """
        counts = self._counts(_numbers(numbers, "numbers"))
        changes = np.reshape(self.undetermined, (-1, len(self.species)))
        return bool(np.linalg.norm(changes @ counts) <= SAME * np.linalg.norm(counts))

    def energy(self, numbers: ArrayLike) -> float:
        """Return the energy, in eV, of atoms with these atomic numbers.

        Parameters
        ----------
        numbers : array_like of int of shape (n_atoms,)

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the baseline has no energy for one of them, or their sum overflows.
        """
        atoms = _numbers(numbers, "numbers")
        counts = self._counts(atoms)
        if counts.sum() != len(atoms):
            unknown = sorted(set(atoms.tolist()).difference(self.species))
            raise ValueError(f"the baseline has no energy for atomic number {', '.join(map(str, unknown))}: add it")
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(counts @ np.array(self.energies))
        if not math.isfinite(total):
            raise ValueError(f"the baseline of {len(atoms)} atoms is {total}: its energies are too large for float64")
        return total

    def _counts(self, atoms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of atoms of each species."""
        return np.asarray((atoms[:, None] == np.array(self.species)).sum(axis=0))


def _unnoticed(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis of changes of energies that no composition notices, (n, S)."""
    _, values, vectors = np.linalg.svd(np.linalg.qr(shares, mode="r"), full_matrices=True)
    return vectors[np.count_nonzero(values > SAME * values[0]) :]


def _least(
    shares: NDArray[np.float64], means: NDArray[np.float64], thresholds: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the energies of least squares, or of Huber's loss, by re-weighted squares."""
    solution = np.linalg.lstsq(shares, means, rcond=None)[0]
    if thresholds is None:
        return np.asarray(solution)
    for _ in range(MOST_FITS):
        before = solution
        root = np.sqrt(thresholds / np.maximum(np.abs(means - shares @ solution), thresholds))
        solution = np.linalg.lstsq(root[:, None] * shares, root * means, rcond=None)[0]
        if np.abs(shares @ (solution - before)).max() <= SETTLED * thresholds.min():
            break
    return np.asarray(solution)


def _numbers(numbers: ArrayLike, name: str) -> NDArray[np.int64]:
    """Return the atomic numbers of a structure."""
    array = as_array(numbers, name)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"{name} is of {array.dtype} and shape {array.shape}: expected atomic numbers, (n_atoms,)")
    if array.size and not (array.min() >= 0 and array.max() < SPECIES_END):
        wrong = array[(array < 0) | (array >= SPECIES_END)][0]
        raise ValueError(f"{name} has the entry {wrong}: expected atomic numbers from 0, below {SPECIES_END}")
    return array.astype(np.int64)
