"""Parity and errors against σ: what stands on the figures, of few, many and odd points."""

import numpy as np
import pytest

from rigidities.report.comparison import Compared, compare, error_figure, parity_figure
from rigidities.report.points import SINGLE

pytest.importorskip("matplotlib")


def gaussian(n, unit=1.0, seed=1):
    """Errors that are Gaussian with the σ that is given."""
    rng = np.random.default_rng(seed)
    reference, std = rng.normal(size=n) * unit, 10 ** rng.uniform(-3, -1, n) * unit
    return Compared(reference, reference + std * rng.normal(size=n), std)


def texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes, label):
    [found] = [line for line in axes.lines if line.get_label() == label]
    return found.get_xydata()


def points(axes):
    return max((len(c.get_offsets()) for c in axes.collections), default=0)


# ---- parity


def test_parity_has_units_a_line_and_the_rmse():
    compared = {"energy": gaussian(50), "forces": gaussian(300), "virial": gaussian(60)}
    figure = parity_figure(compared)
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]
    assert labels == [
        ("reference energy (eV/atom)", "predicted energy (eV/atom)"),
        ("reference force component (eV/Å)", "predicted force component (eV/Å)"),
        ("reference virial component (eV/atom)", "predicted virial component (eV/atom)"),
    ]
    for axes, values in zip(figure.axes, compared.values(), strict=True):
        rmse = 1000 * np.sqrt(np.mean((values.predicted - values.reference) ** 2))
        assert f"RMSE {rmse:.3g} meV" in axes.get_title()
        assert f"n = {len(values.std)}" in axes.get_title()
        assert axes.get_xlim() == axes.get_ylim()
        diagonal = line(axes, "1:1")
        np.testing.assert_array_equal(diagonal[:, 0], diagonal[:, 1])
        np.testing.assert_array_equal(axes.collections[0].get_offsets(), np.c_[values.reference, values.predicted])
        assert axes.get_xlim()[0] < min(values.reference.min(), values.predicted.min())


def test_forces_of_rounding_do_not_fill_the_picture():
    held = Compared(np.zeros(40), np.linspace(-1e-13, 1e-13, 40), np.full(40, 1e-12))
    assert parity_figure({"forces": held}).axes[0].get_xlim() == pytest.approx((-1e-3, 1e-3))


# ---- errors against σ


def test_errors_lie_on_the_line_where_sigma_is_right():
    values = gaussian(20000)
    [axes, bar] = error_figure({"forces": values}).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == "σ of the force component (meV/Å)"
    assert axes.get_ylabel() == "|error| of the force component (meV/Å)"
    assert texts(axes) == ["|error| = 1σ", "|error| = 2σ", "RMSE in bins of σ"]
    for k, label in ((1, "|error| = 1σ"), (2, "|error| = 2σ")):
        x, y = line(axes, label).T
        np.testing.assert_allclose(y, k * x)
    x, y = line(axes, "RMSE in bins of σ").T
    np.testing.assert_allclose(y, x, rtol=0.1)  # 1,667 points a bin: 1/√(2n) = 1.7 %
    inside = [100 * np.mean(np.abs(values.residuals) <= k * values.std) for k in (1, 2)]
    assert axes.get_title() == f"n = 20,000\n{inside[0]:.0f} % below 1σ, {inside[1]:.0f} % below 2σ"
    assert bar.get_ylabel() == "number of points"


def test_a_sigma_that_is_too_small_is_seen():
    values = gaussian(2000)
    [axes] = error_figure({"energy": values._replace(std=values.std / 3)}).axes
    x, y = line(axes, "RMSE in bins of σ").T
    np.testing.assert_allclose(y, 3 * x, rtol=0.3)
    assert axes.get_xlabel() == "σ of the energy (meV/atom)"


def test_the_caption_says_what_to_expect():
    figure = error_figure({"energy": gaussian(30)})
    assert "68 % below 1σ, 95 % below 2σ" in figure.get_supxlabel()


def test_forces_that_symmetry_holds_at_0_are_counted_not_drawn():
    values = gaussian(100)
    held = Compared(np.zeros(40), np.full(40, 1e-17), np.full(40, 1e-16))
    joined = Compared(*(np.concatenate(pair) for pair in zip(values[:3], held[:3], strict=True)))
    [axes] = error_figure({"forces": joined}).axes
    assert points(axes) == 100
    assert axes.get_xlim()[0] > 1e-1  # meV/Å: the axis is not stretched to them
    assert "n = 140 (40 of error or σ near 0 not drawn)" in axes.get_title()
    assert error_figure({"forces": held}) is None
    assert error_figure({"energy": values._replace(std=np.full(100, np.nan))}) is None
    assert len(error_figure({"energy": values, "forces": held}).axes) == 1


# ---- few, many, odd


@pytest.mark.parametrize("values", [
    gaussian(1),
    gaussian(2),
    gaussian(39),
    gaussian(SINGLE),
    gaussian(SINGLE + 1),
    gaussian(100, unit=1e6),
    gaussian(100, unit=1e-5),
    Compared(np.zeros(5), np.zeros(5), np.ones(5)),
    Compared(np.full(5, -4.5), np.full(5, -4.4), np.full(5, 0.1)),
    Compared(np.zeros(SINGLE + 1), np.full(SINGLE + 1, 0.1), np.full(SINGLE + 1, 0.1)),
    Compared(np.array([0.0, 1e9]), np.array([1e-8, 0.0]), np.array([1e-8, 1e9])),
], ids=lambda values: str(len(values.std)))  # fmt: skip
def test_every_set_can_be_drawn(values, tmp_path):
    parity_figure({"energy": values}).savefig(tmp_path / "parity.png")
    figure = error_figure({"energy": values})
    if figure is not None:
        figure.savefig(tmp_path / "errors.png")
    assert (figure is None) == (not np.any(values.residuals))


def test_of_many_points_the_density_is_drawn():
    few, many = gaussian(SINGLE), gaussian(100000)
    assert points(parity_figure({"forces": few}).axes[0]) == SINGLE
    figure = parity_figure({"forces": many})
    assert figure.axes[1].get_ylabel() == "number of points"
    assert len(figure.axes[0].collections[0].get_array()) < 10000
    assert figure.axes[0].collections[0].get_array().sum() == 100000


@pytest.mark.filterwarnings("ignore:the fit explains")  # by symmetry, the forces cannot be what they are said to be
def test_only_known_labels_are_compared():
    ase = pytest.importorskip("ase")
    pytest.importorskip("featomic")
    from ase.calculators.singlepoint import SinglePointCalculator

    from rigidities.interop.featomic import Soap
    from rigidities.loss.terms import Loss, Term
    from rigidities.model import LinearModel

    frames = []
    for i in range(6):
        atoms = ase.Atoms("Si2", [[0, 0, 0], [0, 0, 2.2 + 0.1 * i]])
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * i, forces=np.full((2, 3), 0.1 * i))
        frames.append(atoms)
    loss = Loss(energy=Term(per_atom=True), forces=Term())
    soap = Soap("Si", 4.0, max_radial=2, max_angular=1)
    model = LinearModel.fit(frames, soap, loss, regularizer=1e-3, progress=False)
    prediction = model.predict(frames, progress=False)
    frames[2].calc = SinglePointCalculator(frames[2], energy=-2.0)
    frames[3].calc = None
    compared = compare(model, frames, prediction)
    kept = [0, 1, 2, 4, 5]
    np.testing.assert_allclose(compared["energy"].reference, -0.5 * np.array(kept))
    np.testing.assert_array_equal(compared["energy"].predicted, (prediction.energies / 2)[kept])
    np.testing.assert_array_equal(compared["energy"].std, (prediction.energy_std / 2)[kept])
    assert compared["forces"].reference.shape == compared["forces"].std.shape == (24,)
    np.testing.assert_array_equal(compared["forces"].residuals[:6], -prediction.forces[:2].ravel())
    assert compare(model, [atoms for atoms in frames if atoms.calc is None], prediction) == {}
