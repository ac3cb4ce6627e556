"""What only shows at size: memory, and agreement where all blocks of the kernels are in play. Slow."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg

import rigidities as rg

pytestmark = pytest.mark.slow


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")
@pytest.mark.parametrize(("consume", "arrays"), [(True, 1.2), (False, 2.1)])
def test_memory_stays_at_what_the_design_promises(consume, arrays):
    """C is one p × p array, the factor another or none; variances add a batch of rows.

    The rest is Python, its libraries, and the kernels' workspaces: for each thread, twice the third-level cache."""
    p = 8192
    code = f"""
import numpy as np, rigidities as rg
covariance = rg.Covariance({p})
rng = np.random.default_rng(0)
for _ in range(5):
    covariance.update(rng.normal(size=(700, {p})))
hessian = covariance.factorize(1.0, consume={consume})
hessian.variance(rng.normal(size=(900, {p})))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) < arrays * 8 * p * p + 250e6


def test_large_systems_equal_scipys():
    rng = np.random.default_rng(0)
    n, p = 4000, 2500
    X = rng.normal(size=(n, p)) * np.logspace(0, -2, p)
    covariance = rg.Covariance(p)
    for part in np.array_split(X, 7):
        covariance.update(part)
    H = X.T @ X + 1e-3 * np.eye(p)
    np.testing.assert_allclose(covariance.matrix() + 1e-3 * np.eye(p), H, rtol=0, atol=1e-10)
    hessian = covariance.factorize(1e-3)
    L = scipy.linalg.cholesky(H, lower=True)
    expected = np.square(scipy.linalg.solve_triangular(L, X[:1000].T, lower=True)).sum(axis=0)
    rtol = 10 * p * np.finfo(float).eps / hessian.rcond
    np.testing.assert_allclose(hessian.variance(X[:1000]), expected, rtol=min(rtol, 1e-6))
    assert hessian.log_determinant == pytest.approx(2 * np.log(np.diag(L)).sum(), rel=1e-12)
