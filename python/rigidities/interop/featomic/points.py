"""Representative points of a sparse kernel model on SOAP: atoms that others are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.interop.featomic.soap import Soap
from rigidities.validation import as_integer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Points:
    """Representative points of one species.

    Attributes
    ----------
    units : ndarray of shape (n_points, n_soap)
        Unit vectors, in the SOAP columns of this species of the centre.
    whitening : ndarray of shape (n_points, n_features)
        W
    columns : slice
        The SOAP columns.
    place : slice
        Place of the points among those of all species.
    features : slice
        Place of the whitened columns among those of all species.
    """

    units: NDArray[np.float64]
    whitening: NDArray[np.float64]
    columns: slice
    place: slice
    features: slice


def as_zeta(zeta: int) -> int:
    """Return ζ; raise unless it is an integer from 1."""
    if as_integer(zeta, "zeta", "an integer from 1") < 1:
        raise ValueError(f"zeta is {zeta}: expected an integer from 1")
    return int(zeta)


def columns_of(soap: Soap) -> dict[int, slice]:
    """Return the columns of each species of the centre; raise if there are several body orders."""
    if not isinstance(soap, Soap):
        raise TypeError(f"soap is a {type(soap).__name__}: expected a Soap, whose rows a kernel compares")
    if len(soap.body_orders) > 1:
        raise ValueError(f"body_orders is {soap.body_orders}: a kernel takes one of them, e.g. (3,)")
    found = soap.components("species").values()
    return {species: slice(int(own[0]), int(own[-1]) + 1) for species, own in zip(soap.species, found, strict=True)}


def normalised(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return u = x/‖x‖ of each row, and ‖x‖. No row is zero: an atom is its own neighbour."""
    norms = np.linalg.norm(rows, axis=1)
    return rows / norms[:, None], norms
