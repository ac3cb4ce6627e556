"""The λ of a path at which a criterion is least, and warnings of what speaks against it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, AdvisedValueError
from rigidities.spectrum.evidence import (
    EXPLAINED,
    warn_of_edge,
    warn_of_empty,
    warn_of_end,
    warn_of_hidden,
    warn_of_top,
)
from rigidities.spectrum.hiding import fault_on_path, refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.spectrum.evidence import Projection

SLOPE = 1e-3
"""Relative change of an error in a decade of λ from which an end of the path is worth a warning.
Ten decades of less would not change the error by 1 %."""


def least(
    projection: Projection, regularizers: NDArray[np.float64], losses: NDArray[np.float64], criterion: str
) -> float:
    """Return the λ at which the values of a criterion (n_λ,) are least; NaN is not resolved.

    Raises
    ------
    ValueError
        If all values are NaN, or if a penalty near to singular hides the best λ.

    Warns
    -----
    UnresolvedEvidenceWarning, EmptyFitWarning
        As `RegularizerPath.best`.
    """
    if np.isnan(losses).all():
        raise AdvisedValueError(
            f"{criterion} is resolved at no regularizer of the path ({regularizers.min():.3g} to "
            f"{regularizers.max():.3g}): rounding hides it",
            Advice.LARGER_OR_OTHER_CRITERION,
        )
    chosen = float(regularizers[np.nanargmin(losses)])
    explained = projection.explained(chosen)
    if criterion in ("evidence", "gcv"):
        _check_edge(projection, regularizers, losses, criterion, chosen)
    elif _falls_to_end(regularizers, losses, criterion, smallest=True):
        hidden = chosen > regularizers.min()
        (warn_of_hidden if hidden else warn_of_end)(criterion, chosen)
    if not explained < EXPLAINED and _falls_to_end(regularizers, losses, criterion, smallest=False):
        warn_of_top(criterion, chosen)
    warn_of_empty(explained, chosen)
    return chosen


def _check_edge(
    projection: Projection,
    grid: NDArray[np.float64],
    losses: NDArray[np.float64],
    criterion: str,
    chosen: float,
) -> None:
    """Warn if a criterion is best where it is resolved no further; raise if Λ hides it."""
    smallest = float(np.nanmin(np.where(np.isnan(losses), np.nan, grid)))
    edge = smallest if _is_edge(projection, grid, smallest, criterion) else None
    likelihood = -losses if criterion == "evidence" else -projection.degrees / 2 * np.log(losses)
    fault = fault_on_path(projection, grid, likelihood, edge, criterion)
    if fault is not None:
        raise refusal(fault)
    if chosen == edge:
        warn_of_edge(criterion, chosen)


def _is_edge(projection: Projection, grid: NDArray[np.float64], chosen: float, criterion: str) -> bool:
    """Whether a criterion is unresolved at all smaller λ of the path, and one step below."""
    step = (grid.max() / grid.min()) ** (1 / max(len(grid) - 1, 1))
    below = np.append(grid[grid < chosen], chosen / (step if step > 1 else 10.0))
    function = projection.log_evidence if criterion == "evidence" else projection.gcv
    return bool(np.isnan(function(below)).all())


def _falls_to_end(
    regularizers: NDArray[np.float64], losses: NDArray[np.float64], criterion: str, *, smallest: bool
) -> bool:
    """Whether a criterion is least, and not flat, at an end of the λ at which it is resolved."""
    if len(regularizers) == 1:
        return False  # one alone is no choice
    known = np.flatnonzero(~np.isnan(losses))
    order = known[np.argsort(regularizers[known])]
    logs, values = np.log10(regularizers[order]), losses[order]
    if not smallest:
        logs, values = -logs[::-1], values[::-1]
    if np.argmin(values) != 0:
        return False
    if criterion == "evidence" or len(values) == 1:
        return True
    away = min(int(np.searchsorted(logs, logs[0] + 1)), len(logs) - 1)  # a decade, or the other end
    near, far = values[0], values[away]
    if near == far:
        return False
    if criterion == "nll":  # the logarithm of a scale
        near, far = math.exp(near - far), 1.0
    change = math.log(far / near) if near > 0 else math.inf
    return bool(change > SLOPE * (logs[away] - logs[0]))
