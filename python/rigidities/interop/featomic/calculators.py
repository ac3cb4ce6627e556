"""Featomic's calculators of one pass over structures, and the rows that their blocks are put into.

Featomic gives blocks of values only for those species that a batch of structures contains. Here
every block has its columns, whether the batch contains it or not.

Featomic calls Python back for the positions and cells of structures, and for its log. So every call
of it is made here and on a thread that takes no signals (`rigidities.runtime.aside`): Ctrl-C in
such a callback would be lost, and the rows would be those of another structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import ase
import featomic
import numpy as np
from featomic.systems import wrap_system
from metatensor import Labels, TensorBlock, TensorMap

from rigidities.exceptions import Advice
from rigidities.interop.featomic.coincident import CLOSEST
from rigidities.interop.featomic.columns import Columns
from rigidities.interop.featomic.purified import Purification
from rigidities.interop.featomic.spectra import calculator
from rigidities.runtime import memory
from rigidities.runtime.aside import aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.interop.featomic.columns import Place


class Calculators:
    """Featomic's calculator of each body order, and the columns that its blocks go to.

    Make one for each pass over structures, in a ``with`` block: two threads must not use the same
    calculator of featomic at once.
    """

    def __init__(self, columns: Columns, purified: bool = False) -> None:
        self.columns = columns
        self.purification = _purification(columns) if purified else None
        self._of_order = aside(_calculators, columns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            aside(self._of_order.clear)  # Ctrl-C in their `__del__` would be lost

    def place(self, body_order: int, key: Any) -> Place:
        """Return where the block with this key in a tensor of featomic goes."""
        return self.columns.place(body_order, key.values.tolist())

    def atom_rows(self, systems: Sequence[Any]) -> NDArray[np.float64]:
        """Return the rows of the systems' atoms, of shape (n_atoms, n_features)."""
        rows = self.zeros(sum(system.size() for system in systems))
        self.fill(systems, rows)
        return rows

    def zeros(self, n_atoms: int) -> NDArray[np.float64]:
        """Return zeros of shape (n_atoms, n_features)."""
        self.require_memory(n_atoms, f"the rows of {n_atoms} atoms", Advice.FEWER_ATOM_ROWS)
        return np.zeros((n_atoms, self.columns.n_features))

    def require_memory(self, n_rows: int, what: str, advice: Advice) -> None:
        """Raise if there is not the memory for so many rows."""
        n_features = self.columns.n_features
        memory.require(8 * n_rows * n_features, f"{what} ({self.columns_text(n_features)})", advice)

    def columns_text(self, n_features: int) -> str:
        """Name the number of features in a message about memory."""
        return f"{n_features} features of {len(self.columns.species)} species"

    def fill(self, systems: Sequence[Any], rows: NDArray[np.float64]) -> None:
        """Write the systems' blocks into `rows`, zeros of shape (n_atoms, n_features)."""
        aside(self._fill, systems, rows)
        if self.purification is not None:
            self.purification.subtract_atoms(systems, rows)

    def _fill(self, systems: Sequence[Any], rows: NDArray[np.float64]) -> None:
        starts = np.cumsum([0] + [system.size() for system in systems])
        for order in self.columns.body_orders:
            for key, block in self.compute(order, systems).items():
                # a block has the atoms of one species in all structures
                atoms = starts[block.samples["system"]] + block.samples["atom"]
                place = self.place(order, key)
                if self.columns.mixing is None:
                    rows[atoms, place.columns] = place.of(block.values)
                else:  # several blocks have these columns
                    rows[atoms, place.columns] += place.of(block.values)

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
        compute, selected = self._of_order[order]
        if selected is not None:
            options["selected_properties"] = selected
        try:
            tensor = compute(systems, **options)
        except featomic.FeatomicError as error:
            raise ValueError(f"featomic cannot compute the rows of these structures: {error}") from error
        _require_rows(tensor, n_centres)
        return tensor


def _purification(columns: Columns) -> Purification:
    _require_convention(columns.settings)
    return Purification(columns)


@lru_cache(maxsize=16)
def _require_convention(settings: str) -> None:
    """Raise if purified rows of dimers are not 0: then featomic has another convention."""
    columns = Columns(settings, (3,), (1, 2), False, None)
    purification = Purification(columns)
    distance = [max(1.01 * CLOSEST, 0.6 * purification.cutoff), 0.0, 0.0]
    dimers = [wrap_system(ase.Atoms(numbers, [[0.0] * 3, distance])) for numbers in ([1, 1], [1, 2])]
    with Calculators(columns) as calculators:
        rows = calculators.atom_rows(dimers)
    purified = rows.copy()
    purification.subtract_atoms(dimers, purified)
    error = np.abs(purified).max() / np.abs(rows).max()
    if not error <= 1e-9:
        raise RuntimeError(
            f"purified features of two atoms are {error:.1e} of the others, expected 0: this version of featomic has "
            "another convention; please report it, and pass purified=False"
        )


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


def _calculators(columns: Columns) -> dict[int, tuple[Any, TensorMap | None]]:
    """Return the function that computes each body order, and the properties it is asked for."""
    orders = columns.body_orders
    return {order: (calculator(columns.settings, order).compute, _selected(columns, order)) for order in orders}


def _selected(columns: Columns, order: int) -> TensorMap | None:
    """Return the properties of each block that featomic is asked for; None for all of them.

    Featomic takes them as the labels of a tensor without samples. With 252 of 448 properties of
    equal species its gradients take 0.6 of the time and the memory.
    """
    if order != 3 or not columns.compact:
        return None
    blocks = []
    for _, *neighbours in columns.keys(order):
        names = Labels(["l", "n_1", "n_2"], columns.selected(order, neighbours))
        blocks.append(TensorBlock(np.empty((0, len(names))), Labels(["_"], np.empty((0, 1), dtype=int)), [], names))
    return TensorMap(
        Labels(["center_type", "neighbor_1_type", "neighbor_2_type"], np.array(columns.keys(order))), blocks
    )
