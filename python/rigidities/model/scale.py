"""The scale of σ, from training structures that are left out, where they determine one.

σ = scale·√v with scale² = Σr²/Σv, r the residual and v the variance of a target in the fit without
its structure. Where the residuals, or the rows of features that v is made of, are rounding, the
ratio is no scale. It is NaN then, with a warning: a σ of 0 would claim that a prediction is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, IllConditionedWarning, warn
from rigidities.model.errors import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_STRUCTURES = 2
"""Structures with a residual that a scale needs. One has no error but that of an empty fit."""

ROUNDING = 1e4 * float(np.finfo(np.float64).eps)
"""What is smaller than this, relative to the numbers that it is a difference of, is rounding: sums
over some thousand features and neighbours lose four digits at most."""

PLURAL = {"energy": "energies", "forces": "forces", "virial": "virials"}


@dataclass(eq=False)
class LeftOut(Tally):
    """Sums over the targets of a term, each in the fit without its structure.

    Attributes
    ----------
    variances : float
        Σv.
    magnitudes : float
        Σm², with m the size of the numbers that a residual is the difference of.
    norms : float
        Σ|f|², with f the row of a target.
    structures : set of int
        Structures that have a residual.
    """

    variances: float = 0.0
    magnitudes: float = 0.0
    norms: float = 0.0
    structures: set[int] = field(default_factory=set)

    def add_targets(
        self,
        residuals: NDArray[np.float64],
        variances: NDArray[np.float64],
        magnitudes: NDArray[np.float64],
        norms: NDArray[np.float64],
        structures: NDArray[np.int64],
    ) -> None:
        """Add targets; those without a variance are skipped."""
        known = np.isfinite(variances)
        self.add(residuals[known])
        self.variances += float(variances[known].sum())
        self.magnitudes += float(magnitudes[known] @ magnitudes[known])
        self.norms += float(norms[known] @ norms[known])
        self.structures.update(structures[known].tolist())

    def scale(self) -> float:
        """√(Σr²/Σv), so that the mean of σ² is the mean squared error.

        √(mean(r²/v)), the maximum of the likelihood, is not used: a force component that is zero by
        symmetry has v = 0 to rounding, and a single row of this kind would make the scale infinite.
        """
        return math.sqrt(self.squares / self.variances)

    def fault(self, largest_norm: float) -> str | None:
        """Return why there is no scale, or None. The largest mean |f|² is that of all terms."""
        if len(self.structures) < LEAST_STRUCTURES:
            found = "one" if self.structures else "none"
            return (
                f"it needs errors of at least {LEAST_STRUCTURES} structures that can be left out, and there is {found}"
            )
        if self.norms <= ROUNDING**2 * largest_norm * self.n or not self.variances > 0:
            return "their rows of features are zero or rounding in all structures, as by symmetry"
        if self.squares <= ROUNDING**2 * self.magnitudes:
            return "their errors in structures that are left out are rounding: the model or its baseline repeats them"
        return None


def scales_of(terms: Mapping[str, LeftOut]) -> dict[str, float]:
    """Return σ/√v of each term; NaN, with a warning, if left-out structures have none."""
    largest = max((term.norms / term.n for term in terms.values() if term.n), default=0.0)
    faults = {name: term.fault(largest) for name, term in terms.items()}
    scales = {name: math.nan if faults[name] else term.scale() for name, term in terms.items()}
    first = first_scale(scales)
    for name, fault in faults.items():
        if fault is not None:
            instead = f"takes the scale of {PLURAL[first]}" if first else "is NaN"
            warn(IllConditionedWarning, f"σ of {PLURAL[name]} {instead}: {fault}", Advice.MORE_STRUCTURES)
    return scales


def first_scale(scales: Mapping[str, float]) -> str | None:
    """Return the name of the first term that has a scale."""
    return next((name for name, scale in scales.items() if not math.isnan(scale)), None)
