"""Arguments of another type or out of range: TypeError or ValueError with what was expected and what came."""

import pickle
import threading
import time

import numpy as np
import pytest
import scipy.sparse

import rigidities as rg

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4))
Y = X.sum(axis=1)


def covariance():
    summed = rg.Covariance(4)
    summed.update(X, targets=Y)
    return summed


HESSIAN = covariance().factorize(1.0)
PATH = rg.regularizer_path(covariance())


@pytest.fixture
def threads():
    before = rg.get_num_threads()
    yield
    rg.set_num_threads(before)


@pytest.mark.parametrize("value", [-1, 0, 1025, 10**30, -(10**30)])
def test_numbers_of_threads_out_of_range_are_named(value, threads):
    with pytest.raises(ValueError, match=f"n_threads is {value}: expected"):
        rg.set_num_threads(value)


@pytest.mark.parametrize("value", [2.0, True, "2", None, [2], np.float64(2), np.array([2])])
def test_numbers_of_threads_are_integers(value, threads):
    with pytest.raises(TypeError, match=r"n_threads is .*: expected a positive integer"):
        rg.set_num_threads(value)
    rg.set_num_threads(np.int64(2))
    assert rg.get_num_threads() == 2


ODD = {
    "string": "2",
    "array": X,
    "bytes": b"x",
    "complex": 1j,
    "none": [None] * 12,
    "set": {1},
    "dictionary": {},
    "object": object(),
    "ragged": [[1], [2, 3]],
    "strings": np.array(["a"] * 12),
    "complex array": np.full(12, 1j),
    "masked": np.ma.masked_array(X, X > 9),
    "iterator": iter([1.0] * 12),
    "date": np.datetime64("2020"),
    "no columns": np.ones((12, 0)),
    "three dimensions": np.zeros((12, 4, 1)),
    "large integers": np.array([10**30] * 12, dtype=object),
    "slice": slice(0, 3),
    "function": len,
    "type": int,
    "time": np.timedelta64(1, "s"),
    "huge": 10**400,
}

CALLS = {
    "n_features": lambda odd: rg.Covariance(odd),
    "precision": lambda odd: rg.Covariance(4, precision=odd),
    "features": lambda odd: covariance().update(odd),
    "groups": lambda odd: rg.Covariance(4).update(X, groups=odd),
    "reduction": lambda odd: rg.Covariance(4).update(X, reduction=odd),
    "weights": lambda odd: rg.Covariance(4).update(X, weights=odd),
    "targets": lambda odd: rg.Covariance(4).update(X, targets=odd),
    "merge": lambda odd: covariance().merge(odd),
    "term weight": lambda odd: covariance() * odd,
    "regularizer": lambda odd: covariance().factorize(odd),
    "penalty": lambda odd: covariance().factorize(1.0, penalty=odd),
    "consume": lambda odd: covariance().factorize(1.0, consume=odd),
    "solve": lambda odd: HESSIAN.solve(odd),
    "variance": lambda odd: HESSIAN.variance(odd),
    "variance, reduction": lambda odd: HESSIAN.variance(X, reduction=odd),
    "variance, precision": lambda odd: HESSIAN.variance(X, precision=odd),
    "components": lambda odd: HESSIAN.component_rigidity(X, odd),
    "joint": lambda odd: HESSIAN.prediction_covariance(X, odd),
    "cov": lambda odd: rg.regularizer_path(odd),
    "regularizers": lambda odd: rg.regularizer_path(covariance(), odd),
    "noise": lambda odd: PATH.score(X, Y, noise=odd),
    "best, noise": lambda odd: PATH.best("nll", X, Y, noise=odd),
    "criterion": lambda odd: PATH.score(X, Y, odd),
    "best, criterion": lambda odd: PATH.best(odd, X, Y),
    "leave_one_out, hessian": lambda odd: rg.leave_one_out(odd, X, Y),
    "leave_one_out, y": lambda odd: rg.leave_one_out(HESSIAN, X, odd),
    "leave_one_out, weights": lambda odd: rg.leave_one_out(HESSIAN, X, Y, weights=odd),
    "contrast, hessian": lambda odd: rg.contrast(odd, X, np.eye(12)),
    "contrast, X": lambda odd: rg.contrast(HESSIAN, odd, np.eye(12)),
    "contrast, coefficients": lambda odd: rg.contrast(HESSIAN, X, odd),
    "contrast, groups": lambda odd: rg.contrast(HESSIAN, X, np.eye(12), groups=odd),
    "contrast, reduction": lambda odd: rg.contrast(HESSIAN, X, np.eye(12), reduction=odd),
    "force_covariance, hessian": lambda odd: rg.force_covariance(odd, X),
    "force_covariance, X": lambda odd: rg.force_covariance(HESSIAN, odd),
    "force_covariance, groups": lambda odd: rg.force_covariance(HESSIAN, X, groups=odd),
    "force_covariance, reduction": lambda odd: rg.force_covariance(HESSIAN, X, reduction=odd),
    "variance_shares, hessian": lambda odd: rg.variance_shares(odd, X),
    "variance_shares, X": lambda odd: rg.variance_shares(HESSIAN, odd),
    "variance_shares, groups": lambda odd: rg.variance_shares(HESSIAN, X, odd),
    "variance_shares, components": lambda odd: rg.variance_shares(HESSIAN, X, components=odd),
    "variance_shares, reduction": lambda odd: rg.variance_shares(HESSIAN, X, reduction=odd),
    "component_covariance, hessian": lambda odd: rg.component_covariance(odd, X, [1, 3]),
    "component_covariance, X": lambda odd: rg.component_covariance(HESSIAN, odd, [1, 3]),
    "component_covariance, components": lambda odd: rg.component_covariance(HESSIAN, X, odd),
    "component_covariance, reduction": lambda odd: rg.component_covariance(HESSIAN, X, [1, 3], reduction=odd),
    "reduce_rows": lambda odd: rg.reduce_rows(odd),
    "reduce_rows, groups": lambda odd: rg.reduce_rows(X, odd),
    "feature space of Rows": lambda odd: HESSIAN.variance(rg.Rows(X, None, odd)),
}


@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("call", list(CALLS))
def test_odd_arguments_are_refused(call, odd):
    lists = ("components", "component_covariance, components")
    rows = ("targets", "variance", "joint", "reduce_rows")
    if (
        (call, odd) == ("feature space of Rows", "string")
        or (odd == "ragged" and call in lists)
        or (odd == "array" and (call in rows or call.endswith(", X")))
    ):
        pytest.skip("which it may be")
    with pytest.raises((TypeError, ValueError)) as caught:
        CALLS[call](ODD[odd])
    said = str(caught.value)
    assert said
    assert "not supported between" not in said
    assert "object has no attribute" not in said
    assert "ambiguous" not in said
    assert len(said) < 400


def test_sizes_of_components_whose_sum_wraps_around_are_refused():
    with pytest.raises(ValueError, match="component sizes sum to 18446744073709551620, but there are 4 features"):
        HESSIAN.component_rigidity(X, [2**63 - 1, 2**63 - 1, 6])


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_sparse_arrays_are_named(kind):
    sparse = kind(np.eye(4))
    for call in (
        lambda: covariance().update(sparse),
        lambda: HESSIAN.variance(sparse),
        lambda: HESSIAN.solve(sparse),
    ):
        with pytest.raises(TypeError, match=f"is a sparse {kind.__name__}: expected an array"):
            call()


@pytest.mark.parametrize("p", [64, 300], ids=["blocks side by side", "blocks"])
@pytest.mark.parametrize("which", ["features", "weights", "targets"])
def test_arrays_that_another_thread_writes_to_leave_no_nan_in_sums(which, p):
    """NaN comes and goes in them: a call is refused, or its sums are finite."""
    arrays = {
        "features": RNG.normal(size=(1200, p)),
        "weights": RNG.uniform(1, 2, size=1200),
        "targets": RNG.normal(size=1200),
    }
    values, ends, finite = arrays[which].reshape(-1), [], []

    def spoil():
        choose = np.random.default_rng(1)
        while not ends:
            some = choose.integers(0, len(values), 16)
            kept = values[some].copy()
            values[some] = np.nan
            values[some] = kept

    worker = threading.Thread(target=spoil)
    worker.start()
    end = time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            summed = rg.Covariance(p)
            try:
                summed.update(
                    arrays["features"],
                    targets=arrays["targets"] if which != "features" else None,
                    weights=arrays["weights"] if which == "weights" else None,
                )
            except ValueError:
                continue
            moments = summed.moments()
            sums = [summed.matrix(), moments.cross, moments.squares, np.array(moments.log_weight)]
            finite.append(all(np.isfinite(one).all() for one in sums))
    finally:
        ends.append(1)
        worker.join()
    assert all(finite)


# what is near to an array -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple])
def test_masked_rows_in_a_list_are_named(kind):
    rows = np.ma.masked_array(np.eye(4), mask=np.zeros((4, 4), bool))
    rg.Covariance(4).update(kind(rows))  # nothing is masked
    rows[2, 1] = np.ma.masked
    with pytest.raises(TypeError, match=r"features\[2\] has masked entries: leave them out, or fill them"):
        rg.Covariance(4).update(kind(rows))


@pytest.mark.parametrize("name", ["weights", "targets", "groups"])
def test_masked_numbers_in_a_list_are_named(name):
    with pytest.raises(TypeError, match=rf"{name}\[3\] has masked entries"):
        covariance().update(np.eye(4), **{name: [1, 2, 3, np.ma.masked]})


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.coo_array, scipy.sparse.lil_matrix])
@pytest.mark.parametrize("dense", [np.diag([1.0, 2.0, 0.0, 3.0]), np.eye(4) + 0.5, np.diag([1, 2, 3, 4])])
def test_sparse_penalties_are_taken(kind, dense):
    expected = covariance().factorize(0.1, penalty=dense).coef
    coef = covariance().factorize(0.1, penalty=kind(dense)).coef
    np.testing.assert_allclose(coef, expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3), (1, 4), (4, 1)])
def test_sparse_penalties_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"penalty has shape .* but there are 4 features"):
        covariance().factorize(1.0, penalty=scipy.sparse.csr_array(np.ones(shape)))


def test_a_sparse_diagonal_is_stored_as_one():
    hessian = covariance().factorize(0.1, penalty=scipy.sparse.diags_array([1.0, 2.0, 3.0, 4.0]))
    assert hessian.__getstate__()["penalty"] == "diagonal"


# targets in a column ------------------------------------------------------------------------------


def test_targets_in_a_column_give_a_fit_in_a_column(tmp_path):
    summed = rg.Covariance(4)
    summed.update(X, targets=Y[:, None])
    hessian = summed.factorize(0.1)
    flat = covariance().factorize(0.1).coef
    assert flat.shape == (4,)
    summed.save(tmp_path / "sums")
    hessian.save(tmp_path / "hessian")
    duplicates = summed.copy(), summed + summed, sum([summed]), rg.Covariance.load(tmp_path / "sums")
    fits = [*(one.factorize(0.1) for one in duplicates), hessian, rg.Hessian.load(tmp_path / "hessian")]
    for fit in fits:
        assert fit.coef.shape == (4, 1)
    np.testing.assert_array_equal(fits[-1].coef[:, 0], flat)
    spanned = rg.Hessian.from_rows(X[:3], 0.1, targets=Y[:3, None])  # fewer rows than features
    assert spanned.coef.shape == pickle.loads(pickle.dumps(spanned)).coef.shape == (4, 1)
    assert rg.Hessian.from_rows(X, 0.1, targets=Y[:, None]).coef.shape == (4, 1)
    assert rg.Hessian.from_rows(X, 0.1, targets=Y).coef.shape == (4,)
    assert rg.regularizer_path(summed).coef.shape == (200, 4, 1)
    assert PATH.coef.shape == (200, 4)
    assert rg.leave_one_out(hessian, X, Y[:, None]).residuals.shape == (12, 1)
