"""What cannot be used is refused in one line, by the command as it is installed: no line of another library."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("matplotlib")

import ase
import ase.io

from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes are files of other systems")

SMALL = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]
CHEAP = ["--hyperparameters", "h.json"]


@pytest.fixture(autouse=True)
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", SMALL[2:8:2])
    Path("h.json").write_text(Soap("Si", 3.5, max_radial=2, max_angular=2).settings)


def run(*arguments, **environment):
    command = [sys.executable, "-m", "rigidities", *map(str, arguments)]
    environment = os.environ | {"RUST_BACKTRACE": "1"} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def refused(done, *said, announced=False):
    assert done.returncode == 2, done
    assert done.stdout == ""
    *before, line = done.stderr.splitlines()
    assert len(before) == announced
    assert line.startswith("rigidities: error: ")
    assert all(text in line for text in said), line
    assert not Path("out").exists()


def report(*arguments):
    return run("report", *arguments, "-o", "out")


# ---- options


def test_a_cutoff_at_which_featomic_panics():
    refused(report("train.xyz", "train.xyz", "--cutoff", 50), "descriptor: featomic refuses the hyperparameters")
    refused(run("fit", "train.xyz", "-o", "out", "--cutoff", 50), "descriptor: featomic refuses", "cutoff")


@pytest.mark.parametrize("threads", [100_000, 10**30])
def test_more_threads_than_a_system_starts(threads):
    refused(report("train.xyz", "train.xyz", "--threads", threads), f"--threads {threads}: expected at most ")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000, "NaN", '"x"'])
def test_hyperparameters_that_are_none(content):
    Path("deep.json").write_text(content)
    refused(report("train.xyz", "train.xyz", "--hyperparameters", "deep.json"), "deep.json: ")


# ---- files


@pytest.mark.parametrize("value", [1e200, -1e101, np.inf, np.nan])
def test_features_whose_squares_overflow(value):
    features = np.random.default_rng(0).normal(size=(9, 3))
    np.savez("good.npz", features=features)
    features[2, 1] = value
    np.savez("bad.npz", features=features)
    said = f"bad.npz: features hold {value} in row 2, column 1: expected finite numbers, at most 1e+100"
    refused(report("bad.npz", "good.npz"), said)
    refused(report("good.npz", "bad.npz"), said)


@pytest.mark.parametrize("name", [".", "pipe", "pipe@:3", 300 * "n"])
@pytest.mark.parametrize(
    "command",
    [
        "report {} train.xyz",
        "report train.xyz {}",
        "fit {}",
        "fit train.xyz {}",
        "score {} train.xyz",
        "report train.xyz train.xyz --hyperparameters {}",
    ],
)
def test_what_is_no_file(command, name):
    if "pipe" in name:
        os.mkfifo("pipe")
    if "score" in command or "hyper" in command:
        name = name.partition("@")[0]
    refused(run(*command.format(name).split(), "-o", "out"), name.partition("@")[0])


# ---- structures

ABSURD = {
    "far": (ase.Atoms("Si2", positions=[[0, 0, 0], [1e300, 0, 0]]), "structure 0: atom 1 is at "),
    "not a number": (ase.Atoms("Si", positions=[[np.nan, 0, 0]]), "structure 0: atom 0 is at "),
    "flat": (ase.Atoms("Si", cell=[5, 5, 0], pbc=True), "its cell vectors are"),
    "nan cell": (ase.Atoms("Si", cell=[5, 5, np.nan], pbc=True), "its cell vectors are"),
    "huge": (ase.Atoms("Si", cell=[1e9] * 3, pbc=True), "its cell vectors are"),
    "overflow": (ase.Atoms("Si", cell=[1e150] * 3, pbc=True), "its cell vectors are"),
    "tiny": (ase.Atoms("Si", cell=[1e-3] * 3, pbc=True), "neighbours within 3.5 Å each, and the list of them needs"),
    "thin": (ase.Atoms("Si", cell=[1e-9, 5, 5], pbc=True), "neighbours within 3.5 Å each, and the list of them needs"),
    "crowd": (ase.Atoms("Si100000", positions=np.zeros((100_000, 3))), "and the list of them needs"),
    "slab in metres": (SMALL[0].copy(), "and the list of them needs"),
}
ABSURD["slab in metres"][0].set_cell(SMALL[0].cell * 1e-4, scale_atoms=True)


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_structures(name):
    atoms, said = ABSURD[name]
    ase.io.write("absurd.traj", [atoms])
    refused(report("absurd.traj", "absurd.traj", *CHEAP), "absurd.traj", said)


def test_structures_that_featomic_cannot_compute():
    ase.io.write("long.traj", ase.Atoms("Si", cell=[2, 1e5, 1e5], pbc=True))
    refused(report("long.traj", "long.traj", *CHEAP), "long.traj", "featomic cannot compute the rows")


def test_many_species_need_more_memory_than_there_is():
    ase.io.write("all.traj", ase.Atoms(range(1, 100), np.arange(99)[:, None] * [3.0, 0, 0]))
    said = "features of 99 species) needs", "GB are free", "--pseudo-species 2"
    refused(report("all.traj", "all.traj"), *said, announced=True)


# ---- lines of other libraries


def test_warnings_of_libraries_are_lines_of_ours():
    code = (
        "import logging, sys, warnings\n"
        "sys.argv = ['rigidities', 'fit', 'train.xyz', '-o', 'model', *sys.argv[1:]]\n"
        "import rigidities.cli.fit as fit\n"
        "read = fit.read_training\n"
        "def work(*arguments):\n"
        "    for _ in range(2):\n"
        "        warnings.warn('a file of old')\n"
        "        logging.getLogger('featomic').warning('a line\\nof a log')\n"
        "    return read(*arguments)\n"
        "fit.read_training = work\n"
        "from rigidities.cli import main\nmain()"
    )
    options = [*CHEAP, "--no-plot", "--regularizer", "1e-3"]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert "Written" in done.stdout
    assert done.stderr.splitlines() == [f"rigidities: warning: {said}" for said in ("a file of old", "a line of a log")]


def test_a_bug_shows_all_lines():
    code = (
        "import os, sys\n"
        "sys.argv = ['rigidities', 'fit', 'train.xyz', '-o', 'm']\n"
        "import rigidities.cli.fit as fit\n"
        "def work(*arguments): os.write(2, b'a line of C\\n'); raise KeyError('bug')\n"
        "fit.read_training = work\n"
        "from rigidities.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("a line of C\nTraceback (most recent call last)")
    assert done.stderr.endswith("KeyError: 'bug'\n")


def test_a_crash_says_where():
    code = (
        "import os, sys\n"
        "sys.argv = ['rigidities', 'fit', 'train.xyz', '-o', 'm']\n"
        "import rigidities.cli.fit as fit\n"
        "fit.read_training = lambda *arguments: os.abort()\n"
        "from rigidities.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("Fatal Python error: Aborted")
