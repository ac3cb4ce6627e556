"""What removals cost, exactly, as they follow one another.

Without rows F of weights W, H becomes H − FᵀWF. With whitened rows z = √w L⁻¹f, H = L Lᵀ, and G the
rows of a candidate, K = GGᵀ,

    −Δ ln|H| = −ln|I − K|,    v' = v + q(I − K)⁻¹qᵀ,

v the variance of a target and q its covariances with the rows (Woodbury). Removals change what is
whitened: with A = I − ΣGᵀG over what is gone, rows are zM, A⁻¹ = MMᵀ. What a removal costs in ln|H|
only rises as others go, so a cost from an earlier step is a lower bound, and few candidates are
looked at again in each step. For targets there is no such bound: K and q of all candidates follow
each removal, which reads the whitened rows once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIED = 1e-12
"""Relative difference of costs that are equal: rounding of symmetric twins. The first goes."""

LEAST = 1e-10
"""Least eigenvalue of I − K that rounding leaves digits of. A candidate beyond alone determines a
direction; it is kept."""

AT_ONCE = 64
"""Rows whose costs are computed anew together, those of the least bounds."""

FEW = 4
"""Up to p/4 rows M gets a correction of their rank, 2p²r operations; beyond, the Cholesky factor of
A, p³ with its inverse, is cheaper, and free of what corrections have summed up."""

RENEWED = 64
"""Corrections of M between two factorisations of A, and of K and q before new ones."""

NUMBERS_AT_ONCE = 1 << 17
"""Numbers in an array of pairs of candidates and targets: 1 MB, which stays in a cache."""


def shortened(Z: NDArray[np.float64], starts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return candidates of at most p rows each: of more, the triangular factor R, RᵀR = GᵀG."""
    p, sizes = Z.shape[1], np.diff(starts)
    if (sizes <= p).all():
        return Z, starts
    parts = [Z[a:b] if b - a <= p else np.linalg.qr(Z[a:b], mode="r") for a, b in itertools.pairwise(starts.tolist())]
    return np.concatenate(parts), np.cumsum([0, *np.minimum(sizes, p)])


class Removal:
    """Whitened rows of candidates, what has gone, and the map M to what H is without it."""

    def __init__(self, Z: NDArray[np.float64], starts: NDArray[np.int64]) -> None:
        self.Z, self.starts = shortened(Z, starts)
        p = Z.shape[1]
        self.A, self.M = np.eye(p), np.eye(p)
        self.gone: list[int] = []
        self.losses: list[float] = []
        self.able = np.ones(len(starts) - 1, dtype=bool)
        self._corrections = 0

    def rows(self, index: int) -> NDArray[np.float64]:
        """Rows of a candidate, whitened by H as it was at the start."""
        return self.Z[self.starts[index] : self.starts[index + 1]]

    def remove(self, index: int, cost: float) -> None:
        """Remove a candidate: A and M follow."""
        G = self.rows(index)
        self.able[index] = False
        self.A -= G.T @ G
        self._correct(G)
        self.gone.append(index)
        self.losses.append(cost)

    def _correct(self, G: NDArray[np.float64]) -> None:
        """M for the new A: (I − GᵀG)^−½ = I + GᵀSG in coordinates of the old M."""
        self._corrections += 1
        if FEW * len(G) > len(self.A) or self._corrections >= RENEWED:
            self._corrections = 0
            L = np.linalg.cholesky(0.5 * (self.A + self.A.T))
            self.M = np.linalg.inv(L).T
            return
        whitened = G @ self.M
        share, U = np.linalg.eigh(whitened @ whitened.T)
        # (1/√(1 − κ) − 1)/κ, without its 0/0 at κ = 0
        root = np.sqrt(1 - np.maximum(share, 0.0))
        S = (U / (root * (1 + root))) @ U.T
        self.M += ((self.M @ whitened.T) @ S) @ whitened


def cheapest(costs: NDArray[np.float64]) -> int | None:
    """Return the first candidate of the least cost; None if all are infinite."""
    least = float(costs.min(initial=np.inf))
    return int(np.argmax(costs <= least + TIED * abs(least))) if np.isfinite(least) else None


def _log_loss(G: NDArray[np.float64]) -> float:
    """−ln|I − GGᵀ|, infinite where rounding leaves no digit of it.

    With I − K = L Lᵀ, L_jj² = 1 − K_jj − Σ_{i<j} L_ji²: the sum that is subtracted keeps the digits
    of small losses.
    """
    K = G @ G.T
    try:
        L = np.linalg.cholesky(np.eye(len(K)) - K)
    except np.linalg.LinAlgError:
        return np.inf
    taken = np.diagonal(K) + np.square(np.tril(L, -1)).sum(axis=1)
    return float(-np.log1p(-taken).sum()) if taken.max(initial=0.0) < 1 - LEAST else np.inf


class CostsInDeterminant:
    """Costs of removals in ln|H|. Only lower bounds are kept of those that cannot be the least."""

    def __init__(self, removal: Removal) -> None:
        self._removal = removal
        self._sizes = np.diff(removal.starts)
        self._bounds = np.empty(len(self._sizes))
        every = np.arange(len(self._sizes))
        for some in self._parts(every, 16 * AT_ONCE):
            self._bounds[some] = self._exact(some)

    def _parts(self, order: NDArray[np.int64], n_rows: int) -> Iterator[NDArray[np.int64]]:
        """Yield candidates in this order, some at a time: so many rows, or one candidate."""
        places = np.cumsum(self._sizes[order])
        first = 0
        while first < len(order):
            before = places[first] - self._sizes[order[first]]
            last = max(int(np.searchsorted(places, before + n_rows, side="right")), first + 1)
            yield order[first:last]
            first = last

    def _exact(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        removal, sizes = self._removal, self._sizes[indices]
        ends = np.cumsum(sizes)
        rows = np.arange(ends[-1]) + np.repeat(removal.starts[indices] - (ends - sizes), sizes)
        G = removal.Z[rows] @ removal.M
        if (sizes == 1).all():
            share = np.square(G).sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(share < 1 - LEAST, -np.log1p(-share), np.inf)
        return np.array([_log_loss(of_one) for of_one in np.split(G, ends[:-1])])

    def costs(self) -> NDArray[np.float64]:
        """Costs now: exact for all that may be the least, infinite for the others."""
        bounds, able = self._bounds, np.flatnonzero(self._removal.able)
        least, exact = np.inf, np.full(len(bounds), np.inf)
        # mostly those of the least bounds are enough, so that few are sorted
        edge = np.partition(bounds[able], AT_ONCE)[AT_ONCE] if len(able) > AT_ONCE else np.inf
        for part in (able[bounds[able] < edge], able[bounds[able] >= edge]):
            possible = part[bounds[part] <= least + TIED * abs(least)]
            for some in self._parts(possible[np.argsort(bounds[possible], kind="stable")], AT_ONCE):
                if bounds[some[0]] > least + TIED * abs(least):
                    break
                bounds[some] = exact[some] = self._exact(some)
                least = min(least, float(exact[some].min()))
        return exact

    def follow(self, index: int) -> None:
        """Nothing follows a removal: a cost is a bound from then on."""


class CostsInTargets:
    """Costs of removals in the mean rigidity, or the mean variance, of targets.

    Parameters
    ----------
    removal : Removal
    Y : ndarray of shape (m, p)
        Whitened targets.
    w : ndarray of shape (m,)
        Their weights, of sum 1.
    in_rigidity : bool
        Whether the mean rigidity counts, not the mean variance.
    """

    def __init__(self, removal: Removal, Y: NDArray[np.float64], w: NDArray[np.float64], *, in_rigidity: bool) -> None:
        self._removal, self._Y, self._w, self._in_rigidity = removal, Y, w, in_rigidity
        sizes = np.diff(removal.starts)
        # candidates of a size, and their rows: stacked, so that no loop runs over candidates
        self._classes = [
            (of_size, removal.starts[of_size, None] + np.arange(size))
            for size in np.unique(sizes)
            for of_size in [np.flatnonzero(sizes == size)]
        ]
        self._renew()

    def _renew(self) -> None:
        """Compute v, K of each candidate and q of each row anew, free of rounding of changes."""
        removal = self._removal
        self._changes = 0
        Y = self._Y @ removal.M
        self._v = np.square(Y).sum(axis=1)
        self._q = np.empty((len(removal.Z), len(Y)))
        self._K = [np.empty((*rows.shape, rows.shape[1])) for _, rows in self._classes]
        for (_, rows), K in zip(self._classes, self._K, strict=True):
            for some in _slices(len(rows), rows.shape[1] * len(removal.A)):
                G = removal.Z[rows[some]] @ removal.M
                self._q[rows[some]] = G @ Y.T
                np.matmul(G, G.transpose(0, 2, 1), out=K[some])

    def follow(self, index: int) -> None:
        """Follow the removal of a candidate, before M does.

        Covariances of rows with the candidate's, C, and K of the candidate: all covariances a·b
        rise by the products of C L⁻ᵀ, I − K = L Lᵀ.
        """
        from scipy.linalg import solve_triangular

        removal = self._removal
        G = removal.rows(index) @ removal.M
        self._changes += 1
        L = np.linalg.cholesky(np.eye(len(G)) - G @ G.T)
        half = solve_triangular(L, G, lower=True)
        back = half @ removal.M.T
        of_targets, of_rows = back @ self._Y.T, removal.Z @ back.T
        self._v += np.square(of_targets).sum(axis=0)
        for some in _slices(len(of_rows), len(self._v)):
            self._q[some] += of_rows[some] @ of_targets
        for (_, rows), K in zip(self._classes, self._K, strict=True):
            for some in _slices(len(rows), rows.shape[1] ** 2):
                C = of_rows[rows[some]]
                K[some] += C @ C.transpose(0, 2, 1)

    def costs(self) -> NDArray[np.float64]:
        """Costs now, of all that may be removed."""
        removal = self._removal
        if self._changes >= RENEWED:
            self._renew()
        exact = np.full(len(removal.able), np.inf)
        for (indices, rows), K in zip(self._classes, self._K, strict=True):
            able = np.flatnonzero(removal.able[indices])
            for some in _slices(len(able), rows.shape[1] * max(len(self._v), rows.shape[1])):
                chosen = able[some]
                exact[indices[chosen]] = self._of_some(K[chosen], self._q[rows[chosen]])
        return exact

    def _of_some(self, K: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Costs of candidates of one size: K (n, r, r), q (n, r, m)."""
        n, r, _ = K.shape
        if r == 1:
            left = 1 - K[:, 0]
            known = left[:, 0] > LEAST
            return self._losses(known, np.square(q[known, 0]) / left[known])
        left = np.eye(r) - K
        known = np.ones(n, dtype=bool)
        try:
            L = np.linalg.cholesky(left)
        except np.linalg.LinAlgError:
            L = np.empty_like(left)
            for index, of_one in enumerate(left):
                try:
                    L[index] = np.linalg.cholesky(of_one)
                except np.linalg.LinAlgError:
                    known[index] = False
        known[known] = np.diagonal(L[known], axis1=1, axis2=2).min(axis=1) ** 2 > LEAST
        return self._losses(known, np.square(np.linalg.solve(L[known], q[known])).sum(axis=1))

    def _losses(self, known: NDArray[np.bool_], rise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the rises of v, or of 1/v − 1/(v + rise), computed without cancellation."""
        losses = np.full(len(known), np.inf)
        losses[known] = ((rise / self._v) / (self._v + rise) if self._in_rigidity else rise) @ self._w
        return losses


def _slices(n: int, numbers: int) -> Iterator[slice]:
    """Yield parts of n items of so many numbers each."""
    step = max(1, NUMBERS_AT_ONCE // max(numbers, 1))
    for start in range(0, n, step):
        yield slice(start, start + step)
