"""The states of sums and factors in files and pickles: every entry by name, and what it may be.

An entry that is absent, unknown or out of range is an error that names it: nothing has a default.
What states of version 1 lacked is listed here, and filled in. The compiled core compares the
lengths of the arrays, and refuses entries that are not finite.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rigidities.reason import Reason, jitter_of_text

VERSION = 2
"""Version of the states, raised when an older reader could misread them. Version 1 had no
checksums, and did not name the kind of the penalty."""

_LARGEST = sys.float_info.max

_LARGEST_COUNT = 2**53

_ROUNDING, _TINY = 1e-9, 1e-161
"""More than rounding does to the root of an entry of H, as a share of it or close to 0."""

Check = Callable[[Any, str], None]
"""Raises a `ValueError` unless a value may have this name."""


def entries(checks: Mapping[str, Check]) -> Check:
    """Return a check for a dictionary with exactly these names, each with its check."""

    def check_entries(value: Any, name: str) -> None:
        mapping(value, name)
        for missing in checks.keys() - value.keys():
            raise ValueError(f"{_within(name, missing)} is missing")
        for unknown in value.keys() - checks.keys():
            raise ValueError(f"{_within(name, unknown)} is not known: expected {', '.join(checks)}")
        for key, check_entry in checks.items():
            check_entry(value[key], _within(name, key))

    return check_entries


def each(check_entry: Check, names: Sequence[str] | None = None) -> Check:
    """Return a check for a dictionary of entries of one kind, with some of these names or any."""

    def check_each(value: Any, name: str) -> None:
        mapping(value, name)
        for key, entry in value.items():
            if names is not None and key not in names:
                raise ValueError(f"{_within(name, key)} is not known: expected some of {', '.join(names)}")
            check_entry(entry, _within(name, key))

    return check_each


def listed(check_entry: Check) -> Check:
    """Return a check for a list of entries of one kind, at least one."""

    def check_list(value: Any, name: str) -> None:
        if not (isinstance(value, list) and value):
            _refuse(name, value, "a list with an entry")
        for index, entry in enumerate(value):
            check_entry(entry, f"{name}[{index}]")

    return check_list


def mapping(value: Any, name: str) -> None:
    """Raise unless the value is a dictionary."""
    if not isinstance(value, Mapping):
        _refuse(name or "the state", value, "names with values")


def _within(name: str, key: str) -> str:
    return f"{name}.{key}" if name else f"{key}"


def _refuse(name: str, value: Any, expected: str) -> None:
    shown = repr(value)
    raise ValueError(f"{name} is {shown if len(shown) < 80 else f'{shown[:76]} …'}: expected {expected}")


# What entries may be ------------------------------------------------------------------------------


def number(least: float = -_LARGEST, below: float = math.inf) -> Check:
    """Return a check for finite numbers from `least`, and below a limit."""
    expected = "a finite number" + f" from {least:g}" * (least > -_LARGEST) + f" below {below:g}" * (below < math.inf)

    def check_number(value: Any, name: str) -> None:
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not (known and least <= value <= _LARGEST and value < below):
            _refuse(name, value, expected)

    return check_number


def count(least: int = 0) -> Check:
    """Return a check for integers from `least`."""

    def check_count(value: Any, name: str) -> None:
        if type(value) is not int or not least <= value <= _LARGEST_COUNT:
            _refuse(name, value, f"an integer from {least}")

    return check_count


def one_of(*values: str) -> Check:
    """Return a check for one of these words."""

    def check_word(value: Any, name: str) -> None:
        if not (isinstance(value, str) and value in values):
            _refuse(name, value, ", ".join(values))

    return check_word


def optional(check_value: Check) -> Check:
    """Return a check that lets None pass."""

    def check_optional(value: Any, name: str) -> None:
        if value is not None:
            check_value(value, name)

    return check_optional


def known_version(value: Any, name: str) -> None:
    """Raise unless the version is one that this package reads."""
    count(1)(value, name)
    if value > VERSION:
        raise ValueError(f"{name} is {value}, this rigidities reads up to {VERSION}: upgrade it")


def text(value: Any, name: str) -> None:
    """Raise unless the value is a text."""
    if not isinstance(value, str):
        _refuse(name, value, "a text")


def flag(value: Any, name: str) -> None:
    """Raise unless the value is true or false."""
    if not isinstance(value, bool):
        _refuse(name, value, "true or false")


def vector(value: Any, name: str) -> None:
    """Raise unless the value is an array of float64 with one dimension."""
    if not (isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 1):
        _refuse(name, value, "an array of float64 with one dimension")


def squares(value: Any, name: str) -> None:
    """Raise unless the value is an array of numbers from 0."""
    vector(value, name)
    if not (value >= 0).all():
        _refuse(name, value, "numbers from 0")


# The states ---------------------------------------------------------------------------------------

IN_COLUMN = "targets_in_column"
"""Entry of a state: whether targets of one output came as (n, 1). Written only if they did."""

ACCUMULATION = "accumulation"
"""Entry of a state, "qr": the triangular factor of the rows is kept. `lower` is then Rᵀ, `cross` is
z with b = Rᵀz, and there are the `unexplained` squares Σ w y² − ‖z‖² of each output. Sums have
neither entry."""

_OF_FACTOR = (ACCUMULATION, "unexplained")

_MOMENTS: dict[str, Check] = {
    IN_COLUMN: flag,
    "version": known_version,
    "feature_space": optional(text),
    "n_features": count(1),
    "n_rows": count(),
    "log_weight": number(),
    "cross": vector,
    "squares": squares,
    "lower": vector,
}

_PRECISION = one_of("float64", "float32")

_COVARIANCE = _MOMENTS | {
    "precision": _PRECISION,
    "least_precision": _PRECISION,
    "decided": flag,
    "waiting_rows": vector,
    "waiting_targets": vector,
}

_PENALTIES: dict[str, dict[str, Check]] = {
    "identity": {},
    "diagonal": {"penalty_diagonal": vector},
    "matrix": {"penalty_lower": vector, "penalty_eps": number(0.0, 1.0)},
}

_HESSIAN = _MOMENTS | {
    "regularizer": number(0.0),
    "reason": one_of(*(reason.value for reason in Reason)),
    "jitter": number(0.0),
    "penalty": one_of(*_PENALTIES),
    "penalty_jitter": number(0.0),
}


INNER = "inner."
"""How the entries of the factor in a span of rows begin."""

_SPAN: dict[str, Check] = {
    IN_COLUMN: flag,
    "version": known_version,
    "feature_space": optional(text),
    "n_features": count(1),
    "penalty": one_of(*_PENALTIES),
    "root": vector,
    "span": vector,
    "norm": number(0.0),
}


def covariance_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a `Covariance` in the present version; raise if it is not one."""
    state = {"version": 1, IN_COLUMN: False} | dict(state)
    entries(_COVARIANCE | _of_factor(state))(state, "")
    return state


def _of_factor(state: Mapping[str, Any]) -> dict[str, Check]:
    """Return the checks of what only a factor of the rows has."""
    checks = dict(zip(_OF_FACTOR, (one_of("qr"), squares), strict=True))
    return checks if any(name in state for name in _OF_FACTOR) else {}


def hessian_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a `Hessian` in the present version; raise if it is not one."""
    state = {"version": 1, IN_COLUMN: False} | dict(state)
    if "span" in state:
        _check_span(state)
        return state
    if state["version"] == 1:
        state = _completed(state)
    kind = state.get("penalty")
    entries(_HESSIAN | _of_factor(state) | (_PENALTIES.get(kind, {}) if isinstance(kind, str) else {}))(state, "")
    return state


def _check_span(state: Mapping[str, Any]) -> None:
    """Raise unless this is the state of a Hessian in the span of its rows."""
    inner = {name.removeprefix(INNER): value for name, value in state.items() if name.startswith(INNER)}
    entries(_SPAN)({name: value for name, value in state.items() if not name.startswith(INNER)}, "")
    hessian_state({"version": state["version"], "feature_space": None, "penalty": "identity"} | inner)


def check_regularizer(state: Mapping[str, Any]) -> None:
    """Raise if λΛ adds more to the first diagonal entry of H = LLᵀ than it is, although C_00 ≥ 0.

    The state is that of a Hessian, and its arrays have the right lengths. Roots are compared, which
    float64 can always hold.
    """
    if "span" in state:
        state = {name.removeprefix(INNER): value for name, value in state.items()} | {"penalty": "identity"}
    regularizer, jitter = float(state["regularizer"]), float(state["jitter"])
    array = {"diagonal": "penalty_diagonal", "matrix": "penalty_lower"}.get(state["penalty"])
    penalty = 1.0 if array is None else float(state[array][0])
    added, root = regularizer * (penalty + jitter), float(state["lower"][0])
    if not math.sqrt(added) <= (1 + _ROUNDING) * root + _TINY:
        raise ValueError(
            f"regularizer is {regularizer:g} and jitter {jitter:g}: they add {added:g} to a diagonal entry of H, whose "
            f"root is {root:g}"
        )


def penalty_kind(state: Mapping[str, Any]) -> str:
    """Return the kind of the penalty of which a state has the arrays."""
    return "diagonal" if "penalty_diagonal" in state else "matrix" if "penalty_lower" in state else "identity"


def _completed(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a Hessian of version 1 with what it may lack.

    Until 0.1.0 it gave the reason of λ in words beside the core's, and these alone said whether
    there was jitter on the diagonal of the penalty.
    """
    words = state.pop("chosen_because", None)
    jitter = 0.0
    if words is not None:
        text(words, "chosen_because")
        jitter = 0.0 if state.get("jitter") else jitter_of_text(words)
        state["reason"] = Reason.of_text(words).value
    return {"penalty_jitter": jitter, "penalty": penalty_kind(state)} | state
