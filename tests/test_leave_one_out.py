"""Leave-one-out in closed form against refitting: rows, blocks, weights, outputs; what no fit can be without."""

import importlib

import numpy as np
import pytest
import reference
from problems import data, summed

import rigidities as rg

left_out = importlib.import_module("rigidities.leave_one_out")  # the package's attribute of this name is the function


def setting(k=None, lam=1e-3, **kwargs):
    F, y, w = data(50, 8, k, **kwargs)
    return F, y, w, summed(F, y, w).factorize(lam)


def check(found, F, y, w, lam, blocks, penalty=None):
    for label in np.unique(blocks):
        block = np.flatnonzero(blocks == label)
        residuals, variances = reference.left_out(F, y, lam, block, w, penalty)
        rtol = 10 * reference.tolerance(reference.hessian(reference.covariance(F, weights=w), lam, penalty))
        np.testing.assert_allclose(found.residuals[block], residuals, rtol=0, atol=rtol * np.abs(y).max())
        np.testing.assert_allclose(found.variances[block], variances, rtol=rtol)


@pytest.mark.parametrize("k", [None, 1, 3])
@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("at_once", [1024, 7])
def test_leave_one_out_is_refitting(k, in_blocks, at_once, monkeypatch):
    monkeypatch.setattr(left_out, "ROWS_AT_ONCE", at_once)
    F, y, w, hessian = setting(k)
    blocks = np.random.default_rng(1).integers(-3, 12, 50) if in_blocks else np.arange(50)
    found = rg.leave_one_out(hessian, F, y, weights=w, blocks=blocks if in_blocks else None)
    assert found.residuals.shape == y.shape
    check(found, F, y, w, 1e-3, blocks)
    np.testing.assert_allclose(found.leverages, w * hessian.variance(F), rtol=1e-9)
    assert found.leverages.sum() == pytest.approx(hessian.effective_dimension, rel=1e-9)
    alone = rg.leave_one_out(hessian, F, y, weights=w)
    np.testing.assert_allclose(found.leverages, alone.leverages, rtol=1e-12)


@pytest.mark.parametrize("matrix", [False, True])
def test_with_penalties(matrix):
    F, y, w, _ = setting()
    penalty = np.r_[0.0, np.linspace(1, 2, 7)]
    penalty = np.diag(penalty) if matrix else penalty
    hessian = summed(F, y, w).factorize(0.1, penalty=penalty)
    check(rg.leave_one_out(hessian, F, y, weights=w), F, y, w, 0.1, np.arange(50), penalty)


def test_weights_of_zero_and_default():
    F, y, w, _ = setting()
    w[::4] = 0.0
    blocks = np.arange(50) // 5
    hessian = summed(F, y, w).factorize(1e-3)
    check(rg.leave_one_out(hessian, F, y, weights=w, blocks=blocks), F, y, w, 1e-3, blocks)
    alone = rg.leave_one_out(hessian, F, y, weights=w)
    np.testing.assert_allclose(alone.residuals[::4], y[::4] - F[::4] @ hessian.coef, rtol=0, atol=1e-12)
    check(rg.leave_one_out(summed(F, y).factorize(1e-3), F, y), F, y, np.ones(50), 1e-3, np.arange(50))


def test_some_rows_and_rows_with_labels():
    F, y, w, hessian = setting()
    some = rg.leave_one_out(hessian, F[10:20], y[10:20], weights=w[10:20])
    np.testing.assert_allclose(some.residuals, rg.leave_one_out(hessian, F, y, weights=w).residuals[10:20], rtol=1e-10)
    atoms = rg.Rows(np.repeat(F, 2, axis=0), np.repeat(np.arange(50), 2))
    np.testing.assert_allclose(
        rg.leave_one_out(hessian, atoms, y, weights=w).residuals, rg.leave_one_out(hessian, F, y, weights=w).residuals
    )


def test_the_path_agrees():
    F, y, w, _ = setting(2)
    covariance = summed(F, y, w)
    path = rg.regularizer_path(covariance, [1e-3, 1.0])
    for lam, score in zip(path.regularizers, path.score(F, y, "loo", weights=w), strict=True):
        left = rg.leave_one_out(covariance.factorize(lam), F, y, weights=w)
        assert np.sqrt((w @ left.residuals**2 / w.sum()).mean()) == pytest.approx(score, rel=1e-10)


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 1.1, 1.9])
def test_a_row_that_alone_determines_a_direction(in_blocks, size):
    """An unpenalised feature that one row has: without it there is no fit, and that is said."""
    rng = np.random.default_rng(2)
    F = np.column_stack([rng.normal(size=(20, 3)), np.zeros(20)])
    F[7, 3] = size
    y, penalty = rng.normal(size=20), np.r_[1.0, 1.0, 1.0, 0.0]
    hessian = summed(F, y).factorize(1e-3, penalty=penalty)
    blocks = np.arange(20) // 2 if in_blocks else None
    with pytest.warns(
        rg.IllConditionedWarning, match=r"without target 6?,? ?7? ?.*undetermined to rounding: res"
    ) as caught:
        found = rg.leave_one_out(hessian, F, y, blocks=blocks)
    assert caught[0].filename == __file__
    lost = [6, 7] if in_blocks else [7]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.residuals)), lost)
    np.testing.assert_array_equal(np.flatnonzero(np.isinf(found.variances)), lost)
    assert found.leverages[7] == pytest.approx(1, abs=1e-12)
    path = rg.regularizer_path(summed(F, y), [1e-3, 1.0], penalty=penalty)
    assert np.isnan(path.score(F, y, "loo", blocks=blocks)).all()
    kept = np.setdiff1d(np.arange(20), lost)
    assert np.isfinite(path.score(F[kept], y[kept], "loo")).all()


def test_many_such_rows_are_counted():
    F, y = np.eye(9), np.ones(9)
    hessian = summed(F, y).factorize(1e-15)
    with pytest.warns(rg.IllConditionedWarning, match=r"without target 0, 1, 2, 3, 4 and 4 more \(or its block\)"):
        rg.leave_one_out(hessian, F, y)


def test_a_small_regularizer_that_determines_what_one_row_does_is_no_reason():
    """One row a direction and λ = 1e-6: the prediction without it is the prior's, 0, and the variance 1/λ."""
    F, y = np.eye(9), np.arange(1.0, 10.0)
    found = rg.leave_one_out(summed(F, y).factorize(1e-6), F, y)
    np.testing.assert_allclose(found.residuals, y, rtol=1e-9)  # 1 − h = 1e-6 of six digits less
    np.testing.assert_allclose(found.variances, 1e6, rtol=1e-9)


WRONG = [
    (ValueError, dict(F=np.ones((50, 3))), "features have 3 columns but 8 were expected"),
    (ValueError, dict(y=np.ones(3)), r"y has shape \(3,\): expected 50 targets of 1 outputs"),
    (ValueError, dict(y=np.r_[np.ones(49), np.inf]), r"y\[49, 0\] is inf: targets must be finite"),
    (ValueError, dict(weights=np.r_[np.ones(49), np.nan]), r"weights\[49\] is nan: weights of the loss must be finite"),
    (ValueError, dict(weights=np.ones(2)), r"weights has 2 entries"),
    (
        ValueError,
        dict(blocks=np.ones(2, dtype=int)),
        r"blocks has 2 entries but there are 50 targets",
    ),
    (TypeError, dict(blocks=np.ones(50)), "blocks has dtype float64: expected integer labels"),
    (ValueError, dict(F=np.full((50, 8), np.nan)), "NaN"),
]


@pytest.mark.parametrize(("error", "arguments", "message"), WRONG)
def test_what_is_refused(error, arguments, message):
    F, y, w, hessian = setting()
    with pytest.raises(error, match=message):
        rg.leave_one_out(hessian, **{"F": F, "y": y, "weights": w, **arguments})


def test_another_feature_space_and_no_targets():
    F, y, _, _ = setting()
    covariance = rg.Covariance(8, feature_space="a")
    covariance.update(F, targets=y)
    with pytest.raises(ValueError, match="the rows are of feature space 'b', but 'a' was expected"):
        rg.leave_one_out(covariance.factorize(1.0), rg.Rows(F, feature_space="b"), y)
    with pytest.raises(rg.NotFittedError):
        rg.leave_one_out(summed(F).factorize(1.0), F, y)
