"""σ of a model: noise, kinds, and rows that symmetry or rounded coordinates make zero."""

from dataclasses import asdict, replace

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk  # noqa: E402
from crystals import labelled, rattled, with_emt  # noqa: E402
from silicon_model import TEST, made  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.calibration.scale import Calibration, Kind  # noqa: E402
from rigidities.interop.featomic import Soap  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402
from rigidities.report.comparison import compare  # noqa: E402
from rigidities.report.model import comparison_summary, fit_table  # noqa: E402

COPPER = Soap("Cu", cutoff=4.0, max_radial=3, max_angular=2)
LOSS = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term())


def crystals(n=8, decimals=None):
    """Perfect crystals, all forces zero; coordinates with so many decimals."""
    frames = [with_emt(bulk("Cu", cubic=True, a=a)) for a in np.linspace(3.5, 3.7, n)]
    return [rounded(labelled(f, f.get_potential_energy(), np.zeros((4, 3))), decimals) for f in frames]


def disordered(n=12, decimals=None):
    return [rounded(with_emt(rattled(bulk("Cu", cubic=True), seed)), decimals) for seed in range(n)]


def rounded(frame, decimals):
    """A structure as a file holds it, with the labels that it had before."""
    if decimals is None:
        return frame
    results = frame.calc.results
    frame = frame.copy()
    frame.positions = (frame.positions + 0.1234567891).round(decimals)
    return labelled(frame, results["energy"], results["forces"])


def fit(frames, **options):
    return LinearModel.fit(frames, COPPER, LOSS, **{"regularizer": 1e-3, "progress": False} | options)


@pytest.fixture(scope="module")
def model():
    return fit([*crystals(), *disordered()])


# ---- noise and kinds


def test_what_sigma_is_made_of():
    """Noise and floor are those of energies and virials per atom; a structure has its kind's factor."""
    kinds = {"crystal": Kind(9, 4.0, 1.7)}
    calibrations = {
        "energy": Calibration(2.0, 0.01, kinds=kinds),
        "forces": Calibration(3.0, 0.1, kinds=kinds),
        "virial": Calibration(5.0, 0.2, kinds=kinds),
    }
    plain = {name: Calibration(one.scale) for name, one in calibrations.items()}
    other = [frame.copy() for frame in TEST]
    for frame in other:
        frame.info["group"] = "strained"
    model = made(loss=rg.Loss(**{name: rg.Term() for name in calibrations}), regularizer=1e-3)
    models = (replace(model, calibrations=one) for one in (plain, calibrations))
    v, crystal = (one.predict(TEST, virials=True, progress=False) for one in models)
    strained = replace(model, calibrations=calibrations).predict(other, virials=True, progress=False)
    assert {frame.info["group"] for frame in TEST} == {"crystal"}
    assert {frame.info["group"] for frame in other} == {"strained"}
    for name, noise in (("energy_std", 8 * 0.01), ("forces_std", 0.1), ("virial_std", 8 * 0.2)):
        std = np.sqrt(getattr(v, name) ** 2 + noise**2)
        np.testing.assert_allclose(getattr(strained, name), std, rtol=1e-12)
        np.testing.assert_allclose(getattr(crystal, name), 1.7 * std, rtol=1e-12)


def test_errors_of_labels_are_noise():
    """Labels of forces with random errors of 0.3 eV/Å: σ holds them, the variance alone cannot."""
    rng = np.random.default_rng(0)
    frames = [
        labelled(f, f.get_potential_energy(), f.get_forces() + 0.3 * rng.normal(size=(4, 3))) for f in disordered(40)
    ]
    exact, noisy = fit(disordered(40)), fit(frames)
    assert exact.calibrations["forces"].noise_std < 0.1
    assert noisy.calibrations["forces"].noise_std == pytest.approx(0.3, rel=0.2)
    found = compare(noisy, frames[:10], noisy.predict(frames[:10], progress=False))["forces"]
    assert 0.5 < found.share_within(1) < 0.85
    assert 0.88 < found.share_within(2) <= 1


def test_kinds_of_the_training_set(tmp_path):
    frames = disordered(16)
    for i, frame in enumerate(frames):
        if i < 8:
            frame.info["config_type"] = "calm" if i % 2 else "wild"
    for frame in frames[:8:2]:  # labels that no model meets
        frame.calc.results["energy"] += 4 * (frame.calc.results["energy"] + 1)
    found = fit(frames).calibrations["energy"].kinds
    assert {name: kind.n_structures for name, kind in found.items()} == {"calm": 4, "wild": 4}
    assert found["wild"].mean_square > found["calm"].mean_square
    assert {kind.factor for kind in found.values()} == {1.0}  # of four structures
    more = fit([*frames, *frames[:8]]).calibrations["energy"].kinds
    assert more["wild"].factor > 1 > more["calm"].factor


# ---- rows at rounding


@pytest.mark.parametrize("decimals", [None, 8, 6, 5])
def test_rows_that_symmetry_makes_zero_are_set_aside(decimals):
    """With eight decimals they are 1e-8 of the others, and so are σ and errors: their ratio says nothing."""
    expected = fit(disordered()).calibrations["forces"]
    with_crystals = fit([*crystals(decimals=decimals), *disordered(decimals=decimals)])
    found = with_crystals.calibrations["forces"]
    assert (found.n, found.n_aside) == (12 * 20, 12 * 8)
    assert expected.n_aside == 0
    assert found.scale == pytest.approx(expected.scale, rel=0.5)  # the fit itself differs
    std = with_crystals.predict(crystals(2, decimals), progress=False).forces_std
    np.testing.assert_allclose(std, np.hypot(found.scale * np.sqrt(found.floor), found.noise_std))
    assert (std > 0).all()


@pytest.mark.parametrize("decimals", [8, 6, 5])
def test_perfect_crystals_have_no_scale_of_forces(decimals):
    """Not the ratio of two roundings: exact coordinates and rounded ones give the same."""
    with pytest.warns(rg.IllConditionedWarning, match="σ of forces takes the scale of energies: their rows"):
        model = fit(crystals(decimals=decimals))
    assert model.scale("forces") == model.scales["energy"]
    assert (model.calibration("forces").noise, model.calibration("forces").floor) == (0, 0)


def test_one_structure_that_is_no_perfect_crystal_has_no_scale_of_forces():
    with pytest.warns(rg.IllConditionedWarning, match="there is one; in the others their rows of features are zero"):
        fit([*crystals(), disordered(1)[0]])


def test_many_perfect_crystals_do_not_make_the_others_rounding():
    """The median is that of rows that are more than rounding."""
    found = fit([*crystals(40, 8), *disordered(3, 8)]).calibrations["forces"]
    assert (found.n, found.n_aside) == (12 * 43, 12 * 40)


def test_what_is_set_aside_is_not_judged(model):
    frames = [*crystals(3), *disordered(2)]
    prediction = model.predict(frames, progress=False)
    compared = compare(model, frames, prediction)
    assert (compared["energy"].aside, compared["energy"].n_aside) == (None, 0)
    found = compared["forces"]
    np.testing.assert_array_equal(found.aside, np.repeat([True, False], [36, 24]))
    errors = np.abs(found.residuals)
    assert found.share_within(1) == np.mean((errors <= found.std)[36:])
    only = compare(model, frames[:3], model.predict(frames[:3], progress=False))
    assert np.isnan(only["forces"].share_within(1))
    summary = comparison_summary(compared)["forces"]
    assert (summary["n"], summary["n_set_aside"], summary["share_within_2_std"]) == (60, 36, found.share_within(2))
    assert comparison_summary(only)["forces"]["share_within_std"] is None


@pytest.mark.parametrize("decimals", [None, 8])
def test_older_models_set_aside_by_the_median(model, decimals):
    frames = [*crystals(3, decimals), *disordered(2)]
    older = replace(model, calibrations={name: Calibration(scale) for name, scale in model.scales.items()})
    found = compare(older, frames, older.predict(frames, progress=False))["forces"]
    np.testing.assert_array_equal(found.aside, np.repeat([True, False], [36, 24]))


# ---- files and tables


def test_files_keep_all_of_it(model, tmp_path):
    frames = disordered(16)
    for i, frame in enumerate(frames):
        frame.info["group"] = ("a", "b", "-")[i % 3]
    for one in (model, fit(frames)):
        one.save(tmp_path / "m")
        again = LinearModel.load(tmp_path / "m")
        assert {k: asdict(c) for k, c in again.calibrations.items()} == {
            k: asdict(c) for k, c in one.calibrations.items()
        }
        std = [m.predict(frames, progress=False).forces_std for m in (one, again)]
        np.testing.assert_array_equal(*std)
    assert set(again.calibrations["forces"].kinds) == {"a", "b"}


def test_tables_say_it(model):
    from rigidities.sources.atoms import Structures

    frames = disordered(16)
    for i, frame in enumerate(frames):
        frame.info["group"] = ("liquid", "slab")[i % 2]
    frames = [*crystals(2), *frames]
    one = fit(frames)
    text = fit_table(one, {}, Structures("train.xyz", frames, COPPER))
    assert "set aside     forces 24 of 216 (their rows are zero or nearly so" in text
    energy, forces = (one.calibrations[name].kinds["slab"] for name in ("energy", "forces"))
    cells = [f"{x.n_structures:>10}{x.mean_square:>8.3g}{x.factor:>8.2f}" for x in (energy, forces)]
    assert f"{'slab':22}{cells[0]}{cells[1]}" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "by kind" not in fit_table(model, {}, Structures("train.xyz", frames, COPPER))
    noisy = replace(one, calibrations={"energy": Calibration(1.0, 0.0123), "forces": Calibration(1.0)})
    assert "noise         energy 12.3 meV/atom" in fit_table(noisy, {}, Structures("train.xyz", frames, COPPER))


# ---- feature spaces


def test_calibrations_of_another_model_are_refused(tmp_path):
    """A scale belongs to the variances of its own Hessian: of a fit, a file, and a term that takes another's scale."""
    one, other = made(), made(soap=Soap("Si", 3.5, max_radial=3, max_angular=2))
    for name, calibration in one.calibrations.items():
        assert calibration.feature_space == one.soap.feature_space == one.hessian.feature_space, name
    assert one.calibration("virial").feature_space == one.soap.feature_space
    one.save(tmp_path / "m")
    for model in (one, LinearModel.load(tmp_path / "m")):
        said = f"is of feature space '{one.soap.feature_space}', but the variances are of '{other.soap.feature_space}'"
        with pytest.raises(ValueError, match=said):
            replace(other, calibrations=model.calibrations)
    with pytest.raises(ValueError, match="where another scale holds"):
        one.calibration("virial").standard_deviation([1.0], feature_space=other.hessian.feature_space)
    plain = {name: replace(one, feature_space=None) for name, one in one.calibrations.items()}
    assert replace(other, calibrations=plain).scales == one.scales  # where it is not known, nothing is refused
