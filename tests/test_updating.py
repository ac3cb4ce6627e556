"""Rows added to a factorised Hessian, and removed from it: against the textbook, and theorems."""

import copy
import pickle

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import problems
from updates import FORMS, LAMBDA, P, assert_is, factorized, rows, textbook

import rigidities as rg
from rigidities.span_form import SpanForm

THEOREM = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("k", [1, 5, 70, 300])
@pytest.mark.parametrize("form", FORMS)
def test_adding_and_removing_is_summing_again(form, k, n_outputs):
    """A few rows in place, more than 64 in a copy, more than 256 and p by factorising anew."""
    n = 8 if form.startswith("span") else 30
    F, w, y = rows(n + k, n_outputs=n_outputs)
    hessian = factorized(form, F[:n], w[:n], y[:n])
    hessian.update(F[n:], weights=w[n:], targets=y[n:])
    assert_is(hessian, form, F, w, y)
    hessian.downdate(F[n:], weights=w[n:], targets=y[n:])
    assert_is(hessian, form, F[:n], w[:n], y[:n], safety=1e3)
    assert isinstance(hessian._core, SpanForm) == form.startswith("span")


@pytest.mark.parametrize("accumulation", ["sums", "qr"])
@pytest.mark.parametrize("p", [1, 7, 64, 65, 191, 192, 193, 400])
def test_every_edge_of_a_block(p, accumulation):
    F, _, y = rows(2 * p + 40, p, seed=p)
    hessian = factorized(accumulation, F[:-40], None, y[:-40])
    for k in (1, 8, 9, 22):
        hessian.update(F[-40:][:k], targets=y[-40:][:k])
        hessian.update(F[-k:], targets=y[-k:])
        hessian.downdate(F[-40:][:k], targets=y[-40:][:k])
        hessian.downdate(F[-k:], targets=y[-k:])
    expected = factorized(accumulation, F[:-40], None, y[:-40])
    tolerance = reference.tolerance(textbook("", F[:-40], np.ones(2 * p)), 30)
    np.testing.assert_allclose(hessian.variance(F), expected.variance(F), rtol=tolerance)
    np.testing.assert_allclose(hessian.coef, expected.coef, atol=tolerance * np.abs(expected.coef).max())


@pytest.mark.parametrize("change", ["update", "downdate"])
@pytest.mark.parametrize("k", [3, 60, 200, 900])
def test_the_bits_do_not_depend_on_threads(k, change):
    F, w, y = rows(1700, 777, seed=2)
    start = factorized("sums", F, w, y)
    states = []
    before = rg.get_num_threads()
    try:
        for n_threads in (1, 2, 3, 8):
            rg.set_num_threads(n_threads)
            hessian = copy.copy(start)
            getattr(hessian, change)(F[-k:], weights=w[-k:], targets=y[-k:])
            states.append(pickle.dumps(hessian))
    finally:
        rg.set_num_threads(before)
    assert len(set(states)) == 1


def test_groups_reduce_as_in_an_update_of_sums():
    F, _, _ = rows(30)
    groups = np.repeat(np.arange(10), 3)
    for reduction in ("mean", "sum"):
        covariance = rg.Covariance(P)
        covariance.update(F[:15], groups=groups[:15], reduction=reduction)
        hessian = covariance.factorize(LAMBDA)
        hessian.update(F[15:], groups=groups[15:], reduction=reduction)
        covariance.update(F[15:], groups=groups[15:], reduction=reduction)
        np.testing.assert_allclose(hessian.variance(F), covariance.factorize(LAMBDA).variance(F), rtol=1e-11)
        spanned = rg.Hessian.from_rows(rg.reduce_rows(F[:15], groups[:15], reduction)[1], LAMBDA)
        spanned.update(rg.Rows(F[15:], groups[15:]), reduction=reduction)
        np.testing.assert_allclose(spanned.variance(F), hessian.variance(F), rtol=1e-11)


# Theorems -----------------------------------------------------------------------------------------


def of(problem):
    """A factor of the first half of the rows; the other half with weights of their own."""
    n = len(problem.X) // 2
    covariance = rg.Covariance(problem.p)
    if n:
        covariance.update(problem.X[:n])
    weights = np.random.default_rng(n).uniform(0, 3, len(problem.X) - n)
    return covariance.factorize(problem.regularizer), problem.X[n:], weights, problem.X[:n]


def tolerance_of(problem, weights, safety=30.0):
    n = len(problem.X) - len(weights)
    C = reference.covariance(problem.X, weights=np.r_[np.ones(n), weights])
    return reference.tolerance(reference.hessian(C, problem.regularizer), safety)


def tolerance_without(problem, weights, safety=30.0):
    """Where rows are removed: p·eps·‖H‖‖H'⁻¹‖, with H before and H' after."""
    n = len(problem.X) - len(weights)
    first, rest = problem.X[:n], problem.X[n:] * np.sqrt(weights)[:, None]
    less = reference.hessian(first.T @ first, problem.regularizer)
    condition = np.linalg.norm(less + rest.T @ rest, 2) * np.linalg.norm(np.linalg.inv(less), 2)
    return safety * problem.p * np.finfo(np.float64).eps * max(condition, 10.0)


@THEOREM
@given(problems())
def test_an_update_is_a_new_factor(problem):
    hessian, X, w, first = of(problem)
    hessian.update(X, weights=w)
    H = reference.hessian(
        reference.covariance(np.r_[first, X], weights=np.r_[np.ones(len(first)), w]), problem.regularizer
    )
    np.testing.assert_allclose(
        hessian.variance(problem.G), reference.variance(H, problem.G), rtol=tolerance_of(problem, w)
    )


@THEOREM
@given(problems())
def test_removing_undoes_adding(problem):
    hessian, X, w, _ = of(problem)
    before = hessian.variance(problem.G)
    hessian.update(X, weights=w)
    hessian.downdate(X, weights=w)
    np.testing.assert_allclose(hessian.variance(problem.G), before, rtol=tolerance_without(problem, w))


@THEOREM
@given(problems(), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_has_no_effect(problem, seed):
    hessian, X, w, _ = of(problem)
    other, order = copy.copy(hessian), np.random.default_rng(seed).permutation(len(X))
    hessian.update(X, weights=w)
    other.update(X[order], weights=w[order])
    np.testing.assert_allclose(other.variance(problem.G), hessian.variance(problem.G), rtol=tolerance_of(problem, w))


@THEOREM
@given(problems(), st.integers(0, 40))
def test_all_at_once_is_one_after_the_other(problem, cut):
    hessian, X, w, _ = of(problem)
    other, cut = copy.copy(hessian), min(cut, len(X) - 1)
    hessian.update(X, weights=w)
    for part in (slice(0, cut), slice(cut, None)):
        if len(X[part]):
            other.update(X[part], weights=w[part])
    np.testing.assert_allclose(other.variance(problem.G), hessian.variance(problem.G), rtol=tolerance_of(problem, w))


@THEOREM
@given(problems())
def test_a_weight_is_the_square_of_a_factor(problem):
    hessian, X, w, _ = of(problem)
    other = copy.copy(hessian)
    hessian.update(X, weights=w)
    other.update(np.sqrt(w)[:, None] * X)
    np.testing.assert_allclose(other.variance(problem.G), hessian.variance(problem.G), rtol=tolerance_of(problem, w))


@THEOREM
@given(problems())
def test_adding_raises_no_variance_and_removing_lowers_none(problem):
    hessian, X, w, _ = of(problem)
    least = hessian.variance(problem.G)
    hessian.update(X, weights=w)
    more = hessian.variance(problem.G)
    assert (more <= least * (1 + tolerance_of(problem, w))).all()
    hessian.downdate(X[:1], weights=w[:1])
    assert (hessian.variance(problem.G) >= more * (1 - tolerance_without(problem, w))).all()


@THEOREM
@given(problems())
def test_the_determinant_lemma(problem):
    """ln|H + FᵀWF| = ln|H| + ln|1 + W^½FH⁻¹FᵀW^½|"""
    hessian, X, w, _ = of(problem)
    root = np.sqrt(w)
    small = np.eye(len(X)) + root[:, None] * hessian.prediction_covariance(X) * root
    expected = hessian.log_determinant + np.linalg.slogdet(small)[1]
    hessian.update(X, weights=w)
    tolerance = tolerance_without(problem, w)  # of H⁻¹ before
    np.testing.assert_allclose(hessian.log_determinant, expected, rtol=tolerance, atol=tolerance)


@THEOREM
@given(problems())
def test_a_single_row_follows_sherman_and_morrison(problem):
    """v' = v − w c²/(1 + w v_f) with c the covariance of g and f."""
    hessian, X, w, _ = of(problem)
    f, weight = X[:1], w[:1]
    c = hessian.prediction_covariance(problem.G, f)[:, 0]
    before = hessian.variance(problem.G)
    expected = before - weight * c**2 / (1 + weight * hessian.variance(f))
    hessian.update(f, weights=weight)
    # the difference above loses digits that the factor keeps
    tolerance = tolerance_without(problem, w)
    np.testing.assert_allclose(hessian.variance(problem.G), expected, atol=tolerance * before.max())


@THEOREM
@given(problems())
def test_a_row_that_is_left_out_is_predicted_as_leave_one_out_says(problem):
    *_, w, first = of(problem)
    if len(first) == 0 or not first[0].any():
        return
    y = np.random.default_rng(1).normal(size=len(first))
    covariance = rg.Covariance(problem.p)
    covariance.update(first, targets=y)
    fitted = covariance.factorize(problem.regularizer)
    loo = rg.leave_one_out(fitted, first, y)
    if loo.leverages[0] > 1 - 1e-6:
        return  # nothing but λ is left of a direction: few digits are
    fitted.downdate(first[:1], targets=y[:1])
    tolerance = 1e3 * tolerance_of(problem, w) / (1 - loo.leverages[0])
    residual = y[0] - first[0] @ fitted.coef
    np.testing.assert_allclose(residual, loo.residuals[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(fitted.variance(first[:1])[0], loo.variances[0], rtol=tolerance)


@THEOREM
@given(problems())
def test_the_forms_agree(problem):
    _, X, w, first = of(problem)
    if len(first) == 0:
        return
    answers = []
    for form in ("sums", "qr", "span"):
        hessian = factorized(form, first, regularizer=problem.regularizer)
        hessian.update(X, weights=w)
        hessian.downdate(X[:1], weights=w[:1])
        answers.append(hessian.variance(problem.G))
    tolerance = tolerance_without(problem, w)
    np.testing.assert_allclose(answers[1], answers[0], rtol=tolerance)
    np.testing.assert_allclose(answers[2], answers[0], rtol=tolerance)


@pytest.mark.parametrize("form", ["sums", "qr", "span"])
def test_a_thousand_changes_do_not_drift(form):
    F, w, y = rows(1000, 40, seed=4)
    w = w + 0.1
    start = 35
    hessian = factorized(form, F[:start], w[:start], y[:start])
    for i in range(start, 1000):
        hessian.update(F[i : i + 1], weights=w[i : i + 1], targets=y[i : i + 1])
    assert_is(hessian, form, F, w, y)
    for i in range(start, 1000):
        hessian.downdate(F[i : i + 1], weights=w[i : i + 1], targets=y[i : i + 1])
    assert_is(hessian, form, F[:start], w[:start], y[:start], safety=1e4)


@pytest.mark.parametrize("regularizer", [1e-6, 1e-9])
def test_a_thousand_updates_lose_no_more_digits_than_sums(regularizer):
    """Rows of condition 1e9, against the triangular factor of all of them."""
    rng, p = np.random.default_rng(0), 40
    U, V = (np.linalg.qr(rng.normal(size=(p, p)))[0] for _ in range(2))
    F = rng.normal(size=(1060, p)) @ (U * np.logspace(0, -9, p) @ V)
    R = np.linalg.qr(np.r_[F, np.sqrt(regularizer) * np.eye(p)], mode="r")
    expected = np.square(np.linalg.solve(R.T, F.T)).sum(axis=0)

    def error(hessian):
        return np.abs(hessian.variance(F) / expected - 1).max()

    for accumulation, least in (("sums", 0.0), ("qr", 1e-10)):
        hessian = factorized(accumulation, F[:60], regularizer=regularizer)
        for row in F[60:]:
            hessian.update(row[None])
        assert error(hessian) < max(3 * error(factorized(accumulation, F, regularizer=regularizer)), least)


def test_reflections_keep_what_sums_lose():
    """λ at 1e-22 of ‖C‖: products f fᵀ would round it away, R does not."""
    rng = np.random.default_rng(6)
    F = rng.normal(size=(30, 8)) @ np.diag(np.logspace(0, -10, 8))
    hessian = factorized("qr", F[:10], regularizer=1e-22)
    hessian.update(F[10:])
    singular = np.linalg.svd(np.r_[F, 1e-11 * np.eye(8)], compute_uv=False)
    np.testing.assert_allclose(hessian.log_determinant, 2 * np.log(singular).sum(), rtol=1e-6)
