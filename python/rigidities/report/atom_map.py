"""The plane of a map: the two principal components of the features of training and test atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.sources.source import Source


MAP_ATOMS = 3000
"""Most atoms of each set from which the axes are found: 11 MB of power spectrum of one species."""


@dataclass(frozen=True, eq=False)
class AtomMap:
    """A plane through the atoms' feature space, along their two principal components.

    Attributes
    ----------
    centre : ndarray of shape (n_features,)
    axes : ndarray of shape (n_features, 2)
    explained : ndarray of shape (2,)
        Share of the variance along each axis.
    background : ndarray of shape (n_points, 2)
        Places of training atoms, at most `MAP_ATOMS`.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    explained: NDArray[np.float64]
    background: NDArray[np.float64]

    def project(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the coordinates of rows, (n_rows, 2)."""
        return np.asarray((values - self.centre) @ self.axes)


def map_of(train: Source, test: Source) -> AtomMap:
    """Return the map of a training and a test set, from at most `MAP_ATOMS` atoms of each.

    Parameters
    ----------
    train, test : Source
        Both with the same columns.

    Returns
    -------
    AtomMap
        Its background is the sample of the training atoms.
    """
    known = train.sample(MAP_ATOMS)
    rows = np.concatenate([known, test.sample(MAP_ATOMS)])
    centre = rows.mean(axis=0)
    rows -= centre
    axes, explained = principal_axes(rows)
    return AtomMap(centre, axes, explained, rows[: len(known)] @ axes)


def principal_axes(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal axes of centred rows and their shares of the variance.

    They come from the smaller of the matrices RᵀR and RRᵀ. An axis is zero where the rows span less
    than a plane.

    Parameters
    ----------
    rows : ndarray of shape (n, p)

    Returns
    -------
    axes : ndarray of shape (p, 2)
    shares : ndarray of shape (2,)
    """
    n, p = rows.shape
    values, vectors = np.linalg.eigh(rows.T @ rows if p <= n else rows @ rows.T)
    leading = vectors[:, :-3:-1] if p <= n else rows.T @ vectors[:, :-3:-1]
    axes, shares = np.zeros((p, 2)), np.zeros(2)
    total = float((rows**2).sum())
    for i, axis in enumerate(leading.T):
        if values[-1 - i] > len(values) * np.finfo(np.float64).eps * total:
            # the sign of an eigenvector is arbitrary: its largest entry is made positive
            axes[:, i] = axis / np.linalg.norm(axis) * np.sign(axis[np.abs(axis).argmax()])
            shares[i] = values[-1 - i] / total
    return axes, shares
