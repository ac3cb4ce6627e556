"""Cu and Au with energies and forces, which several files of tests are about."""

from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def copper(scale=1.0, seed=0):
    """Cu and Au, with the energies and forces of an empirical potential."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[:2] = "Au"
    atoms.set_cell(scale * atoms.cell, scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    return labelled(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())


def labelled(atoms, **results):
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
