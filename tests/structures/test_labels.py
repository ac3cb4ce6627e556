"""Labels under the names that files have, before and after ASE wrote and read them; what a message names instead."""

import numpy as np
import pytest

pytest.importorskip("ase")

import ase
import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from crystals import triclinic, with_emt

import rigidities as rg
from rigidities.cli.messages import WORDS
from rigidities.exceptions import worded
from rigidities.structures.reference import read_known_reference, read_reference

FULL = with_emt(triclinic())
ENERGY, FORCES, STRESS = (FULL.calc.results[name] for name in ("energy", "forces", "stress"))
VIRIAL = -FULL.get_volume() * STRESS
TENSOR = STRESS[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


def bare(info=None, arrays=None):
    atoms = triclinic()
    atoms.info.update(info or {})
    atoms.arrays.update(arrays or {})
    return atoms


def attached(**results):
    atoms = triclinic()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def written(structures):
    ase.io.write("labels.xyz", structures)
    return ase.io.read("labels.xyz", ":")


def only(structures, **terms):
    """The values of the one term."""
    [reference] = read_reference(structures, rg.Loss(**terms)).values()
    return np.concatenate(reference.values)


# ---- names


@pytest.mark.parametrize("again", [False, True], ids=["as made", "written and read"])
@pytest.mark.parametrize(
    ("atoms", "terms", "values"),
    [
        (bare({"energy": ENERGY}), {"energy": rg.Term(target="energy")}, [ENERGY]),
        (bare({"REF_energy": ENERGY}), {"energy": rg.Term(target="REF_energy")}, [ENERGY]),
        (bare({"free_energy": ENERGY}), {"energy": rg.Term(target="free_energy")}, [ENERGY]),
        (attached(energy=0.0, free_energy=ENERGY), {"energy": rg.Term(target="free_energy")}, [ENERGY]),
        (attached(energy=ENERGY, free_energy=0.0), {"energy": rg.Term(target="energy")}, [ENERGY]),
        (bare({}, {"forces": FORCES}), {"forces": rg.Term(target="forces")}, FORCES.ravel()),
        (bare({}, {"f": FORCES}), {"forces": rg.Term(target="f")}, FORCES.ravel()),
        (attached(forces=FORCES), {"forces": rg.Term(target="forces")}, FORCES.ravel()),
        (attached(stress=STRESS), {"virial": rg.Term(stress="stress")}, VIRIAL),
        (attached(stress=STRESS), {"virial": rg.Term()}, VIRIAL),
        (bare({"stress": TENSOR}), {"virial": rg.Term(stress="stress")}, VIRIAL),
        (bare({"REF_stress": TENSOR}), {"virial": rg.Term(stress="REF_stress")}, VIRIAL),
        (bare({"REF_stress": TENSOR.ravel()}), {"virial": rg.Term(stress="REF_stress")}, VIRIAL),
        (bare({"REF_stress": STRESS}), {"virial": rg.Term(stress="REF_stress")}, VIRIAL),
        (bare({"virial": TENSOR}), {"virial": rg.Term(target="virial")}, STRESS),
    ],
)
def test_labels_are_found_in_entries_and_in_results(atoms, terms, values, again, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    structures = written([atoms, atoms]) if again else [atoms, atoms]
    np.testing.assert_allclose(only(structures, **terms), np.tile(values, 2), atol=1e-7)  # ASE writes eight decimals


def test_an_entry_comes_before_a_result():
    atoms = attached(energy=1.0)
    atoms.info["energy"] = 2.0
    np.testing.assert_array_equal(only([atoms], energy=rg.Term(target="energy")), [2.0])


def test_results_of_another_geometry_are_no_labels():
    atoms = attached(free_energy=1.0)
    atoms.positions[0, 0] += 0.1
    with pytest.raises(ValueError, match="1 structure has no energies"):
        read_reference([atoms], rg.Loss(energy=rg.Term(target="free_energy")))


def test_only_terms_with_values_are_known():
    loss = rg.Loss(energy=rg.Term(), forces=rg.Term(missing="skip"), virial=rg.Term())
    structures = [attached(energy=1.0, forces=np.full((3, 3), np.nan)), bare()]
    assert list(read_known_reference(structures, loss)) == ["energy"]


def test_a_virial_is_made_of_one_entry():
    with pytest.raises(ValueError, match="target is 'v' and stress 's': give one"):
        rg.Term(target="v", stress="s")
    with pytest.raises(ValueError, match="energy has stress='s': only the virial"):
        rg.Loss(energy=rg.Term(stress="s"))
    assert not rg.Term(stress="s").same_rows(rg.Term(stress="t"))


def test_a_stress_needs_a_volume():
    atoms = ase.Atoms("Cu")
    atoms.info["s"] = STRESS
    with pytest.raises(ValueError, match="structure 0 has a stress but its cell has no volume"):
        read_reference([atoms], rg.Loss(virial=rg.Term(stress="s")))


# ---- weights


def test_a_structure_without_a_weight_counts_one():
    structures = [bare({"e": 1.0}), bare({"e": 1.0, "w": 0.5}), bare({"e": 1.0, "w": 0})]
    reference = read_reference(structures, rg.Loss(energy=rg.Term(target="e", weights="w")))["energy"]
    np.testing.assert_array_equal(np.concatenate(reference.weights), [1.0, 0.5, 0.0])


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_a_bad_weight_names_its_structure(bad):
    structures = [bare({"e": 1.0}), bare({"e": 1.0, "w": bad})]
    with pytest.raises(ValueError, match=f"structure 1: the energy weight 'w' is {bad}: expected finite numbers"):
        read_reference(structures, rg.Loss(energy=rg.Term(target="e", weights="w")))


def test_weights_that_no_structure_has_are_refused():
    structures = [bare({"e": 1.0, "config_weight": 1.0})]
    message = "no structure has the energy weight 'config_weigth' in its info: .*; structure 0 carries config_weight$"
    with pytest.raises(ValueError, match=message):
        read_reference(structures, rg.Loss(energy=rg.Term(target="e", weights="config_weigth")))


# ---- names in messages

BOTH = rg.Loss(energy=rg.Term(), forces=rg.Term())
ALL = rg.Loss(energy=rg.Term(), forces=rg.Term(), virial=rg.Term())
LABELLED = bare({"REF_energy": 1.0, "REF_stress": STRESS, "config_weight": 1.0}, {"REF_forces": FORCES})


@pytest.mark.parametrize(
    ("atoms", "loss", "options", "python"),
    [
        (
            LABELLED,
            BOTH,
            "Structure 0 carries REF_energy, REF_forces; pass --energy-key REF_energy --forces-key REF_forces",
            'pass energy=Term(target="REF_energy"), forces=Term(target="REF_forces")',
        ),
        (LABELLED, ALL, "REF_forces --stress-key REF_stress", 'virial=Term(stress="REF_stress")'),
        (
            bare({"dft_virial": VIRIAL}),
            rg.Loss(virial=rg.Term()),
            "pass --virial-key dft_virial",
            'pass virial=Term(target="dft_virial")',
        ),
        (
            bare({"REF_energy": 1.0, "energy_sigma": 0.1}),
            rg.Loss(energy=rg.Term(target="REF_enrgy")),
            "under the name 'REF_enrgy'. Structure 0 carries REF_energy, energy_sigma; pass --energy-key REF_energy",
            'pass energy=Term(target="REF_energy")',
        ),
        (bare({"u0": 1.0}), rg.Loss(energy=rg.Term()), "pass --energy-key u0", 'pass energy=Term(target="u0")'),
        (
            bare({"Ref_Energy": 1.0}),
            rg.Loss(energy=rg.Term(target="ref_energy")),
            "pass --energy-key Ref_Energy",
            'pass energy=Term(target="Ref_Energy")',
        ),
        (
            FULL,
            rg.Loss(energy=rg.Term(target="free_energi")),
            "Structure 0 carries energy; pass --energy-key energy",
            'pass energy=Term(target="energy")',
        ),
        (
            FULL,
            rg.Loss(virial=rg.Term(stress="strain")),
            "pass --stress-key stress",
            'pass virial=Term(stress="stress")',
        ),
        (
            LABELLED,
            rg.Loss(energy=rg.Term(missing="skip")),
            "no structure has energies attached by a calculator. Structure 0 carries REF_energy; pass --energy-key",
            'pass energy=Term(target="REF_energy")',
        ),
        (
            bare({"mu": 2.0, "name": "x"}),
            rg.Loss(energy=rg.Term()),
            "There are only mu; label them, leave them out",
            "label them, leave them out",
        ),
        (bare(), rg.Loss(energy=rg.Term()), "expected attached by a calculator; label them", "label them"),
    ],
)
def test_a_message_names_what_is_there(atoms, loss, options, python):
    with pytest.raises(ValueError, match="weight is 1 but") as caught:
        read_reference([atoms, atoms], loss)
    assert options in worded(caught.value, WORDS)
    assert python in str(caught.value)


def test_a_name_that_a_single_structure_lacks_is_not_advised():
    with pytest.raises(ValueError, match="number 1 of 2") as caught:
        read_reference([FULL, LABELLED], rg.Loss(energy=rg.Term()))
    assert "Structure 1 carries REF_energy; label them, leave them out" in str(caught.value)
