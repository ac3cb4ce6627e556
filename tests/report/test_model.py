"""The tables and the figure of a fitted model, where something is not known."""

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("matplotlib")

import rigidities as rg
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel
from rigidities.model.training import fit_model
from rigidities.report.model import fit_table, regularizer_figure
from rigidities.sources.atoms import Structures

FRAMES = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8][2:12:2]
SOAP = Soap("Si", 3.5, max_radial=2, max_angular=2)
LOSS = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term())


@pytest.fixture(scope="module")
def fitted():
    return fit_model(FRAMES, SOAP, LOSS, regularizer=1e-3, keep_energies=True, progress=False)


def test_a_term_that_the_test_set_lacks_has_dashes(fitted):
    model, train = LinearModel.of_fit(fitted), Structures("train.xyz", FRAMES, SOAP)
    forces = model.errors(FRAMES, terms=["forces"], progress=False)
    lines = fit_table(model, {}, train, train, forces).splitlines()
    [energies, forces_line] = [line.split() for line in lines if line.endswith(("-", "120")) and "number" in line]
    assert energies[2:] == ["5", "5", "-"]
    assert forces_line[2:] == ["120", "120", "120"]


def test_the_figure_of_a_fit_without_a_test_set_has_no_test_errors(fitted):
    rows = fitted.minimum.energies
    with_test, without = regularizer_figure(fitted, rows), regularizer_figure(fitted)
    n_lines = [sum(len(axes.lines) for axes in figure.axes) for figure in (with_test, without)]
    assert n_lines[0] > n_lines[1] > 0
    assert {"RMSE\n(meV/atom)", "test CRPS\n(meV/atom)"} < {axes.get_ylabel() for axes in with_test.axes}
    assert "λ in use: 0.001" in [text.get_text() for text in without.axes[0].texts]
    assert np.isfinite(fitted.path.regularizers).all()
    bare = rg.TermRows(rows.values, term=rows.term)
    with pytest.raises(ValueError, match="the rows have no targets: there are no errors to draw"):
        regularizer_figure(fitted, bare)
