"""Files of every version are read for ever: `data/version_1` was written by rigidities 0.1.0."""

import json
from pathlib import Path

import numpy as np
import pytest
import stored_objects
from safetensors import safe_open
from safetensors.numpy import save_file

import rigidities as rg
from rigidities import files
from rigidities._core import __version__
from rigidities.reason import Reason

FILES = Path(__file__).parent / "data" / "version_1"

X = np.random.default_rng(5).normal(size=(7, stored_objects.P))


def contents(path):
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()


def in_this_version(thing, path):
    """What comes back when the object is written now."""
    thing.save(path)
    assert contents(path)[1]["version"] == "2"
    return type(thing).load(path)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("again", [False, True])
def test_sums(tmp_path, precision, again):
    name = "covariance" if precision == "float64" else "covariance_float32"
    found = rg.Covariance.load(FILES / f"{name}.safetensors")
    found = in_this_version(found, tmp_path / "c") if again else found
    made = stored_objects.covariance(precision)
    for thing in (found, made):
        thing.update(X, targets=np.ones((7, 2)))
    np.testing.assert_array_equal(found.matrix(), made.matrix())
    np.testing.assert_array_equal(found.moments().cross, made.moments().cross)
    for name in ("n_rows", "trace", "precision", "feature_space"):
        assert getattr(found, name) == getattr(made, name), name


@pytest.mark.parametrize("again", [False, True])
def test_sums_without_targets(tmp_path, again):
    found = rg.Covariance.load(FILES / "covariance_bare.safetensors")
    found = in_this_version(found, tmp_path / "c") if again else found
    np.testing.assert_array_equal(found.matrix(), stored_objects.bare_covariance().matrix())
    assert (found.n_rows, found.feature_space, found.moments().n_outputs) == (1, None, 0)


@pytest.mark.parametrize("penalty", stored_objects.PENALTIES)
@pytest.mark.parametrize("again", [False, True])
def test_factors(tmp_path, penalty, again):
    """Other processors may round the factor in another way."""
    found = rg.Hessian.load(FILES / f"hessian_{penalty}.safetensors")
    found = in_this_version(found, tmp_path / "h") if again else found
    made = stored_objects.hessian(penalty)
    np.testing.assert_allclose(found.variance(X), made.variance(X), rtol=1e-10)
    np.testing.assert_allclose(found.coef, made.coef, rtol=1e-10)
    np.testing.assert_allclose(found.effective_dimension, made.effective_dimension, rtol=1e-10)
    assert (found.regularizer, found.n_rows, found.reason) == (0.5, 9, Reason.GIVEN)


@pytest.mark.parametrize("again", [False, True])
def test_a_guaranteed_regularizer(tmp_path, again):
    found = rg.Hessian.load(FILES / "hessian_guaranteed.safetensors")
    found = in_this_version(found, tmp_path / "h") if again else found
    made = stored_objects.bare_covariance().factorize("auto")
    assert (found.regularizer, found.regularizer_reason) == (made.regularizer, made.regularizer_reason)


# Another featomic than the one that made the file may be installed.
@pytest.mark.filterwarnings("ignore::rigidities.OtherVersionWarning")
@pytest.mark.parametrize("older", [False, True])
def test_models(tmp_path, older):
    pytest.importorskip("featomic")
    from silicon_model import TEST

    path = FILES / "model.safetensors"
    if older:  # the first ones named no kind of descriptor
        arrays, texts = contents(path)
        values = json.loads(texts["values"])
        assert values["soap"].pop("kind") == "soap"
        save_file(arrays, tmp_path / "older", metadata=texts | {"values": json.dumps(values)})
        path = tmp_path / "older"
    known = json.loads((FILES / "model_predictions.json").read_text())
    for model in (rg.LinearModel.load(path), in_this_version(rg.LinearModel.load(path), tmp_path / "model")):
        found = model.predict(TEST, progress=False)
        for name in ("energies", "energy_std", "pr"):
            np.testing.assert_allclose(getattr(found, name), known[name], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(found.forces[0], known["forces_of_first_atom"], rtol=1e-5)
        assert model.versions["rigidities"] == "0.1.0"
        assert (model.loss, model.training["forces"].n) == (rg.LinearModel.load(path).loss, 216)


@pytest.mark.filterwarnings("ignore::rigidities.OtherVersionWarning")
def test_scales_that_are_unknown(tmp_path):
    """NaN if no structure could be left out: a word that JSON lacks, and null since version 2."""
    pytest.importorskip("featomic")
    arrays, texts = contents(FILES / "model.safetensors")
    values = json.loads(texts["values"])
    values["scales"]["forces"] = values["left_out"]["forces"]["rmse"] = float("nan")
    save_file(arrays, tmp_path / "first", metadata=texts | {"values": json.dumps(values)})
    first = rg.LinearModel.load(tmp_path / "first")
    for model in (first, in_this_version(first, tmp_path / "second")):
        assert np.isnan([model.scales["forces"], model.left_out["forces"].rmse]).all()
        assert model.scales["energy"] == values["scales"]["energy"]
    assert json.loads(contents(tmp_path / "second")[1]["values"])["scales"]["forces"] is None


def test_a_file_names_its_writer_and_has_its_checksums(tmp_path):
    """Any program that knows safetensors reads it, arrays of length 0 included."""
    covariance = stored_objects.covariance()
    covariance.factorize(0.5).save(tmp_path / "h")
    arrays, texts = contents(tmp_path / "h")
    assert texts["writer"] == f"rigidities {__version__}"
    assert (texts["format"], texts["version"]) == ("rigidities.hessian", "2")
    assert list(arrays) == ["checksums", "cross", "lower", "squares"]
    assert (arrays["checksums"].dtype, arrays["checksums"].shape) == (np.uint32, (4,))
    state = files.load(tmp_path / "h", "hessian")
    for name in ("cross", "lower", "squares"):
        np.testing.assert_array_equal(arrays[name], state[name])
    rg.Covariance(2).save(tmp_path / "c")
    assert contents(tmp_path / "c")[0]["waiting_rows"].shape == (0,)
