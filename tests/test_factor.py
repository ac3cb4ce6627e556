"""The Cholesky factor of many features: pivots, many right-hand sides, jitter, effective dimension."""

import numpy as np
import pytest
import reference

import rigidities as rg


def test_the_value_of_the_failing_pivot():
    covariance = rg.Covariance(2)
    covariance.update([[3.0, 4.0]])
    with pytest.raises(rg.NotPositiveDefiniteError, match=r"pivot 1 of 2 .* is (0\.0|-?[\d.]+e-1\d) at"):
        covariance.factorize(0.0)


@pytest.mark.parametrize("p", [100, 300, 600])
def test_a_failed_consume_restores_many_features(p):
    X = np.random.default_rng(p).normal(size=(2 * p, p))
    X[:, -2] = 0
    covariance = rg.Covariance(p)
    covariance.update(X)
    before = covariance.matrix()
    with pytest.raises(rg.NotPositiveDefiniteError):
        covariance.factorize(0.0, consume=True)
    np.testing.assert_array_equal(covariance.matrix(), before)


def test_many_right_hand_sides_and_predictions():
    rng = np.random.default_rng(6)
    X, G = rng.normal(size=(90, 40)), rng.normal(size=(700, 40))
    covariance = rg.Covariance(40)
    covariance.update(X)
    hessian, H = covariance.factorize(0.5), X.T @ X + 0.5 * np.eye(40)
    expected = G @ np.linalg.solve(H, G.T)
    atol = reference.tolerance(H) * np.abs(expected).max()
    np.testing.assert_allclose(hessian.prediction_covariance(G), expected, rtol=0, atol=atol)
    np.testing.assert_allclose(hessian.prediction_covariance(G[:30], G), expected[:30], rtol=0, atol=atol)
    np.testing.assert_allclose(G @ hessian.solve(G.T), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", ["identity", "diagonal", "matrix"])
def test_effective_dimension_of_many_features(shape):
    rng = np.random.default_rng(7)
    p = 600
    X, A = rng.normal(size=(400, p)), rng.normal(size=(p, p))
    penalty = {
        "identity": None,
        "diagonal": np.linspace(1, 9, p),
        "matrix": A @ A.T / p + np.diag(np.linspace(0.1, 9, p)),
    }[shape]
    covariance = rg.Covariance(p)
    covariance.update(X)
    H = reference.hessian(X.T @ X, 5.0, penalty)
    expected = np.trace(np.linalg.solve(H, X.T @ X))
    assert covariance.factorize(5.0, penalty=penalty).effective_dimension == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "penalty", [np.r_[0.0, 5 * np.ones(8)], np.diag(np.r_[0.0, 5 * np.ones(8)]), np.diag(np.r_[1e-17, np.ones(8)])]
)
def test_the_jitter_counts_in_the_effective_dimension(penalty):
    X = np.random.default_rng(0).normal(size=(4, 9))  # rank 4: without the jitter it would be 5 and more
    covariance = rg.Covariance(9)
    covariance.update(X)
    hessian = covariance.factorize(penalty=penalty)
    assert "jitter" in hessian.regularizer_reason
    # tr(C H^-1) = p - lambda tr((Lambda + jitter) H^-1)
    assert hessian.effective_dimension == pytest.approx(4, abs=0.5)


def test_rounding_of_a_penalty_is_no_asymmetry():
    rng = np.random.default_rng(2)
    A = rng.normal(size=(30, 30))
    penalty = A @ A.T + np.triu(1e-12 * rng.normal(size=(30, 30)), 1)
    covariance = rg.Covariance(30)
    covariance.update(A)
    one, other = (covariance.factorize(1.0, penalty=P) for P in (penalty, penalty.T))
    np.testing.assert_array_equal(one._core.diagonal(), other._core.diagonal())


def test_the_fit_is_read_only():
    covariance = rg.Covariance(2)
    covariance.update(np.eye(2), targets=[1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        covariance.factorize(1.0).coef[0] = 3.0
