"""Files of a command: no output replaces an input, another output or a file of another kind."""

import gzip
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
from matplotlib.figure import Figure

from rigidities import Covariance, demo
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
    ("fit train.xyz -o test.xyz --no-plot", ".xyz is the suffix of something else"),
    ("fit train.xyz -o labelled --no-plot", "labelled: this file exists and is not a model"),
    ("fit train.xyz -o sums.safetensors --no-plot", "sums.safetensors: this file exists and is not a model"),
    ("fit train.xyz -o text", "text.png: this file exists and is not a figure"),
    ("fit train.xyz -o plot.safetensors", "plot.png: this file exists and is not a figure"),
    ("score m.safetensors train.xyz -o text.extxyz", "text.extxyz: this file exists and is not structures with"),
    ("score m.safetensors train.xyz -o sums.xyz", "sums.xyz: this file exists and is not structures with"),
    ("score m.safetensors train.xyz -o test.xyz", "test.xyz: this file exists and is not structures with rigidities"),
    ("score m.safetensors train.xyz -o labelled", "labelled: this file exists and is not structures with rigidities"),
    ("score m.safetensors train.xyz -o half.xyz", "half.xyz: this file exists and is not structures with rigidities"),
    ("report train.xyz test.xyz -o labels", "rigidities.xyz: this file exists and is not structures with rigidities"),
    ("report train.xyz test.xyz -o viewers", "viewer.json.gz: this file exists and is not a viewer"),
    ("report train.xyz test.xyz -o others", "summary.json: this file exists and is not a summary"),
    ("report train.npz test.npz -o rows", "rigidities.npz: this file exists and is not rigidities as .npz"),
    ("demo -o demos", "summary.json: this file exists and is not a summary"),
    ("score m.safetensors train.xyz -o h.json", ".json is the suffix of something else"),
    ("score m.safetensors train.xyz -o pipe", "is not a regular file"),
    ("score m.safetensors train.xyz -o linked", "has 2 hard links"),
    ("report train.xyz test.xyz -o text.png", "text.png: cannot make this directory"),
    ("report train.xyz test.xyz -o rep", "summary.json: this file exists and is not a summary"),
    ("fit train.xyz -o .", ".: is a directory, expected the name of a file"),
    ("fit train.xyz -o h.json/deep/m", "cannot make this directory (Not a directory)"),
    ("fit train.xyz -o " + 300 * "m", "cannot be written (File name too long)"),
    ("fit train.xyz -o loop --no-plot", "cannot be written ("),
])  # fmt: skip
def test_other_files_stay(arguments, said, no_work):
    other_files()
    Path("rep").mkdir()
    Path("rep/summary.json").write_text("notes")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    Path("older.xyz").write_bytes(Path("test.xyz").read_bytes())
    os.link("older.xyz", "linked")
    refused(arguments, said)


def other_files():
    """Files of other people, under names of ours."""
    for folder in ("labels", "viewers", "others", "rows", "demos/with_defects"):
        Path(folder).mkdir(parents=True)
    labelled = Path("train.xyz").read_bytes()
    for name in ("labelled", "labels/rigidities.xyz"):
        Path(name).write_bytes(labelled)
    for name in ("text.png", "text.extxyz"):
        Path(name).write_text("no picture, and no structures")
    for name in ("others/summary.json", "demos/with_defects/summary.json"):
        Path(name).write_text('{"versions": {"other": "1"}, "results": [1, 2]}')
    Path("viewers/viewer.json.gz").write_bytes(gzip.compress(b'{"meta": {"name": "my map"}}'))
    Path("rows/rigidities.npz").write_bytes(Path("train.npz").read_bytes())
    sums = Covariance(2)
    sums.save("sums.safetensors")
    Path("sums.xyz").write_bytes(Path("sums.safetensors").read_bytes())
    one = SMALL[0].copy()
    one.info["pr"] = 1.0
    one.arrays["lpr"] = np.ones(len(one))
    ase.io.write("half.xyz", [one, SMALL[1]])
    figure = Figure()
    figure.savefig("plot.png")


@pytest.mark.parametrize(("arguments", "expected"), [
    ("fit train.xyz -o model.xyz", ".safetensors, or no suffix, e.g. model.safetensors"),
    ("fit train.xyz -o model.npz --force", ".safetensors, or no suffix, e.g. model.safetensors"),
    ("fit train.xyz -o model.PNG --no-plot", ".safetensors, or no suffix, e.g. model.safetensors"),
    ("fit train.xyz -o model.pkl", ".safetensors, or no suffix, e.g. model.safetensors"),
    ("score m.safetensors train.xyz -o out.safetensors", ".xyz or .extxyz, or no suffix, e.g. out.xyz"),
    ("score m.safetensors train.xyz -o out.json", ".xyz or .extxyz, or no suffix, e.g. out.xyz"),
    ("score m.safetensors train.xyz -o out.xyz.gz", ".xyz or .extxyz, or no suffix, e.g. out.xyz"),
    ("score m.safetensors train.xyz -o out.cif --force", ".xyz or .extxyz, or no suffix, e.g. out.xyz"),
    ("report train.xyz test.xyz -o rep.json", "into a directory: expected a name without .json, e.g. rep"),
    ("report train.npz test.npz -o rep.npz", "into a directory: expected a name without .npz, e.g. rep"),
    ("demo -o demo.png", "into a directory: expected a name without .png, e.g. demo"),
])  # fmt: skip
def test_suffix_and_content_agree(arguments, expected, no_work):
    refused(arguments, "would be written", f"expected {expected.removeprefix('into a directory: expected ')}")


# ---- the same outputs again, and others where it is meant


def test_files_of_an_earlier_run_are_replaced_and_others_with_force(model):
    other_files()
    runs = [
        ["fit", "train.xyz", "-o", "plot.safetensors", "--plot", "--regularizer", "1e-3", *CHEAP],
        ["score", model, "train.xyz", "-o", "half.xyz", "--no-forces"],
        ["report", "train.xyz", "test.xyz", "-o", "labels", *CHEAP],
        ["report", "train.npz", "test.npz", "-o", "rows"],
    ]
    for arguments in runs:
        assert run(*arguments).exit_code == 2
        assert run(*arguments, "--force").exit_code == 0
        done = run(*arguments)
        assert done.exit_code == 0, done.output
    assert run("score", model, "train.xyz", "-o", "train.xyz", "--force").exit_code == 2


@pytest.mark.parametrize("name", ["REF_energy", "dft_forces", "stress", "energy"])
def test_labels_that_were_added_to_an_earlier_output_stay(model, name):
    """Labels of the input are no reason to ask: the new file has them as well."""
    fresh = [frame.copy() for frame in SMALL[3:7:2]]
    ase.io.write("new.xyz", fresh)
    for arguments, output in ((["score", model, "new.xyz", "-o", "s.xyz"], "s.xyz"),
                              (["report", "train.xyz", "new.xyz", "-o", "r", *CHEAP], "r/rigidities.xyz")):  # fmt: skip
        assert run(*arguments).exit_code == 0
        frames = ase.io.read(output, ":")
        for frame in frames:
            value = np.ones((len(frame), 3)) if "forces" in name else np.eye(3) if name == "stress" else 1.0
            (frame.arrays if "forces" in name else frame.info)[name] = value
        ase.io.write(output, frames)
        refused(" ".join(map(str, arguments)), f"this file has labels, {name}, that the structures to be written lack")
        assert run(*arguments, "--force").exit_code == 0
    assert run("score", model, "test.xyz", "-o", "t.xyz").exit_code == 0  # with labels
    assert run("score", model, "test.xyz", "-o", "t.xyz").exit_code == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
@pytest.mark.parametrize("arguments", ["fit train.xyz -o /proc/x/m", "report train.xyz test.xyz -o /proc/x"])
def test_a_place_that_cannot_be_written_is_found_before_the_work(arguments, no_work):
    refused(arguments, "cannot be written (")


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("a bug")])
@pytest.mark.parametrize("command", ["fit", "score", "report", "demo"])
def test_a_write_that_fails_leaves_no_directory(command, fault, model, monkeypatch):
    arguments = {
        "fit": ["train.xyz", "-o", "new/a/b/m", "--no-plot", "--regularizer", "1e-3", *CHEAP],
        "score": [model, "test.xyz", "-o", "new/a/b/s.xyz"],
        "report": ["train.xyz", "test.xyz", "-o", "new/a/b", *CHEAP],
        "demo": ["-o", "new/a/b"],
    }[command]

    def fails(*given, **options):
        raise fault

    for name in ("model.linear.files.save", "structures.extxyz.write_text", "report.files.write_summary",
                 "demo.write_figure"):  # fmt: skip
        monkeypatch.setattr(f"rigidities.{name}", fails)
    if command == "demo":
        monkeypatch.setattr("rigidities.datasets.load_silicon", lambda groups: load_silicon(groups=groups)[::6])
        monkeypatch.setattr(demo, "DEMO_CUTOFF", 3.0)
    before = content()
    assert run(command, *arguments).exit_code != 0
    assert not Path("new").exists()
    assert content() == before


def test_a_write_that_fails_keeps_directories_that_were_there(monkeypatch, model):
    Path("old/a").mkdir(parents=True)
    monkeypatch.setattr("rigidities.structures.extxyz.write_text", lambda *given: 1 / 0)
    run("score", model, "test.xyz", "-o", "old/a/b/c/s.xyz")
    assert list(Path("old").rglob("*")) == [Path("old/a")]


def test_a_refusal_leaves_no_directory():
    ase.io.write("carbon.xyz", ase.Atoms("C"))
    for arguments in (["report", "train.xyz", "carbon.xyz", "-o", "new/r"], ["fit", "carbon.xyz", "-o", "new/m"]):
        assert run(*arguments, *CHEAP).exit_code == 2
        assert not Path("new").exists()


@pytest.mark.parametrize(
    "links", [{"rep/lpr_map.png": "summary.json"}, {"rep/summary.json": "rigidities.xyz"}, {"rep/lpr_map.png": "other"}]
)
def test_outputs_are_compared_with_one_another(links):
    Path("rep").mkdir()
    for name, target in links.items():
        Path(name).symlink_to(target)
    outputs = places.outputs_of_report(Path("rep"), from_features=False)
    if "other" in links.values():
        places.check_places(outputs)
        return
    with pytest.raises(InputError, match="through a link; one would replace the other"):
        places.check_places(outputs)
