"""Sparse kernel models: C = K_MN K_NM with the penalty K_MM, against the textbook; jitter reported."""

import numpy as np
import pytest
import reference
from problems import summed

import rigidities as rg
from rigidities.penalty import Penalty
from rigidities.spectrum.pencil import make_pencil


def kernel(a, b, width=0.4):
    return np.exp(-((a[:, None] - b) ** 2) / (2 * width**2))


def subset_of_regressors(K_NM, K_MM, K_TM, y, noise):
    """Mean K_TM(σ²K_MM + K_MN K_NM)⁻¹K_MN y and variance, less the noise, σ²K_TM(σ²K_MM + K_MN K_NM)⁻¹K_MT.

    Quiñonero-Candela & Rasmussen, J. Mach. Learn. Res. 6 (2005) 1939, eq. 16.
    """
    H = noise * K_MM + K_NM.T @ K_NM
    solved = np.linalg.solve(H, K_TM.T)
    return solved.T @ (K_NM.T @ y), noise * np.einsum("ij,ji->i", K_TM, solved)


@pytest.mark.parametrize("width", [0.1, 0.4])
def test_sparse_kernel_models(width):
    rng = np.random.default_rng(4)
    x, sparse, test = rng.uniform(0, 3, 80), np.linspace(0, 3, 25), np.linspace(0, 3, 11)
    y = np.sin(3 * x) + 0.1 * rng.normal(size=80)
    K_NM, K_MM, K_TM = kernel(x, sparse, width), kernel(sparse, sparse, width), kernel(test, sparse, width)
    covariance = summed(K_NM, y)
    path = rg.regularizer_path(covariance, [1e-3, 1e-2, 1e-1], penalty=K_MM)
    eps, largest = np.finfo(np.float64).eps, np.linalg.eigvalsh(K_MM)[-1]
    if width == 0.1:
        assert path.jitter == 0.0
    else:  # singular to rounding
        assert np.linalg.cond(K_MM) > 1 / (25 * eps)
        assert path.jitter == pytest.approx(np.sqrt(26 * eps) * largest)
    used = K_MM + path.jitter * np.eye(25)
    for i, noise in enumerate(path.regularizers):
        mean, variance = subset_of_regressors(K_NM, used, K_TM, y, noise)
        hessian = covariance.factorize(noise, penalty=used)
        rtol = reference.tolerance(noise * used + K_NM.T @ K_NM)
        for coef, v in ((path.coef[i], path.variance(K_TM)[i]), (hessian.coef, hessian.variance(K_TM))):
            np.testing.assert_allclose(K_TM @ coef, mean, rtol=0, atol=rtol * np.abs(mean).max())
            np.testing.assert_allclose(noise * v, variance, rtol=rtol)
        # jitter is of no account: the exact model differs by less than the noise's standard
        # deviation by far
        exact = K_TM @ np.linalg.lstsq(noise * K_MM + K_NM.T @ K_NM, K_NM.T @ y)[0]
        np.testing.assert_allclose(mean, exact, atol=1e-3)


def test_auto_with_a_singular_kernel_reports_its_jitter():
    rng = np.random.default_rng(5)
    x, sparse = rng.uniform(0, 3, 80), np.linspace(0, 3, 25)
    K_NM, K_MM = kernel(x, sparse), kernel(sparse, sparse)
    y = np.sin(3 * x) + 0.1 * rng.normal(size=80)
    covariance = summed(K_NM, y)
    hessian = covariance.factorize(penalty=K_MM)
    path = rg.regularizer_path(covariance, penalty=K_MM)
    assert hessian.regularizer == pytest.approx(path.best("evidence"), rel=0.1)
    assert hessian.regularizer_reason.startswith("evidence: the maximum")
    assert f"(jitter {path.jitter:.3g} on the diagonal of the penalty)" in hessian.regularizer_reason
    assert 0.1**2 / 4 < hessian.regularizer < 0.1**2 * 4  # noise over prior, whose variance is about 1
    used = K_MM + path.jitter * np.eye(25)
    H = covariance.matrix() + hessian.regularizer * used
    assert hessian.log_determinant == pytest.approx(np.linalg.slogdet(H)[1], rel=reference.tolerance(H))


def test_an_intercept_beside_a_singular_kernel_gets_no_jitter():
    rng = np.random.default_rng(5)
    x, sparse = rng.uniform(0, 3, 80), np.linspace(0, 3, 25)
    F = np.column_stack([kernel(x, sparse), np.ones(80)])
    penalty = np.zeros((26, 26))
    penalty[:25, :25] = kernel(sparse, sparse)
    covariance = summed(F, np.sin(3 * x) + 100 + 0.1 * rng.normal(size=80))
    path = rg.regularizer_path(covariance, [1e-2], penalty=penalty)
    assert path.jitter > 0
    used = penalty + path.jitter * np.diag(np.r_[np.ones(25), 0])
    H = covariance.matrix() + 1e-2 * used
    expected = np.linalg.solve(H, F.T @ (np.sin(3 * x) + 100))
    assert path.coef[0][-1] == pytest.approx(100, abs=2)
    np.testing.assert_allclose(path.variance(F)[0], reference.variance(H, F), rtol=reference.tolerance(H))
    assert expected[-1] == pytest.approx(path.coef[0][-1], abs=0.5)


def test_auto_leaves_an_intercept_beside_a_singular_kernel_unpenalised():
    """Of a column of 1e-4 λ·jitter would take a hundredth: 1e-8 beside 80·(1e-4)²."""
    rng = np.random.default_rng(5)
    x, sparse = rng.uniform(0, 3, 80), np.linspace(0, 3, 25)
    F = np.column_stack([kernel(x, sparse), np.full(80, 1e-4)])
    penalty = np.zeros((26, 26))
    penalty[:25, :25] = kernel(sparse, sparse)
    covariance = summed(F, np.sin(3 * x) + 1 + 0.1 * rng.normal(size=80))
    hessian = covariance.factorize(penalty=penalty)
    assert "jitter" in hessian.regularizer_reason
    path = rg.regularizer_path(covariance, [hessian.regularizer], penalty=penalty)
    # both are rounded by p·eps·cond; what is looked for is a hundredth
    np.testing.assert_allclose(F @ hessian.coef, F @ path.coef[0], atol=1e-3)


def test_the_safe_regularizer_of_an_ill_conditioned_kernel():
    """Λ of condition 1e12 needs no jitter, but a λ at which rounding of C, divided by it, is still below λ."""
    rng = np.random.default_rng(6)
    x, sparse = rng.uniform(0, 3, 80), np.linspace(0, 3, 12)
    K_NM, K_MM = kernel(x, sparse, 1.05), kernel(sparse, sparse, 1.05)
    values = np.linalg.eigvalsh(K_MM)
    assert 1e11 < values[-1] / values[0] < 1e13
    covariance = summed(K_NM)
    pencil = make_pencil(covariance.matrix(), Penalty.of(K_MM, len(K_MM)))
    assert pencil.jitter == 0.0
    assert pencil.safe == pytest.approx(13 * np.finfo(np.float64).eps * covariance.trace / values[0], rel=1e-3)
    # sums of whitened rows are rounded by a part of their own trace, which is that of K_NM K_MM⁻¹ K_MN
    whitened = np.trace(np.linalg.solve(K_MM, K_NM.T @ K_NM))
    assert pencil.gain == pytest.approx(covariance.trace / values[0] / whitened, rel=1e-3)
