"""`regularizer="auto"` with targets: the λ at which the evidence has its maximum, from sums alone.

What enters: a `Covariance` with targets, and Λ. What leaves: λ and the reason. C is tridiagonalised in one p × p
array, a third of the cost of eigenvectors; then the evidence of a λ is O(p). A grid finds the highest top, Brent's
method climbs it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import NotPositiveDefiniteError, UnresolvedEvidenceWarning
from rigidities.moments import read_sums
from rigidities.runtime import memory
from rigidities.spectrum.decomposition import decompose
from rigidities.spectrum.evidence import Moments, warn_of_edge
from rigidities.spectrum.pencil import make_pencil
from rigidities.spectrum.tridiagonal import tridiagonalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.covariance import Covariance

STEPS_PER_DECADE = 8
"""Of the grid. The evidence of a λ is a sum of functions that rise and fall over a factor of ten or more in λ."""

MAXIMUM = "evidence: the maximum of the marginal likelihood"
EDGE = "evidence: the least at which rounding leaves it resolved, where the marginal likelihood is largest"
TOP = "evidence: at the upper end of the search, where the model explains nothing of the targets"
UNRESOLVED = "the evidence is resolved at no regularizer"


@dataclass(frozen=True)
class Choice:
    """λ (None: the evidence chooses none), what goes on the diagonal of Λ, why, and the log evidence there (or NaN)."""

    regularizer: float | None
    jitter: float
    reason: str
    log_evidence: float = math.nan


def most_probable(covariance: Covariance, penalty: NDArray[np.float64] | None, eps: float) -> Choice:
    """Return the λ of the largest evidence, with a warning where rounding hides what lies below it."""
    choice = largest_evidence(covariance, penalty, eps)
    if choice.reason == UNRESOLVED:
        text = f"{UNRESOLVED}: the guaranteed one was taken. Choose it by path.best('loo', F, y) of a regularizer_path"
        warnings.warn(text, UnresolvedEvidenceWarning, stacklevel=4)
    elif choice.reason == EDGE and choice.regularizer is not None:
        warn_of_edge("evidence", choice.regularizer, stacklevel=4)
    return choice


def largest_evidence(covariance: Covariance, penalty: NDArray[np.float64] | None, eps: float) -> Choice:
    """Return the λ of the largest evidence, in silence."""
    try:
        moments = _moments(covariance, penalty, eps)
    except NotPositiveDefiniteError:  # an unpenalised feature that the data leave open: only the guaranteed λ helps
        return Choice(None, 0.0, "the data leave an unpenalised feature undetermined")
    grid = _grid(moments.spectrum.safe, 100 * moments.spectrum.penalised.max(initial=0.0))
    evidence = moments.log_evidence(grid)
    if np.isnan(evidence).all():
        return Choice(None, 0.0, UNRESOLVED)
    best = int(np.nanargmax(evidence))
    chosen, reason, height = float(grid[best]), TOP, float(evidence[best])
    if best == 0 or np.isnan(evidence[best - 1]):
        reason = EDGE
    elif best < len(grid) - 1:
        reason = MAXIMUM
        chosen, height = _climb(moments, grid[best - 1], grid[best + 1])
    return Choice(chosen, moments.spectrum.jitter, reason, height)


def _moments(covariance: Covariance, penalty: NDArray[np.float64] | None, eps: float) -> Moments:
    """Decompose the pencil, as far as the evidence needs it."""
    p = covariance.n_features
    matrix = penalty is not None and penalty.ndim == 2
    arrays = 6 if matrix else 1 if penalty is None or penalty.all() else 3  # unpenalised features are eliminated first
    memory.require(8 * p * p * arrays, f"the evidence of {p} features", "pass a regularizer")
    sums = read_sums(covariance)
    pencil = make_pencil(covariance.matrix(), penalty, eps, sums.unit)
    if matrix:
        return Moments.diagonal(*decompose(pencil), sums)
    return Moments.tridiagonal(tridiagonalise(pencil, sums.cross), sums)


def _grid(low: float, high: float) -> NDArray[np.float64]:
    if not high > low:
        return np.zeros(0)
    return np.geomspace(low, high, max(2, math.ceil(STEPS_PER_DECADE * math.log10(high / low))))


def _climb(moments: Moments, low: float, high: float) -> tuple[float, float]:
    """λ and height of the maximum between two λ, to a relative 1e-5: likelihoods are told apart over wider steps."""
    from scipy.optimize import minimize_scalar

    def loss(log: float) -> float:
        return -float(moments.log_evidence(np.array([math.exp(log)]))[0])

    found = minimize_scalar(loss, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-5})
    return math.exp(found.x), -float(found.fun)
