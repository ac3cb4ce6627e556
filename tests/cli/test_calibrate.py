"""`rigidities calibrate`: of files of residuals, and of a model with labelled structures."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rigidities import Loss, Term, calibration_report, cli
from rigidities.sources.residuals import read_residuals

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)
STD = 10 ** RNG.uniform(-2, 0, 200)
RESIDUALS = STD * RNG.normal(size=200)
BLOCKS, KINDS = np.arange(200) // 4, np.array(["slab", "bulk"])[np.arange(200) // 100]


@pytest.fixture(autouse=True)
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("errors.npz", residuals=RESIDUALS, std=STD, blocks=BLOCKS, kind=KINDS)
    lines = zip(RESIDUALS.tolist(), STD.tolist(), BLOCKS.tolist(), KINDS.tolist(), strict=True)
    text = "\n".join(",".join(map(repr, line[:2])) + f",s{line[2]:03},{line[3]}" for line in lines)
    Path("errors.csv").write_text(f"residuals,std,blocks,kind\n{text}\n")


def run(*arguments):
    return CliRunner().invoke(cli.app, ["calibrate", *map(str, arguments)])


def refused(arguments, *said):
    before = {path: path.read_bytes() for path in Path().iterdir()}
    done = run(*arguments)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    for text in said:
        assert text in done.stderr
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def without_versions(text):
    return [line for line in text.splitlines() if not line.startswith("versions")]


@pytest.mark.parametrize("source", ["errors.npz", "errors.csv"])
def test_residuals_of_any_model(source):
    """Text, JSON and page are those of the report of the same numbers."""
    done = run(source, "--unit", "eV", "-o", "found.html")
    assert done.exit_code == 0, done.stderr
    expected = calibration_report(RESIDUALS, STD, by={"kind": KINDS}, blocks=BLOCKS, unit="eV")
    assert without_versions(Path("found.txt").read_text()) == without_versions(str(expected))
    assert str(expected).splitlines()[0] in done.stdout
    values = json.loads(Path("found.json").read_text())
    assert values["mean_square"] == expected.to_dict()["mean_square"]
    assert values["by"]["kind"].keys() == {"slab", "bulk"}
    assert values["versions"]["rigidities"]
    page = Path("found.html").read_text()
    assert "Calibration of errors" in page
    assert page.count("data:image/png;base64,") == len(expected.plot())
    assert "http" not in page.replace("http-equiv", "")


def test_files_of_an_earlier_run_are_replaced_and_others_are_not():
    assert run("errors.npz").exit_code == 0
    assert run("errors.csv").exit_code == 0
    Path("calibration.txt").write_text("notes of mine\n")
    refused(["errors.npz"], "calibration.txt", "--force")
    Path("calibration.html").write_text("<p>mine</p>")
    refused(["errors.npz"], "calibration.html")
    assert run("errors.npz", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.npz"], "nothing.npz: no such file"),
        (["errors.npz", "test.xyz"], "holds residuals, which need no structures"),
        (["model.safetensors"], "give labelled structures after its file"),
        (["model.safetensors", "test.xyz", "--unit", "eV"], "a model knows its units"),
        (["errors.npz", "-o", "found.pdf"], ".html"),
        (["errors.npz", "-o", "errors.npz"], "is the input errors.npz"),
        (["model.safetensors", "test.xyz"], "model.safetensors"),
    ],
)
def test_refusals(arguments, said):
    refused(arguments, said)


def test_odd_files():
    cases = {
        "lacks.npz": {"residuals": RESIDUALS},
        "length.npz": {"residuals": RESIDUALS, "std": STD[:-1]},
        "words.npz": {"residuals": KINDS, "std": STD},
        "vectors.npz": {"std": STD, "residuals": RESIDUALS.reshape(-1, 2)},
        "classes.npz": {"residuals": RESIDUALS, "std": STD, "kind": np.ones((200, 2))},
        "nan.npz": {"residuals": np.r_[RESIDUALS[:-1], np.nan], "std": STD},
        "negative.npz": {"residuals": RESIDUALS, "std": -STD},
        "few.npz": {"residuals": RESIDUALS[:5], "std": STD[:5]},
        "objects.npz": {"residuals": RESIDUALS, "std": STD, "kind": np.array([None] * 200, dtype=object)},
    }
    for name, arrays in cases.items():
        np.savez(name, **arrays)
    said = {
        "lacks.npz": "lacks std; it has residuals",
        "length.npz": "std has shape (199,), residuals (200,)",
        "words.npz": f"residuals holds '{KINDS[0]}' at place 0: expected numbers",
        "vectors.npz": "residuals has shape (100, 2): expected one entry for each target",
        "classes.npz": "kind has shape (200, 2): expected one entry for each target, (200,)",
        "nan.npz": "residuals[199]",
        "negative.npz": "negative.npz: ",
        "few.npz": "expected at least 10",
        "objects.npz": "no .npz file of plain arrays",
    }
    for name, text in said.items():
        refused([name], name, text)
    texts = {
        "twice.csv": ("std,std\n1,2\n", "a different name for each column"),
        "ragged.csv": ("residuals,std\n1,2\n3\n", "line 3 has 1 entries, the first line 2"),
        "empty.csv": ("", "is empty"),
        "bytes.csv": (b"\xff\xfe\x00", "no .csv file"),
        "text.csv": ("residuals,std\n1,1\na,1\n", "residuals holds 'a' at place 1: expected numbers"),
        "fake.npz": (b"PK not a zip", "no .npz file"),
    }
    for name, (content, text) in texts.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        refused([name], name, text)


def test_columns_of_csv_keep_their_kind():
    Path("kinds.csv").write_text("residuals,std,size,norm,kind\n" + "1,2,3,0.5,x\n" * 2)
    found = read_residuals("kinds.csv")
    assert [found.by[name].dtype.kind for name in ("size", "norm", "kind")] == ["i", "f", "U"]
    assert found.blocks is None


def test_a_model_on_labelled_structures():
    """The σ that are judged are those of `predict`, energies per atom; blocks are structures."""
    ase_io = pytest.importorskip("ase.io")
    pytest.importorskip("featomic")
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import Soap
    from rigidities.model import LinearModel

    frames = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]
    train, test = frames[::2], [*frames[1::2], *load_silicon(groups=["rattled"])[:1]]
    ase_io.write("test.xyz", test)
    soap = Soap("Si", 3.5, max_radial=2, max_angular=2)
    loss = Loss(energy=Term(1000.0, per_atom=True), forces=Term())
    model = LinearModel.fit(train, soap, loss, progress=False)
    model.save("m.safetensors")
    done = run("m.safetensors", "test.xyz", "-o", "found.html", "--no-progress")
    assert done.exit_code == 0, done.stderr
    reports = json.loads(Path("found.json").read_text())["reports"]
    assert list(reports) == ["energy", "force component"]
    prediction = model.predict(ase_io.read("test.xyz", ":"), progress=False)
    sizes = np.array([len(frame) for frame in test])
    labels = np.array([frame.get_potential_energy() for frame in test])
    z = (labels - prediction.energies) / prediction.energy_std
    np.testing.assert_allclose(reports["energy"]["mean_square"]["value"], np.mean(z**2), rtol=1e-6)
    np.testing.assert_allclose(
        reports["energy"]["rmse"], np.sqrt(np.mean(((labels - prediction.energies) / sizes) ** 2)), rtol=1e-6
    )
    assert reports["force component"]["n_blocks"] == len(test)
    assert reports["energy"]["unit"] == "eV/atom"
    assert set(reports["force component"]["by"]) == {"kind", "number of atoms", "norm of the force, eV/Å"}
    origin = reports["energy"]["provenance"]
    assert origin["regularizer"] == pytest.approx(model.hessian.regularizer)
    assert origin["n"] == len(train)
    text = Path("found.txt").read_text()
    assert text.index("ENERGY") < text.index("FORCE COMPONENT")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "each a block" in text  # energies of structures: nothing to pass as blocks
    assert "All targets are taken as independent" not in text
    assert origin["n_seen"] == 0
    assert "was fitted to" not in text
    ase_io.write("seen.xyz", [*test, *train[:2]])
    assert run("m.safetensors", "seen.xyz", "-o", "seen.html", "--no-forces", "--no-progress").exit_code == 0
    assert "the model was fitted to are among the targets: 2." in " ".join(Path("seen.txt").read_text().split())
    assert json.loads(Path("seen.json").read_text())["reports"]["energy"]["provenance"]["n_seen"] == 2
    for frame in test:
        frame.calc = None
    ase_io.write("bare.xyz", test)
    refused(["m.safetensors", "bare.xyz", "-o", "bare.html", "--no-progress"], "expected labelled structures")
