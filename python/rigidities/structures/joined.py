"""`Joined`: descriptors side by side, each with the columns of a part of the model.

A model of SOAP and LODE has a short- and a long-range part. Its components are the parts, so their
rigidities (CPR, LCPR) and the prior's share of them can be asked. A part is any `Descriptor`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.structures.descriptor import Descriptor, checked_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND = "joined"
"""Kind of descriptor in the file of a model."""


@dataclass(frozen=True, init=False, repr=False)
class Joined:
    """Descriptors side by side: rows are the rows of the parts, one after the other. Immutable.

    Parameters
    ----------
    parts : mapping of str to Descriptor
        Two or more descriptors of the same species, by the name of the part, such as "short range"
        and "long range". Columns are in this order.

    Attributes
    ----------
    names : tuple of str
    descriptors : tuple of Descriptor

    Raises
    ------
    ValueError
        If there are fewer than two parts, a name is empty, a part is joined itself, or species
        differ.
    TypeError
        If a part is not a `Descriptor`.

    Examples
    --------
    >>> from rigidities.interop.featomic import Lode, Soap
    >>> from rigidities.structures.joined import Joined
    >>> soap = Soap(["Na", "Cl"], cutoff=5.0, body_orders=(2,))
    >>> both = Joined({"short range": soap, "long range": Lode(soap.species, inner_cutoff=5.0)})
    >>> {name: len(columns) for name, columns in both.components().items()}
    {'short range': 32, 'long range': 3}
    """

    names: tuple[str, ...]
    descriptors: tuple[Descriptor, ...]

    kind = KIND

    def __init__(self, parts: Mapping[str, Descriptor]) -> None:
        if not isinstance(parts, Mapping):
            raise TypeError(f"parts is a {type(parts).__name__}: expected a mapping from names to descriptors")
        if len(parts) < 2:
            raise ValueError(f"{len(parts)} part is given: expected two or more descriptors to join")
        for name, part in parts.items():
            if not isinstance(name, str):
                raise TypeError(f"a part is named {name!r}: expected a text")
            if not name.strip():
                raise ValueError("a part has an empty name: expected e.g. 'short range'")
            if not isinstance(part, Descriptor):
                raise TypeError(f"part {name!r} is a {type(part).__name__}: expected a Descriptor, e.g. a Soap")
            if part.kind == KIND:
                raise ValueError(f"part {name!r} is joined itself: expected its parts, each with a name")
        # a frozen dataclass cannot set its fields in another way
        object.__setattr__(self, "names", tuple(parts))
        object.__setattr__(self, "descriptors", tuple(parts.values()))
        first = self.descriptors[0]
        for name, part in parts.items():
            if tuple(part.species) != tuple(first.species):
                from rigidities.structures.species import symbols

                raise ValueError(
                    f"part {name!r} has the species {symbols(part.species)}, but {self.names[0]!r} "
                    f"{symbols(first.species)}: expected the same"
                )

    def __repr__(self) -> str:
        parts = ", ".join(f"{name!r}: {part!r}" for name, part in self.parts.items())
        return f"Joined({{{parts}}})"

    @property
    def parts(self) -> dict[str, Descriptor]:
        """The descriptors by name; a new dictionary each time."""
        return dict(zip(self.names, self.descriptors, strict=True))

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages of all parts, each once."""
        return tuple(dict.fromkeys(name for part in self.descriptors for name in part.packages))

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of the species that have columns, rising."""
        return self.descriptors[0].species

    @property
    def n_features(self) -> int:
        """Length of a row."""
        return sum(part.n_features for part in self.descriptors)

    @property
    def feature_space(self) -> str:
        """Short name of the columns: the same for the same parts, in any process."""
        text = json.dumps([[name, part.feature_space] for name, part in self.parts.items()])
        return f"joined-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def components(self, by: Literal["part", "body_order", "species"] = "part") -> dict[str, NDArray[np.int64]]:
        """Return the columns of each component, as `Hessian.component_rigidity` takes them.

        Parameters
        ----------
        by : {"part", "body_order", "species"}
            The parts, named as they are; the body orders of each, named "short range 3-body"; or
            the species of the central atom, each with its columns of all parts.

        Returns
        -------
        dict of str to ndarray of shape (n_columns,)
            Indices of columns, rising. Each column belongs to one component.

        Raises
        ------
        ValueError
            If a part has no components of this kind.
        """
        if by not in ("part", "body_order", "species"):
            raise ValueError(f"by is {by!r}: expected 'part', 'body_order' or 'species'")
        found: dict[str, list[NDArray[np.int64]]] = {}
        for name, part, columns in zip(self.names, self.descriptors, self._columns(), strict=True):
            if by == "part":
                found[name] = [columns]
                continue
            for component, own in part.components(by).items():
                found.setdefault(component if by == "species" else f"{name} {component}", []).append(columns[own])
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _columns(self) -> list[NDArray[np.int64]]:
        stops = np.cumsum([part.n_features for part in self.descriptors])
        return np.split(np.arange(self.n_features, dtype=np.int64), stops[:-1])

    def numbers(self, structure: Any, index: int) -> NDArray[np.int64]:
        """Return the atomic numbers of a structure; raise if one of the parts refuses it."""
        found = [part.numbers(structure, index) for part in self.descriptors]
        return found[0]

    def atom_rows(self, batches: Iterable[Sequence[Any]]) -> Iterator[NDArray[np.float64]]:
        """Yield the rows of all atoms of each batch, of shape (n_atoms, n_features)."""
        copies = tee(batches, len(self.names))
        streams = [part.atom_rows(copy) for part, copy in zip(self.descriptors, copies, strict=True)]
        for rows in zip(*streams, strict=True):
            yield self._side_by_side(rows, "atoms")

    def term_rows(
        self, batches: Iterable[Sequence[Any]], terms: Collection[str]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the rows of these terms of a loss for each batch, as in `Descriptor`."""
        copies = tee(batches, len(self.names))
        streams = [part.term_rows(copy, terms) for part, copy in zip(self.descriptors, copies, strict=True)]
        for rows in zip(*streams, strict=True):
            yield {name: self._side_by_side([one[name] for one in rows], name) for name in terms}

    def _side_by_side(self, rows: Sequence[NDArray[np.float64]], what: str) -> NDArray[np.float64]:
        shape = rows[0].shape[:-1]
        checked = [
            checked_rows(values, f"{what} of part {name!r}", (*shape, part.n_features))
            for values, (name, part) in zip(rows, self.parts.items(), strict=True)
        ]
        return np.concatenate(checked, axis=-1)

    # Files ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return names and states of the parts. Their arrays are named after the part's place."""
        states = [part.state() for part in self.descriptors]
        arrays = {
            f"{place}.{name}": state.pop(name)
            for place, state in enumerate(states)
            for name in [key for key, value in state.items() if isinstance(value, np.ndarray)]
        }
        named = [
            state | {"kind": part.kind, "feature_space": part.feature_space}
            for state, part in zip(states, self.descriptors, strict=True)
        ]
        return {"names": list(self.names), "parts": named} | arrays

    def describe(self) -> str:
        """Return names and descriptions of the parts."""
        return "; ".join(f"{name}: {part.describe()}" for name, part in self.parts.items())


def part_states(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the states of the parts, each with its arrays, from the state of a `Joined`."""
    parts: list[dict[str, Any]] = []
    for place, part in enumerate(state["parts"]):
        own = {name: value for name, value in state.items() if name.startswith(f"{place}.")}
        parts.append(dict(part) | {name.removeprefix(f"{place}."): value for name, value in own.items()})
    return parts
