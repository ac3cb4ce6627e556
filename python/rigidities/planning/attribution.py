"""Attribution: which training targets a variance comes from, and what each does to a prediction.

As H = Σ w f fᵀ + λΛ, the variance v = gᵀH⁻¹g of a prediction is a sum over the training targets and
the prior,

    v = Σ w (gᵀH⁻¹f)² + λ gᵀH⁻¹ΛH⁻¹g.

Divided by v, these are shares that add up to 1. A target with a large share is one that the
prediction relies on. `rigidities.planning.removal` has what happens without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, IllConditionedWarning, some_of, warn
from rigidities.factor import finite, rows_for
from rigidities.hessian import Hessian
from rigidities.planning.removal import Part, TrainingTargets
from rigidities.rounding import roundoff_of
from rigidities.rows import CheckedRows, target_batches
from rigidities.runtime import memory
from rigidities.validation import as_array, as_count, as_targets, as_weights, block_members

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.factor import Factor
    from rigidities.rows import Rows
    from rigidities.validation import Reduction

PREDICTIONS_AT_ONCE = 1024
"""Predictions for which the training rows are whitened once: 34 MB of results with as many training
rows. Up to p = 1024 the products with them take longer than the whitening."""

TOLERANCE = 1e-5
"""Least distance of the sum of shares and prior from 1 that can mean that rows are missing; more
where H is ill-conditioned. Shares of a well-conditioned H of float32 sums add up to 1e-6 or so."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Which training targets the variances of predictions come from. Columns are targets or blocks.

    Attributes
    ----------
    shares : ndarray of shape (n, n_columns) or (n, top)
        w (gᵀH⁻¹f)²/v, summed over a block, from 0 to 1. With `prior` they sum to 1. With `top` the
        largest ones of each prediction, falling.
    prior : ndarray of shape (n,)
        λ gᵀH⁻¹ΛH⁻¹g/v, as `Hessian.prior_share`.
    variances : ndarray of shape (n,)
        v = gᵀH⁻¹g, dimensionless for unit weights. A row of zeros has v = 0, and shares of 0.
    rises : ndarray of the shape of `shares`
        Rise of the variance by a fit without the target or block, as a part of v: 0.1 is 10 % more.
        Infinite where there is no such fit, because the data would leave a direction undetermined.
    pulls : ndarray of the shape of `shares`, or (…, n_outputs), or None
        Prediction of the fit minus that of a fit without the target or block, in the unit of the
        targets. NaN where there is no such fit; None without targets.
    labels : ndarray of shape (n_columns,)
        Sorted labels of the blocks, or numbers of the targets.
    indices : ndarray of shape (n, top), or None
        With `top`: columns that the shares belong to, so that ``labels[indices]`` are their labels.
    """

    shares: NDArray[np.float64]
    prior: NDArray[np.float64]
    variances: NDArray[np.float64]
    rises: NDArray[np.float64]
    pulls: NDArray[np.float64] | None
    labels: NDArray[np.int64]
    indices: NDArray[np.int64] | None = None


def attribution(
    hessian: Factor,
    X: ArrayLike | Rows,
    F: ArrayLike | Rows,
    *,
    y: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
    top: int | None = None,
    groups: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Attribution:
    """Say which training targets the variance of each prediction comes from.

    Each training target has a share of each variance; what is left is the prior's. Beside the
    shares stands what a fit without the target would change: the variance, and with `y` the
    predicted value. All are in closed form. It takes two triangular solves per training row and one
    multiplication with H's factor per pair, and, without `top`, memory for (n, n_targets) results.

    Parameters
    ----------
    hessian : Hessian
    X : array_like of shape (n_rows, n_features), or Rows
        Rows of the predictions.
    F : array_like of shape (n_targets, n_features), or Rows
        All target rows that are in `hessian`. They are read some at a time, so a memory map will
        do. The groups of `Rows` are reduced by their mean.
    y : array_like of shape (n_targets,) or (n_targets, n_outputs), optional
        Targets as they went into the covariance, for the pulls.
    weights : array_like of shape (n_targets,), optional
        Their loss weights, 1 by default.
    blocks : array_like of int of shape (n_targets,), optional
        Targets with the same label (the energy and the forces of a structure) share and are removed
        together.
    top : int, optional
        Keep so many columns of each prediction, those of the largest shares. Memory is then that of
        (n, top) results, however many targets there are.
    groups : array_like of int of shape (n_rows,), optional
        Of `X`; see `Covariance.update`.
    reduction : {"mean", "sum"}
        Of `X`.

    Returns
    -------
    Attribution

    Raises
    ------
    ValueError
        If shapes do not match, a number is not finite, `top` exceeds the number of columns, or the
        rows with their weights are not those in `hessian`: shares and prior do not sum to 1.
    TypeError
        If an argument is of a wrong type.
    NotFittedError
        If `y` is given, but no targets were accumulated.
    MemoryError
        If the results do not fit in memory.

    Warns
    -----
    IllConditionedWarning
        If a target or block alone determines a direction, or if rounding of H leaves fewer than
        five digits of the shares.

    Examples
    --------
    Predict between the last two of three points on a line: the last one has most of the variance.

    >>> import numpy as np, rigidities as rg
    >>> F, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([0.0, 1.0, 4.0])
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(F, targets=y)
    >>> found = rg.attribution(covariance.factorize(0.0), [[1.0, 1.5]], F, y=y)
    >>> found.shares.round(3)
    array([[0.015, 0.242, 0.742]])
    >>> found.rises.round(3)
    array([[0.091, 0.364, 4.455]])
    >>> found.pulls.round(3)
    array([[ 0.167, -0.333,  1.167]])
    """
    rows = rows_for(hessian, X, groups)
    training = _training(hessian, F, y, weights, blocks)
    n, m = rows.n_targets, training.n_columns
    k = m if top is None else as_count(top, "top")
    if k > m:
        raise ValueError(f"top is {k}, but there are {m} {'targets' if training.members is None else 'blocks'}")
    need = 16 * n * k * (3 + training.residuals.shape[1])  # twice: parts are joined
    memory.require(need, f"{k} shares of each of {n} predictions", Advice.FEWER_AT_A_TIME)
    found: list[tuple[Part, NDArray[np.float64], NDArray[np.float64]]] = []
    first = 0
    for G in target_batches(rows, reduction, PREDICTIONS_AT_ONCE):
        found.append(_of_some(training, G, None if top is None else k, first))
        first += len(G)
    parts, priors, variances = zip(*found, strict=True)
    _warn_of_lost(training)
    whole = Part.joined(list(parts), axis=0)
    return Attribution(
        whole.shares,
        np.concatenate(priors),
        np.concatenate(variances),
        whole.rises,
        None if y is None else whole.pulls[:, :, 0] if as_array(y, "y").ndim == 1 else whole.pulls,
        np.arange(m) if blocks is None else np.unique(as_array(blocks, "blocks")),
        None if top is None else whole.columns,
    )


def _training(
    hessian: Factor, F: ArrayLike | Rows, y: ArrayLike | None, weights: ArrayLike | None, blocks: ArrayLike | None
) -> TrainingTargets:
    """Check training rows and what belongs to them."""
    rows = CheckedRows.matching(F, None, hessian.n_features, hessian.feature_space)
    n = rows.n_targets
    members = None if blocks is None else block_members(blocks, n)
    training = TrainingTargets(hessian, rows, as_weights(weights, n), members)
    if y is not None:
        if not isinstance(hessian, Hessian):
            raise TypeError(f"y needs the fit of a Hessian, but hessian is a {type(hessian).__name__}")
        coef = hessian.coef.reshape(hessian.n_features, -1)
        training.fit(as_targets(y, n, coef.shape[1]), coef)
    return training


def _of_some(
    training: TrainingTargets, G: NDArray[np.float64], top: int | None, first: int
) -> tuple[Part, NDArray[np.float64], NDArray[np.float64]]:
    """Return the part of some predictions, the prior's shares, and the variances."""
    hessian = training.hessian
    Z = hessian._whitened(G)
    with np.errstate(over="ignore"):  # said by `finite`, with the row
        variances = finite(np.square(Z).sum(axis=1), "the variance of row")
    lengths = np.sqrt(variances)
    directions = _divided(Z, lengths)
    prior = hessian._prior_variance(_divided(G, lengths))
    total = prior.copy()
    m = training.n_columns
    whole = Part.empty(len(G), m if top is None else 0, training.residuals.shape[1])
    largest: Part | None = None
    for part in training.parts(directions):
        total += part.shares.sum(axis=1)
        if top is None:
            whole.put(part)
        else:
            some = [part.largest(top)] if largest is None else [largest, part.largest(top)]
            largest = Part.joined(some, axis=1).largest(top)
    found = whole if largest is None else largest
    _check_sum(training, directions, np.where(lengths > 0, total, 1.0), first)
    found.pulls[:] *= lengths[:, None, None]
    return found, np.clip(prior, 0.0, 1.0), variances


def _divided(rows: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows over their lengths; rows of length 0 as zeros."""
    return np.divide(rows, lengths[:, None], out=np.zeros_like(rows), where=lengths[:, None] > 0)


def _check_sum(
    training: TrainingTargets, directions: NDArray[np.float64], total: NDArray[np.float64], first: int
) -> None:
    """Raise unless shares and prior sum to 1 to rounding; warn if rounding leaves few digits.

    H is rounded by about u√p·trace(C), which changes ẑᵀẑ by at most that times ‖H⁻¹g‖²/v;
    a hundredth of it was seen. Rows in float32 may have been summed in float32.
    """
    solved = np.sqrt(training.size) * training.hessian._coloured(np.ascontiguousarray(directions.T))
    bound = roundoff_of(training.rows.values) * np.sqrt(len(solved)) * np.square(solved).sum(axis=0)
    gap = np.abs(total - 1)
    wrong = np.flatnonzero(gap > np.maximum(TOLERANCE, bound))
    if len(wrong):
        n, n_rows = int((training.w > 0).sum()), getattr(training.hessian, "n_rows", None)
        counts = "" if n_rows in (None, n) else f" (H was made of {n_rows} targets, F has {n} of positive weight)"
        raise ValueError(
            f"the shares of prediction {first + wrong[0]} and of the prior sum to {total[wrong[0]]:.6g}, not to 1: "
            f"F and weights are not the rows that are in hessian{counts}. Pass all of them, with the weights of the fit"
        )
    rounded = int((gap > TOLERANCE).sum())
    if rounded:
        warn(
            IllConditionedWarning,
            f"the shares of {rounded} predictions and of the prior sum to 1 only to {gap.max():.1g}: rounding of H "
            "leaves no more digits",
            Advice.RAISE_REGULARIZER,
        )


def _warn_of_lost(training: TrainingTargets) -> None:
    lost = np.flatnonzero(training.lost)
    if len(lost):
        what = "target" if training.members is None else "block"
        warn(
            IllConditionedWarning,
            f"without {what} number {some_of(lost.tolist())} the data leave a direction undetermined to rounding: its "
            "rises are infinite and its pulls NaN",
            Advice.RAISE_REGULARIZER,
        )
