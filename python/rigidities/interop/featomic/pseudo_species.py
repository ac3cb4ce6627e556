"""Pseudo-species: few channels in which the species of neighbours are mixed.

Species that are near in the periodic table have similar shares in each channel: what is learned of
one helps with the other. The shares are the first principal axes of the species in a kernel of
period and group. Willatt, Musil, Ceriotti, Phys. Chem. Chem. Phys. 20 (2018) 29661, reduce the
species in this way (with a kernel of radius and electronegativity, which gives the same errors but
lacks elements); Faber et al., J. Chem. Phys. 148 (2018) 241717, compare them by period and group.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rigidities.structures.species import symbols
from rigidities.validation import as_floats, as_integer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PERIODS, GROUPS = 4.0, 10.0
"""Differences of period and of group at which the kernel of two species is exp(−1/2). In a wide
kernel shares change slowly with period and group. With half these widths test errors of energies
were a fifth larger (docs/species.md)."""

LAST = (2, 10, 18, 36, 54, 86, 118)
"""Atomic number of the last element of each period."""

DIGITS = 9
"""Decimals of the shares. Eigenvectors differ by rounding from machine to machine; the columns must
not."""


def as_mixing(pseudo_species: int | ArrayLike, species: Sequence[int]) -> tuple[tuple[float, ...], ...] | None:
    """Return the shares U of shape (n_species, n_channels), or None if nothing needs to be mixed.

    Parameters
    ----------
    pseudo_species : int or array_like of shape (n_species, n_channels)
        Number of channels, or the shares themselves.
    species : sequence of int
        Atomic numbers, rising.

    Raises
    ------
    ValueError
        If the number is below 1, an array has another shape or is not finite, or a species is no
        element.
    """
    if np.ndim(pseudo_species) == 0:
        n_channels = as_integer(pseudo_species, "pseudo_species", "a number of channels, e.g. 2")
        if n_channels < 1:
            raise ValueError(f"pseudo_species is {n_channels}: expected a number of channels from 1, e.g. 2")
        return None if n_channels >= len(species) else _rows(shares(species, n_channels))
    U = as_floats(pseudo_species, "pseudo_species", ndim=np.ndim(pseudo_species), double=True)
    if U.ndim != 2 or len(U) != len(species) or U.shape[1] < 1:
        raise ValueError(
            f"pseudo_species has shape {U.shape}: expected a number of channels, or the shares of the "
            f"{len(species)} species in them, of shape ({len(species)}, n_channels)"
        )
    if not np.isfinite(U).all():
        raise ValueError("pseudo_species has a share that is not finite")
    return _rows(U)


def shares(species: Sequence[int], n_channels: int) -> NDArray[np.float64]:
    """Return the share of each species in each channel, of shape (n_species, n_channels).

    U Uᵀ is the best approximation of this rank to the kernel
    exp(−(Δperiod/4)²/2 − (Δgroup/10)²/2) of the species.
    """
    places = np.array([_place(number) for number in species]) / (PERIODS, GROUPS)
    kernel = np.exp(-0.5 * np.sum((places[:, None] - places) ** 2, axis=2))
    values, vectors = np.linalg.eigh(kernel)
    U = (vectors * np.sqrt(values.clip(0)))[:, ::-1][:, :n_channels]
    U *= np.sign(U[np.argmax(np.abs(U).round(DIGITS), axis=0), range(n_channels)])  # a vector has two signs
    return np.asarray(U.round(DIGITS) + 0.0)


def _place(number: int) -> tuple[float, float]:
    """Return period and group of an element. Between groups 3 and 4, f elements are in between."""
    if not 1 <= number <= LAST[-1]:
        raise ValueError(
            f"species {symbols([number])} is no element: pass the shares of the species as pseudo_species, an array "
            "of shape (n_species, n_channels)"
        )
    row = bisect_left(LAST, number)
    from_end = LAST[row] - number  # 0 for a noble gas
    from_start = number - (LAST[row - 1] if row else 0)
    if row == 0:
        return 1.0, float(1 if number == 1 else 18)
    if from_start <= 2:
        return row + 1.0, float(from_start)
    if from_end < 15:
        return row + 1.0, float(18 - from_end)
    return row + 1.0, 3.0 + (from_start - 3) / 15


def _rows(U: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, U.tolist()))
