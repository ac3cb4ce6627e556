"""A fitted model through a file and back, and its predictions as extended XYZ."""

import re
from dataclasses import replace

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.io import read  # noqa: E402
from silicon_model import SOAP, TEST, made  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities import files  # noqa: E402
from rigidities.interop.featomic import Soap  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402
from rigidities.model.prediction import PREDICTED, write_xyz  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return made(regularizer=1e-3)


def test_what_was_written_predicts_the_same_bits(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    loaded = LinearModel.load(tmp_path / "model.safetensors")
    one, two = (entry.predict(TEST, progress=False) for entry in (model, loaded))
    for name in ("sizes", "energies", "energy_std", "pr", "lpr", "forces", "forces_std"):
        np.testing.assert_array_equal(getattr(two, name), getattr(one, name), name)
    for name in ("soap", "loss", "baseline", "scales", "training", "left_out", "versions"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.hessian.regularizer_reason == "given"
    assert repr(loaded) == repr(model)
    assert {"rigidities", "featomic", "numpy", "python"} == set(loaded.versions)


def test_another_featomic_than_that_of_the_fit_is_told_once(model, tmp_path):
    here = model.versions["featomic"]
    replace(model, versions=model.versions | {"featomic": "0.0.1", "numpy": "1.0"}).save(tmp_path / "model")
    message = f"of featomic 0.0.1, but {re.escape(here)} is installed: "
    with pytest.warns(rg.OtherVersionWarning, match=message) as caught:
        loaded = LinearModel.load(tmp_path / "model")
    assert [warning.filename for warning in caught] == [__file__]
    loaded.predict(TEST, progress=False)  # warnings are errors here
    for versions in ({"featomic": here, "numpy": "1.0"}, {}):
        replace(model, versions=versions).save(tmp_path / "model")
        assert LinearModel.load(tmp_path / "model").versions == versions


def test_a_model_without_a_baseline_comes_back(tmp_path):
    made(baseline=None, regularizer=1e-3).save(tmp_path / "model")
    assert LinearModel.load(tmp_path / "model").baseline is None


def test_a_descriptor_can_be_passed(model, tmp_path):
    path = tmp_path / "model"
    model.save(path)
    assert LinearModel.load(path).soap == LinearModel.load(path, SOAP).soap == SOAP
    with pytest.raises(ValueError, match=r"holds a model of feature space 'soap-.*', but the descriptor has 'soap-"):
        LinearModel.load(path, Soap("Si"))


def test_files_that_are_no_model_are_refused(model, tmp_path):
    path = tmp_path / "model"
    model.hessian.save(path)
    with pytest.raises(ValueError, match="holds a hessian, not a model"):
        LinearModel.load(path)
    model.save(path)
    state = files.load(path, "model")
    files.save(path, "model", state | {"coef": state["coef"][1:]})
    with pytest.raises(ValueError, match=r"is not a whole model: coef of shape \(17,\)"):
        LinearModel.load(path)
    files.save(path, "model", state | {"soap": state["soap"] | {"feature_space": "soap-0"}})
    with pytest.raises(ValueError, match="is not a whole model: its columns are 'soap-0'"):
        LinearModel.load(path)
    files.save(path, "model", {name: value for name, value in state.items() if name != "loss"})
    with pytest.raises(ValueError, match="is not a whole model: loss is missing"):
        LinearModel.load(path)


def test_xyz_comes_back_whole(model, tmp_path):
    found = model.predict(TEST, virials=True, progress=False)
    write_xyz(found, TEST, tmp_path / "out.xyz")
    frames = read(tmp_path / "out.xyz", ":")
    info = {"predicted_energy": found.energies, "energy_std": found.energy_std, "pr": found.pr}
    info |= {"predicted_virial": found.virials, "virial_std": found.virial_std, "energy_uncertainty": found.energy_std}
    for name, values in info.items():
        np.testing.assert_array_equal([frame.info[name] for frame in frames], values)
    arrays = {"predicted_forces": found.forces, "lpr": found.lpr, "energies_uncertainty": found.atom_energy_std}
    arrays |= dict.fromkeys(("forces_std", "forces_uncertainty"), found.forces_std)
    for name, values in arrays.items():
        np.testing.assert_array_equal(np.concatenate([frame.arrays[name] for frame in frames]), values)
    assert frames[1].get_potential_energy() == pytest.approx(TEST[1].get_potential_energy(), rel=1e-12)
    assert frames[1].info["group"] == TEST[1].info["group"]
    assert "lpr" not in TEST[1].arrays
    write_xyz(model.predict(TEST, forces=False, progress=False), TEST, tmp_path / "out.xyz")
    bare = read(tmp_path / "out.xyz")
    assert "predicted_forces" not in bare.arrays
    assert "predicted_virial" not in bare.info


def test_predictions_of_two_models_are_not_mixed(model, tmp_path):
    """What an earlier output has and this one lacks is left out; the user's own data stay, whatever their names."""
    own = [frame.copy() for frame in TEST]
    for frame in own:
        frame.arrays["forces_uncertainty"] = np.ones((len(frame), 3))  # of another code
        frame.info |= {"energy_ensemble": np.ones(4), "energy_uncertainty": 1.0}
    plain = model.predict(TEST, forces=False, progress=False)
    with pytest.warns(rg.NotWrittenWarning, match="new numbers in place of info energy_uncertainty of"):
        write_xyz(plain, own, tmp_path / "first.xyz")
    first = read(tmp_path / "first.xyz", 0)
    assert first.info["energy_ensemble"].tolist() == [1.0] * 4
    assert (first.arrays["forces_uncertainty"] == 1).all()
    write_xyz(model.predict(TEST, virials=True, ensemble=3, progress=False), TEST, tmp_path / "all.xyz")
    write_xyz(plain, read(tmp_path / "all.xyz", ":"), tmp_path / "again.xyz")
    again = read(tmp_path / "again.xyz", 0)
    written = {"predicted_energy", "energy_uncertainty", "energy_std", "energies_uncertainty"}
    assert PREDICTED & (again.info.keys() | again.arrays.keys()) == written
    assert again.info["group"] == TEST[0].info["group"]
    assert again.get_potential_energy() == pytest.approx(TEST[0].get_potential_energy(), rel=1e-12)


def test_the_former_place_of_predictions_still_serves():
    from rigidities import predictions
    from rigidities.model import Prediction, write_xyz

    assert (predictions.Prediction, predictions.write_xyz) == (Prediction, write_xyz)
