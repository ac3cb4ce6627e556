"""SOAP rows against featomic's own result, against the formula, and against the symmetries of space."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

from ase.build import bulk, fcc111, molecule  # noqa: E402

from rigidities.interop.featomic import AtomRows, Soap, iter_soap_rows, soap_rows  # noqa: E402

SMALL = {"cutoff": 4.0, "max_radial": 3, "max_angular": 2}
MLEARN = Path(__file__).parents[2] / "shared" / "data" / "mlearn"


def rattled(atoms, seed=0, stdev=0.1):
    atoms = atoms.copy()
    atoms.rattle(stdev, seed=seed)
    return atoms


@pytest.fixture
def silicon():
    return rattled(bulk("Si", cubic=True))


@pytest.fixture
def salt():
    return rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True))


@pytest.fixture
def mixed(silicon, salt):
    water = molecule("H2O")
    return [silicon, salt, water, rattled(bulk("Ge", cubic=True), 3), salt[:3]]


def rows(structures, soap=None, **settings):
    return soap_rows(structures, soap, progress=False, **settings)


def featomic_blocks(structure, soap):
    calculator = featomic.SoapPowerSpectrum(**soap.hyperparameters)
    return {tuple(key.values.tolist()): block for key, block in calculator.compute(structure).items()}


# ---- values and labels


def test_one_species_is_featomic_untouched(silicon):
    result = rows(silicon)
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
    result = rows(mixed, **SMALL)
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
    soap = Soap(["Cl", "Na"], **SMALL)
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
    assert soap.n_features == 6 * 6 * 4 + 6 * 21 * 4 * 4 * 3
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
    assert result.values.shape == (8, 456)
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


# ---- cells


def lone(atoms, pbc, repeats):
    """Rows of the central cell of a finite cluster: the periodic images written out."""
    cluster = atoms.copy()
    cluster.pbc = False
    shifts = [range(-repeats, repeats + 1) if periodic else [0] for periodic in pbc]
    grid = np.stack(np.meshgrid(*shifts, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.argsort(np.abs(grid).sum(1), kind="stable")]
    positions = np.concatenate([atoms.positions + shift @ atoms.cell for shift in grid])
    numbers = np.tile(atoms.numbers, len(grid))
    return rows(ase.Atoms(numbers, positions), **SMALL).values[: len(atoms)]


@pytest.mark.parametrize("pbc", [(1, 1, 0), (0, 1, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("open_cell", ["kept", "zero"])
def test_open_directions_have_no_images(pbc, open_cell):
    atoms = rattled(fcc111("Al", (2, 2, 2), vacuum=0.0))
    atoms.set_cell([[5.7, 0.3, 0.1], [2.8, 4.9, -0.4], [0.2, 0.5, 4.5]])
    atoms.positions += [1.0, -20.0, 30.0]
    expected = lone(atoms, pbc, repeats=3)
    atoms.pbc = pbc
    if open_cell == "zero":
        atoms.cell[~atoms.pbc] = 0.0
    np.testing.assert_allclose(rows(atoms, **SMALL).values, expected, rtol=0, atol=1e-10)


def test_the_structure_is_left_as_it_was(silicon):
    silicon.pbc = (True, True, False)
    before = silicon.copy()
    rows(silicon, **SMALL)
    assert silicon == before


@pytest.mark.parametrize("vector", [[0, 0, 0], [1, 1, 0], [np.nan, 0, 0]])
def test_a_periodic_direction_needs_a_cell(silicon, vector):
    silicon.set_cell([[5, 0, 0], [0, 5, 0], vector])
    with pytest.raises(ValueError, match=r"structure 1 is periodic along a, b, c.*set the cell"):
        rows([bulk("Si"), silicon], **SMALL)


# ---- the description


# ---- bad structures


def test_a_species_the_training_set_lacks(silicon, mixed):
    soap = rows(silicon, **SMALL).soap
    with pytest.raises(ValueError, match=r"structure 3 contains Ge, which the training set lacks.*provide for Si;"):
        rows([silicon, silicon, silicon, mixed[3]], soap)


def test_no_structures():
    with pytest.raises(ValueError, match="there are no structures"):
        rows([])
    with pytest.raises(ValueError, match="there are no structures"):
        next(iter_soap_rows(iter([]), Soap("Si"), progress=False))


def test_a_structure_without_atoms(silicon):
    with pytest.raises(ValueError, match="structure 1 has no atoms"):
        rows([silicon, ase.Atoms()])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_no_numbers(silicon, value):
    broken = silicon.copy()
    broken.positions[5, 2] = value
    with pytest.raises(ValueError, match=r"structure 1: atom 5 is at .*expected finite"):
        rows([silicon, broken], **SMALL)


@pytest.mark.parametrize("structures", ["Si.xyz", [1.0], [np.eye(3)], [[bulk("Si")]]])
def test_what_is_no_structure(structures):
    with pytest.raises(TypeError, match=r"structure 0 is a .*expected ase.Atoms"):
        rows(structures)


def test_what_cannot_hold_structures():
    with pytest.raises(TypeError, match=r"structures is a int: expected ase\.Atoms"):
        rows(5)


def test_a_soap_and_its_settings_contradict(silicon):
    with pytest.raises(ValueError, match="a soap is given, and species, cutoff beside it"):
        rows(silicon, Soap("Si"), species=[14], cutoff=4.0)
    with pytest.raises(TypeError, match="soap is a str: expected a Soap"):
        rows(silicon, "Si")
    with pytest.raises(TypeError, match="soap is a NoneType: expected a Soap"):
        next(iter_soap_rows(silicon, None))


def test_a_batch_has_at_least_one_atom(silicon):
    with pytest.raises(ValueError, match="batch_size is 0"):
        rows(silicon, **SMALL, batch_size=0)


# ---- other ways in, and batches


def test_a_generator_and_a_single_structure_will_do(silicon):
    one, many = rows(silicon, **SMALL), rows((silicon for _ in range(2)), **SMALL)
    assert (one.n_structures, many.n_structures) == (1, 2)
    np.testing.assert_array_equal(many.values[8:], one.values)


def test_a_system_of_another_library_will_do(salt):
    class System(featomic.systems.SystemBase):
        def __init__(self, positions):
            super().__init__()
            self.fixed = positions

        def size(self):
            return len(salt)

        def types(self):
            return salt.numbers.astype(np.int32)

        def positions(self):
            return self.fixed

        def cell(self):
            return np.array(salt.cell)

    expected = rows(salt, **SMALL)
    for given in (System(salt.positions), [System(salt.positions)]):
        result = rows(given, **SMALL)
        np.testing.assert_array_equal(result.values, expected.values)
        np.testing.assert_array_equal(result.species, expected.species)
    with pytest.raises(ValueError, match="atom 0 is at"):
        rows(System(salt.positions * np.nan), **SMALL)


def test_batches_add_up_to_the_whole(mixed):
    whole = rows(mixed, **SMALL)
    batches = list(iter_soap_rows(iter(mixed), whole.soap, batch_size=9, progress=False))
    assert all(isinstance(batch, AtomRows) for batch in batches)
    assert [batch.n_structures for batch in batches] == [2, 2, 1]
    for name in ("values", "groups", "atoms", "species"):
        joined = np.concatenate([getattr(batch, name) for batch in batches])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_structures_are_read_as_they_are_needed(silicon):
    seen = []
    source = (seen.append(i) or silicon for i in range(10))
    next(iter_soap_rows(source, Soap("Si", **SMALL), batch_size=16, progress=False))
    assert seen == [0, 1]


def test_no_more_than_a_batch_is_with_featomic_at_once(silicon, monkeypatch):
    sizes = []
    compute = featomic.SoapPowerSpectrum.compute

    def spy(self, systems):
        sizes.append(1 if isinstance(systems, ase.Atoms) else sum(system.size() for system in systems))
        return compute(self, systems)

    soap = Soap("Si", **SMALL)
    monkeypatch.setattr(featomic.SoapPowerSpectrum, "compute", spy)
    rows([silicon] * 10, soap, batch_size=20)
    assert sizes == [24, 24, 24, 8]


def test_progress_is_shown_on_stderr_or_not_at_all(silicon, capsys):
    soap_rows([silicon] * 2, **SMALL, progress=False)
    assert capsys.readouterr() == ("", "")
    soap_rows([silicon] * 2, **SMALL)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err


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
    first = rows(train, **SMALL)
    second = rows(test, first.soap)
    assert first.feature_space == second.feature_space
    direct = featomic.SoapPowerSpectrum(**first.soap.hyperparameters).compute(test).block()
    np.testing.assert_allclose(second.values, direct.values, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(second.groups, direct.samples["system"])
