"""Structures whose atoms have rows of a descriptor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import blame
from rigidities.rows import Rows
from rigidities.sources.source import Components, Description, Source
from rigidities.structures.joined import Joined

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.interop.featomic import Soap
    from rigidities.interop.featomic.kernel import KernelRows
    from rigidities.structures.descriptor import Descriptor


@dataclass(frozen=True, eq=False)
class Structures(Source):
    """Structures whose atoms have rows of SOAP or kernels on it, alone or with others side by side.

    Rows are computed again in each pass.

    Parameters
    ----------
    name : str
        Where the structures come from. Messages and summaries use it.
    frames : list of ase.Atoms
    soap : Soap, KernelRows, or a Joined that has one of them
        The descriptor, with the species of the training set.
    progress : bool
        Show a progress bar on stderr.
    """

    name: str
    frames: list[Atoms]
    soap: Any
    progress: bool = False

    packages = "ase", "featomic"

    @property
    def n_features(self) -> int:
        """Length of a row."""
        return int(self.soap.n_features)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of atoms of each structure."""
        return np.array([len(frame) for frame in self.frames], dtype=np.int64)

    @property
    def cutoff(self) -> float:
        """Radius of an atom's neighbourhood in Å."""
        return float(max(part.cutoff for part in soaps_of(self.soap)))

    def batches(self) -> Iterator[Rows]:
        """Yield the rows of all atoms, some structures at a time."""
        with blame(self.name):
            yield from _rows(self.frames, self.soap, self.progress)

    def sample(self, n_atoms: int) -> NDArray[np.float64]:
        """Return rows of about `n_atoms` atoms, all those of evenly spread structures."""
        step = max(1, math.ceil(self.sizes.sum() / n_atoms))
        # an error names a structure by its index among those computed here: the slice
        with blame(self.name if step == 1 else f"{self.name}@::{step}"):
            values = np.concatenate([rows.values for rows in _rows(self.frames[::step], self.soap, False)])
        return values[:: math.ceil(len(values) / n_atoms)]

    def describe(self) -> Description:
        """Describe the columns by the settings of SOAP, of kernels on it, and of what is joined."""
        return Description(f"{self.n_features} of {self.soap.describe()}", _settings(self.soap))

    def components(self) -> Components:
        """Return joined parts; or else body orders, for structures also species of central atoms.

        The row of an atom is zero in the columns of other species of the centre: its component by
        species would repeat its LPR.
        """
        if isinstance(self.soap, Joined):
            parts = self.soap.components("part")
            return Components(parts, parts)
        orders, species = self.soap.components("body_order"), self.soap.components("species")
        orders = orders if len(orders) > 1 else {}
        return Components(orders, orders | (species if len(species) > 1 else {}))


def soaps_of(descriptor: Descriptor) -> list[Soap | KernelRows]:
    """Return what there is of SOAP, or of kernels on it, in a descriptor; often itself."""
    from rigidities.interop.featomic import Soap
    from rigidities.interop.featomic.kernel import KernelRows

    parts = descriptor.descriptors if isinstance(descriptor, Joined) else (descriptor,)
    return [part for part in parts if isinstance(part, Soap | KernelRows)]


def _settings(descriptor: Any) -> dict[str, Any]:
    """Return the settings of a descriptor for the summary of a report."""
    from rigidities.interop.featomic import Soap

    common = {"n_features": descriptor.n_features, "feature_space": descriptor.feature_space}
    if isinstance(descriptor, Joined):
        parts = {name: _settings(part) for name, part in descriptor.parts.items()}
        return {"kind": "descriptors side by side", **common, "species": list(descriptor.species), "parts": parts}
    if not soaps_of(descriptor):
        return {"kind": descriptor.describe(), **common, **descriptor.state()}
    kernel = {}
    soap = descriptor if isinstance(descriptor, Soap) else descriptor.soap
    if not isinstance(descriptor, Soap):
        kernel = {"kernel": {"zeta": descriptor.zeta, "n_points": descriptor.n_points}}
    return kernel | {
        "kind": "SOAP, computed by featomic",
        **common,
        "species": list(soap.species),
        "body_orders": list(soap.body_orders),
        "hyperparameters": soap.hyperparameters,
        "compact": soap.compact,
        "purified": soap.purified,
        "pseudo_species": None if soap.mixing is None else [list(shares) for shares in soap.mixing],
    }


def _rows(frames: list[Atoms], descriptor: Descriptor, progress: bool) -> Iterator[Rows]:
    """Yield the rows of the atoms of structures, some structures at a time."""
    from rigidities.interop.featomic import Soap, iter_soap_rows
    from rigidities.model.atom_rows import iter_atom_rows

    if isinstance(descriptor, Soap):
        return iter_soap_rows(frames, descriptor, progress=progress)
    sizes = np.array([len(frame) for frame in frames], dtype=np.int64)
    return iter_atom_rows(frames, sizes, descriptor, progress)
