"""Data sets in the package: structures with reference values, without a download.

The script ``scripts/make_silicon.py`` made the data file.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms
    from numpy.typing import NDArray


def load_silicon(*, groups: Sequence[str] | None = None) -> list[Atoms]:
    """Load silicon, from perfect crystals to the melt, with energies of an empirical potential.

    ASE computed energies, forces and stresses with Tersoff's potential [1]_ at exactly the stored
    positions, so they have no noise. The potential ends at 3.0 Å.

    ============  ==========  =====  ==============================================================
    group         structures  atoms  content
    ============  ==========  =====  ==============================================================
    crystal               24    864  8 and 64 atoms, Gaussian displacements of 0 to 0.05 Å
    strained              30   1080  8 and 64 atoms, random strains up to 4 %, displaced by 0.02 Å
    rattled               24   1536  64 atoms, displacements of 0.06 to 0.15 Å
    liquid                32   2048  64 atoms, dynamics at 4000 and 3000 K, 2.40 to 2.65 g/cm³
    vacancy               24   1512  63 atoms, relaxed, displacements of 0 to 0.1 Å
    interstitial          24   1560  65 atoms: tetrahedral, hexagonal, split <110>
    surface               24   1104  slabs: (100), (100) 2x1, (110), (111)
    ============  ==========  =====  ==============================================================

    Interstitials and surfaces are displaced like vacancies.

    Parameters
    ----------
    groups : sequence of str, or str, optional
        Groups to load, or one group. By default all. Structures are in the order of the table, not
        in the order given.

    Returns
    -------
    list of ase.Atoms
        New objects at every call. Each has

        - a calculator that holds ``energy`` (eV, of the whole structure), ``forces`` (eV/Å) and
          ``stress`` (eV/Å³, six components in Voigt order, positive under tension; for a slab, per
          volume of the cell with its vacuum);
        - ``info["group"]``, its group;
        - ``arrays["defect"]``, True for atoms at the defect, False elsewhere. The first four groups
          have no defects. Vacancy: the four atoms within 3 Å of the empty site. Interstitial: the
          extra atom (both, if two share a site) and all atoms within 3 Å of it. Surface: atoms with
          fewer than four neighbours within 2.9 Å. Atoms are marked before they are displaced: the
          marks are the same in all structures of one defect.

        All structures are periodic along the three axes. About 15 Å of vacuum separate slabs.

    Raises
    ------
    ValueError
        If a group is not in the table.
    ImportError
        If ASE is not installed.

    References
    ----------
    .. [1] J. Tersoff, "Empirical interatomic potential for silicon with improved elastic
       properties", Phys. Rev. B 38, 9902 (1988). Lattice constant 5.432 Å, cohesive energy 4.63 eV.

    Examples
    --------
    >>> from rigidities.datasets import load_silicon
    >>> pristine = load_silicon(groups=["crystal", "strained", "rattled"])
    >>> len(pristine)
    78
    >>> vacancy = load_silicon(groups=["vacancy"])[0]
    >>> int(vacancy.arrays["defect"].sum())
    4
    """
    atoms_class, calculator_class = _import_ase()
    columns = _read("silicon.npz")
    scale = columns["positions_per_angstrom"]
    structures: list[Atoms] = []
    for structure, rows in _located(columns, groups):
        atoms = atoms_class(
            numbers=np.full(columns["n_atoms"][structure], 14),
            positions=columns["positions"][rows] / scale,
            cell=columns["cells"][structure] / scale,
            pbc=True,
            info={"group": str(columns["group"][structure])},
        )
        atoms.set_array("defect", columns["defect"][rows])
        atoms.calc = calculator_class(
            atoms,
            energy=float(columns["energy"][structure]),
            forces=columns["forces"][rows].astype(np.float64),
            stress=columns["stress"][structure],
        )
        structures.append(atoms)
    return structures


def _import_ase() -> tuple[Any, Any]:
    try:
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator
    except ImportError as error:
        raise ImportError('structures need ASE: pip install "rigidities[atoms]"') from error
    return Atoms, SinglePointCalculator


def _read(name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a data file. Rows are structures, or atoms in their order."""
    with resources.files("rigidities").joinpath("data", name).open("rb") as file, np.load(file) as archive:
        return dict(archive)


def _located(columns: dict[str, NDArray[Any]], groups: Sequence[str] | None) -> Iterator[tuple[int, slice]]:
    """Yield the index of each structure of the groups, and the rows of its atoms."""
    known = list(dict.fromkeys(columns["group"].tolist()))
    if not (groups is None or isinstance(groups, Iterable)):
        raise TypeError(f"groups is a {type(groups).__name__}: expected names of groups, e.g. ['crystal']")
    wanted = known if groups is None else [groups] if isinstance(groups, str) else list(groups)
    unknown = [group for group in wanted if group not in known]
    if unknown:
        raise ValueError(f"no such group: {unknown}; the data set has {known}")
    ends = np.cumsum(columns["n_atoms"])
    for structure in np.flatnonzero(np.isin(columns["group"], wanted)).tolist():
        yield structure, slice(ends[structure] - columns["n_atoms"][structure], ends[structure])
