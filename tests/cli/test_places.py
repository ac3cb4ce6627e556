"""Files of a command: no output replaces an input, another output or a file of another kind."""

import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rigidities import cli
from rigidities.cli import places
from rigidities.exceptions import InputError

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("matplotlib")
pytest.importorskip("chemiscope")

import ase.io

from rigidities import demo
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and pipes are files of other systems")

SMALL = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]
CHEAP = ["--hyperparameters", "h.json", "--no-progress"]


@pytest.fixture(autouse=True)
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", SMALL[2:10:2])
    ase.io.write("test.xyz", SMALL[3:7:2])
    Path("h.json").write_text(Soap("Si", 3.5, max_radial=2, max_angular=2).settings)
    rng = np.random.default_rng(0)
    for name in ("train.npz", "test.npz"):
        np.savez(name, features=rng.normal(size=(12, 3)))


@pytest.fixture
def model():
    assert run("fit", "train.xyz", "-o", "m.safetensors", "--no-plot", "--regularizer", "1e-3", *CHEAP).exit_code == 0
    return Path("m.safetensors")


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def content():
    """Every file in the folder and its bytes."""
    return {path: path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def refused(arguments, *said):
    """The command ends in one line that says this, and every file is as it was."""
    before = content()
    result = run(*arguments.split())
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("rigidities: error: --output ")
    assert all(text in line for text in said), line
    assert content() == before


@pytest.fixture
def no_work(monkeypatch):
    """Nothing is read and nothing is computed."""

    def work(*arguments, **options):
        raise AssertionError("work before the files were compared")

    for name in ("cli.fit.read_training", "cli.score.read_structures", "cli.report.read_sources"):
        monkeypatch.setattr(f"rigidities.{name}", work)


# ---- inputs


@pytest.mark.parametrize("arguments", [
    "fit train.xyz -o train.xyz --no-plot",
    "fit train.xyz -o ./train.xyz",
    "fit train.xyz@:3 -o train.xyz --no-plot",
    "fit train.xyz test.xyz -o test.xyz --no-plot",
    "fit train.xyz test.xyz@0 -o test.xyz --no-plot",
    "fit train.xyz -o h.json --no-plot --hyperparameters h.json",
    "fit train.xyz -o linked.xyz --no-plot",
    "fit train.xyz -o hard.xyz --no-plot",
    "fit linked.xyz -o train.xyz --no-plot",
    "fit picture.png -o picture",
    "score m.safetensors test.xyz -o m.safetensors",
    "score m.safetensors test.xyz -o test.xyz",
    "score m.safetensors test.xyz -o sub/../test.xyz",
    "score m.safetensors test.xyz@:1 -o test.xyz",
    "report train.xyz rep/rigidities.xyz -o rep",
    "report rep/rigidities.xyz test.xyz -o rep",
    "report train.xyz test.xyz -o rep --hyperparameters rep/summary.json",
    "report train.npz rep/rigidities.npz -o rep",
    "report train.npz rep/rigidities.npz -o linked_rep",
])  # fmt: skip
def test_no_output_replaces_an_input(arguments, no_work):
    Path("sub").mkdir()
    Path("rep").mkdir()
    Path("linked_rep").symlink_to("rep")
    Path("linked.xyz").symlink_to("train.xyz")
    os.link("train.xyz", "hard.xyz")
    for source, copy in (("train.xyz", "rep/rigidities.xyz"), ("h.json", "rep/summary.json"),
                         ("train.npz", "rep/rigidities.npz"), ("train.xyz", "picture.png"),
                         ("h.json", "m.safetensors")):  # fmt: skip
        Path(copy).write_bytes(Path(source).read_bytes())
    refused(arguments, "is the input", "which would be lost; give another name")


def test_an_input_that_is_not_there_is_compared_by_its_name():
    with pytest.raises(InputError, match="is the input"):
        places.check_places({Path("x/../new.xyz"): places.STRUCTURES}, "new.xyz")
    places.check_places({Path("new.xyz"): places.STRUCTURES}, "other.xyz", None)


def test_a_file_system_that_takes_one_case_for_another_is_asked(monkeypatch):
    """There, Train.xyz exists where train.xyz does, and is the same file."""
    same = Path.samefile
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: exists(path) or Path(path).name == "Train.xyz")
    monkeypatch.setattr(Path, "samefile", lambda one, other: same(Path(one.name.lower()), other))
    with pytest.raises(InputError, match=r"--output Train\.xyz: is the input train\.xyz"):
        places.check_places({Path("Train.xyz"): places.STRUCTURES}, "train.xyz")


# ---- outputs


@pytest.mark.parametrize("name", ["mod.png", "mod.PNG", "linked.safetensors"])
def test_the_figure_does_not_replace_the_model(name, no_work):
    Path("linked.png").symlink_to("linked.safetensors")
    refused(f"fit train.xyz -o {name}", "the figure of λ", "would replace the model; give the model another name")
    with pytest.raises(AssertionError, match="work before"):
        raise run("fit", "train.xyz", "-o", "mod.png", "--no-plot").exception


def test_outputs_are_those_that_are_written(model):
    assert set(places.outputs_of_fit(Path("deep/m"), plot=True)) == written(
        "fit", "train.xyz", "-o", "deep/m", "--regularizer", "1e-3", "--plot", *CHEAP
    )
    assert set(places.outputs_of_score(Path("s.xyz"), plot=True)) == written("score", model, "test.xyz", "-o", "s.xyz")
    assert set(places.outputs_of_report(Path("r"), from_features=False)) == written(
        "report", "train.xyz", "test.xyz", "-o", "r", *CHEAP
    )
    assert set(places.outputs_of_report(Path("n"), from_features=True)) == written(
        "report", "train.npz", "test.npz", "-o", "n"
    )


def test_outputs_of_the_demo_are_those_that_are_written(monkeypatch):
    load = load_silicon
    monkeypatch.setattr("rigidities.datasets.load_silicon", lambda groups: load(groups=groups)[::6])
    monkeypatch.setattr(demo, "DEMO_CUTOFF", 3.0)
    assert set(places.outputs_of_demo(Path("d"))) == written("demo", "-o", "d")


def written(*arguments):
    """Files that a command makes, each of the kind that its list says, so that it can be run again."""
    before = set(content())
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert run(*arguments).exit_code == 0
    return set(content()) - before


# ---- other files and places


@pytest.mark.parametrize(("arguments", "said"), [
    ("fit train.xyz -o test.xyz --no-plot", "exists and is not a model"),
    ("fit train.xyz -o train.npz --no-plot", "exists and is not a model"),
    ("fit train.xyz -o text", "text.png: this file exists and is not a PNG image"),
    ("score m.safetensors train.xyz -o h.json", "name the structures h.xyz"),
    ("score m.safetensors train.xyz -o pipe", "is not a regular file"),
    ("score m.safetensors train.xyz -o linked", "has 2 hard links"),
    ("report train.xyz test.xyz -o text.png", "text.png: cannot make this directory"),
    ("report train.xyz test.xyz -o rep", "summary.json: this file exists and is not a JSON file"),
    ("fit train.xyz -o .", ".: is a directory, expected the name of a file"),
    ("fit train.xyz -o h.json/deep/m", "cannot make this directory (Not a directory)"),
    ("fit train.xyz -o " + 300 * "m", "cannot be written (File name too long)"),
    ("fit train.xyz -o loop --no-plot", "cannot be written ("),
])  # fmt: skip
def test_other_files_stay(arguments, said, no_work):
    Path("text.png").write_text("no picture")
    Path("rep").mkdir()
    Path("rep/summary.json").write_text("notes")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    Path("older.xyz").write_bytes(Path("test.xyz").read_bytes())
    os.link("older.xyz", "linked")
    refused(arguments, said)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
@pytest.mark.parametrize("arguments", ["fit train.xyz -o /proc/x/m", "report train.xyz test.xyz -o /proc/x"])
def test_a_place_that_cannot_be_written_is_found_before_the_work(arguments, no_work):
    refused(arguments, "cannot be written (")


def test_a_refusal_leaves_no_directory():
    ase.io.write("carbon.xyz", ase.Atoms("C"))
    for arguments in (["report", "train.xyz", "carbon.xyz", "-o", "new/r"], ["fit", "carbon.xyz", "-o", "new/m"]):
        assert run(*arguments, *CHEAP).exit_code == 2
        assert not Path("new").exists()
