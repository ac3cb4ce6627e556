"""The scale of σ, the noise beside it and a factor by kind, from residuals r and variances v.

    σ² = factor² · (scale² · max(v, floor) + noise²)

v is gᵀH⁻¹g, what the parameters leave open. The noise is what more data of the same kind would not
remove: rounded labels, and what the features cannot express. The factor is that of the kind of the
structure, 1 if nothing is known of it.

**Rows at rounding.** A force that symmetry holds at zero has a row f = 0. Coordinates in files are
rounded, and so f, v and r are roundings, whose ratio r/√v has no meaning. A row is set aside if v
is at most `FLOOR` times the median. Its σ is that of the floor, so that no σ is 0.

**Scale and noise.** With ν = noise²/scale², the negative log likelihood has its minimum over the
scale at a known place, so that one search over ν remains:

    "nll"       Gaussian:  scale² = mean r²/(v + ν)
    "absolute"  Laplace:   scale = √(π/2) · mean |r|/√(v + ν)
                both:      minimise ln scale + ½ mean ln(v + ν) over ν ≥ 0.

Both are maximum likelihood. Noise is taken if it raises the log likelihood by more than 1, as
Akaike's criterion asks of a parameter: where all v are alike, scale and noise cannot be told apart,
and σ has to grow where v does. √(π/2) is the standard deviation of a Gaussian over its mean
absolute value: for Gaussian errors both give the same σ. "absolute" is robust: a few errors that
are far off count in proportion to their size, not to its square.

**Kinds.** Errors of one kind of structures may be larger than σ says, those of another smaller. Its
n structures give a scale of their own, which is drawn towards the common one as if that came from
`POOLED` structures (partial pooling; Gelman & Hill, *Data Analysis Using Regression and
Multilevel/Hierarchical Models*, 2007, section 12.2):

    factor^m = (POOLED + n q) / (POOLED + n),

m = 2 and q = mean z² for "nll", m = 1 and q = √(π/2) mean |z| for "absolute", z = r/σ with the
common σ. A structure counts once however many forces it has: they are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Loss = Literal["nll", "absolute"]

FLOOR = 1e-6
"""Rows of at most this share of the median v are rounding: σ is a thousandth of the usual one.

Of 39,699 force rows of silicon (mlearn) 9,098 are below it, and none is between 1e-6 and 1e-4.
Nearly all of them are zero by symmetry: with coordinates of eight decimals, as in the file, they
have up to 1e-13 of the median, with six decimals up to 1e-9, with five up to 1e-7. Of 34,728 rows
of lithium 218 have less than 1e-25, and the next one 1e-6."""

ROUNDED = 1e-8
"""Rows of at most this share of the largest mean |f|² of a term have no part in the median v: atoms
are 1e-4 Å off a place of symmetry, at most. Coordinates of five decimals make rows of 1e-9."""

LEAST_TARGETS = 10
"""Fewest targets that determine two numbers, scale and noise. Of fewer, the noise is 0."""

LEAST_OF_KIND, POOLED = 5, 5.0
"""Fewest structures of a kind with a factor of its own, and how many structures the common scale
counts as. Left-out silicon and lithium (mlearn, four kinds), mean of ln σ + z²/2 with the factors
of all other structures: energies −4.16 to −4.31 and −6.54 to −6.62, forces −1.65 to −1.68 and −3.98
to −4.00. From 0 to 10 it is the same within 0.02; 50 loses half of the gain for energies."""

LEAST, LARGEST, HALVES = 1e-8, 1e4, 25
"""Ends of the search for ν, in median v, and its first values, half a decade apart. Smaller noise
does not show in any row above the floor. With the largest, σ still rises where v is far above that
of the training set, even if its errors were noise alone."""


@dataclass(frozen=True)
class Kind:
    """How σ does for one kind of structures, each of them left out.

    Attributes
    ----------
    n_structures : int
        Structures with targets that are not at rounding.
    mean_square : float
        Mean z² over their targets, z = r/σ with the common σ; 1 if σ is right for them.
    factor : float
        σ of this kind over the common σ; 1 for fewer than `LEAST_OF_KIND` structures.
    """

    n_structures: int
    mean_square: float
    factor: float


@dataclass(frozen=True)
class Calibration:
    """What makes σ of a target of its variance: σ² = factor²·(scale²·max(v, floor) + noise²).

    Attributes
    ----------
    scale : float
        In the unit of the target; NaN if nothing determines it.
    noise : float
        Standard deviation of what v does not describe, in the unit of the target.
    floor : float
        Variance at and below which a row is rounding.
    n, n_aside : int
        Number of targets, and of those among them that were set aside as rounding.
    kinds : dict of str to Kind
        By the name of the kind; empty if structures have no kinds.

    Examples
    --------
    >>> import numpy as np
    >>> from rigidities.calibration.scale import Calibration, Kind
    >>> calibration = Calibration(2.0, 0.3, 1e-12, kinds={"surface": Kind(12, 4.0, 1.8)})
    >>> calibration.standard_deviation(np.array([0.04, 0.0]))
    array([0.5, 0.3])
    >>> calibration.standard_deviation(np.array([0.04, 0.04]), np.array(["surface", "slab"]))
    array([0.9, 0.5])
    """

    scale: float
    noise: float = 0.0
    floor: float = 0.0
    n: int = 0
    n_aside: int = 0
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    def standard_deviation(
        self, variances: NDArray[np.float64], kinds: NDArray[np.str_] | None = None
    ) -> NDArray[np.float64]:
        """Return σ.

        Parameters
        ----------
        variances : ndarray of shape (n,)
            v of targets in the unit that the scale is of.
        kinds : ndarray of str of shape (n,), optional
            Kind of the structure of each target. One that was not calibrated has the common σ.

        Returns
        -------
        ndarray of shape (n,)
        """
        common = np.hypot(self.scale * np.sqrt(np.maximum(variances, self.floor)), self.noise)
        if kinds is None or not self.kinds:
            return np.asarray(common)
        names, places = np.unique(kinds, return_inverse=True)
        factors = [self.kinds[name].factor if name in self.kinds else 1.0 for name in names.tolist()]
        return np.asarray(common * np.array(factors)[places.reshape(common.shape)])


def above_rounding(
    variances: NDArray[np.float64], norms: NDArray[np.float64], largest: float
) -> tuple[NDArray[np.bool_], float]:
    """Return which rows are more than rounding, and the variance at and below which they are not.

    Parameters
    ----------
    variances, norms : ndarray of shape (n,)
        v and |f|² of the rows.
    largest : float
        Mean |f|² of rows that are more than rounding.

    Returns
    -------
    kept : ndarray of bool of shape (n,)
    floor : float
        `FLOOR` times the median v of rows longer than `ROUNDED`; 0 if there are none.
    """
    kept = norms > ROUNDED * largest
    floor = FLOOR * float(np.median(variances[kept])) if kept.any() else 0.0
    return kept & (variances > floor), floor


def fit_calibration(
    residuals: NDArray[np.float64],
    variances: NDArray[np.float64],
    structures: NDArray[np.int64],
    loss: Loss,
    *,
    floor: float = 0.0,
    kinds: NDArray[np.str_] | None = None,
) -> Calibration:
    """Fit scale and noise to targets, each in a fit without its structure, then factors by kind.

    Parameters
    ----------
    residuals, variances : ndarray of shape (n,)
        r, at least one of them not 0, and v > 0, of targets that are not set aside; n > 0.
    structures : ndarray of int of shape (n,)
        Index of the structure of each target.
    loss : {"nll", "absolute"}
    floor : float
        What `above_rounding` returned.
    kinds : ndarray of str of shape (n,), optional
        Kind of the structure of each target; "-" if it is unknown.

    Returns
    -------
    Calibration
    """
    scale, noise = scale_and_noise(residuals, variances, loss)
    common = Calibration(scale, noise, floor, len(residuals))
    if kinds is None:
        return common
    z = residuals / common.standard_deviation(variances)
    found = {}
    for name in np.unique(kinds).tolist():
        if name != "-":
            of_kind = kinds == name
            found[name] = _kind(z[of_kind], len(np.unique(structures[of_kind])), loss)
    return Calibration(scale, noise, floor, len(residuals), kinds=found)


def _kind(z: NDArray[np.float64], n: int, loss: Loss) -> Kind:
    own, power = _size(z, loss), 2 if loss == "nll" else 1
    pooled = float((POOLED + n * own**power) / (POOLED + n)) ** (1 / power)
    return Kind(n, float(np.mean(z**2)), pooled if n >= LEAST_OF_KIND else 1.0)


def scale_and_noise(residuals: NDArray[np.float64], variances: NDArray[np.float64], loss: Loss) -> tuple[float, float]:
    """Return scale and noise at the maximum of the likelihood; see the module for the formulas."""
    median, unit = float(np.median(variances)), float(np.abs(residuals).max())  # so that squares stay in range
    v, r = variances / median, residuals / unit

    def misfit(nu: float) -> float:
        total = v + nu
        return float(np.log(_size(r / np.sqrt(total), loss)) + 0.5 * np.log(total).mean())

    nu = _least(misfit, 1 / len(r)) if len(r) >= LEAST_TARGETS else 0.0
    scale = unit * _size(r / np.sqrt(v + nu), loss)
    return scale / math.sqrt(median), scale * math.sqrt(nu)


def _size(z: NDArray[np.float64], loss: Loss) -> float:
    """√(mean z²), or the same of Gaussian numbers from their mean absolute value."""
    return float(np.sqrt(np.mean(z**2)) if loss == "nll" else np.sqrt(np.pi / 2) * np.abs(z).mean())


def _least(misfit: Callable[[float], float], gain: float) -> float:
    """Return ν of the least misfit, or 0 if that is no more than the gain above it.

    There may be several minima, so a grid is searched first.
    """
    from scipy.optimize import minimize_scalar

    grid = np.linspace(np.log(LEAST), np.log(LARGEST), HALVES)
    values = [misfit(np.exp(log)) for log in grid]
    best = int(np.argmin(values))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, HALVES - 1)]
    found = minimize_scalar(lambda log: misfit(np.exp(log)), bounds=ends, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < misfit(0.0) - gain else 0.0
