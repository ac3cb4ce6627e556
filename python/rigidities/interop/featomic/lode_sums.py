"""Long-range potentials at the atoms of a structure, and their derivatives: sums of LODE.

The potential of species a at atom i is V_{i,a,n} = Σ_{j in a} g_n(r_ij), with g_n of `power_law`.
In a periodic structure it is summed in reciprocal space, with F_n the transform of g_n and Ω the
volume. Factors of half of the k are doubled:

    V_{i,a,n} = 1/Ω Σ_k F_n(k) [cos(k·R_i) C_a(k) + sin(k·R_i) S_a(k)],
    C_a(k) = Σ_{j in a} cos(k·R_j),  S_a(k) = Σ_{j in a} sin(k·R_j).

For p ≤ 3 there is no k = 0: each species has a uniform background, as in a neutral Ewald sum. With
an inner cutoff, only atoms beyond it count: each neighbour has the weight 1 − f(r), f the cutoff
function of SOAP. So f(r) g_n(r) of each neighbour, and g_n(0) of the atom itself, are subtracted.
An open structure is summed in real space.

Σ_{i in c} V_{i,a} and Σ_{i in a} V_{i,c} are the same sum E_{c,a} over pairs, so no energy or force
tells their weights apart. Features have one column for both: for atom i of species c, the potential
of a is in the column of the pair {c, a}, whose energy row is 2E_{c,a}, or E_{c,c}. It is quadratic
in the structure factors, so its derivatives need no pairs of atoms. With T_{j,a} = −∂/∂R of the
potential of a at a test atom at R_j, atom j of species s has −∂E_{c,a}/∂R_j = δ_{cs} T_{j,a} +
δ_{as} T_{j,c}. Strain leaves k·R alone, and changes k by −εk:

    −∂E_{c,a}/∂ε_{αβ} = δ_{αβ} E_{c,a} + 1/Ω Σ_k F_n'(k) k_α k_β / k · (C_c C_a + S_c S_a).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from rigidities.structures.species import VOIGT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.interop.featomic.power_law import PowerLaw

MOST_WAVES = 10_000_000
"""Points of the reciprocal lattice that are looked at: 50 for each atom of silicon at the default
smearing and radius, and half a gigabyte of them."""

WIDEST = 300.0
"""Å. Largest distance of two atoms of an open structure: the table of g_n is made up to it."""

AT_ONCE = 1 << 20
"""Pairs, or atoms times k, in memory at once: arrays of 8 MB."""


class Neighbours(NamedTuple):
    """Pairs of atom i and atom j of a structure, or its image, at R_j + shift − R_i in Å."""

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    vectors: NDArray[np.float64]


@dataclass(frozen=True)
class CutoffFunction:
    """f(r): 1 up to `radius` − `width`, then ½(1 + cos π(r − radius + width)/width), 0 beyond."""

    radius: float
    width: float

    def of(self, r: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return f(r) and f'(r)."""
        inside = (r < self.radius).astype(float)
        if self.width == 0:
            return inside, np.zeros_like(r)
        phase = np.pi * np.clip((r - self.radius + self.width) / self.width, 0, 1)
        return 0.5 * (1 + np.cos(phase)), -0.5 * np.pi / self.width * np.sin(phase)


class PotentialSums:
    """The sums of one structure; `add_waves`, `add_pairs` and `add_self` fill them.

    Parameters
    ----------
    law : PowerLaw
    positions : ndarray of shape (n_atoms, 3)
    which : ndarray of int of shape (n_atoms,)
        Index of the species of each atom.
    n_species : int
    forces, virial : bool
        Whether to sum derivatives.

    Attributes
    ----------
    potentials : ndarray of shape (n_atoms, n_species, n_functions)
        V.
    pulls : ndarray of shape (n_atoms, n_species, 3, n_functions)
        T, as above.
    virials : ndarray of shape (n_species, n_species, 6, n_functions)
        −∂E/∂ε in ASE's Voigt order.
    """

    def __init__(
        self,
        law: PowerLaw,
        positions: NDArray[np.float64],
        which: NDArray[np.int64],
        n_species: int,
        *,
        forces: bool = False,
        virial: bool = False,
    ) -> None:
        self.law, self.positions, self.which, self.n_species = law, positions, which, n_species
        self.forces, self.virial = forces, virial
        n, n_functions = len(positions), law.max_radial + 1
        self.potentials = np.zeros((n, n_species, n_functions))
        self.pulls = np.zeros((n if forces else 0, n_species, 3, n_functions))
        self.virials = np.zeros((n_species, n_species, 6, n_functions))
        self._members = (which[None] == np.arange(n_species)[:, None]).astype(float)  # (n_species, n_atoms)

    # Reciprocal space -----------------------------------------------------------------------------

    def add_waves(self, cell: NDArray[np.float64]) -> None:
        """Add the sum over all atoms and their images, the atom itself included."""
        volume = abs(float(np.linalg.det(cell)))
        at_once = max(1, AT_ONCE // len(self.positions))
        for waves in wave_vectors(cell, self.law.largest_k, at_once):
            self._add_some(waves, volume)
        counts = self._members.sum(axis=1)
        at_zero = self.law.at_zero / volume  # the term of k = 0
        self.potentials += counts[:, None] * at_zero
        if self.virial:
            self.virials[:, :, :3] += (counts[:, None] * counts)[:, :, None, None] * at_zero

    def _add_some(self, waves: NDArray[np.float64], volume: float) -> None:
        k = np.linalg.norm(waves, axis=1)
        F, dF = self.law.transform(k)
        F, dF = 2 / volume * F, 2 / volume * dF  # for k and −k
        phases = self.positions @ waves.T
        cos, sin = np.cos(phases), np.sin(phases)
        C, S = self._members @ cos, self._members @ sin
        for a in range(self.n_species):
            self.potentials[:, a] += (cos * C[a] + sin * S[a]) @ F
            if self.forces:
                along = (waves[:, :, None] * F[:, None]).reshape(len(k), -1)
                self.pulls[:, a] += ((sin * C[a] - cos * S[a]) @ along).reshape(len(cos), 3, -1)
        if self.virial:
            products = (C[:, None] * C + S[:, None] * S).reshape(-1, len(k))
            first, second = np.array(VOIGT).T
            stretch = (waves[:, first] * waves[:, second] / k[:, None])[:, :, None] * dF[:, None]
            self.virials += (products @ stretch.reshape(len(k), -1)).reshape(self.virials.shape)
            self.virials[:, :, :3] += (products @ F).reshape(self.n_species, self.n_species, 1, -1)

    # Real space -----------------------------------------------------------------------------------

    def add_pairs(self, pairs: Neighbours, cutoff: CutoffFunction | None, inside: bool) -> None:
        """Add g_n of these pairs, all of an open structure: with a cutoff, (1 − f(r)) g_n.

        Or, if they are the pairs inside of the cutoff in a periodic structure, −f(r) g_n.
        """
        if not len(pairs.i):
            return
        r = np.linalg.norm(pairs.vectors, axis=1)
        table = self.law.pair_function(cutoff.radius if inside and cutoff is not None else float(r.max(initial=0.0)))
        values, slopes = table(r), table(r, 1)
        if cutoff is not None:
            f, df = cutoff.of(r)
            weights = -f if inside else 1 - f
            values, slopes = weights[:, None] * values, weights[:, None] * slopes - df[:, None] * values
        n = len(self.positions)
        place = pairs.i * self.n_species + self.which[pairs.j]
        to_atoms = csr_array((np.ones(len(r)), (place, np.arange(len(r)))), shape=(n * self.n_species, len(r)))
        self.potentials += (to_atoms @ values).reshape(self.potentials.shape)
        directions = pairs.vectors / r[:, None]
        if self.forces:
            pulls = directions[:, :, None] * slopes[:, None]
            self.pulls += (to_atoms @ pulls.reshape(len(r), -1)).reshape(self.pulls.shape)
        if self.virial:
            place = self.which[pairs.i] * self.n_species + self.which[pairs.j]
            to_species = csr_array((np.ones(len(r)), (place, np.arange(len(r)))), shape=(self.n_species**2, len(r)))
            first, second = np.array(VOIGT).T
            arms = -(pairs.vectors[:, first] * directions[:, second])[:, :, None] * slopes[:, None]
            self.virials += (to_species @ arms.reshape(len(r), -1)).reshape(self.virials.shape)

    def add_self(self, times: float) -> None:
        """Add the potential of each atom at its own place, so many times."""
        self.potentials[np.arange(len(self.which)), self.which] += times * self.law.pair_function(0.0)(0.0)

    # Rows -----------------------------------------------------------------------------------------

    def atom_rows(self) -> NDArray[np.float64]:
        """Return the potentials in the columns of pairs of species, (n_atoms, n_features)."""
        rows = np.zeros((len(self.which), self.n_species, *self.potentials.shape[1:]))
        rows[np.arange(len(rows)), self.which] = self.potentials
        return self._of_pairs(rows)

    def energy_row(self) -> NDArray[np.float64]:
        """Return Σ_atoms f, (n_features,)."""
        return self._of_pairs(np.einsum("ci,ian->can", self._members, self.potentials))

    def force_rows(self) -> NDArray[np.float64]:
        """Return −∂(Σ f)/∂R, (n_atoms, 3, n_features)."""
        pulls = self.pulls.transpose(0, 2, 1, 3)
        n, _, n_species, n_functions = pulls.shape
        rows = np.zeros((n, 3, n_species, n_species, n_functions))
        atoms = np.arange(n)
        rows[atoms, :, self.which] += pulls
        rows[atoms, :, :, self.which] += pulls
        return self._of_pairs(rows)

    def virial_rows(self) -> NDArray[np.float64]:
        """Return −∂(Σ f)/∂ε in ASE's Voigt order, (6, n_features)."""
        return self._of_pairs(self.virials.transpose(2, 0, 1, 3))

    def _of_pairs(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (…, n_features) of (…, n_species, n_species, n): c and a with a and c."""
        both = values + values.swapaxes(-3, -2)
        both[..., np.arange(self.n_species), np.arange(self.n_species), :] /= 2
        first, second = np.triu_indices(self.n_species)
        pairs = both[..., first, second, :]
        return np.asarray(pairs.reshape(*pairs.shape[:-2], -1))


def n_lattice_points(cell: NDArray[np.float64], largest: float) -> float:
    """Return how many points of the reciprocal lattice `wave_vectors` looks at."""
    return math.prod(2.0 * n + 1 for n in _ranges(cell, largest))


def _ranges(cell: NDArray[np.float64], largest: float) -> list[float]:
    # k·a = 2π n, so |n| ≤ |k| |a| / 2π
    return [largest * math.hypot(*vector) // (2 * math.pi) for vector in cell.tolist()]


def wave_vectors(cell: NDArray[np.float64], largest: float, at_once: int) -> Iterator[NDArray[np.float64]]:
    """Yield half of the k with 0 < |k| ≤ `largest`, one of k and −k, at most so many at a time."""
    n1, n2, n3 = (int(n) for n in _ranges(cell, largest))
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    plane = np.stack(np.meshgrid(np.arange(-n2, n2 + 1), np.arange(-n3, n3 + 1), indexing="ij"), axis=-1).reshape(-1, 2)
    for first in range(n1 + 1):
        half = plane
        if first == 0:
            half = plane[(plane[:, 0] > 0) | ((plane[:, 0] == 0) & (plane[:, 1] > 0))]
        waves = first * reciprocal[0] + half @ reciprocal[1:]
        waves = waves[np.einsum("ij,ij->i", waves, waves) <= largest**2]
        for start in range(0, len(waves), at_once):
            yield waves[start : start + at_once]


def all_pairs(positions: NDArray[np.float64]) -> Iterator[Neighbours]:
    """Yield all pairs of different atoms of an open structure, some atoms at a time."""
    n = len(positions)
    at_once = max(1, AT_ONCE // n)
    for start in range(0, n, at_once):
        i, j = np.meshgrid(np.arange(start, min(n, start + at_once)), np.arange(n), indexing="ij")
        different = i != j
        i, j = i[different], j[different]
        yield Neighbours(i, j, positions[j] - positions[i])
