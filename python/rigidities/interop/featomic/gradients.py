"""Rows of energies, forces and virials: summed features and their derivatives, by featomic.

For the linear model E = Σ_atoms fᵀθ these are Σ f (energy), −∂(Σ f)/∂R (forces) and −∂(Σ f)/∂ε
(virial, symmetrised), all with respect to the same θ. Featomic gives a gradient row for every pair
of atoms. The core sums the rows of each atom as soon as they are computed, so that few are in
memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities import _core
from rigidities.exceptions import Advice
from rigidities.rows import reduce_rows
from rigidities.runtime import memory
from rigidities.runtime.ahead import ahead
from rigidities.runtime.aside import aside
from rigidities.structures.descriptor import row_shape
from rigidities.structures.species import VOIGT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.interop.featomic.calculators import Calculators
    from rigidities.interop.featomic.columns import Place

CENTRES = 64
"""Centres on each thread whose gradients are in memory at once; smaller structures are not split.
Silicon at 5 Å with 252 features: 64 centres · 28 neighbours · 3 · 252 · 8 bytes = 11 MB. With 128
the force rows and sums of 2,230 atoms take as long, with 32 a tenth longer."""

GRADIENTS = {"forces": "positions", "virial": "strain"}
"""Featomic's name for the gradient that a term needs."""


class Derivatives:
    """Rows of a loss's terms for batches of systems, from the calculators of one pass."""

    def __init__(self, calculators: Calculators) -> None:
        self.calculators = calculators

    @property
    def n_features(self) -> int:
        """Columns of the rows that pieces are summed into."""
        return self.calculators.columns.n_features

    def pieces(self, tensor: Any, part: Part, terms: Collection[str]) -> Iterator[Piece]:
        """Yield the values in a tensor of featomic that are summed into rows."""
        for key, block in tensor.items():
            yield from _of_block(block, self.calculators.place(part.order, key), part, terms)

    def gradient_bytes(self, terms: Collection[str]) -> int:
        """Return the bytes of the gradient rows of one neighbour of an atom."""
        return 24 * self.calculators.columns.n_values if "forces" in terms else 0  # virials are summed by featomic

    def rows(
        self, batches: Iterable[Sequence[Any]], terms: Collection[str]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the rows of these terms for each batch of systems.

        Rows are of shape (n_systems or n_atoms, components, n_features): one component for an
        energy, three for an atom's force, six for a virial. Meanwhile featomic computes the next
        part on another thread.
        """
        gradients = [GRADIENTS[name] for name in terms if name in GRADIENTS]
        spent: list[list[Piece]] = []

        def compute(part: Part) -> tuple[Part, list[Piece]]:
            _free(spent)
            tensor = self.calculators.compute(part.order, part.systems, gradients, part.centres)
            return part, list(self.pieces(tensor, part, terms))

        for part, pieces in ahead(compute, self._parts(batches, whole=not gradients)):
            if part.opens:
                rows = self._zeros(part.sizes, terms)
            _add_all(rows, pieces)
            spent.append(pieces)
            if part.closes:
                if self.calculators.purification is not None:
                    self.calculators.purification.subtract_terms(part.batch, rows)
                yield rows
        aside(_free, spent)

    def _parts(self, batches: Iterable[Sequence[Any]], whole: bool) -> Iterator[Part]:
        """Cut batches into parts; featomic computes one part in each call."""
        for systems in batches:
            sizes = np.array([system.size() for system in systems])
            cuts = [(slice(0, len(systems)), None)] if whole else _cuts(sizes, CENTRES * _core.get_num_threads())
            steps = [(order, part, centres) for part, centres in cuts for order in self.calculators.columns.body_orders]
            for step, (order, part, centres) in enumerate(steps):
                opens, closes = step == 0, step == len(steps) - 1
                yield Part(order, systems[part], centres, part.start, systems, sizes, opens, closes)

    def _zeros(self, sizes: NDArray[np.int64], terms: Collection[str]) -> dict[str, NDArray[np.float64]]:
        shapes = {name: row_shape(name, sizes) for name in terms}
        n_rows = sum(map(math.prod, shapes.values()))
        memory.require(
            8 * n_rows * self.n_features,
            f"the rows of a batch ({self.calculators.columns_text(self.n_features)})",
            Advice.SMALLER_BATCHES,
        )
        return {name: np.zeros((*shape, self.n_features)) for name, shape in shapes.items()}


@dataclass(frozen=True, eq=False)
class Part:
    """Systems of a batch, or centres of one system, that featomic computes in one call.

    `order` is the body order, `first` the index of the first system in the `batch`. `sizes` are the
    numbers of atoms of all systems of the batch. The first part of a batch `opens` it, the last
    part `closes` it.
    """

    order: int
    systems: Sequence[Any]
    centres: NDArray[np.int32] | None
    first: int
    batch: Sequence[Any]
    sizes: NDArray[np.int64]
    opens: bool
    closes: bool

    @property
    def starts(self) -> NDArray[np.int64]:
        """Index in the batch of the first atom of each system, and the number of all atoms."""
        return np.cumsum(np.append(0, self.sizes))


def _cuts(sizes: NDArray[np.int64], at_once: int) -> Iterator[tuple[slice, NDArray[np.int32] | None]]:
    """Cut a batch so that the gradients of only a few centres are in memory at once.

    A structure is cut in the same way in every batch, so that its rows have the same bits.
    """
    first = n = 0
    for index, size in enumerate(sizes):
        if index > first and (n + size > at_once or size > CENTRES):
            yield slice(first, index), None
            first, n = index, 0
        if size <= CENTRES:
            n += size
            continue
        for start in range(0, size, CENTRES):
            yield slice(index, index + 1), np.arange(start, min(start + CENTRES, size), dtype=np.int32)
        first = index + 1
    if first < len(sizes):
        yield slice(first, len(sizes)), None


class Piece(NamedTuple):
    """Values that are summed into rows of a term: those of a block, in an array of featomic.

    `targets` are the rows of the term that the values, of shape (n, components…, n_values), belong
    to.
    """

    term: str
    place: Place
    targets: NDArray[np.int64]
    values: NDArray[np.float64]


def _of_block(block: Any, place: Place, part: Part, terms: Collection[str]) -> Iterator[Piece]:
    """Yield the values of a block; its systems are numbered from the first of the part."""
    systems = part.first + np.asarray(block.samples.values)[:, 0].astype(np.int64)
    if "energy" in terms:
        yield Piece("energy", place, systems, np.asarray(block.values))
    if "forces" in terms:
        gradient = block.gradient("positions")
        samples = np.asarray(gradient.samples.values)
        atoms = part.starts[part.first + samples[:, 1]] + samples[:, 2]
        yield Piece("forces", place, atoms, np.asarray(gradient.values))
    if "virial" in terms:
        gradient = block.gradient("strain")
        samples = np.asarray(gradient.samples.values)
        yield Piece("virial", place, systems[samples[:, 0]], np.asarray(gradient.values))


def _free(spent: list[list[Piece]]) -> None:
    """Free arrays of featomic. On the main thread, Ctrl-C would be lost in their `__del__`."""
    while spent:
        spent.pop().clear()


def _add_all(rows: dict[str, NDArray[np.float64]], pieces: list[Piece]) -> None:
    for piece in pieces:
        _add(rows, piece)


def _add(rows: dict[str, NDArray[np.float64]], piece: Piece) -> None:
    """Add the sum of each target's values, for gradients less it, to the columns of its row."""
    out, targets, values = rows[piece.term], piece.targets, piece.values
    if len(targets) == 0:  # no atom of this species among the centres
        return
    # The components of a sample are contiguous in memory: they are summed as one long row, without
    # a copy.
    labels, sums = reduce_rows(values.reshape(len(values), -1), targets, "sum")
    sums = sums.reshape(len(labels), *(values.shape[1:] if values.ndim > 2 else (1, -1)))
    if values.ndim == 4:  # of shape (n, 3, 3, n_columns)
        sums = np.stack([0.5 * (sums[:, i, j] + sums[:, j, i]) for i, j in VOIGT], axis=1)
    sums = piece.place.of(sums)
    whole = labels[-1] - labels[0] + 1 == len(labels)
    where = slice(labels[0], labels[-1] + 1) if whole else labels  # a slice adds in place, labels by way of a copy
    if piece.term == "energy":
        out[where, :, piece.place.columns] += sums
    else:
        out[where, :, piece.place.columns] -= sums
