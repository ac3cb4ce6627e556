"""What the documents say must run, and must be true.

Every Python block of README and docs is run by itself in an empty directory, as a reader would who
copies it. What it prints must be the ``text`` block that follows: the same words, and numbers that
agree to the digits that are shown.
"""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import test_walls

import rigidities as rg

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
MODULES = [
    module.name for module in pkgutil.walk_packages(rg.__path__, "rigidities.") if module.name != "rigidities._core"
]
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]?\d+)?(?![\w])")
NEEDS = {
    "load_silicon": "ase",
    "interop.featomic": "featomic",
    "rigidities.plot": "matplotlib",
    "from skmatter": "skmatter",
}
"""Optional packages, by what shows in a block that it needs them."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def python_blocks():
    """Code, the line before it, and what stands in the ``text`` block after it."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, flags=re.DOTALL | re.M):
            line = text.count("\n", 0, found.start(1))
            yield pytest.param(path, line, found[1], found[2] or "", id=f"{name_of(path)}:{line}")


BLOCKS = list(python_blocks())


def skip_without_needs(code):
    for sign, module in NEEDS.items():
        if sign in code:
            pytest.importorskip(module)


def unit(number):
    """One of the last digit that is shown: 0.01 for 1.25, 1e-7 for 2.3e-06, 0 for a whole number."""
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0


def assert_alike(printed, shown):
    """The same words, and numbers to the digits shown. Spaces do not matter: columns of numbers are padded."""
    words = ["".join(NUMBER.sub("#", text).split()) for text in (printed, shown)]
    assert words[0] == words[1]
    for new, old in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        assert float(new) == pytest.approx(float(old), rel=1e-12, abs=1.01 * unit(old)), f"{new} in place of {old}"


@pytest.mark.parametrize(("path", "line", "code", "shown"), BLOCKS)
def test_python_of_the_documents_prints_what_they_show(path, line, code, shown, tmp_path, monkeypatch, capsys):
    skip_without_needs(code)
    monkeypatch.chdir(tmp_path)
    # Empty lines before the code: a traceback then names the line of the document.
    exec(compile("\n" * line + code, name_of(path), "exec"), {"__name__": "__main__"})
    assert_alike(capsys.readouterr().out, shown)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("R = 1.25", "R = 1.27"),
        ("R = 2.5e-06", "R = 2.3e-06"),
        ("R = -0.3", "R = 0.3"),
        ("24 slabs", "25 slabs"),
        ("R = 1", "LPR = 1"),
        ("R = 1 2", "R = 1"),
        ("R = nan", "R = 1.0"),
    ],
)
def test_another_output_is_seen(printed, shown):
    with pytest.raises(AssertionError):
        assert_alike(printed, shown)


def test_rounding_and_spaces_are_no_other_output():
    assert_alike("a [0.842  0.1 ]\nR = 9.99e-07", "a [0.843 0.1]\nR = 1.00e-06\n")


def test_readme_has_the_three_ways_in():
    blocks = [block.values[2] for block in BLOCKS if block.values[0].name == "README.md"]
    assert len(blocks) == 3
    for block, call in zip(blocks, ("load_silicon", "leave_one_out", "skmatter"), strict=True):
        assert call in block
        assert "print(" in block


def test_readmes_first_block_draws_a_map(tmp_path, monkeypatch):
    code = BLOCKS[0].values[2]
    skip_without_needs(code)
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(code, namespace)
    assert (tmp_path / "lpr_map.png").read_bytes().startswith(b"\x89PNG")
    assert namespace["lpr"].shape == (len(namespace["test"]),)
    assert namespace["pr"].shape == (24,)
    assert (namespace["lpr"] > 0).all()


@pytest.mark.slow
def test_readmes_commands_run(tmp_path):
    """The commands as they stand there, on few structures."""
    io, datasets = pytest.importorskip("ase.io"), pytest.importorskip("rigidities.datasets")
    for module in ("featomic", "matplotlib", "chemiscope"):
        pytest.importorskip(module)
    frames = datasets.load_silicon(groups=["crystal", "strained", "vacancy"])
    for name, part in (("train", frames[0::2]), ("test", frames[1::4]), ("new", frames[3::8])):
        io.write(tmp_path / f"{name}.xyz", part)
    rows = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(tmp_path / "features.npz", features=rows, energies=rows @ [1.0, -2.0, 0.5])
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if re.match(r"rigidities \w+ ", line)]
    named = [command.split()[1] for command in commands]
    assert named == ["report", "fit", "score", "calibrate", "select", "learn", "fit", "overlap", "demo"]
    for command in commands:
        arguments = command.partition(" #")[0].split()[1:]
        subprocess.run([sys.executable, "-m", "rigidities", *arguments], cwd=tmp_path, check=True)
    for name in (
        "report/lpr_map.png",
        "model.safetensors",
        "model.png",
        "scored.xyz",
        "picks.xyz",
        "learning.png",
        "rows.safetensors",
        "rigidities-demo/lpr_maps.png",
    ):
        assert (tmp_path / name).stat().st_size > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=name_of)
def test_examples_run(path, tmp_path):
    for module in ("ase", "featomic", "matplotlib"):
        pytest.importorskip(module)
    subprocess.run([sys.executable, path], cwd=tmp_path, check=True)
    assert list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    """Files that are linked exist."""
    links = re.findall(r"\]\(([^)]*)\)", path.read_text(encoding="utf-8"))
    for link in links:
        if not link.startswith("https://"):
            assert (path.parent / link).exists(), link
    assert links or path.name in ("speed.md", "words.md")


def test_readme_names_every_page():
    """All but the page that only points to the others, kept for old links."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in PAGES:
        assert f"({name_of(path)})" in text or path.name == "conventions.md", path.name
    for name in ("CITATION.cff", "Makefile", "LICENSE"):
        assert (ROOT / name).exists(), name
    assert "CITATION.cff" in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_prose_ends_at_100_columns(path):
    """Tables, code and what benches/table.py writes may be longer."""
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$|^<!-- (bench[\w-]*) -->.*?^<!-- /\1 -->$", "", text, flags=re.DOTALL | re.M)
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "    ", "!["))]
    assert [line for line in lines if len(line) > 100] == []


def test_contributing_has_the_wings_that_are_built():
    """The table of wings is that of test_walls.py, without what is planned."""
    built = {path.stem for path in (ROOT / "python" / "rigidities").iterdir()} - {"__main__"}
    wings = [[name for name in wing if name in built] for wing in test_walls.WINGS]
    rows = re.findall(r"^\| \d+ \| (.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.M)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == wings


def test_one_version():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert rg.__version__ == version
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()


def test_public_names_are_documented():
    for name in rg.__all__:
        if not name.startswith("__"):
            assert getattr(rg, name).__doc__, name
    for cls in (rg.Covariance, rg.Hessian):
        for name, member in vars(cls).items():
            if not name.startswith("_"):
                assert member.__doc__, f"{cls.__name__}.{name}"
