"""What the documents say must run, and must be true."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rigidities as rg

ROOT = Path(__file__).parent.parent
MODULES = [
    module.name for module in pkgutil.walk_packages(rg.__path__, "rigidities.") if module.name != "rigidities._core"
]


def python_blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)


def test_readmes_python_runs_and_is_short():
    blocks = python_blocks(ROOT / "README.md")
    assert len(blocks) == 2
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 10
    assert namespace["lpr"].shape == (len(namespace["test"]),)
    assert namespace["pr"].shape == (24,)
    assert (namespace["lpr"] > 0).all()


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_every_file_that_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    images = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert images
    for name in [*images, "CITATION.cff", "Makefile"]:
        assert (ROOT / name).exists(), name


def test_one_version():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert rg.__version__ == version
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()


def test_import_is_light():
    """A user pays for what is used."""
    heavy = ["ase", "featomic", "metatensor", "torch", "sklearn", "matplotlib", "typer", "tqdm", "scipy", "dask"]
    code = f"import sys, rigidities; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_public_names_are_documented():
    for name in rg.__all__:
        if not name.startswith("__"):
            assert getattr(rg, name).__doc__, name
    for cls in (rg.Covariance, rg.Hessian):
        for name, member in vars(cls).items():
            if not name.startswith("_"):
                assert member.__doc__, f"{cls.__name__}.{name}"
