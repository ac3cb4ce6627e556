"""A selection as the compiled core takes it: run, and run again with other picks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities import _core
from rigidities.planning.limits import ROUNDED, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

STEPS = 100
"""Times that progress is reported, about."""

LEAST = 1e-12
"""An exchange gains if it raises the objective by more than this part of it, which is rounding."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Whitened candidates, and what is to be picked from them.

    Attributes
    ----------
    rows : ndarray of shape (n_rows, n_features)
    starts : ndarray of shape (n_candidates + 1,)
        Where the rows of each candidate begin, and those of the last end.
    objective : str
    targets : ndarray of shape (m, n_features), optional
        Whitened.
    target_weights : list of float
        Empty: equal ones.
    limits : Limits
    """

    rows: NDArray[np.float64]
    starts: NDArray[np.int64]
    objective: str
    targets: NDArray[np.float64] | None
    target_weights: list[float]
    limits: Limits

    def start(self, budget: float = np.inf) -> _core.Selection:
        """Start a selection: candidates that are present are taken up already."""
        starts = None if len(self.starts) == len(self.rows) + 1 else self.starts.tolist()
        costs = [] if self.limits.costs is None else self.limits.costs.tolist()
        limits = costs, budget
        started = _core.Selection(self.rows, starts, self.objective, self.targets, self.target_weights, limits)
        started.forbid(self.limits.forbidden)
        started.add_present(self.limits.present)
        return started


@dataclass(frozen=True, eq=False)
class Picks:
    """Candidates in the order of the picks.

    Attributes
    ----------
    indices : ndarray of int of shape (n_picks,)
    gains : ndarray of shape (n_picks,)
    values : ndarray of shape (n_picks + 1,)
        The objective before the first pick, and after each.
    interrupted : bool
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    values: NDArray[np.float64]
    interrupted: bool = False

    @classmethod
    def of(cls, started: _core.Selection, before: float, interrupted: bool = False) -> Picks:
        """Return the picks that a selection has made since the objective was `before`."""
        indices, gains, values = started.picks()
        return cls(indices, gains, np.concatenate([[before], values]), interrupted)


def picks_of(
    problem: Problem,
    sample: tuple[int, int] | None,
    n_swaps: int,
    progress: Callable[[int, int], object] | None,
) -> Picks:
    """Pick candidates, and exchange some of them afterwards.

    Parameters
    ----------
    problem : Problem
    sample : (int, int), optional
        How many candidates each step looks at, and a seed.
    n_swaps : int
    progress : callable, optional
        See `select`.

    Raises
    ------
    KeyboardInterrupt
        Before the first pick. Later the picks so far are returned.
    """
    started = problem.start(problem.limits.budget)
    before = started.value()
    try:
        if sample is not None:
            started.sample(*sample)
        started.force(problem.limits.forced)
        _advance(started, problem.limits, progress)
    except KeyboardInterrupt:
        found = Picks.of(started, before, interrupted=True)
        if len(found.indices) == 0:
            raise
        return found
    found = Picks.of(started, before)
    for _ in range(n_swaps):
        try:
            better = _exchanged(problem, found)
        except KeyboardInterrupt:
            return Picks(found.indices, found.gains, found.values, interrupted=True)
        if better is None:
            break
        found = better
    return found


def _advance(started: _core.Selection, limits: Limits, progress: Callable[[int, int], object] | None) -> None:
    """Pick as many as are wanted, or as a budget allows."""
    left = limits.count - len(limits.forced)
    at_once = max(left // STEPS, 1) if progress is not None else left
    while left > 0:
        asked = min(at_once, left)
        made = started.advance(asked)
        left -= made
        if progress is not None:
            progress(limits.count - left, limits.count if limits.is_counted else 0)
        if made < asked:
            return


# Exchanges ----------------------------------------------------------------------------------------


def _exchanged(problem: Problem, picks: Picks) -> Picks | None:
    """Exchange one pick for the candidate that gains most without it; None if no exchange gains.

    Greedy picks are rarely the best set: what was good alone may be worth little beside later
    picks. Of all exchanges the best is made (Fedorov, *Theory of Optimal Experiments*, 1972).
    """
    chosen, limits = picks.indices, problem.limits
    n = len(problem.starts) - 1
    costs = np.ones(n) if limits.costs is None else limits.costs
    free = np.ones(n, dtype=bool)
    free[[*chosen, *limits.forbidden, *limits.present]] = False
    most, best = LEAST * abs(float(picks.values[-1])), None
    for place in range(len(limits.forced), len(chosen)):
        others = np.delete(chosen, place)
        able = np.flatnonzero(free & (costs <= limits.budget * (1 + ROUNDED) - costs[others].sum()))
        if len(able) == 0:
            continue
        started = problem.start()
        started.force(others.tolist())
        gains = started.gains()
        candidate = int(able[np.argmax(gains[able])])
        rise = float(gains[candidate] - gains[chosen[place]])
        if rise > most:
            most, best = rise, (place, candidate)
    if best is None:
        return None
    exchanged = chosen.copy()
    exchanged[best[0]] = best[1]
    return _replayed(problem, exchanged.tolist())


def _replayed(problem: Problem, picks: Iterable[int]) -> Picks:
    """Return these picks with their gains and the objective after each."""
    started = problem.start()
    before = started.value()
    started.force(list(picks))
    return Picks.of(started, before)
