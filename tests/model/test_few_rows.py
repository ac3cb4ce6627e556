"""A fit of fewer targets than features, in the span of their rows, against the fit of all features."""

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

import rigidities as rg
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel, training
from rigidities.model.training import fit_model
from rigidities.report.model import regularizer_figure
from rigidities.span_form import SpanForm

SOAP = Soap(["H", "C", "N", "O"], cutoff=3.5, max_radial=3, max_angular=2)


def molecules():
    """Rattled molecules, with noisy energies and forces."""
    rng, frames = np.random.default_rng(0), []
    for seed, name in enumerate(["CH4", "NH3", "H2O", "CO2", "HCN", "CH3OH", "H2CO", "N2"]):
        atoms = molecule(name)
        atoms.rattle(0.05, seed=seed)
        forces = rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=float(rng.normal()), forces=forces)
        frames.append(atoms)
    return frames


FRAMES = molecules()
LOSSES = {
    "energies": rg.Loss(energy=rg.Term(1000.0, per_atom=True)),
    "forces": rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term(1.0)),
    "huber": rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term(1.0, huber=0.5)),
}


def both(monkeypatch, loss, regularizer):
    """The fit in the span, and the one of all features."""
    few = fit_model(FRAMES, SOAP, loss, regularizer=regularizer, keep_energies=True, progress=False)
    monkeypatch.setattr(training, "_are_kept", lambda rows: False)
    return few, fit_model(FRAMES, SOAP, loss, regularizer=regularizer, keep_energies=True, progress=False)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("regularizer", [1e-2, 1.0])
@pytest.mark.parametrize("name", list(LOSSES))
def test_the_fit_is_that_of_all_features(monkeypatch, tmp_path, name, regularizer):
    few, whole = both(monkeypatch, LOSSES[name], regularizer)
    assert few.in_span
    assert not whole.in_span
    assert isinstance(few.hessian._core, SpanForm)
    ours, theirs = LinearModel.of_fit(few), LinearModel.of_fit(whole)
    assert ours.hessian.n_features == SOAP.n_features
    assert ours.hessian.feature_space == SOAP.feature_space
    found, expected = (model.predict(FRAMES[:3], progress=False) for model in (ours, theirs))
    for field in ("energies", "energy_std", "forces", "forces_std", "pr", "lpr"):
        want = getattr(expected, field)
        np.testing.assert_allclose(getattr(found, field), want, rtol=1e-5, atol=1e-7 * np.nanmax(np.abs(want)))
    for term, errors in ours.left_out.items():
        assert errors.rmse == pytest.approx(theirs.left_out[term].rmse, rel=1e-5)
        assert ours.scales[term] == pytest.approx(theirs.scales[term], rel=1e-5)
    assert ours.training_set.rank == theirs.training_set.rank
    ours.save(tmp_path / "model")
    again = LinearModel.load(tmp_path / "model").predict(FRAMES[:3], progress=False)
    np.testing.assert_array_equal(again.energies, found.energies)
    np.testing.assert_array_equal(again.forces_std, found.forces_std)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rule", ["auto", "loo", "gcv", "evidence"])
def test_rules_choose_the_same_regularizer(monkeypatch, rule):
    few, whole = both(monkeypatch, LOSSES["forces"], rule)
    ours, theirs = few.minimum.hessian.regularizer, whole.minimum.hessian.regularizer
    step = 2.5 if rule == "loo" else 1.3
    assert 1 / step < ours / theirs < step  # grids of a path begin at rounding, which differs
    assert regularizer_figure(few, few.minimum.energies).axes


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_fourteen_thousand_features():
    """C alone would take 1.7 GB."""
    soap = Soap(["H", "C", "N", "O"])
    assert soap.n_features == 14_784
    model = LinearModel.fit(FRAMES, soap, LOSSES["energies"], regularizer=1e-3, progress=False)
    assert model.predict(FRAMES[:2], forces=False, progress=False).energy_std.shape == (2,)
