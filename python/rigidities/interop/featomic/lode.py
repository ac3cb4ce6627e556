"""`Lode`: long-range features of atoms, the potentials of other atoms. It fulfils `Descriptor`.

SOAP describes an atom by its neighbours within a cutoff. LODE, the long-distance equivariants,
describe it by potentials 1/rᵖ of all atoms of a species, near and far: p = 1 for charges, 6 for
dispersion. `Lode` is their part of l = 0, of body order 2: for charges that the species determine,
the energy is linear in it. `rigidities.structures.joined.Joined` puts it beside a `Soap`.

``Lode(..., inner_cutoff=None)`` has the values of featomic's `LodeSphericalExpansion`. Featomic has
gradients with respect to positions, for each pair of atoms, but none with respect to the cell, and
no open structures. `lode_sums` has them all, in closed form. Grisafi, Ceriotti, J. Chem. Phys. 151
(2019) 204105.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, count
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import ase
import numpy as np

from rigidities.exceptions import Advice
from rigidities.interop.featomic.limits import LARGEST_INDEX
from rigidities.interop.featomic.lode_sums import (
    AT_ONCE,
    MOST_WAVES,
    WIDEST,
    CutoffFunction,
    Neighbours,
    PotentialSums,
    all_pairs,
    n_lattice_points,
)
from rigidities.interop.featomic.neighbours import Lists
from rigidities.interop.featomic.power_law import PowerLaw
from rigidities.interop.featomic.purified import pairs_of
from rigidities.interop.featomic.systems import system_of, types_of
from rigidities.runtime import memory
from rigidities.runtime.aside import aside
from rigidities.structures.species import atomic_numbers, check_species, symbols
from rigidities.validation import as_integer, as_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORTEST = 0.1
"""Å. Smallest smearing and radius: the number of k grows as 1/length³."""


@dataclass(frozen=True, init=False, repr=False)
class Lode:
    """Long-range features: potentials of the other atoms, by species. Immutable and hashable.

    Atom i of species c has, for each species a, Σ_j g_n(r_ij) over the atoms j of a: the potential
    1/rᵖ of Gaussian-smeared sources, averaged by each of N radial functions around atom i. It is in
    the column of the pair {c, a}: c at a and a at c have the same energy, so no data tell their
    weights apart. Columns are ordered by both species, the first at most the second, and n. S
    species have N·S(S + 1)/2 columns. In those of pairs of other species a row is zero.

    With an inner cutoff, only atoms beyond it count: an exterior potential (Loche et al., J. Chem.
    Phys. 162 (2025) 142501). What neighbours within it add is subtracted, weighted as SOAP with the
    same `cutoff` and `smoothing` weights them. The components of a model of both are then its short
    and its long range. Without an inner cutoff, both components can take the same part of the
    energy, and the prior shares it between them (docs/ranges.md).

    A structure is periodic in three directions, or open. Periodic sums of p ≤ 3 have a uniform
    background, as in an Ewald sum: a model of charges that sum up to zero does not depend on it.

    Parameters
    ----------
    species : int, str, or iterable of them
        Atomic numbers or chemical symbols of all elements in the training *and* the test set.
    exponent : int, default 1
        p, from 1 to 9.
    smearing : float, default 1.0
        Standard deviation in Å of the Gaussian that smears each source.
    radius : float, default 1.0
        Extent in Å of the radial functions (Gaussian-type orbitals). It should be well below the
        inner cutoff.
    max_radial : int, default 0
        Largest index n of the radial functions: 0 makes one, a Gaussian. More functions tell how a
        potential changes with the distance from the atom; that of far charges (p = 1) does not.
    inner_cutoff : float or None, default 5.0
        Atoms nearer than this, in Å, are left out. None: all count, the atom itself, too.
    smoothing : float, default 0.5
        Width in Å of the range before the inner cutoff in which the weight of an atom rises from 0.
    k_cutoff : float, optional
        Largest wave vector in 1/Å; the time grows as its cube. By default terms are left out from
        10⁻⁸ of the largest on: 6/√(σ² + R²) for one radial function, 6/σ for more.

    Attributes
    ----------
    species : tuple of int
        Rising, each once.
    law : PowerLaw
        Exponent, smearing, radius, max_radial and k_cutoff.
    cutoff_function : CutoffFunction or None
        Inner cutoff and smoothing.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from rigidities.interop.featomic import Lode
    >>> lode = Lode(["Na", "Cl"])
    >>> [rows] = lode.atom_rows([[bulk("NaCl", "rocksalt", a=5.64)]])
    >>> rows.shape
    (2, 3)
    """

    kind: ClassVar[str] = "lode"
    packages: ClassVar[tuple[str, ...]] = ("featomic",)

    species: tuple[int, ...]
    law: PowerLaw
    cutoff_function: CutoffFunction | None

    def __init__(
        self,
        species: int | str | Iterable[int | str],
        exponent: int = 1,
        *,
        smearing: float = 1.0,
        radius: float = 1.0,
        max_radial: int = 0,
        inner_cutoff: float | None = 5.0,
        smoothing: float = 0.5,
        k_cutoff: float | None = None,
    ) -> None:
        if not 1 <= as_integer(exponent, "exponent", "an integer from 1 to 9") <= 9:
            raise ValueError(f"exponent is {exponent}: expected an integer from 1 to 9")
        if not 0 <= as_integer(max_radial, "max_radial", "an integer from 0") <= LARGEST_INDEX:
            raise ValueError(f"max_radial is {max_radial}: expected an integer from 0 to {LARGEST_INDEX}")
        lengths = {"smearing": smearing, "radius": radius}
        for name, value in lengths.items():
            lengths[name] = as_number(value, name, f"a length of {SHORTEST:g} Å or more")
            if not SHORTEST <= lengths[name] <= WIDEST:
                raise ValueError(f"{name} is {value}: expected a length from {SHORTEST:g} to {WIDEST:g} Å")
        if k_cutoff is not None:
            k_cutoff = as_number(k_cutoff, "k_cutoff", "a wave vector in 1/Å, or None")
        law = PowerLaw(int(exponent), lengths["smearing"], lengths["radius"], int(max_radial), k_cutoff)
        law.require_usable()
        # a frozen dataclass cannot set its fields in another way
        object.__setattr__(self, "species", atomic_numbers(species))
        object.__setattr__(self, "law", law)
        object.__setattr__(self, "cutoff_function", _cutoff_function(inner_cutoff, smoothing))

    def __repr__(self) -> str:
        return f"Lode({symbols(self.species)}; {self._in_words()}, {self.n_features} features, {self.feature_space!r})"

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self._pairs) * (self.law.max_radial + 1)

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(combinations_with_replacement(self.species, 2))

    @property
    def feature_space(self) -> str:
        """Short name of the columns: the same for the same settings and species, in any process."""
        text = json.dumps(self.state(), sort_keys=True)
        return f"lode-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def components(self, by: Literal["body_order", "species", "pair"] = "body_order") -> dict[str, NDArray[np.int64]]:
        """Return the columns of each component, as `Hessian.component_rigidity` takes them.

        Parameters
        ----------
        by : {"body_order", "pair"}
            "body_order": one component, "2-body", since the potential is a sum over atoms. Or by
            pair of species, named "Na-Cl", in the order of atomic numbers.

        Returns
        -------
        dict of str to ndarray of shape (n_columns,)

        Raises
        ------
        ValueError
            If `by` is "species": columns belong to two. Or if it is something else.
        """
        columns = np.arange(self.n_features, dtype=np.int64)
        if by == "body_order":
            return {"2-body": columns}
        if by != "pair":
            raise ValueError(f"by is {by!r}: expected 'body_order' or 'pair', since columns belong to pairs of species")
        own = columns.reshape(len(self._pairs), -1)
        return {"-".join(symbols([one]) for one in pair): part for pair, part in zip(self._pairs, own, strict=True)}

    def numbers(self, structure: Any, index: int) -> NDArray[np.int64]:
        """Return the atomic numbers; raise for a structure that is periodic in some directions."""
        if isinstance(structure, ase.Atoms) and structure.pbc.any() and not structure.pbc.all():
            along = ", ".join("abc"[i] for i in structure.pbc.nonzero()[0])
            raise ValueError(
                f"structure {index} is periodic along {along} only: long-range sums need a structure that is periodic "
                "along a, b and c, or open; leave it out, or set pbc"
            )
        return types_of(structure, index)

    def atom_rows(self, batches: Iterable[Sequence[Any]]) -> Iterator[NDArray[np.float64]]:
        """Yield the rows of all atoms of each batch, of shape (n_atoms, n_features)."""
        for sums in self._batches(batches, ()):
            yield np.concatenate([one.atom_rows() for one in sums])

    def term_rows(
        self, batches: Iterable[Sequence[Any]], terms: Collection[str]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the rows of these terms of a loss for each batch, as in `Descriptor`."""
        for sums in self._batches(batches, terms):
            made: dict[str, list[NDArray[np.float64]]] = {name: [] for name in terms}
            for one in sums:
                if "energy" in made:
                    made["energy"].append(one.energy_row()[None, None])
                if "forces" in made:
                    made["forces"].append(one.force_rows())
                if "virial" in made:
                    made["virial"].append(one.virial_rows()[None])
            yield {name: np.concatenate(rows) for name, rows in made.items()}

    def state(self) -> dict[str, Any]:
        """Return species and settings, for files of models."""
        law, inner = self.law, self.cutoff_function
        return {
            "species": list(self.species),
            "exponent": law.exponent,
            "smearing": law.smearing,
            "radius": law.radius,
            "max_radial": law.max_radial,
            "inner_cutoff": None if inner is None else inner.radius,
            "smoothing": None if inner is None else inner.width,
            "k_cutoff": law.k_cutoff,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the `Lode` that has this state."""
        names = ("smearing", "radius", "max_radial", "inner_cutoff", "k_cutoff")
        settings = {name: state[name] for name in names}
        if state["inner_cutoff"] is not None:
            settings["smoothing"] = state["smoothing"]
        return cls(state["species"], state["exponent"], **settings)

    def describe(self) -> str:
        """Return exponent and inner cutoff in a few words."""
        return f"LODE: {self._in_words()}"

    def _in_words(self) -> str:
        inner = "all atoms" if self.cutoff_function is None else f"atoms beyond {self.cutoff_function.radius:g} Å"
        return f"exponent {self.law.exponent}, {inner}"

    # Sums -----------------------------------------------------------------------------------------

    def _batches(self, batches: Iterable[Sequence[Any]], terms: Collection[str]) -> Iterator[Iterator[PotentialSums]]:
        """Yield the sums of the structures of each batch, to be taken one at a time."""
        index = count()
        for batch in batches:
            yield (self._sums(structure, next(index), terms) for structure in batch)

    def _sums(self, structure: Any, index: int, terms: Collection[str]) -> PotentialSums:
        numbers, inner = self.numbers(structure, index), self.cutoff_function
        check_species(numbers, index, self.species)
        n_rows = len(numbers) * (3 if "forces" in terms else 1)
        what = f"the rows of structure {index} ({self.n_features} features)"
        memory.require(8 * n_rows * self.n_features, what, Advice.FEWER_FEATURES)
        system = system_of(structure, index, Lists(SHORTEST if inner is None else inner.radius))
        positions, cell = np.array(system.positions()), np.array(system.cell())
        which = np.searchsorted(self.species, numbers)
        derivatives = {"forces": "forces" in terms, "virial": "virial" in terms}
        sums = PotentialSums(self.law, positions, which, len(self.species), **derivatives)
        if not cell.any():
            _require_near(positions, index)
            for pairs in all_pairs(positions):
                sums.add_pairs(pairs, inner, inside=False)
        else:
            _require_waves(cell, self.law.largest_k, index)
            sums.add_waves(cell)
            if inner is not None:
                for pairs in _near(system, inner.radius):
                    sums.add_pairs(pairs, inner, inside=True)
        if inner is None and not cell.any():
            sums.add_self(1.0)
        if inner is not None and cell.any():
            sums.add_self(-1.0)
        return sums


def _cutoff_function(inner_cutoff: float | None, smoothing: float) -> CutoffFunction | None:
    if inner_cutoff is None:
        if smoothing != 0.5:
            raise ValueError("smoothing is given, but inner_cutoff is None: no atom is left out")
        return None
    radius = as_number(inner_cutoff, "inner_cutoff", "a length in Å, or None")
    if not SHORTEST <= radius <= WIDEST:
        raise ValueError(
            f"inner_cutoff is {inner_cutoff}: expected a length from {SHORTEST:g} to {WIDEST:g} Å, or None"
        )
    if not 0 <= as_number(smoothing, "smoothing", "a width, in Å") <= radius:
        raise ValueError(f"smoothing is {smoothing}: expected a width from 0 to the inner cutoff, {inner_cutoff} Å")
    return CutoffFunction(radius, float(smoothing))


def _near(system: Any, cutoff: float) -> Iterator[Neighbours]:
    """Yield the pairs of a periodic structure within the cutoff, images too, some at a time."""
    types = np.asarray(system.types())
    for pairs in aside(pairs_of, [system], cutoff):
        # any atom of the neighbour's species stands for it
        j = np.full(len(pairs.atoms), int(np.argmax(types == pairs.species[1])))
        for start in range(0, len(j), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            yield Neighbours(pairs.atoms[some], j[some], pairs.vectors[some])


def _require_waves(cell: NDArray[np.float64], largest: float, index: int) -> None:
    n = n_lattice_points(cell, largest)
    if n > MOST_WAVES:
        raise ValueError(
            f"structure {index}: long-range sums over its cell {cell.tolist()} take {n:.1e} wave vectors, "
            f"expected at most {MOST_WAVES:.0e}: raise the smearing, lower k_cutoff, or set pbc to False if it is open"
        )


def _require_near(positions: NDArray[np.float64], index: int) -> None:
    width = float(np.linalg.norm(np.ptp(positions, axis=0)))
    if width > WIDEST:
        raise ValueError(
            f"structure {index} is open and {width:.0f} Å wide: long-range sums of open structures reach {WIDEST:g} Å"
        )
