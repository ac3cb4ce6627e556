"""λ for energies alone on the mlearn sets of silicon and lithium, where RIGIDITIES_MLEARN says that they are.

Zuo et al., J. Phys. Chem. A 124 (2020) 731; as extended XYZ: Si-training.xyz, Si-test.xyz, Li-…
"""

import os
from pathlib import Path

import numpy as np
import pytest
import reference

import rigidities as rg

FOLDER = Path(os.environ.get("RIGIDITIES_MLEARN", "/nowhere"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "Si-training.xyz").exists(), reason="RIGIDITIES_MLEARN names no folder with the sets"
    ),
]


@pytest.fixture(scope="module", params=["Si", "Li"])
def energies(request):
    """Rows and energies per atom, less the mean of the training set."""
    io, featomic = pytest.importorskip("ase.io"), pytest.importorskip("rigidities.interop.featomic")
    soap = featomic.Soap(request.param, 5.0)
    parts = []
    for name in ("training", "test"):
        frames = io.read(FOLDER / f"{request.param}-{name}.xyz", ":")
        y = np.array([frame.get_potential_energy() / len(frame) for frame in frames])
        parts += [rg.reduce_rows(featomic.soap_rows(frames, soap, progress=False))[1], y]
    F, y, G, t = parts
    covariance = rg.Covariance(soap.n_features)
    covariance.update(F, targets=y - y.mean())
    return covariance, F, y - y.mean(), G, t - y.mean()


def test_leave_one_out_comes_within_a_fifth_of_the_best(energies):
    covariance, F, y, G, t = energies
    path = rg.regularizer_path(covariance)
    errors = path.score(G, t, "rmse")
    chosen = path.best("loo", F, y)
    assert errors[path.regularizers == chosen][0] < 1.2 * errors.min()


def test_evidence_is_that_of_the_dual_form(energies):
    """From the singular values of F, where S keeps all digits: a nat is promised, and the bound is rarely met."""
    covariance, F, y, *_ = energies
    path = rg.regularizer_path(covariance)
    known = ~np.isnan(path.log_evidence)
    assert known.mean() > 0.8
    U, s, _ = np.linalg.svd(F, full_matrices=False)
    for lam, evidence in zip(path.regularizers[known], path.log_evidence[known], strict=True):
        S = np.sum((U.T @ y) ** 2 * lam / (s**2 + lam))
        determinant = np.log1p(s**2 / lam).sum()
        expected = -0.5 * (len(y) * np.log(2 * np.pi * S / len(y)) + len(y) + determinant)
        assert evidence == pytest.approx(expected, abs=0.01)


def test_leave_one_out_is_refitting(energies):
    covariance, F, y, *_ = energies
    lam = rg.regularizer_path(covariance).best("loo", F, y)
    found = rg.leave_one_out(covariance.factorize(lam), F, y)
    # p·eps·cond is 1e-5 here, and refitting has as much of it
    for i in range(0, len(y), 20):
        residuals, variances = reference.left_out(F, y, lam, [i])
        assert found.residuals[i] == pytest.approx(residuals[0], rel=1e-3, abs=1e-5)
        assert found.variances[i] == pytest.approx(variances[0], rel=1e-3)
