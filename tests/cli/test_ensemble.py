"""`rigidities score --ensemble`: energies of members in extended XYZ and .npz, the same fits in all files of a seed."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli, files
from rigidities.cli import kinds

pytest.importorskip("ase")
pytest.importorskip("featomic")

import ase.io
from silicon_model import TEST, made

from rigidities.model import LinearModel, SparseKernel

MODELS = {"linear": made(), "kernel": made(kernel=SparseKernel(n_points=20), regularizer=1e-4)}


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def score(*arguments):
    done = run("score", *arguments, "--no-progress", "--no-plot")
    assert done.exit_code == 0, done.output
    return done


def refused(*arguments):
    done = run("score", *arguments, "--no-progress", "--no-plot")
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, model in MODELS.items():
        model.save(name)
    ase.io.write("test.xyz", TEST)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n", [2, 3, 6, 9, 10])  # old readers took six and nine numbers for a tensor
def test_what_is_written_is_read_back(name, n):
    done = score(name, "test.xyz", "-o", "out.xyz", "--ensemble", n, "--no-forces")
    frames = ase.io.read("out.xyz", ":")
    expected = MODELS[name].predict(frames, forces=False, ensemble=n, random_state=0, progress=False)
    found = np.array([frame.info["energy_ensemble"] for frame in frames])
    assert found.shape == (len(TEST), n)
    np.testing.assert_array_equal(found, expected.energy_ensemble)
    np.testing.assert_allclose(found.mean(axis=1), [frame.info["predicted_energy"] for frame in frames], rtol=1e-13)
    assert json.loads(Path("out.json").read_text())["energy_ensemble"] == {"n_members": n, "seed": 0}
    assert f"energy_ensemble: {n} members, seed 0" in done.stdout
    assert done.stderr == ""


def test_a_seed_is_that_of_all_files():
    score("linear", "test.xyz", "-o", "all.xyz", "--ensemble", 5, "--seed", 7)
    score("linear", "test.xyz@2:", "-o", "last.xyz", "--ensemble", 5, "--seed", 7)
    score("linear", "test.xyz", "-o", "other.xyz", "--ensemble", 5, "--seed", 8)
    one, two, other = (ase.io.read(f"{name}.xyz").info["energy_ensemble"] for name in ("all", "last", "other"))
    together = ase.io.read("all.xyz", 2).info["energy_ensemble"]
    np.testing.assert_allclose(two, together, rtol=1e-14)
    assert (one != other).all()
    assert json.loads(Path("other.json").read_text())["energy_ensemble"]["seed"] == 8


def test_without_the_option_nothing_is_written():
    done = score("linear", "test.xyz", "-o", "out.xyz")
    assert "energy_ensemble" not in Path("out.xyz").read_text()
    assert "energy_ensemble" not in done.stdout
    assert json.loads(Path("out.json").read_text())["energy_ensemble"] is None


def test_an_earlier_output_is_replaced_without_asking():
    """energy_ensemble is no label that would be lost."""
    score("linear", "test.xyz", "-o", "out.xyz", "--ensemble", 4)
    assert "energy_ensemble" in kinds.PREDICTED
    score("linear", "test.xyz", "-o", "out.xyz")
    score("linear", "test.xyz", "-o", "out.xyz", "--ensemble", 4)
    done = score("linear", "out.xyz", "-o", "again.xyz", "--ensemble", 6, "--no-forces")
    assert done.stderr == ""
    again = ase.io.read("again.xyz")
    assert again.info["energy_ensemble"].shape == (6,)
    assert "predicted_forces" not in again.arrays
    assert not kinds.PREDICTED & ase.io.read("again_next.xyz").info.keys()


@pytest.mark.parametrize("total", [False, True])
def test_features(total):
    """In the unit of `energies`: per atom, or with --total of the whole structure."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), rng.integers(2, 9, 40))
    rows = rng.normal(size=(len(groups), 6))
    targets = rg.reduce_rows(rows, groups, reduction="sum" if total else "mean")[1]
    energies = targets @ np.arange(6.0) + 0.01 * rng.normal(size=40)
    np.savez("rows.npz", features=rows, groups=groups, energies=energies)
    assert run("fit", "rows.npz", "-o", "rows", "--no-plot", *(["--total"] if total else [])).exit_code == 0
    done = score("rows", "rows.npz", "-o", "out.npz", "--ensemble", 3000, "--seed", 5)
    assert "energy_ensemble: 3000 members, seed 5" in done.stdout
    found, model = np.load("out.npz"), LinearModel.load("rows")
    assert found["energy_ensemble"].shape == (40, 3000)
    np.testing.assert_allclose(found["energy_ensemble"].mean(axis=1), found["energies"], rtol=1e-10, atol=1e-12)
    expected = model.scale("energy") ** 2 * targets @ model.hessian.solve(targets.T)
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 2999)
    assert (np.abs(np.cov(found["energy_ensemble"]) - expected) < 6 * error).all()
    score("rows", "rows.npz", "-o", "out.npz")  # replaced as an earlier output
    assert "energy_ensemble" not in np.load("out.npz")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ensemble", 1], "Invalid value for '--ensemble': "),
        (["--ensemble", 0], "Invalid value for '--ensemble': "),
        (["--ensemble", -3], "Invalid value for '--ensemble': "),
        (["--ensemble", 2.5], "Invalid value for '--ensemble': "),
        (["--ensemble", 4, "--seed", -1], "Invalid value for '--seed': "),
        (["--seed", 3], "error: --seed 3: for an ensemble only; add --ensemble 64, or leave it out"),
        (["--ensemble", 10**11], "--ensemble 100000000000: an ensemble of 100000000000 members needs"),
        (["--ensemble", 10**30], "expected a positive integer of at most"),
    ],
)
def test_what_is_refused(options, said):
    assert said in refused("linear", "test.xyz", "-o", "out.xyz", *options)
    assert not Path("out.xyz").exists()


def test_too_many_members_are_told_by_the_option():
    assert "; pass a smaller --ensemble" in refused("linear", "test.xyz", "-o", "out.xyz", "--ensemble", 10**11)


def test_a_model_without_a_scale_has_no_ensemble():
    state = files.load("linear", "model")
    files.save("bare", "model", state | {"scales": dict.fromkeys(state["scales"])})
    said = refused("bare", "test.xyz", "-o", "out.xyz", "--ensemble", 4)
    assert "--ensemble 4: the model has no scale" in said
    assert "fit to more structures" in said
