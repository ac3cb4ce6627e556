"""Energies of an ensemble of fits: one fit for all structures, with the spread scale·√v around the prediction."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from silicon_model import LOSS, SOAP, TEST, TRAIN, made

import rigidities as rg
from rigidities.calibration.scale import Calibration
from rigidities.interop.featomic import Soap, soap_rows
from rigidities.model import LinearModel, SparseKernel, atom_rows
from rigidities.runtime import memory

KERNEL = SparseKernel(zeta=2, n_points=20)


def model_of(name):
    if name == "huber":
        return made(loss=rg.Loss(energy=rg.Term(100.0, per_atom=True), forces=rg.Term(1.0, huber=0.05)))
    if name == "kernel":
        return made(kernel=KERNEL, regularizer=1e-4)
    if name == "few rows":
        return made(TRAIN[:6], rg.Loss(energy=LOSS.energy), Soap("Si", 3.5, max_radial=4, max_angular=3))
    if name == "total energies":
        return made(loss=rg.Loss(energy=rg.Term(1.0), forces=rg.Term()))
    return made()


MODEL = made()  # hypothesis takes no fixtures of a module


@pytest.fixture
def model():
    return MODEL


def ensemble_of(model, frames, n, seed=0):
    return model.predict(frames, forces=False, ensemble=n, random_state=seed, progress=False)


def covariance_of(model, frames):
    """scale² n n' f̄ᵀH⁻¹f̄', by the textbook."""
    rows = soap_rows(frames, model.soap, progress=False) if isinstance(model.soap, Soap) else None
    if rows is None:
        sizes = np.array([len(frame) for frame in frames])
        rows = next(atom_rows.iter_atom_rows(frames, sizes, model.soap, False))
    sums = np.array([rows.values[rows.groups == label].sum(axis=0) for label in np.unique(rows.groups)])
    return model.scale("energy") ** 2 * sums @ model.hessian.solve(sums.T)


def test_members_are_fits_of_the_hessian(model):
    """E_m is the energy that the model would predict with the parameters that `sample` drew."""
    found = ensemble_of(model, TEST, 5, seed=3)
    drawn = model.hessian.sample(5, scale=model.scale("energy"), random_state=3, centred=True)
    for column, theta in zip(found.energy_ensemble.T, drawn, strict=True):
        expected = replace(model, coef=theta).predict(TEST, forces=False, progress=False).energies
        np.testing.assert_allclose(column, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["squares", "huber", "kernel", "few rows", "total energies"])
def test_covariances_converge_at_the_monte_carlo_rate(name):
    """(n − 1)S is Wishart: entries of S have variance (σ_ii σ_jj + σ_ij²)/(n − 1). Six of their σ."""
    model = model_of(name)
    expected = covariance_of(model, TEST)
    assert (np.abs(expected[0, 1:]) > 0.1 * np.sqrt(expected[0, 0] * np.diag(expected)[1:])).all()
    for n in (100, 5000):
        found = ensemble_of(model, TEST, n).energy_ensemble
        error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / (n - 1))
        assert (np.abs(np.cov(found) - expected) < 6 * error).all()


def test_the_covariance_is_that_of_predictions(model):
    """σ of a difference is that of `prediction_covariance`, not the one of two independent energies."""
    rows = soap_rows(TEST, SOAP, progress=False)
    joint = model.hessian.prediction_covariance(rg.reduce_rows(rows, reduction="sum")[1]) * model.scale("energy") ** 2
    np.testing.assert_allclose(covariance_of(model, TEST), joint, rtol=1e-8)
    difference = np.array([1.0, -1.0, 0.0])
    found = np.std(difference @ ensemble_of(model, TEST, 5000).energy_ensemble, ddof=1)
    assert found == pytest.approx(np.sqrt(difference @ joint @ difference), rel=0.06)
    assert found < 0.5 * np.sqrt(joint[0, 0] + joint[1, 1])


@given(st.integers(2, 40), st.integers(0, 2**40))
@settings(deadline=None, max_examples=20)
def test_the_mean_is_the_prediction(n, seed):
    found = ensemble_of(MODEL, TEST, n, seed)
    assert found.energy_ensemble.shape == (len(TEST), n)
    np.testing.assert_allclose(found.energy_ensemble.mean(axis=1), found.energies, rtol=1e-13)
    assert (np.ptp(found.energy_ensemble, axis=1) > 0).all()


def test_a_seed_gives_the_same_members_in_any_batches(model, monkeypatch, tmp_path):
    expected = ensemble_of(model, TEST, 7, seed=1).energy_ensemble
    one_by_one = [ensemble_of(model, frame, 7, seed=1).energy_ensemble[0] for frame in TEST]
    spread = np.std(expected, axis=1).min()
    np.testing.assert_allclose(one_by_one, expected, atol=1e-9 * spread, rtol=1e-14)
    monkeypatch.setattr(atom_rows, "BATCH_SIZE", 16)
    np.testing.assert_allclose(
        ensemble_of(model, TEST, 7, seed=1).energy_ensemble, expected, atol=1e-9 * spread, rtol=1e-14
    )
    monkeypatch.undo()
    model.save(tmp_path / "model")
    again = ensemble_of(LinearModel.load(tmp_path / "model"), TEST, 7, seed=1).energy_ensemble
    np.testing.assert_array_equal(again, expected)
    assert (ensemble_of(model, TEST, 7, seed=2).energy_ensemble != expected).all()
    generator = np.random.default_rng(1)
    np.testing.assert_array_equal(ensemble_of(model, TEST, 7, generator).energy_ensemble, expected)


def test_the_rest_of_the_prediction_is_the_same(model):
    plain = model.predict(TEST, progress=False)
    assert plain.energy_ensemble is None
    found = model.predict(TEST, ensemble=4, progress=False)
    for name in ("energies", "energy_std", "pr", "lpr", "forces", "forces_std", "atom_energy_std"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


def test_noise_and_factors_of_kinds_are_not_in_it(model):
    noisy = replace(model, calibrations={"energy": replace(model.calibrations["energy"], noise_std=1.0)})
    found = ensemble_of(noisy, TEST, 4)
    assert (found.energy_std > 7).all()
    np.testing.assert_array_equal(found.energy_ensemble, ensemble_of(model, TEST, 4).energy_ensemble)


def test_energies_without_a_scale_of_their_own_take_another(model):
    forces = made(loss=rg.Loss(forces=rg.Term()), baseline=None)
    found = ensemble_of(forces, TEST, 2000).energy_ensemble
    expected = forces.scales["forces"] ** 2 * np.diag(covariance_of(forces, TEST)) / forces.scale("energy") ** 2
    np.testing.assert_allclose(np.var(found, axis=1, ddof=1), expected, rtol=0.2)


@pytest.mark.filterwarnings("ignore:the compositions of")
def test_energies_that_the_baseline_leaves_open_are_nan():
    frames = [molecule("CO2") for _ in range(8)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
        frame.info["energy"] = np.linalg.norm(frame.positions)
    loss = rg.Loss(energy=rg.Term(per_atom=True, target="energy"))
    model = LinearModel.fit(frames, Soap(["C", "O"], 3.0, max_radial=2, max_angular=1), loss, progress=False)
    found = ensemble_of(model, [molecule("CO"), molecule("CO2")], 3)
    np.testing.assert_array_equal(np.isnan(found.energy_ensemble), [[True] * 3, [False] * 3])
    np.testing.assert_array_equal(np.isinf(found.energy_std), [True, False])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"ensemble": 0}, ValueError, "ensemble is 0: expected a positive integer"),
        ({"ensemble": -2}, ValueError, "ensemble is -2: expected a positive integer"),
        ({"ensemble": 1}, ValueError, "ensemble is 1: expected 2 or more members"),
        ({"ensemble": 1.5}, TypeError, "ensemble is 1.5: expected a positive integer"),
        ({"ensemble": True}, TypeError, "ensemble is True: expected a positive integer"),
        ({"ensemble": 10**12}, MemoryError, "an ensemble of 1000000000000 members needs .* draw fewer members"),
        ({"random_state": 0}, TypeError, "random_state is for an ensemble: pass ensemble, too"),
    ],
)
def test_what_cannot_be_drawn(model, monkeypatch, options, error, said):
    """Nothing is computed before: no row of a descriptor is asked for."""
    monkeypatch.setattr(type(model.soap), "atom_rows", None)
    with pytest.raises(error, match=said):
        model.predict(TEST, progress=False, **options)


def test_memory_counts_structures_too(model, monkeypatch):
    """Few features, many structures: 5,000 members of 24 bytes for each of 1,000 structures are 120 MB."""
    monkeypatch.setattr(memory, "available", lambda: 10**8)
    frames = TEST[:1] * 1000
    with pytest.raises(MemoryError, match=r"an ensemble of 5000 members needs 0.1 GB"):
        model.predict(frames, ensemble=5000, progress=False)


def test_a_model_without_a_scale_has_no_members(model):
    unknown = replace(model, calibrations=dict.fromkeys(model.calibrations, Calibration(float("nan"))))
    with pytest.raises(ValueError, match=r"the model has no scale: .* fit to more structures"):
        unknown.predict(TEST, ensemble=4, progress=False)
