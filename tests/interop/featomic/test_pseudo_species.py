"""Pseudo-species: the species of neighbours mixed into a few channels of the density."""

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

from ase.build import molecule  # noqa: E402
from ase.data import atomic_numbers  # noqa: E402
from crystals import SMALL, made, rattled, rows, triclinic, with_emt  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.interop.featomic import Soap  # noqa: E402
from rigidities.interop.featomic.pseudo_species import _place, shares  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402

ORGANIC = ["H", "C", "N", "O"]
FRAMES = [rattled(molecule(name), seed) for seed, name in enumerate(["CH3CONH2", "CH3OH", "NH3", "HCN", "CO2"])]


def rotation(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def by_formula(atoms, soap):
    """Channel pairs from the expansion of the density: Σₘ c(k₁ n₁ l m) c(k₂ n₂ l m), each pair once."""
    expansion = featomic.SphericalExpansion(**soap.hyperparameters).compute(atoms)
    U = dict(zip(soap.species, np.array(soap.mixing), strict=True))
    n_channels = len(soap.mixing[0])
    found = np.zeros((len(atoms), soap.n_features))
    for block in soap.blocks:
        centres = np.flatnonzero(atoms.numbers == block.centre)
        parts = []
        for angular in range(3):
            density = np.zeros((len(centres), 2 * angular + 1, n_channels, 4))
            for key, values in expansion.items():
                if key["o3_lambda"] == angular and key["center_type"] == block.centre:
                    density += np.einsum("imn,k->imkn", values.values, U[key["neighbor_type"]])
            density = density.reshape(*density.shape[:2], -1)
            pairs = (-1) ** angular / np.sqrt(2 * angular + 1) * np.einsum("ima,imb->iab", density, density)
            a, b = np.triu_indices(4 * n_channels)
            parts.append(pairs[:, a, b] * np.where(a == b, 1, np.sqrt(2)))
        if len(centres):
            found[np.ix_(centres, np.r_[block.columns])] = np.hstack(parts)
    return found


# ---- columns


@pytest.mark.parametrize("n_channels", [1, 2, 3])
@pytest.mark.parametrize("atoms", [FRAMES[0], triclinic()], ids=["molecule", "crystal"])
def test_columns_follow_the_formula(atoms, n_channels):
    species = sorted(set(atoms.numbers.tolist()))
    U = np.random.default_rng(1).normal(size=(len(species), n_channels))
    soap = Soap(species, **SMALL, pseudo_species=U)
    assert soap.n_features == len(species) * 4 * n_channels * (4 * n_channels + 1) // 2 * 3
    np.testing.assert_allclose(rows(atoms, soap).values, by_formula(atoms, soap), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # true: few structures
@pytest.mark.parametrize("body_orders", [(3,), (2, 3)])
def test_as_many_orthogonal_channels_as_species_are_a_rotation(body_orders):
    whole = rows(FRAMES, Soap(ORGANIC, **SMALL, body_orders=body_orders))
    turned = rows(FRAMES, Soap(ORGANIC, **SMALL, body_orders=body_orders, pseudo_species=rotation(4)))
    assert whole.values.shape == turned.values.shape
    np.testing.assert_allclose(turned.values @ turned.values.T, whole.values @ whole.values.T, rtol=1e-10)
    found = []
    for part in (whole, turned):
        covariance = rg.Covariance(part.values.shape[1])
        covariance.update(part.values, groups=part.groups)
        hessian = covariance.factorize(1e-3 * covariance.trace)
        components = list(part.soap.components().values())
        found.append((hessian.rigidity(part.values), hessian.component_rigidity(part.values, components)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_eight_species_have_fewer_than_8000_columns():
    soap = Soap(range(1, 9), pseudo_species=2)
    assert soap.n_features == 7616
    atoms = ase.Atoms("HHeLiBeBCNO", positions=np.random.default_rng(0).uniform(0, 6, (8, 3)))
    assert rows(atoms, soap).values.shape == (8, 7616)


@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_rows_are_those_of_a_batch_of_their_own(n_channels):
    soap = Soap(ORGANIC, **SMALL, body_orders=(2, 3), pseudo_species=n_channels)
    together = rows(FRAMES, soap)
    for index, atoms in enumerate(FRAMES):
        np.testing.assert_array_equal(rows(atoms, soap).values, together.values[together.groups == index])
    assert set(soap.components()) == {"2-body", "3-body"}
    assert sum(map(len, soap.components("species").values())) == soap.n_features


def test_radial_spectrum_is_not_mixed():
    mixed = Soap(ORGANIC, **SMALL, body_orders=(2, 3), pseudo_species=2)
    plain = Soap(ORGANIC, **SMALL, body_orders=(2,))
    np.testing.assert_array_equal(rows(FRAMES, mixed).values[:, : plain.n_features], rows(FRAMES, plain).values)


def test_a_basis_with_other_functions_for_each_l():
    radial = {angular: featomic.basis.Gto(max_radial=4 - angular) for angular in range(3)}
    hyperparameters = Soap("Si", **SMALL).hyperparameters | {"basis": featomic.basis.Explicit(by_angular=radial)}
    whole = rows(FRAMES, Soap(ORGANIC, hyperparameters=hyperparameters)).values
    turned = rows(FRAMES, Soap(ORGANIC, hyperparameters=hyperparameters, pseudo_species=rotation(4))).values
    np.testing.assert_allclose(turned @ turned.T, whole @ whole.T, rtol=1e-10)


# ---- gradients


def test_forces_and_virials_are_derivatives_of_energies():
    atoms = with_emt(triclinic(3))
    soap = Soap(["Cu", "Au", "Ag"], **SMALL, body_orders=(2, 3), pseudo_species=2)
    (batch,) = made([atoms], soap=soap, targets=False)
    step = 1e-4

    def energy(moved):
        (found,) = made([moved], rg.Loss(energy=rg.Term()), soap, targets=False)
        return found["energy"].values[0]

    for atom, axis in ((0, 0), (1, 2), (2, 1)):
        moved = [atoms.copy(), atoms.copy()]
        for sign, one in zip((1, -1), moved, strict=True):
            one.positions[atom, axis] += sign * step
        slope = (energy(moved[0]) - energy(moved[1])) / (2 * step)
        found = batch["forces"].values[3 * atom + axis]
        np.testing.assert_allclose(found, -slope, rtol=0, atol=1e-6 * np.abs(slope).max())
    for index, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5 * step
        strain[j, i] += 0.5 * step
        moved = [atoms.copy(), atoms.copy()]
        for sign, one in zip((1, -1), moved, strict=True):
            one.set_cell(one.cell @ (np.eye(3) + sign * strain), scale_atoms=True)
        slope = (energy(moved[0]) - energy(moved[1])) / (2 * step)
        np.testing.assert_allclose(batch["virial"].values[index], -slope, rtol=0, atol=1e-5 * np.abs(slope).max())


@pytest.mark.filterwarnings("ignore:the compositions of the training")
def test_fits_with_all_channels_are_those_of_the_species():
    structures = [with_emt(triclinic(seed)) for seed in range(6)]
    loss = rg.Loss(energy=rg.Term(100.0), forces=rg.Term(), virial=rg.Term(0.1))
    whole, turned = (
        LinearModel.fit(structures[:4], soap, loss, regularizer=0.1, progress=False).predict(
            structures[4:], virials=True, progress=False
        )
        for soap in (Soap(["Cu", "Au"], **SMALL), Soap(["Cu", "Au"], **SMALL, pseudo_species=rotation(2)))
    )
    for name in ("energies", "energy_std", "pr", "lpr", "forces", "forces_std", "virials", "virial_std"):
        expected = getattr(whole, name)
        np.testing.assert_allclose(getattr(turned, name), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


# ---- shares


def test_shares_are_the_principal_axes_of_the_kernel():
    numbers = [1, 6, 7, 8, 13, 29, 58, 92]
    places = np.array([[1, 1], [2, 14], [2, 15], [2, 16], [3, 13], [4, 11], [6, 3 + 1 / 15], [7, 3 + 3 / 15]])
    distances = (places[:, None] - places) / (4, 10)
    kernel = np.exp(-0.5 * np.sum(distances**2, axis=2))
    for n_channels in (1, 2, 5, 8):
        U = shares(numbers, n_channels)
        values, vectors = np.linalg.eigh(kernel)
        best = (vectors * values * (np.arange(8) >= 8 - n_channels)) @ vectors.T
        np.testing.assert_allclose(U @ U.T, best, rtol=0, atol=1e-8)


def test_places_in_the_periodic_table():
    noble = [2, 10, 18, 36, 54, 86, 118]
    assert [_place(number) for number in noble] == [(row, 18) for row in range(1, 8)]
    assert [_place(atomic_numbers[name]) for name in ("H", "Li", "Be", "B", "Sc", "Zn", "Y", "Hf", "Au", "Fr")] == [
        (1, 1), (2, 1), (2, 2), (2, 13), (4, 3), (4, 12), (5, 3), (6, 4), (6, 11), (7, 1),
    ]  # fmt: skip
    assert len({_place(number) for number in range(1, 119)}) == 118


def test_shares_are_stored():
    """Files of models carry them; other shares would be other columns."""
    expected = [[0.49893, 0.866586], [0.992480, -0.090032], [0.988756, -0.149468], [0.976350, -0.199952]]
    np.testing.assert_allclose(Soap(ORGANIC, pseudo_species=2).mixing, expected, atol=1e-6)


def test_the_order_of_species_does_not_matter():
    assert Soap(ORGANIC, pseudo_species=2) == Soap(["O", "H", "N", 6], pseudo_species=np.int64(2))


def test_as_many_channels_as_species_mix_nothing():
    for n_channels in (4, 5, 100):
        assert Soap(ORGANIC, pseudo_species=n_channels) == Soap(ORGANIC)


def test_feature_spaces_differ():
    soaps = [Soap(ORGANIC, pseudo_species=k) for k in (None, 1, 2, 3, np.eye(4), 2 * np.eye(4))]
    assert len({soap.feature_space for soap in soaps}) == len(set(soaps)) == 6


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (0, ValueError, "pseudo_species is 0: expected a number of channels from 1"),
        (2.0, TypeError, "pseudo_species is 2.0: expected a number of channels"),
        (True, TypeError, "pseudo_species is True"),
        (np.eye(3), ValueError, r"shape \(3, 3\): expected a number of channels, or the shares of the 4 species"),
        (np.ones(4), ValueError, r"shape \(4,\)"),
        (np.ones((4, 0)), ValueError, r"shape \(4, 0\)"),
        (np.full((4, 2), np.nan), ValueError, "not finite"),
        ("two", TypeError, "pseudo_species is 'two'"),
    ],
)
def test_other_values_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        Soap(ORGANIC, pseudo_species=given)


def test_what_does_not_go_together():
    with pytest.raises(ValueError, match="compact is False: with pseudo_species"):
        Soap(ORGANIC, pseudo_species=2, compact=False)
    with pytest.raises(ValueError, match=r"body order 3, but body_orders is \(2,\)"):
        Soap(ORGANIC, pseudo_species=2, body_orders=(2,))
    with pytest.raises(ValueError, match="is no element: pass the shares"):
        Soap([1, 6, 119], pseudo_species=2)


# ---- files


@pytest.mark.parametrize("pseudo_species", [None, 2, rotation(4)[:, :3]])
def test_models_keep_their_columns(tmp_path, pseudo_species):
    frames = [atoms.copy() for atoms in FRAMES]
    soap = Soap(ORGANIC, **SMALL, pseudo_species=pseudo_species)
    assert Soap.of_state(soap.state()) == soap
    for atoms in frames:
        atoms.info["energy"] = float(len(atoms))
    loss = rg.Loss(energy=rg.Term(target="energy"))
    model = LinearModel.fit(frames, soap, loss, baseline=None, regularizer=1e-3, progress=False)
    model.save(tmp_path / "model")
    again = LinearModel.load(tmp_path / "model")
    assert again.soap == soap
    np.testing.assert_array_equal(
        again.predict(frames, progress=False).forces, model.predict(frames, progress=False).forces
    )
