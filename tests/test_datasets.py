"""The shipped silicon set: what the labels, the masks and the loader promise."""

import importlib.util
import re
import subprocess
import sys
import time
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.tersoff import Tersoff
from ase.neighborlist import neighbor_list

from rigidities.datasets import load_silicon

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_silicon.py"
DATA = Path(str(resources.files("rigidities"))) / "data" / "silicon.npz"
BULK = ["crystal", "strained", "rattled", "liquid"]
DEFECTS = ["vacancy", "interstitial", "surface"]


@pytest.fixture(scope="module")
def script():
    """Return the script that made the set: the potential's parameters stand there and nowhere else."""
    spec = importlib.util.spec_from_file_location("make_silicon", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def structures():
    return load_silicon()


def of_group(structures, group):
    return [atoms for atoms in structures if atoms.info["group"] == group]


def n_neighbours(atoms, cutoff):
    return np.bincount(neighbor_list("i", atoms, cutoff), minlength=len(atoms))


# The file


def test_file_is_small():
    assert DATA.stat().st_size <= 2e6


def test_file_needs_no_pickle_and_carries_no_date():
    with np.load(DATA, allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "Ubif" for name in archive.files)
    with zipfile.ZipFile(DATA) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_writing_again_gives_the_same(script, structures, tmp_path):
    # What was read stands in for what was made: rounding it again must change nothing. The bytes
    # shipped may differ from these by the version of zlib, so only the arrays are held against
    # them.
    paths = tmp_path / "one.npz", tmp_path / "two.npz"
    for path in paths:
        script.write(structures, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with np.load(DATA) as shipped, np.load(paths[0]) as again:
        assert shipped.files == again.files
        for name in shipped.files:
            assert shipped[name].dtype == again[name].dtype
            np.testing.assert_array_equal(again[name], shipped[name])


@pytest.mark.parametrize("group", ["crystal", "strained", "rattled"])
def test_recipes_are_seeded(script, structures, group):
    number = list(script.RECIPES).index(group)
    made = script.RECIPES[group](np.random.default_rng([script.SEED, number]))
    for fresh, stored in zip(made, of_group(structures, group), strict=True):
        fresh.wrap()
        np.testing.assert_allclose(fresh.positions, stored.positions, atol=0.51e-5)  # rounded to 1e-5 Å
        np.testing.assert_allclose(fresh.cell.array, stored.cell.array, atol=0.51e-5)


# The labels


def test_potential_is_the_published_one(script):
    script.check_potential()


@pytest.mark.parametrize("group", BULK + DEFECTS)
def test_labels_are_those_of_the_potential(script, structures, group):
    for stored in of_group(structures, group)[::13]:
        fresh = stored.copy()
        fresh.calc = Tersoff({("Si", "Si", "Si"): script.TERSOFF_SILICON})
        # Energies: sums of a thousand terms, perhaps in another order. Forces: float32, 6e-8 of 30
        # eV/Å.
        assert stored.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(stored.get_forces(), fresh.get_forces(), atol=2e-6)
        np.testing.assert_allclose(stored.get_stress(), fresh.get_stress(), atol=1e-10)


def test_forces_sum_to_zero(structures):
    # 65 atoms, each rounded to float32, by at most 6e-8 of 30 eV/Å
    assert max(np.abs(atoms.get_forces().sum(0)).max() for atoms in structures) < 1e-5


def test_crystal_is_the_ground_state(structures):
    per_atom = np.array([atoms.get_potential_energy() / len(atoms) for atoms in structures])
    assert per_atom.min() == pytest.approx(-4.6297, abs=1e-4)
    assert structures[per_atom.argmin()].info["group"] == "crystal"
    assert per_atom.max() < -3.4


# The structures


def test_every_group_has_the_counts_of_the_docstring(structures):
    table = re.findall(r"^ +(\w+) +(\d+) +(\d+)  ", load_silicon.__doc__, re.MULTILINE)
    assert [name for name, *_ in table] == BULK + DEFECTS
    for group, n_structures, n_atoms in table:
        found = of_group(structures, group)
        assert (len(found), sum(map(len, found))) == (int(n_structures), int(n_atoms))


def test_no_two_atoms_are_too_close(structures):
    assert all(n_neighbours(atoms, 1.5).sum() == 0 for atoms in structures)


def test_no_two_structures_are_the_same(structures):
    assert len({atoms.get_potential_energy() / len(atoms) for atoms in structures}) >= len(structures) - 1


def test_all_is_periodic_silicon(structures):
    assert all(atoms.pbc.all() and set(atoms.symbols) == {"Si"} for atoms in structures)


def test_liquid_has_lost_the_lattice(structures):
    """Past the melting point: dense, of broken coordination, and without Bragg peaks."""
    for atoms in of_group(structures, "liquid"):
        density = atoms.get_masses().sum() / atoms.get_volume() / units.mol * 1e24
        assert 2.35 < density < 2.70
        assert np.mean(n_neighbours(atoms, 3.1) == 4) < 0.5
        assert bragg_intensity(atoms) < 0.15


def bragg_intensity(atoms):
    """Return |Σ exp(2πi h·s)|²/N² of the strongest reflection among {111} and {220}; a crystal has 1."""
    families = [(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1), (2, 2, 0), (2, 0, 2), (0, 2, 2), (2, -2, 0)]
    phases = 2 * np.pi * atoms.get_scaled_positions() @ (2 * np.array(families)).T
    return (np.abs(np.exp(1j * phases).mean(0)) ** 2).max()


def test_crystal_has_bragg_peaks(structures):
    cells = [atoms for atoms in of_group(structures, "rattled") if len(atoms) == 64]
    assert min(map(bragg_intensity, cells)) > 0.5


def test_surfaces_have_vacuum_along_z(structures):
    for atoms in of_group(structures, "surface"):
        heights = atoms.positions[:, 2]
        assert atoms.cell.lengths()[2] - np.ptp(heights) > 14.0


# The masks


def test_bulk_has_no_defect(structures):
    for group in BULK:
        assert not any(atoms.arrays["defect"].any() for atoms in of_group(structures, group))


def test_defects_are_marked_and_a_minority(structures):
    for group in DEFECTS:
        for atoms in of_group(structures, group):
            assert 0 < atoms.arrays["defect"].sum() < len(atoms) / 3


def test_vacancy_has_four_atoms_of_three_bonds(structures):
    relaxed = of_group(structures, "vacancy")[0]
    np.testing.assert_array_equal(n_neighbours(relaxed, 2.9) == 3, relaxed.arrays["defect"])
    assert {atoms.arrays["defect"].sum() for atoms in of_group(structures, "vacancy")} == {4}


def test_interstitials_are_three_kinds(structures):
    """Tetrahedral: 4 + 6 neighbours; hexagonal: 6; split <110>: a pair and what surrounds it."""
    found = of_group(structures, "interstitial")
    assert [atoms.arrays["defect"].sum() for atoms in found[::8]] == [11, 7, 12]
    over = [n_neighbours(atoms, 2.9) > 4 for atoms in found[::8]]
    assert all(np.all(atoms.arrays["defect"][extra]) for atoms, extra in zip(found[::8], over, strict=True))


def test_surface_atoms_have_lost_bonds(structures):
    for relaxed, n_bonds in zip(of_group(structures, "surface")[::6], [2, 3, 3, 3], strict=True):
        defect = relaxed.arrays["defect"]
        np.testing.assert_array_equal(n_neighbours(relaxed, 2.9), np.where(defect, n_bonds, 4))
        heights = relaxed.positions[:, 2]
        outermost = np.minimum(heights - heights.min(), heights.max() - heights) < 0.3
        np.testing.assert_array_equal(outermost, defect)


# The loader


@pytest.mark.parametrize("groups", [["vacancy"], "vacancy", ("surface", "crystal"), []])
def test_groups_are_selected(structures, groups):
    wanted = [groups] if isinstance(groups, str) else groups
    expected = [atoms for atoms in structures if atoms.info["group"] in wanted]
    found = load_silicon(groups=groups)
    assert len(found) == len(expected)
    for atoms, same in zip(found, expected, strict=True):
        assert atoms.info == same.info
        np.testing.assert_array_equal(atoms.positions, same.positions)
        np.testing.assert_array_equal(atoms.get_forces(), same.get_forces())


def test_unknown_group_is_told_the_valid_ones():
    with pytest.raises(ValueError, match=r"'vacancies'.*crystal.*liquid.*surface"):
        load_silicon(groups=["vacancies", "crystal"])


def test_without_ase_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(ImportError, match=re.escape('pip install "rigidities[atoms]"')):
        load_silicon()


def test_importing_does_not_import_ase():
    code = "import sys, rigidities.datasets; sys.exit('ase' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_calls_share_nothing(structures):
    first, second = load_silicon(groups="vacancy"), load_silicon(groups="vacancy")
    first[0].positions += 1.0
    first[0].arrays["defect"][:] = True
    first[0].info["group"] = "mine"
    first[0].calc.results["forces"][:] = 0.0
    assert second[0].info["group"] == "vacancy"
    assert second[0].arrays["defect"].sum() == 4
    assert np.abs(second[1].get_forces()).max() > 0.1
    np.testing.assert_array_equal(second[0].positions, load_silicon(groups="vacancy")[0].positions)


def test_loading_is_quick():
    seconds = []
    for _ in range(3):  # the first pays for imports, and any may meet a busy machine
        start = time.perf_counter()
        load_silicon()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3
