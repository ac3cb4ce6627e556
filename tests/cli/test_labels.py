"""Labels on the command line: names, stresses, weights, what a test set lacks, atoms at one place."""

import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli

pytest.importorskip("ase")
pytest.importorskip("featomic")

import ase.io
from ase.calculators.singlepoint import SinglePointCalculator

from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel

SMALL = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8][2:14]
SOAP = Soap("Si", 3.5, max_radial=2, max_angular=2)
OPTIONS = ["--hyperparameters", "h.json", "--no-progress", "--no-plot"]
KEYS = ["--energy-key", "REF_energy", "--forces-key", "REF_forces", "--virial-weight", "1"]


def renamed(frames):
    """The frames with labels in info and arrays, under names of their own."""
    copies = []
    for frame in frames:
        copy = frame.copy()
        copy.info["REF_energy"] = frame.get_potential_energy()
        copy.info["REF_stress"] = frame.get_stress(voigt=False)
        copy.info["REF_kbar"] = -1602.176634 * copy.info["REF_stress"]
        copy.info["REF_virial"] = -frame.get_volume() * copy.info["REF_stress"]
        copy.arrays["REF_forces"] = frame.get_forces()
        copies.append(copy)
    return copies


def attached(frame, *names):
    """A copy of the frame with these results only."""
    copy = frame.copy()
    copy.calc = SinglePointCalculator(copy, **{name: frame.calc.results[name] for name in names})
    return copy


@pytest.fixture(autouse=True)
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("h.json").write_text(SOAP.settings)
    ase.io.write("train.xyz", SMALL)
    ase.io.write("named.xyz", renamed(SMALL))
    ase.io.write("test.xyz", SMALL[:3])


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def fit(*arguments):
    """Run a fit that succeeds; return its model and result."""
    result = run("fit", *arguments, "-o", "model", *OPTIONS)
    assert result.exit_code == 0, result.output
    return LinearModel.load("model"), result


def refused(*arguments):
    """Run a command that is refused; return its one line."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    return line


def test_names_of_results_are_names():
    default = fit("train.xyz")[0]
    named = fit("train.xyz", "--energy-key", "energy", "--forces-key", "forces")[0]
    np.testing.assert_array_equal(named.coef, default.coef)


def test_names_are_advised():
    line = refused("fit", "named.xyz", "-o", "model", *OPTIONS)
    assert "carries REF_energy, REF_forces; pass --energy-key REF_energy --forces-key REF_forces" in line


@pytest.mark.parametrize("file", ["named.xyz", "train.xyz"])
def test_a_stress_is_made_a_virial(file):
    want, result = fit("named.xyz", *KEYS, "--virial-key", "REF_virial")
    assert result.stderr == ""
    options = [*KEYS, "--stress-key", "REF_stress"] if file == "named.xyz" else ["--virial-weight", "1"]
    found, result = fit(file, *options)
    assert result.stderr == ""
    np.testing.assert_allclose(found.training["virial"].rmse, want.training["virial"].rmse, rtol=1e-4)
    assert found.loss.virial.stress == ("REF_stress" if file == "named.xyz" else None)


@pytest.mark.parametrize(
    ("options", "likely"),
    [
        (["--virial-key", "REF_stress"], "virials look like stresses in eV/Å³, positive under tension"),
        (["--stress-key", "REF_kbar"], "stresses look like stresses in kbar, positive under compression"),
        (["--stress-key", "REF_virial"], "stresses look like virials"),
    ],
)
def test_another_unit_is_warned_of(options, likely):
    [line] = fit("named.xyz", *KEYS, *options)[1].stderr.splitlines()
    assert line.startswith("rigidities: warning: the virials vary ")
    assert likely in line
    assert "Convert them: --virial-key expects virials" in line


def test_virial_and_stress_are_one_choice():
    line = refused("fit", "named.xyz", "-o", "m", *OPTIONS, *KEYS, "--virial-key", "a", "--stress-key", "b")
    assert "target is 'a' and stress 'b': give one" in line


def test_weights_of_structures():
    frames = [frame.copy() for frame in SMALL]
    for index, (frame, labelled) in enumerate(zip(frames, SMALL, strict=True)):
        frame.calc = labelled.calc
        if index % 2:
            frame.info["config_weight"] = 0.25
    ase.io.write("weighted.xyz", frames)
    found = fit("weighted.xyz", "--weights-key", "config_weight", "--regularizer", "1e-6")[0]
    term = {"weights": "config_weight"}
    loss = rg.Loss(energy=rg.Term(1000.0, per_atom=True, **term), forces=rg.Term(1.0, **term))
    frames = ase.io.read("weighted.xyz", ":")
    want = LinearModel.fit(frames, SOAP, loss, regularizer=1e-6, progress=False)
    np.testing.assert_allclose(found.coef, want.coef, rtol=1e-9)
    assert np.abs(found.coef - fit("train.xyz", "--regularizer", "1e-6")[0].coef).max() > 1e-6
    assert "no structure has the energy weight 'config_weight'" in refused(
        "fit", "train.xyz", "-o", "m", *OPTIONS, "--weights-key", "config_weight"
    )


def test_a_species_given_twice():
    line = refused("fit", "train.xyz", "-o", "m", *OPTIONS, "--baseline", "Si=-5,Si=-6")
    assert line == "rigidities: error: --baseline Si=-5,Si=-6: Si is given twice: expected each species once"
    loss = rg.Loss(energy=rg.Term())
    with pytest.raises(ValueError, match="Si is given twice"):
        LinearModel.fit(SMALL, SOAP, loss, baseline={"Si": 1.0, 14: 2.0}, progress=False)


# ---- test sets


def test_a_test_set_is_judged_on_what_it_has():
    ase.io.write("part.xyz", [attached(frame, "energy") for frame in SMALL[:3]])
    result = fit("train.xyz", "part.xyz")[1]
    assert "not judged    forces: the test set has no such labels" in result.stdout
    cells = {line[:14]: line.split()[-3::2] for line in result.stdout.splitlines()}
    assert cells["energy, number"] == ["12", "3"]
    assert cells["forces, number"] == ["288", "-"]


def test_a_test_set_without_labels_is_no_fault():
    ase.io.write("bare.xyz", [frame.copy() for frame in SMALL[:3]])
    result = fit("train.xyz", "bare.xyz")[1]
    assert "not judged    energy, forces: the test set has no such labels" in result.stdout
    assert "Written: model" in result.stdout


def test_a_fault_in_the_test_set_comes_after_the_model():
    close = attached(SMALL[0], "energy", "forces")
    positions = close.positions.copy()
    positions[1] = positions[0]
    close.positions = positions
    ase.io.write("close.xyz", [SMALL[1], close])
    result = run("fit", "train.xyz", "close.xyz", "-o", "model", *OPTIONS)
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("rigidities: error: close.xyz: structure 1: atoms 0 and 1 are 0 Å apart")
    assert "Written: model" in result.stdout
    assert "test" not in result.stdout.split("errors")[1].splitlines()[0]
    assert LinearModel.load("model").loss.energy is not None


# ---- atoms at one place


@pytest.mark.parametrize(
    "command",
    [
        "fit close.xyz -o new --energy-key e --forces-weight 0",
        "report close.xyz train.xyz -o new",
        "report train.xyz close.xyz -o new",
        "score model close.xyz -o new",
        "score model close.xyz -o new --no-forces",
    ],
)
def test_atoms_at_one_place_are_named(command, capfd):
    fit("train.xyz", "--regularizer", "1e-3")
    close = SMALL[1].copy()
    close.positions[4] = close.positions[2] + close.cell[1] + [0, 1e-4, 0]
    frames = [SMALL[0].copy(), close]
    for frame in frames:
        frame.info["e"] = -40.0
    ase.io.write("close.xyz", frames)
    options = ["--no-progress", *(OPTIONS[:2] if "score" not in command else [])]
    options += ["--regularizer", "1e-3"] if "report train" in command else []  # without a warning of its own
    line = refused(*command.split(), *options)
    assert "close.xyz: structure 1: atoms 2 and 4 are 0.0001 Å apart, expected at least 0.05 Å" in line
    assert capfd.readouterr().err == ""  # featomic's lines
    assert not os.path.lexists("new")
