"""`rigidities learn`: of structures, of features, with a model, without labels."""

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
GROUPS = np.repeat(np.arange(50), 4)
F = RNG.normal(size=(200, 6))
MEANS = F.reshape(50, 4, 6).mean(axis=1)
ENERGIES = MEANS @ np.arange(6.0) + 0.01 * RNG.normal(size=50)
T = RNG.normal(size=(40, 6))
T_MEANS = T.reshape(10, 4, 6).mean(axis=1)
T_ENERGIES = T_MEANS @ np.arange(6.0)


@pytest.fixture(autouse=True)
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("train.npz", features=F, groups=GROUPS, energies=ENERGIES)
    np.savez("test.npz", features=T, groups=GROUPS[:40], energies=T_ENERGIES)
    np.savez("bare.npz", features=T, groups=GROUPS[:40])
    np.savez("bare_train.npz", features=F, groups=GROUPS)


def learn(*arguments):
    return CliRunner().invoke(cli.app, ["learn", *map(str, arguments), "--no-progress"])


def learned(*arguments):
    done = learn(*arguments)
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert Path("learning.png").stat().st_size > 10_000
    return done.stdout, json.loads(Path("learning.json").read_text())


def test_features_give_the_curve_of_their_rows():
    text, found = learned("train.npz", "test.npz", "--orders", 3, "--seed", 7)
    curve = rg.learning_curve(
        MEANS, T_MEANS, weights=np.full(50, 1000.0), y=ENERGIES, y_test=T_ENERGIES, n_orders=3, random_state=7
    )
    assert found["sizes"] == curve.sizes.tolist()
    assert found["regularizer"] == pytest.approx(curve.regularizer, rel=1e-6)
    np.testing.assert_allclose(found["median_rigidity"]["median"], curve.band()[1], rtol=1e-6)
    np.testing.assert_allclose(found["rmse"]["high"], curve.band("rmse")[2], rtol=1e-5)
    assert found["rmse"]["unit"] == "eV/atom"
    assert found["versions"]["rigidities"]
    assert found["more_needed"]["rigidity"]["structures"] == pytest.approx(curve.more_needed(2.0).value, rel=1e-5)
    assert f"{curve.more_needed(2.0).value:.0f} more structures like these" in text
    assert "RMSE of energies, meV/atom" in text


def test_a_test_set_without_labels_has_rigidities_alone():
    text, found = learned("train.npz", "bare.npz")
    with_labels = learned("train.npz", "test.npz")[1]
    assert "rmse" not in found
    assert "RMSE" not in text
    for what in ("regularizer", "median_rigidity", "sizes"):
        assert found[what] == with_labels[what]


def test_a_training_set_without_labels_has_rigidities_alone():
    _, found = learned("bare_train.npz", "test.npz", "--regularizer", "0.01", "--orders", 1)
    H = MEANS.T @ MEANS + 0.01 * np.eye(6)
    expected = np.median(1 / np.einsum("ij,ij->i", T_MEANS @ np.linalg.inv(H), T_MEANS))
    assert found["median_rigidity"]["median"][-1] == pytest.approx(expected, rel=1e-9)
    assert "rmse" not in found


def test_of_atoms_is_lpr():
    _, found = learned("train.npz", "bare.npz", "--of", "atoms", "--regularizer", "0.01", "--orders", 1)
    H = 1000 * MEANS.T @ MEANS + 0.01 * np.eye(6)
    expected = np.median(1 / np.einsum("ij,ij->i", T @ np.linalg.inv(H), T))
    assert found["median_rigidity"]["median"][-1] == pytest.approx(expected, rel=1e-9)
    assert found["of"] == "atoms"


def test_the_same_seed_gives_the_same_numbers():
    first, again, other = (learned("train.npz", "test.npz", "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert first["median_rigidity"] != other["median_rigidity"]


@pytest.mark.parametrize("labelled", [True, False])
def test_structures_and_a_model_of_them(labelled):
    """At the last size, PR is that of the fit of all structures."""
    pytest.importorskip("featomic")
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import Soap

    frames = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]
    Path("hypers.json").write_text(Soap("Si", 3.5, max_radial=2, max_angular=2).settings)
    ase.io.write("train.xyz", frames[2:20:2])
    test = frames[3:9:2]
    for frame in test if not labelled else []:
        frame.calc = None
    ase.io.write("test.xyz", test)
    fitted = CliRunner().invoke(
        cli.app, ["fit", "train.xyz", "-o", "m", "--hyperparameters", "hypers.json", "--no-plot", "--no-progress"]
    )
    assert fitted.exit_code == 0, fitted.stderr
    model = rg.LinearModel.load("m")
    _, by_model = learned("train.xyz", "test.xyz", "--model", "m", "--orders", 2)
    _, own = learned("train.xyz", "test.xyz", "--hyperparameters", "hypers.json", "--orders", 2)
    for found in (by_model, own):
        assert found["median_rigidity"]["median"][-1] == pytest.approx(
            np.median(model.predict(test, progress=False).pr), rel=1e-3
        )
        assert found["regularizer"] == pytest.approx(model.hessian.regularizer, rel=1e-3)
        assert ("rmse" in found) is labelled
        if labelled:
            errors = model.errors(test, progress=False)["energy"].rmse
            assert found["rmse"]["median"][-1] == pytest.approx(errors, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train.npz", "nothing.npz"], "nothing.npz: no such file"),
        (["train.npz", "test.npz", "-o", "x.npz"], "expected .png"),
        (["train.npz", "test.npz", "--regularizer", "loo"], "expected a number from 0, or auto"),
        (["train.npz", "test.npz", "--cutoff", "4"], "for structures only"),
        (["train.npz", "test.npz", "--model", "train.npz", "--regularizer", "1"], "decides this already"),
        (["train.npz", "test.npz", "-o", "mine.png"], "--force"),
    ],
)
def test_refusals(arguments, said):
    Path("mine.png").write_text("mine")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    done = learn(*arguments)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_a_single_structure_is_a_curve_without_a_forecast():
    np.savez("one.npz", features=F[:4], groups=GROUPS[:4], energies=ENERGIES[:1])
    text, found = learned("one.npz", "bare.npz", "--regularizer", "0.1")
    assert found["sizes"] == [1]
    assert "no forecast" in text


def test_rows_of_zeros_are_infinitely_rigid():
    np.savez("zero.npz", features=np.zeros((6, 6)))
    text, found = learned("train.npz", "zero.npz", "--orders", 2)
    assert "inf (inf to inf)" in text
    assert "no forecast" in text
    assert found["more_needed"] == {}
    assert set(found["median_rigidity"]["median"]) == {None}  # JSON has no infinity


def test_errors_of_zero_are_drawn():
    np.savez("flat.npz", features=F, groups=GROUPS, energies=np.zeros(50))
    np.savez("flat_test.npz", features=T, groups=GROUPS[:40], energies=np.zeros(10))
    _, found = learned("flat.npz", "flat_test.npz", "--regularizer", "0.1", "--orders", 2)
    assert set(found["rmse"]["high"]) == {0.0}


def test_structures_of_both_sets_are_named():
    np.savez("mixed.npz", features=np.concatenate([T[:4], F[8:12]]), groups=GROUPS[:8])
    for of in ("structures", "atoms"):
        text, found = learned("train.npz", "mixed.npz", "--orders", 1, "--of", of)
        assert "1 of 2 test structures are in the training set" in text
        assert "1 (training 2)" in " ".join(text.split())
        assert found["in_training_set"] == 1
    text, found = learned("train.npz", "test.npz", "--orders", 1)
    assert "in the training set" not in text
    assert found["in_training_set"] == 0


def test_columns_stay_in_line():
    """Cells of rigidities and errors in powers of ten are wider than the heads."""
    table = learned("bare_train.npz", "test.npz", "--orders", 8)[0].split("\n\n")[1].splitlines()
    assert any("e-1" in line for line in table)
    assert len({len(line) for line in table}) == 1


def test_no_progress_is_shown_where_there_are_no_labels():
    assert learn("bare_train.npz", "test.npz", "--orders", 1).stderr == ""


def test_advice_is_taken_by_this_command():
    """--regularizer of learn is a number or auto: leave-one-out is that of a fit."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 6))
    np.savez("exact.npz", features=rows, energies=rows @ np.arange(6.0))  # without noise: auto goes to its edge
    stderr = " ".join(learn("exact.npz", "test.npz", "--orders", 1).stderr.split())
    assert "Choose it by leave-one-out, `rigidities fit --regularizer loo`, and pass the model, --model" in stderr


def test_one_order_has_no_range():
    text = learned("train.npz", "test.npz", "--orders", 1)[0]
    assert "orders        1 random\n" in text
    assert "(" not in text
    assert "(" in learned("train.npz", "test.npz", "--orders", 2)[0]
