"""How many candidates are picked, and which may be: counts, costs, and lists of candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.validation import as_array, as_count, as_floats, as_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ROUNDED = 1e-12
"""Part of a budget by which sums of costs may exceed it: ten times 0.1 are within 1."""


@dataclass(frozen=True, eq=False)
class Limits:
    """What a selection may pick.

    Attributes
    ----------
    count : int
        Most picks.
    is_counted : bool
        Whether the caller gave their number, not a budget alone.
    costs : ndarray of shape (n_candidates,), optional
    budget : float
        Infinity without one.
    forced, forbidden, present : list of int
    """

    count: int
    is_counted: bool
    costs: NDArray[np.float64] | None
    budget: float
    forced: list[int]
    forbidden: list[int]
    present: list[int]

    @classmethod
    def of(
        cls,
        n: int,
        n_select: int | None,
        costs: ArrayLike | None,
        budget: float | None,
        forced: ArrayLike | None,
        forbidden: ArrayLike | None,
        present: ArrayLike | None,
    ) -> Limits:
        """Check the arguments of `select` against each other and the number n of candidates."""
        if n_select is None and budget is None:
            raise ValueError("n_select is missing: pass a number of picks, or a budget")
        prices = _as_costs(costs, n)
        named = {"forced": forced, "forbidden": forbidden, "present": present}
        lists = {name: indices_of(indices, name, n) for name, indices in named.items()}
        _require_disjoint(lists)
        able = n - len(lists["forbidden"]) - len(lists["present"])
        count = able if n_select is None else as_count(n_select, "n_select")
        if count > able:
            raise ValueError(f"n_select is {count} but only {able} of {n} candidates may be picked: ask for fewer")
        n_forced = len(lists["forced"])
        if n_forced > count:
            raise ValueError(f"{n_forced} candidates are forced but n_select is {count}: ask for more picks")
        needed = float(n_forced if prices is None else prices[lists["forced"]].sum())
        return cls(count, n_select is not None, prices, _as_budget(budget, needed), **lists)


def indices_of(indices: ArrayLike | None, name: str, n: int) -> list[int]:
    """Return indices of candidates, each once."""
    if indices is None:
        return []
    array = as_array(indices, name)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"{name} is an array of {array.dtype} and shape {array.shape}: expected indices of candidates")
    chosen: list[int] = array.tolist()
    seen = set()
    for index in chosen:
        if not 0 <= index < n:
            raise ValueError(f"{name} has {index}, but there are {n} candidates, counted from 0")
        if index in seen:
            raise ValueError(f"{name} has candidate {index} twice")
        seen.add(index)
    return chosen


def _require_disjoint(lists: dict[str, list[int]]) -> None:
    """Refuse a candidate that is in two lists."""
    seen: dict[int, str] = {}
    for name, indices in lists.items():
        for index in indices:
            if index in seen:
                raise ValueError(f"candidate {index} is in {seen[index]} and in {name}: leave it in one of them")
            seen[index] = name


def _as_costs(costs: ArrayLike | None, n: int) -> NDArray[np.float64] | None:
    """Return the cost of each candidate, above 0; None if all cost the same."""
    if costs is None:
        return None
    values = np.array(as_floats(costs, "costs", ndim=1, double=True))
    if values.shape != (n,):
        raise ValueError(f"costs has {len(values)} entries but there are {n} candidates")
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise ValueError(f"costs[{int(np.argmax(bad))}] is {values[bad][0]}: costs must be positive and finite")
    return values


def _as_budget(budget: float | None, needed: float) -> float:
    """Return the budget, or infinity; refuse one that the forced candidates exceed."""
    if budget is None:
        return np.inf
    limit = as_number(budget, "budget", "a positive number")
    if limit <= 0:
        raise ValueError(f"budget is {limit:g}: expected a positive number")
    if needed > limit * (1 + ROUNDED):
        raise ValueError(f"the forced candidates cost {needed:g} but budget is {limit:g}: raise it, or force fewer")
    return limit
