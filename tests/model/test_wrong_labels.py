"""Labels that are far off: told of where they empty a fit, without harm beyond a threshold."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

from copper import copper, labelled
from silicon_model import LOSS

import rigidities as rg
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel


@pytest.mark.filterwarnings("ignore:evidence is best", "ignore:the compositions of the training")
def test_a_fit_that_one_wrong_label_empties_names_its_structure():
    frames = [copper(scale, seed) for seed, scale in enumerate(np.linspace(0.97, 1.03, 8))]
    wrong = frames[5].calc.results
    frames[5] = labelled(frames[5], energy=wrong["energy"] - 500.0, forces=wrong["forces"])
    soap = Soap(["Cu", "Au"], cutoff=3.5, max_radial=2, max_angular=1)
    with pytest.warns(
        rg.EmptyFitWarning, match=r"predicts little more than zero; 8\d % of its .* structure 5\."
    ) as told:
        LinearModel.fit(frames, soap, LOSS, progress=False)
    assert len([one for one in told if issubclass(one.category, rg.EmptyFitWarning)]) == 1
    assert any("look for a wrong label" in str(one.message).lower() for one in told)


@pytest.mark.filterwarnings("error::rigidities.exceptions.EmptyFitWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rule", ["auto", "loo"])
@pytest.mark.parametrize("offset", [-500.0, 30.0])
def test_a_wrong_label_beyond_a_threshold_empties_no_fit(offset, rule):
    """λ is that of clean labels, and squares of the one label, which Huber's loss bounds, are no fault of the fit."""
    clean = [copper(scale, seed) for seed, scale in enumerate(np.linspace(0.97, 1.03, 8))]
    wrong = clean[5].calc.results
    frames = [*clean[:5], labelled(clean[5], energy=wrong["energy"] + offset, forces=wrong["forces"]), *clean[6:]]
    loss = rg.Loss(energy=replace(LOSS.energy, huber=0.001), forces=rg.Term(huber=0.05))
    soap = Soap(["Cu", "Au"], cutoff=3.5, max_radial=2, max_angular=1)
    ours, theirs = (LinearModel.fit(some, soap, loss, regularizer=rule, progress=False) for some in (frames, clean))
    assert 1e-3 < ours.hessian.regularizer / theirs.hessian.regularizer < 1e3
    errors, best = ours.errors(clean, progress=False), theirs.errors(clean, progress=False)
    assert errors["energy"].rmse < best["energy"].rmse + 0.002
    assert errors["forces"].rmse < 2 * best["forces"].rmse
