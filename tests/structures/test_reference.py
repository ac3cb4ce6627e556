"""Targets, weights and energies of the composition that rows of a loss carry; what is missing or cannot be used."""

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

from ase.build import bulk  # noqa: E402
from crystals import labelled, made, together, triclinic, with_emt  # noqa: E402

import rigidities as rg  # noqa: E402

# ---- what a batch holds


def test_rows_per_atom_are_divided_with_their_targets():
    atoms = with_emt(triclinic())
    term = rg.Term(per_atom=True)
    total, per_atom = together(made(atoms)), together(made(atoms, rg.Loss(energy=term, virial=term)))
    for name in ("energy", "virial"):
        for field in ("values", "targets"):
            np.testing.assert_allclose(per_atom[name][field], total[name][field] / 3, rtol=1e-15)


def test_rows_carry_labels():
    structures = [with_emt(triclinic(0)), with_emt(triclinic(1).repeat((2, 1, 1)))]
    rows = made(structures)
    batch = next(iter(rows))
    assert list(batch) == ["energy", "forces", "virial"]
    np.testing.assert_array_equal(batch["energy"].blocks, [0, 1])
    np.testing.assert_array_equal(batch["forces"].blocks, np.repeat([0, 1], [9, 18]))
    np.testing.assert_array_equal(batch["virial"].blocks, np.repeat([0, 1], 6))
    forces = np.concatenate([atoms.get_forces().ravel() for atoms in structures])
    np.testing.assert_array_equal(batch["forces"].targets, forces)
    assert batch["forces"].feature_space == rows.feature_space == rows.soap.feature_space
    assert (rows.n_structures, rows.n_features) == (2, batch["energy"].values.shape[1])
    with pytest.raises(ValueError, match="feature space"):
        rg.Covariance(rows.n_features, feature_space="another").update(batch["forces"])


def test_targets_are_found_by_name():
    reference = together(made(with_emt(triclinic())))
    atoms = with_emt(triclinic())
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    atoms.info |= {"e": atoms.get_potential_energy(), "v": -atoms.get_volume() * stress}
    atoms.set_array("f", forces)
    atoms.calc = None
    loss = rg.Loss(energy=rg.Term(target="e"), forces=rg.Term(target="f"), virial=rg.Term(target="v"))
    for virial in (atoms.info["v"], atoms.info["v"].ravel(), atoms.info["v"].ravel()[[0, 4, 8, 5, 2, 1]]):
        atoms.info["v"] = virial
        for name, terms in together(made(atoms, loss)).items():
            np.testing.assert_allclose(terms["targets"], reference[name]["targets"], rtol=1e-14)


def test_weights_of_structures_and_atoms():
    atoms = with_emt(triclinic())
    atoms.info["w"] = 2.0
    atoms.set_array("w", np.array([1.0, 0.0, 3.0]))
    term = rg.Term(weights="w")
    terms = together(made(atoms, rg.Loss(energy=term, forces=term)))
    np.testing.assert_array_equal(terms["energy"]["weights"], [2.0])
    np.testing.assert_array_equal(terms["forces"]["weights"], np.repeat([2.0, 0.0, 6.0], 3))
    del atoms.info["w"]
    np.testing.assert_array_equal(
        together(made(atoms, rg.Loss(forces=term)))["forces"]["weights"], np.repeat([1.0, 0.0, 3.0], 3)
    )


def test_only_structures_with_targets_need_weights():
    weighted = with_emt(triclinic())
    weighted.info["w"] = 2.0
    loss = rg.Loss(energy=rg.Term(weights="w", missing="skip"))
    np.testing.assert_array_equal(together(made([triclinic(), weighted], loss))["energy"]["weights"], [2.0])


def test_rows_of_a_test_set_are_taken_as_they_are():
    """Rigidities of forces: rows of a test set go into the Hessian of the loss as they are."""
    batch = next(iter(made(with_emt(triclinic()))))
    hessian = rg.loss_sums([batch]).combined().factorize(1e-3)
    np.testing.assert_array_equal(hessian.rigidity(batch["forces"]), hessian.rigidity(batch["forces"].values))
    assert len(hessian.rigidity(batch["forces"])) == 9


def test_a_generator_can_be_gone_through_again():
    rows = made(with_emt(triclinic(seed)) for seed in range(3))
    first, second = together(rows), together(rows)
    np.testing.assert_array_equal(first["forces"]["values"], second["forces"]["values"])


def test_rows_without_targets_need_no_labels():
    batch = next(iter(made(featomic.systems.AseSystem(triclinic()), targets=False)))
    assert batch["forces"].targets is None
    assert batch["forces"].weights is None
    assert len(batch["forces"]) == 9


# ---- energies of the composition


def test_baselines_are_fitted_or_given():
    structures = [with_emt(atoms) for atoms in (triclinic(0), triclinic(1), triclinic(2)[:2], bulk("Cu"))]
    energies = np.array([atoms.get_potential_energy() for atoms in structures])
    rows = made(structures, baseline="fit")
    assert rows.baseline == rg.Baseline.fit([atoms.numbers for atoms in structures], energies)
    expected = energies - [rows.baseline.energy(atoms.numbers) for atoms in structures]
    np.testing.assert_allclose(together(rows)["energy"]["targets"], expected, rtol=1e-14)
    given = made(structures, baseline={"Cu": 1.0, 79: 2.0})
    np.testing.assert_allclose(together(given)["energy"]["targets"], energies - [4, 4, 3, 1], rtol=1e-14)
    np.testing.assert_array_equal(together(given)["forces"]["targets"], together(rows)["forces"]["targets"])


def test_a_baseline_leaves_the_users_energies_alone():
    atoms = triclinic()
    atoms.info["e"] = np.array(3.0)
    made(atoms, rg.Loss(energy=rg.Term(target="e")), baseline={"Cu": 1.0, "Au": 1.0})
    assert atoms.info["e"] == 3.0


def test_structures_without_energies_need_no_baseline():
    gold = labelled(bulk("Au"), forces=np.zeros((1, 3)))
    loss = rg.Loss(energy=rg.Term(missing="skip"), forces=rg.Term())
    structures = [with_emt(bulk("Cu")), gold]
    assert made(structures, loss, baseline="fit").baseline.species == (29,)
    with pytest.raises(ValueError, match="the baseline has no energy for Au, only for Cu"):
        made(structures, loss, baseline={"Cu": 1.0}, targets=False)


# ---- what is missing


def test_missing_targets_are_skipped_where_that_is_said():
    full = with_emt(triclinic())
    partial = full.get_forces()
    partial[1] = np.nan
    structures = [labelled(full, energy=1.0), labelled(full, forces=partial), full]
    loss = rg.Loss(energy=rg.Term(missing="skip"), forces=rg.Term(missing="skip"), virial=rg.Term(missing="skip"))
    rows = made(structures, loss, baseline="fit")
    assert rows.n_missing == {"energy": 1, "forces": 12, "virial": 12}
    terms = together(rows)
    np.testing.assert_array_equal(terms["energy"]["blocks"], [0, 2])
    np.testing.assert_array_equal(terms["forces"]["blocks"], [1] * 6 + [2] * 9)
    np.testing.assert_array_equal(terms["forces"]["values"][:3], terms["forces"]["values"][6:9])
    np.testing.assert_array_equal(terms["forces"]["values"][3:6], terms["forces"]["values"][12:])
    np.testing.assert_array_equal(terms["virial"]["blocks"], [2] * 6)
    # one batch may have no rows of a term
    sums = rg.loss_sums(made(structures, loss, batch_size=1))
    assert {name: covariance.n_rows for name, covariance in sums.covariances.items()} == {
        "energy": 2,
        "forces": 15,
        "virial": 6,
    }


def test_stale_labels_are_missing():
    atoms = with_emt(triclinic())
    atoms.positions[0, 0] += 0.1  # what the calculator holds is of another structure
    with pytest.raises(ValueError, match="1 structure has no energies"):
        made(atoms)


class Foreign:
    """A calculator that is none of ASE's class, without stresses."""

    def __init__(self, calc):
        self.calc = calc

    def get_property(self, name, atoms, allow_calculation=True):
        assert not allow_calculation
        if name == "stress":
            raise NotImplementedError
        return self.calc.get_property(name, atoms, allow_calculation=False)


def test_any_calculator_with_properties_will_do():
    atoms = with_emt(triclinic())
    loss = rg.Loss(energy=rg.Term(), forces=rg.Term())
    expected = together(made(atoms, loss))
    atoms.calc = Foreign(atoms.calc)
    for name, terms in together(made(atoms, loss)).items():
        np.testing.assert_array_equal(terms["targets"], expected[name]["targets"])
    with pytest.raises(ValueError, match="1 structure has no virials"):
        made(atoms)


FULL = with_emt(triclinic())
NAN = FULL.get_forces()
NAN[1, 2] = np.nan
INF = FULL.get_stress()
INF[3] = np.inf
ENERGY, FORCES, VIRIAL = (rg.Loss(**{name: rg.Term(weight=0.1)}) for name in ("energy", "forces", "virial"))
SKIP = rg.Loss(virial=rg.Term(missing="skip"))


def carrying(**info):
    atoms = FULL.copy()
    atoms.info |= info
    atoms.calc = FULL.calc
    return atoms


@pytest.mark.parametrize(
    ("structures", "loss", "message"),
    [
        (
            [FULL, *[labelled(FULL, energy=1.0)] * 5],
            FORCES,
            r"forces weight is 0\.1 but 5 structures have no forces: number 1, 2, 3, … of 6\. They are expected "
            r"attached by a calculator; label them, leave them out, pass Term\(missing=\"skip\"\) .*forces=None",
        ),
        ([triclinic()], ENERGY, r"energy weight is 0\.1 but 1 structure has no energies: number 0 of 1"),
        (FULL, rg.Loss(virial=rg.Term(target="v")), "no virials: .* under the name 'v'"),
        (
            labelled(FULL, energy=1.0),
            SKIP,
            "virial weight is 1 but no structure has virials attached by a calculator; pass virial=None",
        ),
        (labelled(FULL, forces=NAN), FORCES, 'structure 0: the force on atom 1, component z, is nan: .*missing="skip"'),
        (labelled(FULL, stress=INF), SKIP, "structure 0: the virial, component yz, is -inf: .*; correct it"),
        (labelled(FULL, energy=np.nan), ENERGY, "structure 0: the energy is nan"),
        (labelled(FULL, forces=NAN[:2]), FORCES, r"structure 0: forces has shape \(2, 3\): expected shape \(3, 3\)"),
        (
            carrying(e=[1.0, 2.0]),
            rg.Loss(energy=rg.Term(target="e")),
            r"the energy has shape \(2,\): expected a number",
        ),
        (carrying(v=np.ones((2, 3))), rg.Loss(virial=rg.Term(target="v")), r"the virial has shape \(2, 3\)"),
        (
            labelled(ase.Atoms("Cu"), stress=np.ones(6)),
            VIRIAL,
            "structure 0 has a stress but its cell has no volume",
        ),
        (
            FULL,
            rg.Loss(energy=rg.Term(weights="w")),
            "no structure has the energy weight 'w' in its info: expected it in at least one, the others count 1",
        ),
        (FULL, rg.Loss(forces=rg.Term(weights="w")), "no structure has the force weight 'w' in its info or arrays"),
        (
            carrying(w=-1.0),
            rg.Loss(energy=rg.Term(weights="w")),
            r"weight 'w' is -1\.0: expected finite numbers from 0",
        ),
        ([], ENERGY, "there are no structures"),
        ([FULL, with_emt(bulk("Ni"))], ENERGY, "structure 1 contains Ni, which the training set lacks"),
    ],
)
def test_what_cannot_be_used_is_refused(structures, loss, message):
    with pytest.raises(ValueError, match=message):
        made(structures, loss)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"baseline": {"Cu": 1.0}}, ValueError, "the baseline has no energy for Au, only for Cu: add it"),
        ({"baseline": "mean"}, TypeError, "baseline is 'mean': expected a Baseline, a mapping"),
        ({"baseline": "fit", "targets": False}, ValueError, "there are no energies to fit it to"),
        ({"loss": FORCES, "baseline": "fit"}, ValueError, "there are no energies to fit it to"),
        ({"loss": "energy"}, TypeError, "loss is a str: expected a Loss"),
        ({"soap": "Cu"}, TypeError, "soap is a str: expected a Soap"),
        ({"batch_size": 0}, ValueError, "batch_size is 0: expected at least 1 atom"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        made(FULL, **arguments)


def test_other_things_than_structures_are_refused():
    with pytest.raises(TypeError, match=r"structure 0 is a AseSystem: targets are read from ase\.Atoms"):
        made([featomic.systems.AseSystem(FULL)])
    with pytest.raises(TypeError, match="structure 0 is a int"):
        made(3)
    with pytest.raises(TypeError, match="the energy is 'low': expected numbers"):
        made(carrying(e="low"), rg.Loss(energy=rg.Term(target="e")))
