"""`rigidities fit` and `rigidities score` by what they leave: files, text, exit codes, one line for what is refused."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("matplotlib")

import ase.io
import featomic
from ase.build import bulk

from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap
from rigidities.loss import minimum
from rigidities.model import LinearModel
from rigidities.regularizer import decompose
from rigidities.structures import reference

CHEAP = ["--hyperparameters", "hypers.json", "--no-progress"]
SMALL = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def fit(*arguments):
    return run("fit", *arguments, *CHEAP)


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Train and test files, good and bad, in the working directory."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", SMALL[2:20:2])
    ase.io.write("test.xyz", SMALL[3:9:2])
    bare = SMALL[3].copy()
    ase.io.write("bare.xyz", bare)
    ase.io.write("part.xyz", [*SMALL[2:10:2], bare])
    ase.io.write("carbon.xyz", bulk("C"))
    named = []
    for frame in SMALL[2:12:2]:
        named.append(frame.copy())
        named[-1].info["dft_energy"] = frame.get_potential_energy()
        named[-1].arrays["dft_forces"] = frame.get_forces()
        named[-1].info["dft_virial"] = -frame.get_volume() * frame.get_stress(voigt=False)
    ase.io.write("named.xyz", named)
    Path("empty.xyz").touch()
    Path("text.safetensors").write_text("no model")
    hypers = Soap("Si", 3.5, max_radial=2, max_angular=2).settings
    Path("hypers.json").write_text(hypers)
    return tmp_path


def cells(text, name):
    """Cells of the lines that begin with a name."""
    return [line[26:].split() for line in text.splitlines() if line.startswith(name)]


def test_fit_writes_a_model_and_a_plot(inputs):
    result = fit("train.xyz", "test.xyz", "-o", "deep/model.safetensors", "--regularizer", "1e-3", "--plot")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert {path.name for path in Path("deep").iterdir()} == {"model.safetensors", "model.png"}
    loss = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term())
    soap = Soap("Si", 3.5, max_radial=2, max_angular=2)
    same = LinearModel.fit(ase.io.read("train.xyz", ":"), soap, loss, regularizer=1e-3, progress=False)
    model = LinearModel.load("deep/model.safetensors")
    np.testing.assert_array_equal(model.coef, same.coef)
    assert (model.loss, model.scales) == (loss, same.scales)
    errors = same.errors(ase.io.read("test.xyz", ":"), progress=False)
    for line, name in zip(cells(result.stdout, "  RMSE"), loss.terms, strict=True):
        known = [part[name].rmse for part in (same.training, same.left_out, errors)]
        assert [float(cell) for cell in line] == [float(f"{1000 * x:.4g}") for x in known]
    assert cells(result.stdout, "energy, number") == [["9", "9", "3"]]
    assert cells(result.stdout, "forces, number") == [["216", "216", "72"]]
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[:2] == [
        "training set  train.xyz: 9 structures, 72 atoms",
        "test set      test.xyz: 3 structures, 24 atoms",
    ]
    assert lines[-1] == "Written: deep/model.safetensors, deep/model.png"


@pytest.mark.parametrize(
    ("n", "options", "weight"),
    [
        (19, (), 1000.0),
        (20, (), 3000.0),
        (20, ("--energy-weight", "1000"), 1000.0),
        (20, ("--forces-weight", "0"), 1000.0),
        (20, ("--total",), 1000.0),
    ],
)
def test_the_weight_of_energies_follows_the_number_of_structures(inputs, n, options, weight):
    ase.io.write("many.xyz", (3 * ase.io.read("train.xyz", ":"))[:n])
    result = fit("many.xyz", "-o", "m", "--regularizer", "1e-3", "--no-plot", *options)
    assert result.exit_code == 0, result.output
    assert LinearModel.load("m").loss.energy.weight == weight


def test_score_writes_what_the_model_predicts(inputs):
    assert fit("train.xyz", "-o", "model", "--regularizer", "1e-3", "--no-plot").exit_code == 0
    result = run("score", "model", "test.xyz", "-o", "out/scored.xyz", "--no-progress", "--threads", "1")
    assert result.exit_code == 0, result.output
    frames = ase.io.read("test.xyz", ":")
    found = LinearModel.load("model").predict(frames, progress=False)
    written = ase.io.read("out/scored.xyz", ":")
    np.testing.assert_array_equal([frame.info["predicted_energy"] for frame in written], found.energies)
    np.testing.assert_array_equal(np.concatenate([frame.arrays["forces_std"] for frame in written]), found.forces_std)
    assert max(map(len, result.stdout.splitlines())) <= 100
    energies = np.array([frame.get_potential_energy() for frame in frames])
    r, std = (energies - found.energies) / 8, found.energy_std / 8
    [line] = cells(result.stdout, "energy, meV/atom")
    expected = [3, 1000 * np.sqrt(np.mean(r**2)), 1000 * np.sqrt(np.mean(std**2)), 100 * np.mean(np.abs(r) <= std)]
    assert [float(cell) for cell in line[:4]] == pytest.approx(expected, rel=1e-3, abs=0.5)
    assert result.stdout.index("compute next: structures") < result.stdout.index("Written: out/scored.xyz")
    least = result.stdout[result.stdout.index("compute next") :].splitlines()[2].split()
    assert int(least[0]) == np.argmax(std)
    assert float(least[4]) == pytest.approx(1000 * std.max(), rel=1e-2)


def test_score_reports_virials_where_the_loss_has_them(inputs):
    fit(
        "train.xyz", "-o", "model", "--regularizer", "1e-3", "--no-plot", "--virial-weight", "1", "--forces-weight", "0"
    )
    result = run("score", "model", "test.xyz", "-o", "scored.xyz")
    assert result.exit_code == 0, result.output
    frames = ase.io.read("test.xyz", ":")
    found = LinearModel.load("model").predict(frames, virials=True, progress=False)
    r = np.array([-frame.get_volume() * frame.get_stress() for frame in frames]) - found.virials
    std = found.virial_std
    [line] = cells(result.stdout, "virial, meV/atom")
    expected = [18, *(125 * np.sqrt(np.mean(x**2)) for x in (r, std)), 100 * np.mean(np.abs(r) <= std)]
    assert [float(cell) for cell in line[:4]] == pytest.approx(expected, rel=1e-3, abs=0.5)
    [line] = cells(result.stdout, "σ of virials, meV/atom")
    assert float(line[0]) == 18
    written = [frame.info["virial_std"] for frame in ase.io.read("scored.xyz", ":")]
    np.testing.assert_array_equal(written, std)
    assert not cells(run("score", "model", "test.xyz", "-o", "scored.xyz", "--no-virials").stdout, "virial, meV/atom")
    assert fit("train.xyz", "-o", "model", "--regularizer", "1e-3", "--no-plot").exit_code == 0
    assert not cells(run("score", "model", "test.xyz", "-o", "scored.xyz").stdout, "virial, meV/atom")
    assert cells(run("score", "model", "test.xyz", "-o", "scored.xyz", "--virials").stdout, "virial, meV/atom")


def test_score_needs_no_labels_and_can_leave_out_forces(inputs):
    assert fit("train.xyz", "-o", "model", "--no-plot").exit_code == 0
    result = run("score", "model", "bare.xyz", "-o", "scored.xyz", "--no-forces")
    assert result.exit_code == 0, result.output
    assert "against the labels" not in result.stdout
    assert "σ of forces" not in result.stdout
    assert "forces_std" not in ase.io.read("scored.xyz").arrays


@pytest.mark.parametrize(("options", "n_decompositions"), [
    ("--regularizer auto", 1),
    ("--regularizer loo", 1),
    ("--regularizer gcv", 1),
    ("--forces-huber 0.02", 1),
    ("--forces-huber 0.02 --regularizer loo", 2),  # λ is chosen again beside the new weights
    ("--no-plot", 0),
])  # fmt: skip
def test_nothing_is_computed_twice(inputs, monkeypatch, options, n_decompositions):
    """One sum, one decomposition, one pass over each structure and its labels; one more for training atoms' own LPR."""
    calls = Counter()

    def count(module, name, key):
        function = getattr(module, name)

        def counted(*arguments, **settings):
            calls.update(key(*arguments, **settings))
            return function(*arguments, **settings)

        monkeypatch.setattr(module, name, counted)

    place = lambda positions: np.round(positions, 6).tobytes()  # noqa: E731
    count(decompose, "decompose", lambda *a: ["decomposition"])
    count(minimum, "loss_sums", lambda *a, **k: ["sums"])
    count(reference, "Attached", lambda atoms: [("labels", place(atoms.positions))])
    count(
        featomic.SoapPowerSpectrum,
        "compute",
        lambda self, systems, **k: (
            [("rows", place(s.positions())) for s in systems] if isinstance(systems, list) else []
        ),
    )
    result = fit("train.xyz", "test.xyz", "-o", "model", *options.split())
    assert result.exit_code == 0, result.output
    assert (calls.pop("sums", 0), calls["decomposition"]) == (1, n_decompositions)
    del calls["decomposition"]
    train, test = ([place(frame.positions) for frame in ase.io.read(name, ":")] for name in ("train.xyz", "test.xyz"))
    assert calls == Counter([("labels", frame) for frame in train + test] + [("rows", f) for f in 2 * train + test])


def test_options_reach_the_loss(inputs):
    options = "--energy-weight 10 --forces-weight 0.5 --virial-weight 2 --total --forces-huber 0.2 --missing skip"
    names = "--energy-key dft_energy --forces-key dft_forces --virial-key dft_virial --baseline Si=-4.5 --no-plot"
    result = fit("named.xyz", "-o", "model", *options.split(), *names.split(), "--regularizer", "gcv")
    assert result.exit_code == 0, result.output
    model = LinearModel.load("model")
    shared = {"missing": "skip"}
    assert model.loss == rg.Loss(
        energy=rg.Term(10.0, target="dft_energy", **shared),
        forces=rg.Term(0.5, huber=0.2, target="dft_forces", **shared),
        virial=rg.Term(2.0, target="dft_virial", **shared),
    )
    assert model.baseline == rg.Baseline({14: -4.5})
    assert model.hessian.regularizer_reason.startswith("generalised cross-validation")
    assert "virial, number" in result.stdout
    assert "Huber beyond 0.2" in result.stdout


def test_energies_and_virials_are_per_atom_by_default(inputs):
    result = fit("train.xyz", "-o", "model", "--no-plot", "--virial-weight", "1", "--regularizer", "1e-3")
    assert result.exit_code == 0, result.output
    terms = {"energy": rg.Term(1000.0, per_atom=True), "forces": rg.Term(), "virial": rg.Term(per_atom=True)}
    assert LinearModel.load("model").loss == rg.Loss(**terms)


def test_the_plot_goes_without_energies(inputs):
    result = fit("train.xyz", "test.xyz", "-o", "model", "--energy-weight", "0")
    assert result.exit_code == 0, result.output
    assert Path("model.png").exists()
    assert "baseline      none" in result.stdout
    result = fit("train.xyz", "test.xyz", "-o", "forces", "--energy-weight", "0", "--regularizer", "loo")
    assert result.exit_code == 0, result.output
    assert Path("forces.png").exists()
    assert "leave-one-out of structures" in result.stdout
    result = fit("train.xyz", "test.xyz", "-o", "model", "--forces-weight", "0", "--regularizer", "loo")
    assert result.exit_code == 0, result.output
    assert "leave-one-out of structures" in result.stdout


@pytest.mark.parametrize(("options", "drawn"), [
    (["--regularizer", "1e-3"], False),  # its path would be decomposed for the figure alone
    (["--regularizer", "1e-3", "--plot"], True),
    (["--regularizer", "loo"], True),
    (["--regularizer", "loo", "--no-plot"], False),
    ([], True),
])  # fmt: skip
def test_the_figure_that_needs_work_of_its_own_is_drawn_only_if_asked_for(inputs, options, drawn):
    result = fit("train.xyz", "-o", "model", *options)
    assert result.exit_code == 0, result.output
    assert Path("model.png").exists() == drawn
    assert result.stdout.splitlines()[-1] == ("Written: model, model.png" if drawn else "Written: model")


def test_of_many_features_the_figure_is_left_out(inputs, monkeypatch):
    monkeypatch.setattr("rigidities.cli.fit.FEATURES_DRAWN", 17)
    fit("train.xyz", "-o", "model")
    assert not Path("model.png").exists()
    fit("train.xyz", "-o", "model", "--plot")
    assert Path("model.png").exists()


def test_without_matplotlib_there_is_no_plot(inputs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = fit("train.xyz", "-o", "model")
    assert result.exit_code == 0, result.output
    assert not Path("model.png").exists()
    assert "Written: model\n" in result.stdout


def test_a_set_labelled_in_part(inputs):
    result = fit("part.xyz", "part.xyz", "-o", "model", "--missing", "skip")
    assert result.exit_code == 0, result.output
    assert "unlabelled    energy 1, forces 24" in result.stdout
    assert cells(result.stdout, "forces, number") == [["96", "96", "96"]]


def test_warnings_go_to_stderr_in_one_line(inputs):
    result = fit("train.xyz", "-o", "model", "--no-plot", "--regularizer", "1e-12", "--forces-weight", "0")
    assert result.exit_code == 0, result.output
    said = "9 of 9 training targets cannot be left out: without their structure the fit is undetermined"
    assert f"rigidities: warning: {said}" in result.stderr
    assert all(line.startswith("rigidities: warning: ") for line in result.stderr.splitlines())


def test_another_featomic_is_told_on_stderr(inputs):
    assert fit("train.xyz", "-o", "model", "--no-plot", "--regularizer", "1e-3").exit_code == 0
    model = LinearModel.load("model")
    replace(model, versions={"featomic": "0.0.1"}).save("model")
    result = run("score", "model", "test.xyz", "-o", "scored.xyz", "--no-forces")
    assert result.exit_code == 0, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("rigidities: warning: the model was fitted to features of featomic 0.0.1, but ")
    assert " is installed: predictions may differ. " in line


@pytest.mark.parametrize("command", ["fit", "score"])
def test_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--output" in result.stdout
    assert command in run("--help").stdout


@pytest.mark.parametrize(("arguments", "said"), [
    ("empty.xyz", "empty.xyz: is empty"),
    ("train.xyz empty.xyz", "empty.xyz: is empty"),
    ("train.xyz carbon.xyz", "carbon.xyz: structure 0 contains C, which train.xyz lacks"),
    ("bare.xyz", "bare.xyz: energy weight is 1000 but 1 structure has no energies"),
    ("part.xyz", "part.xyz: energy weight is 1000 but 1 structure has no energies: number 4 of 5. They are expected "
     "attached by a calculator; label them, leave them out, pass --missing skip for a set that is labelled in "
     "part, or pass --energy-weight 0"),
    ("train.xyz --energy-weight 0 --forces-weight 0", "--energy-weight, --forces-weight and --virial-weight are all"),
    ("train.xyz --forces-huber -1", "--forces-weight, --forces-huber or --forces-key: huber is -1"),
    ("train.xyz --baseline Si", "--baseline Si: expected fit, none, or energies like Si=-5.4,O=-3.1"),
    ("train.xyz --baseline C=-7", "train.xyz: the baseline has no energy for Si"),
    ("train.xyz --baseline fit --energy-weight 0", "train.xyz: baseline is 'fit', but there are no energies"),
    ("train.xyz --regularizer much", "--regularizer much: expected a number from 0, or auto, evidence, gcv, loo"),
    ("train.xyz -o .", "--output .: is a directory"),
    ("train.xyz -o train.xyz/model", "--output train.xyz: cannot make this directory"),
])  # fmt: skip
def test_fit_refuses_in_one_line(inputs, arguments, said):
    refused(fit(*arguments.split(), *([] if " -o " in arguments else ["-o", "model"])), said)
    assert not Path("model").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    ("none test.xyz", "none: cannot be read (No such file or directory)"),
    ("text.safetensors test.xyz", "text.safetensors: text.safetensors is damaged or not a safetensors file"),
    ("model carbon.xyz", "carbon.xyz: structure 0 contains C, which the model does not know: it was fitted to Si only"),
    ("model empty.xyz", "empty.xyz: is empty"),
    ("model test.xyz -o .", "--output .: is a directory"),
])  # fmt: skip
def test_score_refuses_in_one_line(inputs, arguments, said):
    if arguments.startswith("model"):
        fit("train.xyz", "-o", "model", "--no-plot", "--regularizer", "1e-3")
    refused(run("score", *arguments.split(), *([] if " -o " in arguments else ["-o", "scored.xyz"])), said)
    assert not Path("scored.xyz").exists()


def refused(result, said):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith(f"rigidities: error: {said}")


@pytest.mark.parametrize("module", ["ase", "featomic"])
def test_a_missing_extra_says_how_to_get_it(inputs, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    for arguments in (["fit", "train.xyz", "-o", "model"], ["score", "model", "test.xyz", "-o", "scored.xyz"]):
        refused(run(*arguments), f'{module} not found: pip install "rigidities[atoms,plot]"')


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_file_that_cannot_be_written_is_named(inputs):
    for arguments in (
        ["fit", "train.xyz", "--regularizer", "1e-3", "--no-plot", *CHEAP],
        ["score", "model", "test.xyz"],
    ):
        if arguments[0] == "score":
            assert fit("train.xyz", "-o", "model", "--regularizer", "1e-3", "--no-plot").exit_code == 0
        result = run(*arguments, "-o", "/proc/model")
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("rigidities: error: --output /proc/model: cannot be written (")


def test_the_model_is_written_before_anything_is_printed(inputs, monkeypatch):
    """Whoever pipes the table into `head` keeps the model."""

    def closed(*arguments, **settings):
        raise BrokenPipeError

    monkeypatch.setattr("rigidities.cli.fit.typer.echo", closed)
    fit("train.xyz", "-o", "model", "--regularizer", "1e-3", "--plot")
    assert {"model", "model.png"} <= {path.name for path in Path.cwd().iterdir()}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "utf-8"])
def test_texts_are_written_in_any_encoding(encoding):
    """A console of Windows has no λ: the texts come in UTF-8 then."""
    environment = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "rigidities"]
    text = subprocess.run([*command, "fit", "--help"], env=environment, capture_output=True, check=True).stdout.decode()
    assert "λ" in text
    assert "−volume" in text
    failed = subprocess.run(
        [*command, "report", "λ", "b", "-o", "c"], env=environment, capture_output=True, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.decode().startswith("rigidities: error: λ: no such file")
