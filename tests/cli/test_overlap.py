"""`rigidities overlap`: of sets of features and of structures, against the functions of the package."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli
from rigidities.model import LinearModel

RNG = np.random.default_rng(0)
SETS = {"a.npz": RNG.normal(size=(60, 5)), "b.npz": RNG.normal(size=(20, 5)) * [1, 1, 0, 0, 0]}


@pytest.fixture(autouse=True)
def inputs(tmp_path, monkeypatch):
    pytest.importorskip("ase")
    monkeypatch.chdir(tmp_path)
    for name, rows in SETS.items():
        energies = rows @ np.arange(1.0, 6.0) + 0.1 * RNG.normal(size=len(rows))
        np.savez(name, features=rows, groups=np.arange(len(rows)) // 2, energies=energies[::2])
    run("fit", "a.npz", "-o", "m.safetensors", "--no-plot", "--regularizer", "0.5")


def run(*arguments):
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


def refused(*arguments):
    done = CliRunner().invoke(cli.app, ["overlap", *map(str, arguments)])
    assert done.exit_code == 2, done.output
    [line] = done.stderr.splitlines()
    return line


def table(text):
    """Numbers of the sets, of the model's row, and of the pairs."""
    rows = {found[1]: found[2].split() for found in re.finditer(r"^(?:by )?(\S.*?) {2,}([\d.][\d. ]*)$", text, re.M)}
    return {name: [float(number) for number in numbers] for name, numbers in rows.items()}


def means(name):
    return rg.reduce_rows(SETS[name], np.arange(len(SETS[name])) // 2)[1]


def test_features_of_any_model():
    model = LinearModel.load("m.safetensors")
    rows = {name: np.sqrt(model.loss.energy.weight) * means(name) for name in SETS}
    pairs = rg.pairwise_overlap(rows, model.hessian.regularizer)
    done = run("overlap", "m.safetensors", *SETS)
    found = table(done.stdout)
    assert "λ = 0.5 of m.safetensors" in done.stdout
    for letter, name, n, dimension, remaining in zip(
        "AB", SETS, (30, 10), pairs.dimension, pairs.remaining, strict=True
    ):
        assert found[f"{letter}  {name}"] == [n, round(dimension, 1)]
        np.testing.assert_allclose(found[f"energies of {letter}"], remaining, atol=6e-4)
    by_model = [rg.overlap(model.hessian, part).remaining for part in rows.values()]
    np.testing.assert_allclose(found["data of the model"], by_model, atol=6e-4)
    assert pairs.remaining[1, 0] > 0.3  # b has two directions of five
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_structures_need_no_labels():
    pytest.importorskip("featomic")
    import ase.io

    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import Soap, soap_rows

    small = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]
    ase.io.write("train.xyz", small[::2])
    for frame in small:
        frame.calc = None
    ase.io.write("bare.xyz", small[1::2])
    Path("h.json").write_text(Soap("Si", 3.5, max_radial=2, max_angular=2).settings)
    run("fit", "train.xyz", "-o", "si.safetensors", "--no-plot", "--hyperparameters", "h.json", "--regularizer", "1e-3")
    model = LinearModel.load("si.safetensors")
    done = run("overlap", "si.safetensors", "bare.xyz", "bare.xyz@:3")
    rows = np.sqrt(model.loss.energy.weight) * rg.reduce_rows(soap_rows(small[1::2], model.soap, progress=False))[1]
    expected = [rg.overlap(model.hessian, part).remaining for part in (rows, rows[:3])]
    found = table(done.stdout)
    np.testing.assert_allclose(found["data of the model"], expected, atol=6e-4)
    assert found["B  bare.xyz@:3"][0] == 3


def test_a_set_that_determines_nothing_is_said_once():
    np.savez("zeros.npz", features=np.zeros((4, 5)))
    done = run("overlap", "m.safetensors", "a.npz", "zeros.npz")
    assert len(done.stderr.splitlines()) == 1
    assert "set 'B' alone would determine 0 directions" in done.stderr


def test_what_is_refused():
    assert "nothing.npz: no such file" in refused("m.safetensors", "nothing.npz")
    assert "12 sets are given: expected at most 11" in refused("m.safetensors", *["a.npz"] * 12)
    np.savez("wide.npz", features=np.ones((3, 6)))
    assert "wide.npz: features have 6 columns, but the model 5" in refused("m.safetensors", "wide.npz")
    run("fit", "a.npz", "-o", "zero.safetensors", "--no-plot", "--regularizer", "0")
    assert "zero.safetensors: the regularizer is 0: there is no prior" in refused("zero.safetensors", "a.npz")


def test_advice_names_the_fit_of_the_model():
    np.savez("zero.npz", features=np.zeros((4, 5)))
    [line] = run("overlap", "m.safetensors", "zero.npz").stderr.splitlines()
    assert "set 'A' alone would determine 0 directions" in line
    assert line.endswith("Fit the model with a smaller --regularizer")
