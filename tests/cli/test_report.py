"""The command line by what it leaves: files, text, exit codes, one line for what cannot be used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import arrays
import numpy as np
import pytest
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli
from rigidities.cli import report as report_command

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("chemiscope")

import ase.io
from ase.build import bulk, molecule

from rigidities.interop.featomic import Soap, soap_rows

MLEARN = Path(__file__).parents[3] / "shared" / "data" / "mlearn"
FILES = {"rigidities.xyz", "next.xyz", "summary.json", "ranking.csv", "lpr_map.png", "viewer.json.gz"}


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def silicon(n, seed=0):
    frames = [bulk("Si", cubic=True)[: 8 - i % 2] for i in range(n)]
    for i, frame in enumerate(frames):
        frame.rattle(0.1, seed=seed + i)
        frame.info["group"] = ("crystal", "a kind with quite a long name that goes on")[i % 2]
    return frames


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Train and test files, good and bad, in the working directory."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", silicon(4))
    ase.io.write("test.xyz", silicon(3, seed=50))
    Path("empty.xyz").touch()
    Path("text.xyz").write_text("this is\nno structure\n")
    Path("noatoms.xyz").write_text("0\npbc=F\n")
    Path("text.json").write_text("{not json")
    Path("list.json").write_text("[1]")
    Path("unknown.json").write_text('{"radius": 3}')
    rng = np.random.default_rng(0)
    np.savez("train.npz", features=rng.normal(size=(20, 3)), groups=np.repeat(np.arange(4), 5))
    np.savez("test.npz", features=rng.normal(size=(4, 3)), groups=[3, 3, 1, 1], species=["Si", "Si", "C", "Si"])
    np.savez("zero.npz", features=np.zeros((2, 3)))
    return tmp_path


# ---- before any command


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"rigidities {rg.__version__}\n"


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "rigidities", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"rigidities {rg.__version__}\n"


def test_help_names_the_commands_and_loads_nothing_heavy():
    heavy = "{'ase', 'featomic', 'matplotlib', 'chemiscope', 'scipy'} & set(sys.modules)"
    code = (
        "import sys, rigidities\n"
        f"assert not ({heavy} or 'typer' in sys.modules)\n"
        "from rigidities.cli import main\n"
        "sys.argv = ['rigidities', '--help']\n"
        "try: main()\n"
        f"finally: assert not {heavy}, {heavy}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "report" in done.stdout
    assert "demo" in done.stdout


@pytest.mark.parametrize("command", ["report", "demo"])
def test_help_of_commands(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--output" in result.stdout


def test_help_says_what_an_npz_holds():
    for word in ("features", "groups", "species", ".npz", "lpr", "pr", "labels", "viewer.json.gz"):
        assert word in run("report", "--help").stdout


# ---- report


def test_report_writes_its_files(inputs):
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/summary.json").write_text('{"versions": {"rigidities": "0.0"}}')
    result = run("report", "train.xyz", "test.xyz", "-o", "out/deep", "--regularizer", "1e-4", "--cutoff", "4")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert {path.name for path in Path("out/deep").iterdir()} == FILES
    soap = Soap("Si", 4.0)
    F = rg.reduce_rows(soap_rows(ase.io.read("train.xyz", ":"), soap, progress=False))[1]
    X = soap_rows(ase.io.read("test.xyz", ":"), soap, progress=False).values
    direct = 1 / np.einsum("ij,ji->i", X, np.linalg.solve(F.T @ F + 1e-4 * np.eye(252), X.T))
    read = ase.io.read("out/deep/rigidities.xyz", ":")
    # cond(H) is |F|²/λ, 1e7: nine digits are left.
    np.testing.assert_allclose(np.concatenate([frame.arrays["lpr"] for frame in read]), direct, rtol=1e-7)
    summary = json.loads(Path("out/deep/summary.json").read_text())
    assert summary["regularizer"] == 1e-4
    assert summary["descriptor"]["hyperparameters"]["cutoff"]["radius"] == 4
    assert summary["lpr"]["all"]["n"] == len(direct) == 23


def test_table(inputs):
    lines = run("report", "train.xyz", "test.xyz", "-o", "out").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("λ is only the least that rounding allows, without an energy of each training structure")
    start = next(i for i, line in enumerate(lines) if line.startswith("training set"))
    lines = lines[start - 2 :]
    assert lines[2] == "training set  train.xyz: 4 structures, 30 atoms"
    assert lines[3] == "test set      test.xyz: 3 structures, 23 atoms"
    assert lines[4] == "features      252 of SOAP: cutoff 5 Å, body orders 3"
    assert lines[5].startswith("regularizer   ")
    summary = json.loads(Path("out/summary.json").read_text())
    rows = {line[:26].strip(): line[26:].split() for line in lines}
    assert rows["LPR"] == ["atoms", "min", "q05", "q25", "median", "q75", "q95", "max"]
    described = summary["lpr"]["group"]["crystal"]
    assert [int(rows["crystal"][0]) for _ in range(1)] == [2]  # the last table with this row is that of structures
    crystal = next(line for line in lines if line.strip().startswith("crystal"))
    assert float(crystal.split()[1]) == described["n"] == 16
    assert [float(x) for x in crystal.split()[2:]] == [float(f"{described[q]:.2g}") for q in rows["LPR"][1:]]
    assert {"group", "species", "coordination", "Si"} <= set(rows)
    assert any(line.startswith("PR of the energy per atom") for line in lines)
    start = lines.index("least rigid atoms, counted from 0")
    assert lines[start + 1].split()[:5] == ["structure", "atom", "LPR", "group", "species"]
    for line, atom in zip(lines[start + 2 : start + 12], summary["least_rigid_atoms"], strict=True):
        structure, index, lpr = line.split()[:3]
        assert [int(structure), int(index), float(lpr)] == [
            atom["structure"],
            atom["atom"],
            float(f"{atom['lpr']:.2g}"),
        ]
    assert lines[-1] == (
        "Written to out: rigidities.xyz, next.xyz, summary.json, ranking.csv, lpr_map.png, viewer.json.gz"
    )


def test_components_are_in_the_table_and_the_files(inputs):
    result = run("report", "train.xyz", "test.xyz", "-o", "out", "--body-orders", "2,3", "--reduction", "sum")
    assert result.exit_code == 0, result.output
    assert "\nLCPR " in result.stdout
    assert "\nCPR " in result.stdout
    assert "PR of the total energy" in result.stdout
    frame = ase.io.read("out/rigidities.xyz")
    assert {"lpr", "lcpr_2-body", "lcpr_3-body"} <= set(frame.arrays)
    assert {"pr", "cpr_2-body", "cpr_3-body", "group"} <= set(frame.info)
    assert set(json.loads(Path("out/summary.json").read_text())["cpr"]) == {"2-body", "3-body"}


def test_purified_body_orders_are_those_of_soap(inputs):
    result = run("report", "train.xyz", "test.xyz", "-o", "out", "--body-orders", "2,3", "--purified")
    assert result.exit_code == 0, result.output
    assert "body orders 2, 3, purified" in result.stdout
    assert "prior's share, median: LPR " in result.stdout
    content = json.loads(Path("out/summary.json").read_text())
    assert content["descriptor"]["purified"] is True
    assert content["descriptor"]["feature_space"] == Soap("Si", body_orders=(2, 3), purified=True).feature_space
    assert 0 <= content["cpr"]["2-body"]["prior_share"]["median"] <= 1


def test_purified_needs_both_body_orders(inputs):
    for orders in ("2", "3"):
        result = run("report", "train.xyz", "test.xyz", "-o", "out", "--body-orders", orders, "--purified")
        assert result.exit_code == 2
        assert "--purified: it takes the two-body part out of body order 3" in " ".join(result.stderr.split())
        assert "pass --body-orders 2,3" in " ".join(result.stderr.split())


def test_slices_hyperparameters_and_other_formats(inputs):
    Path("hypers.json").write_text(json.dumps(Soap("Si", 3.5, max_radial=2, max_angular=1).hyperparameters))
    frame = bulk("Si", cubic=True)
    frame.info["spacegroup"] = "anything"
    ase.io.write("test.cif", frame)
    arguments = [
        "report",
        "train.xyz@1:3",
        "test.cif",
        "-o",
        "out",
        "--hyperparameters",
        "hypers.json",
        "--threads",
        "1",
    ]
    result = run(*arguments, "--progress")
    assert result.exit_code == 0, result.output
    assert "SOAP" in result.stderr
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["train"]["n_structures"] == 2
    assert summary["descriptor"]["n_features"] == 12
    assert "group" not in summary["lpr"]


def test_a_lone_molecule_and_a_given_group_key(inputs):
    water = molecule("H2O")
    water.info["phase"] = "gas"
    ase.io.write("water.xyz", water)
    result = run("report", "water.xyz", "water.xyz@0", "-o", "out", "--group-key", "phase")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("out/summary.json").read_text())["lpr"]["group"]["gas"]["n"] == 3


def test_features_of_any_model(inputs):
    result = run("report", "train.npz", "test.npz", "-o", "out", "--regularizer", "0.5")
    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("out").iterdir()} == FILES - {"rigidities.xyz", "next.xyz", "viewer.json.gz"} | {
        "rigidities.npz"
    }
    F = arrays.load("train.npz")["features"].reshape(4, 5, 3).mean(axis=1)
    X = arrays.load("test.npz")["features"]
    G = np.array([X[2:].mean(axis=0), X[:2].mean(axis=0)])
    inverse = np.linalg.inv(F.T @ F + 0.5 * np.eye(3))
    with np.load("out/rigidities.npz") as read:
        np.testing.assert_allclose(read["lpr"], 1 / np.diag(X @ inverse @ X.T), rtol=1e-12)
        np.testing.assert_allclose(read["pr"], 1 / np.diag(G @ inverse @ G.T), rtol=1e-12)
        np.testing.assert_array_equal(read["labels"], [1, 3])
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["lpr"]["species"]["C"]["n"] == 1
    assert "coordination" not in summary["lpr"]


def test_rows_of_zeros_break_nothing(inputs):
    result = run("report", "train.npz", "zero.npz", "-o", "out")
    assert result.exit_code == 0, result.output
    assert " inf" in result.stdout
    assert json.loads(Path("out/summary.json").read_text())["lpr"]["all"]["max"] is None


def test_warnings_go_to_stderr(inputs):
    np.savez("weak.npz", features=np.diag([1.0, 1e-9]))
    result = run("report", "weak.npz", "weak.npz", "-o", "out", "--regularizer", "1e-19")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("rigidities: warning: the pivots of H span")


# ---- what cannot be used


@pytest.mark.parametrize(("arguments", "said"), [
    ("empty.xyz test.xyz", "empty.xyz: is empty"),
    ("text.xyz test.xyz", "text.xyz: ASE cannot read it"),
    ("train.xyz noatoms.xyz", "noatoms.xyz: structure 0 has no atoms"),
    ("train.xyz test.xyz --regularizer nan", "--regularizer nan: expected a number from 0, or auto"),
    ("train.xyz test.xyz --regularizer -1", "--regularizer -1: expected a number from 0, or auto"),
    ("train.xyz test.xyz --regularizer much", "--regularizer much: expected"),
    ("train.xyz test.xyz --regularizer 0", "regularizer 0.0: 4 rows determine 4 of 252 directions"),
    ("train.xyz test.xyz --group-key colour", "test.xyz: no structure has 'colour'"),
    ("train.xyz test.xyz --body-orders 2,x", "--body-orders 2,x: expected 2, 3 or 2,3"),
    ("train.xyz test.xyz --body-orders 4", "descriptor: body_orders is (4,)"),
    ("train.xyz test.xyz --cutoff -1", "descriptor: cutoff is -1"),
    ("train.xyz test.xyz --hyperparameters no.json", "no.json: no such file"),
    ("train.xyz test.xyz --hyperparameters text.json", "text.json: is not JSON"),
    ("train.xyz test.xyz --hyperparameters list.json", "list.json: expected a JSON object"),
    ("train.xyz test.xyz --hyperparameters unknown.json", "descriptor: hyperparameters have 'radius'"),
    ("train.xyz test.xyz --hyperparameters text.json --cutoff 3", "--cutoff and --hyperparameters text.json"),
    ("train.xyz test.xyz -o train.xyz", "--output train.xyz: cannot make this directory"),
    ("zero.npz test.npz", "regularizer auto:"),
])  # fmt: skip
def test_one_line_and_exit_code_2(inputs, arguments, said):
    result = run("report", *arguments.split(), *([] if " -o " in arguments else ["-o", "out"]))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith(f"rigidities: error: {said}")
    assert isinstance(result.exception, SystemExit)


def test_the_installed_command_shows_no_traceback(inputs):
    command = [sys.executable, "-c", "from rigidities.cli import main; main()", "report"]
    done = subprocess.run([*command, "empty.xyz", "test.xyz", "-o", "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "rigidities: error: empty.xyz: is empty\n"


@pytest.mark.parametrize("module", ["ase", "featomic", "matplotlib", "chemiscope"])
def test_a_missing_extra_says_how_to_get_it(inputs, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    for arguments in (["report", "train.xyz", "test.xyz", "-o", "out"], ["demo", "-o", "out"]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stderr == f'rigidities: error: {module} not found: pip install "rigidities[atoms,plot]"\n'


def test_features_need_matplotlib_only(inputs, monkeypatch):
    for module in ("ase", "featomic", "chemiscope"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run("report", "train.npz", "test.npz", "-o", "out").exit_code == 0


def test_a_bug_shows_its_traceback(inputs, monkeypatch):
    monkeypatch.setattr(report_command, "make_report", lambda *a, **k: {}["bug"])
    result = run("report", "train.npz", "test.npz", "-o", "out")
    assert isinstance(result.exception, KeyError)


def test_interruption_ends_with_130(inputs, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(report_command, "make_report", interrupted)
    result = run("report", "train.npz", "test.npz", "-o", "out")
    assert result.exit_code == 130
    assert "Traceback" not in result.output


# ---- real data


@pytest.mark.parametrize("regularizer", ["auto", "1e-3"])
def test_real_silicon_is_that_of_direct_evaluation(tmp_path, regularizer):
    if not MLEARN.exists():
        pytest.skip(f"no data in {os.path.relpath(MLEARN)}")
    train, test = tmp_path / "train.xyz", MLEARN / "Si-test.xyz"
    frames = ase.io.read(MLEARN / "Si-training.xyz", ":")
    for frame in frames:
        frame.calc = None  # no energies: each structure is a target of weight 1
    ase.io.write(train, frames)
    result = run("report", train, test, "-o", tmp_path, "--regularizer", regularizer)
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["train"]["n_atoms"] == 13233
    assert set(summary["lpr"]["group"]) == {"AIMD-NVT", "Elastic", "Surface", "Vacancy"}
    soap = Soap("Si")
    F = rg.reduce_rows(soap_rows(ase.io.read(train, ":"), soap, progress=False))[1]
    X = soap_rows(ase.io.read(test, ":"), soap, progress=False).values
    H = F.T @ F + summary["regularizer"] * np.eye(252)
    direct = 1 / np.einsum("ij,ji->i", X, np.linalg.solve(H, X.T))
    lpr = np.concatenate([frame.arrays["lpr"] for frame in ase.io.read(tmp_path / "rigidities.xyz", ":")])
    # Both are off by some eps·cond: 3e-8 at 1e-3, 0.03 at auto's λ, the least that rounding allows
    # (p·eps·cond is for errors that all point one way). Arithmetic with 64 bits of mantissa finds
    # both right to 2e-5.
    np.testing.assert_allclose(lpr, direct, rtol=np.finfo(float).eps / summary["rcond"])
    assert summary["lpr"]["all"]["min"] == lpr.min()
