"""Featomic's calculators, and the columns that their blocks of values go to.

Featomic gives one block of values for each species of the centre and each choice of species of the
neighbours, but only for those that a batch of structures contains. Here every block has its
columns, whether the batch contains it or not.

Featomic calls Python back for the positions and cells of structures, and for its log. So every call
of it is made here and on a thread that takes no signals (`rigidities.runtime.aside`): Ctrl-C in
such a callback would be lost, and the rows would be those of another structure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import ase
import featomic
import numpy as np
from metatensor import Labels

from rigidities.exceptions import Advice
from rigidities.runtime import memory
from rigidities.runtime.aside import aside

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

    Make one for each pass over structures, in a ``with`` block: two threads must not use the same
    calculator of featomic at once.
    """

    def __init__(self, settings: str, blocks: Sequence[ColumnBlock]) -> None:
        self.orders = tuple(dict.fromkeys(block.body_order for block in blocks))
        self.n_features = int(blocks[-1].columns.stop)
        self._columns = {(b.body_order, b.centre, *b.neighbours): b.columns for b in blocks}
        self._of_order = aside(lambda: {order: _calculator(settings, order) for order in self.orders})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            aside(self._of_order.clear)  # Ctrl-C in their `__del__` would be lost

    def columns(self, body_order: int, key: Any) -> slice:
        """Return the columns of the block that has this key in a tensor of featomic."""
        return self._columns[(body_order, *key.values.tolist())]

    def atom_rows(self, systems: Sequence[Any]) -> NDArray[np.float64]:
        """Return the rows of the systems' atoms, of shape (n_atoms, n_features)."""
        rows = self.zeros(sum(system.size() for system in systems))
        self.fill(systems, rows)
        return rows

    def zeros(self, n_atoms: int) -> NDArray[np.float64]:
        """Return zeros of shape (n_atoms, n_features)."""
        self.require_memory(n_atoms, f"the rows of {n_atoms} atoms", Advice.FEWER_FEATURES)
        return np.zeros((n_atoms, self.n_features))

    def require_memory(self, n_rows: int, what: str, advice: Advice) -> None:
        """Raise if there is not the memory for so many rows."""
        n_species = len({centre for _, centre, *_ in self._columns})
        columns = f"{self.n_features} features of {n_species} species"
        memory.require(8 * n_rows * self.n_features, f"{what} ({columns})", advice)

    def fill(self, systems: Sequence[Any], rows: NDArray[np.float64]) -> None:
        """Write the systems' blocks into `rows`, zeros of shape (n_atoms, n_features)."""
        aside(self._fill, systems, rows)

    def _fill(self, systems: Sequence[Any], rows: NDArray[np.float64]) -> None:
        starts = np.cumsum([0] + [system.size() for system in systems])
        for order in self.orders:
            for key, block in self.compute(order, systems).items():
                # a block has the atoms of one species in all structures
                atoms = starts[block.samples["system"]] + block.samples["atom"]
                rows[atoms, self.columns(order, key)] = block.values

    def compute(
        self,
        order: int,
        systems: Sequence[Any],
        gradients: Sequence[str] = (),
        centres: NDArray[np.int32] | None = None,
    ) -> Any:
        """Return featomic's tensor of one body order. Call this on a thread that takes no signals.

        Parameters
        ----------
        order : int
            The body order.
        systems : sequence of systems of featomic
        gradients : sequence of {"positions", "strain"}
            The gradients that the tensor holds.
        centres : ndarray of int of shape (n_centres,), optional
            The atoms that have rows; all by default. Give it for a single system.
        """
        options: dict[str, Any] = {"gradients": list(gradients)} if gradients else {}
        n_centres = sum(system.size() for system in systems)
        if centres is not None:
            options["selected_samples"] = Labels(["atom"], centres[:, None])
            n_centres = len(centres)
        try:
            tensor = self._of_order[order].compute(systems, **options)
        except featomic.FeatomicError as error:
            raise ValueError(f"featomic cannot compute the rows of these structures: {error}") from error
        _require_rows(tensor, n_centres)
        return tensor


def _require_rows(tensor: Any, n_centres: int) -> None:
    """Raise if an atom has no row.

    An atom counts as a neighbour of itself: it has a row in the block in which all species are its
    own, and no other atom has it.
    """
    found = sum(len(block.samples) for key, block in tensor.items() if len({*key.values.tolist()}) == 1)
    if found != n_centres:
        raise RuntimeError(
            f"featomic gave rows of {found} atoms, but {n_centres} were asked for: this is a fault of featomic or of "
            "this package; please report it with the structures"
        )


def _calculator(settings: str, body_order: int) -> Any:
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
    return aside(_n_properties, settings, body_order)


def _n_properties(settings: str, body_order: int) -> int:
    try:
        tensor = _calculator(settings, body_order).compute(ase.Atoms("H", positions=[[0.0, 0.0, 0.0]]))
    except featomic.FeatomicError as error:
        raise ValueError(f"featomic refuses the hyperparameters: {error}") from error
    return len(tensor.block(0).properties)
