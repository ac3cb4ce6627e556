"""Pseudo-species."""

from __future__ import annotations
from collections.abc import Sequence
from typing import Any
import numpy as np
from rigidities.validation import as_floats


def as_mixing(pseudo_species: Any, species: Sequence[int]) -> tuple[tuple[float, ...], ...] | None:
    U = as_floats(pseudo_species, "pseudo_species", ndim=2)
    return tuple(map(tuple, U.tolist()))
