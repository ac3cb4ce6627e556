"""Rows of a sparse kernel model on SOAP: kernels with representative points, whitened.

The kernel of an atom with SOAP row x and a point, the unit vector u_m of an atom of the same
species, is κ_m = s_m^ζ with s_m = u·u_m and u = x/‖x‖; between species it is zero. E = Σ_atoms κᵀθ
with the prior θᵀK_MMθ is a linear model in the whitened rows f = Wᵀκ, WᵀK_MMW = 1, with the
identity as penalty (`rigidities.whitening`). All that holds for a linear model then holds here.

Derivatives (`rigidities.interop.featomic.kernel_gradients`) are formed for each centre before they
are summed over centres; W comes after the sums. Rows in other batches agree to rounding, which W
makes larger by the root of the condition of K_MM.

Bartók, Payne, Kondor, Csányi, Phys. Rev. Lett. 104 (2010) 136403; Deringer et al., Chem. Rev. 121
(2021) 10073.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from rigidities.interop.featomic.gradients import CENTRES
from rigidities.interop.featomic.kernel_gradients import KernelDerivatives
from rigidities.interop.featomic.points import Points, as_zeta, columns_of, normalised
from rigidities.interop.featomic.soap import Soap
from rigidities.interop.featomic.systems import systems_of
from rigidities.structures.species import symbols
from rigidities.whitening import Whitening

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.interop.featomic.columns import Columns

KIND = "kernel"
"""Kind of descriptor in the file of a model."""


class KernelRows:
    """Kernels of atoms with representative points, whitened. It fulfils `Descriptor`. Immutable.

    Made by `rigidities.model.SparseKernel`, or by `of_points`.

    Attributes
    ----------
    soap : Soap
        Of one body order.
    zeta : int
        ζ of the kernel (x·x')^ζ of normalised rows.
    points : dict of int to Points
        Of each species, by its atomic number.
    """

    kind: ClassVar[str] = KIND
    packages: ClassVar[tuple[str, ...]] = ("featomic",)

    def __init__(
        self,
        soap: Soap,
        zeta: int,
        units: Sequence[NDArray[np.float64]],
        whitenings: Sequence[NDArray[np.float64]],
    ) -> None:
        self.soap, self.zeta = soap, as_zeta(zeta)
        self.points: dict[int, Points] = {}
        n_points = n_features = 0
        for (species, columns), own, whitening in zip(columns_of(soap).items(), units, whitenings, strict=True):
            place = slice(n_points, n_points + len(own))
            features = slice(n_features, n_features + whitening.shape[1])
            self.points[species] = Points(own, whitening, columns, place, features)
            n_points, n_features = place.stop, features.stop
        self.n_points, self.n_features = n_points, n_features
        digest = hashlib.sha256(f"{soap.feature_space} {zeta}".encode())
        for array in (*units, *whitenings):
            digest.update(np.ascontiguousarray(array).tobytes())
        self.feature_space = f"kernel-{digest.hexdigest()[:16]}"

    @classmethod
    def of_points(cls, soap: Soap, zeta: int, points: Mapping[int, NDArray[np.float64]]) -> Self:
        """Make the descriptor of these points.

        Parameters
        ----------
        soap : Soap
            Of one body order.
        zeta : int
        points : dict of int to ndarray of shape (n_points, n_soap)
            SOAP rows of atoms of each species, in the columns of that species of the centre
            (`columns_of`), by atomic number.

        Raises
        ------
        ValueError
            If a species of the SOAP has no points, ζ is below 1, or there are several body orders.
        """
        lacking = [species for species in columns_of(soap) if not len(points.get(species, ()))]
        if lacking:
            raise ValueError(
                f"the kernel has no points of {symbols(lacking)}: expected atoms of each species of the SOAP, "
                f"{symbols(soap.species)}"
            )
        units = [normalised(points[species])[0] for species in soap.species]
        zeta = as_zeta(zeta)
        return cls(soap, zeta, units, [Whitening((own @ own.T) ** zeta).matrix for own in units])

    def __repr__(self) -> str:
        return f"KernelRows({self.soap!r}; ζ = {self.zeta}, {self.n_points} points, {self.feature_space!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KernelRows) and self.feature_space == other.feature_space

    def __hash__(self) -> int:
        return hash(self.feature_space)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of the species that have points, rising."""
        return self.soap.species

    @property
    def columns(self) -> Columns:
        """Columns of the SOAP."""
        return self.soap.columns

    @property
    def cutoff(self) -> float:
        """Radius of an atom's neighbourhood, in Å."""
        return self.soap.cutoff

    def components(self, by: Literal["body_order", "species"] = "body_order") -> dict[str, NDArray[np.int64]]:
        """Return the columns of each species of the centre; a kernel mixes body orders."""
        if by == "body_order":
            return {"kernel": np.arange(self.n_features, dtype=np.int64)}
        if by != "species":
            raise ValueError(f"by is {by!r}: expected 'body_order' or 'species'")
        return {
            symbols([species]): np.arange(own.features.start, own.features.stop, dtype=np.int64)
            for species, own in self.points.items()
        }

    def numbers(self, structure: Any, index: int) -> NDArray[np.int64]:
        """Return the atomic numbers of a structure of any library that featomic accepts."""
        return self.soap.numbers(structure, index)

    def atom_rows(self, batches: Iterable[Sequence[Any]]) -> Iterator[NDArray[np.float64]]:
        """Yield the rows of all atoms of each batch, of shape (n_atoms, n_features)."""
        waiting: deque[NDArray[np.int64]] = deque()

        def watched() -> Iterator[Sequence[Any]]:
            first = 0
            for batch in batches:
                waiting.append(np.concatenate([self.numbers(one, first + i) for i, one in enumerate(batch)]))
                first += len(batch)
                yield batch

        for rows in self.soap.atom_rows(watched()):
            yield self._of_soap(rows, waiting.popleft())

    def _of_soap(self, rows: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the whitened kernels of atoms with these SOAP rows and atomic numbers."""
        kernels = np.zeros((len(rows), self.n_points))
        for species, own in self.points.items():
            atoms = np.flatnonzero(numbers == species)
            units, _ = normalised(rows[atoms, own.columns])
            kernels[atoms, own.place] = (units @ own.units.T) ** self.zeta
        return self.whitened(kernels)

    def term_rows(
        self, batches: Iterable[Sequence[Any]], terms: Collection[str]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the rows of these terms of a loss for each batch, as in `Descriptor`."""
        with self.soap.calculators() as calculators:
            derivatives = KernelDerivatives(calculators, self.points, self.zeta)
            systems = systems_of(batches, self.cutoff, derivatives.gradient_bytes(terms), CENTRES)
            for rows in derivatives.rows(systems, terms):
                yield {name: self.whitened(rows.pop(name)) for name in list(rows)}

    def whitened(self, kernels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Wᵀκ of rows of kernels, (…, n_points), as (…, n_features)."""
        rows = np.empty((*kernels.shape[:-1], self.n_features))
        for own in self.points.values():
            rows[..., own.features] = kernels[..., own.place] @ own.whitening
        return rows

    def state(self) -> dict[str, Any]:
        """Return the SOAP, ζ, the numbers of points and features of each species, and arrays."""
        own = self.points.values()
        return {
            "soap": self.soap.state(),
            "zeta": self.zeta,
            "n_points": [len(one.units) for one in own],
            "n_whitened": [one.whitening.shape[1] for one in own],
            "points": np.concatenate([one.units.ravel() for one in own]),
            "whitening": np.concatenate([one.whitening.ravel() for one in own]),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the descriptor that has this state."""
        soap = Soap.of_state(state["soap"])
        widths = [columns.stop - columns.start for columns in columns_of(soap).values()]
        sizes = list(zip(state["n_points"], state["n_whitened"], widths, strict=True))
        units = _split(state["points"], [(n, width) for n, _, width in sizes], "points")
        whitenings = _split(state["whitening"], [(n, m) for n, m, _ in sizes], "whitening")
        return cls(soap, state["zeta"], units, whitenings)

    def describe(self) -> str:
        """Return kernel, points and SOAP in a few words."""
        return f"kernel: ζ = {self.zeta}, {self.n_points} points; {self.soap.describe()}"


def _split(flat: NDArray[np.float64], shapes: Sequence[tuple[int, int]], name: str) -> list[NDArray[np.float64]]:
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    if len(flat) != ends[-1] or not np.isfinite(flat).all():
        raise ValueError(f"{name} has {len(flat)} entries: expected {ends[-1]} finite ones")
    parts = np.split(flat, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
