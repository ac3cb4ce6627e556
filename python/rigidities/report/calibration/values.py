"""The numbers of a calibration report as values of JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

LEFT_OUT = ("residuals", "std")
"""Arrays of the caller, as long as the data."""


def as_values(numbers: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as values of JSON; infinity and NaN are None."""
    return {field.name: _value(getattr(numbers, field.name)) for field in fields(numbers) if field.name not in LEFT_OUT}


def _value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _value(value.tolist())
    if isinstance(value, np.generic):
        return _value(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "_asdict"):
        return _value(value._asdict())
    if is_dataclass(value):
        return as_values(value)
    if isinstance(value, Mapping):
        return {str(key): _value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_value(entry) for entry in value]
    return value
