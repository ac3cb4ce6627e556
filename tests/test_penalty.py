"""λ and Λ: given, guaranteed, and refused."""

import pickle

import numpy as np
import pytest
import reference
from problems import P, factorized, oracle, problem, rank_deficient, summed

import rigidities as rg
from rigidities.penalty import Penalty


@pytest.mark.parametrize("penalty", ["none", "diagonal", "unpenalised", "matrix"])
def test_penalties(penalty):
    X, groups = problem()
    rng = np.random.default_rng(2)
    A = rng.normal(size=(P, P))
    unpenalised = np.r_[0.0, np.ones(P - 1)]
    Lambda = {"none": None, "diagonal": rng.uniform(1, 9, P), "unpenalised": unpenalised, "matrix": A @ A.T}[penalty]
    hessian, H = factorized(X, groups, 0.3, Lambda), oracle(X, groups, 0.3, Lambda)
    rtol = reference.tolerance(H)
    np.testing.assert_allclose(hessian.variance(X), reference.variance(H, X), rtol=rtol)
    assert hessian.log_determinant == pytest.approx(np.linalg.slogdet(H)[1], rel=rtol)
    C = reference.covariance(X, groups)
    assert hessian.effective_dimension == pytest.approx(np.trace(np.linalg.solve(H, C)), abs=rtol * P)
    assert (hessian.regularizer, hessian.regularizer_reason) == (0.3, "given")


@pytest.mark.parametrize(("kind", "X"), list(rank_deficient()))
def test_auto_is_the_guaranteed_regularizer(kind, X):
    p = X.shape[1]
    bound = (p + 1) * np.finfo(np.float64).eps / 2 * np.trace(reference.covariance(X))
    hessian = factorized(X, regularizer="auto")
    assert bound <= hessian.regularizer <= 4 * bound
    assert hessian.regularizer_reason.startswith("guaranteed: the smallest at which rounding cannot make")
    assert np.isfinite(hessian.log_determinant)
    assert (hessian.variance(X) > 0).all()
    penalty = np.linspace(2, 3, p)
    weighted = factorized(X, regularizer="auto", penalty=penalty)
    assert weighted.regularizer == pytest.approx(hessian.regularizer / 2)
    matrix = factorized(X, regularizer="auto", penalty=np.diag(penalty))
    assert matrix.regularizer == pytest.approx(hessian.regularizer / 2, rel=0.02)  # λ_min(Λ) by powers of its inverse


def test_auto_with_a_singular_penalty_reports_its_jitter():
    X = np.random.default_rng(0).normal(size=(4, 9))
    for penalty in (
        np.r_[0.0, 5 * np.ones(8)],
        np.diag(np.r_[0.0, 5 * np.ones(8)]),
        5 * np.outer(np.ones(9), np.ones(9)) / 9,
    ):
        hessian = factorized(X, regularizer="auto", penalty=penalty)
        assert "penalty is singular" in hessian.regularizer_reason
        assert "jitter 5 on the diagonal" in hessian.regularizer_reason
        shift = 5 * hessian.regularizer
        H = oracle(X, regularizer=hessian.regularizer, penalty=penalty) + shift * np.eye(9)
        assert hessian.log_determinant == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-3)
        assert 0 <= hessian.effective_dimension <= 9


def test_a_kernel_in_single_precision_is_semi_definite_to_its_rounding():
    """Eigenvalues of -1e-7 of the largest are rounding for float32, and an error for float64."""
    x = np.linspace(0, 1, 60)
    kernel = np.exp(-((x[:, None] - x) ** 2)).astype(np.float32)
    assert np.linalg.eigvalsh(kernel.astype(np.float64)).min() < -1e-9
    covariance = rg.Covariance(60)
    covariance.update(kernel[::7])
    hessian = covariance.factorize(penalty=kernel)
    assert "penalty is singular" in hessian.regularizer_reason
    with pytest.raises(ValueError, match="penalty is not positive semi-definite"):
        covariance.factorize(penalty=kernel.astype(np.float64) - 1e-6 * np.eye(60))


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_byte_order_says_nothing_of_precision(dtype):
    x = np.linspace(0, 1, 40)
    kernel = np.exp(-((x[:, None] - x) ** 2)).astype(dtype)
    swapped = kernel.astype(kernel.dtype.newbyteorder())
    checked = [Penalty.of(values, 40) for values in (kernel, swapped)]
    assert checked[0].eps == checked[1].eps == np.finfo(dtype).eps
    np.testing.assert_array_equal(checked[0].matrix, checked[1].matrix)


def ways(penalty):
    """Every way to the check of a penalty: a given λ, "auto" with and without targets, a path."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 3))
    bare, with_targets = summed(X), summed(X, X.sum(axis=1) + rng.normal(size=30))
    yield lambda: bare.factorize(1.0, penalty=penalty)
    yield lambda: bare.factorize(penalty=penalty)
    yield lambda: with_targets.factorize(penalty=penalty)
    yield lambda: rg.regularizer_path(with_targets, penalty=penalty)


@pytest.mark.parametrize(
    "penalty", [s * shape for s in (1e300, 1e-300, 1e-320) for shape in (np.ones(3), np.eye(3))]
    + [np.full((3, 3), 1.7e308), np.r_[1.0, 1e-200, 1.0]],
)  # fmt: skip
def test_entries_without_a_square_are_refused_everywhere(penalty):
    for call in ways(penalty):
        with pytest.raises(ValueError, match=r"penalty has entries from .*: expected zeros, or entries from 1e-150 to"):
            call()


@pytest.mark.parametrize("penalty", [s * shape for s in (1e140, 1e-140) for shape in (np.ones(3), np.eye(3))])
def test_large_and_small_penalties_only_scale_the_regularizer(penalty):
    given, *others = ways(penalty)
    assert np.isfinite(given().log_determinant)
    for call, plain in zip(others, list(ways(np.ones(3)))[1:], strict=True):
        found, expected = call(), plain()
        if isinstance(found, rg.Hessian):
            scale = np.max(penalty)
            assert found.regularizer * scale == pytest.approx(expected.regularizer, rel=0.02)


@pytest.mark.parametrize("penalty", [np.zeros(3), np.zeros((3, 3))])
def test_a_zero_penalty_leaves_nothing_to_choose(penalty):
    given, *others = ways(penalty)
    assert given().regularizer == 1.0  # H = C
    for call in others:
        with pytest.raises(ValueError, match="penalty is zero: no regularizer makes a difference"):
            call()


def test_what_is_too_small_or_too_large_to_sum_is_said():
    covariance = rg.Covariance(3)
    covariance.update(1e-155 * np.eye(3))
    with pytest.raises(ValueError, match=r"nothing was summed \(the trace of C is 3e-310\)"):
        covariance.factorize()
    with pytest.raises(ValueError, match="the trace of C would be inf, more than 1e300: rescale"):
        covariance.update(1.2e154 * np.ones((10, 3)) / np.sqrt(3))
    with pytest.raises(ValueError, match="regularizer is too large for float64"):
        covariance.factorize(10**400)


def test_nothing_summed():
    for covariance in (rg.Covariance(3), 0 * rg.Covariance(3)):
        with pytest.raises(ValueError, match="nothing was summed"):
            covariance.factorize()
    hessian = rg.Covariance(3).factorize(0.5)  # the prior
    np.testing.assert_allclose(hessian.variance(np.eye(3)), 2)
    assert hessian.effective_dimension == pytest.approx(0, abs=1e-15)


def test_no_digit_left_is_said():
    X = np.diag([1.0, 1e-9])
    with pytest.warns(rg.IllConditionedWarning, match="the pivots of H span a factor of 1e\\+18"):
        factorized(X, regularizer=0.0)


FACTORIZE = [
    (ValueError, dict(regularizer=-1.0), "regularizer is -1: it must be finite and not negative"),
    (ValueError, dict(regularizer=np.nan), "regularizer is NaN"),
    (ValueError, dict(regularizer=np.inf), "regularizer is inf"),
    (ValueError, dict(regularizer="evidence"), "regularizer is 'evidence': expected a number or \"auto\""),
    (TypeError, dict(regularizer=None), "regularizer is None: expected a number"),
    (TypeError, dict(regularizer=True), "regularizer is True: expected a number"),
    (
        ValueError,
        dict(penalty=np.ones(3)),
        r"penalty has shape \(3,\) but there are 24 features: pass \(24,\) or \(24, 24\)",
    ),
    (ValueError, dict(penalty=np.ones((24, 2))), r"penalty has shape \(24, 2\) but there are 24 features"),
    (ValueError, dict(penalty=1.0), r"penalty has shape \(\) but there are 24 features"),
    (
        ValueError,
        dict(penalty=np.r_[np.ones(23), -1]),
        r"penalty\[23, 23\] is -1: a penalty is finite and positive semi-definite",
    ),
    (ValueError, dict(penalty=np.r_[np.ones(23), np.nan]), r"penalty\[23, 23\] is nan"),
    (ValueError, dict(penalty=np.full((24, 24), np.inf)), r"penalty\[0, 0\] is inf"),
    (ValueError, dict(penalty=-np.eye(24)), r"penalty\[0, 0\] is -1"),
    (
        ValueError,
        dict(penalty=np.eye(24) + np.eye(24, k=1)),
        r"penalty is not symmetric: \[1, 0\] is 0 but \[0, 1\] is 1",
    ),
    (
        ValueError,
        dict(penalty=2 * np.ones((24, 24)) - np.eye(24)),
        r"penalty is not positive semi-definite: its smallest eigenvalue is -1, its largest 47",
    ),
    (ValueError, dict(penalty=np.zeros(24)), "penalty is zero: "),
    (TypeError, dict(penalty=np.full(24, "a")), "penalty has dtype <U1"),
]


@pytest.mark.parametrize(("error", "arguments", "message"), FACTORIZE)
def test_what_cannot_be_factorised_is_said(error, arguments, message):
    covariance = rg.Covariance(P)
    covariance.update(problem()[0])
    before = pickle.dumps(covariance)
    with pytest.raises(error, match=message):
        covariance.factorize(**{"regularizer": "auto", **arguments})
    assert pickle.dumps(covariance) == before
