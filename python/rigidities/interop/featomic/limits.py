"""Limits of featomic's hyper-parameters, beyond which it does not return, or asks for all memory.

Featomic itself refuses most of what makes no sense. What it does not is refused here: a cutoff of
1e308 Å, for which it never ends, or a million radial functions. Hyper-parameters come from files
too.
"""

from __future__ import annotations

from typing import Any

LARGEST = 1e6
"""Largest absolute value of a number. Lengths are in Å: a neighbourhood has some, not thousands."""

LARGEST_INDEX = 100
"""Largest n or l of the basis. With 101 radial functions and 101 values of l, a block of the power
spectrum has a million columns, and C would take 8 TB."""

LONGEST = 100
"""Characters of a text: the types that featomic knows have fewer."""

_INDICES = ("max_radial", "max_angular")


def check_limits(settings: Any) -> None:
    """Raise if a value is beyond the limits.

    Parameters
    ----------
    settings : dict
        Hyper-parameters in the types of JSON.

    Raises
    ------
    ValueError
        The message names the entry.
    """
    waiting = [("hyperparameters", settings)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, entry) for entry in value]
        elif isinstance(value, str):
            if len(value) > LONGEST:
                raise ValueError(f"{name} has {len(value)} characters: expected the name of a type")
        elif isinstance(value, int | float) and not -_limit(name) <= value <= _limit(name):
            raise ValueError(f"{name} is {_shown(value)}: expected a number up to {_limit(name):g}")


def _limit(name: str) -> float:
    return LARGEST_INDEX if name in _INDICES else LARGEST


def _shown(value: float) -> str:
    """Return a number in few characters: integers of any length have no float."""
    if isinstance(value, float) or abs(value) < 1e15:
        return f"{value}"
    return f"an integer of {value.bit_length()} bits"
