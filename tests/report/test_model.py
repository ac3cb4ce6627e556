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


def lines_of(figure):
    return {line.get_label().split(",")[0] for axes in figure.axes for line in axes.lines}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_figure_shows_what_was_left_out():
    """Whole structures with forces in the loss, one energy at a time without; never one in place of the other."""
    of_both = fit_model(FRAMES, SOAP, LOSS, regularizer="loo", keep_energies=True, progress=False)
    figure = regularizer_figure(of_both)
    [line] = [line for axes in figure.axes for line in axes.lines if line.get_label().startswith("structures left")]
    np.testing.assert_array_equal(line.get_ydata(), of_both.minimum.left_out)
    assert "leave-one-out" not in lines_of(figure)
    energies = fit_model(FRAMES, SOAP, rg.Loss(energy=LOSS.energy), regularizer="loo", progress=False)
    assert "leave-one-out" in lines_of(regularizer_figure(energies))
    assert "structures left out" not in lines_of(regularizer_figure(energies))
    forces = fit_model(FRAMES, SOAP, rg.Loss(forces=LOSS.forces), baseline=None, regularizer="loo", progress=False)
    assert "structures left out" in lines_of(regularizer_figure(forces))
