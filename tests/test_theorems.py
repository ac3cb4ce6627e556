"""What must hold for any data at H = C + λI, whatever the numbers are."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import problems, tolerance

import rigidities as rg

settings.register_profile("rigidities", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("rigidities")


def factorized(problem, X=None, regularizer=None, weights=None):
    covariance = rg.Covariance(problem.p)
    weights = problem.weights if weights is None else weights
    covariance.update(problem.X if X is None else X, groups=problem.groups, weights=weights)
    return covariance.factorize(problem.regularizer if regularizer is None else regularizer)


@given(problems())
def test_the_textbook(problem):
    H = reference.hessian(reference.covariance(problem.X, problem.groups, weights=problem.weights), problem.regularizer)
    expected = reference.rigidity(H, problem.G)
    np.testing.assert_allclose(factorized(problem).rigidity(problem.G), expected, rtol=tolerance(problem))


@given(problems(), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_has_no_effect(problem, seed):
    order = np.random.default_rng(seed).permutation(len(problem.X))
    covariance = rg.Covariance(problem.p)
    covariance.update(problem.X[order], groups=problem.groups[order], weights=problem.weights)
    shuffled = covariance.factorize(problem.regularizer).rigidity(problem.G)
    np.testing.assert_allclose(shuffled, factorized(problem).rigidity(problem.G), rtol=tolerance(problem))


@given(problems(), st.integers(0, 40))
def test_splitting_and_merging_have_no_effect(problem, cut):
    first = problem.groups < np.unique(problem.groups)[min(cut, problem.n_targets - 1)]
    total = rg.Covariance(problem.p)
    for rows in (first, ~first):
        if rows.any():
            weights = problem.weights[np.isin(np.unique(problem.groups), problem.groups[rows])]
            part = rg.Covariance(problem.p)
            part.update(problem.X[rows], groups=problem.groups[rows], weights=weights)
            total += part
    merged = total.factorize(problem.regularizer).rigidity(problem.G)
    np.testing.assert_allclose(merged, factorized(problem).rigidity(problem.G), rtol=tolerance(problem))


@given(problems(), st.floats(1e-3, 1e3))
def test_scaling_features_and_regularizer_has_no_effect(problem, c):
    """f → c·f with λ → c²λ leaves R alone."""
    scaled = factorized(problem, X=c * problem.X, regularizer=c**2 * problem.regularizer)
    expected = factorized(problem).rigidity(problem.G)
    np.testing.assert_allclose(scaled.rigidity(c * problem.G), expected, rtol=tolerance(problem))


@given(problems(), st.integers(0, 2**32 - 1))
def test_an_orthogonal_change_of_features_has_no_effect(problem, seed):
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(problem.p, problem.p)))[0]
    rotated = factorized(problem, X=problem.X @ Q).rigidity(problem.G @ Q)
    np.testing.assert_allclose(rotated, factorized(problem).rigidity(problem.G), rtol=tolerance(problem))


@given(problems(), st.integers(0, 2**32 - 1))
def test_more_data_never_lower_a_rigidity(problem, seed):
    covariance = rg.Covariance(problem.p)
    covariance.update(problem.X, groups=problem.groups, weights=problem.weights)
    before = covariance.factorize(problem.regularizer).rigidity(problem.G)
    covariance.update(np.random.default_rng(seed).normal(size=(3, problem.p)) * np.abs(problem.X).max())
    after = covariance.factorize(problem.regularizer).rigidity(problem.G)
    H = covariance.matrix() + problem.regularizer * np.eye(problem.p)
    assert (after >= before * (1 - reference.tolerance(H))).all()


@given(problems(), st.floats(1, 1e6))
def test_a_stronger_regularizer_never_lowers_a_rigidity(problem, factor):
    before = factorized(problem).rigidity(problem.G)
    after = factorized(problem, regularizer=factor * problem.regularizer).rigidity(problem.G)
    assert (after >= before * (1 - tolerance(problem))).all()


@given(problems())
def test_weight_two_is_the_row_twice(problem):
    covariance = rg.Covariance(problem.p)
    for _ in range(2):
        covariance.update(problem.X, groups=problem.groups, weights=problem.weights)
    doubled = factorized(problem, weights=2 * problem.weights).rigidity(problem.G)
    twice = covariance.factorize(problem.regularizer).rigidity(problem.G)
    scaled = 2 * _accumulated(problem)
    np.testing.assert_allclose(doubled, twice, rtol=2 * tolerance(problem))
    np.testing.assert_allclose(
        scaled.factorize(problem.regularizer).rigidity(problem.G), twice, rtol=2 * tolerance(problem)
    )


def _accumulated(problem):
    covariance = rg.Covariance(problem.p)
    covariance.update(problem.X, groups=problem.groups, weights=problem.weights)
    return covariance


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # true of some that hypothesis draws
@given(problems(), st.data())
def test_a_component_is_never_more_rigid_than_alone(problem, data):
    """R of a component in the whole model never exceeds R in a model made of that component alone."""
    component = np.array(sorted(data.draw(st.sets(st.integers(0, problem.p - 1), min_size=1))))
    whole = factorized(problem).component_rigidity(problem.G, [component])[:, 0]
    alone = rg.Covariance(len(component))
    alone.update(problem.X[:, component], groups=problem.groups, weights=problem.weights)
    rigidity = alone.factorize(problem.regularizer).rigidity(problem.G[:, component])
    assert (whole <= rigidity * (1 + tolerance(problem))).all()


@given(problems())
def test_leverages_sum_to_the_effective_dimension(problem):
    """Σ w fᵀH⁻¹f = tr(C H⁻¹)"""
    hessian = factorized(problem)
    leverages = problem.weights * hessian.variance(problem.X, groups=problem.groups)
    atol = problem.p * tolerance(problem)
    np.testing.assert_allclose(leverages.sum(), hessian.effective_dimension, rtol=0, atol=atol)
    assert (leverages <= 1 + atol).all()


@given(problems())
def test_one_more_row_raises_the_log_determinant_by_its_variance(problem):
    """ln|H + f fᵀ| = ln|H| + ln(1 + v)"""
    covariance = _accumulated(problem)
    hessian = covariance.factorize(problem.regularizer)
    covariance.update(problem.G[:1])
    gain = covariance.factorize(problem.regularizer).log_determinant - hessian.log_determinant
    H = covariance.matrix() + problem.regularizer * np.eye(problem.p)
    np.testing.assert_allclose(gain, np.log1p(hessian.variance(problem.G[:1])[0]), rtol=0, atol=reference.tolerance(H))
