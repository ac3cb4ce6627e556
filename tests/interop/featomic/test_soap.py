"""What the columns of SOAP rows mean: settings, species, components, feature space."""

import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

from ase.build import bulk  # noqa: E402
from crystals import SMALL, rattled, rows  # noqa: E402

from rigidities.interop.featomic import Soap  # noqa: E402

LARGE = json.loads(Soap("Si").settings)
LARGE["basis"]["radial"]["max_radial"] = 100_000


@pytest.fixture
def silicon():
    return rattled(bulk("Si", cubic=True))


@pytest.mark.parametrize("by", ["body_order", "species"])
def test_components_share_out_the_columns(by):
    soap = Soap([11, 17, 8], **SMALL, body_orders=(2, 3))
    columns = np.concatenate(list(soap.components(by).values()))
    np.testing.assert_array_equal(np.sort(columns), np.arange(soap.n_features))


def test_components_by_something_else_are_refused():
    with pytest.raises(ValueError, match="expected 'body_order' or 'species'"):
        Soap("Si", **SMALL).components(by="colour")


def test_feature_space_is_the_same_in_another_process():
    code = (
        "from rigidities.interop.featomic import Soap;"
        "print(Soap(['Ge', 'Si'], cutoff=4.7, body_orders=(2, 3)).feature_space)"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == Soap([32, 14, 14], np.float64(4.7), body_orders=[3, 2]).feature_space


def test_feature_space_of_the_defaults_is_stored():
    """Files carry this name: who changes it makes the rows in them unreadable."""
    assert Soap("Si", compact=False).feature_space == "soap-577fbe0f31dba470"
    assert Soap("Si").feature_space == "soap-f640b7f66f58d135"


def test_feature_space_tells_settings_apart():
    soaps = [
        Soap("Si"),
        Soap("Ge"),
        Soap(["Si", "Ge"]),
        Soap("Si", 5.5),
        Soap("Si", smoothing=0.0),
        Soap("Si", density_width=0.4),
        Soap("Si", max_radial=6),
        Soap("Si", max_angular=5),
        Soap("Si", body_orders=(2,)),
        Soap("Si", body_orders=(2, 3)),
        Soap("Si", compact=False),
        Soap("Si", body_orders=(2, 3), compact=False),
    ]
    assert len({soap.feature_space for soap in soaps}) == len(soaps) == len(set(soaps))


def test_description_is_a_value():
    soap = Soap("Si", 5)
    assert soap == Soap(14, 5.0)
    assert hash(soap) == hash(Soap([np.int64(14)]))
    assert Soap("Si", np.float32(4), max_radial=np.int64(3), max_angular=np.int32(2)) == Soap("Si", **SMALL)
    assert pickle.loads(pickle.dumps(soap)) == soap
    with pytest.raises(FrozenInstanceError):
        soap.species = (6,)
    soap.hyperparameters["cutoff"]["radius"] = 1.0
    assert soap.cutoff == 5.0
    assert "Si" in repr(soap)
    assert "252 features" in repr(soap)


def test_hyperparameters_are_passed_through(silicon):
    short = Soap("Si", **SMALL, body_orders=(2, 3))
    plain = Soap("Si", body_orders=(2, 3), hyperparameters=json.loads(short.settings))
    assert plain == short
    classes = {
        "cutoff": featomic.cutoff.Cutoff(4.0, featomic.cutoff.ShiftedCosine(width=0.5)),
        "density": featomic.density.Gaussian(width=0.5),
        "basis": featomic.basis.TensorProduct(max_angular=2, radial=featomic.basis.Gto(max_radial=3)),
    }
    result = rows(silicon, body_orders=(2, 3), hyperparameters=classes)
    np.testing.assert_allclose(result.values, rows(silicon, short).values, rtol=1e-12, atol=1e-12)


def test_a_basis_with_other_functions_for_each_l(silicon):
    radial = {angular: featomic.basis.Gto(max_radial=4 - angular) for angular in range(3)}
    settings = json.loads(Soap("Si", **SMALL).settings) | {"basis": featomic.basis.Explicit(by_angular=radial)}
    result = rows(silicon, body_orders=(2, 3), hyperparameters=settings)
    assert {name: len(c) for name, c in result.soap.components().items()} == {
        "2-body": 5,
        "3-body": 15 + 10 + 6,
    }
    del radial[0]
    with pytest.raises(ValueError, match="no functions of l = 0"):
        Soap(
            "Si",
            body_orders=(2,),
            hyperparameters=settings | {"basis": featomic.basis.Explicit(by_angular=radial)},
        )


def test_a_splined_basis_is_settings_like_any_other(silicon):
    pytest.importorskip("scipy")
    spliner = featomic.splines.SoapSpliner(
        cutoff=featomic.cutoff.Cutoff(4.0, featomic.cutoff.ShiftedCosine(width=0.5)),
        density=featomic.density.DiracDelta(center_atom_weight=0.0),
        basis=featomic.basis.LaplacianEigenstate(max_radial=2, radius=4.0),
    )
    hyperparameters = spliner.get_hypers()
    result = rows(silicon, hyperparameters=hyperparameters, compact=False)
    direct = featomic.SoapPowerSpectrum(**hyperparameters).compute(silicon).block().values
    np.testing.assert_allclose(result.values, direct, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoff": 0.0}, "cutoff is 0.0: expected a positive"),
        ({"cutoff": float("nan")}, "cutoff is nan"),
        ({"smoothing": 6.0}, "smoothing is 6.0: expected a width from 0 to the cutoff"),
        ({"density_width": -1.0}, "density_width is -1.0"),
        ({"max_radial": -1}, "max_radial is -1"),
        ({"max_angular": -1}, "max_angular is -1"),
        ({"max_radial": 1000}, "max_radial is 1000: expected a number up to 100"),
        ({"max_angular": 10**30}, "max_angular is an integer of 100 bits: expected a number up to 100"),
        ({"hyperparameters": LARGE}, "max_radial is 100000: expected a number up to 100"),
        ({"body_orders": (2, 4)}, r"body_orders is \(2, 4\): expected"),
        ({"body_orders": ()}, r"body_orders is \(\): expected"),
        ({"hyperparameters": {"cutoff": {}}}, "hyperparameters have 'cutoff': expected"),
        (
            {"hyperparameters": {"cutoff": 5, "density": 1, "basis": 1}},
            "featomic refuses the hyperparameters: json",
        ),
        ({"cutoff": 4.0, "hyperparameters": {}}, "either hyperparameters or cutoff"),
    ],
)
@pytest.mark.parametrize("body_orders", [(2,), (3,)])
def test_settings_without_a_meaning_are_refused(settings, message, body_orders):
    with pytest.raises(ValueError, match=message):
        Soap("Si", **{"body_orders": body_orders} | settings)


@pytest.mark.parametrize(("species", "message"), [([], "species is empty"), ("SiGe", "'SiGe' is no chemical symbol")])
def test_species_without_a_meaning_are_refused(species, message):
    with pytest.raises(ValueError, match=message):
        Soap(species)
