"""Featomic's calculators, and the columns that their blocks of values go to.

Featomic gives one block of values for each species of the centre and each choice of species of the
neighbours, but only for those that a batch of structures contains. Here every block has its
columns, whether the batch contains it or not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, NamedTuple

import ase
import featomic
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ColumnBlock(NamedTuple):
    """The columns of one species of the centre and one choice of species of the neighbours."""

    body_order: int
    centre: int
    neighbours: tuple[int, ...]
    columns: slice


def column_blocks(settings: str, body_orders: Sequence[int], species: Sequence[int]) -> tuple[ColumnBlock, ...]:
    """Return, in order, the blocks of columns that featomic can give for these species."""
    blocks: list[ColumnBlock] = []
    start = 0
    for order in body_orders:
        size = n_properties(settings, order)
        for centre in species:
            for neighbours in combinations_with_replacement(species, order - 1):
                blocks.append(ColumnBlock(order, centre, neighbours, slice(start, start + size)))
                start += size
    return tuple(blocks)


class Calculators:
    """Featomic's calculator of each body order, and the columns that its blocks go to.

    Make one for each pass over structures: two threads must not use the same calculator of featomic
    at once.
    """

    def __init__(self, settings: str, blocks: Sequence[ColumnBlock]) -> None:
        self.of_order = {order: calculator(settings, order) for order in dict.fromkeys(b.body_order for b in blocks)}
        self.n_features = int(blocks[-1].columns.stop)
        self._columns = {(b.body_order, b.centre, *b.neighbours): b.columns for b in blocks}

    def columns(self, body_order: int, key: Any) -> slice:
        """Return the columns of the block that has this key in a tensor of featomic."""
        return self._columns[(body_order, *key.values.tolist())]

    def atom_rows(self, systems: Sequence[Any]) -> NDArray[np.float64]:
        """Return the rows of the systems' atoms, of shape (n_atoms, n_features)."""
        rows = np.zeros((sum(system.size() for system in systems), self.n_features))
        self.fill(systems, rows)
        return rows

    def fill(self, systems: Sequence[Any], rows: NDArray[np.float64]) -> None:
        """Write the systems' blocks into `rows`, zeros of shape (n_atoms, n_features)."""
        starts = np.cumsum([0] + [system.size() for system in systems])
        for order, descriptor in self.of_order.items():
            for key, block in descriptor.compute(systems).items():
                # a block has the atoms of one species in all structures
                atoms = starts[block.samples["system"]] + block.samples["atom"]
                rows[atoms, self.columns(order, key)] = block.values


def calculator(settings: str, body_order: int) -> Any:
    """Return featomic's calculator of one body order."""
    hyperparameters = json.loads(settings)
    if body_order == 3:
        return featomic.SoapPowerSpectrum(**hyperparameters)
    hyperparameters["basis"] = _radial_basis(hyperparameters["basis"])
    return featomic.SoapRadialSpectrum(**hyperparameters)


def _radial_basis(basis: Any) -> Any:
    """Return the functions of l = 0, the part of the basis that the radial spectrum uses."""
    if not isinstance(basis, Mapping):
        return basis
    radial = {key: basis[key] for key in ("radial", "spline_accuracy") if key in basis}
    if "by_angular" in basis:
        if "0" not in basis["by_angular"]:
            raise ValueError("the basis has no functions of l = 0, which the radial spectrum (body order 2) needs")
        radial["radial"] = basis["by_angular"]["0"]
    return radial


@lru_cache(maxsize=256)
def n_properties(settings: str, body_order: int) -> int:
    """Return the number of columns of one block, as featomic gives them for a single atom.

    This is right for any basis, and featomic checks the hyperparameters.
    """
    try:
        descriptor = calculator(settings, body_order).compute(ase.Atoms("H", positions=[[0.0, 0.0, 0.0]]))
    except featomic.FeatomicError as error:
        raise ValueError(f"featomic refuses the hyperparameters: {error}") from error
    return len(descriptor.block(0).properties)
