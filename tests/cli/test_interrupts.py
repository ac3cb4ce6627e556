"""Ctrl-C ends the command with one line and exit code 130, from its first import to its end."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

import ase.io

from rigidities.cli import interrupts
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a single process")

LINE = "rigidities: interrupted\n"
SMALL = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]


def start(*arguments, code="import runpy; runpy.run_module('rigidities', run_name='__main__', alter_sys=True)"):
    """Start the command; it says on stdout when Python has started, before the package is imported."""
    ready = f"import sys; print('ready', flush=True); sys.argv = ['rigidities', *{list(map(str, arguments))!r}]\n{code}"
    return subprocess.Popen([sys.executable, "-c", ready], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupted(process, delay):
    """What is left after SIGINT, sent so long after Python has started: exit code, stdout, stderr."""
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", SMALL[2:10:2])
    Path("h.json").write_text(Soap("Si", 3.5, max_radial=2, max_angular=2).settings)


FIT = "fit", "train.xyz", "-o", "m", "--regularizer", "1e-3", "--hyperparameters", "h.json"


@pytest.mark.slow
def test_ctrl_c_at_any_time(inputs):
    """30 times from the first import to the end: the line and 130, or the whole work and 0 where it came too late."""
    begin = time.perf_counter()
    assert start(*FIT).communicate(timeout=60)
    length, choose, n_interrupted = time.perf_counter() - begin, random.Random(0), 0
    for index in range(30):
        delay = (index + choose.random()) / 30 * length
        code, out, err = interrupted(start(*FIT), 0.005 + delay)
        if code == 0:
            assert "Written" in out
        else:
            assert (code, err) == (130, LINE), delay
            n_interrupted += 1
        assert not [path for path in Path().rglob("*") if "rigidities-" in path.name]
    assert n_interrupted >= 15


@pytest.mark.parametrize("when", ["import numpy", "import typer", "work", "foreign"])
def test_ctrl_c_at_the_worst_time(when, inputs):
    """While modules are imported, and where C code calls Python back and drops the exception."""
    interrupt = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    code = {
        "import numpy": "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == 'numpy': {interrupt}\n"
        "sys.meta_path.insert(0, Finder())\n",
        "import typer": "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == 'typer': {interrupt}\n"
        "sys.meta_path.insert(0, Finder())\n",
        "work": "import rigidities.sources.read as read\n"
        f"def work(*arguments): {interrupt}\n"
        "read.read_structures = work\n",
        "foreign": "import ctypes, rigidities.sources.read as read\n"
        "@ctypes.CFUNCTYPE(ctypes.c_int)\n"
        "def callback():\n"
        f"    {interrupt}\n"
        "    return 1\n"
        "read.read_structures = lambda *arguments: callback() and [][0]\n",
    }[when]
    process = start(*FIT, code=code + "from rigidities.cli import main\nmain()")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "ready\n", LINE)


def test_a_file_that_is_being_written_is_removed_first(inputs):
    code = (
        "import os, signal, pathlib\n"
        "from rigidities.model.linear import LinearModel\n"
        "def save(self, path):\n"
        "    temporary = pathlib.Path('temporary')\n"
        "    temporary.touch()\n"
        "    try: os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally: temporary.unlink()\n"
        "LinearModel.save = save\n"
        "from rigidities.cli import main\nmain()"
    )
    process = start(*FIT, code=code)
    assert process.communicate(timeout=60) == ("ready\n", LINE)
    assert process.returncode == 130
    assert {path.name for path in Path().iterdir()} == {"train.xyz", "h.json"}


def test_a_parent_that_ignores_ctrl_c_is_obeyed(inputs):
    """A shell starts what runs in its background so."""
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from rigidities.cli import interrupts, main\ninterrupts.leave_on_interrupt()\n"
        "signal.raise_signal(signal.SIGINT)\nmain()"
    )
    process = start(*FIT, code=code)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "Written" in out


@pytest.mark.parametrize(
    ("argv", "orig_argv", "is_command"),
    [
        (["/usr/bin/rigidities", "fit"], ["python", "/usr/bin/rigidities", "fit"], True),
        (["C:/rigidities.exe"], ["rigidities.exe"], True),
        (["-m", "fit"], ["python", "-m", "rigidities", "fit"], True),
        (["-m", "fit"], ["python", "-X", "dev", "-mrigidities"], True),
        (["-m"], ["python", "-m", "other", "rigidities"], False),
        (["-m"], ["python", "-m", "rigidities_plus"], False),
        (["-m"], ["python", "-mother"], False),
        (["script.py", "-m", "rigidities"], ["python", "script.py", "-m", "rigidities"], False),
        ([""], ["python"], False),
        ([], ["python"], False),
    ],
)
def test_only_the_command_answers_while_the_package_is_imported(argv, orig_argv, is_command, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert interrupts.is_command() is is_command


def test_a_program_that_imports_the_package_keeps_its_handler():
    code = "import signal, rigidities; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_module_answers_while_the_package_is_imported(tmp_path):
    """``python -m rigidities`` imports the package before its own code runs."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'numpy': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "rigidities", "--version"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", LINE)
