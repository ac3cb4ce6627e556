"""Sparse kernel models on SOAP: settings, and the choice of representative points.

Points are atoms of the training set, chosen per species by farthest-point sampling of their
normalised SOAP rows: each is the atom farthest from those before it. The distance of a kernel,
2 − 2(x·x')^ζ, falls with x·x' for every ζ, so the choice is the same for all. Bartók et al., Sci.
Adv. 3 (2017) e1701816.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.model.atom_rows import iter_atom_rows
from rigidities.validation import as_integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.interop.featomic.kernel import KernelRows
    from rigidities.structures.descriptor import Descriptor

CANDIDATE_BYTES = 1_000_000_000
"""Most bytes of SOAP rows of a species that points are chosen from: half a million atoms of one
species with 252 columns. Of more atoms, every second, third, … is a candidate."""

SAME = 1e-12
"""Squared distance of two unit vectors below which they are equal to rounding."""


@dataclass(frozen=True)
class SparseKernel:
    """A sparse kernel model on SOAP rows, in place of a linear one: for `LinearModel.fit`.

    E = Σ_atoms Σ_m (u·u_m)^ζ θ_m, with u the normalised SOAP row of an atom and u_m those of
    representative points of its species. The cost of forces is that of the linear model plus about
    as much for 500 points.

    Parameters
    ----------
    zeta : int, default 2
        ζ from 1: with the power spectrum, 1 has body order 3, 2 has body order 5.
    n_points : int, or mapping of species to int, default 500
        Points of each species, or of the species by symbol or atomic number. Fewer are taken if the
        atoms have fewer different environments.

    Raises
    ------
    ValueError, TypeError
        If a setting is not an integer from 1.

    Examples
    --------
    >>> import rigidities as rg
    >>> from rigidities.datasets import load_silicon
    >>> from rigidities.interop.featomic import Soap
    >>> from rigidities.model import LinearModel, SparseKernel
    >>> loss = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term())
    >>> soap = Soap("Si", cutoff=3.5, max_radial=3, max_angular=2)
    >>> structures = load_silicon(groups="strained")[:8]
    >>> kernel = SparseKernel(zeta=2, n_points=20)
    >>> model = LinearModel.fit(structures, soap, loss, kernel=kernel, progress=False)
    >>> model.soap.n_points
    20
    """

    zeta: int = 2
    n_points: int | Mapping[int | str, int] = 500

    def __post_init__(self) -> None:
        from rigidities.interop.featomic.points import as_zeta

        as_zeta(self.zeta)
        counts = self._by_species.values() if isinstance(self.n_points, Mapping) else [self.n_points]
        for count in counts:
            if as_integer(count, "n_points", "an integer from 1") < 1:
                raise ValueError(f"n_points is {count}: expected an integer from 1")
        if not counts:
            raise ValueError("n_points names no species: expected an integer, or one for each species")

    @property
    def _by_species(self) -> dict[int, int]:
        from rigidities.structures.species import by_atomic_number

        return by_atomic_number(self.n_points.items()) if isinstance(self.n_points, Mapping) else {}

    @property
    def most_points(self) -> int:
        """Most points of a species."""
        return max(self._by_species.values(), default=0) or int(self.n_points)  # type: ignore[arg-type]

    def _points_of(self, species: Sequence[int]) -> dict[int, int]:
        """Return the number of points of each species; raise if it is not given."""
        from rigidities.structures.species import symbols

        given = self._by_species
        lacking = [one for one in species if given and one not in given]
        if lacking:
            raise ValueError(f"n_points has no number for {symbols(lacking)}: expected one for each of the species")
        return given or dict.fromkeys(species, self.most_points)

    def rows(self, structures: Any, soap: Descriptor, *, progress: bool = True) -> KernelRows:
        """Choose points among the atoms of structures; return the descriptor of their kernels.

        Parameters
        ----------
        structures : ase.Atoms, or an iterable of them
            The training set.
        soap : Soap
            Of one body order, with the species of the training set.
        progress : bool, default True
            Show a progress bar on stderr.

        Raises
        ------
        ValueError
            If a species has fewer atoms than points or none, if `soap` lacks a species, or has
            several body orders.
        TypeError
            If `soap` is not a `Soap`.
        """
        from rigidities.interop.featomic.kernel import KernelRows
        from rigidities.interop.featomic.points import columns_of
        from rigidities.structures.batches import iterable
        from rigidities.structures.species import check_species

        columns, frames = columns_of(soap), list(iterable(structures))  # type: ignore[arg-type]
        numbers = [soap.numbers(frame, index) for index, frame in enumerate(frames)]
        for index, entry in enumerate(numbers):
            check_species(entry, index, soap.species)
        counts = self._points_of(soap.species)
        _check_atoms(counts, soap.species, np.concatenate([*numbers, np.empty(0, dtype=np.int64)]))
        rows = _candidates(frames, numbers, soap, columns, progress)
        return KernelRows.of_points(
            soap,  # type: ignore[arg-type]
            self.zeta,
            {species: own[farthest_points(own, counts[species])] for species, own in rows.items()},
        )


def _check_atoms(counts: Mapping[int, int], species: Sequence[int], numbers: NDArray[np.int64]) -> None:
    from rigidities.structures.species import symbols

    for one in species:
        n_atoms = int((numbers == one).sum())
        if n_atoms == 0:
            raise ValueError(
                f"the training set has no atom of {symbols([one])}: a kernel has points of each species of the SOAP; "
                "give the SOAP the species of the training set"
            )
        if n_atoms < counts[one]:
            raise ValueError(
                f"n_points is {counts[one]}, but the training set has {n_atoms} atoms of {symbols([one])}: expected at "
                f"most as many, for all species or for this one, e.g. {symbols([one])}={n_atoms}"
            )


def checked_kernel(kernel: SparseKernel) -> SparseKernel:
    """Return the kernel; raise for anything else."""
    if not isinstance(kernel, SparseKernel):
        raise TypeError(f"kernel is a {type(kernel).__name__}: expected a SparseKernel, or None for a linear model")
    return kernel


def _candidates(
    frames: list[Any],
    numbers: list[NDArray[np.int64]],
    soap: Descriptor,
    columns: Mapping[int, slice],
    progress: bool,
) -> dict[int, NDArray[np.float64]]:
    """Return unit vectors of atoms of each species, in its columns."""
    sizes, every = np.array([len(entry) for entry in numbers]), np.concatenate(numbers)
    steps = {
        species: math.ceil(8 * int((every == species).sum()) * (own.stop - own.start) / CANDIDATE_BYTES)
        for species, own in columns.items()
    }
    found: dict[int, list[NDArray[np.float64]]] = {species: [] for species in columns}
    seen, first = dict.fromkeys(columns, 0), 0
    for rows in iter_atom_rows(frames, sizes, soap, progress):
        batch = every[first : first + len(rows)]
        first += len(rows)
        for species, own in columns.items():
            atoms = np.flatnonzero(batch == species)
            kept = atoms[(-seen[species]) % steps[species] :: steps[species]]
            seen[species] += len(atoms)
            chosen = rows.values[kept, own]
            found[species].append(chosen / np.linalg.norm(chosen, axis=1)[:, None])
    return {species: np.concatenate(parts) for species, parts in found.items()}


def farthest_points(units: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Choose n unit vectors: the farthest from the mean, then each the farthest from those chosen.

    Returns
    -------
    ndarray of int of shape (m,)
        Indices in the order of the choice; m < n if all others equal a chosen one to rounding.
    """
    distances = np.linalg.norm(units - units.mean(axis=0), axis=1)
    chosen = [int(np.argmax(distances))]
    squares = 2 - 2 * (units @ units[chosen[0]])
    while len(chosen) < n and squares.max() > SAME:
        chosen.append(int(np.argmax(squares)))
        np.minimum(squares, 2 - 2 * (units @ units[chosen[-1]]), out=squares)
    return np.array(chosen, dtype=np.int64)
