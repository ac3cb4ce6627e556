"""Kernels of centres with points, and their derivatives, from featomic's blocks.

∂κ_m/∂r = ζ s_m^(ζ−1) (u_m − s_m u)·∂x/∂r / ‖x‖ with s_m = u·u_m and u = x/‖x‖, x the SOAP row of a
centre, κ_m = s_m^ζ. Each centre has its own factors, so they are applied before the derivatives are
summed over centres. Memory holds the kernels of a few pairs of atoms at a time, and the sums.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.interop.featomic.columns import Place
from rigidities.interop.featomic.gradients import Derivatives, Part, Piece
from rigidities.interop.featomic.points import Points, normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.interop.featomic.calculators import Calculators

AT_ONCE = 8
"""Centres whose gradients are multiplied by the points at once: 84 rows each in silicon at 5 Å. The
products of 500 points, 2.7 MB, are used while they are in the cache."""


class KernelDerivatives(Derivatives):
    """Kernels of each centre and their derivatives, in place of SOAP rows, before the sums."""

    def __init__(self, calculators: Calculators, points: Mapping[int, Points], zeta: int) -> None:
        super().__init__(calculators)
        self.points, self.zeta = points, zeta

    @property
    def n_features(self) -> int:
        """Number of points of all species."""
        return sum(len(own.units) for own in self.points.values())

    def gradient_bytes(self, terms: Collection[str]) -> int:
        """Return the bytes of the gradients of one neighbour: SOAP, and kernels of the atom."""
        return super().gradient_bytes(terms) + (24 * self.n_features if "forces" in terms else 0)

    def pieces(self, tensor: Any, part: Part, terms: Collection[str]) -> Iterator[Piece]:
        """Yield the kernels of the centres of each species."""
        blocks: dict[int, list[tuple[Any, Place]]] = {}
        for key, block in tensor.items():
            if len(block.samples):
                place = self.calculators.place(part.order, key)
                blocks.setdefault(key.values.tolist()[0], []).append((block, place))
        for species, own in blocks.items():
            centres = _Centres(own, self.points[species], self.zeta, part)
            yield from (getattr(centres, name)() for name in terms)


class _Centres:
    """The centres of one species in a part: their kernels, and the derivatives of these.

    ∂κ is linear in ∂x, so each block of other neighbours is added on its own.
    """

    def __init__(self, blocks: list[tuple[Any, Place]], points: Points, zeta: int, part: Part) -> None:
        self.points, self.part, self.zeta = points, part, zeta
        samples = [np.asarray(block.samples.values).astype(np.int64) for block, _ in blocks]
        atoms = [part.starts[part.first + own[:, 0]] + own[:, 1] for own in samples]
        self.atoms, inverse = np.unique(np.concatenate(atoms), return_inverse=True)
        index = np.split(inverse, np.cumsum([len(own) for own in atoms])[:-1])
        self.blocks = [_Block(*pair, own, points) for pair, own in zip(blocks, index, strict=True)]
        rows = np.zeros((len(self.atoms), points.columns.stop - points.columns.start))
        for one in self.blocks:
            rows[one.centres, one.columns] += one.place.of(np.asarray(one.block.values))
        self.units, norms = normalised(rows)
        self.cosines = self.units @ points.units.T
        self.slopes = zeta * self.cosines ** (zeta - 1) / norms[:, None]

    def energy(self) -> Piece:
        """κ of each centre, for its system."""
        return self._piece("energy", self._systems(self.atoms), self.cosines**self.zeta)

    def forces(self) -> Piece:
        """Σ ∂κ/∂r of the centres, for the atoms that move."""
        gradients = [one.block.gradient("positions") for one in self.blocks]
        samples = [np.asarray(gradient.samples.values).astype(np.int64) for gradient in gradients]
        moved = [self.part.starts[self.part.first + own[:, 1]] + own[:, 2] for own in samples]
        return self._piece("forces", *self._sums(gradients, [own[:, 0] for own in samples], moved))

    def virial(self) -> Piece:
        """Σ ∂κ/∂ε of the centres, for their systems."""
        gradients = [one.block.gradient("strain") for one in self.blocks]
        samples = [np.asarray(gradient.samples.values)[:, 0].astype(np.int64) for gradient in gradients]
        systems = [self._systems(self.atoms[one.centres[own]]) for one, own in zip(self.blocks, samples, strict=True)]
        targets, sums = self._sums(gradients, samples, systems)
        return self._piece("virial", targets, sums.reshape(len(sums), 3, 3, -1))

    def _systems(self, atoms: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.part.starts, atoms, side="right") - 1

    def _sums(
        self, gradients: list[Any], samples: list[NDArray[np.int64]], targets: list[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return targets and Σ ∂κ of each, (n, components, n_points).

        Gradients of SOAP are those of rows `samples` of the blocks, which rise, and add to
        `targets`.
        """
        labels, inverse = np.unique(np.concatenate(targets), return_inverse=True)
        places = np.split(inverse, np.cumsum([len(own) for own in targets])[:-1])
        sums = np.zeros((len(labels), math.prod(gradients[0].values.shape[1:-1]), len(self.points.units)))
        for one, gradient, own, where in zip(self.blocks, gradients, samples, places, strict=True):
            values = np.asarray(gradient.values)
            values = values.reshape(len(values), -1, values.shape[-1])
            weights, units = one.transposed(self.points.units), one.transposed(self.units).T
            stops = np.searchsorted(own, np.arange(len(one.centres) + 1))
            for first in range(0, len(one.centres), AT_ONCE):
                begin, *ends = stops[first : first + AT_ONCE + 1]
                rows = values[begin : ends[-1]].reshape(-1, values.shape[-1])  # one product, not one for each pair
                products = (rows @ weights).reshape(-1, *sums.shape[1:])
                for centre, start, stop in zip(one.centres[first:], [begin, *ends], ends):  # noqa: B905
                    along = values[start:stop] @ units[centre]
                    kernels = products[start - begin : stop - begin]
                    kernels -= along[..., None] * self.cosines[centre]
                    kernels *= self.slopes[centre]
                    sums[where[start:stop]] += kernels  # each target once
        return labels, sums

    def _piece(self, term: str, targets: NDArray[np.int64], values: NDArray[np.float64]) -> Piece:
        return Piece(term, Place(self.points.place, None), targets, values)


class _Block:
    """A block of featomic: its rows belong to these centres, its values to these columns.

    Columns are counted from the first of the species.
    """

    def __init__(self, block: Any, place: Place, centres: NDArray[np.int64], points: Points) -> None:
        self.block, self.place, self.centres = block, place, centres
        first = points.columns.start
        self.columns = slice(place.columns.start - first, place.columns.stop - first)

    def transposed(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what a scalar product of the columns with vectors is in values: (n_values, n).

        A value v adds place.of(v) to the columns, a linear map; this is its transpose.
        """
        own, weights = vectors[:, self.columns].T, self.place.weights
        if weights is None:
            return own
        return weights[:, None] * own if isinstance(weights, np.ndarray) else np.asarray(weights @ own)
