"""The scale of σ: where left-out structures determine none, σ is NaN with a warning, never 0 and never rounding."""

import warnings

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from crystals import labelled, rattled, with_emt  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.interop.featomic import Soap  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402
from rigidities.model.scale import LeftOut, calibrations_of, first_scale  # noqa: E402

COPPER = Soap("Cu", cutoff=4.0, max_radial=3, max_angular=2)
LOSS = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term(), virial=rg.Term())
RATTLED = [with_emt(rattled(bulk("Cu", cubic=True), seed)) for seed in range(6)]


def perfect(force=0.0):
    """Perfect crystals; their forces are zero by symmetry, and labelled as given."""
    frames = [with_emt(bulk("Cu", cubic=True, a=a)) for a in np.linspace(3.5, 3.7, 8)]
    return [labelled(f, f.get_potential_energy(), np.full((4, 3), force), f.get_stress()) for f in frames]


def without(frames, *names):
    """The same structures without some labels."""
    return [labelled(f, **{k: v for k, v in f.calc.results.items() if k in ("energy", "forces", "stress")
                           and k not in names}) for f in frames]  # fmt: skip


def fit(frames, loss=LOSS, soap=COPPER, **options):
    """The model, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LinearModel.fit(frames, soap, loss, **{"regularizer": 1e-3, "progress": False} | options)
    return model, [str(one.message) for one in caught if issubclass(one.category, rg.IllConditionedWarning)]


def said(texts, what):
    assert any(text.startswith(what) for text in texts), texts


@pytest.mark.parametrize("baseline", ["fit", None])
@pytest.mark.parametrize("frames", [RATTLED[:1], perfect()[:1], [with_emt(bulk("Cu"))]])
def test_one_structure_has_no_scale(frames, baseline):
    model, texts = fit(frames, baseline=baseline)
    assert all(np.isnan(scale) for scale in model.scales.values())
    for what in ("energies", "forces", "virials"):
        said(texts, f"σ of {what} is NaN: it needs errors of at least 2 structures that can be left out, and there is")
    prediction = model.predict(RATTLED[1], virials=True, progress=False)
    for std in (prediction.energy_std, prediction.forces_std, prediction.virial_std):
        assert np.isnan(std).all()
    assert np.isfinite(prediction.energies).all()
    assert np.isfinite(prediction.lpr).all()


@pytest.mark.parametrize("names", [("energy",), ("forces",), ("virial",)])
def test_one_structure_has_no_scale_for_any_term(names):
    loss = rg.Loss(**{name: getattr(LOSS, name) for name in names})
    model, texts = fit(RATTLED[:1], loss, baseline=None)
    assert np.isnan(model.scale(names[0]))
    assert len(texts) == 1


def test_two_structures_have_one():
    model, texts = fit(RATTLED[:2])
    assert not texts
    assert all(scale > 0 for scale in model.scales.values())


@pytest.mark.parametrize("missing", ["forces", "stress"])
def test_a_term_that_one_structure_has_takes_the_scale_of_another(missing):
    frames = [RATTLED[0], *without(RATTLED[1:], missing)]
    loss = rg.Loss(**{name: rg.Term(1.0, missing="skip") for name in ("energy", "forces", "virial")})
    model, texts = fit(frames, loss)
    name = {"forces": "forces", "stress": "virial"}[missing]
    assert np.isnan(model.scales[name])
    assert model.scale(name) == model.scales["energy"]
    assert len(texts) == 1
    said(texts, f"σ of {name.removesuffix('s') + 's'} takes the scale of energies: it needs errors of at least 2")


def test_energies_that_the_baseline_repeats():
    """As many compositions as structures, or the same energy for all: what is left of the targets is rounding."""
    same = [labelled(f, -3.7 * len(f), f.get_forces(), f.get_stress()) for f in RATTLED]
    mixed = []
    for symbols, frame in zip(("CuCuCuAu", "CuCuAuAu"), RATTLED, strict=False):
        atoms = frame.copy()
        atoms.symbols = symbols
        mixed.append(with_emt(atoms))
    for frames, soap in ((same, COPPER), (mixed, Soap(["Cu", "Au"], cutoff=4.0, max_radial=3, max_angular=2))):
        model, texts = fit(frames, rg.Loss(energy=rg.Term(per_atom=True)), soap)
        assert np.isnan(model.scale("energy"))
        said(texts, "σ of energies is NaN: their errors in structures that are left out are rounding")
        assert np.isnan(model.predict(frames[0], forces=False, progress=False).energy_std).all()


@pytest.mark.parametrize("force", [0.0, 1e-8, 1e-3])
def test_rows_that_symmetry_makes_zero(force):
    """The ratio of two roundings is no scale: forces take that of the energies, whatever their labels are."""
    model, texts = fit(perfect(force))
    assert np.isnan(model.scales["forces"])
    assert model.scale("forces") == model.scales["energy"] > 0
    assert len(texts) == 1
    said(texts, "σ of forces takes the scale of energies: their rows of features are zero or rounding")
    expected = fit(perfect())[0].predict(RATTLED[0], progress=False).forces_std
    np.testing.assert_allclose(model.predict(RATTLED[0], progress=False).forces_std, expected, rtol=1e-2)


def test_lone_atoms_have_no_rows_of_forces():
    frames = [labelled(Atoms("Cu"), energy, np.zeros((1, 3))) for energy in (-1.0, -1.1, -0.9)]
    model, texts = fit(frames, rg.Loss(energy=rg.Term(), forces=rg.Term()))
    assert np.isnan(model.scales["forces"])
    assert model.scales["energy"] > 0
    said(texts, "σ of forces takes the scale of energies: their rows of features are zero")


@pytest.mark.parametrize(("name", "scale"), [("energy", np.sqrt(np.pi / 2) * (3 + 2) / 2), ("forces", np.sqrt(13 / 2))])
def test_targets_that_cannot_be_left_out_do_not_count(name, scale):
    term = LeftOut()
    term.add_targets(*(np.array(x) for x in ([3.0, 4.0, 9.0], [1.0, 4.0, np.nan], [5.0] * 3, [1.0] * 3, [0, 1, 2])))
    found = calibrations_of({name: term})[name]
    assert (found.n, found.n_aside, found.noise) == (2, 0, 0.0)
    assert found.scale == pytest.approx(scale, rel=1e-12)
    assert first_scale({"energy": np.nan, "forces": 2.0}) == "forces"
    assert first_scale({"energy": np.nan}) is None


def test_variances_at_the_floor_are_set_aside():
    """Also those of rows as long as others, and exact zeros; they do not count as structures."""
    term, v = LeftOut(), np.array([1.0, 2.0, 4.0, 2e-8, 0.0])
    r, ones = np.array([1.0, 2.0, 4.0, 3.0, 5.0]), np.ones(5)
    term.add_targets(r, v, 10 * ones, ones, np.array([0, 0, 1, 2, 3]))
    found = calibrations_of({"forces": term})["forces"]
    assert (found.n, found.n_aside, found.floor) == (5, 2, 1e-6)
    assert found.scale == pytest.approx(np.sqrt((1 + 2 + 4) / 3))
    few = LeftOut()
    few.add_targets(r[1:], v[1:], 10 * ones[1:], ones[1:], np.array([1, 1, 2, 3]))
    with pytest.warns(rg.IllConditionedWarning, match="σ of forces is NaN: .* there is one; in the others"):
        assert np.isnan(calibrations_of({"forces": few})["forces"].scale)


def test_a_scale_has_the_name_of_a_term():
    model = fit(RATTLED)[0]
    for name in ("energies", "", None, 3):
        with pytest.raises(ValueError, match="expected one of energy, forces, virial"):
            model.scale(name)
