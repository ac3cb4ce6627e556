"""Make the silicon data set that `rigidities.datasets.load_silicon` reads.

What enters: nothing but the seed below. What leaves: one compressed ``silicon.npz`` of structures
of seven kinds, each with the energy, forces and stress of Tersoff's potential at exactly the stored
positions, and a mask of the atoms at a defect. The same machine with the same versions of ASE and
NumPy gives the same bytes.

    python scripts/make_silicon.py [where/to/put/silicon.npz]

Potential: J. Tersoff, Phys. Rev. B 38, 9902 (1988), "T3" or "Si(C)".
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from ase import Atom, Atoms, units
from ase.build import bulk, diamond100, diamond111, surface
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.md.langevin import Langevin
from ase.neighborlist import neighbor_list
from ase.optimize import FIRE
from numpy.random import Generator
from numpy.typing import NDArray

OUTPUT = Path(__file__).parents[1] / "python" / "rigidities" / "data" / "silicon.npz"
SEED = 20230615
POSITIONS_PER_ANGSTROM = 100_000  # stored as integers of 1e-5 Å: half the bytes of float64, exact in decimal

LATTICE_CONSTANT = 5.432  # Å, of the potential (checked below); experiment has 5.431
COHESIVE_ENERGY = -4.63  # eV/atom, of the potential
TERSOFF_SILICON = TersoffParameters(
    A=1830.8, B=471.18, lambda1=2.4799, lambda2=1.7322, lambda3=1.7322, beta=1.0999e-6, n=0.78734,
    c=100390.0, d=16.218, h=-0.59826, R=2.85, D=0.15, gamma=1.0, m=3.0,
)  # fmt: skip

BOND_CUTOFF = 2.9  # Å: between the bond length of 2.35 and the second neighbours at 3.84
DEFECT_RADIUS = 3.0  # Å: the reach of the potential
CLOSEST = 1.5  # Å: no two atoms may be nearer
VACUUM = 7.5  # Å on each side of a slab: images are 15 Å apart, out of reach of any usual descriptor
LIQUID_DENSITIES = (2.40, 2.50, 2.57, 2.65)  # g/cm³; the melt has 2.57 at its melting point, the crystal 2.33
SILICON_MASS = 28.085  # g/mol


def main(output: Path = OUTPUT) -> None:
    """Build every kind, label it, write the file."""
    check_potential()
    structures: list[Atoms] = []
    for number, (group, recipe) in enumerate(RECIPES.items()):
        made = [label(atoms) for atoms in recipe(np.random.default_rng([SEED, number]))]
        for atoms in made:
            atoms.info["group"] = group
        structures += made
        print(f"{group:13s}{len(made):4d} structures {sum(map(len, made)):6d} atoms")
    write(structures, output)
    print(f"{output}: {output.stat().st_size / 1e3:.0f} kB")


def calculator() -> Tersoff:
    """Return the potential that labels the set.

    ASE looks for neighbours within twice (R + D + skin), although the potential ends at R + D = 3.0
    Å. The negative skin takes that excess away: the same numbers in half the time.
    """
    return Tersoff({("Si", "Si", "Si"): TERSOFF_SILICON}, skin=-1.45)


def check_potential() -> None:
    """Hold the parameters above against the published lattice constant, energy and bulk modulus."""
    atoms = unit_cell()
    atoms.calc = calculator()
    energy, pressure = atoms.get_potential_energy() / len(atoms), -atoms.get_stress()[:3].mean()
    assert abs(energy - COHESIVE_ENERGY) < 1e-3, energy
    assert abs(pressure) < 1e-4, pressure  # eV/Å³; 1e-4 is 0.0003 Å of lattice constant
    atoms.set_cell(1.001 * atoms.cell, scale_atoms=True)
    modulus = np.mean(atoms.get_stress()[:3]) / (1.001**3 - 1) / units.GPa
    assert abs(modulus - 98) < 2, modulus


# The kinds --------------------------------------------------------------------------------------------------


def crystal(rng: Generator) -> list[Atoms]:
    """Diamond structure, 8 and 64 atoms, from perfect to Gaussian noise of 0.05 Å."""
    amplitudes = np.linspace(0.0, 0.05, 12)
    return [atoms for cell in (unit_cell(), supercell()) for atoms in rattled_copies(cell, amplitudes, rng)]


def strained(rng: Generator) -> list[Atoms]:
    """Random strain tensors, up to 4 % along and 3 % across the axes, with a little noise."""
    structures = []
    for build in 15 * [unit_cell, supercell]:
        cell = build()
        strain = rng.uniform(-0.03, 0.03, (3, 3))
        strain = (strain + strain.T) / 2
        np.fill_diagonal(strain, rng.uniform(-0.04, 0.04, 3))
        cell.set_cell(cell.cell @ (np.eye(3) + strain), scale_atoms=True)
        structures += rattled_copies(cell, [0.02], rng)
    return structures


def rattled(rng: Generator) -> list[Atoms]:
    """64 atoms with Gaussian noise from 0.06 Å, near that of room temperature, to 0.15 Å."""
    return rattled_copies(supercell(), np.repeat([0.06, 0.09, 0.12, 0.15], 6), rng)


def liquid(rng: Generator) -> list[Atoms]:
    """64 atoms at four densities: melted at 6000 K, then snapshots at 4000 K and, cooled, at 3000 K."""
    structures = []
    for density in LIQUID_DENSITIES:
        volume_per_atom = SILICON_MASS / density / units.mol * 1e24  # Å³
        [atoms] = rattled_copies(supercell((8 * volume_per_atom) ** (1 / 3)), [0.3], rng)
        run_dynamics(atoms, 6000, 250, rng)
        for temperature in (4000, 3000):
            run_dynamics(atoms, temperature, 60, rng)
            structures += [run_dynamics(atoms, temperature, 40, rng).copy() for _ in range(4)]
    return structures


def vacancy(rng: Generator) -> list[Atoms]:
    """63 atoms around an empty site, relaxed, then rattled.

    At the defect: the atoms within 3 Å of the site before relaxing.
    """
    atoms = supercell()
    site = central_atom(atoms)
    mark_near(atoms, [site])
    del atoms[site]
    return rattled_copies(relaxed(atoms), np.linspace(0.0, 0.1, 24), rng)


def interstitial(rng: Generator) -> list[Atoms]:
    """65 atoms: tetrahedral, hexagonal and split <110>, relaxed, then rattled.

    At the defect: the extra atom (both, where two share a site) and those within 3 Å of it after
    relaxing.
    """
    structures = []
    for build in (tetrahedral, hexagonal, split_110):
        atoms, extra = build()
        mark_near(relaxed(atoms), extra)
        structures += rattled_copies(atoms, np.linspace(0.0, 0.1, 8), rng)
    return structures


def surfaces(rng: Generator) -> list[Atoms]:
    """Slabs with two faces, relaxed, then rattled.

    At the defect: atoms with fewer than four bonds after relaxing.
    """
    structures = []
    for slab in (slab_100(), dimerised(slab_100()), slab_110(), slab_111()):
        relaxed(slab)
        slab.set_array("defect", n_bonds(slab) < 4)
        structures += rattled_copies(slab, np.linspace(0.0, 0.1, 6), rng)
    return structures


RECIPES: dict[str, Callable[[Generator], list[Atoms]]] = {
    "crystal": crystal,
    "strained": strained,
    "rattled": rattled,
    "liquid": liquid,
    "vacancy": vacancy,
    "interstitial": interstitial,
    "surface": surfaces,
}


# Cells, sites, slabs ----------------------------------------------------------------------------------------


def unit_cell(a: float = LATTICE_CONSTANT) -> Atoms:
    """Return the cubic cell of 8 atoms."""
    return bulk("Si", a=a, cubic=True)


def supercell(a: float = LATTICE_CONSTANT) -> Atoms:
    """Return the cubic cell of 64 atoms."""
    return unit_cell(a).repeat(2)


def central_atom(atoms: Atoms) -> int:
    """Return the index of the atom in the middle of the cell, where a defect is easiest to see."""
    return int(np.linalg.norm(atoms.positions - atoms.cell.sum(axis=0) / 2, axis=1).argmin())


def tetrahedral() -> tuple[Atoms, list[int]]:
    """Put an atom where four others are a bond length away; return the cell and the extra atom's index."""
    atoms = supercell()
    atoms.append(Atom("Si", LATTICE_CONSTANT * np.array([1, 1, 1 / 2])))
    return atoms, [64]


def hexagonal() -> tuple[Atoms, list[int]]:
    """Put an atom between two tetrahedral sites, in the middle of a ring of six."""
    atoms = supercell()
    atoms.append(Atom("Si", LATTICE_CONSTANT * np.array([9, 9, 5]) / 8))
    return atoms, [64]


def split_110() -> tuple[Atoms, list[int]]:
    """Let two atoms share a site, 2.4 Å apart along [110], away from the two neighbours they point at."""
    atoms = supercell()
    site = central_atom(atoms)
    atoms.append(atoms[site])
    atoms.positions[site] += [0.85, 0.85, -0.7]
    atoms.positions[64] += [-0.85, -0.85, -0.7]
    return atoms, [site, 64]


def slab_100() -> Atoms:
    """Return 10 layers of 4 atoms; each outermost atom has lost two bonds."""
    return as_slab(diamond100("Si", size=(2, 2, 10), a=LATTICE_CONSTANT))


def slab_110() -> Atoms:
    """Return 8 layers of 8 atoms; each outermost atom has lost one bond."""
    return as_slab(surface(unit_cell(), (1, 1, 0), layers=4).repeat((1, 2, 1)))


def slab_111() -> Atoms:
    """Return 5 double layers of 8 atoms; each outermost atom has lost one bond.

    ASE cuts inside a double layer, where three bonds of an atom are lost: what hangs by one bond is
    dropped.
    """
    slab = as_slab(diamond111("Si", size=(2, 2, 12), a=LATTICE_CONSTANT))
    return as_slab(slab[n_bonds(slab) > 1])


def as_slab(atoms: Atoms) -> Atoms:
    """Return the atoms with vacuum along z, periodic along all axes, as most descriptors want it."""
    slab = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell)
    slab.center(VACUUM, axis=2)
    slab.pbc = True
    return slab


def dimerised(slab: Atoms) -> Atoms:
    """Pair the outermost atoms of (100) into the rows of dimers of the 2x1 reconstruction.

    An atom with two bonds left leans towards its partner, across the plane of these bonds: every
    other atom of a row one way, the rest the other way, 0.7 Å each. That leaves 2.44 Å, near enough
    for the relaxation.
    """
    i, vectors = neighbor_list("iD", slab, BOND_CUTOFF)
    for atom in np.flatnonzero(n_bonds(slab) == 2):
        direction = np.abs(np.cross(*vectors[i == atom]))
        direction /= np.linalg.norm(direction)
        # Rows start at 0 or at half their spacing: the 0.1 keeps halves off the edge of rounding.
        row = round(slab.positions[atom] @ direction / (LATTICE_CONSTANT / np.sqrt(2)) - 0.1)
        slab.positions[atom] += 0.7 * (-1) ** row * direction
    return slab


# Steps ------------------------------------------------------------------------------------------------------


def rattled_copies(atoms: Atoms, amplitudes: Iterable[float], rng: Generator) -> list[Atoms]:
    """Return one copy per amplitude (Å, standard deviation of each coordinate)."""
    copies = []
    for amplitude in amplitudes:
        copy = atoms.copy()
        copy.positions += amplitude * rng.standard_normal(copy.positions.shape)
        copies.append(copy)
    return copies


def relaxed(atoms: Atoms) -> Atoms:
    """Move the atoms to where the forces are small, at fixed cell; the same object is returned."""
    atoms.calc = calculator()
    with FIRE(atoms, logfile=None) as optimizer:
        optimizer.run(fmax=0.02, steps=200)
    atoms.calc = None
    return atoms


def run_dynamics(atoms: Atoms, temperature: float, n_steps: int, rng: Generator) -> Atoms:
    """Move the atoms by Langevin dynamics of 2 fs a step; they follow a new temperature in 50 fs."""
    if not atoms.has("momenta"):
        spread = np.sqrt(units.kB * temperature * atoms.get_masses())
        atoms.set_momenta(spread[:, None] * rng.standard_normal((len(atoms), 3)))
    atoms.calc = calculator()
    thermostat = {"temperature_K": temperature, "friction": 0.02 / units.fs, "rng": rng, "fixcm": False}
    with Langevin(atoms, 2 * units.fs, **thermostat) as dynamics:
        dynamics.run(n_steps)
    atoms.calc = None
    return atoms


def mark_near(atoms: Atoms, centres: list[int]) -> None:
    """Mark as defect the atoms within `DEFECT_RADIUS` of any of the centres, and the centres."""
    i, j = neighbor_list("ij", atoms, DEFECT_RADIUS)
    defect = np.zeros(len(atoms), bool)
    defect[centres] = True
    defect[j[np.isin(i, centres)]] = True
    atoms.set_array("defect", defect)


def n_bonds(atoms: Atoms) -> NDArray[np.int64]:
    """Count the neighbours of each atom within `BOND_CUTOFF`."""
    return np.bincount(neighbor_list("i", atoms, BOND_CUTOFF), minlength=len(atoms))


def label(atoms: Atoms) -> Atoms:
    """Round the geometry to what the file holds, then compute energy, forces and stress."""
    atoms.wrap()
    scale = POSITIONS_PER_ANGSTROM
    positions, cell = (np.rint(array * scale) / scale for array in (atoms.positions, atoms.cell.array))
    rounded = Atoms(atoms.symbols, positions, cell=cell, pbc=True)
    rounded.set_array("defect", atoms.arrays.get("defect", np.zeros(len(atoms), bool)))
    rounded.calc = calculator()
    rounded.get_potential_energy()
    assert len(neighbor_list("i", rounded, CLOSEST)) == 0, "two atoms have come too close"
    return rounded


def write(structures: list[Atoms], output: Path) -> None:
    """Write plain arrays, atoms one after the other. NumPy dates every member 1980: reruns agree."""
    scale = POSITIONS_PER_ANGSTROM
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        output,
        group=np.array([atoms.info["group"] for atoms in structures]),
        n_atoms=np.array([len(atoms) for atoms in structures], np.int32),
        positions_per_angstrom=np.array(scale, np.int32),
        cells=np.rint([atoms.cell.array * scale for atoms in structures]).astype(np.int32),
        positions=np.rint(np.concatenate([atoms.positions for atoms in structures]) * scale).astype(np.int32),
        defect=np.concatenate([atoms.arrays["defect"] for atoms in structures]),
        energy=np.array([atoms.get_potential_energy() for atoms in structures]),
        forces=np.concatenate([atoms.get_forces() for atoms in structures]).astype(np.float32),
        stress=np.array([atoms.get_stress() for atoms in structures]),
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
