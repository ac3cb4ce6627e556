"""The λ at which the evidence has its maximum: `regularizer="auto"` with targets.

C is tridiagonalised in one p × p array, a third of the cost of eigenvectors; then the evidence of a
λ costs O(p). Below the λ at which this resolves the evidence, each λ takes a Cholesky factor, with
fewer points in a decade. The highest point of both grids gives the peak, Brent's method its
maximum. If there is none, because the evidence rises as long as it is resolved, then λ is the
smallest that the decomposition resolves. So it is with labels without noise; forces that sum to
zero are a part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, NotPositiveDefiniteError, UnresolvedEvidenceWarning, warn
from rigidities.moments import Moments
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.spectrum import hiding
from rigidities.spectrum.decomposition import decompose
from rigidities.spectrum.direct import DirectEvidence, Factored
from rigidities.spectrum.evidence import Projection, warn_of_edge, warn_of_empty, warn_of_rise
from rigidities.spectrum.pencil import Pencil, make_pencil
from rigidities.spectrum.row_factor import RowFactor, decompose_rows
from rigidities.spectrum.tridiagonal import tridiagonalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS_PER_DECADE = 8
"""Points of the grid in a decade of λ. The evidence is a sum of functions that rise and fall over a
factor of ten or more in λ."""

FACTORS_PER_DECADE = 2
"""Points of the grid in a decade of λ where each takes a factor."""

ALL_DETERMINED = 0.95
"""Part of its steepest fall at which the evidence has no maximum at smaller λ: the data determine
nearly all directions, and S no longer falls."""


@dataclass(frozen=True)
class Choice:
    """A choice of λ, and its reason.

    Attributes
    ----------
    regularizer : float or None
        λ; None for the guaranteed one.
    jitter : float
        Jitter to add to the diagonal of Λ, if Λ is a matrix.
    reason : Reason
    log_evidence : float
        Log marginal likelihood at λ, or NaN.
    explained : float
        Share of the squares of the targets that the fit explains, or NaN.
    rises_at : float or None
        Smallest λ at which the evidence is resolved, if it rises again towards that λ.
    hidden : str or None
        How an ill-conditioned penalty hides a fit that may be far better; None if it does not.
    """

    regularizer: float | None
    jitter: float
    reason: Reason
    log_evidence: float = math.nan
    explained: float = math.nan
    rises_at: float | None = None
    hidden: str | None = None

    def check(self) -> None:
        """Warn if rounding hides the evidence at every λ or below this one, or the fit is empty.

        Raise `AdvisedValueError` if the penalty hides what sums of whitened rows would show.
        """
        self.refuse_hidden()
        if self.reason is Reason.EVIDENCE_UNRESOLVED:
            fault = "the evidence is resolved at no regularizer: the guaranteed one was taken"
            warn(UnresolvedEvidenceWarning, fault, Advice.LEAVE_ONE_OUT)
        elif self.reason is Reason.EVIDENCE_EDGE and self.regularizer is not None:
            warn_of_edge("evidence", self.regularizer)
        elif self.rises_at is not None and self.regularizer is not None:
            warn_of_rise(self.regularizer, self.rises_at)
        if self.regularizer is not None:
            warn_of_empty(self.explained, self.regularizer)

    def refuse_hidden(self) -> None:
        """Raise `AdvisedValueError` if the penalty hides what sums of whitened rows would show."""
        if self.hidden is not None:
            raise hiding.refusal(self.hidden)


ROWS_NEED = 12
"""Arrays of p × p that the search takes where the factor of the rows is kept (11.8 measured): R and
copies, U and V, and the memory of faer's singular values."""


def arrays_needed(penalty: Penalty) -> int:
    """Return how many p × p arrays the search takes, C included."""
    if penalty.matrix is not None:
        return 6
    return 3 if penalty.leaves_features_free else 1  # unpenalised features are eliminated first


def largest_evidence(
    C: NDArray[np.float64], moments: Moments, penalty: Penalty, factorize: Callable[[Choice], Factored]
) -> Choice:
    """Return the λ of the largest evidence, without a warning.

    Parameters
    ----------
    C : ndarray of shape (p, p)
        Overwritten.
    moments : Moments
    penalty : Penalty
    factorize : callable
        Returns the factor of H at a choice of λ and jitter.

    Returns
    -------
    Choice
    """
    diagonal = np.diagonal(C).copy()
    try:
        projection = _project(make_pencil(C, penalty, moments.unit), moments)
    except NotPositiveDefiniteError:  # the data leave an unpenalised feature undetermined
        return Choice(None, 0.0, Reason.EVIDENCE_UNDETERMINED)
    del C  # its memory is needed for factors
    trial = Choice(None, projection.spectrum.jitter, Reason.EVIDENCE_MAXIMUM)
    direct = DirectEvidence(lambda value: factorize(replace(trial, regularizer=value)), projection, diagonal)
    return _highest(projection, direct)


def largest_evidence_of_rows(factor: RowFactor, moments: Moments, penalty: Penalty) -> Choice:
    """Return the λ of the largest evidence, where the triangular factor of the rows is kept."""
    try:
        return _highest(decompose_rows(factor, moments, penalty)[2], None)
    except NotPositiveDefiniteError:
        return Choice(None, 0.0, Reason.EVIDENCE_UNDETERMINED)


def _highest(projection: Projection, direct: DirectEvidence | None) -> Choice:
    """Return the λ of the largest evidence, of a projection; below what it resolves, of factors."""
    spectrum = projection.spectrum
    grid = _grid(spectrum.safe, 100 * spectrum.penalised.max(initial=0.0))
    evidence = projection.log_evidence(grid)
    hidden = _n_hidden(evidence)
    if hidden == len(grid):
        return Choice(None, 0.0, Reason.EVIDENCE_UNRESOLVED, hidden=hiding.below(spectrum, None))
    below, found = np.zeros(0), np.zeros(0)
    if direct is not None:
        below, found = _descend(direct, float(grid[hidden]), float(evidence[hidden]))
    grid, evidence = np.r_[below, grid[hidden:]], np.r_[found, evidence[hidden:]]
    rises = len(below) > 1 and FACTORS_PER_DECADE * (found[0] - found[1]) > hiding.SLOPE
    rises_at = float(grid[0]) if rises else None
    best = int(np.nanargmax(evidence))
    chosen, reason, height = float(grid[best]), Reason.EVIDENCE_TOP, float(evidence[best])
    if best == 0:  # no maximum at all: nothing speaks for a λ at which leaving out is lost in rounding
        best = len(below)
        chosen, reason, height = float(grid[best]), Reason.EVIDENCE_EDGE, float(evidence[best])
    elif best < len(grid) - 1:
        reason = Reason.EVIDENCE_MAXIMUM
        function: Callable[[float], float] = partial(_of_one, projection)
        one_by_one = direct is not None and best <= len(below)
        if direct is not None and one_by_one:  # the spectrum resolves only a part of the interval, or nothing
            function = direct.log_evidence
        chosen, height = _climb(function, grid[best - 1], grid[best + 1], 0.01 if one_by_one else 1e-5)
    at_edge = reason is Reason.EVIDENCE_EDGE or hiding.rises(grid, evidence)
    fault = hiding.fault(projection, chosen, height, float(grid[0]) if at_edge else None)
    return Choice(chosen, spectrum.jitter, reason, height, projection.explained(chosen), rises_at, fault)


def _project(pencil: Pencil, moments: Moments) -> Projection:
    """Decompose a pencil as far as the evidence needs it."""
    if pencil.R is not None and pencil.R.ndim == 2:
        return Projection.diagonal(*decompose(pencil), moments)
    return Projection.tridiagonal(tridiagonalise(pencil, moments.cross), moments)


def _grid(low: float, high: float) -> NDArray[np.float64]:
    if not high > low >= np.finfo(np.float64).tiny:
        return np.zeros(0)
    return np.geomspace(low, high, max(2, math.ceil(STEPS_PER_DECADE * math.log10(high / low))))


def _n_hidden(evidence: NDArray[np.float64]) -> int:
    """Return how many of the smallest λ are not resolved, up to the last that is not."""
    unresolved = np.flatnonzero(np.isnan(evidence))
    return int(unresolved[-1]) + 1 if len(unresolved) else 0


def _descend(
    direct: DirectEvidence, regularizer: float, height: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return smaller λ, rising, and their evidence, as far down as it is resolved and can rise."""
    found: list[tuple[float, float]] = []
    heights = [height]
    while regularizer > direct.least:
        regularizer /= 10 ** (1 / FACTORS_PER_DECADE)
        heights.append(direct.log_evidence(regularizer))
        if np.isnan(heights[-1]):
            break
        found.append((regularizer, heights[-1]))
        if len(heights) > FACTORS_PER_DECADE:
            fall = (heights[-1 - FACTORS_PER_DECADE] - heights[-1]) / math.log(10)
            if fall > ALL_DETERMINED * direct.steepest:
                break
    below, values = np.array(found[::-1]).reshape(-1, 2).T
    return below, values


def _of_one(projection: Projection, regularizer: float) -> float:
    return float(projection.log_evidence(np.array([regularizer]))[0])


def _climb(function: Callable[[float], float], low: float, high: float, tolerance: float) -> tuple[float, float]:
    """Return λ and evidence at the maximum between two λ, with ln λ to a tolerance.

    A hundredth is fine enough: it changes the evidence by less than p/80,000 nats.
    """
    from scipy.optimize import minimize_scalar

    def loss(log: float) -> float:
        return -function(math.exp(log))

    found = minimize_scalar(
        loss, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": tolerance}
    )
    return math.exp(found.x), -float(found.fun)
