"""Rows that other programs computed, as a descriptor of structures that carry them.

A structure is an `ase.Atoms` with array ``features``; its positions do not matter. So a model of
any features is fitted, judged and stored by the same code as one of SOAP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.rows import CheckedRows, Rows
from rigidities.validation import as_atomic_number, as_count, as_floats, check_feature_space

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

KIND = "rows"
"""Kind of descriptor in the file of a model."""

FEATURES = "features"
"""Array of a structure that holds its rows."""

ENERGY, WEIGHT, LABEL = "energy", "weight", "label"
"""Entries of ``info`` of a structure that is made of rows."""

NO_ELEMENT = 0
"""Atomic number of rows whose species is unknown; ASE's symbol is X."""


@dataclass(frozen=True)
class GivenRows:
    """Descriptor of structures that carry their rows as array ``features``.

    Parameters
    ----------
    n_features : int
        Length of a row.
    species : tuple of int, default (0,)
        Atomic numbers of the species that the model may meet; 0 where they are unknown. The columns
        do not depend on them; a baseline does.
    space : str, default ""
        What the columns mean, if you want rows of other columns to be refused.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> from rigidities.model import LinearModel
    >>> from rigidities.structures.given import GivenRows, structures_of_rows
    >>> F = np.random.default_rng(0).normal(size=(60, 4))  # rows of 20 structures of 3 atoms
    >>> groups = np.repeat(np.arange(20), 3)
    >>> energies = F.reshape(20, 3, 4).sum(axis=1) @ [1.0, 2.0, 0.0, -1.0]
    >>> structures = structures_of_rows(rg.Rows(F, groups), energies)
    >>> loss = rg.Loss(energy=rg.Term(per_atom=True, target="energy"))
    >>> settings = {"baseline": None, "regularizer": 1e-6, "progress": False}
    >>> model = LinearModel.fit(structures, GivenRows(4), loss, **settings)
    >>> model.predict(structures[:2], forces=False, progress=False).energies.shape
    (2,)
    """

    n_features: int
    species: tuple[int, ...] = (NO_ELEMENT,)
    space: str = ""

    kind = KIND
    packages = ()

    def __post_init__(self) -> None:
        as_count(self.n_features, "n_features")
        check_feature_space(self.space)
        species = sorted({as_atomic_number(number, "a species") for number in self.species})
        object.__setattr__(self, "species", tuple(species))

    @property
    def feature_space(self) -> str:
        """Short name of the columns."""
        text = f"{self.n_features} {self.species} {self.space}"
        return f"rows-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def components(self, by: Literal["body_order", "species"] = "body_order") -> dict[str, NDArray[np.int64]]:
        """Raise: the meaning of the columns is unknown."""
        raise ValueError(f"rows as given have no components by {by}: pass the columns of each component yourself")

    def numbers(self, structure: Any, index: int) -> NDArray[np.int64]:
        """Return the atomic numbers of a structure that carries rows."""
        from ase import Atoms

        if not isinstance(structure, Atoms):
            raise TypeError(f"structure {index} is a {type(structure).__name__}: expected ase.Atoms")
        rows = structure.arrays.get(FEATURES)
        if rows is None:
            raise ValueError(f"structure {index} has no array {FEATURES!r}: this model takes rows as given")
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(
                f"structure {index} has features of shape {rows.shape}: expected (n_atoms, {self.n_features})"
            )
        if not len(rows):
            raise ValueError(f"structure {index} has no atoms: expected at least one row")
        return np.asarray(structure.numbers, dtype=np.int64)

    def atom_rows(self, batches: Iterable[Sequence[Any]]) -> Iterator[NDArray[np.float64]]:
        """Yield the rows of each batch."""
        for structures in batches:
            yield np.concatenate([_rows_of(structure) for structure in structures])

    def term_rows(
        self, batches: Iterable[Sequence[Any]], terms: Collection[str]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the sums of the rows of each structure; rows as given have no derivatives."""
        if set(terms) - {"energy"}:
            raise ValueError("rows as given have no derivatives: they give energies, neither forces nor virials")
        for structures in batches:
            yield {"energy": np.stack([_rows_of(structure).sum(axis=0)[None] for structure in structures])}

    def state(self) -> dict[str, Any]:
        """Return the settings, for files of models."""
        return {"n_features": self.n_features, "species": list(self.species), "space": self.space}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> GivenRows:
        """Return the descriptor of this state."""
        return cls(state["n_features"], tuple(state["species"]), state["space"])

    def describe(self) -> str:
        """Return a short description for reports."""
        return "rows as given" + (f" ({self.space})" if self.space else "")


def _rows_of(structure: Any) -> NDArray[np.float64]:
    return np.asarray(structure.arrays[FEATURES], dtype=np.float64)


def structures_of_rows(
    rows: Rows,
    energies: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    numbers: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
) -> list[Atoms]:
    """Return structures that carry rows, for `GivenRows`.

    Parameters
    ----------
    rows : Rows
        Groups are the labels of the structures, in any order. Without groups, each row is one.
    energies : array_like of shape (n_structures,), optional
        Total energies in eV, in the order of the sorted labels: info ``energy``.
    weights : array_like of shape (n_structures,), optional
        Weights of the structures in the same order: info ``weight``.
    numbers : array_like of int of shape (n_rows,), optional
        Atomic number of each row; 0 by default.
    labels : sequence of str, optional
        Names of the structures in the same order: info ``label``.

    Returns
    -------
    list of ase.Atoms
        In the order of the sorted labels, all atoms at the origin.

    Raises
    ------
    ValueError
        If lengths do not match.
    TypeError
        If rows or values are not numbers.
    """
    from ase import Atoms

    checked = CheckedRows.of(rows, None)
    groups = np.arange(len(checked.values)) if checked.groups is None else checked.groups
    order = np.argsort(groups, kind="stable")
    stops = np.flatnonzero(np.diff(groups[order])) + 1
    members = np.split(order, stops) if len(order) else []
    kinds = np.zeros(len(groups), dtype=np.int64) if numbers is None else np.asarray(numbers)
    _require_length(kinds, "numbers", len(groups), "row")
    info: dict[str, Any] = {}
    for name, values in ((ENERGY, energies), (WEIGHT, weights)):
        if values is not None:
            info[name] = as_floats(values, name, ndim=1, double=True)
    if labels is not None:
        info[LABEL] = np.asarray(labels)
    for name, values in info.items():
        _require_length(values, name, len(members), "structure")
    structures = []
    for index, chosen in enumerate(members):
        atoms = Atoms(numbers=kinds[chosen], positions=np.zeros((len(chosen), 3)))
        atoms.arrays[FEATURES] = checked.values[chosen]
        atoms.info = {name: values[index].item() for name, values in info.items()}
        structures.append(atoms)
    return structures


def _require_length(values: NDArray[Any], name: str, n: int, of: str) -> None:
    if len(values) != n:
        raise ValueError(f"{name} has {len(values)} entries but there are {n} {of}s: expected one per {of}")
