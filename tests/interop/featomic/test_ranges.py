"""Short and long range side by side, for energies of point charges and pairs: errors, rigidities, files."""

import copy
import itertools
import random
import re
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities import files  # noqa: E402
from rigidities.interop.featomic import Lode, Soap  # noqa: E402
from rigidities.interop.featomic.kernel import KernelRows  # noqa: E402
from rigidities.model import LinearModel, SparseKernel  # noqa: E402
from rigidities.structures.joined import Joined  # noqa: E402

CUTOFF, CHARGE = 4.0, 0.6
COULOMB = 14.399645  # e²/4πε₀ in eV Å
SOAP = Soap(["Na", "Cl"], CUTOFF, body_orders=(2,), max_radial=5)
LODE = Lode(["Na", "Cl"], smearing=0.5, radius=0.5, inner_cutoff=CUTOFF)
BOTH = Joined({"short range": SOAP, "long range": LODE})
RANGES = list(BOTH.components().values())
LOSS = rg.Loss(energy=rg.Term(100.0), forces=rg.Term())


def with_energy(atoms):
    """Charges of ±0.6 e and a repulsion of neighbours, 3 eV · exp(−(r − 2.2 Å)/0.4 Å)."""
    charges = np.where(atoms.numbers == 11, CHARGE, -CHARGE)
    energy, forces = 0.0, np.zeros((len(atoms), 3))
    for i, j in itertools.combinations(range(len(atoms)), 2):
        vector = atoms.positions[j] - atoms.positions[i]
        r = np.linalg.norm(vector)
        coulomb, repulsion = COULOMB * charges[i] * charges[j] / r, 3 * np.exp(-(r - 2.2) / 0.4)
        energy += coulomb + repulsion
        pull = (coulomb / r + repulsion / 0.4) * vector / r
        forces[i] -= pull
        forces[j] += pull
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def clusters(n, width, seed, n_atoms=8):
    """Ions at random places in a cube, 2.2 Å apart or more."""
    places, frames = np.random.default_rng(seed), []
    while len(frames) < n:
        positions = []
        while len(positions) < n_atoms:
            place = places.uniform(0, width, size=3)
            if all(np.linalg.norm(place - other) > 2.2 for other in positions):
                positions.append(place)
        frames.append(with_energy(ase.Atoms(["Na", "Cl"] * (n_atoms // 2), positions)))
    return frames


def dimers(low, high, n=25):
    distances = np.linspace(low, high, n)
    return [with_energy(ase.Atoms(pair, [[0, 0, 0], [0, 0, r]])) for r in distances for pair in ("NaCl", "Na2", "Cl2")]


WIDE, UNSEEN, NEAR = clusters(60, 11.0, 0), clusters(20, 11.0, 1), dimers(2.2, 3.5)


def fitted(structures, descriptor, **options):
    return LinearModel.fit(
        structures, descriptor, LOSS, **{"baseline": None, "regularizer": 1e-6, "progress": False} | options
    )


def rows_of(frames, descriptor=BOTH):
    return next(descriptor.term_rows([frames], ["energy"]))["energy"][:, 0]


@pytest.fixture(scope="module")
def model():
    return fitted(WIDE, BOTH)


def test_the_long_range_lowers_the_floor_of_errors(model):
    short, long = (one.errors(UNSEEN, progress=False) for one in (fitted(WIDE, SOAP), model))
    assert long["energy"].rmse < 0.05 * short["energy"].rmse
    assert long["forces"].rmse < 0.05 * short["forces"].rmse


def test_the_long_range_is_the_potential_of_the_charges(model):
    """½ q_c q_a e²/4πε₀ over the potential of a unit source, times its distance."""
    norm = np.pi**0.75 * np.sqrt(8.0) * 0.5**1.5
    signs = np.array([1, -1, 1])
    np.testing.assert_allclose(model.coef[RANGES[1]], signs * CHARGE**2 * COULOMB / (2 * norm), rtol=0.03)


def test_data_that_carry_the_range_set_its_rigidity_and_others_do_not():
    """Of dimers within the cutoff the long range is λ's alone; of dimers at several distances it is the data's."""
    X = rows_of(UNSEEN)
    found = {}
    for name, structures in {"near": NEAR, "far": NEAR + dimers(5.0, 12.0)}.items():
        for regularizer in (1e-6, 1e-7):
            hessian = fitted(structures, BOTH, regularizer=regularizer).hessian
            with pytest.warns(rg.SetByPriorWarning) if name == "near" else nullcontext():
                cpr = hessian.component_rigidity(X, RANGES)[:, 1]
            found[name, regularizer] = np.median(cpr), np.median(hessian.prior_share(X, components=RANGES)[:, 1])
    assert found["near", 1e-6][1] == pytest.approx(1.0, abs=1e-6)
    assert found["near", 1e-6][0] == pytest.approx(10 * found["near", 1e-7][0], rel=1e-5)
    assert found["far", 1e-6][1] < 0.05
    assert found["far", 1e-6][0] == pytest.approx(found["far", 1e-7][0], rel=0.1)
    assert found["far", 1e-6][0] > 100 * found["near", 1e-6][0]


def test_energies_of_atoms_have_a_long_range_that_data_set(model):
    """Sodium at chlorine and chlorine at sodium have one weight: with one each, λ would share it between them."""
    X = next(BOTH.atom_rows([UNSEEN]))
    assert np.median(model.hessian.prior_share(X, components=RANGES)[:, 1]) < 0.01


def test_neighbours_that_both_ranges_see_leave_their_share_to_the_prior():
    """Six functions as wide as the cutoff, and no inner cutoff: each range can take the part of the other."""
    wide = {"radius": CUTOFF, "max_radial": 5}
    X = {}
    for inner in (None, CUTOFF):
        both = Joined({"short range": SOAP, "long range": Lode(SOAP.species, **wide, inner_cutoff=inner)})
        hessian = fitted(WIDE, both).hessian
        components = list(both.components().values())
        X[inner] = np.median(hessian.prior_share(rows_of(UNSEEN, both), components=components), axis=0)
    assert (X[None] > 2 * X[CUTOFF]).all()


# ---- files


def test_a_model_comes_back_from_its_file_alone(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = LinearModel.load(tmp_path / "model")
    assert loaded.soap == BOTH
    expected, found = (one.predict(UNSEEN, virials=True, progress=False) for one in (model, loaded))
    for name in ("energies", "energy_std", "forces", "forces_std", "virials", "virial_std", "pr", "lpr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_lode_alone_and_beside_a_kernel_come_back_too(tmp_path):
    soap = Soap(SOAP.species, CUTOFF, max_radial=2, max_angular=1)
    kernel = SparseKernel(zeta=2, n_points=6).rows(WIDE[:10], soap, progress=False)
    for descriptor in (LODE, Joined({"kernel": kernel, "long range": LODE})):
        model = fitted(WIDE[:20], descriptor)
        model.save(tmp_path / "model")
        loaded = LinearModel.load(tmp_path / "model")
        assert loaded.soap == descriptor
        expected, found = (one.predict(UNSEEN, progress=False) for one in (model, loaded))
        np.testing.assert_array_equal(found.forces, expected.forces)
    assert isinstance(loaded.soap.parts["kernel"], KernelRows)


@pytest.fixture(scope="module")
def state(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    model.save(path)
    return {name: value for name, value in files.load(path, "model").items() if name != "version"}


def changed(state, keys, value):
    state = {name: copy.deepcopy(entry) for name, entry in state.items()}
    at = state["soap"]
    for key in keys[:-1]:
        at = at[key]
    if value is ...:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return state


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["parts"], [], r"soap.parts is \[\]: expected a list with an entry"),
        (["parts"], ..., "soap.parts is missing"),
        (["parts", 0], 3, r"soap.parts\[0\] is 3: expected names with values"),
        (["parts", 1, "exponent"], -1, r"soap.parts\[1\].exponent is -1: expected an integer from 1"),
        (["parts", 1, "exponent"], 12, "exponent is 12: expected an integer from 1 to 9"),
        (["parts", 1, "smearing"], ..., r"soap.parts\[1\].smearing is missing"),
        (["parts", 1, "smearing"], 0.7, "its columns are 'lode-"),
        (["parts", 1, "kind"], "joined", r"soap.parts\[1\] is joined itself"),
        (["parts", 1, "kind"], "soap", r"soap.parts\[1\].* is (missing|not known)"),
        (["parts", 1, "kind"], "other", "holds a model of a descriptor of kind 'other'"),
        (["names"], ["a", "a"], "1 part is given|shorter|longer"),
        (["names"], ["one", "two", "three"], "shorter|longer"),
        (["names", 0], "other", "its columns are 'joined-"),
        (["7.points"], 1, "soap.7.points is not known"),
        (["other"], 1, "soap.other is not known"),
    ],
)
def test_entries_of_parts_are_refused_by_their_name(tmp_path, state, keys, value, message):
    path = tmp_path / "model"
    files.save(path, "model", changed(state, keys, value))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} .*(?:{message})"):
        LinearModel.load(path)


def places(value, place=()):
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*place, key)
        yield from places(entry, (*place, key))


def test_odd_values_anywhere_in_the_parts_are_taken_or_refused(tmp_path, state):
    path, rng, outcomes = tmp_path / "model", random.Random(7), Counter()
    known = list(places(state["soap"]))
    odd = [None, True, 0, -1, 3.5, 1e300, 10**400, 2**63, "", "x", [], {}, [[]], [1], [1e9], {"a": 1}, [None], ...]
    for _ in range(150):
        files.save(path, "model", changed(state, list(rng.choice(known)), rng.choice(odd)))
        try:
            LinearModel.load(path)
        except ValueError as error:
            outcomes["refused" if str(path) in str(error) else str(error)] += 1
        else:
            outcomes["taken"] += 1
    assert set(outcomes) <= {"taken", "refused"}
    assert outcomes["refused"] > 100
