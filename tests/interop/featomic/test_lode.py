"""`Lode`: against featomic, integrals of the definition, lattice sums, Madelung's constant, finite differences."""

import itertools
import pickle

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

from ase.build import bulk, molecule  # noqa: E402
from crystals import rattled, triclinic  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from lode_integrals import by_integration  # noqa: E402

from rigidities.interop.featomic import Lode, Soap  # noqa: E402
from rigidities.interop.featomic.lode_sums import CutoffFunction  # noqa: E402
from rigidities.structures.descriptor import Descriptor  # noqa: E402
from rigidities.structures.species import VOIGT  # noqa: E402

ALLOY = triclinic(1) * (2, 1, 1)
DIMER = ase.Atoms("OH", positions=[[0, 0, 0], [0.5, 0.8, 3.4]])
TERMS = ["energy", "forces", "virial"]


def rows(atoms, lode):
    return next(lode.atom_rows([[atoms]]))


def of_pairs(values):
    """Values of (…, centre, source, n) in the columns of unordered pairs of species."""
    pairs = list(itertools.combinations_with_replacement(range(values.shape[-2]), 2))
    summed = [values[..., c, a, :] + (c != a) * values[..., a, c, :] for c, a in pairs]
    return np.concatenate(summed, axis=-1)


def inner(cutoff, smoothing=1.0):
    return {"inner_cutoff": cutoff, "smoothing": smoothing}


# ---- the same as featomic's


@pytest.mark.parametrize("exponent", range(1, 10))
@pytest.mark.parametrize(("smearing", "radius", "max_radial"), [(1.0, 3.0, 3), (0.7, 1.2, 0), (1.3, 2.0, 5)])
def test_values_are_those_of_featomic(exponent, smearing, radius, max_radial):
    k_cutoff = 1.2 * np.pi / smearing  # featomic's own
    calculator = featomic.LodeSphericalExpansion(
        density={"type": "SmearedPowerLaw", "smearing": smearing, "exponent": exponent},
        basis={
            "type": "TensorProduct",
            "max_angular": 0,
            "radial": {"type": "Gto", "max_radial": max_radial, "radius": radius},
        },
        k_cutoff=k_cutoff,
    )
    sizes = {"smearing": smearing, "radius": radius, "max_radial": max_radial, "k_cutoff": k_cutoff}
    lode = Lode(["Cu", "Au"], exponent, inner_cutoff=None, **sizes)
    expected = np.zeros((len(ALLOY), 2, 2, max_radial + 1))
    for key, block in calculator.compute(ALLOY).items():
        c, a = (lode.species.index(int(key[name])) for name in ("center_type", "neighbor_type"))
        expected[block.samples["atom"], c, a] = block.values[:, 0]
    expected = of_pairs(expected)
    # featomic interpolates its radial integrals to 1e-8
    np.testing.assert_allclose(rows(ALLOY, lode), expected, rtol=0, atol=1e-7 * np.abs(expected).max())


def test_forces_are_the_sums_of_the_gradients_of_featomic():
    calculator = featomic.LodeSphericalExpansion(
        density={"type": "SmearedPowerLaw", "smearing": 1.0, "exponent": 1},
        basis={
            "type": "TensorProduct",
            "max_angular": 0,
            "radial": {"type": "Gto", "max_radial": 2, "radius": 2.0},
        },
        k_cutoff=4.0,
    )
    lode = Lode(["Cu", "Au"], inner_cutoff=None, radius=2.0, max_radial=2, k_cutoff=4.0)
    expected = np.zeros((len(ALLOY), 3, 2, 2, 3))
    for key, block in calculator.compute(ALLOY, gradients=["positions"]).items():
        c, a = (lode.species.index(int(key[name])) for name in ("center_type", "neighbor_type"))
        gradient = block.gradient("positions")
        np.add.at(expected, (gradient.samples["atom"], slice(None), c, a), -gradient.values[:, :, 0])
    (found,) = lode.term_rows([[ALLOY]], ["forces"])
    np.testing.assert_allclose(found["forces"], of_pairs(expected), rtol=0, atol=1e-6)
    assert np.abs(expected).max() > 0.1


# ---- the definition


def test_open_structures_sum_over_pairs_beyond_the_cutoff():
    atoms = molecule("CH3CONH2")
    lode = Lode(["H", "C", "N", "O"], 2, max_radial=1, radius=0.8, **inner(2.5, 1.0))
    expected = np.zeros((len(atoms), 4, 4, 2))
    for i, j in itertools.permutations(range(len(atoms)), 2):
        r = atoms.get_distance(i, j)
        f = 1.0 if r < 1.5 else 0.5 * (1 + np.cos(np.pi * (r - 1.5))) if r < 2.5 else 0.0
        c, a = (lode.species.index(atoms.numbers[atom]) for atom in (i, j))
        expected[i, c, a] += (1 - f) * by_integration(lode.law, r)
    # k up to the default cutoff: 1e-8 of the largest
    np.testing.assert_allclose(rows(atoms, lode), of_pairs(expected), rtol=0, atol=1e-6)


# ---- lattice sums


@pytest.mark.parametrize("exponent", [8, 9])
@pytest.mark.parametrize("cutoff", [None, 1.5, 4.0])
def test_periodic_structures_are_sums_over_images(exponent, cutoff):
    """The potential falls as 1/r⁸, so that 27 Å hold all of it, to 1e-8."""
    cell = bulk("NaCl", "rocksalt", a=5.0)
    cell.positions[1] += 0.2
    sizes = {"radius": 0.8, "smearing": 1.0, "max_radial": 1}
    options = inner(cutoff) if cutoff else {"inner_cutoff": None}
    lode = Lode(["Na", "Cl"], exponent, **sizes, **options)
    expected = np.zeros((2, 2, 2, 2))
    offsets = [n @ cell.cell.array for n in map(np.array, itertools.product(range(-9, 10), repeat=3))]
    for i, j in itertools.product(range(2), repeat=2):
        r = np.linalg.norm(cell.positions[j] + offsets - cell.positions[i], axis=1)
        r = r[r < 27]
        f = np.zeros(len(r)) if cutoff is None else 0.5 * (1 + np.cos(np.pi * np.clip(r - cutoff + 1, 0, 1)))
        c, a = (lode.species.index(cell.numbers[atom]) for atom in (i, j))
        expected[i, c, a] = (1 - f) @ lode.law.at_distances(r)[0]
    np.testing.assert_allclose(rows(cell, lode), of_pairs(expected), rtol=0, atol=2e-8)
    assert np.abs(expected).max() > 3e-5


@pytest.mark.parametrize("cutoff", [None, 2.0, 5.0, 12.0])
def test_charges_have_the_constant_of_madelung(cutoff):
    """Σ_a q_a V_a of both ions of rocksalt is −1.7475646/d, with the neighbours within the cutoff added."""
    crystal = bulk("NaCl", "rocksalt", a=5.64)
    lode = Lode(["Na", "Cl"], smearing=0.3, radius=0.3, **(inner(cutoff) if cutoff else {"inner_cutoff": None}))
    charge = {11: 1.0, 17: -1.0}
    norm = np.pi**0.75 * np.sqrt(8.0) * 0.3**1.5  # V of a unit charge far away, times its distance
    products = [charge[a] * charge[b] for a, b in itertools.combinations_with_replacement(lode.species, 2)]
    potentials = rows(crystal, lode) @ products / norm / [charge[number] for number in crystal.numbers]
    for atom, q in enumerate(charge[number] for number in crystal.numbers):
        if cutoff is None:  # take out the atom's own potential
            potentials[atom] -= q * lode.law.pair_function(0.0)(0.0)[0] / norm
            continue
        large = crystal * (9, 9, 9)
        centre = 2 * (4 * 81 + 4 * 9 + 4) + atom
        r = np.delete(np.linalg.norm(large.positions - large.positions[centre], axis=1), centre)
        q_j = np.delete(np.where(large.numbers == 11, 1.0, -1.0), centre)
        potentials[atom] += q_j @ (0.5 * (1 + np.cos(np.pi * np.clip(r - cutoff + 1, 0, 1))) / r)
    np.testing.assert_allclose(potentials, [-1.74756459 / 2.82, 1.74756459 / 2.82], rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.sampled_from([None, 2.0, 6.0]), st.permutations([0, 1, 2]), st.integers(0, 99))
def test_the_choice_of_cell_has_no_effect(exponent, cutoff, order, seed):
    """Nor a rotation, a shift, the order of the atoms, or a wrapped atom."""
    lode = Lode(["Cu", "Au"], exponent, max_radial=1, **(inner(cutoff) if cutoff else {"inner_cutoff": None}))
    atoms = triclinic(seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    cell = atoms.cell.array.copy()
    cell[2] += cell[0] - 2 * cell[1]
    other = ase.Atoms(atoms.numbers, (atoms.positions + 0.3) @ rotation, cell=cell @ rotation, pbc=True)
    other.positions[1] += other.cell.array[0]
    other = other[order] * (1, 2, 1)
    expected = rows(atoms, lode)[order]
    atol = 1e-8 * np.abs(expected).max()  # terms at the largest k of other cells
    np.testing.assert_allclose(rows(other, lode), np.tile(expected, (2, 1)), rtol=0, atol=atol)


# ---- terms


KINDS = {
    "a cell": ALLOY,
    "a cell smaller than the cutoff": triclinic(2)[:2],
    "a molecule": rattled(molecule("CH3CONH2"), 1),
    "an atom": ase.Atoms("Cu", cell=[2.9, 3.2, 3.5], pbc=True),
}


@pytest.mark.parametrize("exponent", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("cutoff", [None, 3.0, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_terms_are_derivatives(kind, cutoff, exponent):
    atoms = KINDS[kind]
    options = inner(cutoff) if cutoff else {"inner_cutoff": None}
    lode = Lode(sorted(set(atoms.numbers.tolist())), exponent, max_radial=1, radius=1.5, **options)
    (found,) = lode.term_rows([[atoms]], TERMS)

    def energy(deformation, step=0.0):
        moved = ase.Atoms(atoms.numbers, atoms.positions @ deformation + step, pbc=atoms.pbc)
        moved.cell = atoms.cell.array @ deformation
        return rows(moved, lode).sum(axis=0)

    np.testing.assert_allclose(found["energy"][0, 0], energy(np.eye(3)), rtol=0, atol=1e-11)
    h = 1e-5  # where the cutoff function begins, the error is h times its second derivative
    for atom, axis in itertools.product(range(min(4, len(atoms))), range(3)):
        step = np.zeros((len(atoms), 3))
        step[atom, axis] = h
        slope = (energy(np.eye(3), step) - energy(np.eye(3), -step)) / (2 * h)
        np.testing.assert_allclose(found["forces"][atom, axis], -slope, rtol=0, atol=1e-6)
    for index, (i, j) in enumerate(VOIGT):
        strain = np.zeros((3, 3))
        strain[i, j] += h / 2
        strain[j, i] += h / 2
        slope = (energy(np.eye(3) + strain) - energy(np.eye(3) - strain)) / (2 * h)
        np.testing.assert_allclose(found["virial"][0, index], -slope, rtol=0, atol=2e-5)
    assert np.abs(found["forces"].sum(axis=0)).max() < 1e-10  # nothing pulls from outside


def test_rows_have_the_same_bits_in_any_batch():
    lode = Lode(["Cu", "Au"])
    frames = [triclinic(0), triclinic(1) * (2, 1, 1), ase.Atoms("Au"), triclinic(5)]
    (whole,) = lode.term_rows([frames], TERMS)
    alone = list(lode.term_rows([[frame] for frame in frames], TERMS))
    for name in TERMS:
        np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in alone]))
    np.testing.assert_array_equal(
        np.concatenate(list(lode.atom_rows([frames]))), np.concatenate(list(lode.atom_rows([[f] for f in frames])))
    )


def test_sums_are_the_same_in_parts(monkeypatch):
    from rigidities.interop.featomic import lode, lode_sums

    whole = [list(Lode(["O", "H", "Cu", "Au"]).term_rows([[frame]], TERMS)) for frame in (ALLOY, DIMER)]
    monkeypatch.setattr(lode_sums, "AT_ONCE", 8)
    monkeypatch.setattr(lode, "AT_ONCE", 8)
    parts = [list(Lode(["O", "H", "Cu", "Au"]).term_rows([[frame]], TERMS)) for frame in (ALLOY, DIMER)]
    for (one,), (other,) in zip(whole, parts, strict=True):
        for name in TERMS:
            np.testing.assert_allclose(other[name], one[name], rtol=0, atol=1e-12)


def test_the_weight_of_neighbours_is_that_of_soap():
    """f(r) is what smoothing makes of the radial spectrum of a dimer, less that of the atom."""
    cutoff, width = 4.0, 1.5
    f = CutoffFunction(cutoff, width)
    for r in (2.3, 2.6, 3.1, 3.9):
        dimer = ase.Atoms("OH", positions=[[0, 0, 0], [0, 0, r]])
        found = []
        for smoothing in (width, 0.0):
            soap = Soap(["H", "O"], cutoff, body_orders=(2,), max_radial=3, smoothing=smoothing)
            values = next(soap.atom_rows([[dimer]]))[0]  # blocks H-H, H-O, O-H, O-O
            found.append(values[soap.blocks[2].columns])
        np.testing.assert_allclose(found[0], f.of(np.array([r]))[0] * found[1], rtol=1e-9)


def test_atoms_within_the_inner_cutoff_are_not_seen():
    lode = Lode(["O", "H"], **inner(4.0))
    assert not rows(ase.Atoms("OH", positions=[[0, 0, 0], [0, 0, 2.9]]), lode).any()
    assert rows(DIMER, lode).any()
    assert not rows(ase.Atoms("O"), lode).any()


def test_without_an_inner_cutoff_the_atom_itself_counts():
    lode = Lode(["O", "H"], inner_cutoff=None, max_radial=1)
    at_zero, apart = lode.law.at_distances(np.array([0.0, DIMER.get_distance(0, 1)]))[0]
    np.testing.assert_allclose(rows(DIMER, lode)[0, 2:], [*apart, *at_zero], rtol=1e-8)
    np.testing.assert_allclose(rows(ase.Atoms("O"), lode)[0, 4:], at_zero, rtol=1e-12)


def test_a_step_is_possible():
    lode = Lode(["O", "H"], **inner(3.0, 0.0))
    np.testing.assert_allclose(rows(DIMER, lode)[0].sum(), lode.law.pair_function(10.0)(DIMER.get_distance(0, 1))[0])


# ---- columns, settings


def test_columns_and_components():
    lode = Lode([17, "Na"], max_radial=2)
    assert isinstance(lode, Descriptor)
    assert lode.species == (11, 17)
    assert lode.n_features == 9
    pairs = {name: columns.tolist() for name, columns in lode.components("pair").items()}
    assert pairs == {"Na-Na": [0, 1, 2], "Na-Cl": [3, 4, 5], "Cl-Cl": [6, 7, 8]}
    assert lode.components()["2-body"].tolist() == list(range(9))
    sodium, chlorine = rows(bulk("NaCl", "rocksalt", a=5.6), lode)
    assert not sodium[6:].any()
    assert not chlorine[:3].any()
    np.testing.assert_allclose(sodium[3:6], chlorine[3:6], rtol=1e-12)  # a at c is c at a


SETTINGS = [
    {},
    {"exponent": 2},
    {"smearing": 0.9},
    {"radius": 1.1},
    {"max_radial": 1},
    {"inner_cutoff": None},
    {"inner_cutoff": 4.0},
    {"smoothing": 0.4},
    {"k_cutoff": 4.0},
]


def test_each_setting_has_its_own_feature_space_and_state():
    made = [Lode("Si", **options) for options in SETTINGS]
    assert len({lode.feature_space for lode in made}) == len(made)
    for lode in made:
        for again in (Lode.of_state(lode.state()), pickle.loads(pickle.dumps(lode))):
            assert again == lode
            assert again.feature_space == lode.feature_space
            assert hash(again) == hash(lode)
    assert Lode("Si", 1, radius=2, inner_cutoff=5) == Lode(14, radius=2.0)
    assert repr(made[0]).startswith("Lode(Si; exponent 1, atoms beyond 5 Å, 1 features, 'lode-")
    assert made[5].describe() == "LODE: exponent 1, all atoms"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"exponent": 10}, ValueError, "exponent is 10: expected an integer from 1 to 9"),
        ({"exponent": 1.0}, TypeError, "exponent is 1.0: expected an integer"),
        ({"max_radial": -1}, ValueError, "max_radial is -1: expected an integer from 0 to 100"),
        ({"max_radial": 30}, ValueError, "max_radial is 30: so many radial functions are dependent"),
        ({"smearing": 0.0}, ValueError, "smearing is 0.0: expected a length from 0.1 to 300 Å"),
        ({"radius": 1e9}, ValueError, "radius is 1000000000.0: expected a length from 0.1 to 300 Å"),
        ({"radius": "1"}, TypeError, "radius is '1': expected a length"),
        ({"k_cutoff": 0.0}, ValueError, "k_cutoff is 0.0: expected a wave vector up to 1000/Å"),
        ({"k_cutoff": float("nan")}, ValueError, "k_cutoff is nan"),
        ({"inner_cutoff": -1.0}, ValueError, "inner_cutoff is -1.0: expected a length from 0.1 to 300 Å, or None"),
        ({"smoothing": 6.0}, ValueError, "smoothing is 6.0: expected a width from 0 to the inner cutoff, 5.0 Å"),
        ({"inner_cutoff": None, "smoothing": 1.0}, ValueError, "smoothing is given, but inner_cutoff is None"),
        ({"species": []}, ValueError, "species is empty"),
    ],
)
def test_settings_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Lode(**{"species": "Si"} | options)


HUGE = ase.Atoms("Cu", cell=[400, 400, 400], pbc=True)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (ase.Atoms(ALLOY, pbc=(True, False, True)), "structure 1 is periodic along a, c only: long-range sums need"),
        (ase.Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 301]]), "structure 1 is open and 301 Å wide"),
        (HUGE, r"structure 1: long-range sums over its cell .* take 1.6e\+08 wave vectors, expected at most 1e\+07"),
        (ase.Atoms("Si"), "structure 1 contains Si, which the training set lacks"),
        (ase.Atoms(), "structure 1 has no atoms"),
        (ase.Atoms("Cu", positions=[[0, 0, np.nan]]), "structure 1: atom 0 is at"),
        (ase.Atoms("Cu2", cell=[3, 3, 3], pbc=True), "structure 1: atoms 0 and 1"),
    ],
)
def test_structures_that_have_no_sums_are_refused(atoms, message):
    with pytest.raises(ValueError, match=message):
        list(Lode(["Cu", "Au"]).atom_rows([[ALLOY], [atoms]]))


def test_components_by_something_else_are_refused():
    for by in ("species", "part"):
        with pytest.raises(ValueError, match=f"by is '{by}': expected 'body_order' or 'pair'"):
            Lode("Si").components(by)
