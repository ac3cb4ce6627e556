"""Files of models that somebody wrote by hand: refused by the name of the entry, whatever it is."""

import copy
import json
import random
import re

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

from silicon_model import SOAP, made

from rigidities import files
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    made(regularizer=1e-3).save(path)
    return {name: value for name, value in files.load(path, "model").items() if name != "version"}


def changed(state, place, value):
    """The state with another value at a place like "soap.species.0"; a callable changes what is there."""
    values = {name: copy.deepcopy(entry) for name, entry in state.items()}
    at, *keys = values, *place.split("/")
    for key in keys[:-1]:
        at = at[int(key) if isinstance(at, list) else key]
    key = int(keys[-1]) if isinstance(at, list) else keys[-1]
    if value is ...:
        del at[key]
    else:
        at[key] = value
    return values


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("hessian.regularizer", -1.0, "regularizer is -1.0: expected a finite number from 0"),
        ("hessian.n_features", 2**64, "n_features is 18446744073709551616: expected an integer from 1"),
        ("hessian.lower", ..., "lower is missing"),
        ("hessian.other", 1, "other is not known"),
        ("coef", ..., "coef is missing"),
        ("coef", [1.0], r"coef is \[1.0\]: expected an array"),
        ("coef", np.full(18, np.nan), r"coef\[0\] is nan: expected finite numbers"),
        ("scales/energy", -1, "scales.energy is -1: expected a finite number from 0"),
        ("scales/energy", 10**400, r"scales.energy is 1000.* …: expected a finite number from 0"),
        ("scales/energy", ..., "scales has forces, but the loss energy, forces"),
        ("scales", {}, "scales has nothing, but the loss energy, forces"),
        ("scales", [], r"scales is \[\]: expected names with values"),
        ("scales/charge", 1.0, "scales.charge is not known: expected some of energy, forces, virial"),
        ("calibration", {}, "calibration has nothing, but the loss energy, forces"),
        ("calibration/energy/noise", -1, "calibration.energy.noise is -1: expected a finite number from 0"),
        ("calibration/energy/floor", ..., "calibration.energy.floor is missing"),
        ("calibration/forces/kinds/a", 3, "calibration.forces.kinds.a is 3: expected names with values"),
        ("training/energy/n", -1, "training.energy.n is -1: expected an integer from 0"),
        ("training/energy/rmse", "1", "training.energy.rmse is '1': expected a finite number from 0"),
        ("left_out/forces", 3, "left_out.forces is 3: expected names with values"),
        ("loss/energy/weight", 10**400, "loss.energy.weight is 1000.* …: expected a finite number from 0"),
        ("loss/energy/per_atom", 1, "loss.energy.per_atom is 1: expected true or false"),
        ("loss/energy/huber", 0, "huber is 0: expected a positive threshold"),
        ("loss/energy/missing", "drop", "loss.energy.missing is 'drop': expected refuse, skip"),
        ("loss/energy/weights", ..., "loss.energy.weights is missing"),
        ("loss", {}, "scales has energy, forces, but the loss nothing"),
        ("baseline/species/0", 14.5, r"baseline.species\[0\] is 14.5: expected an integer from 1"),
        ("baseline/species", [14, 14], "shorter|longer"),
        ("baseline/energies", [], r"baseline.energies is \[\]: expected a list with an entry"),
        ("baseline", {"species": [14, 14], "energies": [1.0, 2.0]}, "names a species twice"),
        ("baseline", 3, "baseline is 3: expected names with values"),
        ("versions", {"numpy": 2}, "versions.numpy is 2: expected a text"),
        ("soap", None, "soap is None: expected names with values"),
        ("soap/kind", ..., "soap.kind is missing"),
        ("soap/kind", 3, "soap.kind is 3: expected a text"),
        ("soap/kind", "other", "holds a model of a descriptor of kind 'other'"),
        ("soap/species", [], r"soap.species is \[\]: expected a list with an entry"),
        ("soap/species", ["Si"], r"soap.species\[0\] is 'Si': expected an integer from 1"),
        ("soap/species", [10**9], "its columns are"),
        ("soap/body_orders", [4], r"body_orders is \(4,\)"),
        ("soap/hyperparameters", [], r"soap.hyperparameters is \[\]: expected names with values"),
        ("soap/hyperparameters/cutoff/radius", 1e308, "radius is 1e.308: expected a number up to 1e.06"),
        ("soap/hyperparameters/basis/max_angular", 10**9, "max_angular is 1000000000: expected a number up to 100"),
        ("soap/hyperparameters/basis/radial/max_radial", -(2**70), "max_radial is an integer of 71 bits"),
        ("soap/hyperparameters/density/type", "G" * 5000, "type has 5000 characters"),
        ("soap/hyperparameters/basis", [[]], "featomic refuses|AttributeError|object"),
    ],
)
def test_entries_are_refused_by_their_name(tmp_path, state, place, value, message):
    path = tmp_path / "model"
    files.save(path, "model", changed(state, place, value))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} .*{message}") as caught:
        LinearModel.load(path)
    assert caught.type is ValueError
    assert len(str(caught.value)) < 1000


ODD = [None, True, 0, -1, 3.5, 1e300, 10**400, 2**63, "", "x", [], {}, [[]], [1], [1e9], {"a": 1}, [None]]


def places(value, place=()):
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield "/".join(map(str, (*place, key)))
        yield from places(entry, (*place, key))


def outcome(path):
    try:
        LinearModel.load(path)
    except ValueError as error:
        return "refused" if str(path) in str(error) else str(error)
    return "taken"


def test_odd_values_anywhere_are_taken_or_refused(tmp_path, state):
    """No other error than a ValueError that names the file: 2,100 were tried once, 120 here."""
    path, rng = tmp_path / "model", random.Random(7)
    known = list(places({name: value for name, value in state.items() if not isinstance(value, np.ndarray)}))
    outcomes = []
    for _ in range(120):
        place, value = rng.choice(known), rng.choice([*ODD, ...])
        files.save(path, "model", changed(state, place, value))
        outcomes.append(outcome(path))
    assert set(outcomes) == {"taken", "refused"}
    assert outcomes.count("refused") > 60


def test_settings_nested_without_end_are_refused(tmp_path, state):
    path = tmp_path / "model"
    deep = []
    for _ in range(900):
        deep = [deep]
    files.save(path, "model", changed(state, "soap/hyperparameters/basis", deep))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        LinearModel.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": {"radius": 1e308}}, "radius is 1e.308: expected a number up to 1e.06"),
        ({"cutoff": {"radius": float("nan")}}, "radius is nan"),
        *(({"cutoff": {"radius": radius}}, "radius is .*: expected a length in Å") for radius in (0, -1.0, 1e-300)),
        ({"basis": {"type": "Tensor\0Product"}}, r"type is 'Tensor\\x00Product': expected a name"),
        ({"density": {"wi\0dth": 0.5}}, r"an entry of density is 'wi\\x00dth': expected a name"),
        ({"density": {"w" * 101: 0.5}}, "an entry of density has 101 characters"),
        ({"basis": {"max_radial": 10**6}}, "max_radial is 1000000: expected a number up to 100"),
        ({"basis": {"by_angular": [{"max_radial": 101}]}}, "max_radial is 101: expected a number up to 100"),
    ],
)
def test_hyperparameters_have_limits(change, message):
    """Of a user as well: featomic does not return from some of these."""
    with pytest.raises(ValueError, match=message):
        Soap("Si", hyperparameters=json.loads(SOAP.settings) | change)
