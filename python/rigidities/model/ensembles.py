"""Energies of an ensemble of fits around the parameters of a model, the same for all structures.

    E_m = E + n f̄ᵀ(θ_m − θ),    θ_m from N(θ, scale²·H⁻¹),

with f̄ the mean row of a structure of n atoms. σ of two energies says nothing of σ of their
difference, energies of members do: over the members, the covariance of E and E' tends to
scale² n n' f̄ᵀH⁻¹f̄', because each member is one fit for all structures.

Members have the spread that the parameters leave open, scale·√v. The noise of σ, which differs from
one structure to the next whatever the parameters are, and the factor of a kind are not in it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, AdvisedValueError
from rigidities.runtime import memory
from rigidities.validation import as_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.calibration.scale import Calibration
    from rigidities.factor import Factor

BYTES_OF_NUMBER, BYTES_OF_TEXT = 24, 60
"""Bytes of an energy: of a result and two temporary arrays, and of three copies of its text."""


def check_ensemble(
    hessian: Factor, calibration: Calibration, n_members: int, n_structures: int, *, written: bool = False
) -> int:
    """Return a number of members that can be drawn.

    Parameters
    ----------
    hessian : Factor
    calibration : Calibration
        Of the energies.
    n_members : int
    n_structures : int
        Structures whose energies are wanted.
    written : bool, default False
        Whether the energies are written as text, too.

    Raises
    ------
    ValueError, TypeError
        If there are fewer than two members, or the calibration has no scale.
    MemoryError
        If members and energies do not fit in memory.
    """
    n = as_count(n_members, "ensemble")
    if n < 2:
        raise ValueError("ensemble is 1: expected 2 or more members, whose spread is an error")
    if math.isnan(calibration.scale):
        raise AdvisedValueError(
            "the model has no scale: no structures that are left out determine one, and members of an ensemble have "
            "no spread without it",
            Advice.MORE_STRUCTURES,
        )
    each = BYTES_OF_NUMBER + BYTES_OF_TEXT * written
    needed = n * (24 * hessian.n_features + each * n_structures)
    memory.require(needed, f"an ensemble of {n} members", Advice.FEWER_MEMBERS)
    return n


def draw_members(
    hessian: Factor,
    calibration: Calibration,
    n_members: int | None,
    random_state: int | np.random.Generator | None,
    n_structures: int,
) -> NDArray[np.float64]:
    """Draw members of an ensemble, or none if `n_members` is None.

    Returns
    -------
    ndarray of shape (n_features, n_members)
        θ_m − θ as columns, whose mean is 0.
    """
    if n_members is None:
        if random_state is not None:
            raise TypeError("random_state is for an ensemble: pass ensemble, too, the number of its members")
        return np.empty((hessian.n_features, 0))
    n = check_ensemble(hessian, calibration, n_members, n_structures)
    members = hessian.sample(n, scale=calibration.scale, random_state=random_state)
    members -= members.mean(axis=0)  # of θ, too: the Hessian of a Huber loss has none
    return members.T


def energies_of(
    energies: NDArray[np.float64],
    sizes: NDArray[np.int64],
    deviations: NDArray[np.float64],
    arbitrary: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return energies of members, (n_structures, n_members); NaN where the baseline is arbitrary.

    Parameters
    ----------
    energies : ndarray of shape (n_structures,)
        Of the model.
    sizes : ndarray of shape (n_structures,)
        Numbers of atoms n.
    deviations : ndarray of shape (n_structures, n_members)
        f̄ᵀ(θ_m − θ).
    arbitrary : ndarray of bool of shape (n_structures,)
        Structures whose σ is infinite: no finite spread is true of them.
    """
    found = energies[:, None] + sizes[:, None] * deviations
    found[arbitrary] = np.nan
    return found
