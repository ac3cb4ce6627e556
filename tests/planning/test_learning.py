"""Learning curves against fits made anew at each size, and their forecasts against the sizes to come."""

import numpy as np
import pytest
import reference

import rigidities as rg

P, N = 12, 60


def rows(seed=0, n=N, p=P):
    """Correlated rows, targets that they explain in part, rows to test on."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(p, p)) * np.geomspace(1, 0.1, p)
    F, X = rng.normal(size=(n, p)) @ mix, rng.normal(size=(9, p)) @ mix
    theta = rng.normal(size=p)
    return F, F @ theta + 0.1 * rng.normal(size=n), X, X @ theta


def brute(F, y, w, X, members, order, size, lam):
    """H and θ of the first blocks of an order, as the textbook has it."""
    chosen = np.concatenate([members[block] for block in order[:size]])
    H = reference.hessian(reference.covariance(F[chosen], weights=w[chosen]), lam)
    return H, np.linalg.solve(H, F[chosen].T @ (w[chosen] * y[chosen])), chosen


@pytest.mark.parametrize("with_blocks", [False, True])
@pytest.mark.parametrize("with_test", [False, True])
def test_equals_fits_made_anew(with_blocks, with_test):
    F, y, X, y_test = rows()
    rng = np.random.default_rng(1)
    w = rng.uniform(0.1, 5, N)
    blocks = rng.permutation(np.repeat(np.arange(7, 27), 3)) if with_blocks else None
    members = [np.flatnonzero(blocks == b) for b in range(7, 27)] if with_blocks else [[i] for i in range(N)]
    sizes, lam = [3, 10, 15], 0.01
    curve = rg.learning_curve(
        F, X, blocks=blocks, weights=w, y=y, y_test=y_test if with_test else None, sizes=sizes, n_orders=3,
        regularizer=lam, random_state=5,
    )  # fmt: skip
    assert curve.rigidity.shape == (3, 3, len(X))
    assert curve.rmse.shape == curve.effective_dimension.shape == curve.n_rows.shape == (3, 3)
    draw = np.random.default_rng(5)
    for i in range(3):
        order = draw.permutation(len(members))
        for j, size in enumerate(sizes):
            H, theta, chosen = brute(F, y, w, X, members, order, size, lam)
            np.testing.assert_allclose(curve.rigidity[i, j], reference.rigidity(H, X), rtol=1e-9)
            assert curve.n_rows[i, j] == len(chosen)
            np.testing.assert_allclose(curve.effective_dimension[i, j], P - lam * np.trace(np.linalg.inv(H)), rtol=1e-9)
            left = np.setdiff1d(np.arange(N), chosen)
            r, v = (y_test - X @ theta, np.ones(len(X))) if with_test else (y[left] - F[left] @ theta, w[left])
            assert curve.rmse[i, j] == pytest.approx(np.sqrt(v @ r**2 / v.sum()), rel=1e-8)


def test_no_target_is_left_at_the_last_size():
    F, y, X, _ = rows()
    curve = rg.learning_curve(F, X, y=y, regularizer=0.1, n_orders=2, random_state=0)
    assert np.isnan(curve.rmse[:, -1]).all()
    assert np.isfinite(curve.rmse[:, :-1]).all()
    assert curve.sizes[-1] == N


def test_data_never_lower_a_rigidity_and_all_orders_end_alike():
    F, _, X, _ = rows()
    curve = rg.learning_curve(F, X, regularizer=0.1, random_state=0)
    assert (np.diff(curve.rigidity, axis=1) >= -1e-9 * curve.rigidity[:, 1:]).all()
    np.testing.assert_allclose(curve.rigidity[:, -1], np.broadcast_to(curve.rigidity[0, -1], (8, len(X))), rtol=1e-10)
    assert (curve.rigidity[0, 0] != curve.rigidity[1, 0]).any()


def test_auto_is_the_regularizer_of_all_rows():
    F, y, X, _ = rows()
    covariance = rg.Covariance(P)
    covariance.update(F, targets=y)
    curve = rg.learning_curve(F, X, y=y, n_orders=1)
    assert curve.regularizer == pytest.approx(covariance.factorize().regularizer, rel=1e-9)


def test_a_selected_order_stands_beside_random_ones():
    F, y, X, y_test = rows()
    order = np.argsort(-np.linalg.norm(F, axis=1))[:20]
    curve = rg.learning_curve(F, X, y=y, y_test=y_test, sizes=[5, 20, 40], n_orders=1, regularizer=0.1, selected=order)
    H, theta, _ = brute(F, y, np.ones(N), X, [[i] for i in range(N)], order, 20, 0.1)
    np.testing.assert_allclose(curve.selected.rigidity[1], reference.rigidity(H, X), rtol=1e-9)
    assert curve.selected.rmse[1] == pytest.approx(np.sqrt(np.mean((y_test - X @ theta) ** 2)))
    assert np.isnan(curve.selected.rigidity[2]).all()
    assert np.isnan(curve.selected.rmse[2])


def test_components_and_groups():
    F, _, X, _ = rows()
    parts = [slice(0, 5), slice(5, P)]
    X = np.concatenate([X, X[::-1] + 1.0])
    groups = np.tile(np.arange(9), 2)
    curve = rg.learning_curve(
        F, X, sizes=[30, 40, 60], n_orders=2, regularizer=0.1, components=parts, groups=groups, reduction="sum"
    )
    H = reference.hessian(reference.covariance(F), 0.1)
    G = reference.reduce_rows(X, groups, "sum")
    expected = reference.component_rigidity(H, G, [np.arange(0, 5), np.arange(5, P)])
    np.testing.assert_allclose(curve.rigidity[0, -1], expected, rtol=1e-9)
    assert curve.band().shape == (3, 3, 2)
    assert curve.more_needed(2.0, component=1).reached


def test_bands_are_quantiles_over_the_orders():
    F, y, X, _ = rows()
    curve = rg.learning_curve(F, X, y=y, sizes=[20, 30, 50], regularizer=0.1, random_state=0)
    median = np.median(curve.rigidity, axis=2)
    np.testing.assert_allclose(curve.band("rigidity", 0.5), np.quantile(median, [0.25, 0.5, 0.75], axis=0))
    np.testing.assert_allclose(curve.band("rmse")[1], np.median(curve.rmse, axis=0))


# Forecasts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [60, 100, 200])
def test_rigidity_at_twice_the_data_is_forecast_within_a_fifth(n):
    """Also near n = p, where the rigidity of random rows grows faster than any power of n."""
    p = 50
    F, _, X, _ = rows(seed=3, n=2 * n, p=p)
    sizes = np.unique(np.geomspace(n // 4, n, 8).astype(int))
    curve = rg.learning_curve(F, X, sizes=sizes, regularizer=1e-3, n_orders=20, random_state=0)
    truth = rg.learning_curve(F, X, sizes=[2 * n], regularizer=1e-3, n_orders=1)
    open_still = 1 - curve.effective_dimension[:, -1].mean() / n < 0.5
    if open_still:
        with pytest.warns(rg.UndeterminedWarning, match="of the target rows"):
            found = curve.forecast(2 * n)
    else:
        found = curve.forecast(2 * n)
    assert found.value == pytest.approx(np.median(truth.rigidity), rel=0.2)
    assert found.low <= found.value <= found.high
    if n == 60:  # a power law of n alone is far off
        m = curve.median_rigidity().mean(axis=0)
        assert m[-1] * (m[-1] / m[-4]) ** (np.log(2) / np.log(sizes[-1] / sizes[-4])) > 1.5 * np.median(truth.rigidity)


def test_errors_are_forecast_and_a_floor_is_named():
    F, y, X, y_test = rows(seed=4, n=800, p=20)
    y_test = y_test + 0.1 * np.random.default_rng(0).normal(size=len(y_test))
    known = {"y": y, "y_test": y_test, "regularizer": 1e-3, "n_orders": 20, "random_state": 0}
    curve = rg.learning_curve(F, X, sizes=[50, 70, 100, 140, 200], **known)
    truth = rg.learning_curve(F, X, sizes=[400], **known)
    assert curve.forecast(400, "rmse").value == pytest.approx(truth.rmse.mean(), rel=0.2)
    never = curve.more_needed(0.5, "rmse")
    assert not never.reached
    assert never.value == 7 * 200
    assert "does not fall" in str(never)
    assert str(never).startswith("more than 1400")


def test_what_doubles_the_rigidity_doubles_it():
    F, _, X, _ = rows(seed=5, n=400)
    curve = rg.learning_curve(F, X, sizes=[50, 70, 100, 140, 200], regularizer=1e-6, random_state=0)
    more = curve.more_needed(2.0)
    assert more.reached
    assert curve.forecast(200 + round(more.value)).value == pytest.approx(2 * curve.forecast(200).value, rel=0.02)
    assert 170 < more.value < 230
    assert "more blocks" in str(more)


def test_the_range_of_a_forecast_is_open_where_an_order_never_gets_there():
    F, _, X, _ = rows(seed=5, n=400)
    curve = rg.learning_curve(F, X, sizes=[50, 70, 100, 140, 200], regularizer=1e-6, random_state=0)
    assert not curve.more_needed(2.0).is_open
    assert "more than" not in str(curve.more_needed(2.0))
    asked = [curve.more_needed(factor) for factor in np.linspace(5, 10, 101)]
    found = [one for one in asked if one.reached and one.is_open]
    assert found, "the mean of the orders reaches this before the last of them"
    for one in found:
        assert one.high == 7 * 200
        assert f"to more than {one.high:.3g})" in str(one)
    assert all(one.high < 7 * 200 for one in asked if one.reached and not one.is_open)


def test_bands_of_infinite_rigidities_are_infinite():
    F, _, X, _ = rows(n=40)
    zero = rg.learning_curve(F, np.zeros_like(X), regularizer=0.1, n_orders=4)
    assert np.isinf(zero.band()).all()
    mixed = rg.learning_curve(F, np.concatenate([np.zeros_like(X), 2 * X[:1]]), regularizer=0.1, n_orders=4)
    assert np.isinf(mixed.band()).all()


# Input --------------------------------------------------------------------------------------------


def faulty(**changed):
    F, y, X, y_test = rows()
    given = {"F": F, "X": X, "y": y, "y_test": y_test, "regularizer": 0.1, "n_orders": 1} | changed
    return rg.learning_curve(given.pop("F"), given.pop("X"), **given)


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"sizes": [0, 3]}, ValueError, "rising numbers from 1 to 60"),
        ({"sizes": [5, 5]}, ValueError, "rising"),
        ({"sizes": [5, 61]}, ValueError, "to 60"),
        ({"sizes": []}, ValueError, r"sizes has shape \(0,\)"),
        ({"sizes": [2.5, 5.0]}, TypeError, "sizes has dtype float64"),
        ({"n_orders": 0}, ValueError, "n_orders is 0"),
        ({"y": None}, ValueError, "y_test was passed without y"),
        ({"y_test": np.zeros(3)}, ValueError, "expected 9 targets"),
        ({"X": np.zeros((3, 5))}, ValueError, "5 columns but 12"),
        ({"blocks": np.zeros(4, dtype=int)}, ValueError, "blocks has 4 entries"),
        ({"weights": -np.ones(N)}, ValueError, "weights"),
        ({"selected": [1, 99]}, ValueError, "selected has 99"),
        ({"selected": [1, 1]}, ValueError, "names a block twice"),
        ({"selected": [[1]]}, ValueError, "expected labels of blocks"),
        ({"selected": []}, ValueError, "selected has 0 blocks, but the first of sizes is 1"),
        ({"selected": [1, 2, 3, 4], "sizes": [5, 60]}, ValueError, "selected has 4 blocks"),
        ({"random_state": -1}, ValueError, "random_state is -1: expected an integer from 0"),
        ({"random_state": "a"}, TypeError, "random_state is 'a'"),
        ({"F": np.full((N, P), np.nan)}, ValueError, r"features\[0, 0\] is NaN"),
        ({"components": [[99]]}, ValueError, "99"),
    ],
)
def test_bad_input(changed, kind, words):
    with pytest.raises(kind, match=words):
        faulty(**changed)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.forecast(30), "from 60, the last of the curve"),
        (lambda c: c.forecast(481), "eight times"),
        (lambda c: c.forecast(70, "speed"), 'expected "rigidity" or "rmse"'),
        (lambda c: c.more_needed(0.5), "above 1"),
        (lambda c: c.more_needed(2.0, "rmse"), "between 0 and 1"),
        (lambda c: c.band(coverage=1.0), "between 0 and 1"),
        (lambda c: c.forecast(70, component=0), "component is 0, but the curve is of whole predictions"),
    ],
)
def test_bad_questions(call, words):
    curve = faulty()
    with pytest.raises(ValueError, match=words):
        call(curve)


def test_questions_that_a_curve_cannot_answer():
    with pytest.raises(ValueError, match="no errors: pass targets"):
        faulty(y=None, y_test=None).forecast(70, "rmse")
    with pytest.raises(ValueError, match="three sizes"):
        faulty(sizes=[5, 60]).forecast(70)
    X = np.zeros((9, P))
    X[:4] = 1.0
    with pytest.raises(ValueError, match="half of the rows of X are zeros"):
        faulty(X=X).forecast(70)
    parts = faulty(components=[slice(0, 5), slice(5, P)])
    with pytest.raises(ValueError, match="of 2 components"):
        parts.forecast(70)
    with pytest.raises(ValueError, match="index from 0 to 1"):
        parts.forecast(70, component=2)


def test_progress_is_told():
    told = []
    faulty(sizes=[5, 60], n_orders=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_arrays_are_left_as_they_were():
    F, y, X, _ = rows()
    before = F.copy()
    F.flags.writeable = y.flags.writeable = X.flags.writeable = False
    rg.learning_curve(F, X, y=y, n_orders=1)
    np.testing.assert_array_equal(F, before)
