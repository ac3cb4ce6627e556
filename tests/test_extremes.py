"""Numbers at the ends of the range: a right result, or an error that names what is too small or too large."""

import pickle
import re

import numpy as np
import pytest

import rigidities as rg

RNG = np.random.default_rng(0)
F = RNG.normal(size=(40, 5))
Y = F @ np.arange(1.0, 6.0) + 0.1 * RNG.normal(size=40)


def summed(X=F, y=Y, precision="float64", **kwargs):
    covariance = rg.Covariance(X.shape[1], precision=precision)
    covariance.update(X, targets=y, **kwargs)
    return covariance


TARGETS = r"the sum of w y² of targets\[:, 0\] would be"
TRACE = "the trace of C would be"


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("n", [7, 300, 3000], ids=["rows that wait", "a block", "many blocks"])
@pytest.mark.parametrize("p", [5, 300])
@pytest.mark.parametrize(
    ("features", "targets", "weights", "message"),
    [
        (1.0, 1e155, None, TARGETS),
        (1.0, 1e151, None, TARGETS),
        (1.0, 1e100, 1e120, TARGETS),
        (1e12, 1.0, 1e290, "is finite but|more than 1e300"),
        (1e153, 1.0, None, "is finite but|more than 1e300|in float32 squares"),
    ],
)
def test_sums_that_overflow_are_refused_and_leave_no_trace(p, n, features, targets, weights, message, precision):
    X = RNG.normal(size=(n, p))
    y = X[:, 0]
    covariance = summed(RNG.normal(size=(290, p)), np.ones(290), precision)
    before = pickle.dumps(covariance)
    w = None if weights is None else np.full(n, weights)
    with pytest.raises(ValueError, match=message):
        covariance.update(features * X, targets=targets * y, weights=w)
    assert pickle.dumps(covariance) == before
    covariance.update(X, targets=y)
    assert np.isfinite(covariance.factorize(1.0).coef).all()


def test_sums_that_overflow_over_several_updates_are_refused():
    for X, y, w, message in ((3e148 * F, Y, None, TRACE), (F, 3e147 * Y, None, TARGETS), (F, 1e-3 * Y, 3e297, TRACE)):
        covariance = rg.Covariance(5)
        weights = None if w is None else np.full(40, w)
        while covariance.n_rows < 4_000_000:
            before = pickle.dumps(covariance)
            try:
                covariance.update(X, targets=y, weights=weights)
            except ValueError as error:
                said = str(error)
                break
        assert re.search(message, said)
        assert 40 <= covariance.n_rows < 4_000_000
        assert pickle.dumps(covariance) == before
        assert np.isfinite(covariance.matrix()).all()


@pytest.mark.parametrize(("X", "y", "message"), [(3e147 * F, Y, TRACE), (F, 8e146 * Y, TARGETS)])
def test_merging_and_scaling_refuse_what_overflows(X, y, message):
    part = summed(X, y)
    total, other = 400 * part, 400 * part
    before = pickle.dumps(total)
    for change in (lambda: total.merge(other), lambda: total + other, lambda: 1e4 * total):
        with pytest.raises(ValueError, match=message):
            change()
        assert pickle.dumps(total) == before


def test_large_weights_of_a_term_are_taken_where_the_sums_allow_them():
    tiny = summed(1e-100 * F, 1e-100 * Y)
    scaled = 1e200 * tiny
    np.testing.assert_allclose(scaled.factorize(1.0).coef, summed().factorize(1.0).coef, rtol=1e-9)
    with pytest.raises(ValueError, match=TRACE):
        1e308 * summed()


@pytest.mark.parametrize("scale", [1e-139, 1e-100, 1.0, 1e100, 1e148])
@pytest.mark.parametrize("penalty", [None, np.r_[0.0, np.ones(4)], np.eye(5) + 0.1])
def test_results_do_not_depend_on_the_scale_of_the_features(scale, penalty):
    one, other = (summed(s * F, s * Y).factorize(penalty=penalty) for s in (1.0, scale))
    assert other.regularizer / scale**2 == pytest.approx(one.regularizer, rel=1e-5)
    assert other.effective_dimension == pytest.approx(one.effective_dimension, rel=1e-9)
    assert other.rcond == pytest.approx(one.rcond, rel=1e-4)
    np.testing.assert_allclose(other.coef, one.coef, rtol=1e-4)
    np.testing.assert_allclose(other.variance(scale * F), one.variance(F), rtol=1e-4)
    paths = [
        rg.regularizer_path(summed(s * F, s * Y), s**2 * np.logspace(-3, 3, 5), penalty=penalty) for s in (1, scale)
    ]
    np.testing.assert_allclose(paths[1].effective_dimension, paths[0].effective_dimension, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e-154, 1e-150, 1e-142])
def test_features_whose_squares_vanish_are_named(scale):
    covariance = summed(scale * F)
    for call in (covariance.factorize, lambda: rg.regularizer_path(covariance)):
        with pytest.raises(ValueError, match=r"the trace of C is .*(rescale|pass)"):
            call()
    if covariance.trace > 0:
        with pytest.raises(ValueError, match=r"the trace of H = C .* rescale"):
            covariance.factorize(0.0)
    assert covariance.factorize(1.0).log_determinant == 0.0  # C is below rounding beside this λ


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e-143])
def test_targets_whose_squares_vanish_are_named(scale):
    covariance = summed(F, scale * Y)
    for call in (covariance.factorize, lambda: rg.regularizer_path(covariance)):
        with pytest.raises(ValueError, match=r"the sum of w y² of targets\[:, 0\] is .* rescale the targets"):
            call()
    np.testing.assert_allclose(covariance.factorize(1.0).coef / scale, summed().factorize(1.0).coef, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-170, 1e-20, 1e20, 1e160])
def test_rows_that_float32_cannot_hold_are_named(scale):
    covariance = rg.Covariance(5, precision="float32")
    covariance.update(np.zeros((3, 5)))  # zeros are fine
    with pytest.raises(ValueError, match=r"target row 0 (has norm \d\.\d*e|is finite but)"):
        covariance.update(scale * F)
    assert covariance.n_rows == 3


@pytest.mark.parametrize("regularizer", [1e301, 1e308, 1.7e308])
def test_a_regularizer_beyond_the_range_is_named(regularizer):
    with pytest.raises(ValueError, match=r"the trace of H = C \+ λΛ is .*rescale"):
        summed().factorize(regularizer)
    with pytest.raises(ValueError, match=r"the trace of H = C \+ λΛ is inf"):
        summed().factorize(1e200, penalty=np.full(5, 1e140))
    for entry in (1e-320, 1e308):
        with pytest.raises(ValueError, match=r"penalty has entries from .*e[-+]\d+ to"):
            summed().factorize(1.0, penalty=np.full(5, entry))


def test_answers_beyond_the_range_are_refused():
    hessian = summed().factorize(1e-200, penalty=np.ones(5))
    small = rg.Covariance(5)
    small.update(1e-130 * F)
    small = small.factorize(0.0)
    for call in (
        lambda: small.variance(1e40 * F),
        lambda: small.rigidity(1e40 * F),
        lambda: small.component_rigidity(1e40 * F, [2, 3]),
        lambda: small.prediction_covariance(1e40 * F),
        lambda: small.prediction_covariance(1e40 * F, F[:2] * 1e100),
        lambda: small.solve(np.full(5, 1e100)),
    ):
        with pytest.raises(ValueError, match="is too large for float64: rescale the rows"):
            call()
    assert np.isfinite(hessian.variance(F)).all()


def test_numbers_in_messages_are_short():
    for value in (-1e-300, -1e300):
        with pytest.raises(ValueError, match=r"weights\[0\] is -1e-?300: weights") as caught:
            summed(weights=np.full(40, value))
        assert len(str(caught.value)) < 100
        with pytest.raises(ValueError, match=r"cannot be scaled by -1e-?300"):
            value * summed()
        with pytest.raises(ValueError, match=r"regularizer is -1e-?300"):
            summed().factorize(value)


UNITS = [(1e-80, 1e75, 1.0), (1e-139, 1e17, 1.0), (1e-160, 1.0, 1e200), (1e-100, 1.0, 1e-80), (1.0, 1e-160, 1e60)]
"""Units of features, targets and weights in which the sums are of ordinary size, but squares of θ, of rows, of
residuals or of H⁻¹f leave the range of float64."""


def in_units(features, targets, weight, penalty):
    """Return all that follows from sums in other units, converted to plain ones."""
    X, y, w = features * F, targets * Y, np.full(40, weight)
    squared = features * (features * weight)  # the unit of C and of λ
    covariance = summed(X, y, weights=w)
    hessian = covariance.factorize(1e-3 * squared)
    path = rg.regularizer_path(covariance, squared * np.logspace(-3, 3, 4), penalty=penalty)
    triples = np.arange(40) // 3
    found = {
        "auto": np.array(covariance.factorize(penalty=penalty).regularizer / squared),
        "gcv": path.gcv / targets / weight / targets,
        "evidence": path.log_evidence + 40 * np.log(targets),
        "variances": path.variance(X) * weight,
        "nll": path.score(X, y, "nll", weights=w) - np.log(targets),
    }
    for name, options in {"rmse": {}, "crps": {}, "loo": {}, "loo of blocks": {"blocks": triples}}.items():
        found[name] = path.score(X, y, name.split()[0], weights=w, **options) / targets
    for name, blocks in (("left out", None), ("left out in blocks", triples)):
        left_out = rg.leave_one_out(hessian, X, y, weights=w, blocks=blocks)
        found[name] = np.r_[left_out.residuals / targets, left_out.variances * weight]
    return found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("penalty", [None, np.eye(5) + 0.1])
@pytest.mark.parametrize("units", UNITS)
def test_results_do_not_depend_on_units(units, penalty):
    plain = in_units(1.0, 1.0, 1.0, penalty)
    for name, values in in_units(*units, penalty).items():
        np.testing.assert_allclose(values, plain[name], rtol=1e-4 if name == "auto" else 1e-9, err_msg=name)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("features", "targets", "weight"), [(1e-80, 1e75, 1.0), (1e-60, 1.0, 1e-100), (1.0, 1e-150, 1e30)]
)
def test_hubers_loss_does_not_depend_on_units(features, targets, weight):
    def fit(features, targets, weight, threshold):
        term = rg.Term(weight=weight, huber=threshold * targets)
        rows = rg.TermRows(features * F, term=term, targets=targets * Y)
        found = rg.loss.fit_loss([{"energy": rows}], regularizer=1e-3 * features * (features * weight))
        return found, found.coef * features / targets, found.objective / weight / targets / targets

    plain, other = fit(1.0, 1.0, 1.0, 0.1), fit(features, targets, weight, 0.1)
    assert other[0].n_iterations == plain[0].n_iterations > 3
    np.testing.assert_allclose(other[1], plain[1], rtol=1e-9)
    assert other[2] == pytest.approx(plain[2], rel=1e-9)
    far, squares = fit(1.0, 1.0, 1.0, 1e300), fit(1.0, 1.0, 1.0, 1e3)
    np.testing.assert_array_equal(far[1], squares[1])
