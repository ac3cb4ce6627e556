"""Purified body order 3: the power spectrum less what each neighbour adds alone.

The density around an atom i is that of the atom itself and of its k neighbours, ρ = ρ₀ + Σ_j ρ_j.
The power spectrum is a quadratic form of it, with Q its symmetric bilinear form:

    f₃(i) = Q(ρ, ρ) = Q₀₀ + Σ_j (2Q₀ⱼ + Qⱼⱼ) + Σ_{j≠m} Qⱼₘ.

The first term is f₃ of the lone atom. Each term of the first sum is a function of one distance, and
f₃ of the atom with this neighbour alone is Q₀₀ + 2Q₀ⱼ + Qⱼⱼ. So

    f₃(i) − Σ_j f₃(pair i, j) + (k − 1) f₃(lone atom i) = Σ_{j≠m} Qⱼₘ,

a sum over pairs of neighbours, which vanishes for dimers: three-body terms alone. With the radial
spectrum beside it, the two components of a model share no function of one distance. Neighbours are
those within the cutoff, periodic images too. Expansions that are purified of lower body orders are
known from ACE, where this is called purification (Ho, Gutleb, Ortner, arXiv 2401.01550).

A neighbour at distance r has the coefficients c_nl Y_lm (`pair_expansion`). By Σ_m Y_lm² =
(2l + 1)/4π, and with z_n those of the atom itself, which has l = 0 alone,

    2Q₀ⱼ + Qⱼⱼ = (−1)ˡ ((z + c)_{n₁l} (z + c)_{n₂l} − z_{n₁l} z_{n₂l}) / √(2l + 1)

with featomic's sign and normalisation, where species are the same; c and z are for m = 0 on the z
axis. If the neighbour is of another species, z and c stand in different blocks: z c in that of both
species, times featomic's √2, and c c in that of the neighbour's. `Calculators` compares these with
featomic's power spectrum of dimers before they are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import featomic
import numpy as np
from scipy.sparse import csr_array

from rigidities.interop.featomic.pair_expansion import pair_expansion
from rigidities.runtime.aside import aside
from rigidities.runtime.cached import cached_property
from rigidities.structures.species import VOIGT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.interop.featomic.columns import Columns

AT_ONCE = 4096
"""Pairs whose terms are in memory at once: 4096 · 252 · 8 bytes = 8 MB, three times."""

Kind = Literal["same", "lower", "upper", "other"]


class Pairs(NamedTuple):
    """Pairs of an atom, of one species, and a neighbour, of one species, in systems of a batch.

    Attributes
    ----------
    species : tuple of int
        Of the atoms, and of the neighbours.
    systems, atoms : ndarray of int of shape (n,)
        Index of the system, rising, and of the atom among those of all systems.
    vectors : ndarray of shape (n, 3)
        From the atom to the neighbour, in Å.
    distances : ndarray of shape (n,)
    """

    species: tuple[int, int]
    systems: NDArray[np.int64]
    atoms: NDArray[np.int64]
    vectors: NDArray[np.float64]
    distances: NDArray[np.float64]

    def part(self, some: slice) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.species, self.systems[some], self.atoms[some], self.vectors[some], self.distances[some])

    def along_forces(self, times: float = 1.0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the row 3·atom + axis and the factor of d/dr in −∂/∂R of the atoms, (n, 3)."""
        return 3 * self.atoms[:, None] + np.arange(3), times * self.vectors / self.distances[:, None]

    def along_virials(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the row 6·system + component and the factor of d/dr in −∂/∂ε, (n, 6)."""
        a, b = np.array(VOIGT).T
        factors = -self.vectors[:, a] * self.vectors[:, b] / self.distances[:, None]
        return 6 * self.systems[:, None] + np.arange(6), factors


class Products(NamedTuple):
    """Terms of one block: value k is factor_k · a[first_k] · b[second_k].

    `places` of shape (n,) are their places among the values of the block; others are 0.
    """

    places: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    factors: NDArray[np.float64]


class Purification:
    """Subtracts what lone atoms and pairs have of body order 3, from rows of featomic.

    Parameters
    ----------
    columns : Columns
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.cutoff = float(json.loads(columns.settings)["cutoff"]["radius"])
        self.expansion = pair_expansion(columns.settings)

    def subtract_atoms(self, systems: Sequence[Any], rows: NDArray[np.float64]) -> None:
        """Purify rows of the atoms of systems, (n_atoms, n_features)."""
        types = np.concatenate([np.asarray(system.types()) for system in systems])
        for species in self.columns.species:
            atoms = np.flatnonzero(types == species)
            if len(atoms):
                self._subtract_lone(rows, species, atoms, np.ones(len(atoms)))
        for pairs in self._pairs(systems):
            c, _ = self.expansion.of(pairs.distances)
            for kind, key in _blocks(*pairs.species):
                self._subtract(rows, kind, key, pairs.atoms, np.ones(len(pairs.atoms)), self._values(kind, c))

    def subtract_terms(self, systems: Sequence[Any], rows: dict[str, NDArray[np.float64]]) -> None:
        """Purify the rows of terms of a loss, as `Derivatives.rows` yields them."""
        flat = {name: values.reshape(-1, values.shape[-1]) for name, values in rows.items()}
        if "energy" in flat:
            for species in self.columns.species:
                counts = np.array([np.sum(np.asarray(system.types()) == species) for system in systems], dtype=float)
                of = np.flatnonzero(counts)
                if len(of):
                    self._subtract_lone(flat["energy"], species, of, counts[of])
        for pairs in self._pairs(systems):
            centre, neighbour = pairs.species
            alike = centre == neighbour
            c, dc = self.expansion.of(pairs.distances)
            for kind, key in _blocks(centre, neighbour):
                if "energy" in flat:
                    ones = np.ones(len(pairs.systems))
                    self._subtract(flat["energy"], kind, key, pairs.systems, ones, self._values(kind, c))
                slopes = self._slopes(kind, c, dc) if flat.keys() - {"energy"} else np.empty(0)
                if "forces" in flat:
                    self._subtract(flat["forces"], kind, key, *pairs.along_forces(2.0 if alike else 1.0), slopes)
                if "virial" in flat:
                    self._subtract(flat["virial"], kind, key, *pairs.along_virials(), slopes)
            # an atom is a neighbour of its neighbour, too: in the same block if they are alike
            if "forces" in flat and not alike:
                for kind, key in _blocks(neighbour, centre):
                    slopes = self._slopes(kind, c, dc)
                    self._subtract(flat["forces"], kind, key, *pairs.along_forces(), slopes)

    # The terms of one neighbour -------------------------------------------------------------------

    def _values(self, kind: Kind, c: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the terms of a block of neighbours with coefficients c, (n, n_products)."""
        z, (_, first, second, factors) = self.expansion.centre, self._products[kind]
        if kind == "other":
            return np.asarray(c[:, first] * c[:, second] * factors)
        if kind == "same":  # not (z + c)(z + c) − z z, which cancels
            return np.asarray((c[:, first] * (z + c)[:, second] + z[first] * c[:, second]) * factors)
        return self._with_centre(kind, c)

    def _slopes(self, kind: Kind, c: NDArray[np.float64], dc: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of the terms with respect to the distance, (n, n_products)."""
        if kind in ("lower", "upper"):
            return self._with_centre(kind, dc)
        _, first, second, factors = self._products[kind]
        whole = c if kind == "other" else c + self.expansion.centre
        return np.asarray((dc[:, first] * whole[:, second] + whole[:, first] * dc[:, second]) * factors)

    def _with_centre(self, kind: Kind, c: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return products with the atom's own coefficients, the first of the two if "lower"."""
        z, (_, first, second, factors) = self.expansion.centre, self._products[kind]
        of_atom, of_neighbour = (first, second) if kind == "lower" else (second, first)
        return np.asarray(c[:, of_neighbour] * (z[of_atom] * factors))

    @cached_property
    def _products(self) -> dict[Kind, Products]:
        alike = self._products_of(self.columns.selected(3, (self.columns.species[0],) * 2))
        found: dict[Kind, Products] = {"same": alike, "other": alike}
        if len(self.columns.species) > 1:
            mixed = self._products_of(self.columns.selected(3, self.columns.species[:2]), alone=True)
            mixed = mixed._replace(factors=np.sqrt(2.0) * mixed.factors)
            found |= {"lower": mixed, "upper": mixed}
        return found

    def _products_of(self, selected: NDArray[np.int64], alone: bool = False) -> Products:
        """Return the products of these l, n₁, n₂; of l = 0 alone for those with the atom itself."""
        place = {key: i for i, key in enumerate(zip(self.expansion.angular, self.expansion.radial, strict=True))}
        places = np.flatnonzero(selected[:, 0] == 0) if alone else np.arange(len(selected))
        angular, n1, n2 = selected[places].T
        first = np.array([place[key] for key in zip(angular, n1, strict=True)], dtype=np.int64)
        second = np.array([place[key] for key in zip(angular, n2, strict=True)], dtype=np.int64)
        return Products(places, first, second, (-1.0) ** angular / np.sqrt(2.0 * angular + 1))

    # Sums over neighbours -------------------------------------------------------------------------

    def _subtract_lone(
        self, rows: NDArray[np.float64], species: int, targets: NDArray[np.int64], counts: NDArray[np.float64]
    ) -> None:
        """Subtract f₃ of lone atoms, so many for each row."""
        places, first, second, factors = self._products["same"]
        values = np.zeros((1, len(self.columns.selected(3, (species, species)))))
        values[:, places] = factors * self.expansion.centre[first] * self.expansion.centre[second]
        place = self.columns.place(3, (species, species, species))
        rows[targets, place.columns] -= counts[:, None] * place.of(values)

    def _subtract(
        self,
        rows: NDArray[np.float64],
        kind: Kind,
        key: tuple[int, int, int],
        targets: NDArray[np.int64],
        weights: NDArray[np.float64],
        terms: NDArray[np.float64],
    ) -> None:
        """Subtract the weighted sum over neighbours from the row of each target.

        `targets` and `weights` are of shape (n,) or (n, k): a pair can count for k targets.
        """
        labels, which = np.unique(targets, return_inverse=True)
        which, pair = which.ravel(), np.repeat(np.arange(len(terms)), targets.size // len(terms))
        sums = csr_array((weights.ravel(), (which, pair)), shape=(len(labels), len(terms))) @ terms
        values = np.zeros((len(labels), len(self.columns.selected(3, key[1:]))))
        values[:, self._products[kind].places] = sums
        place = self.columns.place(3, key)
        rows[labels, place.columns] -= place.of(values)

    def _pairs(self, systems: Sequence[Any]) -> Iterator[Pairs]:
        """Yield the pairs of these systems, some at a time.

        A system is cut in the same way in every batch, so that its rows have the same bits.
        """
        for pairs in aside(pairs_of, systems, self.cutoff):
            for some in _cuts(np.bincount(pairs.systems, minlength=len(systems)).tolist()):
                yield pairs.part(some)


def _blocks(centre: int, neighbour: int) -> list[tuple[Kind, tuple[int, int, int]]]:
    """Return the blocks of the power spectrum that a neighbour of this species contributes to."""
    if centre == neighbour:
        return [("same", (centre, centre, centre))]
    other: tuple[Kind, tuple[int, int, int]] = ("other", (centre, neighbour, neighbour))
    if centre < neighbour:
        return [("lower", (centre, centre, neighbour)), other]
    return [("upper", (centre, neighbour, centre)), other]


def _cuts(counts: Sequence[int]) -> Iterator[slice]:
    """Cut the pairs of systems, so many of each: some small systems, or part of a large one."""
    start = stop = 0
    for count in counts:
        if stop > start and stop + count - start > AT_ONCE:
            yield slice(start, stop)
            start = stop
        stop += count
        while stop - start > AT_ONCE:
            yield slice(start, start + AT_ONCE)
            start += AT_ONCE
    if stop > start:
        yield slice(start, stop)


def pairs_of(systems: Sequence[Any], cutoff: float) -> list[Pairs]:
    """Return all pairs, both ways, by species. Call this on a thread that takes no signals."""
    starts = np.cumsum([0] + [system.size() for system in systems])
    tensor = featomic.NeighborList(cutoff=cutoff, full_neighbor_list=True, self_pairs=False).compute(systems)
    found = []
    for key, block in tensor.items():
        samples = np.asarray(block.samples.values)
        in_systems = samples[:, 0].astype(np.int64)
        order = np.argsort(in_systems, kind="stable")
        in_systems = in_systems[order]
        vectors = np.array(block.values)[order, :, 0]
        species = int(key["first_atom_type"]), int(key["second_atom_type"])
        atoms = starts[in_systems] + samples[order, 1]
        found.append(Pairs(species, in_systems, atoms, vectors, np.linalg.norm(vectors, axis=1)))
    return found
