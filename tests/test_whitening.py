"""Sums of whitened rows: λ of sparse kernel models near the best, where sums of plain rows refuse to say."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import PROBLEMS, gaussian
from problems import summed

import rigidities as rg
from rigidities.span_form import SpanForm

NAMES = list(PROBLEMS)


@pytest.fixture(scope="module", params=NAMES)
def problem(request):
    return PROBLEMS[request.param]()


def fitted(problem):
    whitening = rg.Whitening(problem.penalty)
    covariance = rg.Covariance(whitening.n_features)
    covariance.update(whitening.rows(problem.train), targets=problem.y)
    return whitening, covariance


def test_whitened_rows_land_near_the_best(problem):
    whitening, covariance = fitted(problem)
    best = problem.best()
    hessian = covariance.factorize()
    assert problem.error(whitening.coef(hessian.coef)) < 1.08 * best
    path = rg.regularizer_path(covariance)
    chosen = np.flatnonzero(path.regularizers == path.best("evidence"))[0]
    assert problem.error(whitening.coef(path.coef[chosen])) < 1.08 * best


def test_plain_sums_are_near_the_best_or_refused(problem):
    """Never an answer far off."""
    best, covariance = problem.best(), summed(problem.train, problem.y)
    path = rg.regularizer_path(covariance, penalty=problem.penalty)

    def from_path():
        return path.coef[np.flatnonzero(path.regularizers == path.best("evidence"))[0]]

    for fit in (lambda: covariance.factorize(penalty=problem.penalty).coef, from_path):
        try:
            error = problem.error(fit())
        except ValueError as refused:
            error, said = 0.0, str(refused)
        assert error < 1.08 * best
        assert error > 0 or (re.search("so near to singular|less jitter", said) and "Whitening(penalty)" in said)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (
            "wide, little noise",
            "the evidence is resolved down to regularizer .* only, and the best lies there or below",
        ),
        ("near duplicates", r"best at regularizer .*, but the penalty is singular to rounding, .* less jitter than 3"),
    ],
)
def test_refusals(name, fault):
    problem = PROBLEMS[name]()
    with pytest.raises(ValueError, match=fault):
        summed(problem.train, problem.y).factorize(penalty=problem.penalty)


@pytest.mark.parametrize("criterion", ["evidence", "gcv"])
def test_a_path_refuses_what_the_penalty_hides(criterion):
    problem = PROBLEMS["wide, little noise"]()
    path = rg.regularizer_path(summed(problem.train, problem.y), penalty=problem.penalty)
    with pytest.raises(ValueError, match=rf"^{criterion} is resolved down to regularizer .*rigidities\.Whitening"):
        path.best(criterion)
    assert path.best("rmse", problem.test, problem.truth) > 0  # rows say what sums cannot


def test_plain_sums_answer_where_they_resolve():
    answered = 0
    for name in ("narrow", "narrow, much noise", "squares", "duplicates to rounding"):
        problem = PROBLEMS[name]()
        hessian = summed(problem.train, problem.y).factorize(penalty=problem.penalty)
        answered += hessian.regularizer_reason.startswith("evidence: the maximum")
    assert answered == 4


@pytest.mark.parametrize("name", ["wide, little noise", "three dimensions, 300 points"])
def test_rows_are_whitened_when_all_are_at_hand(name):
    problem = PROBLEMS[name]()
    hessian = rg.Hessian.from_rows(problem.train, targets=problem.y, penalty=problem.penalty)
    assert isinstance(hessian._core, SpanForm)
    assert problem.error(hessian.coef) < 1.08 * problem.best()


def matrices():
    """A positive definite matrix of 2 to 6 features, and rows."""
    return st.integers(2, 6).flatmap(
        lambda p: st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).normal(size=(3 * p, p)))
    )


@given(matrices(), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=40)
def test_the_same_model_in_other_coordinates(F, regularizer):
    """Fit, variances, evidence and effective dimension are those of C + λΛ."""
    p = F.shape[1]
    penalty = F[:p].T @ F[:p] + np.eye(p)
    y, X = F @ np.arange(1.0, p + 1), np.roll(F, 1, axis=1)
    whitening = rg.Whitening(penalty)
    np.testing.assert_allclose(whitening.matrix.T @ penalty @ whitening.matrix, np.eye(p), atol=1e-9)
    plain = summed(F, y).factorize(regularizer, penalty=penalty)
    white = summed(whitening.rows(F), y).factorize(regularizer)
    np.testing.assert_allclose(whitening.coef(white.coef), plain.coef, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(white.variance(whitening.rows(X)), plain.variance(X), rtol=1e-8)
    assert white.effective_dimension == pytest.approx(plain.effective_dimension, rel=1e-8)
    evidence = [
        rg.regularizer_path(summed(rows, y + F[:, 0] ** 2), [regularizer], penalty=matrix).log_evidence[0]
        for rows, matrix in ((F, penalty), (whitening.rows(F), None))
    ]
    assert evidence[0] == pytest.approx(evidence[1], rel=1e-8, abs=1e-6)


def test_an_intercept_stays_unpenalised():
    rng = np.random.default_rng(5)
    x, points = rng.uniform(0, 3, (80, 1)), np.linspace(0, 3, 25)[:, None]
    kernel = gaussian(0.4)
    penalty = np.zeros((26, 26))
    penalty[:25, :25] = kernel(points, points)
    F = np.column_stack([kernel(x, points), np.ones(80)])
    y = np.sin(3 * x[:, 0]) + 100 + 1e-3 * rng.normal(size=80)
    whitening = rg.Whitening(penalty)
    assert whitening.n_features < 26  # the kernel is singular to rounding
    np.testing.assert_array_equal(whitening.penalty, np.r_[np.ones(whitening.n_features - 1), 0.0])
    hessian = summed(whitening.rows(F), y).factorize(penalty=whitening.penalty)
    assert hessian.regularizer_reason.startswith("evidence: the maximum")
    assert whitening.coef(hessian.coef)[-1] == pytest.approx(100, abs=1.5)
    np.testing.assert_allclose(F @ whitening.coef(hessian.coef), y, atol=5e-3)


def test_rows_keep_their_groups_and_change_their_space():
    whitening = rg.Whitening(np.array([[2.0, 1.0], [1.0, 2.0]]))
    rows = whitening.rows(rg.Rows(np.eye(2, dtype=np.float32), np.array([0, 0]), "soap-1"))
    np.testing.assert_array_equal(rows.groups, [0, 0])
    assert rows.values.dtype == np.float64
    assert rows.feature_space.startswith("soap-1-whitened-")
    assert rows.feature_space != rg.Whitening(np.eye(2)).rows(rg.Rows(np.eye(2), None, "soap-1")).feature_space
    assert whitening.rows(rg.Rows(np.eye(2))).feature_space is None
    theta = whitening.coef(np.ones((2, 3)))
    np.testing.assert_allclose(theta, whitening.matrix @ np.ones((2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        whitening.matrix[0, 0] = 1.0


def test_a_float32_kernel_is_whitened_to_its_own_rounding():
    points = np.linspace(0, 3, 60)[:, None]
    kernel = gaussian(0.7)(points, points)
    assert rg.Whitening(kernel.astype(np.float32)).n_features < rg.Whitening(kernel).n_features < 60


@pytest.mark.parametrize(
    ("penalty", "fault"),
    [
        (np.ones(3), r"penalty has shape \(3,\): expected a square matrix"),
        (np.ones((3, 2)), r"penalty has shape \(3, 2\): expected a square matrix"),
        (np.zeros((3, 3)), "penalty is zero"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "penalty is not positive semi-definite"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "penalty is not symmetric"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "is nan"),
    ],
)
def test_penalties_that_cannot_be_whitened(penalty, fault):
    with pytest.raises(ValueError, match=fault):
        rg.Whitening(penalty)


def test_rows_of_another_width_are_refused():
    whitening = rg.Whitening(np.eye(3))
    with pytest.raises(ValueError, match="4 columns"):
        whitening.rows(np.ones((2, 4)))
    with pytest.raises(ValueError, match="coef has 4 rows: expected 3"):
        whitening.coef(np.ones(4))
