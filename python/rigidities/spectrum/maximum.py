"""The λ at which the evidence has its maximum: `regularizer="auto"` with targets.

C is tridiagonalised in one p × p array, a third of the cost of eigenvectors; then the evidence of a
λ costs O(p). A grid finds the highest peak, Brent's method its maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, NotPositiveDefiniteError, UnresolvedEvidenceWarning, warn
from rigidities.moments import Moments
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.spectrum.decomposition import decompose
from rigidities.spectrum.evidence import Projection, warn_of_edge, warn_of_empty
from rigidities.spectrum.pencil import Pencil, make_pencil
from rigidities.spectrum.tridiagonal import tridiagonalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS_PER_DECADE = 8
"""Points of the grid in a decade of λ. The evidence is a sum of functions that rise and fall over a
factor of ten or more in λ."""


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
    """

    regularizer: float | None
    jitter: float
    reason: Reason
    log_evidence: float = math.nan
    explained: float = math.nan

    def warn(self) -> None:
        """Warn if rounding hides the evidence at every λ or below this one, or the fit is empty."""
        if self.reason is Reason.EVIDENCE_UNRESOLVED:
            fault = "the evidence is resolved at no regularizer: the guaranteed one was taken"
            warn(UnresolvedEvidenceWarning, fault, Advice.LEAVE_ONE_OUT)
        elif self.reason is Reason.EVIDENCE_EDGE and self.regularizer is not None:
            warn_of_edge("evidence", self.regularizer)
        if self.regularizer is not None:
            warn_of_empty(self.explained, self.regularizer)


def arrays_needed(penalty: Penalty) -> int:
    """Return how many p × p arrays the search takes, C included."""
    if penalty.matrix is not None:
        return 6
    return 3 if penalty.leaves_features_free else 1  # unpenalised features are eliminated first


def largest_evidence(C: NDArray[np.float64], moments: Moments, penalty: Penalty) -> Choice:
    """Return the λ of the largest evidence, without a warning.

    Parameters
    ----------
    C : ndarray of shape (p, p)
        Overwritten.
    moments : Moments
    penalty : Penalty

    Returns
    -------
    Choice
    """
    try:
        projection = _project(make_pencil(C, penalty, moments.unit), moments)
    except NotPositiveDefiniteError:  # the data leave an unpenalised feature undetermined
        return Choice(None, 0.0, Reason.EVIDENCE_UNDETERMINED)
    spectrum = projection.spectrum
    grid = _grid(spectrum.safe, 100 * spectrum.penalised.max(initial=0.0))
    evidence = projection.log_evidence(grid)
    if np.isnan(evidence).all():
        return Choice(None, 0.0, Reason.EVIDENCE_UNRESOLVED)
    best = int(np.nanargmax(evidence))
    chosen, reason, height = float(grid[best]), Reason.EVIDENCE_TOP, float(evidence[best])
    if best == 0 or np.isnan(evidence[best - 1]):
        reason = Reason.EVIDENCE_EDGE
    elif best < len(grid) - 1:
        reason = Reason.EVIDENCE_MAXIMUM
        chosen, height = _climb(projection, grid[best - 1], grid[best + 1])
    return Choice(chosen, spectrum.jitter, reason, height, projection.explained(chosen))


def _project(pencil: Pencil, moments: Moments) -> Projection:
    """Decompose a pencil as far as the evidence needs it."""
    if pencil.R is not None and pencil.R.ndim == 2:
        return Projection.diagonal(*decompose(pencil), moments)
    return Projection.tridiagonal(tridiagonalise(pencil, moments.cross), moments)


def _grid(low: float, high: float) -> NDArray[np.float64]:
    if not high > low >= np.finfo(np.float64).tiny:
        return np.zeros(0)
    return np.geomspace(low, high, max(2, math.ceil(STEPS_PER_DECADE * math.log10(high / low))))


def _climb(projection: Projection, low: float, high: float) -> tuple[float, float]:
    """Return λ and evidence at the maximum between two λ; ln λ to 1e-5, which is fine enough."""
    from scipy.optimize import minimize_scalar

    def loss(log: float) -> float:
        return -float(projection.log_evidence(np.array([math.exp(log)]))[0])

    found = minimize_scalar(loss, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-5})
    return math.exp(found.x), -float(found.fun)
