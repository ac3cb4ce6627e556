"""What a change of a Hessian leaves as it was and what not, and what it refuses."""

import copy
import pickle

import numpy as np
import pytest
from updates import LAMBDA, P, assert_is, factorized, rows, textbook

import rigidities as rg
from rigidities import _core

# What a change leaves, and what it does not ------------------------------------------------------


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # true at first
def test_nothing_that_was_computed_before_is_kept():
    F, w, y = rows(40)
    components = [slice(0, 5), slice(5, P)]
    ask = {
        "rcond": lambda h: h.rcond,
        "effective_dimension": lambda h: h.effective_dimension,
        "coef": lambda h: h.coef,
        "single": lambda h: h.variance(F, precision="float32"),
        "components": lambda h: h.component_rigidity(F, components),
        "prior": lambda h: h.prior_share(F),
        "log_determinant": lambda h: h.log_determinant,
        "unexplained": lambda h: h._core.unexplained(),
    }
    for form in ("qr", "diagonal", "span"):
        hessian = factorized(form, F[:9], w[:9], y[:9])
        before = {name: call(hessian) for name, call in ask.items() if (form, name) != ("span", "unexplained")}
        hessian.update(F[9:], weights=w[9:], targets=y[9:])
        after = {name: ask[name](hessian) for name in before}
        fresh = pickle.loads(pickle.dumps(hessian))
        for name in before:
            np.testing.assert_array_equal(after[name], ask[name](fresh), err_msg=f"{form}, {name}")
            if name != "unexplained" or form == "qr":
                assert not np.allclose(after[name], before[name]), (form, name)


@pytest.mark.parametrize("form", ["sums", "qr", "span"])
def test_without_targets_there_is_no_fit_any_more(form):
    F, w, y = rows(20)
    for change in ("update", "downdate"):
        hessian = factorized(form, F[:9], w[:9], y[:9])
        assert hessian.coef.shape == (P,)
        getattr(hessian, change)(F[5:7], weights=w[5:7])
        with pytest.raises(rg.NotFittedError, match="no targets were accumulated"):
            hessian.coef  # noqa: B018
        with pytest.raises(rg.NotFittedError):
            pickle.loads(pickle.dumps(hessian)).coef  # noqa: B018
        assert hessian.sample(3, random_state=0).shape == (3, P)
        with pytest.raises(ValueError, match="targets come with every update or with none: they came now but not"):
            hessian.update(F[9:], weights=w[9:], targets=y[9:])


def test_targets_may_come_with_the_first_rows():
    F, w, y = rows(30)
    for accumulation in ("sums", "qr"):
        hessian = rg.Covariance(P, accumulation=accumulation).factorize(LAMBDA)
        hessian.update(F, weights=w, targets=y[:, None])
        assert hessian.coef.shape == (P, 1)
        assert_is(hessian, accumulation, F, w, y[:, None])


@pytest.mark.parametrize("form", ["sums", "qr", "span"])
def test_copies_are_independent(form):
    F, w, y = rows(20)
    hessian = factorized(form, F[:9], w[:9], y[:9])
    for copied in (copy.copy(hessian), copy.deepcopy(hessian)):
        before = pickle.dumps(hessian)
        copied.update(F[9:], weights=w[9:], targets=y[9:])
        assert pickle.dumps(hessian) == before
        assert copied.n_rows > hessian.n_rows
        again = copy.copy(copied)
        kept = pickle.dumps(again)
        copied.downdate(F[9:], weights=w[9:], targets=y[9:])
        assert pickle.dumps(again) == kept


def test_a_factor_in_the_place_of_sums_leaves_them_given_up():
    F, w, y = rows(20)
    covariance = rg.Covariance(P)
    covariance.update(F[:9], weights=w[:9], targets=y[:9])
    hessian = covariance.factorize(LAMBDA, consume=True)
    hessian.update(F[9:], weights=w[9:], targets=y[9:])
    assert_is(hessian, "consumed", F, w, y)
    with pytest.raises(ValueError, match="was consumed"):
        covariance.trace  # noqa: B018


def test_a_saved_hessian_can_be_updated(tmp_path):
    F, w, y = rows(20)
    for form in ("sums", "qr", "matrix", "span"):
        hessian = factorized(form, F[:9], w[:9], y[:9])
        hessian.update(F[9:14], weights=w[9:14], targets=y[9:14])
        hessian.save(tmp_path / "hessian.safetensors")
        loaded = rg.Hessian.load(tmp_path / "hessian.safetensors")
        loaded.update(F[14:], weights=w[14:], targets=y[14:])
        assert_is(loaded, form, F, w, y)


@pytest.mark.parametrize("form", ["sums", "diagonal", "matrix", "span"])
def test_what_rounding_leaves_of_removed_rows_can_be_stored(form):
    """H_00 is at least λΛ_00, which a file is checked for, though rounding of ‖C‖ is larger."""
    for seed in range(40):
        F, _, _ = rows(9, seed=seed)
        for k in (9, 500):
            hessian = factorized(form, np.tile(F, (k // 9, 1)), regularizer=1e-9)
            hessian.downdate(np.tile(F, (k // 9, 1)))
            again = pickle.loads(pickle.dumps(hessian))
            np.testing.assert_array_equal(again.variance(F), hessian.variance(F))


def test_a_row_that_comes_back_restores_the_span_and_its_memory():
    """A span grows by directions, not by rows; at p directions it is full."""
    F, w, _ = rows(60)
    hessian = factorized("span", F[:4], w[:4] + 1)
    for _ in range(3):
        hessian.update(F[:4], weights=w[:4])
        assert len(hessian._core.span.basis) == 4
    hessian.update(50 * F[4:8])
    assert len(hessian._core.span.basis) == 8
    condition = np.linalg.cond(hessian.solve(np.eye(P)))  # the norm in rcond is one of columns
    assert 1 / np.sqrt(P) < hessian.rcond * condition < 1.01
    hessian.update(F, weights=w)
    assert len(hessian._core.span.basis) == P
    assert 0.3 < hessian.rcond * np.linalg.cond(np.linalg.inv(hessian.solve(np.eye(P))), 1) < 3


def test_the_feature_space_of_the_first_rows_that_have_one_is_kept():
    F, _, _ = rows(20)
    hessian = factorized("sums", F)
    hessian.update(rg.Rows(F[:2], feature_space="soap"))
    assert hessian.feature_space == "soap"
    with pytest.raises(ValueError, match="feature space 'mace', but 'soap' was expected"):
        hessian.downdate(rg.Rows(F[:2], feature_space="mace"))


# Bad input ----------------------------------------------------------------------------------------


def bad_calls():
    F, w, y = rows(9)
    nan, infinite = F.copy(), F.astype(np.float32)
    nan[7, 3], infinite[2, 1] = np.nan, np.inf
    many = np.tile(F, (40, 1))
    many[350, 2] = np.nan
    return {
        "nan": ((nan,), {}, r"features\[7, 3\] is NaN"),
        "inf": ((infinite,), {}, r"features\[2, 1\] is inf"),
        "nan behind many": ((many,), {}, r"features\[350, 2\] is NaN"),
        "width": ((F[:, :-1],), {}, f"{P - 1} columns|{P} were expected"),
        "no rows": ((F[:0],), {}, "no rows"),
        "weights": ((F,), {"weights": -w}, r"weights\[1\] is -"),
        "weights' length": ((F,), {"weights": w[:-1]}, "weights has 8 entries but there are 9"),
        "targets' length": ((F,), {"targets": y[:-1]}, "targets has 8 entries but there are 9"),
        "targets' nan": ((F,), {"targets": np.r_[y[:-1], np.nan]}, r"targets\[8, 0\] is NaN"),
        "outputs": ((F,), {"targets": np.ones((9, 2))}, "targets have 2 outputs but the targets so far have 1"),
        "no outputs": ((F,), {"targets": np.ones((9, 0))}, "targets have 0 outputs"),
        "reduction": ((F,), {"reduction": "median"}, "reduction"),
        "space": ((rg.Rows(F, feature_space="mace"),), {}, "feature space 'mace'"),
        "huge": ((1e160 * F,), {}, "rescale the features"),
        "huge weights": ((F,), {"weights": w + 1e300}, "rescale the features"),
        "huge targets": ((F,), {"targets": 1e160 * y}, "rescale the targets|their sum of w y², inf"),
    }


@pytest.mark.parametrize("change", ["update", "downdate"])
@pytest.mark.parametrize("name", list(bad_calls()))
@pytest.mark.parametrize("form", ["sums", "qr", "span"])
def test_bad_rows_are_named_and_change_nothing(form, name, change):
    F, _, y = rows(9)
    hessian = factorized(form, np.tile(F, (50, 1)), None, np.tile(y, 50))
    hessian.feature_space = "soap"
    before = pickle.dumps(hessian)
    arguments, keywords, message = bad_calls()[name]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(hessian, change)(*arguments, **keywords)
    assert pickle.dumps(hessian) == before


@pytest.mark.parametrize("form", ["sums", "qr", "matrix", "span"])
def test_removal_past_definiteness_is_refused(form):
    F, _, y = rows(20)
    for k in (1, 3, 19):
        hessian = factorized(form, F, None, y)
        before = pickle.dumps(hessian)
        with pytest.raises(rg.NotPositiveDefiniteError, match="without these rows pivot") as caught:
            hessian.downdate(30 * F[:k], targets=y[:k])
        assert pickle.dumps(hessian) == before
        assert 0 <= caught.value.pivot < P
        assert caught.value.regularizer == LAMBDA


def test_the_pivot_that_is_lost_is_that_of_the_textbook():
    F, _, _ = rows(60, 150, seed=8)
    H = textbook("", F, np.ones(60))
    for column in (0, 1, 63, 64, 65, 149):
        f = np.zeros((1, 150))
        f[0, column:] = 100.0  # every pivot before it is that of H
        hessian = factorized("sums", F)
        with pytest.raises(rg.NotPositiveDefiniteError) as caught:
            hessian.downdate(f)
        assert caught.value.pivot == column
        schur = H[column:, column:] - H[column:, :column] @ np.linalg.solve(H[:column, :column], H[:column, column:])
        value = float(str(caught.value).split("would be ")[1].split(",")[0])
        np.testing.assert_allclose(value, schur[0, 0] - 1e4, rtol=1e-9)


def test_what_was_the_only_row_in_a_direction_cannot_be_removed_without_a_regularizer():
    hessian = factorized("sums", np.diag([1.0, 2.0, 3.0]), regularizer=0.0)
    with pytest.raises(rg.NotPositiveDefiniteError, match="only they cover a direction"):
        hessian.downdate([[0.0, 2.0, 0.0]])
    hessian.update([[0.0, 1e-3, 0.0]])
    hessian.downdate([[0.0, 2.0, 0.0]])
    np.testing.assert_allclose(hessian.variance([[0.0, 1.0, 0.0]]), 1e6, rtol=1e-8)


def test_more_than_there_is_cannot_be_removed():
    F, _, y = rows(9)
    for form in ("sums", "qr"):
        hessian = factorized(form, F, None, y)
        before = pickle.dumps(hessian)
        with pytest.raises(ValueError, match="10 rows of positive weight cannot be removed: only 9 were added"):
            hessian.downdate(np.zeros((10, P)))
        with pytest.raises(ValueError, match=r"targets\[:, 0\] cannot be removed: their sum of w y²"):
            hessian.downdate(F[:1], targets=1e3 * y[:1] + 1e3)
        assert pickle.dumps(hessian) == before
    with pytest.raises(ValueError, match=r"targets\[:, 0\] cannot be removed: their sum of squared residuals"):
        hessian.downdate(F[:1], targets=y[:1] + 0.5 * np.linalg.norm(y))
    assert pickle.dumps(hessian) == before


@pytest.mark.parametrize("scale", [1e-130, 1e130])
def test_scales_at_the_ends_of_float64(scale):
    F, w, y = rows(30)
    hessian = factorized("sums", scale * F[:20], w[:20], scale * y[:20], scale**2 * LAMBDA)
    hessian.update(scale * F[20:], weights=w[20:], targets=scale * y[20:])
    hessian.downdate(scale * F[20:22], weights=w[20:22], targets=scale * y[20:22])
    kept = np.r_[:20, 22:30]
    expected = factorized("sums", F[kept], w[kept], y[kept])
    np.testing.assert_allclose(hessian.variance(scale * F), expected.variance(F), rtol=1e-10)
    np.testing.assert_allclose(hessian.coef, expected.coef, rtol=1e-9)


@pytest.mark.parametrize("exponent", [-160, -145, -144, -143, -100, -30, -17, -16])
@pytest.mark.parametrize("accumulation", ["sums", "qr"])
def test_rows_far_below_the_others_do_no_harm(accumulation, exponent):
    F, _, y = rows(30)
    hessian = factorized(accumulation, 1e12 * F, None, y)
    before = hessian.variance(F)
    hessian.update(10.0**exponent * F, targets=y)
    np.testing.assert_allclose(hessian.variance(F), before, rtol=1e-10)
    hessian.downdate(10.0**exponent * F, targets=y)
    np.testing.assert_allclose(hessian.variance(F), before, rtol=1e-10)


def test_rows_that_say_nothing_change_nothing():
    F, _, y = rows(20)
    hessian = factorized("sums", F, None, y)
    lower, n = hessian.__getstate__()["lower"], hessian.n_rows
    hessian.update(np.zeros((3, P)), targets=np.zeros(3))
    hessian.update(F, weights=np.zeros(20), targets=y)
    hessian.downdate(np.zeros((3, P)), targets=np.zeros(3))
    np.testing.assert_array_equal(hessian.__getstate__()["lower"], lower)
    assert hessian.n_rows == n


def test_the_number_of_rows_in_place_is_that_of_the_core():
    assert _core.ROWS_IN_PLACE == 64
