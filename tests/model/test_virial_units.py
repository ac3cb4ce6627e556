"""Virials in another unit or of the opposite sign: found, with the likely unit, and no false alarm."""

import warnings

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

from crystals import labelled

import rigidities as rg
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import LossRows, Soap
from rigidities.model import LinearModel
from rigidities.model.virial_units import check_virials

SOAP = Soap("Si", 4.0, max_radial=3, max_angular=3)
GROUPS = {
    name: load_silicon(groups=name) for name in ("crystal", "strained", "vacancy", "rattled", "liquid", "surface")
}
MIXED = [frame for frames in GROUPS.values() for frame in frames[:4]]
ENERGY_AND_FORCES = {"energy": rg.Term(1000.0, per_atom=True), "forces": rg.Term()}


def carrying(frames, factor=None):
    """Copies with info s, the stress times a number, or times −volume."""
    copies = []
    for frame in frames:
        results = frame.calc.results
        copy = labelled(frame, results["energy"], results["forces"])
        copy.info["s"] = results["stress"] * (-frame.get_volume() if factor is None else factor)
        copies.append(copy)
    return copies


def said(frames, virial, terms=ENERGY_AND_FORCES):
    """The text of the warning, or an empty one."""
    rows = LossRows(frames, SOAP, rg.Loss(virial=virial, **terms), progress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_virials(rows)
    assert all(warning.category is rg.ImplausibleLabelsWarning for warning in caught)
    return "".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("frames", [*GROUPS.values(), MIXED], ids=[*GROUPS, "mixed"])
@pytest.mark.parametrize("per_atom", [True, False])
def test_right_labels_raise_no_alarm(frames, per_atom):
    assert said(frames, rg.Term(per_atom=per_atom)) == ""
    assert said(carrying(frames), rg.Term(target="s", per_atom=per_atom)) == ""
    assert said(frames[:6], rg.Term(per_atom=per_atom)) == ""


@pytest.mark.parametrize("frames", [GROUPS["strained"], GROUPS["vacancy"], MIXED], ids=["strained", "vacancy", "mixed"])
@pytest.mark.parametrize(
    ("factor", "term", "likely"),
    [
        (160.2176634, {"stress": "s"}, "stresses in GPa, positive under tension"),
        (-1602.176634, {"stress": "s"}, "stresses in kbar, positive under compression"),
        (1602176.634, {"stress": "s"}, "stresses in bar, positive under tension"),
        (-1.0, {"stress": "s"}, "stresses in eV/Å³, positive under compression"),
        (None, {"stress": "s"}, "virials"),
        (1.0, {"target": "s"}, "stresses in eV/Å³, positive under tension"),
    ],
)
def test_the_likely_unit_is_named(frames, factor, term, likely):
    text = said(carrying(frames, factor), rg.Term(per_atom=True, **term))
    assert likely in text[text.index("look like") : text.index("Convert")]
    assert "Convert them: Term(target=...) expects virials" in text


def test_where_nothing_can_be_compared_nothing_is_said():
    wrong = carrying(GROUPS["strained"], 1602.0)
    assert said(wrong[:5], rg.Term(stress="s")) == ""
    assert said(wrong, rg.Term(stress="s"), {}) == ""
    flat = [labelled(frame, 0.0, np.zeros((len(frame), 3)), np.zeros(6)) for frame in GROUPS["strained"]]
    assert said(flat, rg.Term()) == ""
    for index, frame in enumerate(GROUPS["strained"]):  # energies that differ by rounding
        flat[index] = labelled(frame, 1e-15 * index, np.zeros((len(frame), 3)), frame.get_stress())
    assert said(flat, rg.Term()) == ""


def test_only_structures_with_virials_are_compared():
    wrong = carrying(GROUPS["strained"], 1602.0)
    for frame in wrong[::2]:
        del frame.info["s"]
    assert "look like stresses in kbar" in said(wrong, rg.Term(stress="s", missing="skip"))


def test_a_fit_warns():
    loss = rg.Loss(virial=rg.Term(stress="s", per_atom=True), **ENERGY_AND_FORCES)
    with pytest.warns(rg.ImplausibleLabelsWarning, match="look like stresses in GPa"):
        LinearModel.fit(carrying(GROUPS["strained"][:8], 160.2), SOAP, loss, regularizer=1e-6, progress=False)
