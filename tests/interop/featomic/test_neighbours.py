"""Neighbours are counted before featomic lists them: no crash for absurd structures, no refusal of others."""

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk, molecule  # noqa: E402
from ase.neighborlist import neighbor_list  # noqa: E402
from crystals import SMALL, rattled, triclinic  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.datasets import load_silicon  # noqa: E402
from rigidities.interop.featomic import LossRows, Soap, iter_soap_rows, soap_rows  # noqa: E402
from rigidities.interop.featomic.neighbours import CROWD, n_neighbours  # noqa: E402
from rigidities.runtime import memory  # noqa: E402

SILICON = bulk("Si", cubic=True)
SOAP = Soap("Si", **SMALL)


def estimate(atoms, cutoff=5.0):
    return n_neighbours(atoms.positions, np.array(atoms.cell) if atoms.pbc.any() else None, cutoff)


def counted(atoms, cutoff=5.0):
    return len(neighbor_list("i", atoms, cutoff)) / len(atoms)


@pytest.mark.parametrize("atoms", [
    *load_silicon()[::30], triclinic(), bulk("Si"), bulk("Cu"), molecule("C6H6"), ase.Atoms("H"),
    rattled(SILICON * (6, 6, 6)), ase.Atoms("Si", cell=[50.0] * 3, pbc=True),
])  # fmt: skip
def test_the_estimate_is_not_much_too_large(atoms):
    """It is a low one, but for images of primitive cells: the cube is twice the sphere, the cell is skew."""
    assert estimate(atoms) <= 3 * counted(atoms) + 1


def test_a_skew_cell_of_normal_density_is_taken():
    cell = [[5, 0, 0], [500, 0.5, 0], [0, 300, 5]]
    assert estimate(ase.Atoms("Si", cell=cell, pbc=True)) < 1000


@pytest.mark.parametrize("scale", [0.5, 0.3])
def test_the_estimate_is_right_for_dense_crystals(scale):
    atoms = SILICON.copy()
    atoms.set_cell(scale * atoms.cell, scale_atoms=True)
    assert estimate(atoms) == pytest.approx(counted(atoms), rel=0.15)


def test_crowds_are_seen_wherever_they_are():
    random = np.random.default_rng(0)
    for place in (np.zeros(3), np.full(3, 2.5), np.array([0.0, 2.5, 77.0])):
        for cell in (None, np.diag([80.0] * 3)):
            positions = place + random.normal(scale=0.1, size=(2 * CROWD, 3))
            assert n_neighbours(positions, cell, 5.0) >= CROWD / 2


def test_absurd_cells_have_many():
    for cell in ([1e-3] * 3, [1e-9, 5, 5], [1e-6, 1e3, 1e3]):
        assert estimate(ase.Atoms("Si", cell=cell, pbc=True)) > 1e6
    assert estimate(ase.Atoms("Si", cell=[1e6] * 3, pbc=True)) < 1e-9


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 250_000)


@pytest.mark.parametrize("compute", [
    lambda frames: soap_rows(frames, SOAP, progress=False),
    lambda frames: list(iter_soap_rows(frames, SOAP, progress=False)),
    lambda frames: list(LossRows(frames, SOAP, rg.Loss(energy=rg.Term()), targets=False, progress=False)),
])  # fmt: skip
def test_lists_of_a_batch_are_counted_together(compute, little_memory):
    """One structure of 8 atoms with some 13 neighbours takes 21 kB; the twelfth is too much."""
    message = r"structure \d+: its atoms have about 13 neighbours within 4 Å each, and the list of them needs 0 MB"
    with pytest.raises(MemoryError, match=message + ".*check its cell and the unit of its positions"):
        compute([SILICON] * 60)


def test_gradients_are_counted(monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 80_000)
    forces = LossRows(SILICON, SOAP, rg.Loss(forces=rg.Term()), targets=False, progress=False)
    with pytest.raises(MemoryError, match="structure 0: its atoms have about 13 neighbours"):
        next(iter(forces))
