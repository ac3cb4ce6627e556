"""Shares of a variance and joint covariances of components, against sums over the dense matrix."""

import factors
import numpy as np
import pytest
import reference
from factors import FORMS, scaled_close
from hypothesis import given
from hypothesis import strategies as st
from problems import P, factorized, problem
from strategies import problems, tolerance

import rigidities as rg
from rigidities import shares

PARTS = [slice(0, 10), np.array([17, 10, 23]), np.r_[11:17, 18:23]]
SETS = {"whole": PARTS, "overlapping": [slice(0, 10), np.arange(5, 24), np.arange(24)], "sizes": [4, 8, 12]}


def atoms(n=60, seed=1):
    X = problem(n=n, seed=seed)[0]
    return X, np.random.default_rng(seed).integers(-3, 9, size=n)


def parts(F, components):
    """The rows with each component alone, (n_components, n, p)."""
    if components == SETS["sizes"]:
        components = np.split(np.arange(P), np.cumsum(components)[:-1])
    masked = np.zeros((len(components), *F.shape))
    for row, component in zip(masked, components, strict=True):
        row[:, component] = F[:, component]
    return masked


def contributions(X, groups, reduction):
    """(a f, whole row of its group) of each row."""
    _, member, counts = np.unique(groups, return_inverse=True, return_counts=True)
    own = X / counts[member, None] if reduction == "mean" else X
    return own, reference.reduce_rows(X, groups, reduction)[member]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("form", FORMS)
def test_shares_of_rows(form, reduction):
    made, (X, groups) = factors.made(form), atoms()
    own, whole = contributions(X, groups, reduction)
    product = lambda A, B: np.einsum("ij,jk,ik->i", A, made.inverse, B)  # noqa: E731
    found = rg.variance_shares(made.hessian, X, groups, reduction=reduction)
    scaled_close(found, product(own, whole), made.rtol, np.sqrt(product(own, own) * product(whole, whole)))
    assert (found < 0).any()
    by_component = rg.variance_shares(made.hessian, X, groups, components=PARTS, reduction=reduction)
    for column, part in zip(by_component.T, parts(own, PARTS), strict=True):
        scaled_close(column, product(part, whole), made.rtol, np.sqrt(product(part, part) * product(whole, whole)))


@given(problems(), st.sampled_from(["mean", "sum"]), st.integers(0, 2**32 - 1))
def test_shares_sum_to_the_variance(drawn, reduction, seed):
    hessian = factorized(drawn.X, drawn.groups, drawn.regularizer, weights=drawn.weights)
    rng, rtol = np.random.default_rng(seed), tolerance(drawn)
    groups = rng.integers(-2, 2, size=len(drawn.G))
    labels = np.unique(groups)
    v = hessian.variance(drawn.G, groups=groups, reduction=reduction)
    found = rg.variance_shares(hessian, drawn.G, groups, reduction=reduction)
    own, _ = contributions(drawn.G, groups, reduction)
    sizes = np.array([np.sqrt(hessian.variance(own[groups == label])).sum() for label in labels])
    scaled_close([found[groups == label].sum() for label in labels], v, rtol, sizes**2)
    # of components of rows, over components: the rows' shares
    cut = rng.integers(0, drawn.p, size=drawn.p)
    components = [np.flatnonzero(cut == i) for i in np.unique(cut)]
    split = rg.variance_shares(hessian, drawn.G, groups, components=components, reduction=reduction)
    scale = sum(np.sqrt(hessian.variance(part)) for part in _parts(own, components)) * np.sqrt(v).max()
    scaled_close(split.sum(axis=1), found, rtol, scale)
    # rows in another order keep their shares
    order = rng.permutation(len(groups))
    shuffled = rg.variance_shares(hessian, drawn.G[order], groups[order], reduction=reduction)
    scaled_close(shuffled, found[order], rtol, sizes.max() ** 2)


def _parts(F, components):
    return [np.where(np.isin(np.arange(F.shape[1]), component), F, 0) for component in components]


def test_rows_without_groups_have_their_variance():
    hessian, (X, groups) = factors.made("sums").hessian, atoms()
    np.testing.assert_allclose(rg.variance_shares(hessian, X), hessian.variance(X), rtol=1e-9)
    np.testing.assert_array_equal(
        rg.variance_shares(hessian, rg.Rows(X, groups)), rg.variance_shares(hessian, X, groups)
    )


def test_shares_keep_the_digits_of_qr():
    """H⁻¹g is solved for, and yet rounding grows as the root of the condition, 1e9, as in a variance."""
    rng = np.random.default_rng(0)
    U, W = np.linalg.qr(rng.normal(size=(300, P)))[0], np.linalg.qr(rng.normal(size=(P, P)))[0]
    F, groups = (U * np.logspace(0, -9, P)) @ W.T, np.arange(300) // 6
    covariance = rg.Covariance(P, accumulation="qr")
    covariance.update(F)
    hessian = covariance.factorize(1e-20)
    assert hessian.rcond < 1e-17
    v = hessian.variance(F, groups=groups)
    for components in (None, PARTS):
        by_row = rg.variance_shares(hessian, F, groups, components=components).reshape(300, -1).sum(axis=1)
        np.testing.assert_allclose(np.bincount(groups, by_row), v, rtol=10 * P * 2.0**-53 * 1e9)


def test_a_part_that_changes_little_has_the_derivative_of_the_variance():
    """Scaling a row's part by 1 + t changes v by 2·t·share."""
    hessian, (X, groups) = factors.made("sums").hessian, atoms()
    row, t = 5, 1e-6
    label = np.flatnonzero(np.unique(groups) == groups[row])[0]
    changed = [X.copy(), X.copy()]
    changed[0][row] *= 1 - t
    changed[1][row] *= 1 + t
    low, high = (hessian.variance(rows, groups=groups)[label] for rows in changed)
    share = rg.variance_shares(hessian, X, groups)[row]
    assert (high - low) / (4 * t) == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_batches_do_not_show(at_once, monkeypatch):
    hessian, (X, groups) = factors.made("sums").hessian, atoms()
    found = rg.variance_shares(hessian, X, groups, components=PARTS), rg.component_covariance(hessian, X, PARTS)
    monkeypatch.setattr(shares, "AT_ONCE", at_once)
    again = rg.variance_shares(hessian, X, groups, components=PARTS), rg.component_covariance(hessian, X, PARTS)
    for new, old in zip(again, found, strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-10 * np.abs(old).max())


# The matrix of components -------------------------------------------------------------------------


@pytest.mark.parametrize("components", SETS)
@pytest.mark.parametrize("form", FORMS)
def test_matrix_of_components(form, components):
    made, components, F = factors.made(form), SETS[components], atoms()[0]
    Z = parts(F, components)
    dense = np.einsum("anj,jk,bnk->nab", Z, made.inverse, Z)
    root = np.sqrt(np.diagonal(dense, axis1=1, axis2=2))
    found = rg.component_covariance(made.hessian, F, components)
    scaled_close(found, dense, made.rtol, root[:, :, None] * root[:, None, :])
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))
    assert (np.abs(found[:, 0, 1]) > 0.1 * root[:, 0] * root[:, 1]).any()


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_matrix_and_shares_and_rigidities_agree(reduction):
    hessian, (X, groups) = factors.made("sums").hessian, atoms()
    V = rg.component_covariance(hessian, X, PARTS, groups=groups, reduction=reduction)
    scale = V.diagonal(axis1=1, axis2=2).sum(axis=1).max()
    near = dict(rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(V.sum(axis=(1, 2)), hessian.variance(X, groups=groups, reduction=reduction), **near)
    R = hessian.component_rigidity(X, PARTS, groups=groups, reduction=reduction)
    np.testing.assert_allclose(V.diagonal(axis1=1, axis2=2), 1 / R, rtol=1e-9)
    by_row = rg.variance_shares(hessian, X, groups, components=PARTS, reduction=reduction)
    summed = [by_row[groups == label].sum(axis=0) for label in np.unique(groups)]
    np.testing.assert_allclose(summed, V.sum(axis=2), **near)


def test_single_precision_and_strides():
    made, (X, groups) = factors.made("sums"), atoms()
    single = np.asfortranarray(X.astype(np.float32))[::2]
    double = single.astype(np.float64)
    for call in (
        lambda rows: rg.variance_shares(made.hessian, rows, groups[::2]),
        lambda rows: rg.component_covariance(made.hessian, rows, PARTS),
    ):
        expected = call(double)
        np.testing.assert_allclose(call(single), expected, rtol=0, atol=1e-9 * np.abs(expected).max())


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("components", "text"),
    [
        (PARTS[:2], "feature 11 is in none of the components: expected each in one of them"),
        (SETS["overlapping"], "feature 0 is in 2 of the components"),
    ],
)
def test_shares_need_each_feature_in_one_component(components, text):
    X, groups = atoms()
    with pytest.raises(ValueError, match=text):
        rg.variance_shares(factors.made("sums").hessian, X, groups, components=components)


@pytest.mark.parametrize("few_rows", [True, False])
def test_answers_beyond_float64_are_refused(few_rows):
    hessian, F = factors.nearly_undetermined(few_rows), 1e152 * np.eye(6)
    with pytest.raises(ValueError, match="share of row 2 is too large"):
        rg.variance_shares(hessian, F)
    with pytest.raises(ValueError, match="covariance of row 2 is too large"):
        rg.component_covariance(hessian, F, [3, 3])


@pytest.mark.parametrize(
    "call",
    [
        lambda hessian, X, **how: rg.variance_shares(hessian, X, **how),
        lambda hessian, X, **how: rg.component_covariance(hessian, X, PARTS, **how),
    ],
)
def test_other_refusals(call):
    hessian, (X, groups) = factors.made("sums").hessian, atoms()
    with pytest.raises(TypeError, match="hessian is a Covariance: expected a Hessian"):
        call(rg.Covariance(P), X)
    with pytest.raises(ValueError, match='reduction is "max"'):
        call(hessian, X, reduction="max")
    with pytest.raises(ValueError, match="features have 23 columns but 24"):
        call(hessian, X[:, 1:])
    with pytest.raises(ValueError, match="groups has 59 entries"):
        call(hessian, X, groups=groups[1:])
    with pytest.raises(ValueError, match="no rows"):
        call(hessian, X[:0])
    X[59, 3] = np.nan
    with pytest.raises(ValueError, match=r"features\[59, 3\] is NaN"):
        call(hessian, X)
