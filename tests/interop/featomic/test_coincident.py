"""Atoms at one place: refused by structure and atoms, across periodic images, in every command that computes rows."""

import itertools

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk, molecule  # noqa: E402
from crystals import SMALL  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.interop.featomic import LossRows, Soap, soap_rows  # noqa: E402
from rigidities.interop.featomic.coincident import CLOSEST, require_apart  # noqa: E402

SKEW = np.array([[4.0, 0.0, 0.0], [-1.5, 3.6, 0.0], [0.7, 1.1, 4.2]])


def least_distance(positions, cell):
    """Least distance between atoms and images of atoms, from all pairs and 125 images."""
    shifts = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ cell if cell.any() else np.zeros((1, 3))
    place = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell if cell.any() else positions
    pairs = itertools.combinations(range(len(place)), 2)
    return min((np.linalg.norm(place[i] - place[j] + shifts, axis=1).min() for i, j in pairs), default=np.inf)


def test_the_same_pairs_are_refused_as_by_brute_force():
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(400):
        cell = SKEW if trial % 4 else np.zeros((3, 3))
        positions = random.uniform(-9, 9, size=(6, 3))
        step = random.normal(size=3)
        step *= random.choice([0.0, 1e-12, 0.02, 0.0499, 0.0501]) / np.linalg.norm(step)
        positions[4] = positions[1] + step + random.integers(-2, 3, size=3) @ cell
        if trial % 3 == 0:  # on a face, an edge or a corner of the cell
            positions[1] = random.integers(-1, 2, size=3) @ cell + random.choice([0.0, -1e-17])
            positions[4] = positions[1] + step
        if least_distance(positions, cell) >= CLOSEST:
            require_apart(positions, cell, 0)
        else:
            refused += 1
            with pytest.raises(
                ValueError, match=r"structure 7: atoms 1 and 4 are .* Å apart, expected at least 0\.05 Å"
            ):
                require_apart(positions, cell, 7)
    assert 100 < refused < 350


def at_one_place(atoms, one, other, step=0.0):
    atoms = atoms.copy()
    atoms.positions[other] = atoms.positions[one] + [step, 0, 0]
    return atoms


SILICON = bulk("Si", cubic=True)
ACROSS = SILICON.copy()
ACROSS.positions[3] = ACROSS.positions[0] + ACROSS.cell[0] + [0.01, 0, 0]


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (at_one_place(SILICON, 0, 1), "atoms 0 and 1 are 0 Å apart"),
        (at_one_place(SILICON, 2, 7, 1e-9), "atoms 2 and 7 are 1e-09 Å apart"),
        (at_one_place(SILICON, 2, 7, 0.04), "atoms 2 and 7 are 0.04 Å apart"),
        (ACROSS, "atoms 0 and 3 are 0.01 Å apart"),
        (at_one_place(molecule("C2H6"), 3, 5), "atoms 3 and 5 are 0 Å apart"),
        (ase.Atoms("Si2", [[0, 0, 0], [0, 0, 5.43]], cell=[9, 9, 5.43], pbc=[0, 0, 1]), "atoms 0 and 1 are 0 Å"),
        (SILICON + SILICON, "atoms 0 and 8 are 0 Å apart"),
    ],
)
@pytest.mark.parametrize("terms", [(), ("energy",), ("energy", "forces", "virial")], ids=["rows", "energy", "all"])
def test_the_structure_and_the_atoms_are_named(atoms, message, terms, caplog):
    structures, soap = [atoms[:1], atoms], Soap(["Si", "C", "H"], **SMALL)

    def compute():
        loss = rg.Loss(**dict.fromkeys(terms, rg.Term())) if terms else None
        if loss is None:
            return soap_rows(structures, soap, progress=False)
        return list(LossRows(structures, soap, loss, targets=False, progress=False))

    with pytest.raises(ValueError, match=f"^structure 1: {message}"):
        compute()
    assert not caplog.records  # featomic's warnings


def test_close_atoms_are_taken(caplog):
    soap_rows(at_one_place(SILICON, 0, 1, 0.051), Soap("Si", **SMALL), progress=False)
    assert not caplog.records
