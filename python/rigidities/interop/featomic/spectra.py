"""Featomic's calculator of one body order, and the properties of its blocks, from settings in JSON.

Featomic's log calls Python back. So every call of it is made on a thread that takes no signals
(`rigidities.runtime.aside`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ase
import featomic
import numpy as np

from rigidities.runtime.aside import aside

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
def properties(settings: str, body_order: int) -> NDArray[np.int64]:
    """Return the properties of a block, as featomic gives them for a single atom. Do not change it.

    This is right for any basis, and featomic checks the hyperparameters.

    Returns
    -------
    ndarray of shape (n_properties, 1 or 3)
        n of the radial spectrum, or l, n₁, n₂ of the power spectrum, in featomic's order.
    """
    return aside(_properties, settings, body_order)


def _properties(settings: str, body_order: int) -> NDArray[np.int64]:
    try:
        tensor = calculator(settings, body_order).compute(ase.Atoms("H", positions=[[0.0, 0.0, 0.0]]))
    except featomic.FeatomicError as error:
        raise ValueError(f"featomic refuses the hyperparameters: {error}") from error
    return np.array(tensor.block(0).properties.values, dtype=np.int64)
