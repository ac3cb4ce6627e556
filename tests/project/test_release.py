"""What a release rests on: one version, one address, the licences, the workflows. Needs a checkout and cargo."""

import re
import subprocess
import tomllib
from pathlib import Path

import check_version
import pytest
import third_party_licences
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))


def test_one_version_and_one_date():
    named = check_version.versions()
    check_version.main(f"v{named['Cargo.toml']}")
    assert "version" not in PYPROJECT["project"]
    with pytest.raises(SystemExit, match=r"Cargo\.toml names version .*, but the tag is v9\.9\.9"):
        check_version.main("v9.9.9")


def test_changelog_links_each_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.index("## [Unreleased]") < text.index("## [0.1.0]")
    named = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert named == re.findall(r"^\[(.+?)\]: ", text, re.MULTILINE)


def test_one_address():
    """The repository is spelt in one way wherever it is named."""
    address = CARGO["workspace"]["package"]["repository"]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in tracked.split() if Path(name).suffix in {".md", ".toml", ".yml", ".yaml", ".cff"}]
    named = {
        found
        for file in files
        for found in re.findall(r"(?i)https?://[\w.]*git[\w.]+/[\w-]+/rigidities[\w-]*", file.read_text("utf-8"))
    }
    assert named == {address}
    assert PYPROJECT["project"]["urls"]["Repository"] == address


def test_licences_of_the_crates_are_current():
    third_party_licences.main(["--check"])
    names = {crate["name"] for crate in third_party_licences.crates()}
    assert {"faer", "pyo3", "rayon"} < names
    assert "divan" not in names, "divan is for benchmarks only"
    assert third_party_licences.OUTPUT.name in PYPROJECT["project"]["license-files"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_bounded_and_have_no_more_rights_than_they_need(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 60, name
        assert job.get("permissions", {}) == ({"id-token": "write"} if name == "publish" else {}), name


def test_wheels_of_linux_are_for_old_systems():
    """Both places that build wheels ask for manylinux2014; `make test-wheel` looks at the result."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8"))["jobs"]
    platforms = jobs["build"]["strategy"]["matrix"]["include"]
    options = {build["platform"]: build.get("options", "") for build in platforms}
    makefile = re.search(r"WHEEL_OPTIONS := .*,(--.*)\)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert makefile
    assert (
        {options["linux-x86_64"], options["linux-aarch64"]} == {makefile[1]} == {"--compatibility manylinux2014 --zig"}
    )


def test_every_wheel_is_tested():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8"))["jobs"]
    built, tested = (
        {entry["platform"] for entry in jobs[job]["strategy"]["matrix"]["include"]} for job in ("build", "test")
    )
    assert built == tested
    pythons = {entry["python"] for entry in jobs["test"]["strategy"]["matrix"]["include"]}
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    assert pythons == set(named)
