"""Members of a fit: their covariance is scale²·H⁻¹ at the Monte Carlo rate, in every form of a factor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rigidities as rg
from rigidities.ensemble import members_needed, propagate
from rigidities.interop.skmatter import PseudoInverse

RNG = np.random.default_rng(0)
F, Y = RNG.normal(size=(30, 6)), RNG.normal(size=(30, 2))
LAMBDA = 0.5


def covariance(targets=None, **options):
    found = rg.Covariance(6, **options)
    found.update(F, targets=targets)
    return found


def spd(p):
    A = np.random.default_rng(5).normal(size=(p, p))
    return A @ A.T + p * np.eye(p)


FORMS = {
    "sums": lambda: covariance().factorize(LAMBDA),
    "qr": lambda: covariance(accumulation="qr").factorize(LAMBDA),
    "a matrix": lambda: covariance().factorize(LAMBDA, penalty=spd(6)),
    "dual": lambda: rg.Hessian.from_rows(F[:3], LAMBDA),
    "dual, diagonal": lambda: rg.Hessian.from_rows(F[:3], LAMBDA, penalty=np.linspace(1, 2, 6)),
    "dual, a matrix": lambda: rg.Hessian.from_rows(F[:3], LAMBDA, penalty=spd(6)),
    "whole span": lambda: rg.Hessian.from_rows(F, LAMBDA, penalty=spd(6)),
    "pseudo-inverse": lambda: PseudoInverse(F.T @ F + LAMBDA * np.eye(6), 1e-12, LAMBDA),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_root_is_that_of_whitened_rows(form):
    """W Wᵀ = H⁻¹, exactly: columns of W are members for z = e_i."""
    factor = FORMS[form]()
    W = factor._coloured(np.eye(6))
    np.testing.assert_allclose(W @ W.T, factor.solve(np.eye(6)), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(W, factor.whiten(np.eye(6)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["sums", "dual", "pseudo-inverse"])
def test_covariances_converge_at_the_monte_carlo_rate(form):
    """n S is Wishart: entries of S have variance (σ_ii σ_jj + σ_ij²)/n. Six of their σ for 36 entries."""
    factor = FORMS[form]()
    expected = 4.0 * factor.solve(np.eye(6))
    for n in (500, 50_000):
        members = factor.sample(n, scale=2.0, random_state=1)
        found = members.T @ members / n
        error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / n)
        assert (np.abs(found - expected) < 6 * error).all()
        assert (np.abs(members.mean(axis=0)) < 6 * np.sqrt(np.diag(expected) / n)).all()


def test_members_lie_around_the_fit_with_a_scale_for_each_output():
    hessian = covariance(Y).factorize(LAMBDA)
    members = hessian.sample(20_000, scale=[0.5, 3.0], random_state=np.random.default_rng(0))
    assert members.shape == (20_000, 6, 2)
    np.testing.assert_allclose(members.mean(axis=0), hessian.coef, atol=0.05)
    spread = members.std(axis=0) / np.sqrt(np.diagonal(hessian.solve(np.eye(6))))[:, None]
    np.testing.assert_allclose(spread, np.broadcast_to([0.5, 3.0], (6, 2)), rtol=0.04)
    apart = np.corrcoef(members[:, 0, 0], members[:, 0, 1])[0, 1]
    assert abs(apart) < 6 / np.sqrt(20_000)


def test_shapes_follow_those_of_coef():
    for targets in (Y[:, 0], Y[:, :1], Y, None):
        hessian = covariance(targets).factorize(LAMBDA)
        shape = (6,) if targets is None else hessian.coef.shape
        assert hessian.sample(3).shape == (3, *shape)


def test_centred_members():
    """Their mean is θ; over many draws their covariance with n − 1 is not biased."""
    hessian = covariance(Y[:, 0]).factorize(LAMBDA)
    members = hessian.sample(5, random_state=0, centred=True)
    np.testing.assert_allclose(members.mean(axis=0), hessian.coef, rtol=1e-13)
    rng = np.random.default_rng(0)
    found = np.mean([np.var(hessian.sample(5, random_state=rng, centred=True), axis=0, ddof=1) for _ in range(4000)], 0)
    np.testing.assert_allclose(found, np.diagonal(hessian.solve(np.eye(6))), rtol=0.1)


def test_the_same_state_gives_the_same_members():
    hessian = covariance(Y).factorize(LAMBDA)
    np.testing.assert_array_equal(hessian.sample(4, random_state=3), hessian.sample(4, random_state=3))
    assert (hessian.sample(4) != hessian.sample(4)).any()
    np.testing.assert_array_equal(hessian.sample(2, scale=0.0), np.stack([hessian.coef] * 2))


@pytest.mark.parametrize(
    ("n", "options", "error", "message"),
    [
        (0, {}, ValueError, "n_members is 0: expected a positive integer"),
        (-2, {}, ValueError, "n_members is -2: expected a positive integer"),
        (1.5, {}, TypeError, "n_members"),
        (1, {"centred": True}, ValueError, "expected 2 or more members to centre"),
        (3, {"scale": -1.0}, ValueError, "expected finite numbers from 0"),
        (3, {"scale": np.nan}, ValueError, "expected finite numbers from 0"),
        (3, {"scale": [1.0, 2.0, 3.0]}, ValueError, r"scale has shape \(3,\)"),
        (3, {"centred": 1}, TypeError, "centred"),
        (3, {"random_state": -1}, ValueError, "random_state is -1: expected an integer from 0"),
        (3, {"random_state": 0.5}, TypeError, "random_state is 0.5: expected an integer"),
        (10**14, {}, MemoryError, "members"),
    ],
)
def test_bad_members(n, options, error, message):
    with pytest.raises(error, match=message):
        covariance(Y).factorize(LAMBDA).sample(n, **options)


@given(st.floats(1e-3, 3.0))
def test_members_needed_is_the_least(error):
    n = members_needed(error)
    assert 1 / np.sqrt(2 * (n - 1)) <= error * (1 + 1e-8)
    assert n == 2 or 1 / np.sqrt(2 * (n - 2)) > error * (1 - 1e-8)


@pytest.mark.parametrize("error", [0.0, -0.1, np.nan, np.inf, 1e-9])
def test_impossible_errors(error):
    if error == np.inf:
        with pytest.raises((ValueError, TypeError)):
            members_needed(error)
        return
    with pytest.raises(ValueError, match="relative_error"):
        members_needed(error)


@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
def test_monte_carlo_errors(draw):
    """Means and σ of many small ensembles scatter as the errors say, for Gaussian and skewed values."""
    rng = np.random.default_rng(0)
    found = propagate(getattr(rng, draw)((200, 5000)))
    np.testing.assert_allclose(found.mean.std(), found.mean_error.mean(), rtol=0.05)
    np.testing.assert_allclose(found.standard_deviation.std(), found.standard_deviation_error.mean(), rtol=0.15)
    assert found.n_members == 200


def test_a_linear_function_has_the_variance_of_the_factor():
    hessian = covariance(Y[:, 0]).factorize(LAMBDA)
    g = RNG.normal(size=6)
    found = propagate(hessian.sample(40_000, scale=0.3, random_state=0), lambda theta: g @ theta)
    exact = 0.3 * np.sqrt(hessian.variance(g[None])[0])
    assert abs(found.standard_deviation - exact) < 4 * found.standard_deviation_error
    assert abs(found.mean - g @ hessian.coef) < 4 * found.mean_error


def test_equal_members_have_no_error():
    found = propagate(np.ones((3, 2)))
    np.testing.assert_array_equal(found.standard_deviation_error, 0.0)


def test_bad_predictions():
    with pytest.raises(ValueError, match="two members or more"):
        propagate(np.ones((1, 3)))
    with pytest.raises(ValueError, match="two members or more"):
        propagate(3.0)
    with pytest.raises(ValueError, match="value of member 1 is not finite"):
        propagate(np.array([1.0, 0.0]), lambda x: np.divide(1.0, x) if x else np.nan)
    with pytest.raises(ValueError, match=r"shape \(2,\) for member 1 and \(1,\) for member 0"):
        propagate(np.array([1.0, 2.0]), lambda x: np.ones(int(x)))
