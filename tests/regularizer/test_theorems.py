"""What must hold for evidence, leave-one-out and a path of λ, whatever the numbers are."""

import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems, tolerance

import rigidities as rg


def summed(problem, F, y, weights=None):
    covariance = rg.Covariance(problem.p)
    covariance.update(F, weights=problem.weights if weights is None else weights, targets=y)
    return covariance


def fitted(problem, seed):
    """Reduced rows, targets that a model and noise make, and the evidence at λ and ten times as much."""
    F = reference.reduce_rows(problem.X, problem.groups)
    rng = np.random.default_rng(seed)
    y = F @ rng.normal(size=problem.p) / np.abs(F).max() + rng.normal(size=len(F))
    return F, y


def grid(problem):
    return problem.regularizer * np.logspace(0, 3, 4)


def evidence(covariance, regularizers):
    return rg.regularizer_path(covariance, regularizers).log_evidence


SEEDS = st.integers(0, 2**32 - 1)


def assert_equal_where_resolved(found, expected, problem):
    """Where both are resolved, to the nat that is promised where no digits are left, else to n·p·eps·cond².

    δS ≤ ρ(√Σwy² + √trC‖θ‖)² ≤ 4ρ·cond·Σwy², since λ‖θ‖² ≤ Σwy² and trC/λ ~ cond; and S ≥ Σwy²/cond:
    the relative rounding of S, whose logarithm counts n/2 times, is 4ρ·cond² at worst.
    """
    known = ~(np.isnan(found) | np.isnan(expected))
    C = reference.covariance(problem.X, problem.groups, weights=problem.weights)
    condition = 1 + np.trace(C) / problem.regularizer
    atol = min(1.0, 10 * problem.n_targets * tolerance(problem) * condition)
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-9, atol=atol)


@given(problems(), SEEDS, st.floats(1e-3, 1e3))
def test_features_and_regularizer_scale_together(problem, seed, c):
    """f → c·f with λ → c²λ leaves the evidence and the effective dimension alone."""
    F, y = fitted(problem, seed)
    assert_equal_where_resolved(
        evidence(summed(problem, c * F, y), c**2 * grid(problem)),
        evidence(summed(problem, F, y), grid(problem)),
        problem,
    )


@given(problems(), SEEDS, st.floats(1e-3, 1e3))
def test_targets_times_c_lose_n_ln_c(problem, seed, c):
    """A density of n numbers in a unit c times as large; λ, a ratio of variances, is chosen as before."""
    F, y = fitted(problem, seed)
    covariance = summed(problem, F, y)
    expected = evidence(covariance, grid(problem)) - covariance.n_rows * np.log(c)
    assert_equal_where_resolved(evidence(summed(problem, F, c * y), grid(problem)), expected, problem)


@given(problems(), SEEDS, st.floats(1e-3, 1e3))
def test_weights_and_regularizer_scale_together(problem, seed, c):
    """k·cov at kλ is the same model: noise and prior variances both fall by k, and the scale makes up for it."""
    F, y = fitted(problem, seed)
    covariance = summed(problem, F, y)
    assert_equal_where_resolved(
        evidence(c * covariance, c * grid(problem)), evidence(covariance, grid(problem)), problem
    )


@given(problems(), SEEDS)
def test_an_orthogonal_change_of_features_is_another_penalty_matrix_at_most(problem, seed):
    F, y = fitted(problem, seed)
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(problem.p, problem.p)))[0]
    penalty = np.linspace(1, 2, problem.p)
    plain = rg.regularizer_path(summed(problem, F, y), grid(problem), penalty=penalty)
    turned = rg.regularizer_path(summed(problem, F @ Q, y), grid(problem), penalty=Q.T @ (penalty[:, None] * Q))
    assert_equal_where_resolved(turned.log_evidence, plain.log_evidence, problem)
    np.testing.assert_allclose(turned.variance(problem.G @ Q), plain.variance(problem.G), rtol=tolerance(problem))


@given(problems(), SEEDS)
def test_rigidities_rise_and_dimensions_fall_along_a_path(problem, seed):
    F, y = fitted(problem, seed)
    path = rg.regularizer_path(summed(problem, F, y), grid(problem))
    assert (np.diff(path.variance(problem.G), axis=0) <= 0).all()
    assert (np.diff(path.effective_dimension) <= 0).all()
    assert (path.effective_dimension <= min(problem.p, len(F)) * (1 + tolerance(problem))).all()
    if problem.weights.any():
        errors = path.score(F, y, "rmse", weights=problem.weights)
        assert (np.diff(errors) >= -1e-6 * errors.max()).all()


@given(problems(), SEEDS, st.integers(1, 6))
def test_leave_one_out_is_refitting(problem, seed, n_blocks):
    F, y = fitted(problem, seed)
    w, lam = problem.weights, problem.regularizer
    blocks = np.random.default_rng(seed).integers(0, n_blocks, len(F))
    hessian = summed(problem, F, y).factorize(lam)
    found = rg.leave_one_out(hessian, F, y, weights=w, blocks=blocks)
    assert found.leverages.sum() <= min(problem.p, len(F)) * (1 + tolerance(problem))
    for label in np.unique(blocks):
        block = np.flatnonzero(blocks == label)
        residuals, variances = reference.left_out(F, y, lam, block, w)
        # without the block, cond(H) may be larger: at most the largest of C + λ over λ
        rtol = 100 * problem.p * np.finfo(float).eps * (1 + (w @ F**2).sum() / lam)
        np.testing.assert_allclose(found.variances[block], variances, rtol=rtol)
        scale = np.abs(y).max() * (1 + np.sqrt((w @ F**2).sum() / lam))
        np.testing.assert_allclose(found.residuals[block], residuals, rtol=0, atol=rtol * scale)


@given(problems(), SEEDS)
def test_leaving_out_never_lowers_a_variance(problem, seed):
    F, y = fitted(problem, seed)
    hessian = summed(problem, F, y).factorize(problem.regularizer)
    found = rg.leave_one_out(hessian, F, y, weights=problem.weights)
    assert (found.variances >= hessian.variance(F) * (1 - tolerance(problem))).all()
    assert (np.abs(found.residuals) >= np.abs(y - F @ hessian.coef) * (1 - 1e-6) - 1e-6).all()
