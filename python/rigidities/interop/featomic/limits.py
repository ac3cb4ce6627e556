"""Limits of hyper-parameters, beyond which featomic crashes, never ends, or asks for all memory.

Featomic itself refuses most of what makes no sense. What it does not is refused here: a cutoff of 0
or 1e308 Å, for which it never ends, or a million radial functions. Hyper-parameters come from files
too.
"""

from __future__ import annotations

from typing import Any

LARGEST = 1e6
"""Largest absolute value of a number. Lengths are in Å: a neighbourhood has some, not thousands."""

LARGEST_INDEX = 100
"""Largest n or l of the basis. With 101 radial functions and 101 values of l, a block of the power
spectrum has a million columns, and C would take 8 TB."""

LEAST_RADIUS = 1e-3
"""Å. At 0 and at 1e-300 featomic's splines never end; no atom has a neighbour so near."""

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
            for key in value:
                _check_text(key, f"an entry of {name}")
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, entry) for entry in value]
        elif isinstance(value, str):
            _check_text(value, name)
        elif name == "radius" and isinstance(value, int | float) and not value >= LEAST_RADIUS:
            raise ValueError(f"{name} is {_shown(value)}: expected a length in Å, {LEAST_RADIUS:g} or more")
        elif isinstance(value, int | float) and not -_limit(name) <= value <= _limit(name):
            raise ValueError(f"{name} is {_shown(value)}: expected a number up to {_limit(name):g}")


def _check_text(text: str, name: str) -> None:
    """Refuse what is no word: at a null character in its messages, featomic ends the process."""
    if len(text) > LONGEST:
        raise ValueError(f"{name} has {len(text)} characters: expected the name of a type")
    if not text.isprintable():
        raise ValueError(f"{name} is {text!r}: expected a name of printable characters")


def _limit(name: str) -> float:
    return LARGEST_INDEX if name in _INDICES else LARGEST


def _shown(value: float) -> str:
    """Return a number in few characters: integers of any length have no float."""
    if isinstance(value, float) or abs(value) < 1e15:
        return f"{value}"
    return f"an integer of {value.bit_length()} bits"
