"""σ of a model, from training structures that are left out, where they determine it.

Each structure is left out as a whole, its energy and forces together, in closed form at fixed λ: r
is the residual and v the variance of the fit without it. `rigidities.calibration.scale` has the
formulas; here is which targets count. Rows that symmetry, rounded coordinates or lone atoms make
zero are set aside. Where all residuals, or all rows, are rounding, their ratio is no scale. It is
NaN then, with a warning: a σ of 0 would claim that a prediction is exact.

Energies and virials are one or six numbers for each structure, and those of few structures (often
surfaces) can be far off: their loss is "absolute". Forces are many, and take "nll".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.calibration.losses import Loss
from rigidities.calibration.scale import Calibration, above_rounding, fit_calibration
from rigidities.exceptions import Advice, IllConditionedWarning, warn
from rigidities.model.errors import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian

LEAST_STRUCTURES = 2
"""Structures with a residual that a scale needs. One has no error but that of an empty fit."""

ROUNDING = 1e4 * float(np.finfo(np.float64).eps)
"""What is smaller than this, relative to the numbers that it is a difference of, is rounding: sums
over some thousand features and neighbours lose four digits at most."""

PLURAL = {"energy": "energies", "forces": "forces", "virial": "virials"}


@dataclass(eq=False)
class LeftOut(Tally):
    """The targets of a term, each in the fit without its structure.

    Attributes
    ----------
    norms : float
        Σ|f|², with f the row of a target.
    parts : list of tuple of five ndarray of shape (n,)
        Of some targets: residuals, variances, the size of the numbers that a residual is the
        difference of, |f|², and the index of the structure.
    """

    norms: float = 0.0
    parts: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

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
        self.norms += float(norms[known] @ norms[known])
        self.parts.append(tuple(part[known] for part in (residuals, variances, magnitudes, norms**2, structures)))

    def calibrate(self, name: str, largest: float, kinds: NDArray[np.str_] | None) -> Calibration | str:
        """Return the calibration, or why there is none.

        Parameters
        ----------
        name : str
            Of the term.
        largest : float
            Largest mean |f|² of all terms.
        kinds : ndarray of str, or None
            Kinds of all structures.
        """
        if not self.parts:
            return _too_few(0)
        columns = [np.concatenate(part) for part in zip(*self.parts, strict=True)]
        variances, norms, structures = columns[1], columns[3], columns[4]
        if len(np.unique(structures)) < LEAST_STRUCTURES:
            return _too_few(len(np.unique(structures)))
        kept, floor = above_rounding(variances, norms, largest)
        if not kept.any():
            return "their rows of features are zero or rounding in all structures, as by symmetry"
        residuals, variances, magnitudes, _, structures = (column[kept] for column in columns)
        if len(np.unique(structures)) < LEAST_STRUCTURES:
            return f"{_too_few(1)}; in the others their rows of features are zero or rounding, as by symmetry"
        if np.linalg.norm(residuals) <= ROUNDING * np.linalg.norm(magnitudes):
            return "their errors in structures that are left out are rounding: the model or its baseline repeats them"
        loss: Loss = "nll" if name == "forces" else "absolute"
        own = None if kinds is None else kinds[structures]
        found = fit_calibration(residuals, variances, structures, loss, floor=floor, kinds=own)
        return replace(found, n=self.n, n_aside=self.n - len(residuals))


def _too_few(n: int) -> str:
    found = "one" if n else "none"
    return f"it needs errors of at least {LEAST_STRUCTURES} structures that can be left out, and there is {found}"


def calibrations_of(
    terms: Mapping[str, LeftOut], kinds: NDArray[np.str_] | None = None, feature_space: str | None = None
) -> dict[str, Calibration]:
    """Return what makes σ of each term; warn of those whose scale nothing determines, NaN.

    Parameters
    ----------
    terms : mapping of str to LeftOut
        By the name of the term.
    kinds : ndarray of str of shape (n_structures,), optional
        Kind of each structure; "-" if it is unknown.
    feature_space : str, optional
        That of the rows.

    Returns
    -------
    dict of str to Calibration
    """
    largest = max((term.norms / term.n for term in terms.values() if term.n), default=0.0)
    results = {name: term.calibrate(name, largest, kinds) for name, term in terms.items()}
    found = {name: Calibration(math.nan) if isinstance(one, str) else one for name, one in results.items()}
    first = first_scale({name: one.scale for name, one in found.items()})
    for name, fault in results.items():
        if isinstance(fault, str):
            instead = f"takes the scale of {PLURAL[first]}" if first else "is NaN"
            warn(IllConditionedWarning, f"σ of {PLURAL[name]} {instead}: {fault}", Advice.MORE_STRUCTURES)
    return {name: replace(one, feature_space=feature_space) for name, one in found.items()}


def check_feature_spaces(calibrations: Mapping[str, Calibration], hessian: Hessian) -> None:
    """Raise if a calibration belongs to variances of another feature space than the Hessian's."""
    for one in calibrations.values():
        one.check_feature_space(hessian.feature_space)


def calibration_for(calibrations: Mapping[str, Calibration], name: str) -> Calibration:
    """Return the calibration of a term, or the scale of the first that has one."""
    own = calibrations.get(name, Calibration(math.nan))
    first = first_scale({term: one.scale for term, one in calibrations.items()})
    if first is None or not math.isnan(own.scale):
        return own
    return Calibration(calibrations[first].scale, feature_space=calibrations[first].feature_space)


def first_scale(scales: Mapping[str, float]) -> str | None:
    """Return the name of the first term that has a scale."""
    return next((name for name, scale in scales.items() if not math.isnan(scale)), None)
