"""Energies per atom of structures, v, rigidities and fingerprints, from rows of their atoms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rigidities.model.training_set import fingerprints
from rigidities.rows import reduce_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian
    from rigidities.rows import Rows


class MeanEnergies(NamedTuple):
    """What rows of atoms say of each structure and atom.

    Attributes
    ----------
    values, variances : ndarray of shape (n_structures,)
        f̄ᵀθ and v of the mean row f̄.
    lpr : ndarray of shape (n_atoms,)
    fingerprints : ndarray of shape (n_structures, 5)
    deviations : ndarray of shape (n_structures, n_members)
        f̄ᵀ(θ_m − θ) of each member of an ensemble.
    """

    values: NDArray[np.float64]
    variances: NDArray[np.float64]
    lpr: NDArray[np.float64]
    fingerprints: NDArray[np.float64]
    deviations: NDArray[np.float64]


def mean_energies(
    batches: Iterable[Rows], hessian: Hessian, coef: NDArray[np.float64], deviations: NDArray[np.float64]
) -> MeanEnergies:
    """Return energies per atom of structures whose rows come batch by batch.

    Parameters
    ----------
    batches : iterable of Rows
        Of atoms; groups are structures.
    hessian : Hessian
    coef : ndarray of shape (n_features,)
    deviations : ndarray of shape (n_features, n_members)
        θ_m − θ.
    """
    parts = []
    for rows in batches:
        means = reduce_rows(rows)[1]
        of_structures = means @ coef, hessian.variance(means)
        parts.append((*of_structures, hessian.rigidity(rows.without_groups()), fingerprints(rows), means @ deviations))
    return MeanEnergies(*(np.concatenate(column) for column in zip(*parts, strict=True)))
