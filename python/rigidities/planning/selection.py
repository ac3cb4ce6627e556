"""What to compute next: greedy selection from a pool of candidates, exact and in closed form.

A pick with rows F and weights W turns H into H + FᵀWF. Whitened rows z = √w L⁻¹f, H = L Lᵀ, are
computed once; then nothing is inverted again. For a single candidate row of variance d = zᵀz and
a target of variance v, with q their covariance,

    Δ ln|H| = ln(1 + d),    v' = v − q²/(1 + d),

and the same with matrices for a block of rows (Woodbury). Each step picks the candidate of the
greatest gain per cost. For ln|H| with k picks of equal cost, greedy picks gain at least 1 − 1/e of
the most that any k candidates gain (Nemhauser, Wolsey & Fisher, Math. Program. 14 (1978) 265). The
mean rigidity of targets is what Faraday Discuss. 256 (2025) 322 raises; for it there is no such
bound.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from rigidities.exceptions import Advice, InterruptedWarning, warn
from rigidities.hessian import Hessian
from rigidities.planning.candidates import Candidates, updated, whitened_targets
from rigidities.planning.limits import Limits
from rigidities.planning.problem import Picks, Problem, picks_of
from rigidities.planning.streaming import KEPT_BYTES, Stream, is_streamed, pick_streamed
from rigidities.runtime import memory
from rigidities.validation import as_generator, as_integer, as_number, check_reduction, check_word

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows
    from rigidities.validation import Reduction

Objective = Literal["determinant", "target_rigidity", "target_variance", "variance"]


@dataclass(frozen=True, eq=False)
class Selection:
    """Picks in their order, and what they bring.

    Attributes
    ----------
    indices : ndarray of int of shape (n_picks,)
        Candidates, counted in the order of the sorted labels.
    labels : ndarray of int of shape (n_picks,)
        Their labels in `blocks`, else in `groups`, else places of rows.
    gains : ndarray of shape (n_picks,)
        Change of the objective by each pick, not divided by its cost: Δ ln|H|, Δ mean R, −Δ mean v,
        or the pick's variance before any pick.
    objective_curve : ndarray of shape (n_picks + 1,)
        The objective before the first pick and after each: ln|H|, mean R, mean v, or the sum of the
        variances of the picks.
    hessian : Hessian
        The Hessian with the picks. It has no fit, as their targets are not known yet.
    interrupted : bool
        Whether Ctrl-C has ended the selection.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    gains: NDArray[np.float64]
    objective_curve: NDArray[np.float64]
    hessian: Hessian
    interrupted: bool = False


def select(
    hessian: Hessian,
    candidates: ArrayLike | Rows,
    n_select: int | None = None,
    *,
    groups: ArrayLike | None = None,
    reduction: Reduction = "mean",
    weights: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
    objective: Objective = "determinant",
    targets: ArrayLike | Rows | None = None,
    target_weights: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    budget: float | None = None,
    forced: ArrayLike | None = None,
    forbidden: ArrayLike | None = None,
    present: ArrayLike | None = None,
    n_swaps: int = 0,
    sample_fraction: float | None = None,
    random_state: int | np.random.Generator | None = None,
    memory_limit: float = KEPT_BYTES,
    progress: Callable[[int, int], object] | None = None,
) -> Selection:
    """Pick the candidates that say most: about the model, or about given targets.

    Each step takes the candidate of the greatest gain per cost, of equal ones (to 1e-12) the first.
    Picks and gains are those of a selection that factorises H anew for each candidate in each step.
    Ctrl-C ends it early: what was picked so far is returned, with a warning.

    Parameters
    ----------
    hessian : Hessian
        Of the data that are there already. It is left as it is.
    candidates : array_like of shape (n_rows, n_features), or Rows, or callable
        An array is held in memory, whitened. A callable returns an iterable of batches of rows, the
        same each time: for "determinant" they are read a few times, and the best kept. A memmap
        larger than `memory_limit` is read in the same way.
    n_select : int, optional
        Number of picks; it may exceed n_features. Not needed with a budget.
    groups, reduction, weights
        As for `Covariance.update`: what the candidates would have in the loss.
    blocks : array_like of int of shape (n_targets,), optional
        Rows with the same label are one candidate: the energy and the forces of a structure. By
        default each row is one.
    objective : {"determinant", "target_rigidity", "target_variance", "variance"}
        What the picks raise: ln|H|, what all data say about the weights; the mean rigidity of the
        targets, or minus their mean variance; or the variance that candidates have now, a plain
        ranking without updates (for a block the sum over its rows).
    targets : array_like of shape (m, n_features), or Rows, optional
        Rows of predictions to make rigid: of structures, atoms, forces, or components (zeros
        elsewhere). The groups of `Rows` are reduced by their mean.
    target_weights : array_like of shape (m,), optional
        Weights of the mean over targets.
    costs : array_like of shape (n_candidates,), optional
        Cost of each candidate, above 0; 1 by default.
    budget : float, optional
        The most that all picks may cost together. Candidates that exceed what is left are skipped.
    forced : array_like of int, optional
        Candidates that are picked first, in this order. They count, and they cost.
    forbidden : array_like of int, optional
        Candidates that are never picked.
    present : array_like of int, optional
        Candidates whose data are there, although not in `hessian` yet: they are added to it first,
        at no cost, and are no picks.
    n_swaps : int, default 0
        Greatest number of exchanges afterwards, of a pick for another candidate, each the best of
        all. Each looks at all candidates once per pick.
    sample_fraction : float, optional
        Stochastic greedy selection, for "determinant": each step looks at a random part of the
        candidates. With the part ln(1/ε)/n_select, the expected gain is at least 1 − 1/e − ε of
        the most possible (Mirzasoleiman et al., AAAI 2015, 1812).
    random_state : int or numpy.random.Generator, optional
        For the samples.
    memory_limit : float, default 5e8
        Bytes for the candidates that are kept of a pool that is read in batches.
    progress : callable, optional
        Called with the number of picks so far and the number asked for (with a budget: 0).

    Returns
    -------
    Selection

    Raises
    ------
    ValueError, TypeError
        If more picks are asked for than there are candidates; if targets are missing, of another
        width or zero; if costs, lists of candidates or other arguments do not fit, or as
        `Covariance.update`.
    MemoryError
        If the whitened candidates do not fit in memory.

    Warns
    -----
    InterruptedWarning
        If Ctrl-C ended the selection after a pick. Before the first, ``KeyboardInterrupt`` is
        raised.

    Examples
    --------
    Two structures alike, and one that differs: with one of the two, the other has little to add.

    >>> import numpy as np, rigidities as rg
    >>> covariance = rg.Covariance(2)
    >>> covariance.update([[1.0, 0.0]])
    >>> hessian = covariance.factorize(0.1)
    >>> pool = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.5]])
    >>> picked = rg.select(hessian, pool, 2)
    >>> picked.indices, picked.gains.round(2)
    (array([1, 2]), array([2.4 , 0.72]))
    """
    if not isinstance(hessian, Hessian):
        raise TypeError(f"hessian is a {type(hessian).__name__}: expected a Hessian, as Covariance.factorize returns")
    check_word(objective, "objective", get_args(Objective))
    check_reduction(reduction)
    swaps = _as_swaps(n_swaps)
    hessian = copy.copy(hessian)  # one state, whatever another thread does to the one given
    at_once = {"groups": groups, "blocks": blocks, "targets": targets, "forced": forced, "present": present}
    at_once |= {"n_swaps": swaps or None, "sample_fraction": sample_fraction}
    if is_streamed(candidates, _as_bytes(memory_limit), objective, at_once):
        stream = Stream.of(candidates, hessian)
        n = stream.count()
        limits = Limits.of(n, n_select, costs, budget, None, forbidden, None)
        picked, grown = pick_streamed(stream, limits, weights, n, memory_limit, progress)
        return _result(np.arange(n), limits, objective, picked, grown)
    pool = Candidates.of(hessian, candidates, groups, reduction, weights, blocks)
    limits = Limits.of(len(pool), n_select, costs, budget, forced, forbidden, present)
    sample = _as_sample(sample_fraction, objective, len(pool), random_state)
    Y, target_w = whitened_targets(hessian, targets, target_weights, objective)
    _require_memory(pool, hessian.n_features, 0 if Y is None else len(Y))
    problem = Problem(pool.whitened(hessian), pool.starts, objective, Y, target_w, limits)
    picked = picks_of(problem, sample, swaps, progress)
    taken = pool.rows_of([*limits.present, *picked.indices])
    grown = updated(hessian, pool.rows[taken], pool.weights[taken])
    return _result(pool.labels, limits, objective, picked, grown)


def _result(labels: NDArray[np.int64], limits: Limits, objective: str, picked: Picks, grown: Hessian) -> Selection:
    """Return the picks, with a warning if there are fewer than were asked for."""
    if picked.interrupted:
        fault = f"the selection was interrupted after {len(picked.indices)} of {limits.count} picks: these are returned"
        warn(InterruptedWarning, fault)
    curve = picked.values
    if objective == "determinant":  # from sums of gains to ln|H|
        curve = curve + (grown.log_determinant - curve[-1])
    return Selection(picked.indices, labels[picked.indices], picked.gains, curve, grown, picked.interrupted)


def _as_bytes(memory_limit: float) -> float:
    limit = as_number(memory_limit, "memory_limit", "a positive number of bytes")
    if limit <= 0:
        raise ValueError(f"memory_limit is {limit:g}: expected a positive number of bytes")
    return limit


def _as_swaps(n_swaps: int) -> int:
    swaps = as_integer(n_swaps, "n_swaps")
    if swaps < 0:
        raise ValueError(f"n_swaps is {swaps}: expected an integer from 0")
    return swaps


def _as_sample(
    fraction: float | None, objective: str, n: int, random_state: int | np.random.Generator | None
) -> tuple[int, int] | None:
    """Return how many candidates a step looks at, and a seed."""
    if fraction is None:
        return None
    if objective != "determinant":
        raise ValueError(
            f'sample_fraction is for objective "determinant", not "{objective}": samples of others guarantee nothing'
        )
    part = as_number(fraction, "sample_fraction", "a number above 0, up to 1")
    if not 0 < part <= 1:
        raise ValueError(f"sample_fraction is {part:g}: expected a number above 0, up to 1")
    seed = int(as_generator(random_state).integers(2**63))
    return int(np.ceil(part * n)), seed


def _require_memory(pool: Candidates, p: int, m: int) -> None:
    """Raise unless the whitened rows, and what is kept of them, fit in memory.

    For m targets these are covariances of the rows of each candidate with one another and with the
    targets; without any, for candidates of one row, the rows in float32.
    """
    n, sizes = len(pool.rows), np.diff(pool.starts)
    need = 8 * n * (p + m)
    if m:
        need += 8 * int((sizes**2).sum())
    elif len(pool) == n:
        need += 4 * n * p
    memory.require(need, f"the whitened rows of {len(pool)} candidates", Advice.FEWER_CANDIDATES)
