"""A fitted model: against refits and dense algebra, its scale and errors, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from copper import copper, labelled  # noqa: E402
from silicon_model import LOSS, SOAP, TEST, TRAIN, made  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.calibration.losses import scale_and_noise  # noqa: E402
from rigidities.datasets import load_silicon  # noqa: E402
from rigidities.interop.featomic import LossRows, Soap, soap_rows  # noqa: E402
from rigidities.model import LinearModel, training  # noqa: E402
from rigidities.model.training import fit_model  # noqa: E402

LIKELIEST = {
    "energy": lambda r, v: np.sqrt(np.pi / 2) * np.mean(np.abs(r) / np.sqrt(v)),
    "forces": lambda r, v: np.sqrt(np.mean(r**2 / v)),
}
"""The scale of the largest likelihood, of Laplace and of Gauss."""


@pytest.fixture(scope="module")
def model():
    return made(regularizer=1e-3)


def rows_of(structures, loss=LOSS, **options):
    """All rows, targets, weights and structures of a loss, end to end."""
    rows = LossRows(structures, SOAP, loss, progress=False, **{"baseline": "fit"} | options)
    parts = [batch[name] for batch in rows for name in loss.terms]
    weights = [part.term.weight * part.weights for part in parts]
    values, targets, blocks = ([getattr(part, name) for part in parts] for name in ("values", "targets", "blocks"))
    return tuple(np.concatenate(array) for array in (values, targets, weights, blocks))


# ---- what it predicts


def test_weights_and_variances_are_those_of_dense_algebra(model):
    F, y, w, _ = rows_of(TRAIN)
    H = F.T @ (w[:, None] * F) + 1e-3 * np.eye(SOAP.n_features)
    coef = np.linalg.solve(H, F.T @ (w * y))
    # cond(H) is about 2e7 and eps 2e-16: eight digits of what is predicted are left
    found = model.predict(TEST, progress=False)
    atoms = soap_rows(TEST, SOAP, progress=False)
    baseline = model.baseline.energies[0]
    sums = rg.reduce_rows(atoms, reduction="sum")[1]
    np.testing.assert_allclose(found.energies, sums @ coef + 8 * baseline, rtol=1e-7)
    v = np.einsum("ij,ji->i", sums, np.linalg.solve(H, sums.T))
    factor = factor_of(model, "energy")
    np.testing.assert_allclose(found.energy_std, factor * model.scales["energy"] * np.sqrt(v), rtol=1e-7)
    np.testing.assert_allclose(found.atom_energy_std**2 * found.lpr, model.scales["energy"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(found.pr, 64 / v, rtol=1e-7)
    lpr = 1 / np.einsum("ij,ji->i", atoms.values, np.linalg.solve(H, atoms.values.T))
    np.testing.assert_allclose(found.lpr, lpr, rtol=1e-7)
    G = _force_rows(TEST)
    np.testing.assert_allclose(found.forces.ravel(), G @ coef, atol=1e-7)
    v = np.einsum("ij,ji->i", G, np.linalg.solve(H, G.T))
    std = factor_of(model, "forces") * model.scales["forces"] * np.sqrt(v)
    np.testing.assert_allclose(found.forces_std.ravel(), std, rtol=1e-6)


def factor_of(model, name):
    """The factor of σ for the kind of the test structures."""
    [kind] = {frame.info["group"] for frame in TEST}
    assert model.calibrations[name].kinds[kind].n_structures == 5
    return model.calibrations[name].kinds[kind].factor


def _force_rows(structures):
    rows = LossRows(structures, SOAP, rg.Loss(forces=rg.Term()), targets=False, progress=False)
    return np.concatenate([batch["forces"].values for batch in rows])


@pytest.mark.filterwarnings("ignore:the compositions of the training")
def test_forces_are_minus_the_derivative_of_the_energy():
    train = [copper(0.98 + 0.01 * i, seed=i) for i in range(5)]
    model = made(train, soap=Soap(["Cu", "Au"], 4.0, max_radial=2, max_angular=1), regularizer=1e-3)
    atoms = copper(seed=9)
    atoms.positions[2] += [0.2, -0.1, 0.15]
    forces = model.predict(atoms, progress=False).forces
    step = 1e-4
    for atom, axis in [(0, 0), (2, 1), (2, 2), (3, 0)]:
        moved = [atoms.copy(), atoms.copy()]
        for sign, copy in zip((1, -1), moved, strict=True):
            copy.positions[atom, axis] += sign * step
        high, low = model.predict(moved, forces=False, progress=False).energies
        # the step leaves an error of its square times the third derivative, some 10 eV/Å³
        assert forces[atom, axis] == pytest.approx((low - high) / (2 * step), abs=1e-6)


@pytest.mark.filterwarnings("ignore:the compositions of the training")
def test_virials_are_minus_the_derivative_of_the_energy():
    """Of a model fitted to energies and forces alone, with cell and positions strained together."""
    train = [copper(0.98 + 0.01 * i, seed=i) for i in range(5)]
    model = made(train, soap=Soap(["Cu", "Au"], 4.0, max_radial=2, max_angular=1), regularizer=1e-3)
    atoms = copper(seed=9)
    atoms.set_cell(atoms.cell @ [[1.02, 0.03, 0.0], [0.0, 0.99, -0.02], [0.01, 0.0, 1.01]], scale_atoms=True)
    virial = model.predict([copper(), atoms], forces=False, virials=True, progress=False).virials[1]
    step = 2e-5
    for found, (i, j) in zip(virial, [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], strict=True):
        strained = [atoms.copy(), atoms.copy()]
        for sign, copy in zip((1, -1), strained, strict=True):
            strain = np.eye(3)
            strain[[i, j], [j, i]] += sign * step / (1 if i == j else 2)
            copy.set_cell(atoms.cell @ strain, scale_atoms=True)
        high, low = model.predict(strained, forces=False, progress=False).energies
        # the step leaves an error of its square times the third derivative, some 10⁴ eV
        assert found == pytest.approx((low - high) / (2 * step), abs=3e-6)


@pytest.mark.parametrize("virial", [None, rg.Term(), rg.Term(weight=3.0, per_atom=True)])
def test_the_std_of_virials_is_that_of_dense_algebra(virial):
    """Where the loss has no virials, with the scale of its first term and no noise."""
    loss = replace(LOSS, virial=virial)
    model = made(loss=loss, regularizer=1e-3)
    F, _, w, _ = rows_of(TRAIN, loss)
    H = F.T @ (w[:, None] * F) + 1e-3 * np.eye(SOAP.n_features)
    G = rows_of(TEST, rg.Loss(virial=rg.Term()), baseline=None)[0]
    found = model.predict(TEST, virials=True, progress=False)
    v = np.einsum("ij,ji->i", G, np.linalg.solve(H, G.T))
    scale = model.scales["energy" if virial is None else "virial"]
    noise = 0 if virial is None else model.calibrations["virial"].noise_std
    factor = 1 if virial is None else factor_of(model, "virial")
    np.testing.assert_allclose(found.virials.ravel(), G @ model.coef, atol=1e-9)
    # cond(H) is about 2e7 and eps 2e-16: eight digits are left
    std = factor * np.sqrt(scale**2 * v + (8 * noise) ** 2)  # the noise is that of a virial per atom
    np.testing.assert_allclose(found.virial_std.ravel(), std, rtol=1e-6)
    alone = model.predict(TEST, progress=False)
    assert (alone.virials, alone.virial_std) == (None, None)
    np.testing.assert_array_equal(alone.forces, found.forces)


def test_what_was_trained_on_is_known_better_than_what_is_far(model):
    far = [frame for frame in load_silicon(groups="liquid")][:1]
    near = model.predict(TRAIN, progress=False)
    other = model.predict(far, progress=False)
    assert (near.energy_std / near.sizes).max() < 0.5 * other.energy_std[0] / other.sizes[0]
    assert near.forces_std.max() < np.median(other.forces_std)
    assert near.lpr.min() > np.median(other.lpr)


def test_the_baseline_is_in_the_energies_and_not_in_the_forces():
    train = [copper(0.97 + 0.01 * i, seed=i) for i in range(6)]
    soap = Soap(["Cu", "Au"], 4.0, max_radial=2, max_angular=1)
    given = made(train, soap=soap, baseline={"Cu": -1.0, "Au": -2.0}, regularizer=1e-3)
    shifted = [labelled(frame, energy=frame.get_potential_energy() + 50, forces=frame.get_forces()) for frame in train]
    lifted = made(shifted, soap=soap, baseline={"Cu": -1.0 + 12.5, "Au": -2.0 + 12.5}, regularizer=1e-3)
    one, two = (model.predict(train[:2], progress=False) for model in (given, lifted))
    np.testing.assert_allclose(two.energies, one.energies + 50, rtol=1e-9)
    np.testing.assert_allclose(two.forces, one.forces, atol=1e-9)


def test_forces_can_be_left_out(model):
    whole, part = (model.predict(TEST, forces=forces, progress=False) for forces in (True, False))
    assert part.forces is None
    assert part.forces_std is None
    np.testing.assert_array_equal(part.energies, whole.energies)


def test_a_term_that_the_loss_lacks_takes_the_scale_of_the_first():
    energies = made(loss=rg.Loss(energy=LOSS.energy), regularizer=1e-3)
    assert set(energies.scales) == {"energy"}
    assert energies.scale("forces") == energies.scales["energy"]
    forces = made(loss=rg.Loss(forces=rg.Term()), baseline=None, regularizer=1e-3)
    assert forces.scale("energy") == forces.scales["forces"] == forces.scale("virial")


# ---- the scale, and errors


def test_the_scale_is_that_of_refits_without_each_structure(model):
    F, y, w, structures = rows_of(TRAIN)
    left = {name: [] for name in LOSS.terms}
    for structure in range(len(TRAIN)):
        held = structures != structure
        H = F[held].T @ (w[held, None] * F[held]) + 1e-3 * np.eye(SOAP.n_features)
        coef = np.linalg.solve(H, F[held].T @ (w[held] * y[held]))
        X = F[~held]
        r, v = y[~held] - X @ coef, np.einsum("ij,ji->i", X, np.linalg.solve(H, X.T))
        for name, part in (("energy", w[~held] == 100), ("forces", w[~held] == 1)):
            left[name].append((r[part], v[part]))
    for name, parts in left.items():
        r, v = (np.concatenate(column) for column in zip(*parts, strict=True))
        noise = scale_and_noise(r, v, "absolute" if name == "energy" else "nll")[1]
        scale = LIKELIEST[name](r, v + (noise / model.scales[name]) ** 2)
        # cond(H) is about 2e7: eight digits of a residual. The misfit is flat at its minimum.
        assert model.calibrations[name].noise_std == pytest.approx(noise, rel=1e-4)
        assert model.scales[name] == pytest.approx(scale, rel=1e-4)
        assert model.left_out[name].rmse == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-6)
        assert model.left_out[name].n == len(r)


def test_errors_are_those_of_the_predictions(model):
    found, errors = model.predict(TEST, progress=False), model.errors(TEST, progress=False)
    energies = np.array([frame.get_potential_energy() for frame in TEST])
    forces = np.array([frame.get_forces() for frame in TEST]).reshape(-1, 3)
    r = (energies - found.energies) / 8
    assert errors["energy"].rmse == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-6)
    assert errors["energy"].mae == pytest.approx(np.mean(np.abs(r)), rel=1e-6)
    assert errors["forces"].rmse == pytest.approx(np.sqrt(np.mean((forces - found.forces) ** 2)), rel=1e-9)
    assert errors["forces"].n == forces.size
    trained = model.errors(TRAIN, progress=False)
    assert trained["forces"].mae == pytest.approx(model.training["forces"].mae, rel=1e-9)
    assert trained["energy"].rmse == pytest.approx(model.training["energy"].rmse, rel=1e-6)
    assert model.left_out["energy"].rmse > model.training["energy"].rmse


def test_errors_are_per_atom_whatever_the_habit_of_the_loss():
    """All structures have 8 atoms: a weight of 1/64 of the total is that of the energy per atom."""
    loss = rg.Loss(energy=rg.Term(100.0 / 64), virial=rg.Term(1.0 / 64))
    habit = rg.Loss(energy=rg.Term(100.0, per_atom=True), virial=rg.Term(1.0, per_atom=True))
    total, per_atom = (made(loss=entry, regularizer=1e-3) for entry in (loss, habit))
    for name in ("energy", "virial"):
        assert total.training[name].rmse == pytest.approx(per_atom.training[name].rmse, rel=1e-6)
        assert total.left_out[name].mae == pytest.approx(per_atom.left_out[name].mae, rel=1e-6)
        assert total.scales[name] == pytest.approx(per_atom.scales[name], rel=1e-6)
        test = [entry.errors(TEST, progress=False)[name].rmse for entry in (total, per_atom)]
        assert test[0] == pytest.approx(test[1], rel=1e-6)
    one, two = (entry.predict(TEST, forces=False, progress=False).energy_std for entry in (total, per_atom))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_errors_of_other_terms_and_of_sets_labelled_in_part():
    model = made(loss=rg.Loss(energy=LOSS.energy), regularizer=1e-3)
    asked = [TEST[0], labelled(TEST[1], energy=TEST[1].get_potential_energy())]
    errors = model.errors(asked, terms=("energy", "forces"), progress=False)
    assert (errors["energy"].n, errors["forces"].n) == (2, 24)


def test_a_set_labelled_in_part_is_fitted_where_that_is_allowed():
    part = [*TRAIN[:4], labelled(TRAIN[4], energy=TRAIN[4].get_potential_energy())]
    with pytest.raises(ValueError, match="1 structure has no forces"):
        made(part)
    fit = fit_model(part, SOAP, replace(LOSS, forces=rg.Term(missing="skip")), progress=False, regularizer=1e-3)
    assert fit.n_missing == {"energy": 0, "forces": 24}
    assert fit.training["forces"].n == 4 * 24


# ---- the fit


@pytest.mark.parametrize("rule", ["loo", "gcv", "evidence"])
def test_rules_choose_the_regularizer_of_the_path(rule):
    fit = fit_model(TRAIN, SOAP, LOSS, regularizer=rule, keep_energies=True, progress=False).minimum
    path = rg.regularizer_path(fit.covariance)
    np.testing.assert_array_equal(fit.energies.weights_in_loss, 100.0)
    if rule == "loo":
        path = path.at(path.regularizers[::4])
        assert fit.hessian.regularizer == path.regularizers[np.nanargmin(fit.left_out)]
    else:
        assert fit.hessian.regularizer == path.best(rule)
    np.testing.assert_array_equal(fit.path.gcv, path.gcv)
    assert {"loo": "leave-one-out", "gcv": "cross-validation", "evidence": "evidence"}[rule] in (
        fit.hessian.regularizer_reason
    )


def test_auto_is_that_of_the_sums(model):
    fit = fit_model(TRAIN, SOAP, LOSS, progress=False).minimum
    assert fit.hessian.regularizer == fit.covariance.factorize().regularizer
    assert fit.path is None
    assert fit.energies is None
    assert model.hessian.regularizer_reason == "given"


def test_a_huber_loss_is_fitted_as_fit_loss_does(tmp_path):
    loss = rg.Loss(energy=replace(LOSS.energy, huber=0.01), forces=rg.Term(huber=0.1))
    wrong = [frame.copy() for frame in TRAIN]
    for i, frame in enumerate(wrong):
        frame.calc = SinglePointCalculator(
            frame, energy=TRAIN[i].get_potential_energy() + 3 * (i == 4), forces=TRAIN[i].get_forces()
        )
    model = made(wrong, loss, regularizer=1e-3)
    fit = rg.fit_loss(list(LossRows(wrong, SOAP, loss, baseline="fit", progress=False)), regularizer=1e-3)
    np.testing.assert_array_equal(model.coef, fit.coef)
    assert np.isfinite(list(model.scales.values())).all()
    automatic = made(wrong, loss)
    assert automatic.hessian.regularizer_reason.startswith("evidence")
    automatic.save(tmp_path / "model")
    assert LinearModel.load(tmp_path / "model").loss == loss


def test_with_a_huber_loss_what_is_beyond_the_threshold_has_no_say_in_the_scale():
    loss = rg.Loss(energy=LOSS.energy, forces=rg.Term(huber=0.03))
    model = made(loss=loss, regularizer=1e-3)
    F, y, w, structures = rows_of(TRAIN, loss)
    r, energies = y - F @ model.coef, w == 100
    w = np.where(energies | (np.abs(r) < 0.03), w, 0.0)
    assert 0 < np.sum(w == 0) < len(w) / 2
    left = []
    for structure in range(len(TRAIN)):
        held, X = structures != structure, F[structures == structure]
        H = F[held].T @ (w[held, None] * F[held]) + 1e-3 * np.eye(SOAP.n_features)
        shift = np.linalg.solve(H, X.T @ (w * r)[~held])  # of the weights, when these rows go
        part = energies[~held]
        v = np.einsum("ij,ji->i", X, np.linalg.solve(H, X.T))
        left.append(((r[~held] + X @ shift)[part], v[part]))
    scale, noise = scale_and_noise(*(np.concatenate(column) for column in zip(*left, strict=True)), "absolute")
    found = model.calibrations["energy"]
    assert (found.scale, found.noise_std) == pytest.approx((scale, noise), rel=1e-4)


def test_rows_that_are_not_kept_give_the_same(model, monkeypatch):
    monkeypatch.setattr(training, "_are_kept", lambda rows: False)
    streamed = made(regularizer=1e-3)
    np.testing.assert_array_equal(streamed.coef, model.coef)
    assert streamed.scales == model.scales
    assert streamed.training == model.training


@pytest.mark.filterwarnings("ignore:the pivots", "ignore:the fit explains")
def test_structures_that_alone_determine_a_direction_are_told(monkeypatch):
    monkeypatch.setattr(training, "_are_kept", lambda rows: False)  # in the span of three rows, each can be left out
    loss = rg.Loss(energy=LOSS.energy)
    trace = fit_model(TRAIN[:3], SOAP, loss, regularizer=1.0, progress=False).minimum.covariance.trace
    with (
        pytest.warns(rg.IllConditionedWarning, match="3 of 3 training targets cannot be left out: without their"),
        pytest.warns(rg.IllConditionedWarning, match="σ of energies is NaN: it needs errors of at least 2 structures"),
    ):
        model = made(TRAIN[:3], loss, regularizer=1e-15 * trace)
    assert np.isnan(model.scales["energy"])
    assert model.left_out["energy"].n == 0
    assert np.isnan(model.predict(TEST, forces=False, progress=False).energy_std).all()


# ---- what cannot be used


def test_what_the_model_does_not_know_is_refused(model):
    carbon = bulk("SiC", "zincblende", a=4.36)
    for ask in (model.predict, model.errors):
        with pytest.raises(
            ValueError, match="structure 1 contains C, which the model does not know: it was fitted to Si"
        ):
            ask([TEST[0], carbon], progress=False)
        with pytest.raises(ValueError, match="there are no structures"):
            ask([], progress=False)
    with pytest.raises(ValueError, match="terms has 'stress': expected some of energy, forces, virial"):
        model.errors(TEST, terms=["stress"], progress=False)
    with pytest.raises(ValueError, match="no structure has forces"):
        model.errors([labelled(TEST[0], energy=1.0)], terms=["forces"], progress=False)
    with pytest.raises(ValueError, match="no structure has energy or forces to compare with"):
        model.errors([labelled(TEST[0])], progress=False)


def test_errors_are_of_the_terms_that_structures_have(model):
    assert list(model.errors([labelled(TEST[0], energy=1.0)], progress=False)) == ["energy"]
    assert list(model.errors([labelled(TEST[0], energy=np.nan, forces=TEST[0].get_forces())], progress=False)) == [
        "forces"
    ]


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="regularizer is 'much': expected a number, or auto, evidence, gcv, loo"):
        made(regularizer="much")
    with pytest.raises(ValueError, match="regularizer is -1"):
        made(regularizer=-1.0)
    with pytest.raises(ValueError, match="baseline is 'fit', but there are no energies"):
        made(loss=rg.Loss(forces=rg.Term()))
