"""A descriptor of another kind than `Soap` makes a model too: rows, fit, predictions, errors, files."""

import pickle
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

ase = pytest.importorskip("ase")

from ase.calculators.emt import EMT  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from pair_distances import PairDistances  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402
from rigidities.structures.descriptor import Descriptor  # noqa: E402
from rigidities.structures.loss_rows import LossRows  # noqa: E402

PAIRS = PairDistances((29, 79))
LOSS = rg.Loss(energy=rg.Term(10.0, per_atom=True), forces=rg.Term())


def cluster(seed, n=13):
    """Atoms of copper and gold at random places that are not too near, with the energies and forces of EMT."""
    random = np.random.default_rng(seed)
    places = []
    while len(places) < n:
        place = random.uniform(-3.5, 3.5, size=3)
        if all(np.linalg.norm(place - other) > 2.2 for other in places):
            places.append(place)
    atoms = ase.Atoms(random.choice([29, 79], size=n), places)
    atoms.calc = EMT()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


TRAIN, TEST = [cluster(seed) for seed in range(30)], [cluster(seed) for seed in range(30, 36)]


def made(descriptor=PAIRS, loss=LOSS, **options):
    return LinearModel.fit(TRAIN, descriptor, loss, progress=False, **{"regularizer": 1e-6} | options)


@pytest.fixture(scope="module")
def model():
    return made()


def test_it_fills_the_contract():
    assert isinstance(PAIRS, Descriptor)
    assert not isinstance(object(), Descriptor)


def test_finite_differences_confirm_its_rows():
    """Of forces and virials, as `LossRows` gives them: −∂(Σf)/∂R and −∂(Σf)/∂ε of its own energies."""
    loss = rg.Loss(energy=rg.Term(), forces=rg.Term(), virial=rg.Term())
    rows_of = lambda structures: list(LossRows(structures, PAIRS, loss, targets=False, progress=False))  # noqa: E731
    [rows] = rows_of(TEST[0])
    step, places = 1e-4, [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    moves = [np.eye(len(TEST[0]))[:, atom, None] * np.eye(3)[axis] for atom in (0, 5) for axis in range(3)]
    moves += [TEST[0].positions @ (0.5 * (np.eye(3)[[i]].T * np.eye(3)[j] + np.eye(3)[[j]].T * np.eye(3)[i]))
              for i, j in places]  # fmt: skip
    expected = []
    for move in moves:
        moved = [TEST[0].copy(), TEST[0].copy()]
        for atoms, sign in zip(moved, (1, -1), strict=True):
            atoms.positions += sign * step * move
        [found] = rows_of(moved)
        high, low = found["energy"].values
        expected.append((low - high) / (2 * step))
    found = [*rows["forces"].values[:3], *rows["forces"].values[15:18], *rows["virial"].values]
    # the step leaves an error of its square times the third derivative, some 10/Å³, times 13² for
    # the virial
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(expected).max() > 1


def test_the_fit_is_that_of_dense_algebra(model):
    rows = LossRows(TRAIN, PAIRS, LOSS, baseline="fit", progress=False)
    parts = [batch[name] for batch in rows for name in LOSS.terms]
    F, y, w = (np.concatenate([getattr(p, name) for p in parts]) for name in ("values", "targets", "weights_in_loss"))
    H = F.T @ (w[:, None] * F) + 1e-6 * np.eye(PAIRS.n_features)
    # cond(H) is about 1e5 and eps 2e-16
    np.testing.assert_allclose(model.coef, np.linalg.solve(H, F.T @ (w * y)), rtol=1e-8)
    found = model.predict(TEST, progress=False)
    X = np.concatenate(list(PAIRS.atom_rows([TEST])))
    np.testing.assert_allclose(found.lpr, 1 / np.einsum("ij,ji->i", X, np.linalg.solve(H, X.T)), rtol=1e-8)
    sums = X.reshape(len(TEST), -1, PAIRS.n_features).sum(axis=1)
    composition = [model.baseline.energy(atoms.numbers) for atoms in TEST]
    np.testing.assert_allclose(found.energies, sums @ model.coef + composition, rtol=1e-10)


def test_its_forces_are_minus_the_derivative_of_its_energy(model):
    atoms, step = TEST[1].copy(), 1e-4
    forces = model.predict(atoms, progress=False).forces
    for atom, axis in [(0, 0), (4, 1), (12, 2)]:
        moved = [atoms.copy(), atoms.copy()]
        for copy, sign in zip(moved, (1, -1), strict=True):
            copy.positions[atom, axis] += sign * step
        high, low = model.predict(moved, forces=False, progress=False).energies
        # the step leaves an error of its square times the third derivative, some 100 eV/Å³
        assert forces[atom, axis] == pytest.approx((low - high) / (2 * step), abs=1e-5)


def test_errors_are_those_of_its_predictions(model):
    found, errors = model.predict(TEST, progress=False), model.errors(TEST, progress=False)
    energies, forces = [a.get_potential_energy() for a in TEST], np.concatenate([a.get_forces() for a in TEST])
    assert errors["forces"].rmse == pytest.approx(np.sqrt(np.mean((forces - found.forces) ** 2)), rel=1e-9)
    assert errors["energy"].rmse == pytest.approx(np.sqrt(np.mean(((energies - found.energies) / 13) ** 2)), rel=1e-9)
    assert errors["forces"].rmse < 0.7 * np.sqrt(np.mean(forces**2))  # pairs explain most of EMT


def test_batches_change_no_row():
    whole, cut = (list(LossRows(TRAIN, PAIRS, LOSS, progress=False, batch_size=size)) for size in (10**6, 30))
    assert [len(batch["energy"]) for batch in cut] == [2] * 15
    joined = np.concatenate([batch["forces"].values for batch in cut])
    np.testing.assert_array_equal(joined, whole[0]["forces"].values)


def test_a_model_comes_back_with_the_descriptor_that_is_passed(model, tmp_path):
    path = tmp_path / "model"
    model.save(path)
    loaded = LinearModel.load(path, PairDistances((29, 79)))
    again = pickle.loads(pickle.dumps(model))
    expected = model.predict(TEST, progress=False)
    for other in (loaded, again):
        found = other.predict(TEST, progress=False)
        for name in ("energies", "energy_std", "forces", "forces_std", "lpr"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert not other.coef.flags.writeable
    assert "featomic" not in loaded.versions
    with pytest.raises(
        ValueError, match=r"of kind 'pair-distances', which cannot be made from a file: pass it, Linear"
    ):
        LinearModel.load(path)
    with pytest.raises(ValueError, match=r"holds a model of feature space 'pair-distances \(29, 79\).*: pass the one"):
        LinearModel.load(path, replace(PAIRS, cutoff=5.0))


def test_what_a_descriptor_does_wrong_is_refused():
    @dataclass(frozen=True)
    class Flat(PairDistances):
        def term_rows(self, batches, terms):
            for rows in super().term_rows(batches, terms):
                yield {name: values.reshape(-1, self.n_features) for name, values in rows.items()}

    with pytest.raises(ValueError, match=r"rows of energy of shape \(30, 8\): expected \(30, 1, 8\)"):
        made(Flat((29, 79)))
    with pytest.raises(TypeError, match=r"soap is a str: expected a Soap, .* or another Descriptor"):
        made("pairs")
    with pytest.raises(ValueError, match=r"structure \d contains Au, which the training set lacks"):
        made(PairDistances((29,)))


def changed(name, change):
    """Pair distances of which one method yields something else."""

    def method(self, *arguments):
        return change(getattr(PairDistances, name)(self, *arguments))

    return type("Changed", (PairDistances,), {name: method})((29, 79))


def each(change):
    return lambda batches: (change(batch) for batch in batches)


def every(change):
    return each(lambda batch: {name: change(rows) for name, rows in batch.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (each(lambda rows: rows[:, :-1]), r"rows of atoms of shape \(78, 7\): expected \(78, 8\)"),
        (each(lambda rows: rows[:-1]), r"rows of atoms of shape \(77, 8\): expected \(78, 8\)"),
        (each(lambda rows: np.nan * rows), r"features\[0, 0\] is NaN"),
        (lambda batches: iter(()), "the descriptor gave rows of 0 batches: expected 1"),
        (lambda batches: (rows for batch in batches for rows in (batch, batch)), "rows of more batches: expected 1"),
    ],
)
def test_wrong_rows_of_atoms_are_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        replace(model, soap=changed("atom_rows", change)).predict(TEST, forces=False, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batches: iter(()), "the descriptor gave rows of 0 batches: expected 1"),
        (each(lambda batch: {"forces": batch["forces"]}), "the descriptor gave no rows of energy: expected those of"),
        (every(lambda rows: rows[:-1]), r"rows of energy of shape \(\d+, 1, 8\): expected"),
        (every(lambda rows: np.nan * rows), r"features\[0, 0\] is NaN|an error is not finite"),
    ],
)
def test_wrong_rows_of_a_loss_are_refused(model, change, message):
    descriptor = changed("term_rows", change)
    with pytest.raises(ValueError, match=message):
        made(descriptor)
    with pytest.raises(ValueError, match=message):
        replace(model, soap=descriptor).errors(TEST, progress=False)


@pytest.mark.parametrize("change", [lambda rows: rows.tolist(), lambda rows: np.broadcast_to(rows, rows.shape)])
def test_rows_may_be_lists_or_read_only(model, change):
    np.testing.assert_array_equal(made(changed("term_rows", every(change))).coef, model.coef)


def test_what_is_no_descriptor_is_refused_beside_a_file(model, tmp_path):
    model.save(tmp_path / "model")
    with pytest.raises(TypeError, match="descriptor is a str: expected a Descriptor, or None for a Soap"):
        LinearModel.load(tmp_path / "model", "pairs")


def test_a_model_without_baseline_predicts():
    bare = made(baseline=None)
    X = np.concatenate(list(PAIRS.atom_rows([TEST]))).reshape(len(TEST), -1, PAIRS.n_features).sum(axis=1)
    np.testing.assert_allclose(bare.predict(TEST, progress=False).energies, X @ bare.coef, rtol=1e-10)


def test_featomic_is_not_needed():
    code = """
import sys
sys.modules["featomic"] = None
from test_descriptor import TEST, made
made().predict(TEST, progress=False)
"""
    here = __file__.rpartition("/")[0]
    paths = [here, here.rpartition("/")[0], *sys.path]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}\n{code}"], check=True)
