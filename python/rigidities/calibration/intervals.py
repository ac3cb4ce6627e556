"""Half-widths of intervals, as factors of σ or of √(v + ν).

**Gaussian, Student.** The quantile of the distribution that z = r/σ is taken to have.

**Conformal.** No distribution is assumed, only that the scores u = |r|/√(v + ν) of n calibration
rows and of a new one are exchangeable. The new one is then at most the k-th smallest of the n with
probability

    P(u_new ≤ u_(k)) ≥ k/(n + 1),    k = ⌈(n + 1) · coverage⌉,

so that the half-width u_(k)·√(v + ν) holds its coverage in finite samples, on average over
calibration sets (Vovk, Gammerman & Shafer, *Algorithmic Learning in a Random World*, 2005; Lei et
al., J. Am. Stat. Assoc. 113 (2018) 1094). If k > n no finite half-width does. The scale cancels.

- By class (Mondrian): with the scores of its class, the coverage holds in each class.
- By block: rows of one structure are not exchangeable, structures are. The score of a structure is
  the largest of its rows. The half-widths then hold *all* rows of a new structure together.

**Adaptive.** The half-width follows features x of the targets: a linear quantile regression of
ln u on x (Koenker & Bassett, Econometrica 46 (1978) 33) gives exp(q(x)), the quantile of u at x,
which is positive everywhere. It is fitted to half of the blocks. The other half has the scores
u/exp(q(x)), and the conformal factor of these keeps the guarantee, however wrong the regression is
(Romano, Patterson & Candès, NeurIPS 32 (2019) 3543).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import UndeterminedWarning, warn
from rigidities.validation import as_number

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

SPLIT = 0
"""Seed of the halves of adaptive intervals: the same call gives the same half-widths."""

SMALLEST_SCORE = 1e-12
"""Scores below this share of the largest count as this share: a residual of 0 has no logarithm."""


def as_coverage(coverage: float) -> float:
    """Return a coverage between 0 and 1."""
    value = as_number(coverage, "coverage", "a number between 0 and 1")
    if not 0 < value < 1:
        raise ValueError(f"coverage is {coverage}: expected a number between 0 and 1, e.g. 0.95")
    return value


def gaussian_quantile(level: float) -> float:
    """Return k of the interval ±kσ that holds this share of a Gaussian."""
    from scipy.special import erfinv

    return float(np.sqrt(2) * erfinv(level))  # Φ⁻¹((1 + p)/2) is infinite from p = 1 − 2⁻⁵³


def student_factor(coverage: float, degrees_of_freedom: float | None) -> float:
    """Half-width over σ that holds this share of Student's t."""
    from scipy.special import stdtrit

    if degrees_of_freedom is None:
        raise TypeError('method "student" needs degrees_of_freedom, as n less the effective dimension')
    value = as_number(degrees_of_freedom, "degrees_of_freedom", "a number above 0")
    if value <= 0:
        raise ValueError(f"degrees_of_freedom is {degrees_of_freedom}: expected a number above 0")
    return float(stdtrit(value, 0.5 + 0.5 * coverage))


@dataclass(frozen=True, eq=False)
class Scores:
    """What conformal intervals need of the rows of a calibration.

    Attributes
    ----------
    values : ndarray of shape (n, n_outputs)
        u = |r|/√(v + ν).
    blocks : ndarray of int of shape (n,)
        Index of the block of each row, from 0.
    classes : ndarray of shape (n,), or None
        Label of the class of each row.
    features : ndarray of shape (n, n_features), or None
        Features that adaptive intervals follow.
    """

    values: NDArray[np.float64]
    blocks: NDArray[np.int64]
    classes: NDArray[Any] | None = None
    features: NDArray[np.float64] | None = None

    @property
    def labels(self) -> set[Any]:
        """Classes with a quantile of their own: all but "-", which is unknown."""
        return set() if self.classes is None else {*np.unique(self.classes).tolist()} - {"-"}

    def conformal(
        self, coverage: float, asked: NDArray[Any] | None, known: set[Any] | None = None
    ) -> NDArray[np.float64]:
        """Return half-widths over √(v + ν).

        Parameters
        ----------
        coverage : float
        asked : ndarray of shape (m,), or None
            Class of each new row.
        known : set, optional
            Classes with a quantile of their own, `labels` by default. If one of them has no scores
            here, its half-width is infinite. Other classes take the quantile of all scores.

        Returns
        -------
        ndarray of shape (m, n_outputs), or (1, n_outputs) without classes
        """
        if asked is None or self.classes is None:
            return self._quantile(np.ones(len(self.values), dtype=bool), coverage, "")
        labels, places = np.unique(asked, return_inverse=True)
        known = self.labels if known is None else known
        found = []
        for label in labels.tolist():
            own = self.classes == label if label in known else np.ones(len(self.values), dtype=bool)
            found.append(self._quantile(own, coverage, f" of class {label!r}" if label in known else ""))
        return np.concatenate([np.empty((0, self.values.shape[1])), *found])[places]

    def _quantile(self, rows: NDArray[np.bool_], coverage: float, of_class: str) -> NDArray[np.float64]:
        scores = largest_of_blocks(self.values[rows], self.blocks[rows])
        found = conformal_quantile(scores, coverage)
        if np.isinf(found).any():
            c = _as_written(coverage)
            warn(
                UndeterminedWarning,
                f"half-widths{of_class} are infinite: {len(scores)} scores bound no share of {coverage:g}, which "
                f"takes at least {math.ceil(c / (1 - c))}",
            )
        return found[None]

    def adaptive(
        self, coverage: float, asked: NDArray[Any] | None, features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return half-widths over √(v + ν) that follow features, (m, n_outputs).

        Parameters
        ----------
        coverage : float
        asked : ndarray of shape (m,), or None
            As for `conformal`.
        features : ndarray of shape (m, n_features)
            Features of the new rows. Beyond the range of those that the regression saw, the end of
            the range counts.

        Returns
        -------
        ndarray of shape (m, n_outputs)
        """
        assert self.features is not None
        n_blocks = int(self.blocks.max()) + 1
        chosen = np.random.default_rng(SPLIT).permutation(n_blocks)[: n_blocks // 2]
        fitted = np.isin(self.blocks, chosen)
        if fitted.sum() <= self.features.shape[1] + 1:
            raise ValueError(
                f"half of the calibration set has {int(fitted.sum())} rows for {self.features.shape[1]} features: "
                "calibrate on more rows, or pass fewer features"
            )
        low, high = self.features[fitted].min(axis=0), self.features[fitted].max(axis=0)
        rows, new = (_design(x, low, high) for x in (self.features, features))
        coef = []
        for values in self.values.T:
            logs = np.log(np.maximum(values, SMALLEST_SCORE * values.max()))
            coef.append(quantile_regression(rows[fitted], logs[fitted], coverage))
        expected = np.exp(rows @ np.transpose(coef))
        own = None if self.classes is None else self.classes[~fitted]
        rest = Scores((self.values / expected)[~fitted], self.blocks[~fitted], own)
        return np.asarray(rest.conformal(coverage, asked, self.labels) * np.exp(new @ np.transpose(coef)))


def largest_of_blocks(values: NDArray[np.float64], blocks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the largest value of each block, (n_blocks, n_outputs)."""
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    return np.asarray(np.maximum.reduceat(values[order], starts, axis=0))


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> NDArray[np.float64]:
    """Return the ⌈(n + 1)·coverage⌉-th smallest of n scores, infinity if there are fewer."""
    k = math.ceil((len(scores) + 1) * _as_written(coverage))
    if k > len(scores):
        return np.full(scores.shape[1:], np.inf)
    return np.asarray(np.partition(scores, k - 1, axis=0)[k - 1])


def _as_written(coverage: float) -> Fraction:
    """Return the decimal number that was meant: 20 · 0.55 is 11, in float64 it is more."""
    from fractions import Fraction  # 8 ms that only conformal intervals need

    return Fraction(repr(coverage))


def quantile_regression(X: NDArray[np.float64], y: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return β at the least Σ ρ(y − Xβ), ρ(t) = t·(level − [t < 0]).

    The dual is solved, which has a variable a for each row and a constraint for each column:
    maximise yᵀa with Xᵀa = (1 − level)·Xᵀ1 and 0 ≤ a ≤ 1 (Koenker, *Quantile Regression*, 2005,
    section 6.2). β are the multipliers of its constraints.

    Parameters
    ----------
    X : ndarray of shape (n, n_columns)
    y : ndarray of shape (n,)
    level : float
        Between 0 and 1: the share of rows below Xβ.

    Returns
    -------
    ndarray of shape (n_columns,)
    """
    from scipy.optimize import linprog

    found = linprog(-y, A_eq=X.T, b_eq=(1 - level) * X.sum(axis=0), bounds=(0, 1), method="highs")
    if found.status != 0:
        raise RuntimeError(f"the linear program of the quantile regression was not solved: {found.message}")
    return np.asarray(-found.eqlin.marginals)


def _design(features: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of 1 and of features from 0 to 1; a constant feature is 0."""
    unit = np.where(high > low, np.maximum(np.abs(low), np.abs(high)), 1.0)  # so that differences stay in range
    span = np.where(high > low, high / unit - low / unit, 1.0)
    return np.column_stack([np.ones(len(features)), (np.clip(features, low, high) / unit - low / unit) / span])
