"""The prior's share of a variance, against dense algebra, for every form of H and of its penalty."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from problems import factorized, penalties, problem
from strategies import problems

import rigidities as rg
from rigidities import prior
from rigidities.interop.skmatter import PseudoInverse

LAMBDA = 1e-3
PARTS = [slice(0, 10), np.array([3, 17, 23]), np.arange(24)]


def shares(X, G, regularizer, penalty=None, weights=None):
    """λ xᵀΛx / v with x = H⁻¹g, and the data's Σ w (fᵀx)² / v."""
    C, L = reference.covariance(X, weights=weights), reference.penalty_matrix(penalty, X.shape[1])
    x = np.linalg.solve(C + regularizer * L, G.T)
    v = np.einsum("ij,ji->i", G, x)
    w = np.ones(len(X)) if weights is None else weights
    return regularizer * np.einsum("ij,ij->j", x, L @ x) / v, w @ (X @ x) ** 2 / v


def masked(G, part):
    out = np.zeros_like(G)
    out[:, part] = G[:, part]
    return out


@pytest.mark.parametrize("name", penalties(24))
def test_of_each_penalty(name):
    X, G, penalty = problem()[0], problem(n=300, seed=1)[0], penalties(24)[name]
    w = np.random.default_rng(2).uniform(0, 3, len(X))
    hessian = factorized(X, None, LAMBDA, penalty, weights=w)
    penalty = None if penalty is None else penalty.astype(np.float64)
    expected, data = shares(X, G, LAMBDA, penalty, w)
    assert np.ptp(expected) > 0.01
    rtol = reference.tolerance(reference.hessian(reference.covariance(X, weights=w), LAMBDA, penalty))
    np.testing.assert_allclose(expected + data, 1, rtol=rtol)
    found = hessian.prior_share(G)
    np.testing.assert_allclose(found, expected, rtol=rtol)
    np.testing.assert_allclose(found, 1 - data, rtol=0, atol=rtol)
    columns = [shares(X, masked(G, part), LAMBDA, penalty, w)[0] for part in PARTS]
    of_parts = hessian.prior_share(G, components=PARTS)
    np.testing.assert_allclose(of_parts, np.stack(columns, axis=1), rtol=rtol)
    np.testing.assert_array_equal(of_parts[:, 2], found)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_of_groups(reduction):
    X, (G, labels) = problem()[0], problem(n=2000, seed=1)
    hessian = factorized(X, None, LAMBDA)
    F = reference.reduce_rows(G, labels, reduction)
    np.testing.assert_allclose(
        hessian.prior_share(G, groups=labels, reduction=reduction), hessian.prior_share(F), rtol=1e-9
    )
    np.testing.assert_array_equal(
        hessian.prior_share(rg.Rows(G, labels), components=PARTS, reduction=reduction),
        hessian.prior_share(G, components=PARTS, groups=labels, reduction=reduction),
    )


@pytest.mark.parametrize("name", ["none", "diagonal", "matrix"])
def test_in_the_span_of_few_rows(name):
    X, G, penalty = problem(n=15)[0], problem(n=1500, seed=1)[0], penalties(24)[name]
    hessian = rg.Hessian.from_rows(X, LAMBDA, penalty=penalty)
    assert "span" in hessian._core.snapshot()
    H = reference.hessian(reference.covariance(X), LAMBDA, penalty)
    expected = [shares(X, masked(G, part), LAMBDA, penalty)[0] for part in PARTS]
    found = hessian.prior_share(G, components=PARTS)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=reference.tolerance(H))
    np.testing.assert_array_equal(found[:, 2], hessian.prior_share(G))
    across = np.linalg.svd(X)[2][-1]  # no row has a part along it
    if penalty is None:
        np.testing.assert_allclose(hessian.prior_share([across]), 1, rtol=1e-9)


def test_with_jitter():
    """A singular penalty of a guaranteed λ: what the library adds is part of the prior."""
    X, G = problem()[0], problem(n=30, seed=1)[0]
    A = np.random.default_rng(0).normal(size=(24, 5))
    covariance = rg.Covariance(24)
    covariance.update(X)
    hessian = covariance.factorize("auto", penalty=A @ A.T)
    assert hessian.jitter > 0
    penalty = A @ A.T + hessian.jitter * np.eye(24)
    H = reference.hessian(reference.covariance(X), hessian.regularizer, penalty)
    expected = shares(X, G, hessian.regularizer, penalty)[0]
    np.testing.assert_allclose(hessian.prior_share(G), expected, rtol=reference.tolerance(H))


def test_of_a_pseudo_inverse():
    X, G = problem()[0], problem(n=30, seed=1)[0]
    H = reference.hessian(reference.covariance(X), LAMBDA)
    expected = shares(X, G, LAMBDA)[0]
    np.testing.assert_allclose(PseudoInverse(H, 0.0, LAMBDA).prior_share(G), expected, rtol=reference.tolerance(H))


def test_stored_and_copied_objects_have_the_same(tmp_path):
    X, G = problem()[0], problem(n=30, seed=1)[0]
    for penalty in penalties(24).values():
        hessian = factorized(X, None, LAMBDA, penalty)
        hessian.save(tmp_path / "h.safetensors")
        np.testing.assert_array_equal(
            rg.Hessian.load(tmp_path / "h.safetensors").prior_share(G), hessian.prior_share(G)
        )


def test_zero_rows_and_zero_regularizers_have_none():
    X = problem()[0]
    G = np.vstack([np.zeros(24), X[:1]])
    assert factorized(X, None, LAMBDA).prior_share(G)[0] == 0
    assert factorized(X, None, LAMBDA).prior_share(G, components=[slice(0, 3), slice(3, 24)])[0].tolist() == [0, 0]
    assert factorized(X, None, 0.0).prior_share(G).tolist() == [0, 0]


def test_at_the_ends_of_the_range():
    """x = H⁻¹g of 1e200 has no square."""
    covariance = rg.Covariance(2)
    covariance.update(np.array([[1e-100, 0.0]]))
    hessian = covariance.factorize(1e-200)
    np.testing.assert_allclose(hessian.prior_share(np.eye(2)), [0.5, 1.0], rtol=1e-12)


@given(problems())
def test_shares_are_between_0_and_1_and_rise_with_the_regularizer(problem):
    found = []
    for factor in (1e-3, 1.0, 1e3):
        covariance = rg.Covariance(problem.p)
        covariance.update(problem.X, groups=problem.groups, weights=problem.weights)
        found.append(covariance.factorize(factor * problem.regularizer).prior_share(problem.G))
    for share in found:
        assert ((share >= 0) & (share <= 1)).all()


@given(problems(), st.integers(8, 12))
def test_the_share_is_1_where_the_regularizer_is_all(problem, decades):
    trace = np.trace(reference.covariance(problem.X, problem.groups, weights=problem.weights))
    covariance = rg.Covariance(problem.p)
    covariance.update(problem.X, groups=problem.groups, weights=problem.weights)
    hessian = covariance.factorize(10.0**decades * max(trace, 1e-6))
    np.testing.assert_allclose(hessian.prior_share(problem.G), 1, atol=2 * 10.0**-decades)


@given(problems())
def test_the_share_is_the_slope_of_the_variance(problem):
    """d ln v / d ln λ = −share: what makes a share near 1 a number of the prior."""
    step = 1e-3
    covariance = rg.Covariance(problem.p)
    covariance.update(problem.X, groups=problem.groups, weights=problem.weights)
    regularizer = problem.regularizer * 1e3
    low, middle, high = (covariance.factorize(regularizer * np.exp(k * step)) for k in (-1, 0, 1))
    slope = np.log(high.variance(problem.G) / low.variance(problem.G)) / (2 * step)
    np.testing.assert_allclose(middle.prior_share(problem.G), -slope, atol=1e-5)


def test_directions_that_the_data_determine_have_none():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10_000, 6))
    X[:, 5] = 0
    hessian = factorized(X, None, 1e-4)
    found = hessian.prior_share(np.eye(6))
    assert (found[:5] < 1e-7).all()
    assert found[5] == 1


# ---- the warning


def alike(n=40):
    """Two components in the span of one another: what one loses the other takes, for the price of λ alone."""
    F = np.random.default_rng(0).normal(size=(n, 6))
    return np.hstack([F, F[:, ::-1] @ np.diag(np.arange(1.0, 7))])


def test_components_that_share_all_information_are_warned_of():
    X = alike()
    hessian = factorized(X, None, 1e-8)
    halves = [slice(0, 6), slice(6, 12)]
    with pytest.warns(rg.SetByPriorWarning, match="of components 0 and 1 are set by the regularizer, not by the data"):
        few = hessian.component_rigidity(X[:3], halves)
    with pytest.warns(rg.SetByPriorWarning, match="of component 1 are set by"):
        hessian.component_rigidity(X, [slice(0, 12), slice(6, 12)])
    with pytest.warns(rg.SetByPriorWarning, match=r"purified=True"):
        more = factorized(X, None, 1e-6).component_rigidity(X[:3], halves)
    assert (more / few > 100**prior.NEAR_ONE).all()  # what the warning says


def test_components_of_the_data_and_absent_ones_are_not_warned_of():
    X = problem()[0]
    hessian = factorized(X, None, 1e-6)
    hessian.component_rigidity(X, [slice(0, 10), slice(10, 24)])
    hessian.component_rigidity(np.zeros((2, 24)), [10, 14])  # no part at all


def test_half_of_the_predictions_decide():
    shares = np.array([[1.0, 0.2, 1.0], [0.995, 0.2, 1.0], [0.1, 0.995, 0.1], [0.1, 0.1, 0.1]])
    present = np.ones(shares.shape, dtype=bool)
    assert prior.near_one(shares, present).tolist() == [True, False, True]
    present[:2, 2] = False
    assert prior.near_one(shares, present).tolist() == [True, False, False]
    present[:] = False
    assert not prior.near_one(shares, present).any()


def test_a_few_targets_are_looked_at_and_spread_over_all():
    rows = rg.rows.CheckedRows(np.arange(200.0)[:, None], None, None)
    assert rows.spread(5).values[:, 0].tolist() == [0, 49, 99, 149, 199]
    grouped = rg.rows.CheckedRows(np.arange(200.0)[:, None], np.repeat(np.arange(50)[::-1] * 7, 4), None)
    assert np.unique(grouped.spread(3).groups).tolist() == [0, 24 * 7, 49 * 7]
    assert len(grouped.spread(3).values) == 12
    assert rows.spread(200) is rows


# ---- errors


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ([[0, 24]], "component 0 has feature index 24, but there are 24 features"),
        ([[-1]], "indices count from 0"),
        ([[]], "component 0 is empty"),
        ([10, 13], "component sizes sum to 23"),
        ([], "components are empty"),
    ],
)
def test_components_out_of_range_are_refused(components, message):
    with pytest.raises(ValueError, match=message):
        factorized(problem()[0]).prior_share(np.ones((2, 24)), components=components)


def test_rows_are_checked():
    hessian = factorized(problem()[0])
    with pytest.raises(ValueError, match="features have 3 columns"):
        hessian.prior_share(np.ones((2, 3)))
    X = np.ones((600, 24))
    X[500, 2] = np.nan
    with pytest.raises(ValueError, match=r"features\[500, 2\] is NaN"):
        hessian.prior_share(X)


def test_a_copy_of_the_penalty_that_does_not_fit_is_said_before(monkeypatch):
    hessian = factorized(problem()[0], None, LAMBDA, penalties(24)["matrix"])
    monkeypatch.setattr("rigidities.runtime.memory.SMALL", 0)
    monkeypatch.setattr("rigidities.runtime.memory.available", lambda: 100)
    with pytest.raises(MemoryError, match="the state of a Hessian of 24 features needs"):
        hessian.prior_share(np.ones((2, 24)))


def test_root_of_the_identity_with_jitter():
    form = factorized(problem()[0], None, LAMBDA)._core
    root = prior.PriorRoot.of(prior.Prior(form, None, 0.5))
    np.testing.assert_allclose(np.square(root.whiten(np.eye(24))).sum(axis=1), 1 / (1.5 * LAMBDA))
    np.testing.assert_allclose(root.coloured(np.eye(24)) @ root.whiten(np.eye(24)).T, np.eye(24), atol=1e-15)
