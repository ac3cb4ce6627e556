"""What a fit takes is estimated from sizes, and said before the work where it is much."""

import re

import ase.io
import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk, molecule
from typer.testing import CliRunner

from rigidities.cli import announce as module
from rigidities.cli import app
from rigidities.interop.featomic import Soap
from rigidities.report.outlay import outlay_of
from rigidities.runtime import memory
from rigidities.sources.atoms import Structures

MOLECULES = [molecule("CH3CONH2")] * 40


def source(frames, **settings):
    species = sorted({number for frame in frames for number in frame.numbers.tolist()})
    return Structures("train.xyz", frames, Soap(species, **settings))


def test_more_of_anything_takes_more():
    few, terms = source(MOLECULES), ["energy", "forces"]
    base = outlay_of(few, None, terms)
    assert outlay_of(source(MOLECULES * 10), None, terms).seconds > 2 * base.seconds
    assert outlay_of(few, few, terms).seconds > base.seconds > outlay_of(few, None, ["energy"]).seconds
    assert outlay_of(source(MOLECULES, pseudo_species=2), None, terms).n_bytes < base.n_bytes
    crystal, dense = ([bulk("Si", cubic=True, a=a) * (3, 3, 3)] for a in (5.4, 4.4))
    assert outlay_of(source(dense), None, terms).seconds > outlay_of(source(crystal), None, terms).seconds


def test_rows_fewer_than_features_are_cheap():
    """40 energies with 14,784 features: no array of p × p."""
    assert outlay_of(source(MOLECULES), None, ["energy"]).n_bytes < 1e8
    assert outlay_of(source(MOLECULES), None, []).n_bytes > 1e9  # a model was fitted, its Hessian may be of any form


def test_quick_work_is_quiet(capsys):
    module.announce(source(MOLECULES[:2]), None, ["energy"], progress=False)
    assert capsys.readouterr() == ("", "")
    module.announce(source(MOLECULES[:2]), source(MOLECULES[:1]), ["energy"], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"rigidities: train.xyz: 2 structures, 18 atoms; train.xyz: 1 structure, 9 atoms; 14,784 features: "
        r"roughly \d+ s and 0.1 GB\n",
        err,
    )


def test_many_species_are_advised_to_mix(capsys):
    frame = bulk("Cu", cubic=True) * (5, 5, 5)
    frame.numbers = np.resize(range(21, 29), len(frame))
    module.announce(source([frame] * 100), None, ["energy", "forces"], progress=False)
    assert capsys.readouterr().err.endswith("; --pseudo-species 2 makes 7,616 features\n")
    module.announce(source([frame] * 100, pseudo_species=2), None, ["energy", "forces"], progress=True)
    assert "--pseudo-species" not in capsys.readouterr().err
    module.announce(source([bulk("Si")] * 100_000), None, ["energy", "forces"], progress=True)
    assert "--pseudo-species" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "report"])
def test_sizes_come_first(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    frames = []
    for seed in range(6):
        frame = molecule("CH3OH")
        frame.rattle(0.1, seed=seed)
        frame.info["energy"] = float(seed)
        frames.append(frame)
    ase.io.write("train.xyz", frames)
    arguments = [command, "train.xyz", "train.xyz@:2", "-o", "out", "--progress", "--energy-key", "energy"]
    arguments += ["--forces-weight", "0"] if command == "fit" else []
    result = CliRunner().invoke(app, [*arguments, "--pseudo-species", "2"])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("rigidities: train.xyz: 6 structures, 36 atoms; train.xyz@:2: 2 structures, 12 ")
    assert "2,856 features: roughly" in result.stderr.splitlines()[0]
    assert "2 pseudo-species" in result.stdout


@pytest.mark.parametrize("command", ["fit", "report"])
def test_too_little_memory_names_the_option(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    frames = [molecule("CH3CONH2") for _ in range(3)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.1, seed=seed)
        frame.info["energy"] = float(seed)
    ase.io.write("train.xyz", frames)
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    arguments = [command, "train.xyz", "train.xyz", "-o", "out", "--energy-key", "energy"]
    arguments += ["--forces-weight", "0"] if command == "fit" else []
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--pseudo-species 2" in result.stderr.splitlines()[-1]
    assert len(result.stdout) == 0


def test_two_pseudo_species_where_that_is_fewer():
    assert Soap(["H", "C", "O"]).with_pseudo_species(2).n_features == 2856
    for soap in (Soap("Si"), Soap(["Si", "Ge"]), Soap([1, 6, 8, 119]), Soap(["H", "C", "O"], body_orders=(2,))):
        assert soap.with_pseudo_species(2) is None
    assert Soap(["H", "C", "O"], pseudo_species=2).with_pseudo_species(2) is None
