"""Columns of SOAP rows, and where featomic's blocks of values go to in them.

Featomic gives one block of values for each species of the centre and each choice of species of the
neighbours. In a pair of equal species, value (l, n₁, n₂) of the power spectrum repeats (l, n₂, n₁):
compact columns hold one of them, scaled by √2. Scalar products stay the same, and so do
rigidities and fits with the identity as penalty.

With S species there are S·S(S+1)/2 blocks. Pseudo-species are fewer: channels k of the density of
neighbours, ρ_k = Σ_s U_sk ρ_s. Their power spectrum is a linear map of that of the species,
p_{k₁n₁k₂n₂l} = Σ U_{s₁k₁} U_{s₂k₂} p_{s₁n₁s₂n₂l}, and so are its gradients. Here, too, one of each
two pairs, (k₁, n₁) and (k₂, n₂), is held. Willatt, Musil, Ceriotti, Phys. Chem. Chem. Phys. 20
(2018) 29661.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from rigidities.interop.featomic.spectra import properties
from rigidities.runtime.cached import cached_property

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ColumnBlock(NamedTuple):
    """The columns of one species of the centre and one choice of species of the neighbours.

    With pseudo-species, a centre has one block of body order 3, and `neighbours` is empty.
    """

    body_order: int
    centre: int
    neighbours: tuple[int, ...]
    columns: slice


class Place(NamedTuple):
    """Where values of a block of featomic go: they are added to these columns.

    `weights` of shape (n_values,) scale them, or a matrix (n_values, n_columns) mixes them. None:
    they are the columns.
    """

    columns: slice
    weights: NDArray[np.float64] | csr_array | None

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of shape (…, n_values) as those of the columns, (…, n_columns)."""
        if self.weights is None:
            return values
        if isinstance(self.weights, np.ndarray):
            return values * self.weights
        mixed = values.reshape(-1, values.shape[-1]) @ self.weights
        return np.asarray(mixed).reshape(*values.shape[:-1], mixed.shape[-1])


@dataclass(frozen=True)
class Columns:
    """All columns of a descriptor.

    Parameters
    ----------
    settings : str
        Hyperparameters of featomic as JSON.
    body_orders, species : tuple of int
        Rising.
    compact : bool
        One column for (l, n₁, n₂) and (l, n₂, n₁) of equal species.
    mixing : tuple of tuple of float, or None
        Row s is the share of species s in each pseudo-species: U of shape (n_species, n_channels).
    """

    settings: str
    body_orders: tuple[int, ...]
    species: tuple[int, ...]
    compact: bool
    mixing: tuple[tuple[float, ...], ...] | None

    @cached_property
    def blocks(self) -> tuple[ColumnBlock, ...]:
        """The blocks of columns, in order."""
        blocks: list[ColumnBlock] = []
        start = 0
        for order in self.body_orders:
            for centre in self.species:
                for neighbours, size in self._sizes(order).items():
                    blocks.append(ColumnBlock(order, centre, neighbours, slice(start, start + size)))
                    start += size
        return tuple(blocks)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.blocks[-1].columns.stop)

    @property
    def n_values(self) -> int:
        """Values that depend on the position of a neighbour, for one centre."""
        species = self.species[0]
        keys = [(order, key) for order in self.body_orders for key in self._neighbours(order) if species in key]
        return sum(len(self.selected(order, key)) for order, key in keys)

    def selected(self, order: int, neighbours: Sequence[int]) -> NDArray[np.int64]:
        """Return the properties that featomic computes for these species of the neighbours."""
        found = properties(self.settings, order)
        if order == 3 and self.compact and neighbours[0] == neighbours[1]:
            return found[found[:, 1] <= found[:, 2]]
        return found

    def place(self, order: int, key: Sequence[int]) -> Place:
        """Return where the block of featomic with this key (centre, neighbours…) goes."""
        return self._places[(order, *key)]

    def keys(self, order: int) -> list[tuple[int, ...]]:
        """Return the keys (centre, neighbours…) of all blocks that featomic can give."""
        return [(centre, *neighbours) for centre in self.species for neighbours in self._neighbours(order)]

    def _neighbours(self, order: int) -> list[tuple[int, ...]]:
        return list(combinations_with_replacement(self.species, order - 1))

    def _sizes(self, order: int) -> dict[tuple[int, ...], int]:
        """Return the number of columns of each block of one centre."""
        if order == 3 and self.mixing is not None:
            return {(): len(self._channel_pairs)}
        return {neighbours: len(self.selected(order, neighbours)) for neighbours in self._neighbours(order)}

    @cached_property
    def _places(self) -> dict[tuple[int, ...], Place]:
        columns = {(b.body_order, b.centre, *b.neighbours): b.columns for b in self.blocks}
        weights = {
            (order, *pair): self._weights(order, pair) for order in self.body_orders for pair in self._neighbours(order)
        }
        return {
            (order, *key): Place(
                columns[(order, key[0]) if order == 3 and self.mixing is not None else (order, *key)],
                weights[(order, *key[1:])],
            )
            for order in self.body_orders
            for key in self.keys(order)
        }

    def _weights(self, order: int, neighbours: tuple[int, ...]) -> Any:
        if order == 2 or not self.compact:
            return None
        if self.mixing is not None:
            return self._mixing_matrix(*neighbours)
        if neighbours[0] != neighbours[1]:
            return None
        _, n1, n2 = self.selected(order, neighbours).T
        return np.where(n1 == n2, 1.0, np.sqrt(2.0))

    @cached_property
    def _channel_pairs(self) -> NDArray[np.int64]:
        """Return l, k₁, n₁, k₂, n₂ of the columns of one centre: each pair (k₁, n₁) ≤ (k₂, n₂)."""
        assert self.mixing is not None
        n_channels = len(self.mixing[0])
        found = properties(self.settings, 3)
        angular, n1, n2 = np.tile(found, (n_channels**2, 1)).T
        k1, k2 = np.divmod(np.repeat(np.arange(n_channels**2), len(found)), n_channels)
        once = (k1 < k2) | ((k1 == k2) & (n1 <= n2))
        pairs = np.column_stack([angular, k1, n1, k2, n2])[once]
        return np.asarray(pairs[np.lexsort(pairs.T[::-1])])

    def _mixing_matrix(self, one: int, other: int) -> csr_array:
        """Return the share of each value of a pair of species in each column.

        Featomic scales a pair of different species, s₁ < s₂, by √2, and leaves out the pair s₂, s₁
        with p_{s₂n₂s₁n₁l} = p_{s₁n₁s₂n₂l}.
        """
        U = dict(zip(self.species, np.array(self.mixing), strict=True))
        angular, k1, n1, k2, n2 = self._channel_pairs.T
        scale = np.where((k1 == k2) & (n1 == n2), 1.0, np.sqrt(2.0))
        found = self.selected(3, (one, other))
        if one == other:
            sources = [_index(found, angular, np.minimum(n1, n2), np.maximum(n1, n2))]
            weights = [scale * U[one][k1] * U[one][k2]]
        else:
            sources = [_index(found, angular, n1, n2), _index(found, angular, n2, n1)]
            weights = [
                scale * U[one][k1] * U[other][k2] / np.sqrt(2.0),
                scale * U[other][k1] * U[one][k2] / np.sqrt(2.0),
            ]
        places = np.tile(np.arange(len(angular)), len(sources))
        return csr_array((np.concatenate(weights), (np.concatenate(sources), places)), shape=(len(found), len(angular)))


def _index(found: NDArray[np.int64], *wanted: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return where these l, n₁, n₂ are in the rising list of them."""
    radix = int(found.max()) + 1
    powers = np.array([radix**2, radix, 1])
    return np.asarray(np.searchsorted(found @ powers, np.column_stack(wanted) @ powers))
