"""Purified body order 3, against its definition with featomic's rows of pairs and lone atoms."""

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk, molecule  # noqa: E402
from ase.neighborlist import neighbor_list  # noqa: E402
from crystals import SMALL, rattled, rows, triclinic, with_emt  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.interop.featomic import Soap, calculators, pair_expansion, purified  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402
from rigidities.structures.species import VOIGT  # noqa: E402

BOTH = SMALL | {"body_orders": (2, 3)}
TINY = ase.Atoms("Si2", positions=[[0, 0, 0], [1.1, 0.9, 1.4]], cell=np.eye(3) * 2.7 + 0.1, pbc=True)
KINDS = {
    "one species": (["Si"], rattled(bulk("Si", cubic=True), 0)),
    "a cell smaller than the cutoff": (["Si"], TINY),
    "a molecule": (["H", "C", "N", "O"], molecule("CH3CONH2")),
    "an alloy": (["Cu", "Au"], triclinic()),
    "a slab": (["Cu", "Au"], ase.Atoms(triclinic(), pbc=(True, True, False))),
    "an atom": (["H", "C"], ase.Atoms("C", positions=[[0.0, 0.0, 0.0]])),
}
OPTIONS = {"compact": {}, "full": {"compact": False}, "mixed": {"pseudo_species": [[0.7, -0.2], [0.4, 0.9]]}}


def third(soap):
    return np.concatenate([np.r_[block.columns] for block in soap.blocks if block.body_order == 3])


def by_definition(atoms, soap):
    """f₃(i) − Σ_j f₃(pair i, j) + (k − 1) f₃(lone atom i), each pair computed by featomic."""
    found, three = rows(atoms, soap).values, third(soap)
    centre, neighbour, vectors = neighbor_list("ijD", atoms, soap.cutoff)
    for i, number in enumerate(atoms.numbers):
        lone = rows(ase.Atoms([number], [[0, 0, 0]]), soap).values[0, three]
        alone = [
            rows(ase.Atoms([number, atoms.numbers[j]], [[0, 0, 0], d]), soap).values[0, three]
            for j, d in zip(neighbour[centre == i], vectors[centre == i], strict=True)
        ]
        found[i, three] += (len(alone) - 1) * lone - np.sum(alone, axis=0)
    return found


def pair_of(species, **options):
    return Soap(species, **(BOTH | options)), Soap(species, **(BOTH | options), purified=True)


# ---- rows


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_follow_the_definition(kind, option):
    species, atoms = KINDS[kind]
    if option == "mixed" and len(species) != 2:
        pytest.skip("the shares are those of two species")
    plain, soap = pair_of(species, **OPTIONS[option])
    expected = by_definition(atoms, plain)
    scale = np.abs(rows(atoms, plain).values).max()
    np.testing.assert_allclose(rows(atoms, soap).values, expected, rtol=0, atol=1e-12 * scale)
    assert soap.n_features == plain.n_features


@pytest.mark.parametrize(
    "settings",
    [
        {"smoothing": 0.0},
        {"cutoff": 2.9, "smoothing": 2.9},
        {"density_width": 0.25},
        {"max_radial": 0, "max_angular": 0},
        {"cutoff": 0.9},
    ],
    ids=str,
)
def test_for_other_settings(settings):
    species, atoms = KINDS["an alloy"]
    plain, soap = pair_of(species, **settings)
    expected = by_definition(atoms, plain)
    scale = np.abs(rows(atoms, plain).values).max()
    np.testing.assert_allclose(rows(atoms, soap).values, expected, rtol=0, atol=1e-12 * scale)


def with_hyperparameters(change):
    hyperparameters = Soap("H", **BOTH).hyperparameters
    change(hyperparameters)
    return {"hyperparameters": hyperparameters, "body_orders": (2, 3)}


CHANGES = {
    "scaling": lambda h: h["density"].update(scaling={"type": "Willatt2018", "exponent": 5, "rate": 0.7, "scale": 1.9}),
    "weight": lambda h: h["density"].update(center_atom_weight=0.3),
    "without the atom itself": lambda h: h["density"].update(center_atom_weight=0.0),
    "accuracy": lambda h: h["basis"].update(spline_accuracy=1e-4),
    "explicit": lambda h: h.update(
        basis={
            "type": "Explicit",
            "by_angular": {"0": {"type": "Gto", "max_radial": 2}, "3": {"type": "Gto", "max_radial": 4}},
        }
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_for_hyperparameters_of_featomic(name):
    options = with_hyperparameters(CHANGES[name])
    atoms = KINDS["an alloy"][1]
    plain, soap = (Soap(["Cu", "Au"], **options, purified=flag) for flag in (False, True))
    expected = by_definition(atoms, plain)
    scale = np.abs(rows(atoms, plain).values).max()
    np.testing.assert_allclose(rows(atoms, soap).values, expected, rtol=0, atol=1e-12 * scale)


def test_dimers_have_none_and_trimers_do():
    plain, soap = pair_of(["O", "H"])
    for distance in (0.06, 0.7, 1.2, 3.6, 3.99):
        dimer = ase.Atoms("OH", positions=[[0, 0, 0], [0, 0.6 * distance, 0.8 * distance]])
        found, all_of_it = (rows(dimer, which).values[:, third(plain)] for which in (soap, plain))
        assert np.abs(found).max() <= 1e-12 * np.abs(all_of_it).max()
        np.testing.assert_array_equal(
            rows(dimer, soap).values[:, : third(soap)[0]], rows(dimer, plain).values[:, : third(soap)[0]]
        )
    assert np.abs(rows(molecule("H2O"), soap).values[:, third(soap)]).max() > 0.1


def test_chains_whose_ends_do_not_meet_have_one_triplet():
    """Only the atom in the middle has two neighbours within the cutoff."""
    _, soap = pair_of("Si")
    chain = ase.Atoms("Si3", positions=[[0, 0, 0], [0, 0, 3.0], [0, 0, 6.0]])
    found = np.abs(rows(chain, soap).values[:, third(soap)]).max(axis=1)
    assert found[1] > 1e-3
    assert found[[0, 2]].max() < 1e-12


# ---- gradients


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", ["one species", "a cell smaller than the cutoff", "an alloy", "a molecule"])
def test_rows_of_terms_are_derivatives(kind, option):
    species, atoms = KINDS[kind]
    if option == "mixed" and len(species) != 2:
        pytest.skip("the shares are those of two species")
    _, soap = pair_of(species, **OPTIONS[option])
    atoms = rattled(atoms, 3)
    terms = ["energy", "forces", "virial"] if atoms.pbc.all() else ["energy", "forces"]
    (found,) = soap.term_rows([[atoms]], terms)

    def energy(positions=atoms.positions, cell=atoms.cell):
        moved = ase.Atoms(atoms.numbers, positions, cell=cell, pbc=atoms.pbc)
        return rows(moved, soap).values.sum(axis=0)

    np.testing.assert_allclose(found["energy"][0, 0], energy(), rtol=0, atol=1e-11)
    h = 1e-5
    for atom in range(min(4, len(atoms))):
        for axis in range(3):
            step = np.zeros((len(atoms), 3))
            step[atom, axis] = h
            slope = (energy(atoms.positions + step) - energy(atoms.positions - step)) / (2 * h)
            np.testing.assert_allclose(found["forces"][atom, axis], -slope, rtol=0, atol=3e-7)
    for index, (i, j) in enumerate(VOIGT if "virial" in terms else []):
        strain = np.zeros((3, 3))
        strain[i, j] += h / 2
        strain[j, i] += h / 2
        low, high = (
            energy(atoms.positions @ (np.eye(3) + sign * strain), atoms.cell[:] @ (np.eye(3) + sign * strain))
            for sign in (-1, 1)
        )
        np.testing.assert_allclose(found["virial"][0, index], -(high - low) / (2 * h), rtol=0, atol=1e-5)


def test_forces_of_a_dimer_are_those_of_body_order_2():
    plain, soap = pair_of(["O", "H"])
    (found,) = soap.term_rows([[ase.Atoms("OH", positions=[[0, 0, 0], [0.3, 0.4, 0.9]])]], ["forces"])
    (whole,) = plain.term_rows([[ase.Atoms("OH", positions=[[0, 0, 0], [0.3, 0.4, 0.9]])]], ["forces"])
    three = third(soap)
    assert np.abs(found["forces"][..., three]).max() <= 1e-11 * np.abs(whole["forces"][..., three]).max()


def test_rows_have_the_same_bits_in_any_batch(monkeypatch):
    monkeypatch.setattr(purified, "AT_ONCE", 100)  # one structure in parts, others together
    _, soap = pair_of(["Cu", "Au"])
    frames = [triclinic(seed) for seed in range(3)] + [triclinic(9) * (2, 1, 1), ase.Atoms("Au"), triclinic(5)]
    terms = ["energy", "forces", "virial"]
    (whole,) = soap.term_rows([frames], terms)
    alone = list(soap.term_rows([[frame] for frame in frames], terms))
    for name in terms:
        np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in alone]))
    values = rows(frames, soap).values
    np.testing.assert_array_equal(values, np.concatenate([rows(frame, soap).values for frame in frames]))


def test_pairs_are_cut_alike_beside_any_others(monkeypatch):
    monkeypatch.setattr(purified, "AT_ONCE", 10)
    cuts = [(s.start, s.stop) for s in purified._cuts([3, 4, 0, 25, 10, 1])]
    assert cuts == [(0, 7), (7, 17), (17, 27), (27, 32), (32, 42), (42, 43)]
    assert list(purified._cuts([0, 0])) == []


# ---- what it is for


def lennard_jones(r):
    return 4 * 0.1 * ((2.2 / r) ** 12 - (2.2 / r) ** 6)


def trimers(n, seed=0):
    """Triangles with random sides; the energy is a sum over pairs and over the angle at each atom."""
    rng = np.random.default_rng(seed)
    frames, energies = [], []
    while len(frames) < n:
        positions = rng.normal(size=(3, 3)) * 1.6
        sides = np.linalg.norm(positions - positions[[1, 2, 0]], axis=1)
        if sides.min() < 2.1 or sides.max() > 4:
            continue
        vectors = positions[:, None] - positions
        lengths = np.linalg.norm(vectors, axis=2) + np.eye(3)
        cosines = [vectors[i, i - 1] @ vectors[i, i - 2] / lengths[i, i - 1] / lengths[i, i - 2] for i in range(3)]
        fade = np.prod(np.exp(1 / (sides - 4.2)))
        frames.append(ase.Atoms("Ar3", positions=positions))
        energies.append(lennard_jones(sides).sum() + 3 * fade * np.sum((np.array(cosines) + 1 / 3) ** 2))
    return frames, np.array(energies)


def dimers(distances):
    return [ase.Atoms("Ar2", positions=[[0, 0, 0], [0, 0, r]]) for r in distances]


def two_body_model(soap, regularizer, with_dimers):
    frames, energies = trimers(60)
    if with_dimers:
        distances = np.linspace(2.1, 4.2, 50)
        frames, energies = frames + dimers(distances), np.r_[energies, lennard_jones(distances)]
    of_atoms = rows(frames, soap)
    covariance = rg.Covariance(soap.n_features)
    covariance.update(of_atoms, reduction="sum", targets=energies)
    return covariance.factorize(regularizer)


def rigidities_of_two_bodies(soap, regularizer, with_dimers):
    asked = rows(trimers(10, seed=5)[0], soap)
    hessian = two_body_model(soap, regularizer, with_dimers)
    parts = list(soap.components().values())
    rigidity = hessian.component_rigidity(asked, parts, reduction="sum")[:, 0]
    return rigidity, hessian.prior_share(asked, components=parts, reduction="sum")[:, 0]


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # what is shown of the others
def test_components_move_with_the_data_and_not_with_the_regularizer():
    def of(flag, regularizer, with_dimers):
        soap = Soap("Ar", 4.2, max_radial=5, max_angular=4, body_orders=(2, 3), purified=flag)
        rigidity, share = rigidities_of_two_bodies(soap, regularizer, with_dimers)
        return np.median(rigidity), np.median(share)

    for flag in (False, True):
        few, more, at_less = (of(flag, *case)[0] for case in ((1e-6, False), (1e-6, True), (1e-7, True)))
        share = of(flag, 1e-6, True)[1]
        if flag:
            assert more > 100 * few  # dimers say what pairs do
            assert more == pytest.approx(at_less, rel=0.05)
            assert share < 0.05
        else:
            assert more == pytest.approx(few, rel=0.02)  # whatever the data
            assert more == pytest.approx(10 * at_less, rel=0.05)
            assert share > 0.99


def test_the_two_body_part_is_the_energy_of_a_dimer():
    """Fitted to trimers and dimers, the part of body order 2 alone is the pair potential."""
    asked = np.linspace(2.3, 3.9, 30)
    missed = {}
    for flag in (False, True):
        soap = Soap("Ar", 4.2, max_radial=5, max_angular=4, body_orders=(2, 3), purified=flag)
        hessian = two_body_model(soap, 1e-6, True)
        _, f = rg.reduce_rows(rows(dimers(asked), soap), reduction="sum")
        two = soap.components()["2-body"]
        missed[flag] = np.abs(f[:, two] @ hessian.coef[two] - lennard_jones(asked)).max()
    assert missed[True] < 0.024
    assert missed[False] > 10 * missed[True]


# ---- models, states and errors


@pytest.mark.filterwarnings("ignore:the compositions of the training")
def test_a_model_is_stored_and_read(tmp_path):
    frames = [with_emt(triclinic(seed)) for seed in range(6)]
    loss = rg.Loss(energy=rg.Term(100.0), forces=rg.Term(), virial=rg.Term(0.1))
    for options in ({}, {"pseudo_species": [[0.7], [0.4]]}):
        _, soap = pair_of(["Cu", "Au"], **options)
        model = LinearModel.fit(frames[:4], soap, loss, baseline="fit", regularizer=0.1, progress=False)
        model.save(tmp_path / "model.safetensors")
        loaded = LinearModel.load(tmp_path / "model.safetensors")
        assert loaded.soap == soap
        assert loaded.soap.purified
        one, other = (m.predict(frames[4:], progress=False) for m in (model, loaded))
        np.testing.assert_array_equal(one.forces, other.forces)
        assert np.abs(one.forces).max() > 0.1


def test_states_without_it_are_of_the_power_spectrum():
    plain, soap = pair_of(["Cu", "Au"])
    assert "purified" not in plain.state()
    assert Soap.of_state(plain.state()) == plain
    assert Soap.of_state(soap.state()) == soap != plain
    assert soap.feature_space != plain.feature_space
    assert "purified" in soap.describe()
    assert soap.with_pseudo_species(1).purified
    assert hash(soap) != hash(plain)


@pytest.mark.parametrize("body_orders", [(2,), (3,)])
def test_it_needs_both_body_orders(body_orders):
    with pytest.raises(ValueError, match=r"but body_orders is \(\d,\): pass body_orders=\(2, 3\)"):
        Soap("Si", body_orders=body_orders, purified=True)


def test_it_is_true_or_false():
    with pytest.raises(TypeError, match="purified"):
        Soap("Si", body_orders=(2, 3), purified="yes")


def test_another_convention_of_featomic_is_noticed(monkeypatch):
    calculators._require_convention.cache_clear()
    products = purified.Purification._products_of
    monkeypatch.setattr(
        purified.Purification,
        "_products_of",
        lambda self, *a, **k: products(self, *a, **k)._replace(factors=abs(products(self, *a, **k).factors)),
    )
    _, soap = pair_of("Si")
    with pytest.raises(RuntimeError, match="this version of featomic has another convention"):
        rows(KINDS["one species"][1], soap)
    calculators._require_convention.cache_clear()


def test_a_table_that_does_not_converge_is_refused(monkeypatch):
    monkeypatch.setattr(pair_expansion, "ERROR", 0.0)
    with pytest.raises(ValueError, match=r"change too fast for a table of 40960 distances up to 1\.1 Å"):
        pair_expansion.pair_expansion(Soap("Si", **(BOTH | {"cutoff": 1.1})).settings)
