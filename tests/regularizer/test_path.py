"""Every λ of a path against its own Cholesky, scores against direct minimisation, every message once."""

import pickle

import numpy as np
import pytest
import reference
from problems import data, penalties, rank_deficient, smooth, summed
from scipy.optimize import minimize_scalar
from scipy.stats import norm

import rigidities as rg

GRID = np.logspace(-6, 3, 10)


@pytest.mark.parametrize("kind", penalties(12))
@pytest.mark.parametrize("n", [40, 14])
def test_every_regularizer_equals_its_own_cholesky(kind, n):
    F, y, w = data(n, k=2)
    G = np.random.default_rng(2).normal(size=(30, 12))
    penalty = penalties(12)[kind]
    if kind == "single":
        penalty = 0.5 * (penalty + penalty.T)
    covariance = summed(F, y, w)
    path = rg.regularizer_path(covariance, GRID, penalty=penalty)
    assert path.jitter == 0
    np.testing.assert_array_equal(path.regularizers, GRID)
    assert path.coef.shape == (10, 12, 2)
    assert path.variance(G).shape == (10, 30)
    for i, lam in enumerate(GRID):
        hessian = covariance.factorize(lam, penalty=penalty)
        H = reference.hessian(covariance.matrix(), lam, None if penalty is None else penalty.astype(float))
        rtol = reference.tolerance(H)  # both ways are backward stable: each is off by p·eps·cond(H) at worst
        np.testing.assert_allclose(path.variance(G)[i], hessian.variance(G), rtol=rtol)
        np.testing.assert_allclose(path.coef[i], hessian.coef, rtol=0, atol=rtol * np.abs(hessian.coef).max())
        assert path.log_determinant[i] == pytest.approx(hessian.log_determinant, abs=12 * rtol)
        assert path.effective_dimension[i] == pytest.approx(hessian.effective_dimension, abs=12 * rtol)


@pytest.mark.parametrize(("kind", "X"), list(rank_deficient()))
def test_rank_deficient_data(kind, X):
    """Where C is singular, from the guaranteed λ on all is as its own Cholesky has it, to p·eps·cond."""
    p = X.shape[1]
    y = X @ np.linspace(1, 2, p) / np.abs(X).max() + np.arange(len(X)) % 3
    covariance = summed(X, y)
    path = rg.regularizer_path(covariance)
    assert path.regularizers[0] == pytest.approx(summed(X).factorize().regularizer)
    assert len(path.regularizers) == 200
    assert (np.diff(path.regularizers) > 0).all()
    for i in (60, 120, 199):
        hessian = covariance.factorize(path.regularizers[i])
        rtol = reference.tolerance(reference.hessian(covariance.matrix(), path.regularizers[i]))
        np.testing.assert_allclose(path.variance(X)[i], hessian.variance(X), rtol=rtol)
        np.testing.assert_allclose(path.coef[i], hessian.coef, rtol=0, atol=rtol * np.abs(hessian.coef).max())
    assert np.isfinite(path.score(X, y, "rmse")).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_variances_of_groups_in_any_order(reduction):
    rng = np.random.default_rng(3)
    F, y, w = data(k=None)
    X, groups = rng.normal(size=(5000, 12)), rng.integers(-40, 40, 5000)
    path = rg.regularizer_path(summed(F, y, w), GRID)
    rows = reference.reduce_rows(X, groups, reduction)
    expected = path.variance(rows)
    found = path.variance(X, groups, reduction)
    np.testing.assert_allclose(found, expected, rtol=1e-9)  # sums in another order; conditions of 1e6
    np.testing.assert_array_equal(path.variance(rg.Rows(X, groups), reduction=reduction), found)
    single = path.variance(rows.astype(np.float32))
    np.testing.assert_array_equal(single, path.variance(rows.astype(np.float32).astype(np.float64)))
    targets = rng.normal(size=len(rows))
    scores = path.score(X, targets, "crps", groups=groups, reduction=reduction)
    np.testing.assert_allclose(scores, path.score(rows, targets, "crps"), rtol=1e-9)


def test_other_regularizers_of_the_same_decomposition():
    F, y, w = data()
    covariance = summed(F, y, w)
    path, other = rg.regularizer_path(covariance, GRID), rg.regularizer_path(covariance, [0.3, 2.0])
    for name in ("log_evidence", "gcv", "coef"):
        np.testing.assert_array_equal(getattr(path.at([0.3, 2.0]), name), getattr(other, name))
    with pytest.raises(ValueError, match=r"regularizers\[0\] is 0: expected finite and positive"):
        path.at([0.0])


def test_leaving_out_needs_rows_of_the_path():
    F, y, w = data()
    path = rg.regularizer_path(summed(F, y, w), GRID)
    parts = [(F[:30], y[:30], w[:30]), (F[30:], y[30:], w[30:])]
    scores = path.score(F, y, "loo", weights=w, blocks=np.arange(40) // 30)
    np.testing.assert_allclose(np.sqrt(path.leave_out(parts) / w.sum()), scores, rtol=1e-12)
    assert path.least(scores) == GRID[np.argmin(scores)]
    for part, message in (
        ((F[:, :3], y, w), "features have 3 columns but 12 were expected"),
        ((F, y[:3], w), r"y has shape \(3,\): expected 40 targets"),
        ((F, y, w[:3]), "weights has 3 entries but there are 40 target rows"),
    ):
        with pytest.raises(ValueError, match=message):
            path.leave_out([part])
    with pytest.raises(rg.NotFittedError, match="a score needs targets"):
        rg.regularizer_path(summed(F), GRID).leave_out(parts)


def test_unordered_and_single_regularizers():
    F, y, w = data()
    covariance = summed(F, y, w)
    path, turned = (rg.regularizer_path(covariance, grid) for grid in (GRID, GRID[::-1]))
    for name in ("log_evidence", "gcv", "effective_dimension", "coef", "log_determinant"):
        np.testing.assert_array_equal(getattr(path, name), getattr(turned, name)[::-1])
    assert path.best("evidence") == turned.best("evidence")
    assert path.best("loo", F, y, weights=w) == turned.best("loo", F, y, weights=w)
    assert rg.regularizer_path(covariance, [3]).best("gcv") == 3.0
    assert repr(path) == "RegularizerPath(10 regularizers from 1e-06 to 1e+03)"
    for array in (path.regularizers, path.coef):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    read = pickle.loads(pickle.dumps(path))
    np.testing.assert_array_equal(read.score(F, y, "loo", weights=w), path.score(F, y, "loo", weights=w))


def test_gcv_is_the_textbook_one():
    F, y, w = data(k=2)
    path = rg.regularizer_path(summed(F, y, w), GRID)
    for lam, gcv in zip(GRID, path.gcv, strict=True):
        H = reference.hessian(reference.covariance(F, weights=w), lam)
        A = F @ np.linalg.solve(H, F.T * w)
        expected = 40 * np.mean([w @ r**2 for r in (y - A @ y).T]) / np.trace(np.eye(40) - A) ** 2
        assert gcv == pytest.approx(expected, rel=40 * reference.tolerance(H))


# ---- scores


@pytest.mark.filterwarnings("ignore:.* is best at the largest")  # the targets are those of other weights
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_scores_are_least_over_the_scale(k, noise):
    F, y, w = data(k=k)
    G, t, u = data(25, k=k, seed=9)
    u[3] = 0.0
    path = rg.regularizer_path(summed(F, y, w), GRID)
    coef = path.coef.reshape(10, 12, -1)
    for i in range(10):
        r = (t.reshape(25, -1) - G @ coef[i])[u > 0]
        v = path.variance(G)[i][u > 0] + noise / u[u > 0]

        def nll(scale, r, v=v):
            return -norm.logpdf(r, scale=scale * np.sqrt(v)).mean()

        def crps(scale, r, v=v):
            s = scale * np.sqrt(v)
            z = r / s
            return np.mean(s * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)))

        for name, loss in (("nll", nll), ("crps", crps)):
            found = [
                minimize_scalar(lambda log, q=q, loss=loss: loss(np.exp(log), q), bounds=(-9, 9), method="bounded").fun
                for q in r.T
            ]
            # the minimum is flat: an error of 1e-5 in ln(scale) costs its square
            score = path.score(G, t, name, weights=u, noise=noise)[i]
            assert score == pytest.approx(np.mean(found), rel=1e-8)
        rmse = np.sqrt((u[u > 0] @ r**2 / u.sum()).mean())
        assert path.score(G, t, "rmse", weights=u)[i] == pytest.approx(rmse, rel=1e-12)
    for name in ("nll", "crps", "rmse"):
        scores = path.score(G, t, name, weights=u)
        assert path.best(name, G, t, weights=u) == GRID[np.argmin(scores)]


def test_a_score_of_targets_that_are_met():
    """All residuals 0: the best scale is 0, and the CRPS with it; the likelihood has no bound."""
    F, _, w = data()
    path = rg.regularizer_path(summed(F, np.zeros(40), w), GRID)
    np.testing.assert_array_equal(path.score(F, np.zeros(40), "crps"), 0)
    np.testing.assert_array_equal(path.score(F, np.zeros(40), "nll"), -np.inf)
    one = np.r_[1.0, np.zeros(39)]
    assert (path.score(F, one, "crps") <= 1 / 40 * (1 + 1e-9)).all()  # what a scale of 0 would give


# ---- refused


@pytest.mark.parametrize("seed", range(12))
def test_unpenalised_twins_are_told_from_rounding(seed):
    """Two columns that are multiples of each other: their Schur complement is rounding, of either sign."""
    rng = np.random.default_rng(seed)
    F, y, _ = data()
    F[:, 1] = rng.uniform(0.1, 10) * F[:, 0]
    with pytest.raises(rg.NotPositiveDefiniteError, match="not determine unpenalised feature 1") as caught:
        rg.regularizer_path(summed(F, y), penalty=np.r_[0.0, 0.0, np.ones(10)])
    assert (caught.value.pivot, caught.value.regularizer) == (1, np.inf)


@pytest.mark.parametrize(
    ("error", "regularizers", "message"),
    [
        (ValueError, [], r"regularizers has shape \(0,\): expected at least one, in one dimension"),
        (ValueError, 1.0, r"regularizers has shape \(\): expected at least one"),
        (ValueError, [1.0, 0.0], r"regularizers\[1\] is 0: expected finite and positive numbers"),
        (ValueError, [-1.0], r"regularizers\[0\] is -1: expected finite and positive"),
        (ValueError, [1.0, 2.0, np.nan], r"regularizers\[2\] is nan"),
        (ValueError, [np.inf], r"regularizers\[0\] is inf"),
        (TypeError, ["a"], "regularizers has dtype <U1"),
    ],
)
def test_grids_that_are_none(error, regularizers, message):
    F, y, _ = data()
    with pytest.raises(error, match=message):
        rg.regularizer_path(summed(F, y), regularizers)


@pytest.mark.parametrize(
    ("error", "penalty", "message"),
    [
        (ValueError, np.ones(3), r"penalty has shape \(3,\) but there are 12 features: pass \(12,\) or \(12, 12\)"),
        (ValueError, np.zeros(12), "penalty is zero: no regularizer makes a difference"),
        (ValueError, np.r_[np.ones(11), -1], r"penalty\[11, 11\] is -1: a penalty is finite and positive"),
        (ValueError, np.r_[np.ones(11), np.nan], r"penalty\[11, 11\] is nan"),
        (ValueError, np.full((12, 12), np.inf), r"penalty\[0, 0\] is inf"),
        (ValueError, -np.eye(12), r"penalty\[0, 0\] is -1"),
        (ValueError, np.eye(12) + np.eye(12, k=1), r"penalty is not symmetric: \[1, 0\] is 0 but \[0, 1\] is 1"),
        (ValueError, 2 * np.ones((12, 12)) - np.eye(12), "penalty is not positive semi-definite: its small"),
        (rg.NotPositiveDefiniteError, np.r_[1.0, 1.0, 0.0, np.ones(9)], "not determine unpenalised feature 2"),
        (rg.NotPositiveDefiniteError, np.r_[0.0, 0.0, np.ones(10)], "not determine unpenalised feature [01]: H"),
    ],
)  # fmt: skip
def test_penalties_that_are_none(error, penalty, message):
    F, y, _ = data()
    F[:, 1], F[:, 2] = F[:, 0], 0.0
    with pytest.raises(error, match=message):
        rg.regularizer_path(summed(F, y), penalty=penalty)


def test_sums_without_a_path():
    with pytest.raises(TypeError, match="cov is a ndarray: expected a Covariance"):
        rg.regularizer_path(np.eye(3))
    empty = rg.Covariance(3)
    with pytest.raises(ValueError, match=r"nothing was summed \(the trace of C is 0\): pass regularizers"):
        rg.regularizer_path(empty)
    np.testing.assert_allclose(rg.regularizer_path(empty, [0.5]).variance(np.eye(3)), 2)  # the prior
    empty.update(1e-150 * np.ones((10, 3)))
    with pytest.raises(ValueError, match=r"the trace of C is 3e-299: expected 1e-280 to 1e\+300, .* rescale"):
        rg.regularizer_path(empty, [1.0])


def test_what_needs_targets():
    path = rg.regularizer_path(summed(data()[0]), GRID)
    assert path.variance(np.eye(12)).shape == (10, 12)
    assert (np.diff(path.effective_dimension) < 0).all()
    for name, what in (("coef", "coef"), ("log_evidence", "the evidence"), ("gcv", "generalised cross-validation")):
        with pytest.raises(
            rg.NotFittedError, match=f"{what} needs targets, and none were accumulated: pass targets=..."
        ):
            getattr(path, name)
    with pytest.raises(rg.NotFittedError, match="a score needs targets"):
        path.score(np.eye(12), np.ones(12), "rmse")


SCORES = [
    (ValueError, dict(criterion="evidence"), 'criterion is "evidence": expected "nll", "crps", "rmse" or "loo"'),
    (ValueError, dict(noise=-1.0), "noise is -1.0: expected a number from 0"),
    (ValueError, dict(noise=np.nan), "noise is nan"),
    (ValueError, dict(weights=np.zeros(40)), "there are no targets of positive weight"),
    (ValueError, dict(weights=np.ones(3)), r"weights has 3 entries but there are 40 target rows"),
    (ValueError, dict(weights=-np.ones(40)), r"weights\[0\] is -1.0: weights of the loss must be finite"),
    (ValueError, dict(y=np.ones(3)), r"y has shape \(3,\): expected 40 targets of 1 outputs, as in the covariance"),
    (ValueError, dict(y=np.ones((40, 2))), r"y has shape \(40, 2\)"),
    (ValueError, dict(y=np.full(40, np.nan)), r"y\[0, 0\] is nan: targets must be finite"),
    (ValueError, dict(X=np.ones((40, 3))), "features have 3 columns but 12 were expected"),
    (ValueError, dict(X=np.zeros((40, 12))), "all targets have variance 0, rows of zeros: pass others, or a noise"),
    (ValueError, dict(groups=np.arange(39)), "groups has 39"),
    (ValueError, dict(blocks=np.arange(40)), "blocks are left out together, but criterion is 'nll': expected \"loo\""),
    (ValueError, dict(criterion="loo", blocks=np.arange(3)), r"blocks has 3 entries but there are 40 targets"),
    (TypeError, dict(criterion="loo", blocks=np.ones(40)), "blocks has dtype float64: expected integer labels"),
    (ValueError, dict(X=rg.Rows(np.ones((40, 12)), feature_space="b")), "the rows are of feature space 'b'"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "arguments", "message"), SCORES)
def test_scores_that_are_none(error, arguments, message):
    F, y, _ = data()
    path = rg.regularizer_path(spaced(F, y), GRID)
    with pytest.raises(error, match=message):
        path.score(**{"X": F, "y": y, **arguments})


@pytest.mark.parametrize("criterion", ["nll", "crps"])
@pytest.mark.parametrize("size", [0.0, 1e-9])
def test_scores_set_rows_of_next_to_nothing_aside(criterion, size):
    """Their variance and error are rounding, and so is the ratio of both."""
    F, y, _ = data()
    path = rg.regularizer_path(spaced(F, y), GRID)
    more, errors = np.concatenate([F, size * F[:5]]), np.concatenate([y, np.full(5, 1e-9)])
    with pytest.warns(rg.IllConditionedWarning, match=f"5 of 45 targets have .* nearly so: {criterion} sets them"):
        found = path.score(more, errors, criterion)
    np.testing.assert_array_equal(found, path.score(F, y, criterion))
    assert np.isfinite(path.score(more, errors, criterion, noise=1.0)).all()


def spaced(F, y):
    covariance = rg.Covariance(F.shape[1], feature_space="a")
    covariance.update(F, targets=y)
    return covariance


def test_nan_is_named_by_its_place_in_all_rows():
    F, y, _ = data(3000)
    path = rg.regularizer_path(summed(F, y), GRID)
    F[2500, 7] = np.nan
    with pytest.raises(ValueError, match=r"2500.*7|row 2500"):
        path.variance(F)


BEST = [
    (ValueError, ("mse",), 'criterion is "mse": expected'),
    (TypeError, ("loo",), r'best\("loo"\) needs training rows and their targets: best\("loo", X, y\)'),
    (TypeError, ("nll", np.eye(12)), r'best\("nll"\) needs validation rows'),
    (TypeError, ("evidence", np.eye(12), np.ones(12)), r'best\("evidence"\) takes the sums alone'),
]


@pytest.mark.parametrize(("error", "arguments", "message"), BEST)
def test_what_has_no_best(error, arguments, message):
    F, y, _ = data()
    with pytest.raises(error, match=message):
        rg.regularizer_path(summed(F, y), GRID).best(*arguments)


def test_the_smallest_of_a_path_is_told():
    F, y, _ = data(40, 3)
    y = F @ np.ones((3, 1))  # exact: the less penalty, the better
    path = rg.regularizer_path(summed(F, y), [1e-3, 1.0, 10.0])
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="loo is best at the smallest regularizer of the path, 0.001"):
        assert path.best("loo", F, y) == 1e-3
    assert rg.regularizer_path(summed(F, y), [1e-3]).best("loo", F, y) == 1e-3  # one alone is no choice


def test_the_largest_of_a_path_is_told():
    F, y, _ = data(40, 3, noise=1.0)
    path = rg.regularizer_path(summed(F, y), [1e-3, 1e-2, 1e-1])
    for criterion, rows in (("evidence", ()), ("loo", (F, y))):
        with pytest.warns(
            rg.UnresolvedEvidenceWarning, match=rf"{criterion} is best at the largest regularizer of the path, 0\.1"
        ):
            assert path.best(criterion, *rows) == 0.1


def test_the_smallest_that_is_resolved_is_told():
    """Rounding hides what lies below, as the evidence and gcv say of themselves."""
    F, y = smooth(noise=1e-6)
    path = rg.regularizer_path(summed(F, y), np.logspace(-18, 1, 60))
    scores = path.score(F, y, "loo")
    resolved = path.regularizers[~np.isnan(scores)]
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="loo is best at the smallest regularizer at which it is res"):
        assert path.best("loo", F, y) == resolved[0] > path.regularizers[0]


@pytest.mark.filterwarnings("error")
def test_an_end_at_which_an_error_is_flat_is_no_fault():
    """Nothing to gain at a smaller λ: the error changes by 3e-6 in the last decade."""
    F, y, _ = data(40, 3)
    path = rg.regularizer_path(summed(F, y), [1e-8, 1e-7, 1e-2])
    scores = path.score(F, y, "rmse")
    assert scores[0] < scores[1]
    assert path.best("rmse", F, y) == 1e-8


@pytest.mark.filterwarnings("error")
def test_errors_that_vanish_are_no_fault():
    F, _, _ = data(40, 3)
    path = rg.regularizer_path(summed(F, np.zeros(40)), [1e-3, 1e-2])
    for criterion in ("nll", "crps", "rmse"):
        assert path.best(criterion, F, np.zeros(40)) == 1e-3


@pytest.mark.parametrize("criterion", ["evidence", "gcv", "loo"])
def test_an_empty_fit_is_told(criterion):
    rng = np.random.default_rng(8)
    F, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    y -= F @ np.linalg.lstsq(F, y)[0]
    path = rg.regularizer_path(summed(F, y), [1e-3, 1.0, 1e6])
    rows = (F, y) if criterion == "loo" else ()
    with pytest.warns(rg.EmptyFitWarning, match="explains 0 % of the weighted squares"):
        path.best(criterion, *rows)
