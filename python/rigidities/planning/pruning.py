"""Which training data can go with the least loss: greedy removal, exact and in closed form.

Each step removes the candidate that costs least; `rigidities.planning.removal_costs` has the costs.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rigidities.exceptions import Advice, IllConditionedWarning, InterruptedWarning, warn
from rigidities.hessian import Hessian
from rigidities.planning.candidates import Candidates, whitened_targets
from rigidities.planning.limits import indices_of
from rigidities.planning.removal_costs import CostsInDeterminant, CostsInTargets, Removal, cheapest
from rigidities.rounding import roundoff_of
from rigidities.runtime import memory
from rigidities.validation import as_count, check_word

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows

OVER = 1e-6
"""Part by which a leverage may exceed 1 at least."""

Objective = Literal["determinant", "target_rigidity", "target_variance"]


@dataclass(frozen=True, eq=False)
class Pruned:
    """Removals in their order, and what they cost.

    Attributes
    ----------
    indices : ndarray of int of shape (n_removed,)
        Rows or blocks, counted in the order of the sorted labels.
    labels : ndarray of int of shape (n_removed,)
        Their labels in `blocks`, or places of rows.
    losses : ndarray of shape (n_removed,)
        Change of the objective by each removal: −Δ ln|H|, −Δ mean R or Δ mean v; not negative.
    objective_curve : ndarray of shape (n_removed + 1,)
        ln|H|, mean R or mean v: before the first removal and after each.
    hessian : Hessian
        Without what was removed. It has no fit.
    interrupted : bool
        Whether Ctrl-C has ended the pruning.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    losses: NDArray[np.float64]
    objective_curve: NDArray[np.float64]
    hessian: Hessian
    interrupted: bool = False


def prune(
    hessian: Hessian,
    F: ArrayLike | Rows,
    n_remove: int,
    *,
    weights: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
    targets: ArrayLike | Rows | None = None,
    target_weights: ArrayLike | None = None,
    objective: Objective | None = None,
    kept: ArrayLike | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Pruned:
    """Remove the training data that matter least: to the model, or to given targets.

    Each step removes the candidate that costs least of the objective, of equal ones (to 1e-12) the
    first. λ stays the same. Removals and losses are those of a pruning that factorises H anew for
    each candidate in each step. Ctrl-C ends it early: what was removed so far is returned, with a
    warning.

    Parameters
    ----------
    hessian : Hessian
        It is left as it is.
    F : array_like of shape (n_targets, n_features), or Rows
        Target rows that are in `hessian`, all of them or some. The groups of `Rows` are reduced by
        their mean.
    n_remove : int
        Number of rows, or of blocks, to remove.
    weights : array_like of shape (n_targets,), optional
        Their loss weights, as in the covariance.
    blocks : array_like of int of shape (n_targets,), optional
        Rows with the same label are removed together: the energy and the forces of a structure.
    targets : array_like of shape (m, n_features), or Rows, optional
        Rows of predictions whose rigidity is to be kept.
    target_weights : array_like of shape (m,), optional
        Weights of the mean over targets.
    objective : {"determinant", "target_rigidity", "target_variance"}, optional
        What is to be kept: ln|H| (by default without targets), the mean rigidity of the targets (by
        default with targets), or minus their mean variance.
    kept : array_like of int, optional
        Indices of candidates that stay.
    progress : callable, optional
        Called with the number of removals so far and the number asked for.

    Returns
    -------
    Pruned

    Raises
    ------
    ValueError, TypeError
        If more is to be removed than there is, shapes do not match, a number is not finite, or rows
        are not in the Hessian: without them it would not be positive definite.
    MemoryError
        If the whitened rows do not fit in memory.

    Warns
    -----
    IllConditionedWarning
        If each of the candidates that are left alone determines a direction to rounding. Nothing
        more is removed then.
    InterruptedWarning
        If Ctrl-C ended the pruning after a removal. Before the first, ``KeyboardInterrupt`` is
        raised.

    Examples
    --------
    Of two rows alike, one can go:

    >>> import numpy as np, rigidities as rg
    >>> F = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(F)
    >>> pruned = rg.prune(covariance.factorize(0.1), F, 1)
    >>> pruned.indices, pruned.losses.round(2)
    (array([1]), array([0.65]))
    """
    if not isinstance(hessian, Hessian):
        raise TypeError(f"hessian is a {type(hessian).__name__}: expected a Hessian, as Covariance.factorize returns")
    rule = ("determinant" if targets is None else "target_rigidity") if objective is None else objective
    check_word(rule, "objective", ("determinant", "target_rigidity", "target_variance"))
    hessian = copy.copy(hessian)  # one state, whatever another thread does to the one given
    pool = Candidates.of(hessian, F, None, "mean", weights, blocks)
    protected = indices_of(kept, "kept", len(pool))
    number = as_count(n_remove, "n_remove")
    if number > len(pool) - len(protected):
        raise ValueError(
            f"n_remove is {number} but only {len(pool) - len(protected)} of {len(pool)} candidates may be removed: "
            "ask for fewer"
        )
    Y, target_w = whitened_targets(hessian, targets, target_weights, rule)
    _require_memory(pool, hessian.n_features, 0 if Y is None else len(Y))
    Z = pool.whitened(hessian)
    _require_in(hessian, Z, pool.starts, roundoff_of(pool.rows))
    removal = Removal(Z, pool.starts)
    removal.able[protected] = False
    before, costs = _objective(hessian, removal, rule, Y, target_w)
    interrupted = False
    try:
        _remove(removal, costs, number, progress)
    except KeyboardInterrupt:
        if not removal.losses:
            raise
        interrupted = True
    if interrupted or len(removal.losses) < number:
        _warn_of_end(len(removal.losses), number, interrupted)
    return _pruned(hessian, pool, removal, before, -1.0 if rule == "target_variance" else 1.0, interrupted)


def _objective(
    hessian: Hessian, removal: Removal, rule: str, Y: NDArray[np.float64] | None, weights: list[float]
) -> tuple[float, CostsInDeterminant | CostsInTargets]:
    """Return the objective before any removal, and the costs of removals."""
    if Y is None:
        return hessian.log_determinant, CostsInDeterminant(removal)
    v = np.square(Y).sum(axis=1)
    w = np.full(len(Y), 1 / len(Y)) if len(weights) == 0 else np.array(weights) / np.sum(weights)
    with np.errstate(divide="ignore", over="ignore"):
        values = v if rule == "target_variance" else 1 / v
    if not np.isfinite(values).all():
        place = int(np.argmin(np.isfinite(values)))
        raise ValueError(
            f"target {place} has the variance {v[place]:g}, so that its rigidity is no number: leave out targets with "
            "rows of zeros"
        )
    return float(values @ w), CostsInTargets(removal, Y, w, in_rigidity=rule == "target_rigidity")


def _remove(
    removal: Removal,
    costs: CostsInDeterminant | CostsInTargets,
    number: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Remove so many candidates, or as many as can go."""
    while len(removal.losses) < number:
        now = costs.costs()
        index = cheapest(now)
        if index is None:
            return
        costs.follow(index)
        removal.remove(index, float(now[index]))
        if progress is not None:
            progress(len(removal.losses), number)


def _require_memory(pool: Candidates, p: int, m: int) -> None:
    """Raise unless whitened rows, twice, fit in memory, and for targets K and q of candidates."""
    sizes = np.minimum(np.diff(pool.starts), p)
    need = 8 * (2 * len(pool.rows) * p + (int((sizes**2).sum() + sizes.sum() * m) if m else 0))
    memory.require(need, f"whitened rows of {len(pool)} candidates", Advice.FEWER_AT_A_TIME)


def _require_in(hessian: Hessian, Z: NDArray[np.float64], starts: NDArray[np.int64], unit: float) -> None:
    """Raise if a row cannot be in H: its leverage zᵀz is above 1 by more than p·u/rcond."""
    leverage = np.square(Z).sum(axis=1)
    place = int(np.argmax(leverage))
    if leverage[place] <= 1 + OVER or leverage[place] <= 1 + Z.shape[1] * unit / hessian.rcond:
        return
    raise ValueError(
        f"a row of candidate {np.searchsorted(starts, place, side='right') - 1} has the leverage "
        f"{leverage[place]:.6g}, above 1, so that it is not in hessian: pass rows that are in it, with the weights of "
        "the fit"
    )


def _pruned(
    hessian: Hessian, pool: Candidates, removal: Removal, before: float, sign: float, interrupted: bool
) -> Pruned:
    losses = np.array(removal.losses)
    indices = np.array(removal.gone[: len(losses)], dtype=np.int64)
    smaller = copy.copy(hessian)
    taken = pool.rows_of(indices.tolist())
    if len(taken):
        smaller.downdate(np.asarray(pool.rows[taken], dtype=np.float64), weights=pool.weights[taken])
    curve = before - sign * np.concatenate([[0.0], np.cumsum(losses)])
    return Pruned(indices, pool.labels[indices], losses, curve, smaller, interrupted)


def _warn_of_end(n: int, asked: int, interrupted: bool) -> None:
    if interrupted:
        warn(InterruptedWarning, f"the pruning was interrupted after {n} of {asked} removals: these are returned")
        return
    warn(
        IllConditionedWarning,
        f"{n} of {asked} candidates were removed: each of the others alone determines a direction to rounding",
        Advice.RAISE_REGULARIZER,
    )
