"""Names of labels that a structure carries, for the message where the expected name is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from rigidities.exceptions import Entries

Kind = Literal["energy", "forces", "virial", "weight"]

_WORDS = {
    "energy": ("energ", "toten", "etot"),
    "forces": ("force",),
    "virial": ("virial", "stress"),
    "weight": ("weight",),
}
"""Parts of names by which labels of a kind are known."""

_ALONE = {"energy": {"e", "e0", "u", "u0"}, "forces": {"f"}, "virial": {"v", "w", "s"}, "weight": {"w"}}
"""Short names that are no part of others."""

_SELDOM = ("weight", "std", "sigma", "error", "kinetic", "per_atom", "peratom")
"""Parts of names of quantities that are only related to a label."""

_GEOMETRY = {"positions", "momenta", "velocities", "pos"}

SHOWN = 5
"""Most names of a kind in a message."""


def label_names(atoms: Any, results: Mapping[str, Any], kind: Kind, wanted: str | None) -> list[str]:
    """Return names of entries that look like labels of this kind, the likeliest first.

    Parameters
    ----------
    atoms : ase.Atoms
    results : mapping of str to result
        What a calculator attached.
    kind : {"energy", "forces", "virial", "weight"}
    wanted : str or None
        The name that was asked for; names close to it come first.

    Returns
    -------
    list of str
        At most `SHOWN`.
    """
    entries = {**results, **(atoms.arrays if kind == "forces" else atoms.info)}
    names = [name for name, value in entries.items() if isinstance(name, str) and _fits(value, kind, len(atoms))]
    names = [name for name in names if name not in _GEOMETRY]
    known = sorted((name for name in names if _sounds(name, kind)), key=lambda name: _is_related(name, kind))
    return list(dict.fromkeys([*_close(wanted, names), *known]))[:SHOWN]


def other_names(atoms: Any, kind: Kind) -> list[str]:
    """Return names of entries that have the shape of labels of this kind, whatever their name."""
    entries = atoms.arrays if kind == "forces" else atoms.info
    names = [name for name, value in entries.items() if isinstance(name, str) and _fits(value, kind, len(atoms))]
    return [name for name in names if name not in _GEOMETRY][:SHOWN]


def as_entries(names: Mapping[str, str]) -> Entries:
    """Return these names, by the term that they belong to, as an advice takes them."""
    fields = {
        term: "stress" if term == "virial" and "stress" in name.lower() else "target" for term, name in names.items()
    }
    return Entries(
        {"term": term, "name": name, "field": fields[term], "kind": "stress" if fields[term] == "stress" else term}
        for term, name in names.items()
    )


def _sounds(name: str, kind: Kind) -> bool:
    lower = name.lower()
    return lower in _ALONE[kind] or any(word in lower for word in _WORDS[kind])


def _is_related(name: str, kind: Kind) -> bool:
    return kind != "weight" and any(word in name.lower() for word in _SELDOM)


def _close(wanted: str | None, names: Iterable[str]) -> list[str]:
    """Return the names that a misspelt one may mean; upper and lower case count alike."""
    if wanted is None:
        return []
    by_lower = {name.lower(): name for name in names}
    return [by_lower[match] for match in get_close_matches(wanted.lower(), by_lower, cutoff=0.7)]


def _fits(value: Any, kind: Kind, n_atoms: int) -> bool:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        return False
    if array.dtype.kind not in "iuf":
        return False
    if kind == "forces":
        return array.shape == (n_atoms, 3)
    return array.shape in (((6,), (9,), (3, 3)) if kind == "virial" else ((), (1,)))
