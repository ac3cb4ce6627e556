"""Errors of a model, term by term, added up as rows come.

What enters: residuals batch by batch, and variances where they are known. What leaves: for each term the number of
targets, their error, and the scale that turns variances into standard deviations. Energies and virials count per atom
(eV/atom), whatever the habit of the loss; force components in eV/Å.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.loss.rows import TermRows


@dataclass(frozen=True)
class Errors:
    """Errors of one term: of energies and virials in eV per atom, of force components in eV/Å.

    Attributes
    ----------
    n : int
        Number of targets.
    rmse, mae : float
        Root of the mean square and mean of the absolute value, every target counting the same; NaN if there is none.
    """

    n: int
    rmse: float
    mae: float


@dataclass(eq=False)
class Tally:
    """Sums over the residuals of one term."""

    n: int = 0
    squares: float = 0.0
    absolutes: float = 0.0
    variances: float = 0.0

    def add(self, residuals: NDArray[np.float64], variances: NDArray[np.float64] | None = None) -> None:
        """Add residuals, and the variances of their predictions."""
        self.n += len(residuals)
        self.squares += float(residuals @ residuals)
        self.absolutes += float(np.abs(residuals).sum())
        if variances is not None:
            self.variances += float(variances.sum())

    def errors(self) -> Errors:
        """Return the errors of all that was added."""
        n = self.n or math.nan
        return Errors(self.n, math.sqrt(self.squares / n), self.absolutes / n)

    def scale(self) -> float:
        """√(Σr²/Σv): with it the mean of σ² = scale²·v is the mean squared error. NaN without variances.

        Not √(mean(r²/v)), the maximum of the likelihood: the force on an atom that symmetry holds has v = 0 to
        rounding, and one such row would make the scale infinite.
        """
        return math.sqrt(self.squares / self.variances) if self.variances > 0 else math.nan


def per_atom(name: str, rows: TermRows, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what residuals of these rows are multiplied by to be per atom; 1 for forces and for what is so already.

    `sizes` are the numbers of atoms of all structures, which ``rows.blocks`` count.
    """
    if name == "forces" or rows.term.per_atom:
        return np.ones(len(rows))
    assert rows.blocks is not None  # LossRows labels its rows
    return np.asarray(1 / sizes[rows.blocks])
