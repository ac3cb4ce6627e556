"""How rigidities and errors change with the number of training structures.

Faraday Discuss. 256 (2025) 322, section 3: distributions of PR and LPR against the size of the
training set. λ is the same at all sizes, so that a rigidity never falls: what it gains is due to
data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import Advice, SetByPriorWarning, held, issue
from rigidities.planning.curve import LearningCurve, Steps
from rigidities.rows import CheckedRows, Rows, reduce_rows
from rigidities.runtime import memory
from rigidities.validation import (
    as_array,
    as_count,
    as_generator,
    as_labels,
    as_targets,
    as_weights,
    block_members,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.hessian import Hessian
    from rigidities.validation import Reduction

ROWS_AT_ONCE = 8192
"""Training rows that are gathered together: 33 MB at p = 512."""

N_SIZES = 10


def learning_curve(
    F: ArrayLike | Rows,
    X: ArrayLike | Rows,
    *,
    blocks: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    y: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    n_orders: int = 8,
    regularizer: float | Literal["auto"] = "auto",
    penalty: ArrayLike | None = None,
    random_state: int | np.random.Generator | None = None,
    selected: ArrayLike | None = None,
    components: Any = None,
    groups: ArrayLike | None = None,
    reduction: Reduction = "mean",
    progress: Callable[[int, int], object] | None = None,
) -> LearningCurve:
    """Rigidities of some predictions, and errors, against the number of training structures.

    Each order adds the blocks one after the other; the covariance grows, and is factorised at each
    size. The cost is one covariance and one factor per size, for each order.

    Parameters
    ----------
    F : array_like of shape (n_targets, n_features), or Rows
        Training rows. The groups of `Rows` are reduced by their mean.
    X : array_like of shape (n_rows, n_features), or Rows
        Rows of the predictions: of structures (PR), or of atoms (LPR).
    blocks : array_like of int of shape (n_targets,), optional
        Rows with the same label (the energy and the forces of a structure) are added together. By
        default each row is a block.
    weights : array_like of shape (n_targets,), optional
        Loss weights of the training rows.
    y : array_like of shape (n_targets,) or (n_targets, n_outputs), optional
        Targets of the training rows, for errors.
    y_test : array_like of shape (n_test,) or (n_test, n_outputs), optional
        Targets of `X`. Without them, errors are those of the training rows that are not in the fit
        yet, weighted by their loss weights.
    sizes : array_like of int of shape (n_sizes,), optional
        Numbers of blocks, rising; by default ten, evenly spaced on a logarithmic axis.
    n_orders : int, default 8
        Random orders of the blocks.
    regularizer : float or "auto"
        λ, the same at all sizes. "auto" is that of all training rows, as `Covariance.factorize`
        chooses it.
    penalty : array_like, optional
        See `Covariance.factorize`.
    random_state : int or numpy.random.Generator, optional
        The same number gives the same orders.
    selected : array_like of int, optional
        Labels of blocks in another order, to compare with, such as that of a selection. It may end
        before all blocks are in it.
    components : sequence, optional
        Compute rigidities of components (CPR), as `Hessian.component_rigidity`.
    groups, reduction
        For `X`; see `Hessian.variance`.
    progress : callable, optional
        Called with the number of factors that are done, and their total.

    Returns
    -------
    LearningCurve

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, sizes do not rise or exceed the number of blocks, a label of
        `selected` is unknown or repeated, it has fewer blocks than the first size, or a number is
        not finite.
    MemoryError
        If the rigidities do not fit in memory.
    NotPositiveDefiniteError
        If the regularizer is so small that a few blocks leave directions undetermined.

    Warns
    -----
    SetByPriorWarning
        If λ sets the rigidity of a component with all blocks, too.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> rng = np.random.default_rng(0)
    >>> F, X = rng.normal(size=(400, 20)), rng.normal(size=(50, 20))
    >>> curve = rg.learning_curve(F, X, sizes=[50, 100, 200, 400], regularizer=1e-6, random_state=0)
    >>> np.round(curve.band()[1], 1)
    array([ 1.6,  4.4,  9.8, 20.2])
    """
    task = _Task.of(F, X, blocks, weights, y, y_test, regularizer, penalty, components, groups, reduction)
    steps = _as_sizes(sizes, len(task.members))
    given = None if selected is None else task.places_of(selected, int(steps[0]))
    n = as_count(n_orders, "n_orders")
    memory.require(8 * (n + 1) * len(steps) * task.n_rigidities, "rigidities of all orders", Advice.FEWER_AT_A_TIME)
    rng = as_generator(random_state)
    total, done = (n + (given is not None)) * len(steps), 0

    def follow(order: NDArray[np.int64]) -> Steps:
        nonlocal done
        found = []
        for step in task.along(order, steps):
            found.append(step)
            done += 1
            if progress is not None:
                progress(done, total)
        return task.joined(found, len(steps))

    orders = [follow(rng.permutation(len(task.members))) for _ in range(n)]
    return LearningCurve(
        steps,
        np.stack([one.rigidity for one in orders]),
        None if task.y is None else np.stack([one.rmse for one in orders if one.rmse is not None]),
        np.stack([one.effective_dimension for one in orders]),
        np.stack([one.n_rows for one in orders]),
        task.regularizer,
        None if given is None else follow(given),
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """Rows and targets of a learning curve, checked."""

    F: NDArray[np.float64]
    w: NDArray[np.float64]
    y: NDArray[np.float64] | None
    members: list[NDArray[np.int64]]
    labels: NDArray[Any]
    X: CheckedRows
    test: NDArray[np.float64] | None
    y_test: NDArray[np.float64] | None
    components: Any
    reduction: Reduction
    regularizer: float
    penalty: ArrayLike | None

    @classmethod
    def of(
        cls,
        F: ArrayLike | Rows,
        X: ArrayLike | Rows,
        blocks: ArrayLike | None,
        weights: ArrayLike | None,
        y: ArrayLike | None,
        y_test: ArrayLike | None,
        regularizer: float | Literal["auto"],
        penalty: ArrayLike | None,
        components: Any,
        groups: ArrayLike | None,
        reduction: Reduction,
    ) -> _Task:
        if y_test is not None and y is None:
            raise ValueError("y_test was passed without y: errors need the targets of the training rows, too")
        rows = reduce_rows(F)[1]
        n, p = rows.shape
        queries = CheckedRows.matching(X, groups, p, F.feature_space if isinstance(F, Rows) else None)
        w = as_weights(weights, n)
        shape = () if y is None else as_array(y, "y").shape
        n_outputs = shape[1] if len(shape) == 2 else 1
        targets = None if y is None else as_targets(y, n, n_outputs)
        labels = np.arange(n) if blocks is None else np.unique(as_labels(blocks, "blocks", n, "target"))
        test, wanted = None, None
        if y_test is not None:
            test = reduce_rows(queries.values, queries.groups, reduction)[1]
            wanted = as_targets(y_test, len(test), n_outputs)
        whole = Covariance(p)
        for chosen in _in_parts(np.arange(n)):
            whole.update(rows[chosen], weights=w[chosen], targets=None if targets is None else targets[chosen])
        chosen_regularizer = whole.factorize(regularizer, penalty=penalty).regularizer
        return cls(
            rows,
            w,
            targets,
            block_members(blocks, n),
            labels,
            queries,
            test,
            wanted,
            components,
            reduction,
            chosen_regularizer,
            penalty,
        )

    @property
    def n_rigidities(self) -> int:
        """Numbers that one size gives."""
        return self.X.n_targets * (1 if self.components is None else len(self.components))

    def places_of(self, selected: ArrayLike, least: int) -> NDArray[np.int64]:
        """Return the places of blocks among the sorted labels, in the order given."""
        wanted = as_array(selected, "selected")
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise ValueError(f"selected has shape {wanted.shape}, dtype {wanted.dtype}: expected labels of blocks")
        places = np.searchsorted(self.labels, wanted).clip(0, len(self.labels) - 1)
        unknown = self.labels[places] != wanted
        if unknown.any():
            raise ValueError(f"selected has {wanted[unknown][0]}, which is not the label of a block")
        if len(np.unique(places)) < len(places):
            raise ValueError("selected names a block twice")
        if len(places) < least:
            raise ValueError(
                f"selected has {len(places)} blocks, but the first of sizes is {least}: pass more, or smaller sizes"
            )
        return np.asarray(places)

    def along(self, order: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[Steps]:
        """Yield what each size gives, as arrays of one size, up to the end of the order."""
        covariance, first = Covariance(self.F.shape[1]), 0
        left = np.ones(len(self.F), dtype=bool)
        for size in sizes[sizes <= len(order)]:
            for chosen in _in_parts(np.concatenate([self.members[block] for block in order[first:size]])):
                y = None if self.y is None else self.y[chosen]
                covariance.update(self.F[chosen], weights=self.w[chosen], targets=y)
                left[chosen] = False
            first = size
            hessian = covariance.factorize(self.regularizer, penalty=self.penalty)
            error = None if self.y is None else np.array([self._rmse(hessian, left)])
            dimension = np.array([hessian.effective_dimension])
            with held(SetByPriorWarning) as warnings:  # few structures leave components to the prior
                rigidity = self._rigidity(hessian)[None]
            if size == sizes[-1]:
                issue(warnings)
            yield Steps(rigidity, error, dimension, np.array([covariance.n_rows]))

    def _rigidity(self, hessian: Hessian) -> NDArray[np.float64]:
        rows = Rows(self.X.values, self.X.groups)
        if self.components is None:
            return hessian.rigidity(rows, reduction=self.reduction)
        return hessian.component_rigidity(rows, self.components, reduction=self.reduction)

    def _rmse(self, hessian: Hessian, left: NDArray[np.bool_]) -> float:
        """√(Σ w r²/Σ w): of the test rows with w = 1, or of the training rows that are left."""
        theta = hessian.coef.reshape(self.F.shape[1], -1)
        if self.test is not None and self.y_test is not None:
            return float(np.sqrt(np.mean((self.y_test - self.test @ theta) ** 2)))
        assert self.y is not None
        w, total, square = self.w, 0.0, 0.0
        for chosen in _in_parts(np.flatnonzero(left)):
            square += float(w[chosen] @ np.mean((self.y[chosen] - self.F[chosen] @ theta) ** 2, axis=1))
            total += float(w[chosen].sum())
        return float(np.sqrt(square / total)) if total > 0 else float("nan")

    def joined(self, steps: Sequence[Steps], n_sizes: int) -> Steps:
        """Join sizes; those that an order does not reach are NaN."""

        def column(parts: list[NDArray[Any]], missing: float) -> NDArray[Any]:
            short = n_sizes - len(parts)
            return np.concatenate([*parts, *([np.full_like(parts[0], missing)] * short)])

        errors = [step.rmse for step in steps if step.rmse is not None]
        return Steps(
            column([step.rigidity for step in steps], np.nan),
            column(errors, np.nan) if errors else None,
            column([step.effective_dimension for step in steps], np.nan),
            column([step.n_rows for step in steps], 0),
        )


def _in_parts(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def _as_sizes(sizes: ArrayLike | None, n_blocks: int) -> NDArray[np.int64]:
    """Return rising numbers of blocks, (n_sizes,)."""
    if sizes is None:
        return np.unique(np.round(np.geomspace(max(1.0, n_blocks / 64), n_blocks, N_SIZES)).astype(np.int64))
    array = as_array(sizes, "sizes")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"sizes has shape {array.shape}: expected numbers of blocks, (n_sizes,)")
    if array.dtype.kind not in "iu":
        raise TypeError(f"sizes has dtype {array.dtype}: expected integers")
    values = array.astype(np.int64)
    if not (values[0] >= 1 and (np.diff(values) > 0).all() and values[-1] <= n_blocks):
        raise ValueError(
            f"sizes are {array.tolist()}: expected rising numbers from 1 to {n_blocks}, the blocks there are"
        )
    return values
