"""One λ per component of the features, at the maximum of the evidence over all of them.

Components such as body orders, ranges or species can differ in how large their parameters are. One
λ for all of them is too strict for some and too lax for others. `rigidities.regularizer.surface`
has the evidence and its gradient; a point takes one factorisation and the diagonal of H⁻¹, as much
as three more. SciPy's L-BFGS-B climbs from the best single λ, and from λ in proportion to the mean
squares of each component's features. On silicon and lithium it takes 10 to 20 points.

A component that explains nothing is switched off: its λ grows until the bound, and the evidence is
flat there. Such a place can be a maximum of its own (3 to 40 nats below the other on silicon and
lithium), so what ends there starts again with the component switched on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.components import component_indices, require_partition
from rigidities.covariance import Covariance
from rigidities.exceptions import (
    Advice,
    AdvisedValueError,
    NotConvergedWarning,
    UnresolvedEvidenceWarning,
    some_of,
    warn,
)
from rigidities.regularizer.surface import Point, Surface
from rigidities.runtime import memory
from rigidities.spectrum.evidence import HIDDEN, warn_of_empty, warn_of_rise
from rigidities.spectrum.hiding import SLOPE
from rigidities.spectrum.maximum import FACTORS_PER_DECADE

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATIONARY = 1e-3
"""Nats per unit of ln λ at which the climb ends. Curvatures are γ/2 or so: ln λ is then known to a
hundredth for components that matter."""

OFF = 0.01
"""Effective dimension below which a component counts as switched off."""

MOST_STEPS = 200
"""Steps of a climb; 10 were seen."""


@dataclass(frozen=True, eq=False)
class ComponentRegularizers:
    """The λ of each component at which the evidence is largest.

    Attributes
    ----------
    regularizers : ndarray of shape (n_components,)
        λ_c, unsquared. At its upper bound, 100 trace(C), a component is switched off.
    penalty : ndarray of shape (n_features,)
        λ_c of each feature: ``covariance.factorize(1.0, penalty=found.penalty)``.
    log_evidence : float
        Log marginal likelihood there, in nats.
    log_evidence_of_one : float
        The same at the best single λ; NaN if it is resolved at none.
    effective_dimension : ndarray of shape (n_components,)
        γ_c = p_c − λ_c tr (H⁻¹)_cc: how many directions the data determine of each component. They
        sum to that of the Hessian.
    """

    regularizers: NDArray[np.float64]
    penalty: NDArray[np.float64]
    log_evidence: float
    log_evidence_of_one: float
    effective_dimension: NDArray[np.float64]


def regularizer_per_component(cov: Covariance, components: Any) -> ComponentRegularizers:
    """Choose one λ per component of the features by the evidence, from sums alone.

    The evidence is that of `Covariance.factorize` with a diagonal penalty. It is never less than
    with one λ for all; whether errors are smaller is another question: docs/choosing-lambda.md has
    figures.

    Parameters
    ----------
    cov : Covariance
        With targets. It is not changed.
    components : sequence
        As for `Hessian.component_rigidity`, each feature in exactly one component.

    Returns
    -------
    ComponentRegularizers

    Raises
    ------
    ValueError, TypeError
        If a feature is in no component or in two, `cov` is no `Covariance`, or rounding of the sums
        hides the evidence at every λ.
    NotFittedError
        If no targets were accumulated.
    MemoryError
        If three p × p arrays do not fit in memory.

    Warns
    -----
    UnresolvedEvidenceWarning
        If the evidence of a component is best at the smallest λ at which it is resolved.
    NotConvergedWarning
        If the climb did not reach a maximum.
    EmptyFitWarning
        If the fit explains less than a tenth of the squares of its targets.

    Examples
    --------
    Parameters of the first ten features are a hundred times as large as those of the others:

    >>> import numpy as np, rigidities as rg
    >>> rng = np.random.default_rng(0)
    >>> F = rng.normal(size=(200, 20))
    >>> theta = rng.normal(size=20) * np.repeat([10.0, 0.1], 10)
    >>> covariance = rg.Covariance(20)
    >>> covariance.update(F, targets=F @ theta + rng.normal(size=200))
    >>> found = rg.regularizer_per_component(covariance, [10, 10])
    >>> print(f"{found.regularizers[0]:.3f} {found.regularizers[1]:.0f}")
    0.013 159
    >>> hessian = covariance.factorize(1.0, penalty=found.penalty)
    """
    if not isinstance(cov, Covariance):
        raise TypeError(f"cov is a {type(cov).__name__}: expected a Covariance")
    p = cov.n_features
    indices = component_indices(components, p)
    require_partition(indices, p, "which gives it its λ")
    moments = cov.moments()
    moments.require_targets("the evidence")
    moments.require_scale()
    memory.require(24 * p * p, f"the evidence of {p} features", Advice.FEWER_FEATURES)
    surface = Surface(cov._core, moments, indices)
    climb = _Climb.of(surface)
    one = cov.largest_evidence().regularizer
    of_one = None if one is None else surface.at(np.full(len(indices), math.log(one)))
    best = climb.highest([] if of_one is None else [of_one.logs])
    _warn_of_edges(climb, best)
    warn_of_empty(best.explained, float(np.exp(best.logs.min())))
    return ComponentRegularizers(
        np.exp(best.logs),
        surface.penalty(best.logs),
        best.log_evidence,
        math.nan if of_one is None or not of_one.is_resolved else of_one.log_evidence,
        best.effective_dimension,
    )


@dataclass(frozen=True, eq=False)
class _Climb:
    """A search for the maximum between bounds.

    Attributes
    ----------
    surface : Surface
    start : ndarray of shape (n_components,)
        ln λ_c in proportion to `Surface.means`, at the highest point in that direction.
    low, high : ndarray of shape (n_components,)
        Bounds of ln λ_c. Along `low` the evidence is just resolved in the same direction; at larger
        λ_c H is larger, and rounding less.
    rises : bool
        Whether the evidence rises along this direction where it is just resolved.
    """

    surface: Surface
    start: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rises: bool = False

    @classmethod
    def of(cls, surface: Surface) -> _Climb:
        """Look at λ in proportion to the means, from large ones down to the last resolved."""
        means = surface.means
        logs = np.log(np.where(means > 0, means, means.max() if means.max() > 0 else 1.0))
        t = math.log(len(surface.diagonal))
        found: list[Point] = []
        while t > surface.least:
            point = surface.at(logs + t)
            if point is None or not point.is_resolved:
                break
            found.append(point)
            t -= math.log(10) / FACTORS_PER_DECADE
        if not found:
            raise AdvisedValueError("the evidence is resolved at no regularizer", Advice.LEAVE_ONE_OUT)
        start = max(found, key=lambda point: point.log_evidence)
        high = np.full(len(logs), math.log(100 * float(surface.diagonal.sum())))
        rises = len(found) > 1 and FACTORS_PER_DECADE * (found[-1].log_evidence - found[-2].log_evidence) > SLOPE
        return cls(surface, start.logs, found[-1].logs, np.maximum(high, found[0].logs), rises)

    def highest(self, starts: list[NDArray[np.float64]]) -> Point:
        """Return the highest maximum that is reached from these starts and the own one."""
        best = max((self._from(logs) for logs in [*starts, self.start]), key=lambda point: point.log_evidence)
        for component in np.flatnonzero(best.effective_dimension < OFF):
            logs = best.logs.copy()
            logs[component] = self.start[component]
            best = max(best, self._from(logs), key=lambda point: point.log_evidence)
        return best

    def _from(self, logs: NDArray[np.float64]) -> Point:
        """Climb from one start."""
        from scipy.optimize import minimize

        start = np.clip(logs, self.low, self.high)
        best = self.surface.at(start)
        if best is None:
            raise AdvisedValueError("the evidence is resolved at no regularizer", Advice.LEAVE_ONE_OUT)
        wall = abs(best.log_evidence) + 1e10
        first = best

        def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            nonlocal best
            point = self.surface.at(x)
            if point is None:  # H is not positive definite: the line search turns back
                return wall, np.zeros(len(x))
            if best is None or point.log_evidence > best.log_evidence:
                best = point
            return first.log_evidence - point.log_evidence, -point.gradient

        options = {"gtol": STATIONARY, "ftol": 0.0, "maxiter": MOST_STEPS}
        bounds = list(zip(self.low, self.high, strict=True))
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        if not found.success and np.abs(self.slopes(best)).max() > 1:
            warn(
                NotConvergedWarning,
                f"the evidence still rises by {np.abs(self.slopes(best)).max():.2g} nats per factor of e in a "
                f"regularizer after {found.nit} steps ({found.message})",
            )
        return best

    def slopes(self, point: Point) -> NDArray[np.float64]:
        """Return the gradient, 0 where a bound holds it back."""
        held = ((point.logs <= self.low) & (point.gradient < 0)) | ((point.logs >= self.high) & (point.gradient > 0))
        return np.where(held, 0.0, point.gradient)


def _warn_of_edges(climb: _Climb, best: Point) -> None:
    """Warn of components whose λ is the smallest resolved, though the evidence still rises."""
    rising = (best.logs <= climb.low) & (best.gradient < -SLOPE / math.log(10))
    if rising.any() or not best.is_resolved:
        which = np.flatnonzero(rising).tolist() or list(range(len(best.logs)))
        smallest = ", ".join(f"{value:.3g}" for value in np.exp(best.logs[which])[:5])
        warn(
            UnresolvedEvidenceWarning,
            f"evidence is best at the smallest regularizer at which it is resolved for component {some_of(which)} "
            f"({smallest}): {HIDDEN}, and a better regularizer may lie there",
            Advice.LEAVE_ONE_OUT,
        )
    elif climb.rises:
        warn_of_rise(float(np.exp(best.logs.min())), float(np.exp(climb.low.min())))
