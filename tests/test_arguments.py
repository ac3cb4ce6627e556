"""Arguments of another type or out of range: TypeError or ValueError with what was expected and what came."""

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
    "reduce_rows": lambda odd: rg.reduce_rows(odd),
    "reduce_rows, groups": lambda odd: rg.reduce_rows(X, odd),
    "feature space of Rows": lambda odd: HESSIAN.variance(rg.Rows(X, None, odd)),
}


@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("call", list(CALLS))
def test_odd_arguments_are_refused(call, odd):
    if (call, odd) in {("feature space of Rows", "string"), ("components", "ragged")} or (
        odd == "array" and call in ("targets", "variance", "joint", "reduce_rows")
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
        lambda: covariance().factorize(1.0, penalty=sparse),
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
