"""How much of a set the data leave open, against dense algebra over its predictions, and its theorems."""

import factors
import numpy as np
import pytest
import reference
from hypothesis import given
from problems import data, penalties, problem, summed
from strategies import problems

import rigidities as rg

LAM = 1e-2


def dense(F, X, lam, penalty=None, w=None, weights=None):
    """All of it from the prior and posterior covariances K₀ and K of the predictions, (n, n)."""
    L = reference.penalty_matrix(penalty, F.shape[1])
    X = X if weights is None else np.sqrt(weights)[:, None] * X
    H = reference.hessian(reference.covariance(F, weights=w), lam, penalty)
    K0, K, identity = X @ np.linalg.solve(lam * L, X.T), X @ np.linalg.solve(H, X.T), np.eye(len(X))
    determined = np.linalg.inv(identity + K0)
    return dict(
        remaining=np.trace(determined @ K) / np.trace(determined @ K0),
        dimension=np.trace(determined @ K0),
        effective_dimension=np.trace(np.linalg.solve(identity + K, K)),
        log_determinant=np.linalg.slogdet(identity + K)[1],
        log_determinant_alone=np.linalg.slogdet(identity + K0)[1],
    )


def sets(p=8):
    F = data(40, p)[0]
    X = data(15, p, seed=3)[0]
    X[:, 5] += 0.3
    return F, X


def check(found, expected, rtol=1e-8):
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=rtol), name


@pytest.mark.parametrize("name", ["none", "diagonal", "matrix"])
@pytest.mark.parametrize("n", [40, 5])
def test_equals_the_dense_formulas(name, n):
    F, X = sets()
    w, weights, penalty = np.linspace(1, 3, n), np.linspace(0, 2, 15), penalties(8)[name]
    hessian = summed(F[:n], None, w).factorize(LAM, penalty=penalty)
    expected = dense(F[:n], X, LAM, penalty, w, weights)
    check(rg.overlap(hessian, X, weights=weights), expected)
    assert 0.01 < expected["remaining"] < 0.5
    of_rows = rg.Hessian.from_rows(F[:n], LAM, weights=w, penalty=penalty)
    assert ("span" in of_rows._core.snapshot()) == (n < 8 or name == "matrix")
    check(rg.overlap(of_rows, X, weights=weights), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_of_labelled_rows(reduction):
    F, X = sets()
    groups = np.arange(15) // 3
    hessian = summed(F).factorize(LAM)
    reduced = reference.reduce_rows(X, groups, reduction)
    check(rg.overlap(hessian, X, groups=groups, reduction=reduction), dense(F, reduced, LAM))
    check(rg.overlap(hessian, rg.Rows(X, groups)), dense(F, reference.reduce_rows(X, groups), LAM))


def test_of_rows_in_batches():
    """1,024 rows are taken at a time, and their weights with them."""
    F, _ = sets()
    X, _, w = data(2500, 8, seed=4)
    check(rg.overlap(summed(F).factorize(LAM), X, weights=w), dense(F, X, LAM, weights=w))


def test_with_jitter():
    """A penalty singular to rounding gets jitter, which is a part of the prior."""
    F, X = sets()
    B = np.random.default_rng(0).normal(size=(8, 3))
    hessian = summed(F).factorize(penalty=B @ B.T)
    assert hessian.jitter > 0
    found = rg.overlap(hessian, X)
    penalty = B @ B.T + hessian.jitter * np.eye(8)
    check(found, dense(F, X, hessian.regularizer, penalty), rtol=1e-2)  # the dense formulas lose digits at κ of 1e12


@given(problems())
def test_theorems(problem):
    """Between 0 and 1; less with more data; information is symmetric."""
    F = reference.reduce_rows(problem.X, problem.groups)
    covariance = summed(F, None, problem.weights)
    lam = problem.regularizer
    G = 10 * np.sqrt(lam) * problem.G / np.abs(problem.G).max()  # the largest κ is above 100
    nothing = rg.Covariance(problem.p).factorize(lam)
    alone = rg.overlap(nothing, G)
    assert alone.remaining == pytest.approx(1)
    assert alone.effective_dimension == pytest.approx(alone.dimension)
    assert alone.log_determinant == pytest.approx(alone.log_determinant_alone)
    some = rg.overlap(covariance.factorize(lam), G)
    more = rg.overlap((covariance + summed(G)).factorize(lam), G)
    assert 0 <= more.remaining <= some.remaining + 1e-9 <= 1 + 2e-9
    assert 0 <= more.effective_dimension <= some.effective_dimension * (1 + 1e-9)
    assert some.effective_dimension <= alone.effective_dimension * (1 + 1e-9)
    C, D = reference.covariance(F, weights=problem.weights), reference.covariance(G)
    of_data = np.linalg.slogdet(np.eye(problem.p) + C / lam)[1]
    given_set = np.linalg.slogdet(np.eye(problem.p) + np.linalg.solve(lam * np.eye(problem.p) + D, C))[1]
    shared = alone.log_determinant - some.log_determinant
    assert shared == pytest.approx(of_data - given_set, rel=1e-6, abs=1e-6)


def test_a_set_knows_itself():
    _, X = sets()
    found = rg.overlap(summed(X).factorize(1e-8), X)
    assert found.remaining < 1e-3
    assert found.effective_dimension == pytest.approx(found.dimension / 2, rel=1e-3)


def test_an_orthogonal_change_of_features_changes_nothing():
    F, X = sets()
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    before, after = (rg.overlap(summed(F @ A).factorize(LAM), X @ A) for A in (np.eye(8), Q))
    check(after, vars(before))


# Pairs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
def test_pairs_are_single_overlaps(named):
    F, X = sets()
    third, penalty = rg.Rows(np.repeat(F[:4], 2, axis=0), np.repeat(np.arange(4), 2)), np.linspace(1, 2, 8)
    names = ("a", "b", "c") if named else (0, 1, 2)
    given_sets = dict(zip(names, (F, X, third), strict=True)) if named else [F, X, third]
    found = rg.pairwise_overlap(given_sets, LAM, penalty=penalty)
    assert found.names == names
    for i, A in enumerate((F, X, F[:4])):
        for j, B in enumerate((F, X, F[:4])):
            expected = dense(A, B, LAM, penalty)
            assert found.remaining[i, j] == pytest.approx(expected["remaining"], rel=1e-8)
            assert found.log_determinant[i, j] == pytest.approx(expected["log_determinant"], rel=1e-8)
            assert found.dimension[j] == pytest.approx(expected["dimension"], rel=1e-8)


# Refusals -----------------------------------------------------------------------------------------


def test_a_set_that_determines_nothing():
    F, X = sets()
    with pytest.warns(rg.UndeterminedWarning, match=r"X alone would determine 0\.\d+ directions at this") as caught:
        rg.overlap(summed(F).factorize(1e4), X)
    assert caught[0].filename == __file__
    with pytest.warns(rg.UndeterminedWarning, match="set 'b' alone would determine 0 directions"):
        found = rg.pairwise_overlap({"a": F, "b": np.zeros((2, 8))}, LAM)
    assert found.remaining[0, 1] == 1


@pytest.mark.parametrize(
    ("regularizer", "penalty", "text"),
    [
        (0.0, None, "the regularizer is 0: there is no prior"),
        (LAM, [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0], "feature 2 is not penalised: its prior variance is infinite"),
        (LAM, np.diag(np.arange(8.0)) + np.eye(8, k=3) * 0, "the penalty leaves a direction unpenalised"),
    ],
)
def test_priors_without_variances(regularizer, penalty, text):
    F, X = sets()
    with pytest.raises(ValueError, match=text):
        rg.overlap(summed(F).factorize(regularizer, penalty=penalty), X)


def test_other_refusals():
    F, X = sets()
    hessian = summed(F).factorize(LAM)
    with pytest.raises(TypeError, match="hessian is a Covariance: expected a Hessian"):
        rg.overlap(rg.Covariance(8), X)
    with pytest.raises(TypeError, match="hessian is a PseudoInverse: expected a Hessian"):
        rg.overlap(factors.made("eigenvectors").hessian, problem()[0])
    with pytest.raises(ValueError, match="features have 7 columns but 8 were expected"):
        rg.overlap(hessian, X[:, 1:])
    with pytest.raises(ValueError, match="weights has 3 entries"):
        rg.overlap(hessian, X, weights=np.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        rg.overlap(hessian, np.full((2, 8), np.nan))
    with pytest.raises(TypeError, match="regularizer is 'auto': expected a positive number"):
        rg.pairwise_overlap([F, X], "auto")
    with pytest.raises(ValueError, match="there are no sets"):
        rg.pairwise_overlap([], LAM)
    with pytest.raises(TypeError, match="sets is a float: expected a mapping"):
        rg.pairwise_overlap(1.0, LAM)
    with pytest.raises(ValueError, match="features have 7 columns but 8"):
        rg.pairwise_overlap([F, X[:, 1:]], LAM)
    with pytest.raises(ValueError, match="the rows are of feature space 'b', but 'a' was expected"):
        rg.pairwise_overlap([rg.Rows(F, None, "a"), rg.Rows(X, None, "b")], LAM)


def test_pairs_keep_their_digits_far_below_the_largest_eigenvalue():
    """A few rows at a small λ: of sums, rounding would leave the weak directions 2 digits or none."""
    rng = np.random.default_rng(3)
    A, b, lam = 1e4 * rng.normal(size=(5, 30)), rng.normal(size=(1, 30)), 1e-6
    found = rg.pairwise_overlap([A, b], lam).remaining
    # λ q·H⁻¹q of the one direction q of b, in the form of five rows, which is well conditioned
    along = A @ (b[0] / np.linalg.norm(b))
    expected = 1 - along @ np.linalg.solve(A @ A.T + lam * np.eye(5), along)
    assert 0.5 < expected < 0.99
    assert found[0, 1] == pytest.approx(expected, rel=1e-9)
