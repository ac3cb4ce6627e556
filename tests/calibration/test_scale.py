"""Scale, noise and factors by kind, against likelihoods of SciPy and what must not change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import laplace, norm

import rigidities as rg
from rigidities.calibration.losses import LEAST_TARGETS, scale_and_noise
from rigidities.calibration.scale import (
    FLOOR,
    LEAST_OF_KIND,
    POOLED,
    Calibration,
    Kind,
    above_rounding,
    fit_calibration,
)

LOSSES = ["nll", "absolute"]


def drawn(scale, noise, n=4000, seed=0, loss="nll"):
    """Residuals of the distribution, of variances over four decades."""
    rng = np.random.default_rng(seed)
    v = 10 ** rng.uniform(-4, 0, n)
    std = np.sqrt(scale**2 * v + noise**2)
    return rng.normal(size=n) * std if loss == "nll" else rng.laplace(size=n) * std * np.sqrt(2 / np.pi), v


def likelihood(r, v, scale, noise, loss):
    """Mean negative log likelihood, of SciPy's distributions."""
    std = np.sqrt(scale**2 * v + noise**2)
    if loss == "nll":
        return -norm.logpdf(r, scale=std).mean()
    return -laplace.logpdf(r, scale=std * np.sqrt(2 / np.pi)).mean()  # of the mean |r| of a Gaussian


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("scale", "noise"), [(3.0, 0.2), (3.0, 0.0), (0.01, 5.0), (2.0, 0.002)])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_likeliest(loss, scale, noise, seed):
    r, v = drawn(scale, noise, 400, seed, loss)
    found = scale_and_noise(r, v, loss)
    least = likelihood(r, v, *found, loss)
    assert (found[1] > 0) == (noise >= 0.2)
    # noise that is worth less than 1 in the whole log likelihood is left out; v/LARGEST is left beside noise
    allowed = 1 / len(r) if found[1] == 0 else 2e-4 if scale < 0.1 * noise else 1e-9
    for start in ((scale, noise + 0.01), found):
        other = minimize(
            lambda x: likelihood(r, v, *np.exp(x), loss), np.log(np.maximum(start, 1e-9)), method="Nelder-Mead"
        )
        assert least <= other.fun + allowed


@pytest.mark.parametrize("loss", LOSSES)
def test_it_finds_what_was_drawn(loss):
    found = scale_and_noise(*drawn(3.0, 0.2, 100_000, loss=loss), loss)
    assert found == pytest.approx((3.0, 0.2), rel=0.03)  # the relative error of 1e5 numbers is some 1/√1e5 each
    scale, noise = scale_and_noise(*drawn(3.0, 0.0, 100_000, loss=loss), loss)
    assert (scale, noise) == (pytest.approx(3.0, rel=0.02), 0)


def test_gaussian_errors_have_the_same_sigma_by_both():
    r, v = drawn(3.0, 0.0, 100_000)
    assert scale_and_noise(r, v, "absolute")[0] == pytest.approx(scale_and_noise(r, v, "nll")[0], rel=0.02)


def test_few_errors_far_off_move_the_robust_scale_little():
    r, v = drawn(3.0, 0.2, 400)
    wild = r.copy()
    wild[::40] *= 30
    squares, absolute = (
        np.median(Calibration(*scale_and_noise(wild, v, loss)).standard_deviation(v))
        / np.median(Calibration(*scale_and_noise(r, v, loss)).standard_deviation(v))
        for loss in LOSSES
    )
    assert absolute < 2 < squares


@pytest.mark.parametrize("loss", LOSSES)
@given(
    unit=st.integers(-150, 150),
    features=st.integers(-280, 280),
    seed=st.integers(0, 20),
    n=st.sampled_from([1, 2, LEAST_TARGETS - 1, LEAST_TARGETS, 40]),
)
def test_units_scale_it(loss, unit, features, seed, n):
    r, v = drawn(3.0, 0.2, n, seed)
    scale, noise = scale_and_noise(r, v, loss)
    other, noisy = scale_and_noise(r * 10.0**unit, v * 10.0**features, loss)
    root = 10.0 ** (features / 2)
    assert other * root == pytest.approx(10.0**unit * scale, rel=1e-3)  # ν is found to 1e-6, relative
    assert noisy == pytest.approx(10.0**unit * noise, rel=1e-3, abs=10.0**unit * 1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_of_few_targets_there_is_no_noise(loss):
    r, v = drawn(0.0, 1.0, LEAST_TARGETS)
    assert scale_and_noise(r[1:], v[1:], loss)[1] == 0
    assert scale_and_noise(r, v, loss)[1] > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_where_all_variances_are_alike_there_is_no_noise(loss):
    """It could be either. σ grows with v, so that a structure that is far off has a large one."""
    r = drawn(3.0, 1.0, 30)[0]
    assert scale_and_noise(r, np.linspace(0.9, 1.1, 30), loss)[1] == 0


# ---- rows at rounding


def test_sigma_is_never_below_the_floor():
    v = np.array([0.0, 1e-30, 1e-4, 1.0])
    kept, floor = above_rounding(np.array([1e-3, 1.0, 50.0, 1e-7, 2e-6]), np.array([1.0, 1.0, 1.0, 1e-9, 1e-9]), 1.0)
    assert kept.tolist() == [True, True, True, False, False]
    assert floor == FLOOR
    std = Calibration(2.0, 0.0, floor).standard_deviation(v)
    np.testing.assert_allclose(std, [2e-3, 2e-3, 2e-2, 2.0])
    std = Calibration(2.0, 0.5, floor).standard_deviation(v)
    np.testing.assert_allclose(std, np.sqrt(4 * np.maximum(v, floor) + 0.25))
    kept, floor = above_rounding(np.array([1.0, 0.0]), np.array([1e-20, 0.0]), 1.0)
    assert (kept.any(), floor) == (False, 0.0)
    assert np.isnan(Calibration(np.nan).standard_deviation(v)).all()


# ---- kinds


@pytest.mark.parametrize(("loss", "power"), [("nll", 2), ("absolute", 1)])
def test_factors_are_drawn_towards_the_common_scale(loss, power):
    rng = np.random.default_rng(1)
    n = {"large": 40, "small": 40, "few": LEAST_OF_KIND, "fewer": LEAST_OF_KIND - 1, "-": 3}
    kinds = np.repeat(list(n), [3 * count for count in n.values()])
    structures = np.repeat(np.arange(sum(n.values())), 3)
    v = rng.uniform(0.5, 2, len(kinds))
    size = {"large": 3.0, "small": 0.2}
    r = rng.normal(size=len(kinds)) * np.sqrt(v) * [size.get(kind, 1.0) for kind in kinds]
    found = fit_calibration(r, v, structures, loss, kinds=kinds)
    common = np.sqrt(found.scale**2 * v + found.noise_std**2)
    assert list(found.kinds) == sorted(set(n) - {"-"})
    for name, kind in found.kinds.items():
        z = (r / common)[kinds == name]
        own = np.sqrt(np.mean(z**2)) if loss == "nll" else np.sqrt(np.pi / 2) * np.mean(np.abs(z))
        pooled = ((POOLED + n[name] * own**power) / (POOLED + n[name])) ** (1 / power)
        assert kind.n_structures == n[name]
        assert kind.mean_square == pytest.approx(np.mean(z**2))
        assert kind.factor == pytest.approx(1.0 if name == "fewer" else pooled)
    assert found.kinds["small"].factor < 0.6
    assert found.kinds["large"].factor > 1.3
    std = found.deviations(v, kinds)
    np.testing.assert_allclose(std[kinds == "large"], found.kinds["large"].factor * common[kinds == "large"])
    for unknown in ("fewer", "-"):
        np.testing.assert_allclose(std[kinds == unknown], common[kinds == unknown], rtol=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_kind_has_the_common_scale(loss):
    r, v = drawn(3.0, 0.2, 300)
    structures = np.arange(300)
    found = fit_calibration(r, v, structures, loss, kinds=np.full(300, "liquid"))
    assert found.kinds["liquid"].factor == pytest.approx(1.0, rel=1e-9)
    assert found.scale == fit_calibration(r, v, structures, loss).scale
    assert fit_calibration(r, v, structures, loss).kinds == {}


def test_a_kind_that_is_new_has_the_common_sigma():
    calibration = Calibration(2.0, kinds={"surface": Kind(9, 4.0, 1.5)})
    v = np.ones(2)
    kinds = np.array(["bulk", "surface"])
    with pytest.warns(rg.UndeterminedWarning, match="class 'bulk' was not in the calibration"):
        np.testing.assert_array_equal(calibration.standard_deviation(v, kinds), [2.0, 3.0])
    np.testing.assert_array_equal(calibration.deviations(v, kinds), [2.0, 3.0])  # of a model: no warning
    np.testing.assert_array_equal(calibration.standard_deviation(v, ["-", "surface"]), [2.0, 3.0])
    np.testing.assert_array_equal(calibration.standard_deviation(v), [2.0, 2.0])


# Feature spaces -----------------------------------------------------------------------------------


def test_a_calibration_refuses_another_feature_space():
    """Where both are known; arrays alone say nothing."""
    rng = np.random.default_rng(0)
    v = rng.uniform(0.5, 2.0, 50)
    r = np.sqrt(v) * rng.normal(size=50)
    known, unknown = rg.calibrate(r, v, feature_space="a"), rg.calibrate(r, v)
    assert (known.feature_space, unknown.feature_space) == ("a", None)
    for calibration in (known, unknown):
        for space in (None, "a"):
            np.testing.assert_array_equal(
                calibration.standard_deviation(v, feature_space=space), unknown.standard_deviation(v)
            )
            for method in ("gaussian", "conformal"):
                np.testing.assert_array_equal(
                    calibration.interval(v, 0.5, method, feature_space=space), unknown.interval(v, 0.5, method)
                )
    unknown.standard_deviation(v, feature_space="b")
    said = "the calibration is of feature space 'a', but the variances are of 'b', where another scale holds: calibrate"
    with pytest.raises(ValueError, match=said):
        known.standard_deviation(v, feature_space="b")
    with pytest.raises(ValueError, match=said):
        known.interval(v, 0.5, feature_space="b")


@pytest.mark.parametrize("space", [1, b"a", ["a"]])
def test_a_feature_space_is_a_string(space):
    v = np.linspace(1, 2, 20)
    with pytest.raises(TypeError, match=r"feature_space is .*: expected a string or None"):
        rg.calibrate(v, v, feature_space=space)
    for call in (
        Calibration(1.0).standard_deviation,
        lambda v, **options: Calibration(1.0).interval(v, 0.5, **options),
    ):
        with pytest.raises(TypeError, match=r"feature_space is .*: expected a string or None"):
            call(v, feature_space=space)
