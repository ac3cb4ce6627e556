"""One λ per component: the evidence against its definition, the gradient, and the maximum."""

from dataclasses import replace
from decimal import Decimal, localcontext
from operator import mul

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from problems import data, smooth

import rigidities as rg
from rigidities.regularizer import per_component
from rigidities.regularizer.surface import Surface

COMPONENTS = [np.arange(0, 12, 2), np.array([1, 5]), np.array([3, 7, 9, 11])]


def summed(F, y, w=None, accumulation="sums"):
    covariance = rg.Covariance(F.shape[1], accumulation=accumulation)
    covariance.update(F, targets=y, weights=w)
    return covariance


def surface(covariance, components=COMPONENTS):
    return Surface(covariance._core, covariance.moments(), components)


def scaled(n=300, sizes=(10, 10), scales=(10.0, 0.1), seed=0):
    """Components whose parameters have these standard deviations, in units of the noise."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, sum(sizes)))
    theta = rng.normal(size=sum(sizes)) * np.repeat(scales, sizes)
    return F, F @ theta + rng.normal(size=n)


# The surface --------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", ["sums", "qr"])
@pytest.mark.parametrize("k", [None, 2])
def test_evidence_is_the_density_of_the_targets(accumulation, k):
    F, y, w = data(50, 12, k)
    at = surface(summed(F, y, w, accumulation))
    for logs in (np.log([0.1, 1.0, 3.0]), np.log([1e-3, 10.0, 1e-2])):
        found = at.at(logs)
        assert found.log_evidence == pytest.approx(reference.log_evidence(F, y, 1.0, w, at.penalty(logs)), rel=1e-9)
        H = reference.hessian(reference.covariance(F, weights=w), 1.0, at.penalty(logs))
        inverse = np.diagonal(np.linalg.inv(H))
        gamma = [len(c) - np.exp(log) * inverse[c].sum() for c, log in zip(COMPONENTS, logs, strict=True)]
        np.testing.assert_allclose(found.effective_dimension, gamma, rtol=1e-9)
        theta = np.linalg.solve(H, F.T @ (w * y.T).T)
        left, squares = (w * (y - F @ theta).T ** 2).T.sum(axis=0), (w * y.T**2).T.sum(axis=0)
        assert found.explained == pytest.approx(1 - np.min(left / squares), rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_gradient_is_that_of_differences(seed, qr):
    rng = np.random.default_rng(seed)
    F, y, w = data(30, 12, 2, seed=seed)
    at = surface(summed(F, y, w, "qr" if qr else "sums"))
    logs = rng.uniform(-4, 4, 3)
    step = 1e-4
    shifts = step * np.eye(3)
    differences = [(at.at(logs + e).log_evidence - at.at(logs - e).log_evidence) / (2 * step) for e in shifts]
    np.testing.assert_allclose(at.at(logs).gradient, differences, rtol=1e-5, atol=1e-6)


def few_smooth():
    """S and |H| are both lost: 30 targets, 90 features in a spectrum that falls below rounding."""
    return *smooth(noise=0.0), [np.arange(45), np.arange(45, 90)]


def all_determined():
    """S alone is lost: the targets leave nothing but what λ does."""
    F, y, _ = data(noise=0.0)
    return F, y, [np.arange(6), np.arange(6, 12)]


def nothing_explained():
    """|H| alone is lost: features are nearly dependent, and the targets have no part along them."""
    F, _ = smooth(n=40, p=30)
    y = np.random.default_rng(1).normal(size=40)
    U = np.linalg.svd(F, full_matrices=False)[0]
    return F, y - U @ (U.T @ y), [np.arange(15), np.arange(15, 30)]


@pytest.mark.parametrize(
    ("accumulation", "problem", "least"),
    [
        ("sums", few_smooth, -24),
        ("qr", few_smooth, -48),
        ("sums", all_determined, -20),
        ("qr", all_determined, -52),
        ("sums", nothing_explained, -24),
        ("qr", nothing_explained, -52),
    ],
)
def test_rounding_is_bounded(accumulation, problem, least):
    """The error stays below the bound, and the bound below a nat as long as could be expected."""
    F, y, components = problem()
    at = surface(summed(F, y, None, accumulation), components)
    resolved = []
    for t in np.arange(0.0, -88.0, -4.0):
        found = at.at(np.array([t, t + 1]))
        if found is None:
            break
        exact = evidence_in_many_digits(F, y, at.penalty(np.array([t, t + 1])))
        assert abs(found.log_evidence - exact) < found.noise + 1e-9
        if found.is_resolved:
            resolved.append(t)
    assert -80 < resolved[-1] <= least
    np.testing.assert_array_equal(resolved, np.arange(0.0, resolved[-1] - 1, -4.0))


def evidence_in_many_digits(F, y, penalty):
    """The dual form, K = 1 + F D⁻¹Fᵀ = LLᵀ and S = yᵀK⁻¹y, in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        n = len(F)
        A, D, left = [[Decimal(x) for x in row] for row in F], [Decimal(d) for d in penalty], [Decimal(t) for t in y]
        rows = [[a / d for a, d in zip(row, D, strict=True)] for row in A]
        L = [[sum(map(mul, rows[i], A[j])) + (i == j) for j in range(i + 1)] for i in range(n)]
        for i in range(n):
            for j in range(i + 1):
                L[i][j] -= sum(map(mul, L[i][:j], L[j][:j]))
                L[i][j] = L[i][j].sqrt() if i == j else L[i][j] / L[j][j]
            left[i] = (left[i] - sum(map(mul, L[i][:i], left[:i]))) / L[i][i]
        S, determinant = sum(map(mul, left, left)), 2 * sum(L[i][i].ln() for i in range(n))
        return -0.5 * (n * (np.log(2 * np.pi / n) + float(S.ln())) + n + float(determinant))


# The maximum --------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", ["sums", "qr"])
def test_one_component_is_the_single_regularizer(accumulation):
    F, y, w = data(50, 12)
    covariance = summed(F, y, w, accumulation)
    one = covariance.largest_evidence()
    found = rg.regularizer_per_component(covariance, [slice(None)])
    assert found.regularizers[0] == pytest.approx(one.regularizer, rel=1e-2)
    assert found.log_evidence == pytest.approx(one.log_evidence, abs=1e-3)
    assert found.log_evidence_of_one == pytest.approx(one.log_evidence, abs=1e-3)


@pytest.mark.parametrize("accumulation", ["sums", "qr"])
def test_scales_of_components_are_found(accumulation):
    F, y = scaled(sizes=(15, 15), n=2000)
    covariance = summed(F, y, None, accumulation)
    found = rg.regularizer_per_component(covariance, [15, 15])
    np.testing.assert_allclose(np.log10(found.regularizers), np.log10([0.01, 100.0]), atol=0.5)
    assert found.log_evidence > found.log_evidence_of_one + 20
    np.testing.assert_array_equal(found.penalty, np.repeat(found.regularizers, 15))
    hessian = covariance.factorize(1.0, penalty=found.penalty)
    assert found.effective_dimension.sum() == pytest.approx(hessian.effective_dimension, rel=1e-9)
    s2 = (y @ y - hessian.coef @ F.T @ y) / len(y)
    fixed = found.effective_dimension * s2 / np.array([np.sum(part**2) for part in np.split(hessian.coef, 2)])
    np.testing.assert_allclose(found.regularizers, fixed, rtol=2e-3)


def test_columns_in_other_units_change_nothing():
    """f_c → a f_c and λ_c → a² λ_c is the same model."""
    F, y = scaled()
    a = np.repeat([1e-3, 1e4], 10)
    before, after = (rg.regularizer_per_component(summed(f, y), [10, 10]) for f in (F, a * F))
    np.testing.assert_allclose(after.regularizers, before.regularizers * np.array([1e-6, 1e8]), rtol=1e-2)
    assert after.log_evidence == pytest.approx(before.log_evidence, abs=1e-3)
    assert after.log_evidence_of_one < before.log_evidence_of_one


def test_a_component_that_explains_nothing_is_switched_off():
    F, y = scaled(scales=(3.0, 0.0), seed=2)
    found = rg.regularizer_per_component(summed(F, y), [10, 10])
    alone = rg.regularizer_per_component(summed(F[:, :10], y), [10])
    assert found.effective_dimension[1] < 0.01
    assert found.regularizers[0] == pytest.approx(alone.regularizers[0], rel=1e-2)
    assert found.log_evidence == pytest.approx(alone.log_evidence, abs=0.01)


def test_a_component_that_was_switched_off_gets_a_second_start():
    """From where a component is off, the evidence is flat: the climb stays, and the search does not."""
    F, y = scaled(scales=(3.0, 1.0))
    at = surface(summed(F, y), [np.arange(10), np.arange(10, 20)])
    found = per_component._Climb.of(at)
    climb = replace(found, high=found.high + 12)
    off = np.array([climb.start[0], climb.high[1]])
    stuck = climb._from(off)
    assert stuck.effective_dimension[1] < 0.01
    elsewhere = replace(climb, start=off)
    assert elsewhere.highest([]).effective_dimension[1] < 0.01
    assert climb.highest([off]).log_evidence > stuck.log_evidence + 50
    # the climb from its own start, too, ends where the component is off, and then starts again
    first = iter([stuck, stuck])
    object.__setattr__(climb, "_from", lambda logs: next(first, None) or per_component._Climb._from(climb, logs))
    assert climb.highest([off]).log_evidence > stuck.log_evidence + 50


def test_zero_columns_do_no_harm():
    F, y = scaled()
    F[:, 10:] = 0
    found = rg.regularizer_per_component(summed(F, y), [10, 10])
    assert found.regularizers[0] == pytest.approx(
        rg.regularizer_per_component(summed(F[:, :10], y), [10]).regularizers[0]
    )
    assert np.isfinite(found.penalty).all()


# Warnings and refusals ----------------------------------------------------------------------------


def test_the_edge_of_what_is_resolved():
    F, y, _ = data(noise=0.0)
    with pytest.warns(
        rg.UnresolvedEvidenceWarning, match=r"smallest regularizer at which it is resolved for component 0, 1 \("
    ) as caught:
        found = rg.regularizer_per_component(summed(F, y), COMPONENTS)
    assert caught[0].filename == __file__
    assert np.isfinite(found.log_evidence)


def test_evidence_that_rises_again_where_it_is_hidden(monkeypatch):
    """Around λ = 5e-12 it has a maximum; from e⁻²⁸ on it rises to a higher one, which sums do not resolve."""
    monkeypatch.setattr(per_component, "FACTORS_PER_DECADE", 8)  # to stop between the two
    monkeypatch.setattr("rigidities.regularizer.surface.RESOLVED", 0.7)
    F, y = smooth(noise=0.0)
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="best at regularizer 4.*e-12, but it rises again towards"):
        rg.regularizer_per_component(summed(F, y), [slice(None)])


def test_an_empty_fit():
    F, y = data(50, 12)[0], np.random.default_rng(8).normal(size=50)
    with pytest.warns(rg.EmptyFitWarning, match=r"explains .* % of the weighted squares"):
        rg.regularizer_per_component(summed(F, y), COMPONENTS)


def test_a_climb_that_does_not_arrive(monkeypatch):
    monkeypatch.setattr(per_component, "MOST_STEPS", 1)
    with pytest.warns(rg.NotConvergedWarning, match="evidence still rises by .* after 1 steps"):
        rg.regularizer_per_component(summed(*scaled(scales=(100.0, 0.01))), [10, 10])


@pytest.mark.parametrize(
    ("components", "text"),
    [
        ([slice(0, 6), slice(5, 12)], "feature 5 is in 2 of the components: .* which gives it its λ"),
        ([slice(0, 6), slice(7, 12)], "feature 6 is in none of the components"),
        ([5, 5], "component sizes sum to 10, but there are 12 features"),
    ],
)
def test_components_must_partition_the_features(components, text):
    F, y, w = data(50, 12)
    with pytest.raises(ValueError, match=text):
        rg.regularizer_per_component(summed(F, y, w), components)


def test_other_refusals():
    F, y, _ = data(50, 12)
    with pytest.raises(rg.NotFittedError, match="the evidence needs targets"):
        rg.regularizer_per_component(summed(F, None), COMPONENTS)
    with pytest.raises(TypeError, match="cov is a Hessian: expected a Covariance"):
        rg.regularizer_per_component(summed(F, y).factorize(1.0), COMPONENTS)
    with pytest.raises(ValueError, match="evidence is resolved at no regularizer"):
        rg.regularizer_per_component(summed(F, 0 * y), COMPONENTS)
