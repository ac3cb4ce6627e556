"""`rigidities select`: of structures and of features, for targets, with costs, with what is known left out."""

import csv
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)
SIZES = RNG.integers(2, 7, 30)
GROUPS = np.repeat(np.arange(30), SIZES)
X = RNG.normal(size=(len(GROUPS), 5))
TARGETS = RNG.normal(size=(12, 5)) * [1, 1, 5, 1, 1]
MEANS = np.array([X[k == GROUPS].mean(axis=0) for k in range(30)])


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def select(*arguments):
    return run("select", *arguments, "--no-progress")


@pytest.fixture(autouse=True)
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    F = RNG.normal(size=(40, 5)) * [3, 1, 0.1, 1, 0.1]
    np.savez("train.npz", features=F, energies=F @ np.arange(5.0))
    np.savez("pool.npz", features=X, groups=GROUPS)
    np.savez("targets.npz", features=TARGETS, groups=np.arange(12) // 4)
    assert run("fit", "train.npz", "-o", "m", "--regularizer", "0.1", "--no-plot", "--no-progress").exit_code == 0
    return F


def picked(*arguments):
    done = select(*arguments)
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    return done.stdout, json.loads(Path("picks.json").read_text())


def expected(F, **options):
    covariance = rg.Covariance(5)
    covariance.update(F, weights=np.full(40, 1000.0))
    return rg.select(covariance.factorize(0.1), MEANS, weights=np.full(30, 1000.0), **options)


@pytest.mark.parametrize("of", ["structures", "atoms"])
def test_features_are_picked_for_targets(inputs, of):
    text, found = picked("pool.npz", "--model", "m", "-n", 4, "--targets", "targets.npz", "--of", of)
    rows = TARGETS if of == "atoms" else TARGETS.reshape(3, 4, 5).mean(axis=1)
    same = expected(inputs, n_select=4, objective="target_variance", targets=rows)
    assert [pick["structure"] for pick in found["picks"]] == same.indices.tolist()
    np.testing.assert_allclose([pick["gain"] for pick in found["picks"]], same.gains, rtol=1e-6)
    np.testing.assert_allclose([pick["objective"] for pick in found["picks"]], same.objective_curve[1:], rtol=1e-6)
    assert found["before"] == pytest.approx(same.objective_curve[0], rel=1e-6)
    assert found["objective"] == "target_variance"
    assert "mean variance v = 1/R of the targets" in text
    rows = list(csv.DictReader(Path("picks.csv").read_text().splitlines()))
    assert [int(row["structure"]) for row in rows] == same.indices.tolist()
    assert [int(row["n_atoms"]) for row in rows] == SIZES[same.indices].tolist()
    assert Path("picks.png").stat().st_size > 10_000
    assert not Path("picks.xyz").exists()


def test_without_targets_the_determinant_is_raised(inputs):
    text, found = picked("pool.npz", "--model", "m", "-n", 40 - 10)
    same = expected(inputs, n_select=30)
    assert [pick["structure"] for pick in found["picks"]] == same.indices.tolist()
    assert found["objective"] == "determinant"
    assert "ln|H|" in text


def test_a_budget_in_atoms(inputs):
    text, found = picked("pool.npz", "--model", "m", "--budget", 20, "--cost", "atoms")
    same = expected(inputs, costs=SIZES.astype(float), budget=20.0)
    assert [pick["structure"] for pick in found["picks"]] == same.indices.tolist()
    assert sum(pick["n_atoms"] for pick in found["picks"]) <= 20
    assert "atoms\n" in text


def test_what_the_model_knows_is_left_out(inputs):
    np.savez("pool.npz", features=np.concatenate([inputs[5:7] * 1.0, MEANS]))
    text, found = picked("pool.npz", "--model", "m", "-n", 32 - 2)
    assert found["in_training_set"] == 2
    assert "2 that are in the training set" in text
    assert min(pick["structure"] for pick in found["picks"]) == 2
    done = select("pool.npz", "--model", "m", "-n", 31)
    assert done.exit_code == 2
    assert "-n 31: pool.npz has 30 structures to pick from, as 2 are in the training set" in done.stderr


@pytest.mark.parametrize(
    ("groups", "said"), [(GROUPS, "counted from 0"), (GROUPS + 3, "by their labels"), (GROUPS.astype(str), "by their")]
)
def test_labels_are_not_called_counts(groups, said):
    np.savez("pool.npz", features=X, groups=groups)
    text, _ = picked("pool.npz", "--model", "m", "-n", 2)
    assert f"structures are {said}" in text
    assert f"of largest σ), {said}" in run("score", "m", "pool.npz", "-o", "scored.npz").stdout


def test_structures_are_written_in_their_order():
    pytest.importorskip("featomic")
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import LossRows, Soap

    frames = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]
    soap = Soap("Si", 3.5, max_radial=2, max_angular=2)
    Path("hypers.json").write_text(soap.settings)
    ase.io.write("train.xyz", frames[2:12:2])
    pool = [frame.copy() for frame in frames[12:20]]
    for frame in pool:
        frame.calc = None
    ase.io.write("pool.xyz", pool)
    fitted = run(
        "fit", "train.xyz", "-o", "si", "--hyperparameters", "hypers.json", "--no-plot", "--no-progress",
        "--regularizer", "1e-3",
    )  # fmt: skip
    assert fitted.exit_code == 0, fitted.stderr
    _, found = picked("pool.xyz", "--model", "si", "-n", 3)
    model = rg.LinearModel.load("si")
    gains = np.zeros(8)
    H = np.linalg.inv(model.hessian.solve(np.eye(model.hessian.n_features)))
    for k, [batch] in enumerate(list(LossRows([f], soap, model.loss, targets=False, progress=False)) for f in pool):
        F = np.concatenate([np.sqrt(rows.term.weight) * rows.values for rows in batch.values()])
        gains[k] = np.linalg.slogdet(np.eye(len(F)) + F @ np.linalg.solve(H, F.T))[1]
    assert found["picks"][0]["structure"] == np.argmax(gains)
    assert found["picks"][0]["gain"] == pytest.approx(gains.max(), rel=1e-6)
    written = ase.io.read("picks.xyz", ":")
    assert [frame.info["rank"] for frame in written] == [1, 2, 3]
    assert all(isinstance(frame.info[name], int | np.integer) for frame in written for name in ("rank", "structure"))
    for frame, pick in zip(written, found["picks"], strict=True):
        assert frame.info["structure"] == pick["structure"]
        np.testing.assert_allclose(frame.positions, pool[pick["structure"]].positions, atol=1e-7)
    _, without = picked("pool.xyz", "--model", "si", "-n", 3, "--no-forces")
    assert without["picks"][0]["gain"] < found["picks"][0]["gain"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pool.npz", "--model", "m"], "-n or --budget"),
        (["pool.npz", "--model", "m", "-n", 31], "-n 31: pool.npz has 30 structures to pick from; ask for fewer"),
        (["train.npz", "--model", "m", "-n", 1], "train.npz: all structures are in the training set"),
        (["pool.npz", "--model", "m", "--budget", 0.5], "--budget 0.5: expected a finite number, at least 1"),
        (
            ["pool.npz", "--model", "m", "--budget", 1, "--cost", "atoms"],
            "--budget 1: expected a finite number, at least 2",
        ),
        (["pool.npz", "--model", "m", "--budget", "inf"], "--budget inf"),
        (["pool.npz", "--model", "m", "-n", 3, "--targets", "zero.npz"], "zero.npz: the features of structure 1 are"),
        (
            ["pool.npz", "--model", "m", "-n", 3, "--targets", "zero.npz", "--of", "atoms"],
            "zero.npz: the features of atom 1 of structure 0 are all 0",
        ),
        (["pool.npz", "--model", "m", "-n", 3, "-o", "picks"], "the name has no suffix: expected .csv"),
        (["pool.npz", "--model", "nothing", "-n", 3], "nothing: cannot be read"),
        (["nothing.npz", "--model", "m", "-n", 3], "nothing.npz: no such file"),
        (["pool.npz", "--model", "m", "-n", 3, "--objective", "target_rigidity"], "needs --targets"),
        (
            ["pool.npz", "--model", "m", "-n", 3, "--objective", "variance", "--targets", "targets.npz"],
            "leave --targets",
        ),
        (["pool.npz", "--model", "m", "--budget", 0], "--budget 0: expected a finite number, at least 1"),
        (["pool.npz", "--model", "m", "-n", 3, "-o", "picks.xyz"], "expected .csv"),
        (["pool.npz", "--model", "m", "-n", 3, "-o", "mine.csv"], "--force"),
        (["pool.npz", "--model", "m", "-n", 3, "--targets", "wide.npz"], "columns"),
    ],
)
def test_refusals(arguments, said):
    Path("mine.csv").write_text("mine")
    np.savez("wide.npz", features=np.ones((3, 7)))
    np.savez("zero.npz", features=[[1.0, 0, 0, 0, 0], [0] * 5, [0] * 5, [0] * 5], groups=[0, 0, 1, 1])
    before = {path: path.read_bytes() for path in Path().iterdir()}
    done = select(*arguments)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert {path: path.read_bytes() for path in Path().iterdir()} == before
