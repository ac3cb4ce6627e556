"""Structures of every kind that become SOAP rows: cells, batches, other libraries' systems; and what is refused."""

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

from ase.build import bulk, fcc111  # noqa: E402
from crystals import SMALL, rattled, rows  # noqa: E402

from rigidities.interop.featomic import AtomRows, Soap, iter_soap_rows, soap_rows  # noqa: E402

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


# ---- bad structures


def test_a_species_the_training_set_lacks(silicon, mixed):
    soap = rows(silicon, **SMALL).soap
    with pytest.raises(ValueError, match=r"structure 3 contains Ge, which the training set lacks.*for Si only;"):
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
    with pytest.raises(TypeError, match=r"structure 0 is a int: expected ase\.Atoms"):
        rows(5)


def test_a_soap_and_its_settings_contradict(silicon):
    with pytest.raises(ValueError, match="soap and species, cutoff are both given"):
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

    def spy(self, systems, **options):
        sizes.append(1 if isinstance(systems, ase.Atoms) else sum(system.size() for system in systems))
        return compute(self, systems, **options)

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
