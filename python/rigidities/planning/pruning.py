"""Which training data can go with the least loss: greedy removal, exact and in closed form.

Without rows F of weights W, H becomes H − FᵀWF. With whitened rows z = √w L⁻¹f, H = L Lᵀ, and G the
rows of a candidate, K = GGᵀ,

    −Δ ln|H| = −ln|I − K|,    v' = v + q(I − K)⁻¹qᵀ,

v the variance of a target and q its covariances with the rows (Woodbury). Each step removes the
candidate that costs least. Removals change what is whitened: with A = I − ΣGᵀG over what is gone,
rows are zM, A⁻¹ = MMᵀ. What a removal costs in ln|H| only rises as others go, so a cost from an
earlier step is a lower bound, and few candidates are looked at again in each step.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rigidities.exceptions import Advice, IllConditionedWarning, warn
from rigidities.hessian import Hessian
from rigidities.planning.candidates import Candidates, whitened_targets
from rigidities.planning.limits import indices_of
from rigidities.runtime import memory
from rigidities.validation import as_count, check_word

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows

TIED = 1e-12
"""Relative difference of costs that are equal: rounding of symmetric twins. The first goes."""

LEAST = 1e-10
"""Least eigenvalue of I − K that rounding leaves digits of. A candidate beyond alone determines a
direction; it is kept."""

MOST_LEVERAGE = 2.0
"""Leverage above which rows are not in H: there it is 1 at most, and rounding adds less than 1."""

AT_ONCE = 64
"""Candidates whose costs are computed anew together, those of the least bounds."""

FEW = 4
"""Up to p/4 rows M gets a correction of their rank, 2p²r operations; beyond, the Cholesky factor of
A, p³ with its inverse, is cheaper, and free of what corrections have summed up."""

RENEWED = 64
"""Corrections of M between two factorisations of A."""

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
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    losses: NDArray[np.float64]
    objective_curve: NDArray[np.float64]
    hessian: Hessian


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
    each candidate in each step.

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
    rule = objective or ("determinant" if targets is None else "target_rigidity")
    check_word(rule, "objective", ("determinant", "target_rigidity", "target_variance"))
    pool = Candidates.of(hessian, F, None, "mean", weights, blocks)
    protected = indices_of(kept, "kept", len(pool))
    number = as_count(n_remove, "n_remove")
    if number > len(pool) - len(protected):
        raise ValueError(
            f"n_remove is {number} but only {len(pool) - len(protected)} of {len(pool)} candidates may be removed: "
            "ask for fewer"
        )
    Y, w = whitened_targets(hessian, targets, target_weights, rule)
    p = hessian.n_features
    memory.require(16 * len(pool.rows) * p, f"whitened rows of {len(pool)} candidates", Advice.FEWER_AT_A_TIME)
    removal = _Removal(_of_hessian(pool.whitened(hessian), pool.starts), pool.starts)
    found = _Determinant(removal) if Y is None else _Targets(removal, Y, np.array(w), rule)
    removal.keep(protected)
    while len(removal.gone) < number:
        if not removal.remove(found.costs()):
            _warn_of_end(len(removal.gone), number)
            break
        if progress is not None:
            progress(len(removal.gone), number)
    return _pruned(hessian, pool, removal, found.before(hessian), -1.0 if rule == "target_variance" else 1.0)


def _of_hessian(Z: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return whitened rows; refuse those that cannot be in H."""
    leverages = np.square(Z).sum(axis=1)
    row = int(np.argmax(leverages))
    if leverages[row] > MOST_LEVERAGE:
        raise ValueError(
            f"a row of candidate {int(np.searchsorted(starts, row, side='right')) - 1} has the leverage w·fᵀH⁻¹f = "
            f"{leverages[row]:.3g}, where rows in hessian have 1 at most: pass the rows and weights of the fit"
        )
    return Z


def _pruned(hessian: Hessian, pool: Candidates, removal: _Removal, before: float, sign: float) -> Pruned:
    indices, losses = np.array(removal.gone, dtype=np.int64), np.array(removal.losses)
    smaller = copy.copy(hessian)
    taken = pool.rows_of(removal.gone)
    if len(taken):
        smaller.downdate(np.asarray(pool.rows[taken], dtype=np.float64), weights=pool.weights[taken])
    curve = before - sign * np.concatenate([[0.0], np.cumsum(losses)])
    return Pruned(indices, pool.labels[indices], losses, curve, smaller)


def _warn_of_end(n: int, asked: int) -> None:
    warn(
        IllConditionedWarning,
        f"{n} of {asked} candidates were removed: each of the others alone determines a direction to rounding, or is "
        "not in hessian",
        Advice.RAISE_REGULARIZER,
    )


class _Removal:
    """Whitened rows of candidates, what has gone, and the map M to what H is without it."""

    def __init__(self, Z: NDArray[np.float64], starts: NDArray[np.int64]) -> None:
        p = Z.shape[1]
        self.Z, self.starts = Z, starts
        self.A, self.M = np.eye(p), np.eye(p)
        self.gone: list[int] = []
        self.losses: list[float] = []
        self.able = np.ones(len(starts) - 1, dtype=bool)
        self._corrections = 0

    def keep(self, indices: list[int]) -> None:
        """Never remove these."""
        self.able[indices] = False

    def rows(self, index: int) -> NDArray[np.float64]:
        """Rows of a candidate, whitened by H as it was at the start."""
        return self.Z[self.starts[index] : self.starts[index + 1]]

    @property
    def is_of_rows(self) -> bool:
        """Whether each candidate is one row."""
        return len(self.starts) == len(self.Z) + 1

    def remove(self, costs: NDArray[np.float64]) -> bool:
        """Remove the candidate of the least cost; return whether there is one."""
        allowed = np.where(self.able, costs, np.inf)
        least = float(allowed.min(initial=np.inf))
        if not np.isfinite(least):
            return False
        index = int(np.argmax(allowed <= least + TIED * abs(least)))
        self.able[index] = False
        self.gone.append(index)
        self.losses.append(float(costs[index]))
        G = self.rows(index)
        self.A -= G.T @ G
        self._correct(G)
        return True

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
        self.M = self.M + ((self.M @ whitened.T) @ S) @ whitened


def _log_loss(G: NDArray[np.float64]) -> float:
    """−ln|I − GGᵀ|, infinite where rounding leaves no digit of it."""
    r, p = G.shape
    left = np.eye(min(r, p)) - (G @ G.T if r <= p else G.T @ G)
    try:
        pivots = np.diagonal(np.linalg.cholesky(left))
    except np.linalg.LinAlgError:
        return np.inf
    return float(-2 * np.log(pivots).sum()) if pivots.min() ** 2 > LEAST else np.inf


class _Determinant:
    """Costs of removals in ln|H|. Only lower bounds are kept of those that cannot be the least."""

    def __init__(self, removal: _Removal) -> None:
        self._removal = removal
        self._bounds = self._exact(np.arange(len(removal.able)))

    def before(self, hessian: Hessian) -> float:
        return hessian.log_determinant

    def _exact(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        removal = self._removal
        if removal.is_of_rows:
            share = np.square(removal.Z[indices] @ removal.M).sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(share < 1 - LEAST, -np.log1p(-share), np.inf)
        return np.array([_log_loss(removal.rows(index) @ removal.M) for index in indices.tolist()])

    def costs(self) -> NDArray[np.float64]:
        """Costs now: exact for all that may be the least, infinite for the others."""
        bounds, able = self._bounds, self._removal.able
        order = np.flatnonzero(able)
        order = order[np.argsort(bounds[order], kind="stable")]
        least, exact = np.inf, np.full(len(bounds), np.inf)
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            if bounds[some[0]] > least + TIED * abs(least):
                break
            bounds[some] = exact[some] = self._exact(some)
            least = min(least, float(exact[some].min()))
        return exact


class _Targets:
    """Costs of removals in the mean rigidity, or the mean variance, of targets."""

    def __init__(self, removal: _Removal, Y: NDArray[np.float64], w: NDArray[np.float64], rule: str) -> None:
        self._removal, self._Y, self._rule = removal, Y, rule
        self._w = np.full(len(Y), 1 / len(Y)) if len(w) == 0 else w / w.sum()

    def _mean(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean rigidity, or minus the mean variance, along the last axis."""
        with np.errstate(divide="ignore"):
            return np.asarray((-v if self._rule == "target_variance" else 1 / v) @ self._w)

    def before(self, hessian: Hessian) -> float:
        mean = float(self._mean(np.square(self._Y).sum(axis=1)))
        return -mean if self._rule == "target_variance" else mean

    def costs(self) -> NDArray[np.float64]:
        """Costs now, of all that may be removed."""
        removal = self._removal
        Y = self._Y @ removal.M
        v = np.square(Y).sum(axis=1)
        if removal.is_of_rows:
            return self._of_rows(Y, v)
        exact, now = np.full(len(removal.able), np.inf), float(self._mean(v))
        for index in np.flatnonzero(removal.able).tolist():
            rise = _rise(removal.rows(index) @ removal.M, Y)
            exact[index] = np.inf if rise is None else now - float(self._mean(v + rise))
        return exact

    def _of_rows(self, Y: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        removal, exact, now = self._removal, np.full(len(self._removal.able), np.inf), float(self._mean(v))
        able = np.flatnonzero(removal.able)
        for start in range(0, len(able), 1024):
            some = able[start : start + 1024]
            Z = removal.Z[some] @ removal.M
            left = 1 - np.square(Z).sum(axis=1)
            known = left > LEAST
            rise = np.square(Z[known] @ Y.T) / left[known, None]
            exact[some[known]] = now - self._mean(v + rise)
        return exact


def _rise(G: NDArray[np.float64], Y: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """q(I − K)⁻¹qᵀ of each target; None where rounding leaves no digit of it."""
    from scipy.linalg import solve_triangular

    r, p = G.shape
    try:
        if r <= p:
            L = np.linalg.cholesky(np.eye(r) - G @ G.T)
            half = solve_triangular(L, G @ Y.T, lower=True)
            rise = np.square(half).sum(axis=0)
        else:  # Y(I − GᵀG)⁻¹Yᵀ − YYᵀ
            L = np.linalg.cholesky(np.eye(p) - G.T @ G)
            rise = np.square(solve_triangular(L, Y.T, lower=True)).sum(axis=0) - np.square(Y).sum(axis=1)
    except np.linalg.LinAlgError:
        return None
    return np.asarray(rise) if np.diagonal(L).min() ** 2 > LEAST else None
