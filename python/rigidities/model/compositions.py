"""Compositions whose energy the baseline of a fit does not determine.

A baseline that was fitted to CO₂ alone has one energy for two species. CO₂ itself is predicted
well, CO is not: its energy depends on how the fit split that of CO₂.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, UndeterminedWarning, warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.loss.baseline import Baseline

NAMED = 10
"""Structures that a warning names."""


def warn_of_fit(baseline: Baseline | None) -> None:
    """Warn if a fit leaves energies of species open."""
    if baseline is not None and baseline.undetermined:
        from rigidities.structures.species import symbols

        warn(
            UndeterminedWarning,
            f"the compositions of the training structures do not determine the energies of "
            f"{symbols(baseline.open_species)} apart: energies of structures of other compositions are arbitrary",
            Advice.OTHER_COMPOSITIONS,
        )


def undetermined(baseline: Baseline | None, numbers: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Return which structures have a composition that the baseline leaves open; warn of them.

    Parameters
    ----------
    baseline : Baseline, optional
    numbers : sequence of ndarray of int
        Atomic numbers of each structure.

    Returns
    -------
    ndarray of bool of shape (n_structures,)
    """
    if baseline is None or not baseline.undetermined:
        return np.zeros(len(numbers), dtype=bool)
    found = np.array([not baseline.determines(entry) for entry in numbers], dtype=bool)
    if found.any():
        from rigidities.structures.species import symbols

        which = np.flatnonzero(found)
        named = ", ".join(map(str, which[:NAMED])) + (", …" if len(which) > NAMED else "")
        warn(
            UndeterminedWarning,
            f"the compositions of {len(which)} of {len(found)} structures, number {named}, are outside those of the "
            f"fit, which does not determine the energies of {symbols(baseline.open_species)} apart: their energies are "
            "arbitrary, and σ of them is infinite",
            Advice.OTHER_COMPOSITIONS,
        )
    return found


def baseline_energies(baseline: Baseline | None, numbers: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return the baseline's energy of each structure in eV, (n_structures,); 0 without one."""
    return np.array([0.0 if baseline is None else baseline.energy(entry) for entry in numbers])
