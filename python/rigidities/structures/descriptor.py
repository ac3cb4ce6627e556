"""The contract of a descriptor: the members that `LossRows` and `LinearModel` use.

`Soap` and `Lode` of `rigidities.interop.featomic` fulfil it, and `rigidities.structures.joined`
puts descriptors side by side. So can ACE or features of your own: write a class with these members
(it need not inherit), and pass it in place of a `Soap`. A descriptor must not depend on the batch:
a structure has the same rows beside any other structures, and the columns have the same meaning for
all structures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from rigidities.validation import as_floats

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray


@runtime_checkable
class Descriptor(Protocol):
    """Features of atoms, from which a linear model E = Σ_atoms fᵀθ is made. Immutable."""

    @property
    def kind(self) -> str:
        """Name of the kind of descriptor, stored in files of models: "soap" for `Soap`."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages whose versions a model stores, such as "featomic". Can be empty."""
        ...

    @property
    def n_features(self) -> int:
        """Length of a row."""
        ...

    @property
    def feature_space(self) -> str:
        """Short name of the columns: the same for the same settings and species, in any process."""
        ...

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of the species that have columns, rising."""
        ...

    def components(self, by: Literal["body_order", "species"] = "body_order") -> dict[str, NDArray[np.int64]]:
        """Return the columns of each component by name; ValueError if `by` is not supported."""
        ...

    def numbers(self, structure: Any, index: int) -> NDArray[np.int64]:
        """Return the atomic numbers of a structure; `index` names it in messages.

        TypeError if it is not a structure, ValueError if it has no atoms. Species without columns
        are no error here.
        """
        ...

    def atom_rows(self, batches: Iterable[Sequence[Any]]) -> Iterator[NDArray[np.float64]]:
        """Yield the rows of all atoms of each batch, of shape (n_atoms, n_features)."""
        ...

    def term_rows(
        self, batches: Iterable[Sequence[Any]], terms: Collection[str]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the rows of these terms of a loss for each batch; the caller may overwrite them.

        "energy": Σ_atoms f of each structure, of shape (n_structures, 1, n_features). "forces":
        −∂(Σ f)/∂R of each atom, (n_atoms, 3, n_features). "virial": −∂(Σ f)/∂ε of each structure in
        ASE's Voigt order xx, yy, zz, yz, xz, xy, (n_structures, 6, n_features).
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return the settings of the descriptor for files of models.

        They are values of JSON, and arrays of float64 in one dimension.
        """
        ...

    def describe(self) -> str:
        """Return a short description for reports, e.g. "SOAP: cutoff 5 Å, body orders 3"."""
        ...


def batches_of(rows: Iterable[Any], n_batches: int) -> Iterator[Any]:
    """Yield what a descriptor yields for so many batches; ValueError if it yields more or less."""
    found = 0
    for found, batch in enumerate(rows, 1):
        if found > n_batches:
            break
        yield batch
    if found != n_batches:
        more = "more" if found > n_batches else f"{found}"
        raise ValueError(f"the descriptor gave rows of {more} batches: expected {n_batches}")


def checked_rows(values: Any, what: str, expected: tuple[int, ...]) -> NDArray[np.float64]:
    """Return rows of a descriptor as floats to overwrite; ValueError for another shape."""
    array = np.asarray(values)
    if array.shape != expected:
        raise ValueError(f"the descriptor gave rows of {what} of shape {array.shape}: expected {expected}")
    rows = as_floats(array, f"rows of {what}", ndim=array.ndim)
    return rows if rows.flags.writeable else rows.copy()


def row_shape(term: str, sizes: NDArray[np.int64]) -> tuple[int, int]:
    """Return the number of structures or atoms that have rows of a term, and of components."""
    if term == "forces":
        return int(sizes.sum()), 3
    return len(sizes), {"energy": 1, "virial": 6}[term]
