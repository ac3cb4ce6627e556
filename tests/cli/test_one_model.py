"""One question, one model: `report` and `score` say the same of the same files, and against what."""

import csv
import json
from pathlib import Path

import arrays
import numpy as np
import pytest
from typer.testing import CliRunner

from rigidities import cli, files

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("chemiscope")

import ase.io
from ase.build import bulk, molecule
from scipy.stats import spearmanr

from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel
from rigidities.model.training_set import TrainingSet
from rigidities.sources.atoms import Structures

SMALL = ["--hyperparameters", "h.json", "--no-progress"]


def run(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    return line


def pr_of(path):
    return np.array([frame.info["pr"] for frame in ase.io.read(path, ":")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Structures with and without labels, and a model of them."""
    folder = tmp_path_factory.mktemp("one")
    frames = load_silicon(groups=["strained", "vacancy"])
    ase.io.write(folder / "train.xyz", frames[::2])
    ase.io.write(folder / "test.xyz", frames[1::2])
    for frame in frames:
        frame.calc = None
    ase.io.write(folder / "bare.xyz", frames[::2])
    (folder / "h.json").write_text(Soap("Si", 4.0, max_radial=3, max_angular=3).settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("fit", "train.xyz", "-o", "m.safetensors", "--no-plot", *SMALL)
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("how", [[], ["--regularizer", "loo"], ["--regularizer", "1e-5"]])
def test_report_and_score_agree(how):
    run("fit", "train.xyz", "-o", "same.safetensors", "--no-plot", *how, *SMALL)
    run("score", "same.safetensors", "test.xyz", "-o", "s.xyz", "--no-forces", "--no-progress")
    run("report", "train.xyz", "test.xyz", "-o", "r", *how, *SMALL)
    scored, reported = pr_of("s.xyz"), pr_of("r/rigidities.xyz")
    assert spearmanr(scored, reported).statistic > 0.999
    np.testing.assert_allclose(reported, scored, rtol=1e-4)
    both = [json.loads(Path(name).read_text()) for name in ("s.json", "r/summary.json")]
    for what in ("lpr", "pr"):
        assert both[0]["training_set"][what] == pytest.approx(both[1]["training_set"][what], rel=1e-4)
    assert [entry["structure"] for entry in both[0]["next"]] == [entry["structure"] for entry in both[1]["next"]]
    std = [[entry["std"] for entry in summary["next"]] for summary in both]
    np.testing.assert_allclose(*std, rtol=1e-4)


def test_report_takes_a_fitted_model():
    run("score", "m.safetensors", "test.xyz", "-o", "s.xyz", "--no-forces", "--no-progress")
    text = run("report", "bare.xyz", "test.xyz", "-o", "r", "--model", "m.safetensors", "--no-progress")
    np.testing.assert_allclose(pr_of("r/rigidities.xyz"), pr_of("s.xyz"), rtol=1e-6)
    assert text.startswith("training set")  # λ was chosen: no caution
    assert (
        json.loads(Path("r/summary.json").read_text())["regularizer"]
        == LinearModel.load("m.safetensors").hessian.regularizer
    )


def uncertainties_of(path):
    frames = ase.io.read(path, ":")
    return (
        np.array([frame.info["energy_uncertainty"] for frame in frames]),
        np.concatenate([frame.arrays["energies_uncertainty"] for frame in frames]),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_report_writes_the_standard_deviations_of_score(reduction):
    """Under the same names, in the same unit, with the factors of kinds: from one model, and from its own fit."""
    run("score", "m.safetensors", "test.xyz", "-o", "s.xyz", "--no-forces", "--no-progress")
    calibration = LinearModel.load("m.safetensors").calibrations["energy"]
    assert len({kind.factor for kind in calibration.kinds.values()}) > 1
    given = ["--model", "m.safetensors", "--reduction", reduction, "--no-progress"]
    run("report", "bare.xyz", "test.xyz", "-o", "r", *given)
    for found, expected in zip(uncertainties_of("r/rigidities.xyz"), uncertainties_of("s.xyz"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    run("report", "train.xyz", "test.xyz", "-o", "r", *SMALL)
    for found, expected in zip(uncertainties_of("r/rigidities.xyz"), uncertainties_of("s.xyz"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_report_of_total_energies_has_standard_deviations_of_its_fit():
    """`report --reduction sum` fits what `fit --total` fits."""
    run("fit", "train.xyz", "-o", "total.safetensors", "--total", "--no-plot", *SMALL)
    run("score", "total.safetensors", "test.xyz", "-o", "s.xyz", "--no-forces", "--no-progress")
    run("report", "train.xyz", "test.xyz", "-o", "r", "--reduction", "sum", *SMALL)
    for found, expected in zip(uncertainties_of("r/rigidities.xyz"), uncertainties_of("s.xyz"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_without_a_model_or_a_scale_there_is_no_standard_deviation():
    run("report", "bare.xyz", "test.xyz", "-o", "r", *SMALL)
    state = files.load("m.safetensors", "model")
    files.save("bare.safetensors", "model", state | {"scales": dict.fromkeys(state["scales"])})
    run("report", "bare.xyz", "test.xyz", "-o", "unscaled", "--model", "bare.safetensors", "--no-progress")
    for name in ("r", "unscaled"):
        assert "uncertainty" not in Path(name, "rigidities.xyz").read_text()


@pytest.mark.parametrize("option", ["--cutoff 4", "--regularizer loo", "--body-orders 2", "--energy-key E"])
def test_a_model_decides_alone(option):
    line = refused("report", "train.xyz", "test.xyz", "-o", "r", "--model", "m.safetensors", *option.split())
    assert option.split()[0] in line
    assert "m.safetensors decides this already" in line


def test_a_model_is_not_for_features():
    np.savez("f.npz", features=np.eye(3))
    assert "holds features" in refused("report", "f.npz", "f.npz", "-o", "r", "--model", "m.safetensors")


def test_without_energies_the_first_line_warns():
    text = run("report", "bare.xyz", "test.xyz", "-o", "r", *SMALL)
    assert text.startswith("λ is only the least that rounding allows, without an energy of each training structure")
    assert "PR/weight" in text
    line = refused("report", "bare.xyz", "test.xyz", "-o", "r", "--regularizer", "loo", *SMALL)
    assert "needs the energy of each structure, which bare.xyz lacks" in line


def test_labels_that_some_structures_have():
    """Forces of half of the structures do not count; energies of half leave no choice of λ."""
    frames = ase.io.read("train.xyz", ":")
    for frame in frames[::2]:
        del frame.calc.results["forces"]
    ase.io.write("half.xyz", frames)
    run("report", "half.xyz", "test.xyz", "-o", "half", *SMALL)
    run("report", "train.xyz", "test.xyz", "-o", "whole", *SMALL)
    for frame in frames:
        frame.calc.results.pop("forces", None)
    ase.io.write("energies.xyz", frames)
    run("report", "energies.xyz", "test.xyz", "-o", "energies", *SMALL)
    np.testing.assert_array_equal(pr_of("half/rigidities.xyz"), pr_of("energies/rigidities.xyz"))
    frames[0].calc = None
    ase.io.write("lacks.xyz", frames)
    assert run("report", "lacks.xyz", "test.xyz", "-o", "lacks", *SMALL).startswith("λ is only the least")


def test_named_labels():
    frames = ase.io.read("train.xyz", ":")
    for frame in frames:
        frame.info["REF_energy"] = frame.get_potential_energy()
        frame.arrays["REF_forces"] = frame.get_forces()
        frame.calc = None
    ase.io.write("named.xyz", frames)
    keys = ["--energy-key", "REF_energy", "--forces-key", "REF_forces"]
    run("report", "named.xyz", "test.xyz", "-o", "named", *keys, *SMALL)
    run("report", "train.xyz", "test.xyz", "-o", "whole", *SMALL)
    np.testing.assert_allclose(pr_of("named/rigidities.xyz"), pr_of("whole/rigidities.xyz"), rtol=1e-4)
    assert "REF_enrgy" in refused("report", "named.xyz", "test.xyz", "-o", "n", "--energy-key", "REF_enrgy", *SMALL)


def test_a_training_structure_is_worth_at_least_itself():
    """PR ≥ w for a target that is in the sum; and it is counted as seen."""
    text = run("score", "m.safetensors", "train.xyz", "-o", "own.xyz", "--no-forces", "--no-progress")
    n = len(ase.io.read("train.xyz", ":"))
    assert f"{n} of {n} test structures are in the training set" in text
    assert (pr_of("own.xyz") >= 1000 * (1 - 1e-6)).all()
    summary = json.loads(Path("own.json").read_text())
    assert summary["training_set"]["in_training_set"] == {str(i): i for i in range(n)}
    assert summary["training_set"]["low"]["share"] <= 0.01


def changed(frame, how):
    rng = np.random.default_rng(0)
    moved = frame.copy()
    if how == "shuffled":
        return moved[rng.permutation(len(moved))]
    if how == "rotated":
        moved.rotate(37, (1, 2, 3), rotate_cell=True)
    elif how == "shifted":
        moved.positions += 1.234
    elif how == "wrapped":
        moved.positions += moved.cell[0]
    elif how == "rounded":
        moved.positions = moved.positions.round(5)
    elif how == "rattled":
        moved.rattle(1e-3, seed=1)
    elif how == "strained":
        moved.set_cell(moved.cell * 1.001, scale_atoms=True)
    elif how == "halved":
        del moved[0]
    return moved


@pytest.mark.parametrize("how", ["same", "shuffled", "rotated", "shifted", "wrapped", "rounded"])
def test_structures_that_were_seen(how):
    n_new = _n_new(how)
    assert n_new == 0


@pytest.mark.parametrize("how", ["rattled", "strained", "halved"])
def test_structures_that_are_new(how):
    assert _n_new(how) == len(ase.io.read("train.xyz", ":"))


def _n_new(how):
    frames = [changed(frame, how) for frame in ase.io.read("train.xyz", ":")]
    model = LinearModel.load("m.safetensors")
    prints = model.predict(frames, forces=False, progress=False).fingerprints
    found = model.training_set.find(prints)
    assert set(found.tolist()) <= {-1, *range(len(frames))}
    return int((found < 0).sum())


def test_what_to_compute_next():
    text = run("score", "m.safetensors", "test.xyz", "-o", "s.xyz", "--top", "3", "--no-progress")
    assert "compute next: structures of least PR (in a kind, of largest σ)" in text
    assert "expected" in text
    assert "68 %" in text
    frames, pr = ase.io.read("s.xyz", ":"), pr_of("s.xyz")
    std = np.array([frame.info["energy_std"] / len(frame) for frame in frames])
    order = np.argsort(pr)
    kinds = np.array([frame.info["group"] for frame in frames])
    for kind in np.unique(kinds):
        assert (np.diff(std[order][kinds[order] == kind]) <= 0).all()
    with Path("s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["structure"]) for row in rows] == order.tolist()
    np.testing.assert_allclose([float(row["pr"]) for row in rows], pr[order])
    np.testing.assert_allclose([float(row["std"]) for row in rows], 1000 * std[order])
    for row in rows:
        lpr = frames[int(row["structure"])].arrays["lpr"]
        assert [int(row["atom"]), float(row["least_lpr"])] == [lpr.argmin(), lpr.min()]
    chosen = ase.io.read("s_next.xyz", ":")
    assert all(isinstance(frame.info[name], int | np.integer) for frame in chosen for name in ("rank", "structure"))
    assert [frame.info["structure"] for frame in chosen] == order[:3].tolist()
    np.testing.assert_allclose([frame.info["pr"] for frame in chosen], pr[order[:3]])
    summary = json.loads(Path("s.json").read_text())
    assert len(summary["next"]) == 3
    assert summary["errors"]["energy"]["share_expected"] == 0.683
    assert summary["errors"]["forces"]["n"] == 3 * sum(map(len, frames))


def test_score_writes_beside_its_output_and_draws_errors():
    texts, figures = ["_next.xyz", ".csv", ".json"], ["_parity.png", "_errors.png"]
    for structures, options, endings in (
        ("test.xyz", [], texts + figures),
        ("test.xyz", ["--no-plot"], texts),
        ("bare.xyz", [], texts),  # no labels
    ):
        folder = Path(f"drawn{len(options)}{structures[0]}")
        text = run("score", "m.safetensors", structures, "-o", folder / "s.xyz", "--no-progress", *options)
        assert text.splitlines()[-1] == f"Written: {folder}/s.xyz, and with the same name {', '.join(endings)}"
        assert {path.name for path in folder.iterdir()} == {f"s{ending}" for ending in [".xyz", *endings]}
    assert Path("drawn0t/s_errors.png").read_bytes().startswith(b"\x89PNG")


def test_report_ranks_features_too():
    rng = np.random.default_rng(0)
    np.savez("a.npz", features=rng.normal(size=(6, 3)))
    np.savez("b.npz", features=np.concatenate([rng.normal(size=(4, 3)), arrays.load("a.npz")["features"][:1]]))
    text = run("report", "a.npz", "b.npz", "-o", "f", "--regularizer", "0.1")
    assert "1 of 5 test structures are in the training set" in text
    with Path("f/ranking.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5


def test_a_file_without_a_training_set_loads():
    """Files of older versions do not hold it."""
    state = files.restore("m.safetensors", "model", lambda state: state)
    state = {name: value for name, value in state.items() if not name.startswith("training_")}
    files.save("old.safetensors", "model", state)
    assert LinearModel.load("old.safetensors").training_set is None
    text = run("score", "old.safetensors", "test.xyz", "-o", "o.xyz", "--no-forces", "--no-progress")
    assert "not in this file" in text
    run("report", "train.xyz", "test.xyz", "-o", "r", "--model", "old.safetensors", "--no-progress")


def test_absent_components_are_counted():
    frames = [molecule(name) for name in ("H2O", "CH4", "CO", "CO2", "C2H6", "H2")]
    for frame in frames:
        frame.rattle(0.05, seed=len(frame))
    ase.io.write("mol.xyz", frames)
    text = run("report", "mol.xyz", "mol.xyz", "-o", "mol", "--regularizer", "1e-4", *SMALL)
    assert "absent, and left out: H (2 of 6), C (2 of 6), O (3 of 6)" in text
    lines = text[text.index("\nCPR ") : text.index("absent, and left out")].splitlines()
    assert "inf" not in " ".join(lines)
    cpr = json.loads(Path("mol/summary.json").read_text())["cpr"]
    assert [cpr["H"]["n"], cpr["H"]["n_absent"], cpr["H"]["n_infinite"]] == [4, 2, 0]


def test_directions_are_counted_against_the_rank():
    """Copies of columns, and columns of zeros, are no directions."""
    rows = np.random.default_rng(0).normal(size=(40, 5))
    np.savez("c.npz", features=np.concatenate([rows, 2 * rows, np.zeros((40, 3))], axis=1))
    text = run("report", "c.npz", "c.npz", "-o", "c", "--regularizer", "1e-9")
    assert "5.0 of 5 directions, the rank of C with 13 features" in text
    frames = [bulk("Si", cubic=True) for _ in range(3)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.1, seed=seed)
    ase.io.write("three.xyz", frames)
    assert "of 3 directions, the rank" in run("report", "three.xyz", "three.xyz", "-o", "three", *SMALL)


def test_auto_means_one_thing():
    helps = [" ".join(run(command, "--help").replace("│", " ").split()) for command in ("fit", "report")]
    for text in helps:
        assert "auto (the maximum of the evidence; without labels, the smallest λ that rounding" in text


@pytest.mark.parametrize(
    ("options", "n_assessed"), [([], 1), (["--reduction", "sum"], 2), (["--model", "m.safetensors"], 1)]
)
def test_a_training_set_is_assessed_once_if_its_rigidities_are_known(folder, monkeypatch, options, n_assessed):
    monkeypatch.chdir(folder)
    assessed, of = [], TrainingSet.of
    monkeypatch.setattr(
        TrainingSet, "of", lambda *arguments, **settings: assessed.append(0) or of(*arguments, **settings)
    )
    sampled, sample = [], Structures.sample
    monkeypatch.setattr(Structures, "sample", lambda self, n: sampled.append(0) or sample(self, n))
    settings = SMALL if "--model" not in options else ["--no-progress"]
    run("report", "train.xyz", "test.xyz", "-o", "once", *options, *settings)
    assert len(assessed) == n_assessed
    assert len(sampled) == 2  # for the axes of the map: training and test atoms
