"""A sparse kernel model of silicon: its points, its fit against the textbook, files, commands, faults."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

import ase.io
from hypothesis import given, settings
from hypothesis import strategies as st
from silicon_model import LOSS, SOAP, TEST, TRAIN, made
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli, files
from rigidities.interop.featomic import LossRows, Soap, soap_rows
from rigidities.model import (
    LinearModel,
    SparseKernel,
    atom_rows,
)
from rigidities.model import kernel as module
from rigidities.model.kernel import farthest_points

KERNEL, REGULARIZER = SparseKernel(zeta=2, n_points=30), 1e-4


@pytest.fixture(scope="module")
def model():
    return made(kernel=KERNEL, regularizer=REGULARIZER)


# Points -------------------------------------------------------------------------------------------


@given(st.integers(2, 30), st.integers(1, 40), st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_each_point_is_the_farthest_from_those_before_it(n, m, seed):
    units = np.random.default_rng(seed).normal(size=(n, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    chosen = farthest_points(units, m)
    assert len(chosen) == len(set(chosen.tolist())) == min(n, m)
    for k in range(1, len(chosen)):
        distances = np.linalg.norm(units[:, None] - units[chosen[:k]], axis=2).min(axis=1)
        assert distances[chosen[k]] == pytest.approx(distances.max(), abs=1e-7)


def test_equal_atoms_are_one_point():
    units = np.repeat(np.eye(3), 5, axis=0)
    assert len(farthest_points(units, 10)) == 3
    crystal = ase.Atoms("Si8", scaled_positions=TRAIN[0].get_scaled_positions(), cell=TRAIN[0].cell, pbc=True)
    rows = SparseKernel(n_points=5).rows([crystal], SOAP, progress=False)
    assert rows.n_points <= 5
    assert rows.n_features <= rows.n_points


def test_points_are_chosen_among_every_third_atom(monkeypatch):
    """With little memory; batches of structures go on counting."""
    rows = soap_rows(TRAIN, SOAP, progress=False).values
    units = (rows / np.linalg.norm(rows, axis=1, keepdims=True))[::3]
    monkeypatch.setattr(module, "CANDIDATE_BYTES", rows.nbytes / 2.5)
    monkeypatch.setattr(atom_rows, "BATCH_SIZE", 16)
    found = SparseKernel(n_points=10).rows(TRAIN, SOAP, progress=False)
    np.testing.assert_allclose(found.points[14].units, units[farthest_points(units, 10)], atol=1e-12)


# The fit ------------------------------------------------------------------------------------------


def textbook(points, structures, with_forces=True):
    """Kernels summed over atoms, and minus their derivatives by finite differences, from SOAP rows alone."""

    def summed(atoms):
        rows = soap_rows(atoms, SOAP, progress=False).values
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return ((units @ points.T) ** 2).sum(axis=0)

    energies, forces, step = [], [], 1e-4
    for atoms in structures:
        energies.append(summed(atoms))
        for atom, axis in np.ndindex(len(atoms), 3) if with_forces else ():
            moved = [atoms.copy(), atoms.copy()]
            moved[0].positions[atom, axis] += step
            moved[1].positions[atom, axis] -= step
            forces.append(-(summed(moved[0]) - summed(moved[1])) / (2 * step))
    return np.array(energies), np.array(forces)


def reference_energies(structures, model):
    """Energies per atom without the baseline."""
    ground = [model.baseline.energy(atoms.numbers) for atoms in structures]
    sizes = np.array([len(atoms) for atoms in structures])
    return (np.array([atoms.get_potential_energy() for atoms in structures]) - ground) / sizes, sizes


def test_it_is_the_regressor_of_the_textbook(model):
    """Σ w K_MN K_NM + λ K_MM, in the coordinates K_MM^(-½), by least squares of its rows."""
    points = model.soap.points[14].units
    d, U = np.linalg.eigh((points @ points.T) ** 2)
    kept = d > len(d) * np.finfo(float).eps * d[-1]
    W = U[:, kept] / np.sqrt(d[kept])
    energies, forces = textbook(points, TRAIN)
    e, sizes = reference_energies(TRAIN, model)
    f = np.concatenate([atoms.get_forces().ravel() for atoms in TRAIN])
    m = W.shape[1]
    F = np.concatenate([10 * energies / sizes[:, None] @ W, forces @ W, np.sqrt(REGULARIZER) * np.eye(m)])
    theta = np.linalg.lstsq(F, np.concatenate([10 * e, f, np.zeros(m)]))[0]
    test_energies, test_forces = textbook(points, TEST)
    found = model.predict(TEST, progress=False)
    ground = np.array([model.baseline.energy(atoms.numbers) for atoms in TEST])
    # finite differences leave 1e-8 of a row, and W has columns of 1e4
    np.testing.assert_allclose(found.energies, test_energies @ W @ theta + ground, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.forces.ravel(), test_forces @ W @ theta, rtol=0, atol=1e-4)


def test_zeta_1_is_a_linear_model_of_normalised_rows():
    """As many points as columns and more: θᵀK_MMθ is the square of the parameters of the columns."""
    loss = rg.Loss(energy=rg.Term(100.0, per_atom=True))
    model = made(loss=loss, kernel=SparseKernel(zeta=1, n_points=40), regularizer=REGULARIZER)
    means = {}
    for name, structures in (("train", TRAIN), ("test", TEST)):
        rows = soap_rows(structures, SOAP, progress=False)
        units = rows.values / np.linalg.norm(rows.values, axis=1, keepdims=True)
        means[name] = rg.reduce_rows(units, rows.groups)[1]
    e, _ = reference_energies(TRAIN, model)
    F = means["train"]
    H = 100 * F.T @ F + REGULARIZER * np.eye(F.shape[1])
    found = model.predict(TEST, forces=False, progress=False)
    expected = means["test"] @ np.linalg.solve(H, 100 * F.T @ e)
    ground = np.array([model.baseline.energy(atoms.numbers) for atoms in TEST])
    sizes = np.array([len(atoms) for atoms in TEST])
    np.testing.assert_allclose((found.energies - ground) / sizes, expected, rtol=0, atol=1e-6)
    variances = np.einsum("ij,ji->i", means["test"], np.linalg.solve(H, means["test"].T))
    np.testing.assert_allclose(1 / found.pr, variances, rtol=1e-4)


def test_forces_are_the_derivative_of_the_energy(model):
    atoms, step = TEST[0].copy(), 1e-3
    found = model.predict([atoms], progress=False)
    assert np.isfinite(found.forces_std).all()
    assert (found.lpr > 0).all()
    for atom, axis in ((0, 0), (5, 2)):
        moved = [atoms.copy(), atoms.copy()]
        moved[0].positions[atom, axis] += step
        moved[1].positions[atom, axis] -= step
        high, low = model.predict(moved, forces=False, progress=False).energies
        assert found.forces[atom, axis] == pytest.approx(-(high - low) / (2 * step), abs=1e-4)


def test_virials_and_several_fits_share_their_points():
    loss = replace(LOSS, virial=rg.Term(1.0))
    model = made(loss=loss, kernel=KERNEL, regularizer=1e-4)
    again = made(loss=loss, soap=model.soap, regularizer=1e-4)  # the descriptor of kernels is one as any
    np.testing.assert_array_equal(again.coef, model.coef)
    assert set(model.scales) == {"energy", "forces", "virial"}


# Files --------------------------------------------------------------------------------------------


def test_what_was_written_predicts_the_same_bits(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = LinearModel.load(tmp_path / "model")
    one, two = (entry.predict(TEST, virials=True, progress=False) for entry in (model, loaded))
    for name in ("energies", "energy_std", "pr", "lpr", "forces", "forces_std", "virials"):
        np.testing.assert_array_equal(getattr(two, name), getattr(one, name), name)
    assert loaded.soap == model.soap
    assert repr(loaded) == repr(model)


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ({"zeta": 0}, r"soap\.zeta is 0: expected an integer from 1"),
        ({"zeta": 3}, r"its columns are 'kernel-.*', but its settings give 'kernel-"),
        ({"n_points": []}, r"soap\.n_points is \[\]: expected a list with an entry"),
        ({"n_points": [29]}, r"points has \d+ entries: expected \d+ finite ones"),
        ({"soap": 3}, r"soap\.soap is 3: expected names with values"),
        ({"other": 3}, r"soap\.other is not known"),
    ],
)
def test_damaged_files_are_refused(model, tmp_path, part, fault):
    path = tmp_path / "model"
    model.save(path)
    state = files.load(path, "model")
    files.save(path, "model", state | {"soap": state["soap"] | part})
    with pytest.raises(ValueError, match=f"is not a whole model: {fault}"):
        LinearModel.load(path)


def test_arrays_are_checked(model, tmp_path):
    path = tmp_path / "model"
    model.save(path)
    state = files.load(path, "model")
    assert {name for name in state if name.startswith("descriptor.")} == {"descriptor.points", "descriptor.whitening"}
    for name in ("points", "whitening"):
        lacking = {key: value for key, value in state.items() if key != f"descriptor.{name}"}
        files.save(path, "model", lacking)
        with pytest.raises(ValueError, match=rf"is not a whole model: soap\.{name} is missing"):
            LinearModel.load(path)
    points = state["descriptor.points"].copy()
    points[0] *= 1.5
    files.save(path, "model", state | {"descriptor.points": points})
    with pytest.raises(ValueError, match="its columns are"):
        LinearModel.load(path)
    made(regularizer=1e-3).save(path)  # a linear model has no such arrays
    files.save(path, "model", files.load(path, "model") | {"descriptor.points": points})
    with pytest.raises(ValueError, match=r"soap\.points is not known"):
        LinearModel.load(path)


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "fault"),
    [
        ({"zeta": 0}, ValueError, "zeta is 0: expected an integer from 1"),
        ({"zeta": 0.5}, TypeError, r"zeta is 0\.5: expected an integer from 1"),
        ({"n_points": 0}, ValueError, "n_points is 0: expected an integer from 1"),
        ({"n_points": 2.5}, TypeError, r"n_points is 2\.5"),
        ({"n_points": {}}, ValueError, "n_points names no species"),
        ({"n_points": {"Si": 0}}, ValueError, "n_points is 0: expected an integer from 1"),
        ({"n_points": {"Si": 3, 14: 2}}, ValueError, "Si is given twice"),
        ({"n_points": {"Xy": 3}}, ValueError, "'Xy' is no chemical symbol"),
    ],
)
def test_settings_out_of_range(settings, error, fault):
    with pytest.raises(error, match=fault):
        SparseKernel(**settings)


def soap(species, **settings):
    return Soap(species, 3.5, max_radial=2, max_angular=2, **settings)


@pytest.mark.parametrize(
    ("options", "error", "fault"),
    [
        ({"kernel": SparseKernel(n_points=99)}, ValueError, "n_points is 99, but the training set has 72 atoms of Si"),
        ({"soap": soap(["Si", "O"])}, ValueError, "the training set has no atom of O"),
        ({"soap": soap("O")}, ValueError, "structure 0 contains Si"),
        ({"soap": soap("Si", body_orders=(2, 3))}, ValueError, "a kernel takes one of them"),
        ({"kernel": SparseKernel(n_points={"O": 3})}, ValueError, "n_points has no number for Si"),
        ({"kernel": 2}, TypeError, "kernel is a int: expected a SparseKernel"),
    ],
)
def test_fits_that_cannot_be_made(options, error, fault):
    with pytest.raises(error, match=fault):
        made(**{"kernel": KERNEL, "regularizer": REGULARIZER} | options)


def test_a_kernel_of_a_kernel_is_refused(model):
    with pytest.raises(TypeError, match="soap is a KernelRows: expected a Soap"):
        made(soap=model.soap, kernel=KERNEL)


def test_a_lack_of_labels_is_found_before_the_points(monkeypatch):
    monkeypatch.setattr(SparseKernel, "rows", None)
    bare = [atoms.copy() for atoms in TRAIN]
    with pytest.raises(ValueError, match="energy"):
        made(bare, kernel=KERNEL)


def test_gradients_are_summed_before_they_are_held(model):
    """A pass holds kernels of a few pairs of atoms: what is kept of a part are sums over its centres."""
    from rigidities.interop.featomic.kernel_gradients import KernelDerivatives

    pieces = KernelDerivatives.pieces
    sizes = []

    def watched(self, tensor, part, terms):
        for piece in pieces(self, tensor, part, terms):
            sizes.append((piece.term, len(piece.values), int(part.sizes.sum())))
            yield piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KernelDerivatives, "pieces", watched)
        list(LossRows(TEST, model.soap, LOSS, targets=False, progress=False))
    assert {term for term, _, _ in sizes} == {"energy", "forces"}
    assert all(n <= atoms for _, n, atoms in sizes)


# The command line ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", TRAIN)
    ase.io.write("test.xyz", TEST)
    (tmp_path / "h.json").write_text(SOAP.settings)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli.app, [*arguments, "--no-progress"])


def test_fit_score_and_report(folder):
    pytest.importorskip("chemiscope")
    options = ["--kernel", "2", "--points", "Si=30", "--hyperparameters", "h.json", "--energy-weight", "100"]
    result = run("fit", "train.xyz", "test.xyz", "-o", "m.safetensors", "--no-plot", *options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "of kernel: ζ = 2, 30 points; SOAP: cutoff 3.5 Å, body orders 3" in result.stdout
    model = LinearModel.load("m.safetensors")
    same = made(ase.io.read("train.xyz", ":"), kernel=KERNEL)
    np.testing.assert_allclose(model.coef, same.coef, rtol=1e-6, atol=1e-9)
    result = run("score", "m.safetensors", "test.xyz", "-o", "scored.xyz")
    assert result.exit_code == 0, result.output
    found = model.predict(ase.io.read("test.xyz", ":"), progress=False)
    scored = ase.io.read("scored.xyz", ":")
    np.testing.assert_allclose([atoms.info["predicted_energy"] for atoms in scored], found.energies)
    result = run("report", "train.xyz", "test.xyz", "--model", "m.safetensors", "-o", "report")
    assert result.exit_code == 0, result.output
    reported = ase.io.read("report/rigidities.xyz", ":")
    np.testing.assert_allclose([atoms.info["pr"] for atoms in reported], found.pr, rtol=1e-6)
    summary = json.loads((folder / "report" / "summary.json").read_text())
    assert '"n_points": 30' in json.dumps(summary)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--points", "30"], "--points 30: for a kernel model only; add --kernel 2, or leave it out"),
        (["--kernel", "2", "--body-orders", "2,3"], "--kernel 2: a kernel takes one body order"),
        (["--kernel", "2", "--points", "500"], "train.xyz: n_points is 500, but the training set has 72 atoms of Si"),
        (["--kernel", "0"], "--kernel"),
        (["--kernel", "2", "--points", "few"], "--points few: expected a number, or one for each species"),
        (["--kernel", "2", "--points", "Si=3,Si=4"], "--points Si=3,Si=4: a species is given twice"),
        (["--kernel", "2", "--points", "Xy=3"], "--points Xy=3: 'Xy' is no chemical symbol"),
        (["--kernel", "2", "--points", "0"], "--points 0: n_points is 0: expected an integer from 1"),
        (["--kernel", "2", "--points", "O=3"], "train.xyz: n_points has no number for Si"),
    ],
)
def test_options_that_are_refused(folder, options, fault):
    result = run("fit", "train.xyz", "-o", "m.safetensors", "--hyperparameters", "h.json", *options)
    assert result.exit_code == 2
    assert fault in result.stderr
    assert not (folder / "m.safetensors").exists()


def test_features_have_no_kernel(folder):
    np.savez("train.npz", features=np.eye(4), energies=np.ones(4))
    result = run("fit", "train.npz", "-o", "m.safetensors", "--kernel", "2")
    assert result.exit_code == 2
    assert "--kernel: for structures only" in result.stderr
