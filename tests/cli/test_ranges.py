"""`report` and `score` of a model of short and long range, made in Python."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from rigidities import cli

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("chemiscope")

import ase.io
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import rigidities as rg
from rigidities.interop.featomic import Lode, Soap
from rigidities.model import LinearModel
from rigidities.structures.joined import Joined

SOAP = Soap(["Na", "Cl"], 4.0, body_orders=(2,), max_radial=3)


def run(*arguments, code=0):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def frames(n, seed):
    """Rattled salt, with energies of charges on its lattice sites, and noise."""
    random, found = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = bulk("NaCl", "rocksalt", a=random.uniform(5.3, 6.0), cubic=True)
        atoms.rattle(0.2, rng=random)
        atoms.calc = SinglePointCalculator(atoms, energy=-200 / atoms.cell[0, 0] + random.normal(scale=0.1))
        found.append(atoms)
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = frames(20, 0)
    ase.io.write("train.xyz", train)
    ase.io.write("test.xyz", frames(5, 1))
    loss, lode = rg.Loss(energy=rg.Term(per_atom=True)), Lode(SOAP.species, inner_cutoff=4.0)
    for name, descriptor in {"both": Joined({"near": SOAP, "far": lode}), "lode": lode}.items():
        settings = {"baseline": None, "regularizer": 1e-8, "progress": False}
        LinearModel.fit(train, descriptor, loss, **settings).save(f"{name}.safetensors")
    return tmp_path


def test_a_report_has_the_rigidities_of_the_ranges(folder):
    text = run("report", "train.xyz", "test.xyz", "--model", "both.safetensors", "-o", "report", "--no-progress")
    for line in ("near", "far"):
        assert f"\n  {line} " in text
    summary = json.loads((folder / "report" / "summary.json").read_text())
    assert list(summary["cpr"]) == list(summary["lcpr"]) == ["near", "far"]
    assert list(summary["descriptor"]["parts"]) == ["near", "far"]
    assert summary["descriptor"]["parts"]["near"]["kind"] == "SOAP, computed by featomic"
    assert summary["descriptor"]["parts"]["far"]["inner_cutoff"] == 4.0
    model, test = LinearModel.load("both.safetensors"), ase.io.read("test.xyz", ":")
    rows = next(model.soap.term_rows([test], ["energy"]))["energy"][:, 0] / 8
    expected = model.hessian.component_rigidity(rows, list(model.soap.components().values()))
    np.testing.assert_allclose(
        [summary["cpr"][name]["median"] for name in ("near", "far")], np.median(expected, axis=0)
    )


def test_a_model_of_ranges_scores(folder):
    assert "energy" in run("score", "both.safetensors", "test.xyz", "-o", "scored.xyz", "--no-progress")
    found = ase.io.read("scored.xyz", ":")
    expected = LinearModel.load("both.safetensors").predict(ase.io.read("test.xyz", ":"), forces=False, progress=False)
    np.testing.assert_allclose([frame.info["pr"] for frame in found], expected.pr, rtol=1e-6)


def test_a_report_of_long_range_alone_is_refused(folder):
    message = run("report", "train.xyz", "test.xyz", "--model", "lode.safetensors", "-o", "report", code=2)
    assert "its descriptor is LODE: exponent 1, atoms beyond 4 Å; structures are read for SOAP" in message
