"""Rows at the door: layouts, labels, and everything that is refused there."""

import numpy as np
import pytest
import reference
from layouts import LAYOUTS

import rigidities as rg


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_reduction_equals_the_textbook_in_every_layout(layout, reduction):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(70, 11)).astype(np.float32)
    groups = rng.choice([-(2**62), -3, 0, 8, 10**15], size=70)
    labels, rows = rg.reduce_rows(LAYOUTS[layout](X), groups, reduction)
    np.testing.assert_array_equal(labels, np.unique(groups))
    assert rows.dtype == np.float64
    # sums of 14 rows on average: a few roundings each
    np.testing.assert_allclose(rows, reference.reduce_rows(X, groups, reduction), rtol=1e-13, atol=1e-14)


def test_rows_bring_their_groups_and_given_ones_win():
    X = np.arange(6.0).reshape(3, 2)
    rows = rg.Rows(X, groups=np.array([1, 0, 1]), feature_space="a")
    np.testing.assert_array_equal(rg.reduce_rows(rows)[1], [[2, 3], [2, 3]])
    np.testing.assert_array_equal(rg.reduce_rows(rows, groups=[0, 0, 1])[1], [[1, 2], [4, 5]])
    np.testing.assert_array_equal(rg.reduce_rows(rows.without_groups())[1], X)
    assert rows.without_groups().feature_space == "a"
    assert len(rows) == 3


def test_labels_beyond_int64_keep_their_order():
    groups = np.array([2**64 - 1, 3, 2**63], dtype=np.uint64)
    labels, rows = rg.reduce_rows(np.array([[2.0], [0.0], [1.0]]), groups)
    np.testing.assert_array_equal(rows[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(labels, np.sort(groups))


def test_labels_that_are_not_aligned_in_memory():
    groups = LAYOUTS["unaligned"](np.array([7, -2, 7]))
    labels, rows = rg.reduce_rows(np.array([[2.0], [5.0], [4.0]]), groups)
    np.testing.assert_array_equal(labels, [-2, 7])
    np.testing.assert_array_equal(rows[:, 0], [5.0, 3.0])


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, bool, np.int8, np.int32, np.int64, np.uint64, ">f4", ">f8"]
)
def test_real_dtypes_are_widened(dtype):
    X = np.array([[1, 0, 3], [0, 1, 1]]).astype(dtype)
    labels, rows = rg.reduce_rows(X)
    np.testing.assert_array_equal(rows, X.astype(np.float64))
    np.testing.assert_array_equal(labels, [0, 1])


OK = np.ones((4, 3))
TYPE_ERRORS = [
    (dict(X=OK * 1j), "features has dtype complex128: expected real numbers.*real part"),
    (dict(X=np.full((2, 2), "a")), "features has dtype <U1: expected real numbers"),
    (dict(X=np.array([[1, None]], dtype=object)), "features has dtype object.*ragged, sparse or of mixed types"),
    (dict(X=OK.astype(np.longdouble)), "features has dtype float128"),
    (dict(X=np.ma.masked_equal(OK, 1)), "features is a masked array"),
    (dict(X=OK.astype("datetime64[s]")), "features has dtype datetime64"),
    (dict(X=OK, groups=np.zeros(4)), "groups has dtype float64: expected integer labels"),
    (dict(X=OK, groups=["a"] * 4), "groups has dtype <U1: expected integer labels"),
    (dict(X=OK, groups=[True] * 4), "groups has dtype bool: expected integer labels"),
]
VALUE_ERRORS = [
    (dict(X=OK[0]), r"features has shape \(3,\): expected 2 dimensions, one row per target or atom"),
    (dict(X=OK[None]), r"features has shape \(1, 4, 3\): expected 2 dimensions"),
    (dict(X=OK[:0]), "features have no rows"),
    (dict(X=OK[:, :0]), "features have no columns"),
    (dict(X=OK, groups=[0, 1]), "groups has 2 entries but there are 4 rows"),
    (dict(X=OK, groups=[]), "groups has 0 entries but there are 4 rows"),
    (dict(X=OK, groups=np.zeros((4, 1), int)), r"groups has shape \(4, 1\): expected one integer label per row"),
    (dict(X=OK, reduction="max"), 'reduction is "max": expected "mean" or "sum"'),
    (dict(X=[[1, np.nan]]), r"features\[0, 1\] is NaN"),
    (dict(X=[[1, 2], [-np.inf, 2]], groups=[0, 0]), r"features\[1, 0\] is -inf"),
    (dict(X=[[1e200]]), "target row 0 is finite but the square of its norm is not"),
]


@pytest.mark.parametrize(("arguments", "message"), TYPE_ERRORS)
def test_what_is_not_numbers_is_a_type_error(arguments, message):
    with pytest.raises(TypeError, match=message):
        rg.reduce_rows(**arguments)


@pytest.mark.parametrize(("arguments", "message"), VALUE_ERRORS)
def test_wrong_shapes_and_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        rg.reduce_rows(**arguments)
