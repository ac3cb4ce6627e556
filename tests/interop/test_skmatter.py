"""The peers, installed and compared: scikit-matter's functions against the drop-in, on its own data."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import skmatter.metrics
from skmatter.datasets import load_csd_1000r, load_degenerate_CH4_manifold

import rigidities as rg
from rigidities.interop import skmatter as ours


def methane(n=11):
    """The first structures of scikit-matter's test: five environments each, and one of a single environment."""
    data = load_degenerate_CH4_manifold().data
    soap, bispectrum = data.SOAP_power_spectrum[:n], data.SOAP_bispectrum[:n]
    split = lambda X: [X[i : i + 5] for i in range(0, n, 5)]  # noqa: E731
    return split(soap), split(np.column_stack([soap, bispectrum])), np.array([soap.shape[1], bispectrum.shape[1]])


def csd():
    X = load_csd_1000r(return_X_y=True)[0]
    return [X[i : i + 3] for i in range(0, 72, 3)], [X[i : i + 4] for i in range(72, 100, 4)]


@pytest.mark.parametrize("alpha", [1e-8, 1e-4, 1.0])
@pytest.mark.parametrize("data", ["methane", "csd"])
def test_local_rigidities_equal_scikit_matters(data, alpha):
    train, test = (methane()[0], methane(31)[0]) if data == "methane" else csd()
    expected, expected_rank = skmatter.metrics.local_prediction_rigidity(train, test, alpha)
    lpr, rank_diff = ours.local_prediction_rigidity(train, test, alpha)
    assert isinstance(lpr, list)
    assert rank_diff == expected_rank == 0
    assert [len(x) for x in lpr] == [len(x) for x in test]
    np.testing.assert_allclose(np.concatenate(lpr), np.concatenate(expected), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # true of most alphas
@pytest.mark.parametrize("alpha", [1e-8, 1e-3])
def test_component_rigidities_equal_scikit_matters(alpha):
    _, train, dims = methane()
    _, test, _ = methane(31)
    cpr, lcpr, rank_diff = skmatter.metrics.componentwise_prediction_rigidity(train, test, alpha, dims)
    ours_cpr, ours_lcpr, ours_rank = ours.componentwise_prediction_rigidity(train, test, alpha, dims)
    assert ours_rank == rank_diff == 0
    np.testing.assert_allclose(ours_cpr, cpr, rtol=1e-6)
    assert [x.shape for x in ours_lcpr] == [x.shape for x in lcpr]
    np.testing.assert_allclose(np.concatenate(ours_lcpr), np.concatenate(lcpr), rtol=1e-6)


def test_scikit_matters_own_cases():
    """Its test suite: a lone training atom is rigid; one component alone is the LPR of that component; full rank."""
    soap, both, dims = methane()
    lpr, rank_diff = ours.local_prediction_rigidity(soap, soap, 1e-8)
    assert lpr[-1] >= 1
    assert rank_diff == 0
    with pytest.warns(rg.SetByPriorWarning):
        cpr, lcpr, rank_diff = ours.componentwise_prediction_rigidity(both, both, 1e-8, dims)
    assert rank_diff == 0
    np.testing.assert_allclose(cpr[-1], lcpr[-1][0], rtol=1e-12)  # one environment: structure and atom are the same


@pytest.mark.parametrize("alpha", [0.0, 1e-18])
def test_rank_deficiency_is_counted_and_said(alpha):
    """Where eigenvalues vanish the pseudo-inverse is taken, as scikit-matter does, and a warning says so."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    train = [np.outer(np.ones(2), Q[i]) for i in range(5)]  # five orthonormal rows: eigenvalues 1 and 0, none between
    expected, expected_rank = skmatter.metrics.local_prediction_rigidity(train, train, alpha)
    with pytest.warns(rg.IllConditionedWarning, match="H lacks 7 of 12 directions"):
        lpr, rank_diff = ours.local_prediction_rigidity(train, train, alpha)
    assert rank_diff == expected_rank == 7
    np.testing.assert_allclose(np.concatenate(lpr), np.concatenate(expected), rtol=1e-6)
    dims = np.array([4, 8])
    expected_cpr, expected_lcpr, _ = skmatter.metrics.componentwise_prediction_rigidity(train, train, alpha, dims)
    with pytest.warns(rg.IllConditionedWarning):
        cpr, lcpr, _ = ours.componentwise_prediction_rigidity(train, train, alpha, dims)
    np.testing.assert_allclose(cpr, expected_cpr, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(lcpr), np.concatenate(expected_lcpr), rtol=1e-6)


def test_data_alone_can_give_full_rank():
    """Without a regulariser the factor's condition decides, or the eigenvalues; no warning where the rank is full."""
    rng = np.random.default_rng(1)
    for decades in (2, 7):  # condition 1e4 and 1e14
        train = [np.sqrt(len(x)) * x for x in rng.normal(size=(40, 3, 10)) * np.logspace(0, -decades, 10)]
        expected, expected_rank = skmatter.metrics.local_prediction_rigidity(train, train, 0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", rg.IllConditionedWarning)
            lpr, rank_diff = ours.local_prediction_rigidity(train, train, 0.0)
        assert rank_diff == expected_rank == 0
        rtol = 10 * 10 * np.finfo(float).eps * 10.0 ** (2 * decades)
        np.testing.assert_allclose(np.concatenate(lpr), np.concatenate(expected), rtol=rtol)


def test_bad_input_of_the_drop_in():
    X = [np.ones((2, 3))]
    for train, test, message in (
        ([], X, "X_train holds no structure"),
        (X, [], "X_test holds no structure"),
        ([np.ones(3)], X, r"X_train\[0\] has shape \(3,\): expected \(n_atoms, n_features\)"),
        (X, [np.ones((0, 3))], r"X_test\[0\] has shape \(0, 3\)"),
        (X, [np.ones((2, 4))], "features have 4 columns but 3 were expected"),
        ([np.full((2, 3), np.nan)], X, "is NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            ours.local_prediction_rigidity(train, test, 1e-3)
    with pytest.raises(TypeError, match=r"X_train\[0\] is a masked array"):
        ours.local_prediction_rigidity([np.ma.masked_equal(np.eye(3), 0)], X, 1e-3)
    with pytest.raises(ValueError, match="alpha is -"):
        ours.local_prediction_rigidity(X, X, -1.0)
    with pytest.raises(ValueError, match="component sizes sum to 2, but there are 3 features"):
        ours.componentwise_prediction_rigidity(X, X, 1e-3, [1, 1])


def test_the_factor_is_scipys():
    """ln|H|, solutions and variances against scipy's Cholesky factor."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(900, 600))
    covariance = rg.Covariance(600)
    covariance.update(X)
    hessian = covariance.factorize(0.1)
    L = scipy.linalg.cholesky(X.T @ X + 0.1 * np.eye(600), lower=True)
    assert hessian.log_determinant == pytest.approx(2 * np.log(np.diag(L)).sum(), rel=1e-12)
    np.testing.assert_allclose(hessian._core.diagonal(), np.diag(L), rtol=1e-10)
    expected = np.square(scipy.linalg.solve_triangular(L, X.T, lower=True)).sum(axis=0)
    np.testing.assert_allclose(hessian.variance(X), expected, rtol=1e-10)


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # four means of thousands of atoms are small
def test_the_drop_in_takes_more_atoms_than_one_batch():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 4)) for n in (3000, 2000, 10, 5000, 7)]
    expected, _ = skmatter.metrics.local_prediction_rigidity(X, X[1:], 1e-3)
    lpr, _ = ours.local_prediction_rigidity(X, X[1:], 1e-3)
    np.testing.assert_allclose(np.concatenate(lpr), np.concatenate(expected), rtol=1e-9)
    dims = np.array([1, 3])
    for mine, theirs in zip(
        ours.componentwise_prediction_rigidity(X, X, 1e-3, dims)[:2],
        skmatter.metrics.componentwise_prediction_rigidity(X, X, 1e-3, dims)[:2],
        strict=True,
    ):
        np.testing.assert_allclose(np.vstack(mine), np.vstack(theirs), rtol=1e-9)


def test_the_pseudo_inverse_keeps_weak_directions():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    train = [
        scale * Q[i : i + 1] for i, scale in enumerate([1, 1, 0.1, 1e-2, 1e-3])
    ]  # eigenvalues down to 1e-6, then 0
    expected, _ = skmatter.metrics.local_prediction_rigidity(train, train, 0.0)
    with pytest.warns(rg.IllConditionedWarning):
        lpr, _ = ours.local_prediction_rigidity(train, train, 0.0)
    np.testing.assert_allclose(np.concatenate(lpr), np.concatenate(expected), rtol=1e-6)


def test_bad_input_is_refused_where_the_pseudo_inverse_is_taken():
    rng = np.random.default_rng(0)
    train = [rng.normal(size=(2, 12)) for _ in range(4)]
    for test, error, message in (
        (np.full((2, 12), np.nan), ValueError, "is NaN"),
        (np.ones((2, 12)) * 1j, TypeError, "complex128"),
        (np.ones((2, 13)), ValueError, "features have 13 columns but 12 were expected"),
    ):
        with pytest.warns(rg.IllConditionedWarning), pytest.raises(error, match=message):
            ours.local_prediction_rigidity(train, [test], 0.0)
    with pytest.warns(rg.IllConditionedWarning):
        assert ours.local_prediction_rigidity(train, [np.zeros((1, 12))], 0.0)[0][0] == np.inf


@pytest.mark.parametrize("place", [1, 2])
def test_structures_of_another_width_are_named(place, monkeypatch):
    """In the first batch, and in one that reuses its buffer."""
    monkeypatch.setattr(ours, "_BATCH_ROWS", 4)
    structures = [np.ones((4, 3)), *[np.ones((2, 3))] * place]
    structures[place] = np.ones((2, 5))
    good = [np.ones((2, 3))]
    with pytest.raises(ValueError, match=rf"X_train\[{place}\] has 5 columns, but X_train\[0\] has 3"):
        ours.local_prediction_rigidity(structures, good, 1.0)
    with pytest.raises(ValueError, match=rf"X_test\[{place}\] has 5 columns, but X_test\[0\] has 3"):
        ours.componentwise_prediction_rigidity(good, structures, 1.0, [1, 2])


def test_component_sizes_that_are_none():
    with pytest.raises(TypeError, match=r"components is array\(3\): expected index arrays, slices"):
        ours.componentwise_prediction_rigidity([np.ones((2, 3))], [np.ones((2, 3))], 1.0, 3)


@pytest.mark.parametrize(("alpha", "error"), [(-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)])
def test_alpha_is_named_as_it_was_given(alpha, error):
    X = [np.eye(3)]
    with pytest.raises(error, match=f"alpha is {alpha!r}: expected a number from 0".replace("-1.0", "-1")):
        ours.local_prediction_rigidity(X, X, alpha)
    with pytest.raises(error, match="alpha is"):
        ours.componentwise_prediction_rigidity(X, X, alpha, [1, 2])
