"""Half-widths: quantiles beside SciPy's, coverage of conformal ones over synthetic repeats, features, bad input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import beta, binom, norm, t

import rigidities as rg
from rigidities.calibration.intervals import conformal_quantile, largest_of_blocks, quantile_regression
from rigidities.calibration.scale import Calibration

REPEATS = 2000


def calibrated(n=200, seed=0, **options):
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.2, 2, n)
    return rg.calibrate(0.5 * np.sqrt(v) * rng.standard_t(4, n), v, **options)


def limits(share, n):
    """Limits that a binomial share leaves once in a million times."""
    return binom.ppf([5e-7, 1 - 5e-7], n, share) / n


@pytest.mark.parametrize("coverage", [0.05, 0.5, 0.6827, 0.95, 0.999])
def test_gaussian_and_student_are_scipys(coverage):
    found = calibrated(noise=0.5)
    v = np.array([0.0, 1.0, 7.0, np.inf])
    std = found.standard_deviation(v)
    np.testing.assert_allclose(found.interval(v, coverage), norm.ppf(0.5 + coverage / 2) * std, rtol=1e-12)
    for df in (0.7, 3, 250.5):
        half = found.interval(v, coverage, "student", degrees_of_freedom=df)
        np.testing.assert_allclose(half, t.ppf(0.5 + coverage / 2, df) * std, rtol=1e-9)
    # with many degrees of freedom, it is Gaussian
    np.testing.assert_allclose(
        found.interval(v, coverage, "student", degrees_of_freedom=1e9), found.interval(v, coverage), rtol=1e-6
    )


def test_students_t_is_exact_for_gaussian_errors():
    """z of a new target over a scale of n = 10 targets has n degrees of freedom; the Gaussian covers too little."""
    rng = np.random.default_rng(0)
    shares = {"student": [], "gaussian": []}
    for _ in range(REPEATS):
        found = rg.calibrate(rng.normal(size=10), np.ones(10))
        new = np.abs(rng.normal(size=5))
        for method, options in (("student", {"degrees_of_freedom": 10}), ("gaussian", {})):
            shares[method].append(np.mean(new <= found.interval(np.ones(5), 0.95, method, **options)))
    error = {name: np.std(share) / np.sqrt(REPEATS) for name, share in shares.items()}
    assert np.mean(shares["student"]) == pytest.approx(0.95, abs=4 * error["student"])
    assert np.mean(shares["gaussian"]) < 0.95 - 4 * error["gaussian"]


# ---- conformal


@given(
    scores=st.lists(st.floats(0, 10), min_size=1, max_size=60),
    coverage=st.sampled_from([0.05, 0.1, 0.5, 0.55, 0.7, 0.9, 0.95, 0.99]),
)
def test_the_quantile_is_the_kth_of_exact_arithmetic(scores, coverage):
    hundredths = round(100 * coverage)
    k = -(-(len(scores) + 1) * hundredths // 100)
    expected = sorted(scores)[k - 1] if k <= len(scores) else math.inf
    assert conformal_quantile(np.array(scores)[:, None], coverage)[0] == expected


def test_the_half_width_is_the_quantile_of_the_scores():
    rng = np.random.default_rng(0)
    v, r = rng.uniform(0.2, 2, 99), rng.normal(size=99)
    for options in ({}, {"noise": 0.7}, {"loss": "absolute"}, {"loss": "crps"}):
        found = rg.calibrate(r, v, **options)
        noise = options.get("noise", 0.0)
        u = np.sort(np.abs(r) / np.sqrt(v + noise))
        half = found.interval([0.3, 5.0], 0.9, "conformal")
        np.testing.assert_allclose(half, u[89] * np.sqrt([0.3 + noise, 5 + noise]), rtol=1e-12)


def exchangeable(rng, *shape):
    """Errors that no σ describes: skewed, with outliers, of a size that v does not tell."""
    return rng.standard_cauchy(shape) + rng.exponential(size=shape)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("n", [19, 30])
def test_conformal_coverage_over_repeats(coverage, n):
    """k/(n + 1) ≥ coverage exactly, for any errors: 2,000 calibrations, a new target each."""
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(REPEATS):
        v = rng.uniform(0.1, 3, n + 1)
        r = exchangeable(rng, n + 1)
        half = rg.calibrate(r[:n], v[:n]).interval(v[n:], coverage, "conformal")
        held += abs(r[n]) <= half[0]
    expected = math.ceil((n + 1) * round(100 * coverage) / 100 - 1e-9) / (n + 1)
    low, high = limits(expected, REPEATS)
    assert low <= held / REPEATS <= high
    assert expected >= coverage


def test_coverage_of_one_calibration_follows_the_beta_distribution():
    """Given the calibration set, the coverage is Beta(k, n + 1 − k); Gaussian errors, so that it is known."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(REPEATS):
        half = rg.calibrate(rng.normal(size=40), np.ones(40)).interval([1.0], 0.8, "conformal")
        found.append(2 * norm.cdf(half[0]) - 1)
    k = 33
    assert np.mean(found) == pytest.approx(k / 41, abs=4 * np.std(found) / np.sqrt(REPEATS))
    for level in (0.1, 0.5, 0.9):
        low, high = limits(level, REPEATS)
        assert low <= np.mean(found <= beta.ppf(level, k, 41 - k)) <= high


def test_coverage_holds_in_each_class():
    """One class has errors ten times as large: a common quantile covers too few of it."""
    rng = np.random.default_rng(0)
    by = np.repeat(["calm", "wild"], [60, 20])
    held = {"own": np.zeros(2), "common": np.zeros(2)}
    for _ in range(REPEATS):
        v = rng.uniform(0.1, 3, 82)
        r = exchangeable(rng, 82)
        r[60:81] *= 10  # the last two rows are new ones: "wild", "calm"
        found = rg.calibrate(r[:80], v[:80], by=by)
        new = np.abs(r[80:])
        held["own"] += new <= found.interval(v[80:], 0.9, "conformal", by=["wild", "calm"])
        held["common"] += new <= found.interval(v[80:], 0.9, "conformal")
    for share, k in zip(held["own"] / REPEATS, (19 / 21, 55 / 61), strict=True):
        low, high = limits(k, REPEATS)
        assert low <= share <= high
    assert held["common"][0] / REPEATS < 0.8


def test_by_block_all_rows_of_a_new_block_are_held():
    """Rows of a block share most of their error: rows are not exchangeable, and their own quantile fails."""
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(20), 6)
    held = {"block": 0, "rows": 0}
    for _ in range(REPEATS):
        shared = np.repeat(rng.standard_t(3, size=21), 6)
        r, v = shared + 0.5 * rng.normal(size=126), rng.uniform(0.5, 1.5, 126)
        for name, labels in (("block", blocks), ("rows", None)):
            half = rg.calibrate(r[:120], v[:120], blocks=labels).interval(v[120:], 0.9, "conformal")
            held[name] += (np.abs(r[120:]) <= half).all()
    low, high = limits(19 / 21, REPEATS)
    assert low <= held["block"] / REPEATS <= high
    assert held["rows"] / REPEATS < 0.88


@given(
    blocks=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    seed=st.integers(0, 100),
)
def test_the_score_of_a_block_is_its_largest(blocks, seed):
    values = np.random.default_rng(seed).normal(size=(len(blocks), 2))
    expected = [values[np.array(blocks) == b].max(axis=0) for b in np.unique(blocks)]
    np.testing.assert_array_equal(largest_of_blocks(values, np.array(blocks)), expected)


def test_few_scores_bound_no_large_share():
    """It takes ⌈c/(1 − c)⌉ of them: 19 for 95 %, 20 · 0.95 = 19 to the digit."""
    for n in (18, 19):
        found = calibrated(n)
        if n == 19:
            assert np.isfinite(found.interval([1.0], 0.95, "conformal")).all()
        else:
            with pytest.warns(rg.UndeterminedWarning, match=r"infinite: 18 scores .* 0.95, which takes at least 19"):
                assert np.isinf(found.interval([1.0], 0.95, "conformal")).all()
    by = np.repeat([1, 2], [30, 8])
    found = calibrated(38, by=by)
    with pytest.warns(rg.UndeterminedWarning, match=r"half-widths of class 2 are infinite: 8 scores"):
        half = found.interval([1.0, 1.0], 0.9, "conformal", by=[1, 2])
    assert np.isinf(half).tolist() == [False, True]


def test_a_class_that_is_new():
    found = calibrated(60, by=np.arange(60) % 2)
    for method, options in (("conformal", {}), ("gaussian", {}), ("student", {"degrees_of_freedom": 5})):
        with pytest.warns(rg.UndeterminedWarning, match="class 7 was not in the calibration"):
            half = found.interval([1.0, 1.0], 0.5, method, by=[0, 7], **options)
        assert half[1] == found.interval([1.0], 0.5, method, **options)[0]


# ---- adaptive


def test_the_regression_is_that_of_the_pinball_loss():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(300), rng.uniform(size=(300, 2))])
    y = X @ [1.0, -2.0, 0.5] + rng.standard_t(3, 300)
    for level in (0.1, 0.5, 0.9):
        coef = quantile_regression(X, y, level)

        def pinball(b, level=level):
            left = y - X @ b
            return np.sum(left * (level - (left < 0)))

        best = min(
            minimize(pinball, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000}).fun
            for start in (coef, coef + 0.1)
        )
        assert pinball(coef) <= best * (1 + 1e-7)
        # at the minimum, a share `level` of the rows is below, up to the rows on the plane
        assert np.mean(X @ coef - y > 1e-7) <= level <= np.mean(X @ coef - y > -1e-7)


def growing(rng, n):
    """Errors that grow with a feature, which v does not know of."""
    x, v = rng.uniform(size=n), rng.uniform(0.5, 2, n)
    return x, v, np.sqrt(v) * rng.standard_t(5, n) * np.exp(2 * x)


def test_adaptive_half_widths_follow_the_feature():
    rng = np.random.default_rng(0)
    x, v, r = growing(rng, 4000)
    found = rg.calibrate(r, v, features=x)
    x, v, r = growing(rng, 20_000)
    gaps = {}
    for method, options in (("adaptive", {"features": x}), ("conformal", {})):
        held = np.abs(r) <= found.interval(v, 0.9, method, **options)
        gaps[method] = max(abs(np.mean(part) - 0.9) for part in np.array_split(held[np.argsort(x)], 10))
    # ten shares, each of 2,000 rows, of a quantile from 2,000 and a line through 2,000: ± 0.007, 0.007 and up to 0.013
    assert gaps["adaptive"] < 0.05
    assert gaps["conformal"] > 0.1


def test_adaptive_coverage_over_repeats_however_wrong_the_regression_is():
    """ln u is far from linear in x, blocks are not alike, and half of the rows is few: coverage is k/(n/2 + 1)."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(500):
        x, v = rng.uniform(-1, 1, 41), rng.uniform(0.5, 2, 41)
        r = exchangeable(rng, 41) * np.cos(7 * x) * 10 ** np.sign(x)
        found = rg.calibrate(r[:40], v[:40], features=x[:40])
        held += abs(r[40]) <= found.interval(v[40:], 0.9, "adaptive", features=x[40:])[0]
    low, high = limits(19 / 21, 500)
    assert low <= held / 500 <= high


def test_adaptive_with_classes_blocks_and_outputs():
    rng = np.random.default_rng(0)
    n = 240
    x = rng.uniform(size=(n, 2))
    v = rng.uniform(0.5, 2, n)
    r = rng.normal(size=(n, 2)) * np.sqrt(v)[:, None] * np.exp(x)
    by, blocks = np.repeat(["a", "b"], n // 2), np.arange(n) // 2
    found = rg.calibrate(r, v, features=x, by=by, blocks=blocks)
    half = found.interval(v, 0.8, "adaptive", features=x, by=by)
    assert half.shape == (n, 2)
    np.testing.assert_array_equal(half, found.interval(v, 0.8, "adaptive", features=x, by=by))  # the same halves
    # another unit and origin of a feature change nothing but rounding; beyond its range the end counts
    other = rg.calibrate(r, v, features=1e6 - 1e3 * x, by=by, blocks=blocks)
    np.testing.assert_allclose(other.interval(v, 0.8, "adaptive", features=1e6 - 1e3 * x, by=by), half, rtol=1e-6)
    far = found.interval([1.0, 1.0], 0.8, "adaptive", features=[[50.0, -50.0], [1e9, -1e9]], by=["a", "a"])
    np.testing.assert_array_equal(far[0], far[1])
    assert np.isfinite(far).all()


def test_adaptive_coverage_holds_in_each_class():
    """The features tell nothing of the classes, whose errors differ by a factor of 100."""
    rng = np.random.default_rng(0)
    by = np.repeat(["a", "b"], 200)
    size = np.where(by == "b", 100.0, 1.0)
    found = rg.calibrate(size * rng.normal(size=400), np.ones(400), features=rng.normal(size=400), by=by)
    half = found.interval(np.ones(400), 0.9, "adaptive", features=rng.normal(size=400), by=by)
    for label in ("a", "b"):
        own = by == label
        assert 0.8 < np.mean(2 * norm.cdf(half[own] / size[own]) - 1) < 0.97
    assert found.interval([], 0.9, "adaptive", features=np.zeros((0, 1)), by=[]).shape == (0,)


@pytest.mark.filterwarnings("ignore:class 'rare' .* has fewer than 5")
@pytest.mark.parametrize("seed", range(8))
def test_a_class_that_only_the_regression_saw_has_no_quantile(seed):
    """Two targets: in a quarter of the cases both are in its half, and the quantile of others is none of theirs."""
    rng = np.random.default_rng(seed)
    x, by = rng.uniform(size=40), np.full(40, "usual")
    by[rng.permutation(40)[:2]] = "rare"
    found = rg.calibrate(rng.normal(size=40), np.ones(40), features=x, by=by)
    with pytest.warns(rg.UndeterminedWarning, match=r"half-widths of class 'rare' are infinite: [0-2] scores"):
        half = found.interval([1.0, 1.0], 0.8, "adaptive", features=[0.5, 0.5], by=["rare", "usual"])
    assert np.isinf(half).tolist() == [True, False]


def test_an_unknown_class_takes_the_common_quantile():
    """Three targets of an unknown class are no class of their own, which would bound nothing."""
    found = calibrated(43, by=np.array([*np.repeat(["a", "b"], 20), *["-"] * 3]))
    half = found.interval([1.0, 1.0], 0.7, "conformal", by=["-", "a"])
    assert half[0] == found.interval([1.0], 0.7, "conformal")[0] != half[1]
    assert half[1] == found.interval([1.0], 0.7, "conformal", by=["a"])[0]
    x = np.random.default_rng(0).uniform(size=43)
    other = calibrated(43, by=np.array([*np.repeat(["a", "b"], 20), *["-"] * 3]), features=x)
    wide = other.interval([1.0], 0.8, "adaptive", features=[0.5], by=["-"])
    assert wide[0] == other.interval([1.0], 0.8, "adaptive", features=[0.5])[0]


@pytest.mark.parametrize("unit", [1e-300, 1.0, 1.7e308])
def test_features_may_have_any_size(unit):
    """Their range, 2 · 1.7e308, is beyond float64."""
    rng = np.random.default_rng(0)
    x, v, r = growing(rng, 300)
    half = rg.calibrate(r, v, features=x).interval(v, 0.9, "adaptive", features=x)
    x = unit * (2 * x - 1)
    other = rg.calibrate(r, v, features=x).interval(v, 0.9, "adaptive", features=x)
    np.testing.assert_allclose(other, half, rtol=1e-6)


def test_what_is_unknown_has_an_infinite_half_width():
    found = calibrated(100)
    rng = np.random.default_rng(0)
    exact = rg.calibrate(rng.normal(size=100) * (np.arange(100) > 50), np.ones(100))
    for one in (found, exact):
        assert one.interval([np.inf], 0.3, "conformal")[0] == np.inf
        assert one.interval([np.inf], 0.3)[0] == np.inf
    assert exact.interval([1.0], 0.3, "conformal")[0] == 0


def test_adaptive_with_a_constant_feature_is_conformal_of_half():
    """The regression is then one number, which cancels."""
    found = calibrated(100, features=np.ones(100))
    half = found.interval([1.0], 0.9, "adaptive", features=[1.0])
    chosen = np.random.default_rng(0).permutation(100)[:50]
    u = np.sort(np.delete(found.scores.values[:, 0], chosen))
    assert half[0] == pytest.approx(u[45], rel=1e-12)


def test_adaptive_where_residuals_are_zero():
    rng = np.random.default_rng(0)
    x, v, r = growing(rng, 400)
    r[::3] = 0
    half = rg.calibrate(r, v, features=x).interval(v, 0.9, "adaptive", features=x)
    assert (half > 0).all()
    assert 0.85 < np.mean(np.abs(r) <= half) < 0.95


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.0], 0.0), {}, "coverage is 0.0: expected a number between 0 and 1"),
        (([1.0], 1.0), {}, "coverage is 1.0"),
        (([1.0], 95), {}, "coverage is 95"),
        (([1.0], np.nan), {}, "coverage is nan"),
        (([1.0], 0.5, "bayes"), {}, 'method is "bayes": expected "gaussian", "student", "conformal" or "adaptive"'),
        (([-1.0], 0.5), {}, r"variance\[0\] is -1.0: variances must be not negative"),
        (([np.nan], 0.5), {}, r"variance\[0\] is nan"),
        (([1.0], 0.5), {"by": ["a"]}, "this calibration has no classes: pass by to rigidities.calibrate"),
        (([1.0], 0.5, "student"), {"degrees_of_freedom": 0}, "degrees_of_freedom is 0: expected a number above 0"),
        (([1.0], 0.5, "adaptive"), {"features": [1.0]}, "needs features: pass features to rigidities.calibrate"),
    ],
)
def test_it_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        calibrated().interval(*arguments, **options)


def test_it_refuses_arguments_of_another_method():
    found = calibrated(features=np.ones((200, 2)), by=np.zeros(200, int))
    v = [1.0]
    for call, error, message in (
        (lambda: found.interval(v, "0.5"), TypeError, "coverage is '0.5': expected a number between"),
        (lambda: found.interval(v, 0.5, "student"), TypeError, "needs degrees_of_freedom"),
        (lambda: found.interval(v, 0.5, degrees_of_freedom=3), TypeError, 'degrees_of_freedom is for method "student"'),
        (lambda: found.interval(v, 0.5, features=[1.0]), TypeError, 'features is for method "adaptive"'),
        (lambda: found.interval(v, 0.5, "adaptive"), TypeError, "needs the features of these targets"),
        (lambda: found.interval(v, 0.5, "adaptive", features=[1.0]), ValueError, r"features has shape \(1,\): .* 2\)"),
        (lambda: found.interval(v, 0.5, by=[0, 0]), ValueError, "by has 2 entries but there are 1 targets"),
        (lambda: Calibration(1.0).interval(v, 0.5, "conformal"), ValueError, "needs scores: calibrate residuals"),
        (lambda: Calibration(1.0).interval(v, 0.5, "adaptive", features=[1.0]), ValueError, "needs scores"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_more_features_than_rows_are_refused():
    found = calibrated(20, features=np.random.default_rng(0).normal(size=(20, 9)))
    with pytest.raises(ValueError, match="half of the calibration set has 10 rows for 9 features"):
        found.interval([1.0], 0.5, "adaptive", features=np.zeros((1, 9)))
