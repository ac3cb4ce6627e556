"""Structures → derivatives of their summed features: the rows of energies, forces and virials.

What enters: systems of featomic's. What leaves: for the linear model E = Σ_atoms fᵀθ, the rows Σ f (energy), −∂(Σ f)/∂R
(forces) and −∂(Σ f)/∂ε (virial, symmetrised), all with respect to the same θ. Featomic gives a gradient row for every
pair of atoms; those of one atom are summed by the core as soon as they are there, so that few are ever held.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from metatensor import Labels

from rigidities import memory
from rigidities.interop.soap import Soap, calculator
from rigidities.rows import reduce_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

CENTRES = 64
"""Centres whose gradients are held at once, for each thread; a smaller structure is never split. Silicon at 5 Å with
448 features: 64 centres · 28 neighbours · 3 · 448 · 8 bytes = 19 MB. Small is quick, as memory is used again, not
given back and taken anew: the force rows and sums of 589 atoms take 0.49 s on 1 thread with 64 centres at once, 0.55 s
with 32, 0.60 s with 16, 0.63 s with 128, 0.68 s with all (medians of 8)."""

GRADIENTS = {"forces": "positions", "virial": "strain"}
"""Featomic's name of the gradient that a term needs."""

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components of a symmetric tensor in ASE's order: xx, yy, zz, yz, xz, xy."""


class Derivatives:
    """Featomic's calculators for a `Soap`, and the columns that their blocks go to.

    Made anew for each pass: a calculator of featomic is not to be used by two threads at once.
    """

    def __init__(self, soap: Soap) -> None:
        self.n_features = soap.n_features
        self.calculators = {order: calculator(soap.settings, order) for order in soap.body_orders}
        self.columns = {(b.body_order, b.centre, *b.neighbours): b.columns for b in soap.blocks}

    def compute(self, systems: Sequence[Any], terms: Collection[str]) -> dict[str, NDArray[np.float64]]:
        """Return the rows of these terms, of shape (n_systems or n_atoms, components, n_features).

        There is one component for an energy, there are three for an atom's force and six for a virial.
        """
        n_atoms = sum(system.size() for system in systems)
        shapes = {"energy": (len(systems), 1), "forces": (n_atoms, 3), "virial": (len(systems), 6)}
        n_rows = sum(shapes[name][0] * shapes[name][1] for name in terms)
        memory.require(8 * n_rows * self.n_features, "the rows of a batch", "pass a smaller batch_size")
        rows = {name: np.zeros((*shapes[name], self.n_features)) for name in terms}
        gradients = [GRADIENTS[name] for name in terms if name in GRADIENTS]
        starts = np.cumsum([0] + [system.size() for system in systems])
        for part, selected in _parts(systems) if gradients else [(slice(0, len(systems)), None)]:
            for order, descriptor in self.calculators.items():
                tensor = descriptor.compute(systems[part], gradients=gradients, selected_samples=selected)
                for key, block in tensor.items():
                    columns = self.columns[(order, *key.values.tolist())]
                    _add_block(rows, block, columns, part.start, starts)
        return rows


def _parts(systems: Sequence[Any]) -> Iterator[tuple[slice, Labels | None]]:
    """Cut a batch so that few centres' gradients are held at once, always alike for a structure, whatever its batch."""
    if all(system.size() <= CENTRES for system in systems):
        yield slice(0, len(systems)), None
        return
    for index, system in enumerate(systems):
        for first in range(0, system.size(), CENTRES):
            centres = np.arange(first, min(first + CENTRES, system.size()), dtype=np.int32)
            yield slice(index, index + 1), Labels(["atom"], centres[:, None])


def _add_block(
    rows: dict[str, NDArray[np.float64]], block: Any, columns: slice, first: int, starts: NDArray[np.int64]
) -> None:
    """Sum the samples of a block into rows; its systems are numbered from the batch's `first`."""
    systems = first + np.asarray(block.samples.values)[:, 0].astype(np.int64)
    if "energy" in rows:
        _add(rows["energy"], columns, systems, np.asarray(block.values))
    if "forces" in rows:
        gradient = block.gradient("positions")
        samples = np.asarray(gradient.samples.values)
        _add(rows["forces"], columns, starts[first + samples[:, 1]] + samples[:, 2], np.asarray(gradient.values), -1)
    if "virial" in rows:
        gradient = block.gradient("strain")
        samples = np.asarray(gradient.samples.values)
        _add(rows["virial"], columns, systems[samples[:, 0]], np.asarray(gradient.values), -1)


def _add(
    out: NDArray[np.float64], columns: slice, targets: NDArray[np.int64], values: NDArray[np.float64], sign: int = 1
) -> None:
    """Add the sum of each target's values, of shape (n, components…, n_columns), to ``out[target, :, columns]``."""
    if len(targets) == 0:  # no atom of this species among the centres
        return
    # All components of a sample stand side by side in memory: they are summed as one long row, without a copy.
    labels, sums = reduce_rows(values.reshape(len(values), -1), targets, "sum")
    sums = sums.reshape(len(labels), *(values.shape[1:] if values.ndim > 2 else (1, -1)))
    if values.ndim == 4:  # of shape (n, 3, 3, n_columns)
        sums = np.stack([0.5 * (sums[:, i, j] + sums[:, j, i]) for i, j in VOIGT], axis=1)
    whole = labels[-1] - labels[0] + 1 == len(labels)
    place = slice(labels[0], labels[-1] + 1) if whole else labels  # a slice adds in place, labels by way of a copy
    if sign > 0:
        out[place, :, columns] += sums
    else:
        out[place, :, columns] -= sums
