"""--threads bounds all libraries that compute: the core, featomic, and the BLAS of NumPy and SciPy."""

import os
import subprocess
import sys

import numpy as np
import pytest

CODE = """
import sys
import numpy  # before the command, as in the middle of a script
from rigidities.cli import main
sys.argv = ["rigidities", "fit", "rows.npz", "-o", "model.safetensors", "--no-plot", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code
import rigidities, scipy.linalg
from threadpoolctl import threadpool_info
print(rigidities._core.get_num_threads(), {library["num_threads"] for library in threadpool_info()})
"""


@pytest.mark.skipif(os.cpu_count() == 1, reason="one thread is all there is")
@pytest.mark.parametrize(("options", "bounded"), [(["--threads", "1"], True), ([], False)])
def test_threads_bound_every_library(tmp_path, options, bounded):
    pytest.importorskip("ase")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", features=rng.normal(size=(30, 3)), energies=rng.normal(size=30))
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-c", CODE, *options]
    done = subprocess.run(command, cwd=tmp_path, env=free, capture_output=True, text=True, check=True)
    threads, blas = done.stdout.splitlines()[-1].split(" ", 1)
    assert (threads == "1") is bounded
    assert (blas == "{1}") is bounded
