"""Files and pickles: what is read back continues to the same bits; what is damaged is refused."""

import os
import pickle
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

import rigidities as rg
from rigidities.reason import Reason

PENALTIES = [None, np.array([0.0, *np.ones(36)]), np.diag(np.arange(1.0, 38.0)) + 0.5]


def accumulated(n=300, p=37, **kwargs):
    rng = np.random.default_rng(n)
    covariance = rg.Covariance(p, **kwargs)
    covariance.update(rng.normal(size=(n, p)), weights=rng.uniform(0.5, 2, n), targets=rng.normal(size=(n, 2)))
    return covariance


def through_file(thing, path):
    thing.save(path)
    return type(thing).load(path)


def through_pickle(thing, path):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("through", [through_file, through_pickle])
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 256, 300, 1500])
def test_an_accumulator_continues_to_the_same_bits(tmp_path, n, precision, through):
    covariance = accumulated(n, precision=precision, feature_space="soap")
    again = through(covariance, tmp_path / "c.safetensors")
    more = np.random.default_rng(9).normal(size=(800, 37))
    for c in (covariance, again):
        c.update(more, targets=np.ones((800, 2)))
    np.testing.assert_array_equal(again.matrix(), covariance.matrix())
    assert (again.trace, again.n_rows, again.precision) == (covariance.trace, covariance.n_rows, precision)
    assert again.feature_space == "soap"
    first, second = again.factorize(1.0), covariance.factorize(1.0)
    np.testing.assert_array_equal(first.coef, second.coef)


@pytest.mark.parametrize("covariance", [rg.Covariance(4), rg.Covariance(4, precision="float32")])
def test_an_empty_accumulator_is_stored_too(tmp_path, covariance):
    again = through_file(covariance, tmp_path / "c")
    again.update(np.eye(4), targets=np.ones(4))
    assert (again.n_rows, again.trace, again.precision) == (4, 4.0, covariance.precision)


@pytest.mark.filterwarnings("ignore:the fit explains")  # the targets are noise
@pytest.mark.parametrize("through", [through_file, through_pickle])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("regularizer", [1e-3, "auto"])
def test_a_factor_answers_with_the_same_bits(tmp_path, regularizer, penalty, through):
    hessian = accumulated(feature_space="soap").factorize(regularizer, penalty=penalty)
    again = through(hessian, tmp_path / "h.safetensors")
    X = np.random.default_rng(1).normal(size=(50, 37))
    np.testing.assert_array_equal(again.variance(X), hessian.variance(X))
    np.testing.assert_array_equal(again.coef, hessian.coef)
    for name in ("log_determinant", "rcond", "effective_dimension", "regularizer", "regularizer_reason", "n_rows"):
        assert getattr(again, name) == getattr(hessian, name), name
    assert again.feature_space == "soap"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "c.safetensors"
    accumulated().save(path)
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
    consumed = accumulated()
    consumed.factorize(1.0, consume=True)
    with pytest.raises(ValueError, match="consumed"):
        consumed.save(path)
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="No such file or directory"):
        accumulated().save(tmp_path / "nowhere" / "c")
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        accumulated().save(target)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c.safetensors", "folder"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "file"
    covariance = accumulated()
    covariance.save(path)
    with pytest.raises(ValueError, match=r"holds a covariance, not a hessian"):
        rg.Hessian.load(path)
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) - 8):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="is damaged or not a safetensors file"):
            rg.Covariance.load(path)
    path.write_bytes(whole.replace(b'"version":"2"', b'"version":"7"'))
    with pytest.raises(ValueError, match="is of version 7, this rigidities reads up to 2: upgrade it"):
        rg.Covariance.load(path)
    save_file({"x": np.ones(3)}, path)
    with pytest.raises(ValueError, match="was not written by rigidities"):
        rg.Covariance.load(path)
    with pytest.raises(FileNotFoundError):
        rg.Covariance.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("lower"), "lower"),
        (lambda state: state.update(lower=np.ones(3)), "lower triangle has 3 entries but there are 703"),
        (lambda state: state.update(cross=np.ones(3)), "cross has 3 entries but there are 74"),
        (lambda state: state.update(reason="whim"), "reason is 'whim': expected given, guaranteed, "),
        (lambda state: state.update(n_features=0), "n_features is 0: expected an integer from 1"),
        (lambda state: state.update(lower=-state["lower"]), r"the stored factor has -.* on its diagonal at 0"),
    ],
)
def test_states_that_do_not_fit_together_are_refused(tmp_path, change, message):
    state = accumulated().factorize(1.0).__getstate__()
    change(state)
    rg.files.save(tmp_path / "h", "hessian", state)
    with pytest.raises(ValueError, match=f"is not a whole hessian: .*{message}"):
        rg.Hessian.load(tmp_path / "h")


def of_version_1(hessian):
    """The state that pickles of earlier versions have."""
    state = hessian.__getstate__()
    assert (state.pop("version"), state.pop("penalty")) == (2, "matrix" if "penalty_lower" in state else "identity")
    return state


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("evidence: the maximum of the marginal likelihood", Reason.EVIDENCE_MAXIMUM),
        ("evidence: the least at which rounding leaves it resolved, where …", Reason.EVIDENCE_EDGE),
        ("guaranteed: … fail; the evidence is resolved at no regularizer", Reason.EVIDENCE_UNRESOLVED),
        ("leave-one-out of the energies: the least of a path", Reason.PATH_LEAVE_ONE_OUT),
        ("given", Reason.GIVEN),  # of a Huber fit, as the three below
        ("guaranteed: the smallest at which rounding cannot make the factorisation fail", Reason.GUARANTEED),
        ("guaranteed: … fail; the penalty is singular, so that as much as …", Reason.GUARANTEED_WITH_JITTER),
        ("guaranteed: … fail; the data leave an unpenalised feature undetermined", Reason.EVIDENCE_UNDETERMINED),
        (None, Reason.GIVEN),
    ],
)
def test_reasons_of_earlier_files_are_read(text, reason):
    """Until 0.1.0 the reason of λ stood in words beside the core's."""
    state = of_version_1(accumulated().factorize(1.0)) | {"chosen_because": text}
    hessian = rg.Hessian.__new__(rg.Hessian)
    hessian.__setstate__(state)
    assert hessian.reason is reason


def test_jitter_of_earlier_files_is_read_from_the_words():
    """It was on the diagonal of the stored penalty already, and nothing but the words said so."""
    words = "evidence: the maximum of the marginal likelihood (jitter 2.5e-08 on the diagonal of the penalty)"
    state = of_version_1(accumulated().factorize(1.0, penalty=np.eye(37))) | {"chosen_because": words}
    del state["penalty_jitter"]
    hessian = rg.Hessian.__new__(rg.Hessian)
    hessian.__setstate__(state)
    assert hessian.regularizer_reason == words
    again = pickle.loads(pickle.dumps(hessian))
    assert (again.regularizer_reason, again.effective_dimension) == (words, hessian.effective_dimension)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("whim", "the reason of the regularizer is 'whim'"),
        (3, "chosen_because is 3: expected a text"),
        ("given (jitter nan on the diagonal of the penalty)", "penalty_jitter is nan: expected a finite number from 0"),
        ("given (jitter much on the diagonal of the penalty)", "could not convert"),
    ],
)
def test_words_that_are_no_reason_are_refused(words, message):
    state = of_version_1(accumulated().factorize(1.0)) | {"chosen_because": words}
    del state["penalty_jitter"]
    with pytest.raises(ValueError, match=message):
        rg.Hessian.__new__(rg.Hessian).__setstate__(state)
