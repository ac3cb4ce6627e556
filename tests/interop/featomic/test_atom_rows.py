"""SOAP rows against featomic's own result, against the formula, and against the symmetries of space."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

from crystals import SMALL, rows  # noqa: E402

from rigidities.interop.featomic import Soap  # noqa: E402

MLEARN = Path(__file__).parents[4] / "shared" / "data" / "mlearn"


def featomic_blocks(structure, soap):
    calculator = featomic.SoapPowerSpectrum(**soap.hyperparameters)
    return {tuple(key.values.tolist()): block for key, block in calculator.compute(structure).items()}


# ---- values and labels


def test_one_species_is_featomic_untouched(silicon):
    result = rows(silicon, compact=False)
    direct = featomic.SoapPowerSpectrum(
        cutoff=featomic.cutoff.Cutoff(5.0, featomic.cutoff.ShiftedCosine(width=0.5)),
        density=featomic.density.Gaussian(width=0.5),
        basis=featomic.basis.TensorProduct(max_angular=6, radial=featomic.basis.Gto(max_radial=7)),
    ).compute(silicon)
    assert result.values.shape == (8, 448)
    assert result.values.dtype == np.float64
    assert type(result.values) is np.ndarray
    np.testing.assert_array_equal(result.values, direct.block().values)


def test_rows_are_in_the_order_of_structures_and_atoms(mixed):
    result = rows(mixed, **SMALL, compact=False)
    sizes = [len(atoms) for atoms in mixed]
    np.testing.assert_array_equal(result.groups, np.repeat(np.arange(5), sizes))
    np.testing.assert_array_equal(result.atoms, np.concatenate([np.arange(size) for size in sizes]))
    np.testing.assert_array_equal(result.species, np.concatenate([atoms.numbers for atoms in mixed]))
    assert result.n_structures == 5
    assert len(result) == sum(sizes)
    assert result.feature_space == result.soap.feature_space
    for row, group, atom in zip(result.values, result.groups, result.atoms, strict=True):
        blocks = featomic_blocks(mixed[group], result.soap)
        centre = mixed[group].numbers[atom]
        own = [block for key, block in blocks.items() if key[0] == centre and (0, atom) in block.samples]
        found = np.concatenate([block.values[block.samples.position([0, atom])] for block in own])
        np.testing.assert_array_equal(row[row != 0], found[found != 0])


def pair_block(expansion, centre, a, b, angular):
    """(-1)ˡ √(2 - δ(a, b)) / √(2l + 1) Σₘ c(a n₁ l m) c(b n₂ l m), of shape (n_atoms, N²)."""
    key = {"o3_lambda": angular, "center_type": centre}
    left, right = (expansion.block({**key, "neighbor_type": z}).values for z in (a, b))
    factor = (-1) ** angular * np.sqrt((1 if a == b else 2) / (2 * angular + 1))
    return factor * np.einsum("imn,imk->ink", left, right).reshape(len(left), -1)


def test_two_species_follow_the_formula(salt):
    soap = Soap(["Cl", "Na"], **SMALL, compact=False)
    result = rows(salt, soap)
    expansion = featomic.SphericalExpansion(**soap.hyperparameters).compute(salt)
    assert [(b.centre, b.neighbours) for b in soap.blocks[:3]] == [
        (11, (11, 11)),
        (11, (11, 17)),
        (11, (17, 17)),
    ]
    for block in soap.blocks:
        parts = [pair_block(expansion, block.centre, *block.neighbours, angular) for angular in range(3)]
        expected = np.hstack(parts)
        is_centre = salt.numbers == block.centre
        values = result.values[:, block.columns]
        np.testing.assert_allclose(values[is_centre], expected, rtol=1e-9, atol=1e-12)
        assert not values[~is_centre].any()


def test_columns_are_the_same_whatever_species_a_batch_holds(mixed):
    soap = Soap(["H", "O", "Na", "Si", "Cl", "Ge"], **SMALL, body_orders=(2, 3))
    together = rows(mixed, soap)
    assert soap.n_features == 6 * 6 * 4 + 6 * (6 * 10 + 15 * 16) * 3
    for index, atoms in enumerate(mixed):
        alone = rows(atoms, soap)
        np.testing.assert_array_equal(alone.values, together.values[together.groups == index])


@pytest.mark.parametrize("batch_size", [1, 9, 10**6])
def test_batches_change_nothing(mixed, batch_size):
    whole, parts = rows(mixed, **SMALL), rows(mixed, **SMALL, batch_size=batch_size)
    np.testing.assert_array_equal(parts.values, whole.values)
    np.testing.assert_array_equal(parts.groups, whole.groups)


def test_species_beyond_those_present_make_room(silicon):
    narrow, wide = rows(silicon, **SMALL), rows(silicon, species=["Ge", 14], **SMALL)
    assert wide.soap.species == (14, 32)
    columns = next(b.columns for b in wide.soap.blocks if (b.centre, b.neighbours) == (14, (14, 14)))
    np.testing.assert_array_equal(wide.values[:, columns], narrow.values)
    assert not np.delete(wide.values, np.r_[columns], axis=1).any()


# ---- components


def test_body_orders_are_radial_and_power_spectrum(silicon):
    result = rows(silicon, body_orders=(3, 2))
    components = result.soap.components()
    assert list(components) == ["2-body", "3-body"]
    assert result.values.shape == (8, 8 + 252)
    for name, order in (("2-body", 2), ("3-body", 3)):
        alone = rows(silicon, body_orders=(order,))
        np.testing.assert_array_equal(result.values[:, components[name]], alone.values)
    settings = result.soap.hyperparameters
    settings["basis"] = {"radial": settings["basis"]["radial"]}
    radial = featomic.SoapRadialSpectrum(**settings).compute(silicon).block().values
    np.testing.assert_array_equal(result.values[:, :8], radial)


def test_a_row_lives_in_the_component_of_its_species(salt):
    result = rows(salt, **SMALL, body_orders=(2, 3))
    components = result.soap.components(by="species")
    assert list(components) == ["Na", "Cl"]
    for name, columns in components.items():
        of_name = np.array(salt.get_chemical_symbols()) == name
        inside = result.values[:, columns]
        assert inside[of_name].any(axis=1).all()
        assert not inside[~of_name].any()


# ---- symmetries


@pytest.mark.parametrize("axis", [(1, 0, 0), (1, 2, 3)])
def test_rotation_leaves_rows_alone(salt, axis):
    turned = salt.copy()
    turned.rotate(37, axis, rotate_cell=True)
    before, after = rows(salt, body_orders=(2, 3)), rows(turned, body_orders=(2, 3))
    np.testing.assert_allclose(after.values, before.values, rtol=0, atol=1e-9)
    assert before.values.std() > 1e-2


def test_permutation_permutes_rows(salt):
    order = np.random.default_rng(1).permutation(len(salt))
    np.testing.assert_allclose(rows(salt[order]).values, rows(salt).values[order], rtol=0, atol=1e-10)


def test_a_supercell_repeats_rows(silicon):
    np.testing.assert_allclose(
        rows(silicon * (2, 1, 1)).values, np.tile(rows(silicon).values, (2, 1)), rtol=0, atol=1e-10
    )


# ---- imports


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_rigidities_alone_loads_no_featomic():
    assert run("import sys, rigidities; print('featomic' in sys.modules, 'ase' in sys.modules)") == "False False"


@pytest.mark.parametrize("missing", ["featomic", "ase"])
def test_without_featomic_the_error_says_what_to_install(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import rigidities.interop.featomic
except ImportError as error:
    print(error)
"""
    assert 'pip install "rigidities[atoms]"' in run(code)


# ---- real data


@pytest.mark.parametrize("element", ["Si", "Li"])
def test_training_and_test_set_fit_together(element):
    paths = [MLEARN / f"{element}-{part}.xyz" for part in ("training", "test")]
    if not all(path.exists() for path in paths):
        pytest.skip(f"the mlearn data of {element} are not here")
    from ase.io import read

    train, test = (read(path, ":10") for path in paths)
    first = rows(train, **SMALL, compact=False)
    second = rows(test, first.soap)
    assert first.feature_space == second.feature_space
    direct = featomic.SoapPowerSpectrum(**first.soap.hyperparameters).compute(test).block()
    np.testing.assert_allclose(second.values, direct.values, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(second.groups, direct.samples["system"])
