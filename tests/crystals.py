"""Structures that tests of SOAP rows are about, and their rows."""

import ase
import numpy as np
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

import rigidities as rg
from rigidities.interop.featomic import LossRows, Soap, soap_rows

SMALL = {"cutoff": 4.0, "max_radial": 3, "max_angular": 2}
"""Settings of a `Soap` that is quick to compute."""


def rattled(atoms, seed=0, stdev=0.1):
    atoms = atoms.copy()
    atoms.rattle(stdev, seed=seed)
    return atoms


def rows(structures, soap=None, **settings):
    return soap_rows(structures, soap, progress=False, **settings)


ALL = rg.Loss(energy=rg.Term(), forces=rg.Term(), virial=rg.Term())


def triclinic(seed=0):
    """A periodic structure of two species in a skew cell."""
    random = np.random.default_rng(seed)
    cell = np.array([[4.4, 0.0, 0.0], [1.3, 4.1, 0.0], [-0.7, 0.9, 4.6]])
    positions = [[0.1, 0.2, 0.0], [0.55, 0.45, 0.5], [0.2, 0.7, 0.6]]
    atoms = ase.Atoms("CuAuCu", scaled_positions=positions, cell=cell, pbc=True)
    atoms.positions += random.normal(scale=0.1, size=(3, 3))
    return atoms


def labelled(atoms, energy=None, forces=None, stress=None):
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return atoms


def with_emt(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    return labelled(atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())


def made(structures, loss=ALL, soap=None, **arguments):
    soap = Soap(["Cu", "Au"], **SMALL) if soap is None else soap
    return LossRows(structures, soap, loss, progress=False, **arguments)


def together(rows):
    """All batches, end to end."""
    batches = list(rows)
    join = lambda name, field: np.concatenate([getattr(batch[name], field) for batch in batches])  # noqa: E731
    fields = ("values", "weights", "targets", "blocks")
    return {name: {field: join(name, field) for field in fields} for name in batches[0]}
