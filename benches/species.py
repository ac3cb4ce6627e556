"""Errors of models with pseudo-species beside those of all species: the tables of docs/species.md.

Alloys and molecules with energies and forces of the EMT potential of ASE, which takes no time.
The shares that pseudo-species are made of are compared with those of other authors.

    python benches/species.py metals4 metals7 molecules
"""

import sys
import time
import warnings

import numpy as np
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import g2
from ase.data import chemical_symbols, covalent_radii

import rigidities as rg
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel

LATTICE = {"Al": 4.00, "Cu": 3.59, "Ag": 4.06, "Au": 4.06, "Ni": 3.49, "Pd": 3.88, "Pt": 3.92}
"""Lattice constants in Å."""

ELECTRONEGATIVITY = {
    "Al": 1.61, "Cu": 1.90, "Ag": 1.93, "Au": 2.54, "Ni": 1.91, "Pd": 2.20, "Pt": 2.28,
    "H": 2.20, "C": 2.55, "N": 3.04, "O": 3.44,
}  # fmt: skip
"""Pauling's."""


def with_emt(atoms):
    computed = atoms.copy()
    computed.calc = EMT()
    energy, forces = computed.get_potential_energy(), computed.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def alloys(species, n, seed):
    """Cells of 16 atoms of some of the species in random places, strained by −4 to 5 %, rattled."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        some = rng.choice(species, rng.integers(1, len(species) + 1), replace=False)
        atoms = bulk("Cu", "fcc", a=1.0, cubic=True) * (2, 2, 1)
        atoms.set_chemical_symbols(list(rng.choice(some, len(atoms))))
        constant = np.mean([LATTICE[symbol] for symbol in atoms.symbols]) * rng.uniform(0.96, 1.05)
        atoms.set_cell(atoms.cell * constant, scale_atoms=True)
        atoms.positions += rng.normal(0, rng.uniform(0.03, 0.2), atoms.positions.shape)
        found.append(with_emt(atoms))
    return found


def molecules(species, n, seed):
    """Molecules of these species with four atoms or more, rattled."""
    rng = np.random.default_rng(seed)
    names = [name for name in g2.names if set(molecule(name).symbols) <= set(species) and len(molecule(name)) > 3]
    found = []
    for _ in range(n):
        atoms = molecule(names[rng.integers(len(names))])
        atoms.positions += rng.normal(0, rng.uniform(0.02, 0.12), atoms.positions.shape)
        found.append(with_emt(atoms))
    return found


SETS = {
    "metals4": (alloys, ["Al", "Ni", "Cu", "Au"]),
    "metals7": (alloys, list(LATTICE)),
    "molecules": (molecules, ["H", "C", "N", "O"]),
}


# Shares of species in channels --------------------------------------------------------------------


def by_radius(numbers, n_channels):
    """Principal axes of a kernel of radius and electronegativity (Willatt et al. 2018)."""
    radii = covalent_radii[list(numbers)]
    strength = np.array([ELECTRONEGATIVITY[chemical_symbols[number]] for number in numbers])
    kernel = np.exp(-((radii[:, None] - radii) ** 2) / (2 * 0.6**2) - (strength[:, None] - strength) ** 2 / (2 * 2**2))
    values, vectors = np.linalg.eigh(kernel)
    return (vectors * np.sqrt(values))[:, ::-1][:, :n_channels]


def at_random(numbers, n_channels):
    """Orthonormal columns."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(len(numbers), n_channels)))[0]


class Sketched:
    """Products of random mixtures of all (s, n): Σₘ c(k l m) c'(k l m) (Darby et al. 2023)."""

    kind, packages = "sketch", ()

    def __init__(self, numbers, n_channels):
        self.soap = Soap(numbers, pseudo_species=np.eye(len(numbers)))
        self.species = self.soap.species
        l, s1, n1, s2, n2 = self.soap.columns._channel_pairs.T  # noqa: E741
        mixtures = np.random.default_rng(0).normal(size=(2, l.max() + 1, len(numbers), n1.max() + 1, n_channels))
        one, other = mixtures[:, l, s1, n1] * mixtures[::-1, l, s2, n2]
        same = ((s1 == s2) & (n1 == n2))[:, None]
        weights = np.where(same, one, (one + other) / np.sqrt(2))
        self.matrix = np.hstack([weights * (l == angular)[:, None] for angular in range(l.max() + 1)])
        self.n_features = len(numbers) * self.matrix.shape[1]
        self.feature_space = f"sketch of {self.soap.feature_space}"

    def _of(self, rows):
        parts = rows.reshape(*rows.shape[:-1], len(self.species), -1) @ self.matrix
        return parts.reshape(*rows.shape[:-1], -1)

    def components(self, by="body_order"):
        raise ValueError("there are none")

    def numbers(self, structure, index):
        return self.soap.numbers(structure, index)

    def atom_rows(self, batches):
        return map(self._of, self.soap.atom_rows(batches))

    def term_rows(self, batches, terms):
        return ({name: self._of(rows) for name, rows in part.items()} for part in self.soap.term_rows(batches, terms))

    def state(self):
        return {}

    def describe(self):
        return "sketch"


def descriptors(species):
    numbers = Soap(species).species
    yield "all species", Soap(species)
    for n_channels in (2, 3):
        yield f"period and group, K = {n_channels}", Soap(species, pseudo_species=n_channels)
        yield (
            f"radius and electronegativity, K = {n_channels}",
            Soap(species, pseudo_species=by_radius(numbers, n_channels)),
        )
        yield f"random, K = {n_channels}", Soap(species, pseudo_species=at_random(numbers, n_channels))
    yield "tensor sketch", Sketched(numbers, 136)  # as many columns as K = 2


def compare(name, n, forces):
    make, species = SETS[name]
    train, test = make(species, n, 0), make(species, 200 if n > 100 else 60, 1000)
    loss = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term() if forces else None)
    print(f"\n{name}, {n} structures, energies{' and forces' if forces else ''}")
    for label, soap in descriptors(species):
        start = time.perf_counter()
        model = LinearModel.fit(train, soap, loss, regularizer="loo", progress=False)
        errors = model.errors(test, progress=False)
        figures = " | ".join(f"{1000 * error.rmse:.4g}" for error in errors.values())
        print(f"| {label} | {soap.n_features:,} | {figures} | {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for asked in sys.argv[1:] or SETS:
        compare(asked, 600, forces=False)
        if asked != "metals7":  # rows of forces with 78,204 columns
            compare(asked, 60, forces=True)
