"""Selection by ln|H| or by variance from a pool that is larger than memory, in a few reads of it.

A gain never grows as more is picked. So the candidates with the greatest gains are kept, and picks
are made from them until their best is no better than the best of all others was when the pool was
read. Then it is read again. Each read allows one pick at least; with data in H already, as many as
lower the best gain to that of the best that was not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities import _core
from rigidities.planning.candidates import updated
from rigidities.planning.limits import ROUNDED
from rigidities.planning.problem import Picks
from rigidities.validation import as_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.hessian import Hessian
    from rigidities.planning.limits import Limits

AT_ONCE = 8192
"""Rows of an array that are read at a time: 17 MB at p = 256."""

KEPT_BYTES = 500_000_000
"""Memory for the candidates that are kept, by default."""

BYTES = 20
"""Bytes for each feature of a candidate that is kept: of its row, whitened, and that in float32."""

MARGIN = 1e-10
"""Rounding of gains, as a part of them: of gains closer than that either may be the greater."""


def is_streamed(candidates: Any, memory_limit: float, objective: str, given: dict[str, Any]) -> bool:
    """Whether candidates come in batches, or are a file that does not fit in so much memory.

    Parameters
    ----------
    candidates : array_like, Rows or callable
    memory_limit : float
    objective : str
    given : dict
        Arguments that need all rows at once, or None: then a file is read into memory.

    Raises
    ------
    ValueError
        If candidates come in batches, and the objective or an argument needs all of them at once.
    """
    barred = [f'objective "{objective}"'] if objective != "determinant" else []
    barred += [name for name, value in given.items() if value is not None]
    if callable(candidates) and barred:
        raise ValueError(f"{barred[0]} needs all candidates at once, but they come in batches: pass an array")
    is_large = isinstance(candidates, np.memmap) and BYTES * candidates.size > memory_limit
    return callable(candidates) or (is_large and not barred)


@dataclass(frozen=True, eq=False)
class Stream:
    """A pool that can be read again and again, each row a candidate.

    Attributes
    ----------
    read : callable
        Returns an iterable of batches of rows.
    hessian : Hessian
        Says how wide the rows are, and of which feature space.
    n : int, optional
        Number of rows, where it is known.
    """

    read: Callable[[], Any]
    hessian: Hessian
    n: int | None = None

    @classmethod
    def of(cls, candidates: Any, hessian: Hessian) -> Stream:
        """Return the stream of a callable, or of an array in pieces."""
        if callable(candidates):
            return cls(candidates, hessian)
        starts = range(0, len(candidates), AT_ONCE)
        return cls(
            lambda: (np.array(candidates[start : start + AT_ONCE]) for start in starts), hessian, len(candidates)
        )

    def batches(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield batches, checked, with the place of their first row."""
        start, batches = 0, self.read()
        if not isinstance(batches, Iterable):
            raise TypeError(f"candidates() returns a {type(batches).__name__}: expected an iterable of batches of rows")
        for batch in batches:
            rows = self.hessian._rows(batch, None)
            if rows.groups is not None:
                raise ValueError("a batch of candidates has groups: reduce its rows first, with reduce_rows")
            if not np.isfinite(rows.values).all():
                row, column = np.argwhere(~np.isfinite(rows.values))[0]
                raise ValueError(
                    f"candidates[{start + row}, {column}] is {rows.values[row, column]}: only finite numbers are taken"
                )
            if len(rows.values):
                yield start, rows.values
                start += len(rows.values)
        if start == 0:
            raise ValueError("candidates have no rows: the batches are empty, or an iterator that can be read once")

    def count(self) -> int:
        """Return the number of candidates, for which batches are read once."""
        if self.n is not None:
            return self.n
        return sum(len(rows) for _, rows in self.batches())


@dataclass(frozen=True, eq=False)
class _Kept:
    """The candidates with the greatest scores.

    Attributes
    ----------
    indices : ndarray of shape (n_kept,), rising
    rows : ndarray of shape (n_kept, n_features)
    outside : float
        Greatest score of all others.
    """

    indices: NDArray[np.int64]
    rows: NDArray[np.float64]
    outside: float


def pick_streamed(
    stream: Stream,
    limits: Limits,
    weights: ArrayLike | None,
    n: int,
    memory_limit: float,
    progress: Callable[[int, int], object] | None,
) -> tuple[Picks, Hessian]:
    """Pick candidates by ln|H|, and return them with the Hessian that has them.

    Parameters
    ----------
    stream : Stream
    limits : Limits
        Without forced and present candidates.
    weights : array_like of shape (n,), optional
    n : int
        Number of candidates.
    memory_limit : float
        Bytes for the candidates that are kept.
    progress : callable, optional
        See `select`.
    """
    w = as_weights(weights, n)
    costs = np.ones(n) if limits.costs is None else limits.costs
    n_kept = max(int(memory_limit / (BYTES * stream.hessian.n_features)), 1)
    picked: list[Picks] = []
    hessian, made, spent, interrupted = stream.hessian, 0, 0.0, False
    is_open = np.ones(n, dtype=bool)
    is_open[limits.forbidden] = False
    while made < limits.count and not interrupted:
        left = limits.budget * (1 + ROUNDED) - spent
        try:
            # no name for what is kept: its memory is free for the next read
            found, hessian = _pick_from(
                _best(stream, hessian, w, costs, is_open & (costs <= left), n_kept),
                hessian, w, costs, limits.count - made, left,
            )  # fmt: skip
        except KeyboardInterrupt:
            if made == 0:
                raise
            found = _joined([], interrupted=True)
        if len(found.indices) == 0 and not found.interrupted:
            break
        picked.append(found)
        is_open[found.indices] = False
        made, interrupted = made + len(found.indices), found.interrupted
        spent += float(costs[found.indices].sum())
        if progress is not None and not interrupted:
            progress(made, limits.count if limits.is_counted else 0)
    return _joined(picked, interrupted), hessian


def _pick_from(
    kept: _Kept,
    hessian: Hessian,
    weights: NDArray[np.float64],
    costs: NDArray[np.float64],
    n_select: int,
    budget: float,
) -> tuple[Picks, Hessian]:
    """Pick until a candidate that was not kept may be better; return the new Hessian, too."""
    if len(kept.indices) == 0:
        return _joined([], interrupted=False), hessian
    some = kept.indices
    Z = hessian.whiten(kept.rows)
    Z *= np.sqrt(weights[some])[:, None]
    started = _core.Selection(Z, None, "determinant", None, [], (costs[some].tolist(), budget))
    interrupted = False
    try:
        started.advance(1)
        started.advance(n_select - 1, kept.outside * (1 + MARGIN))
    except KeyboardInterrupt:
        interrupted = True
    found = Picks.of(started, 0.0)
    if len(found.indices) == 0:
        raise KeyboardInterrupt
    chosen = some[found.indices]
    grown = updated(hessian, kept.rows[found.indices], weights[chosen])
    return Picks(chosen, found.gains, found.values, interrupted), grown


def _joined(picked: list[Picks], interrupted: bool) -> Picks:
    indices = np.concatenate([np.empty(0, dtype=np.int64), *(part.indices for part in picked)])
    gains = np.concatenate([np.empty(0), *(part.gains for part in picked)])
    return Picks(indices, gains, np.concatenate([[0.0], gains.cumsum()]), interrupted)


def _best(
    stream: Stream,
    hessian: Hessian,
    weights: NDArray[np.float64],
    costs: NDArray[np.float64],
    is_open: NDArray[np.bool_],
    n_kept: int,
) -> _Kept:
    """Read the pool, and keep the candidates with the greatest scores, of equal ones the first."""
    best, start, batch = _Best(n_kept), 0, np.empty((0, 1))
    for start, batch in stream.batches():
        if start + len(batch) > len(weights):
            raise ValueError(f"candidates had {len(weights)} rows when they were first read, and have more now")
        members = start + np.flatnonzero(is_open[start : start + len(batch)])
        gains = np.log1p(weights[members] * hessian.variance(batch)[members - start])
        best.add(members, gains / costs[members], batch[members - start])
    if start + len(batch) < len(weights):
        raise ValueError(f"candidates had {len(weights)} rows when they were first read, and {start + len(batch)} now")
    best.merge()
    return best.kept


class _Best:
    """The greatest of many scores, with their rows; merged when half as many again have come."""

    def __init__(self, n_kept: int) -> None:
        self.n_kept, self.waiting = n_kept, 0
        self.indices: list[NDArray[np.int64]] = []
        self.scores: list[NDArray[np.float64]] = []
        self.rows: list[NDArray[Any]] = []
        self.outside = -np.inf

    def add(self, indices: NDArray[np.int64], scores: NDArray[np.float64], rows: NDArray[Any]) -> None:
        able = scores > self.outside
        self.indices.append(indices[able])
        self.scores.append(scores[able])
        self.rows.append(rows[able])
        self.waiting += int(able.sum())
        if self.waiting > 1.5 * self.n_kept:
            self.merge()

    def merge(self) -> None:
        if not self.indices:
            return
        indices, scores = np.concatenate(self.indices), np.concatenate(self.scores)
        order = np.lexsort((indices, -scores))
        if len(order) > self.n_kept:
            self.outside = float(scores[order[self.n_kept]])
        front = np.sort(order[: self.n_kept])
        places = np.cumsum([0, *(len(part) for part in self.rows)])
        rows = np.empty((len(front), self.rows[0].shape[1]))
        for i, part in enumerate(self.rows):
            first, last = np.searchsorted(front, (places[i], places[i + 1]))
            rows[first:last] = part[front[first:last] - places[i]]
            self.rows[i] = rows[:0]  # the memory of the part is free for others
        self.indices, self.scores, self.rows = [indices[front]], [scores[front]], [rows]
        self.waiting = len(front)

    @property
    def kept(self) -> _Kept:
        if not self.indices:
            return _Kept(np.empty(0, dtype=np.int64), np.empty((0, 1)), -np.inf)
        return _Kept(self.indices[0], self.rows[0], self.outside)
