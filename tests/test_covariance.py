"""The accumulator: its sums, what does not change them to the bit, and what it refuses."""

import copy
import pickle

import numpy as np
import pytest
import reference
from layouts import LAYOUTS

import rigidities as rg

EPS = np.finfo(np.float64).eps


def training_set(n=500, p=37, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    groups = rng.integers(0, n // 4, size=n)
    n_targets = len(np.unique(groups))
    return X, groups, rng.uniform(0, 3, size=n_targets), rng.normal(size=(n_targets, 2))


def accumulated(X, **kwargs):
    covariance = rg.Covariance(X.shape[1])
    covariance.update(X, **kwargs)
    return covariance


def assert_same_bits(a, b):
    """All that is stored, and what is computed from it."""
    np.testing.assert_array_equal(a.matrix(), b.matrix())
    np.testing.assert_array_equal(a.factorize(1.0)._core.diagonal(), b.factorize(1.0)._core.diagonal())
    assert (a.n_rows, a.trace) == (b.n_rows, b.trace)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_textbook_in_every_layout(layout, dtype):
    X, groups, weights, _ = training_set()
    X = X.astype(dtype)
    for kwargs in ({}, {"groups": groups, "weights": weights}, {"groups": groups, "reduction": "sum"}):
        covariance = accumulated(X, **{k: v for k, v in kwargs.items()})
        other = rg.Covariance(37)
        other.update(LAYOUTS[layout](X), **kwargs)
        expected = reference.covariance(X, **kwargs)
        # n roundings of sums of positive and negative terms, relative to the largest entry
        np.testing.assert_allclose(other.matrix(), expected, rtol=0, atol=500 * EPS * np.abs(expected).max())
        np.testing.assert_array_equal(other.matrix(), covariance.matrix())
        assert other.trace == pytest.approx(np.trace(expected), rel=500 * EPS)


def test_boundaries_of_batches_change_no_bit():
    X, _, _, _ = training_set(n=3000, p=19)
    rng = np.random.default_rng(3)
    w, y = rng.uniform(0, 2, size=3000), rng.normal(size=3000)
    whole = accumulated(X, weights=w, targets=y)
    for cuts in ([1, 2, 3], [511], [512], [513], [1500], list(range(1, 3000)), [700, 1900, 2999]):
        parts = rg.Covariance(19)
        for rows in np.split(np.arange(3000), cuts):
            parts.update(X[rows], weights=w[rows], targets=y[rows])
        assert_same_bits(parts, whole)
        np.testing.assert_array_equal(parts.factorize(1.0).coef, whole.factorize(1.0).coef)
        assert pickle.dumps(parts._core.snapshot()) == pickle.dumps(whole._core.snapshot())


def test_reading_does_not_disturb_what_waits():
    X, _, _, _ = training_set(n=2000, p=9)
    whole, read = accumulated(X), rg.Covariance(9)
    for rows in np.array_split(X, 7):
        read.update(rows)
        read.matrix(), read.trace, read.factorize(1.0), pickle.dumps(read)
    assert_same_bits(read, whole)


@pytest.mark.parametrize("n_threads", [1, 3, 8])
def test_threads_change_no_bit(n_threads):
    X, groups, weights, targets = training_set(n=4000, p=600)
    before = rg.get_num_threads()
    covariance = accumulated(X, groups=groups, weights=weights, targets=targets)
    try:
        rg.set_num_threads(n_threads)
        assert_same_bits(accumulated(X, groups=groups, weights=weights, targets=targets), covariance)
    finally:
        rg.set_num_threads(before)


def test_merging_adds_and_leaves_the_other():
    X, _, w, y = training_set(n=2200)
    X, w = X[: len(w)], w
    whole = accumulated(X, weights=w, targets=y)
    parts = [accumulated(X[rows], weights=w[rows], targets=y[rows]) for rows in np.array_split(np.arange(len(w)), 3)]
    middle = parts[1].matrix()
    total = parts[0] + parts[1]
    total += parts[2]
    atol = len(X) * EPS * np.abs(whole.matrix()).max()
    np.testing.assert_allclose(total.matrix(), whole.matrix(), rtol=0, atol=atol)
    np.testing.assert_array_equal(parts[1].matrix(), middle)
    assert total.n_rows == whole.n_rows
    tolerance = reference.tolerance(whole.matrix() + np.eye(37))
    np.testing.assert_allclose(total.factorize(1.0).coef, whole.factorize(1.0).coef, rtol=tolerance, atol=tolerance)


def test_merging_with_itself_doubles():
    X, _, _, _ = training_set()
    covariance = accumulated(X)
    doubled = covariance.matrix() * 2
    covariance += covariance
    np.testing.assert_allclose(covariance.matrix(), doubled, rtol=1e-13, atol=1e-12)
    assert covariance.n_rows == 1000


@pytest.mark.parametrize("factor", [2, 0.1, np.float64(2), np.float32(0.5), np.int64(3)])
def test_scaling_scales_weights(factor):
    X, groups, weights, y = training_set()
    scaled = factor * accumulated(X, groups=groups, weights=weights, targets=y)
    expected = accumulated(X, groups=groups, weights=float(factor) * weights, targets=y)
    assert isinstance(scaled, rg.Covariance)
    np.testing.assert_allclose(scaled.matrix(), expected.matrix(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scaled.factorize(1.0).coef, expected.factorize(1.0).coef, rtol=1e-10, atol=1e-12)
    a, b = scaled._core.snapshot(), expected._core.snapshot()
    assert a["n_rows"] == b["n_rows"]
    assert a["log_weight"] == pytest.approx(b["log_weight"], rel=1e-12)
    np.testing.assert_allclose(a["squares"], b["squares"], rtol=1e-12)


def test_a_term_of_weight_zero_counts_nowhere():
    X, _, _, _ = training_set()
    nothing = 0 * accumulated(X, targets=X[:, 0])
    assert (nothing.n_rows, nothing.trace) == (0, 0.0)
    assert not nothing.matrix().any()
    total = nothing + accumulated(X, targets=X[:, 0])
    np.testing.assert_array_equal(total.matrix(), accumulated(X).matrix())
    zeros = accumulated(X, weights=np.r_[np.zeros(499), 2.0])
    assert zeros.n_rows == 1
    assert zeros._core.snapshot()["log_weight"] == np.log(2.0)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, rg.Covariance.copy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_continue_to_the_same_bits(duplicate):
    X, _, _, _ = training_set(n=1700)
    original = rg.Covariance(37, feature_space="soap")
    original.update(X[:800], targets=X[:800, 0])
    other = duplicate(original)
    for covariance in (original, other):
        covariance.update(X[800:], targets=X[800:, 0])
    assert_same_bits(original, other)
    assert other.feature_space == "soap"
    other.update(X, targets=X[:, 1])
    assert original.n_rows == 1700


REFUSED = [
    (ValueError, dict(features=np.ones((3, 5))), "features have 5 columns but 37 were expected"),
    (ValueError, dict(features=np.ones(37)), "expected 2 dimensions"),
    (ValueError, dict(features=np.ones((0, 37))), "features have no rows"),
    (TypeError, dict(features=np.ones((3, 37)) + 1j), "complex128"),
    (ValueError, dict(weights=[1.0, 2.0]), "weights has 2 entries but there are 3000 target rows"),
    (
        ValueError,
        dict(weights=-np.ones(3000)),
        r"weights\[0\] is -1: weights of the loss must be finite and not negative",
    ),
    (ValueError, dict(weights=np.r_[np.ones(2999), np.nan]), r"weights\[2999\] is NaN"),
    (ValueError, dict(weights=np.ones((3000, 1))), r"weights has shape \(3000, 1\): expected 1 dimension"),
    (TypeError, dict(weights=["a"] * 3000), "weights has dtype"),
    (ValueError, dict(targets=np.ones(7)), "targets has 7 entries but there are 3000 target rows"),
    (ValueError, dict(targets=np.r_[np.ones(2999), np.inf]), r"targets\[2999, 0\] is inf"),
    (ValueError, dict(targets=np.ones((3000, 2))), "targets have 2 outputs but the targets so far have 1"),
    (ValueError, dict(targets=np.ones((3000, 1, 1))), r"targets has shape \(3000, 1, 1\)"),
    (ValueError, dict(targets=None), "targets come with every update or with none: they came before but not now"),
    (ValueError, dict(groups=np.zeros(2, int)), "groups has 2 entries"),
    (ValueError, dict(reduction="median"), 'reduction is "median"'),
    (ValueError, dict(space="other"), "the rows are of feature space 'other', but 'mine' was expected"),
    (ValueError, dict(bad=(2999, 36, np.nan)), r"features\[2999, 36\] is NaN"),  # five blocks have been summed by then
    (ValueError, dict(bad=(2000, 0, -np.inf)), r"features\[2000, 0\] is -inf"),
    (ValueError, dict(bad=(1100, 3, 1e160)), "target row 1100 is finite but the square of its norm is not"),
    (ValueError, dict(bad=(3, 3, np.nan)), r"features\[3, 3\] is NaN"),
]


@pytest.mark.parametrize(("error", "change", "message"), REFUSED)
def test_a_refused_update_leaves_no_trace(error, change, message):
    X, _, _, _ = training_set(n=3000)
    covariance = rg.Covariance(37, feature_space="mine")
    covariance.update(X[:700], targets=X[:700, 0])
    before = pickle.dumps(covariance)
    if "bad" in change:
        row, column, value = change.pop("bad")
        X[row, column] = value
    change = {"features": X, "targets": X[:, 1] if np.isfinite(X[:, 1]).all() else np.ones(3000), **change}
    if "space" in change:
        change["features"] = rg.Rows(X, feature_space=change.pop("space"))
    with pytest.raises(error, match=message):
        covariance.update(**change)
    assert pickle.dumps(covariance) == before


def test_a_refused_first_update_leaves_targets_undecided():
    covariance = rg.Covariance(2)
    with pytest.raises(ValueError, match="NaN"):
        covariance.update([[np.nan, 1.0]], targets=[1.0])
    covariance.update([[1.0, 1.0]])
    with pytest.raises(ValueError, match="they came now but not before"):
        covariance.update([[1.0, 1.0]], targets=[1.0])
    with pytest.raises(ValueError, match="targets have 0 outputs"):
        rg.Covariance(2).update([[1.0, 1.0]], targets=np.ones((1, 0)))


def test_feature_spaces_must_agree():
    rows = rg.Rows(np.eye(2), feature_space="a")
    covariance = rg.Covariance(2)
    covariance.update(rows)  # None matches all, and then stands for what came
    assert covariance.feature_space == "a"
    other = rg.Covariance(2, feature_space="b")
    with pytest.raises(ValueError, match="cannot merge a covariance of feature space 'b' into 'a'"):
        covariance.merge(other)
    assert (rg.Covariance(2) + covariance).feature_space == "a"
    with pytest.raises(ValueError, match="feature space 'b', but 'a' was expected"):
        covariance.factorize(1.0).rigidity(rg.Rows(np.eye(2), feature_space="b"))


def test_what_cannot_be_merged_or_scaled():
    covariance = accumulated(np.eye(3))
    with pytest.raises(ValueError, match="cannot merge a covariance of 2 features into one of 3"):
        covariance += rg.Covariance(2)
    with pytest.raises(ValueError, match="they came now but not before"):
        covariance.merge(accumulated(np.eye(3), targets=np.ones(3)))
    with pytest.raises(TypeError, match="cannot merge a ndarray"):
        covariance.merge(np.eye(3))
    for value in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="the weight of a loss term must be finite and not negative"):
            value * covariance
    for value in ("2", 1j, None, True):
        with pytest.raises(TypeError):
            value * covariance
    with pytest.raises(TypeError):
        covariance + 1
    np.testing.assert_array_equal(sum([covariance, covariance]).matrix(), 2 * np.eye(3))


@pytest.mark.parametrize("value", [0, -1])
def test_no_features(value):
    with pytest.raises(ValueError, match=f"n_features is {value}: expected a positive integer"):
        rg.Covariance(value)


def test_arguments_of_the_wrong_type():
    for value in (2.0, "2", True, None):
        with pytest.raises(TypeError, match=r"n_features is .*: expected a positive integer"):
            rg.Covariance(value)
    with pytest.raises(TypeError, match="feature_space is 3"):
        rg.Covariance(2, feature_space=3)


def test_what_cannot_fit_is_refused_before_it_is_allocated():
    with pytest.raises(MemoryError, match=r"a covariance of 10000000 features needs 800000\.0 GB, .* are free"):
        rg.Covariance(10_000_000)


def test_a_damaged_state_is_refused():
    state = accumulated(np.eye(3), targets=np.ones(3)).__getstate__()
    for name in ("lower", "cross", "waiting_rows", "waiting_targets"):
        broken = {**state, name: np.zeros(1)}
        with pytest.raises(ValueError, match="in a state of this size"):
            rg.Covariance.__new__(rg.Covariance).__setstate__(broken)


def test_repr():
    assert repr(rg.Covariance(3, feature_space="a")) == "Covariance(n_features=3, n_rows=0, feature_space='a')"


@pytest.fixture(scope="module")
def many():
    """More targets than one stage holds, so that some of b and C has been summed and some waits."""
    rng = np.random.default_rng(11)
    X, w, Y = rng.normal(size=(1300, 17)), rng.uniform(0, 2, 1300), rng.normal(size=(1300, 2))
    covariance = rg.Covariance(17)
    covariance.update(X[:900], weights=w[:900], targets=Y[:900])
    covariance.update(X[900:], weights=w[900:], targets=Y[900:])
    return X, w, Y, covariance


@pytest.mark.parametrize("k", [1.0, 0.3])
def test_fit_of_more_rows_than_wait_equals_the_textbook(many, k):
    X, w, Y, covariance = many
    C, b = reference.covariance(X, weights=k * w), X.T @ (k * w[:, None] * Y)
    scaled = k * covariance
    np.testing.assert_allclose(scaled.matrix(), C, rtol=0, atol=1300 * EPS * np.abs(C).max())
    expected = np.linalg.solve(C + 0.1 * np.eye(17), b)
    np.testing.assert_allclose(scaled.factorize(0.1).coef, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(
    "duplicate", [lambda c: 2 * c, lambda c: 0 * c, lambda c: c.copy(), lambda c: pickle.loads(pickle.dumps(c))]
)
@pytest.mark.parametrize("targets", [None, [1.0, 2.0]])
def test_duplicates_remember_whether_targets_come(duplicate, targets):
    covariance = rg.Covariance(2)
    covariance.update(np.eye(2), targets=targets)
    with pytest.raises(ValueError, match="targets come with every update or with none"):
        duplicate(covariance).update(np.eye(2), targets=[1.0, 2.0] if targets is None else None)


def test_merging_adds_every_moment(many):
    X, w, Y, covariance = many
    parts = []
    for rows in (slice(0, 600), slice(600, 1300)):
        parts.append(rg.Covariance(17))
        parts[-1].update(X[rows], weights=w[rows], targets=Y[rows])
    total, whole = (parts[0] + parts[1]), covariance
    a, b = total._core.snapshot(), whole._core.snapshot()
    assert a["n_rows"] == b["n_rows"] == 1300
    assert a["log_weight"] == pytest.approx(np.log(w).sum(), rel=1e-12)
    assert b["log_weight"] == pytest.approx(np.log(w).sum(), rel=1e-12)
    for snapshot in (a, b):
        np.testing.assert_allclose(snapshot["squares"], (w[:, None] * Y**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(total.factorize(1.0).coef, whole.factorize(1.0).coef, rtol=0, atol=1e-12)


def test_large_covariances_merge_scale_and_copy():
    p = 1500
    X = np.random.default_rng(0).integers(-3, 4, size=(600, p)).astype(float)
    covariance = rg.Covariance(p)
    covariance.update(X)
    C = X.T @ X
    np.testing.assert_array_equal((4 * covariance + covariance).matrix(), 5 * C)
    np.testing.assert_array_equal(covariance.copy().matrix(), C)


def test_adding_leaves_both_terms():
    a, b = (rg.Covariance(2) for _ in range(2))
    a.update(np.eye(2)), b.update(np.ones((3, 2)))
    total = a + b
    assert (a.n_rows, b.n_rows, total.n_rows) == (2, 3, 5)
    np.testing.assert_array_equal(a.matrix(), np.eye(2))


def test_arrays_do_not_broadcast_over_a_covariance():
    with pytest.raises(TypeError):
        np.ones(2) * rg.Covariance(2)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", np.float32, int, bool])
def test_weights_and_targets_of_any_real_dtype(dtype):
    values = np.array([1, 0, 1]).astype(dtype)
    covariance = accumulated(np.eye(3), weights=values, targets=values)
    expected = accumulated(np.eye(3), weights=[1.0, 0.0, 1.0], targets=[1.0, 0.0, 1.0])
    assert_same_bits(covariance, expected)
    np.testing.assert_array_equal(covariance.factorize(1.0).coef, expected.factorize(1.0).coef)


@pytest.mark.parametrize("other", [1.0, None, "sums", [1.0]])
def test_only_a_covariance_is_added(other):
    covariance = rg.Covariance(3)
    covariance.update(np.eye(3))
    before = pickle.dumps(covariance)
    with pytest.raises(TypeError, match="unsupported operand type"):
        covariance += other
    with pytest.raises(TypeError, match="unsupported operand type"):
        covariance + other
    assert pickle.dumps(covariance) == before
