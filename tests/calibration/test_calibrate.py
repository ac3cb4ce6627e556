"""rg.calibrate: every scale beside the minimum of its loss, found by brute force; errors of the scale; bad input."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import laplace, norm

import rigidities as rg
from rigidities.calibration.losses import relative_error
from rigidities.calibration.scale import FLOOR, LEAST_OF_KIND, POOLED

LOSSES = ["nll", "absolute", "crps", "binned"]
LIKELIHOODS = ["nll", "absolute"]
BIN = 20


def drawn(n=400, seed=0, scale=3.0, noise=0.0, decades=2.0):
    """Residuals with heavier tails than a Gaussian, of variances over some decades."""
    rng = np.random.default_rng(seed)
    v = 10 ** rng.uniform(-decades, 0, n)
    return scale * np.sqrt(v + noise) * rng.standard_t(5, n), v


def crps(r, std):
    z = r / std
    return np.mean(std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)))


def loss_of(loss, r, v, scale, noise):
    """The losses as their papers define them."""
    std = scale * np.sqrt(v + noise)
    match loss:
        case "nll":
            return -norm.logpdf(r, scale=std).mean()
        case "absolute":
            return -laplace.logpdf(r, scale=std * np.sqrt(2 / np.pi)).mean()
        case "crps":
            return crps(r, std)
        case "binned":
            order = np.argsort(v)[: len(v) // BIN * BIN].reshape(-1, BIN)
            return np.sum([(np.log(np.mean(std[b] ** 2)) - np.log(np.mean(r[b] ** 2))) ** 2 for b in order])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("n", [20, 399])
@pytest.mark.parametrize("seed", range(3))
def test_the_scale_is_the_least_of_its_loss(loss, noise, n, seed):
    r, v = drawn(n, seed)
    found = rg.calibrate(r, v, loss, noise=noise, bin_size=BIN)
    grid = found.scale * np.geomspace(1e-4, 1e4, 401)  # of the whole range: there is no other minimum
    values = [loss_of(loss, r, v, scale, noise) for scale in grid]
    assert np.argmin(values) == 200
    best = minimize_scalar(
        lambda log: loss_of(loss, r, v, np.exp(log), noise),
        bounds=(np.log(found.scale) - 1, np.log(found.scale) + 1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found.scale == pytest.approx(np.exp(best.x), rel=1e-6)  # a minimum is known to √eps
    assert (found.noise, found.n, found.n_aside, found.loss) == (pytest.approx(noise), n, 0, loss)
    np.testing.assert_allclose(found.standard_deviation(v), found.scale * np.sqrt(v + noise), rtol=1e-14)


@pytest.mark.parametrize("loss", LIKELIHOODS)
@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_noise_is_fitted_with_the_scale(loss, noise):
    r, v = drawn(1000, 1, noise=noise)
    found = rg.calibrate(r, v, loss, noise="fit")
    best = minimize(
        lambda x: loss_of(loss, r, v, *np.exp(x)), [1.0, -1.0], method="Nelder-Mead", options={"xatol": 1e-8}
    )
    assert (found.scale, found.noise) == pytest.approx(tuple(np.exp(best.x)), rel=1e-3)
    assert found.noise_std == pytest.approx(found.scale * np.sqrt(found.noise))
    assert rg.calibrate(*drawn(1000, 1), loss, noise="fit").noise == 0


@pytest.mark.parametrize("loss", LOSSES)
@given(unit=st.integers(-140, 140), features=st.integers(-140, 140), seed=st.integers(0, 5))
def test_units_scale_it(loss, unit, features, seed):
    r, v = drawn(60, seed)
    one = rg.calibrate(r, v, loss, noise=0.2, bin_size=BIN)
    other = rg.calibrate(r * 10.0**unit, v * 10.0**features, loss, noise=0.2 * 10.0**features, bin_size=BIN)
    root = 10.0 ** (features / 2)
    assert other.scale * root == pytest.approx(10.0**unit * one.scale, rel=1e-9)
    assert other.scale_error * root == pytest.approx(10.0**unit * one.scale_error, rel=1e-9)
    half = other.interval(v * 10.0**features, 0.8, "conformal")
    np.testing.assert_allclose(half, 10.0**unit * one.interval(v, 0.8, "conformal"), rtol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_gaussian_errors_have_one_scale(loss):
    rng = np.random.default_rng(3)
    v = rng.uniform(0.1, 1, 40_000)
    found = rg.calibrate(0.5 * np.sqrt(v) * rng.normal(size=len(v)), v, loss)
    assert abs(found.scale - 0.5) < 4 * found.scale_error
    assert found.scale_error < 0.004


# ---- the error of the scale


def jackknife(r, v, blocks, **options):
    """The scale's standard error from leaving out each block (Efron 1982)."""
    labels = np.unique(blocks)
    scales = np.array([rg.calibrate(r[blocks != b], v[blocks != b], **options).scale for b in labels])
    m = len(labels)
    return np.sqrt((m - 1) / m * np.sum((scales - scales.mean()) ** 2))


@pytest.mark.parametrize("options", [{"loss": loss} for loss in LOSSES[:3]] + [{"noise": "fit"}])
@pytest.mark.parametrize("rows_a_block", [1, 8])
def test_the_error_is_that_of_the_jackknife(options, rows_a_block):
    r, v = drawn(400, 2, noise=0.3 if "noise" in options else 0.0)
    blocks = np.arange(400) // rows_a_block
    r = r * np.repeat(np.random.default_rng(0).uniform(0.3, 2, 400 // rows_a_block), rows_a_block)
    expected = jackknife(r, v, blocks, **options)
    found = rg.calibrate(r, v, blocks=blocks, **options)
    assert found.scale_error == pytest.approx(expected, rel=0.03 if rows_a_block == 1 else 0.15)
    assert (
        rows_a_block == 1 or "noise" in options or found.scale_error > 1.1 * rg.calibrate(r, v, **options).scale_error
    )


@pytest.mark.parametrize(
    ("options", "noise"), [*(({"loss": loss, "bin_size": BIN}, 0.0) for loss in LOSSES), ({"noise": "fit"}, 0.3)]
)
def test_the_error_is_the_spread_over_data_sets(options, noise):
    found = [rg.calibrate(*drawn(400, seed, noise=noise), **options) for seed in range(300)]
    spread = np.std([one.scale for one in found])  # known to 1/√600 = 4 %, with tails of t₅ a little less
    assert np.median([one.scale_error for one in found]) == pytest.approx(spread, rel=0.2)


def test_of_gaussian_errors_it_is_the_known_one():
    rng = np.random.default_rng(0)
    found = rg.calibrate(rng.normal(size=20_000), np.ones(20_000))
    assert found.scale_error == pytest.approx(found.scale / np.sqrt(2 * 20_000), rel=0.03)


def test_of_noise_alone_the_scale_is_undetermined():
    """All variances the same: nothing tells scale from noise."""
    z = np.random.default_rng(0).normal(size=50)
    z /= np.sqrt(np.mean(z**2))  # at the maximum of the likelihood
    assert relative_error(z, np.ones(50), np.full(50, 0.5), np.arange(50), "nll") == np.inf


# ---- outputs, classes, rows at rounding


def test_each_output_has_its_own():
    r, v = drawn(200)
    other = drawn(200, 7)[0]
    by = np.arange(200) % 2
    found = rg.calibrate(np.stack([r, other], axis=1), v, noise="fit", by=by)
    alone = [rg.calibrate(one, v, noise="fit", by=by) for one in (r, other)]
    for name in ("scale", "noise", "noise_std", "scale_error"):
        np.testing.assert_array_equal(getattr(found, name), [getattr(one, name) for one in alone])
    for method, options in (("gaussian", {}), ("student", {"degrees_of_freedom": 7}), ("conformal", {})):
        half = found.interval(v[:5], 0.9, method, by=by[:5], **options)
        expected = [one.interval(v[:5], 0.9, method, by=by[:5], **options) for one in alone]
        np.testing.assert_allclose(half, np.transpose(expected), rtol=1e-14)
    np.testing.assert_allclose(found.by[1], [one.by[1] for one in alone], rtol=1e-14)
    column = rg.calibrate(r[:, None], v)
    assert column.scale.shape == (1,)
    assert column.standard_deviation(v).shape == column.interval(v, 0.5, "conformal").shape == (200, 1)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_is_drawn_towards_the_common_scale(loss):
    n = {"calm": 60, "wild": 60, "few": LEAST_OF_KIND, "one": 1}
    by = np.repeat(list(n), list(n.values()))
    r, v = drawn(len(by), 4)
    r *= np.where(by == "wild", 3.0, 1.0)
    with pytest.warns(rg.UndeterminedWarning, match=r"class 'one' \(1\) has fewer than 5"):
        found = rg.calibrate(r, v, loss, by=by, bin_size=BIN)
    common = found.standard_deviation(v)
    for label in n:
        own = by == label
        alone = minimize_scalar(
            lambda log, own=own: (
                loss_of(loss, r[own], common[own] ** 2, np.exp(log), 0)
                if loss != "binned" or own.sum() >= BIN
                else (2 * log - np.log(np.mean(r[own] ** 2) / np.mean(common[own] ** 2))) ** 2
            ),
            bounds=(-3, 3),
            method="bounded",
            options={"xatol": 1e-9},
        )
        m = 1 if loss == "absolute" else 2
        factor = ((POOLED + n[label] * np.exp(m * alone.x)) / (POOLED + n[label])) ** (1 / m)
        assert found.by[label] == pytest.approx(found.scale * (1 if label == "one" else factor), rel=1e-6)
        std = found.standard_deviation(v[own], by=by[own])
        np.testing.assert_allclose(std, found.by[label] * np.sqrt(v[own]), rtol=1e-12)
    assert found.by["calm"] < found.scale < found.by["wild"]


def test_a_class_counts_its_blocks():
    r, v = drawn(60)
    by, blocks = np.repeat(["a", "b"], 30), np.repeat([5, 5, 7, -1, 2, 3], 10)
    with pytest.warns(rg.UndeterminedWarning, match=r"class 'a' \(2\), 'b' \(3\) has fewer"):
        found = rg.calibrate(r, v, by=by, blocks=blocks)
    assert found.by == {"a": found.scale, "b": found.scale}


def test_a_class_may_be_predicted_exactly():
    """Its scale is drawn towards 0, and does not reach it."""
    r, v = drawn(100)
    r[:50] = 0
    for loss in LIKELIHOODS:
        found = rg.calibrate(r, v, loss, by=np.arange(100) < 50)
        share = POOLED / (POOLED + 50)
        assert found.by[True] == pytest.approx(found.scale * (share if loss == "absolute" else np.sqrt(share)))


def test_rows_at_rounding_are_set_aside_and_counted():
    r, v = drawn(50)
    zeros = np.array([0.0, 1e-300, 0.8 * FLOOR * np.median(v)])
    expected = rg.calibrate(r, v)
    with pytest.warns(rg.IllConditionedWarning, match="3 of 53 variances are 0 or rounding") as caught:
        found = rg.calibrate(np.append(r, [1e5, 0, 1]), np.append(v, zeros), by=np.ones(53, int), features=np.ones(53))
    assert caught[0].filename == __file__
    assert (found.n, found.n_aside) == (53, 3)
    assert (found.scale, found.scale_error) == (expected.scale, expected.scale_error)
    lowest = found.scale * np.sqrt(found.floor)
    assert found.floor == pytest.approx(FLOOR * np.median([*v, zeros[2]]), rel=1e-12)  # the others count as zeros
    np.testing.assert_allclose(found.standard_deviation(zeros), lowest, rtol=1e-12)
    assert (found.interval(zeros, 0.9, "conformal") > 0).all()


@pytest.mark.parametrize("n", [20, 2000])
def test_one_row_that_is_far_off_sets_no_other_aside(n):
    """A row that the data leave open: v, and r, a million times the others'."""
    r, v = drawn(n)
    r[3], v[3] = 1e6 * r[3], 1e12 * v[3]
    assert rg.calibrate(r, v).n_aside == 0


def test_most_rows_may_be_rounding():
    r, v = drawn(1000)
    rounded = np.arange(1000) >= 30
    r[rounded], v[rounded] = 1e-9 * r[rounded], 1e-22 * v[rounded]
    with pytest.warns(rg.IllConditionedWarning, match="970 of 1000"):
        found = rg.calibrate(r, v)
    assert found.scale == rg.calibrate(r[:30], v[:30]).scale


def test_no_targets_have_no_sigma():
    by, none = np.arange(200) % 2, np.zeros(0, dtype=int)
    r, v = drawn(200)
    for residuals, shape in ((r, (0,)), (np.stack([r, r], axis=1), (0, 2))):
        found = rg.calibrate(residuals, v, by=by)
        assert found.standard_deviation([], by=none).shape == shape
        for method in ("gaussian", "conformal"):
            assert found.interval([], 0.5, method, by=none).shape == shape
            assert found.interval([], 0.5, method).shape == shape


def test_left_out_residuals_give_the_scale():
    """From leave-one-out, rows and blocks, without a validation set: as from rows that the fit has not seen."""
    rng = np.random.default_rng(0)
    F, X = rng.normal(size=(400, 30)), rng.normal(size=(4000, 30))
    theta = rng.normal(size=30)
    y, new = F @ theta + 0.2 * rng.normal(size=400), X @ theta + 0.2 * rng.normal(size=4000)
    covariance = rg.Covariance(30)
    covariance.update(F, targets=y)
    hessian = covariance.factorize(1e-3)
    blocks = np.arange(400) // 4
    for out in (rg.leave_one_out(hessian, F, y), rg.leave_one_out(hessian, F, y, blocks=blocks)):
        left = rg.calibrate(out.residuals, out.variances, noise=1.0, blocks=blocks)
        fresh = rg.calibrate(new - X @ hessian.coef, hessian.variance(X), noise=1.0)
        assert abs(left.scale - fresh.scale) < 4 * np.hypot(left.scale_error, fresh.scale_error)
        assert left.scale == pytest.approx(0.2, rel=0.1)  # y has the noise σ² = scale²·1


def test_arguments_stay_as_they_are():
    r, v = drawn(30)
    before = r.copy(), v.copy()
    x = np.ones(30)
    found = rg.calibrate(r, v, features=x)
    half = found.interval(v, 0.5, "adaptive", features=x)
    r[:], v[:], x[:] = 0, 1, 2
    np.testing.assert_array_equal(found.interval(before[1], 0.5, "adaptive", features=np.ones(30)), half)
    with pytest.raises(AttributeError):
        found.scale = 1.0


# ---- bad input


def test_the_crps_has_no_scale_where_zeros_carry_too_much():
    """The limit is 1/√2 of Σσ, to either side."""
    v = np.ones(1000)
    r = np.random.default_rng(0).normal(size=1000)
    for n, zero in ((707, 0.0), (707, 1e-200), (708, 0.0), (708, 1e-200)):
        r[:n] = zero
        if n == 707:
            scale = rg.calibrate(r, v, "crps").scale
            assert scale > 0
            assert crps(r, scale) < min(crps(r, 0.5 * scale), crps(r, 2 * scale))
        else:
            with pytest.raises(ValueError, match=r"708 of 1000 .* carry 0\.708 of Σσ"):
                rg.calibrate(r, v, "crps")


R, V = drawn(30)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((R[:9], V[:9]), {}, "there are 9 targets: expected at least 10"),
        (([], []), {}, "there are 0 targets: expected at least 10"),
        ((R[:12], np.append(V[:9], [0, 0, 0])), {}, r"there are 9 targets \(3 more have a variance of 0"),
        ((1e300 * R, 1e-300 * V), {}, "leaves the range of float64: pass them in other units"),
        ((1e300 * R, 1e-300 * V), {"noise": "fit"}, "leaves the range of float64"),
        ((1e300 * R, 1e-300 * V, "binned"), {"bin_size": 10}, "leaves the range of float64"),
        ((R, np.full(30, 1.7e308)), {}, "leaves the range of float64"),
        ((R, V[:29]), {}, "there are 30 residuals but 29 variances"),
        ((R, -V), {}, r"variance\[0\] is -.*: variances must be finite and not negative"),
        ((R, np.append(V[1:], np.nan)), {}, r"variance\[29\] is nan"),
        ((R, np.append(V[1:], np.inf)), {}, r"variance\[29\] is inf"),
        ((np.append(R[1:], np.nan), V), {}, r"residuals\[29\] is nan: residuals must be finite; leave this target out"),
        ((np.array([R, R * np.inf]).T, V), {}, r"residuals\[0, 1\] is -?inf"),
        ((R, 0 * V), {}, "all variances are 0"),
        ((0 * R, V), {}, "all residuals of the targets above rounding are 0"),
        ((np.array([R, 0 * R]).T, V), {}, "all residuals of the targets above rounding are 0"),
        ((R[None, :, None], V), {}, r"residuals has shape \(1, 30, 1\): expected \(n,\) or"),
        ((R, V[:, None]), {}, r"variance has shape \(30, 1\): expected 1 dimension"),
        ((R, V, "mse"), {}, 'loss is "mse": expected "nll", "absolute", "crps" or "binned"'),
        ((R, V), {"noise": -1.0}, "noise is -1.0: expected a number from 0"),
        ((R, V), {"noise": np.inf}, "noise is inf"),
        ((R, V), {"noise": "auto"}, 'noise is "auto": expected a number from 0, or "fit"'),
        ((R, V, "crps"), {"noise": "fit"}, 'noise="fit" needs a likelihood, but loss is "crps"'),
        ((R, V, "binned"), {}, "bin_size is 100 but there are 30 targets"),
        ((R, V, "binned"), {"bin_size": 0}, "bin_size is 0: expected a positive integer"),
        ((R * (np.sort(V)[10] < V), V, "binned"), {"bin_size": 10}, "all residuals of a bin are 0"),
        ((R, V), {"by": ["a"] * 29}, "by has 29 entries but there are 30 targets"),
        ((R, V), {"blocks": [1] * 29}, "blocks has 29 entries"),
        ((R, V), {"blocks": [1] * 30}, "blocks has one label: expected at least two"),
        ((R, V), {"features": V[:29]}, r"features has shape \(29,\): expected \(30, n_features\)"),
        ((R, V), {"features": np.full((30, 2), np.nan)}, r"features\[0, 0\] is nan"),
    ],
)
def test_it_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        rg.calibrate(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((R, V, 1), {}, "loss is 1: expected"),
        ((R, V), {"noise": None}, "noise is None: expected a number from 0"),
        ((R, V), {"by": V}, "by has dtype float64: expected labels, integers or text"),
        ((R, V), {"by": [None] * 30}, "by has dtype object"),
        ((R, V), {"blocks": V}, "blocks has dtype float64"),
        ((R, V), {"bin_size": 2.5}, "bin_size is 2.5"),
        ((R + 1j, V), {}, "residuals has dtype complex128"),
        ((np.ma.array(R, mask=V > 0.5), V), {}, "residuals is a masked array"),
    ],
)
def test_it_refuses_types(arguments, options, message):
    with pytest.raises(TypeError, match=message):
        rg.calibrate(*arguments, **options)


def test_text_of_any_kind_is_a_label():
    expected = rg.calibrate(R, V, by=["a", "b"] * 15)
    for labels in (np.array(["a", "b"] * 15, dtype=object), np.array(["a", "b"] * 15)):
        found = rg.calibrate(R, V, by=labels)
        assert found.by == expected.by
        assert all(type(label) is str for label in found.by)


def test_nothing_is_warned_of_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rg.calibrate(R.tolist(), V.astype(np.float32), blocks=np.arange(30) % 15, by=np.arange(30) % 2)
