"""Try a built wheel as a user gets it: check tags and files, install it afresh, compute with it.

The environment is new, holds only what the wheel requires, and is deleted afterwards. Nothing is
taken from this checkout: the computation below runs in a folder of its own.

    python scripts/try_wheel.py dist/rigidities-*.whl
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

NEWEST_GLIBC = (2, 28)  # RHEL 8's: pip refuses a wheel for a newer C library than the system's
FILES = {
    "rigidities/__init__.py",
    "rigidities/_core.pyi",
    "rigidities/data/silicon.npz",
    "rigidities/py.typed",
    "{info}/licenses/LICENSE",
    "{info}/licenses/THIRD_PARTY_LICENSES.txt",
}

COMPUTATION = """
import sys
from pathlib import Path
import numpy as np
import rigidities as rg

assert Path(rg.__file__).is_relative_to(sys.prefix), rg.__file__
assert rg.__version__ == sys.argv[1], rg.__version__

rng = np.random.default_rng(0)
rows, targets = rng.standard_normal((500, 40)), rng.standard_normal(100)
groups = np.repeat(np.arange(100), 5)
means = rows.reshape(100, 5, 40).mean(axis=1)
covariance = rg.Covariance(40)
covariance.update(rows, groups=groups, targets=targets)
covariance.save("covariance.safetensors")
hessian = rg.Covariance.load("covariance.safetensors").factorize(regularizer=1e-3)
H = means.T @ means + 1e-3 * np.eye(40)
np.testing.assert_allclose(hessian.coef, np.linalg.solve(H, means.T @ targets), rtol=1e-9)
np.testing.assert_allclose(1 / hessian.rigidity(rows), np.sum(rows * np.linalg.solve(H, rows.T).T, axis=1), rtol=1e-9)
path = rg.regularizer_path(covariance)
assert np.isfinite(path.log_evidence).any()
"""


def main(wheel: Path) -> None:
    """Check the file, then what it does."""
    name = re.fullmatch(r"rigidities-([^-]+)-([^-]+)-([^-]+)-([^-]+)\.whl", wheel.name)
    assert name, f"{wheel.name} is no wheel of rigidities"
    version, *tags = name.groups()
    check_tags(*tags)
    check_files(wheel, version)
    with tempfile.TemporaryDirectory() as folder:
        check_installed(wheel.resolve(), version, Path(folder))
    print(f"{wheel.name}: installs into a new environment and computes; 1 passed, 0 failed")


def check_tags(python: str, abi: str, platforms: str) -> None:
    """Hold the stable ABI and, on Linux, the age of the C library."""
    assert (python, abi) == ("cp311", "abi3"), f"not for every Python from 3.11 on: {python}-{abi}"
    if "linux" in platforms:
        versions = re.findall(r"manylinux_(\d+)_(\d+)_", platforms)
        assert versions, f"{platforms}: not a manylinux wheel, so PyPI refuses it"
        assert max((int(major), int(minor)) for major, minor in versions) <= NEWEST_GLIBC, platforms


def check_files(wheel: Path, version: str) -> None:
    """Look for the licences, the types and the data; tests and caches must have stayed outside."""
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"rigidities-{version}.dist-info"
    assert not (missing := {name.format(info=info) for name in FILES} - names), f"not in the wheel: {missing}"
    compiled = [name for name in names if name.startswith("rigidities/_core.") and name.endswith((".so", ".pyd"))]
    assert len(compiled) == 1, f"one compiled module is expected: {compiled}"
    strangers = {name for name in names if not name.startswith(("rigidities/", f"{info}/")) or "__pycache__" in name}
    assert not strangers, f"does not belong in the wheel: {strangers}"


def check_installed(wheel: Path, version: str, folder: Path) -> None:
    """Install without extras; compute; ask the command line, which must say what is missing."""
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: str, code: int = 0) -> str:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == code, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    run(str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    run(str(programs / "python"), "-c", COMPUTATION, version)
    assert version in run(str(programs / "rigidities"), "--version")
    assert 'pip install "rigidities[' in run(str(programs / "rigidities"), "demo", code=2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
