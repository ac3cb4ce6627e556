"""Fitting a `LinearModel`: λ, the fit, its errors, and the scale of its standard deviations.

What enters: structures with labels, a `Soap`, a `Loss`. What leaves: a `ModelFit`. Two passes over the rows, more with
Huber's loss: sums, then residuals. Rows that are few (`KEPT`) are computed once and kept.

The scale. σ = scale·√v with scale² = Σr²/Σv over the training set, one for each term. Each structure is left out as a
whole, its energy and forces together, in closed form at fixed λ: r is the error of the fit without it, v the variance.
The evidence has a scale of its own, s² = (Σwy² − bᵀH⁻¹b)/n, but takes the model for right and the noise of all targets
for independent. With forces neither holds: test energies of lithium (mlearn) then miss by 14 of its σ (root mean
square), and by 0.72 of the σ used here.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from rigidities.exceptions import IllConditionedWarning
from rigidities.leave_one_out import leave_out
from rigidities.loss.minimum import LossFit, fit_loss
from rigidities.loss.rows import Batch
from rigidities.loss.sums import loss_sums
from rigidities.loss.terms import Loss
from rigidities.model.errors import Tally, per_atom
from rigidities.model.linear import LinearModel
from rigidities.regularizer.path import regularizer_path
from rigidities.runtime import memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.covariance import Covariance
    from rigidities.interop.featomic import LossRows, Soap
    from rigidities.loss.baseline import Baseline

KEPT = 1_000_000_000
"""Bytes of rows that are kept from pass to pass: 13,233 atoms of silicon with 448 features take 0.14 GB."""

REASONS = {
    "evidence": "evidence: the largest of a path",
    "gcv": "generalised cross-validation: the least of a path",
    "loo": "leave-one-out of the energies: the least of a path",
}


@dataclass(frozen=True, eq=False)
class ModelFit:
    """A model, and what the choice of its regularizer can be judged by.

    Attributes
    ----------
    model : LinearModel
    covariance : Covariance
        Sums of the loss, of squares where it has Huber thresholds: what `regularizer_path` takes.
    energies : tuple of ndarray, or None
        Rows, targets and weights of the energies, for leave-one-out; None where the loss has none.
    n_missing : dict of str to int
        Targets of each term that are not there and were left out.
    """

    model: LinearModel
    covariance: Covariance
    energies: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None
    n_missing: dict[str, int]


def fit_model(
    structures: Any,
    soap: Soap,
    loss: Loss,
    *,
    baseline: Baseline | Mapping[int | str, float] | Literal["fit"] | None = "fit",
    regularizer: float | Literal["auto", "evidence", "gcv", "loo"] = "auto",
    progress: bool = True,
) -> ModelFit:
    """Fit a model as `LinearModel.fit`, and return the sums beside it.

    Parameters
    ----------
    structures, soap, loss, baseline, regularizer, progress
        As for `LinearModel.fit`.

    Returns
    -------
    ModelFit
    """
    from rigidities.interop.featomic import LossRows

    if not (isinstance(regularizer, str) and regularizer in ("auto", *REASONS)):
        _check_number(regularizer)
    if regularizer == "loo" and loss.energy is None:
        raise ValueError("regularizer is 'loo', which leaves out energies, but the loss has none: choose another")
    rows = LossRows(structures, soap, loss, baseline=baseline, progress=progress)
    sizes = np.array([len(frame) for frame in rows.structures])
    batches = _kept(rows, sizes)
    energies: list[tuple[NDArray[np.float64], ...]] = []
    sums = loss_sums(_noting_energies(batches, loss, energies))
    squares = Loss(**{name: replace(term, huber=None) for name, term in loss.terms.items()})
    covariance = sums.combined(squares)
    train = tuple(np.concatenate(column) for column in zip(*energies, strict=True)) if energies else None
    fit = _fit(batches, loss, covariance, train, regularizer)
    training, left_out = _judge(batches, fit, sizes)
    model = LinearModel(
        soap,
        loss,
        rows.baseline,
        fit.hessian,
        fit.coef,
        {name: tally.scale() for name, tally in left_out.items()},
        {name: tally.errors() for name, tally in training.items()},
        {name: tally.errors() for name, tally in left_out.items()},
        {name: version(name) for name in ("rigidities", "numpy", "featomic")} | {"python": platform.python_version()},
    )
    return ModelFit(model, covariance, cast(Any, train), rows.n_missing)


def _check_number(regularizer: Any) -> None:
    if isinstance(regularizer, str):
        raise ValueError(f"regularizer is {regularizer!r}: expected a number, or auto, {', '.join(REASONS)}")


def _kept(rows: LossRows, sizes: NDArray[np.int64]) -> Iterable[Batch]:
    """Return the rows themselves where they are few, else what computes them in every pass."""
    counts = {"energy": len(sizes), "forces": 3 * int(sizes.sum()), "virial": 6 * len(sizes)}
    n_bytes = 8 * rows.n_features * sum(counts[name] for name in rows.loss.terms)
    free = memory.available()
    return list(rows) if n_bytes <= min(KEPT, KEPT if free is None else free // 4) else rows


def _noting_energies(
    batches: Iterable[Batch], loss: Loss, energies: list[tuple[NDArray[np.float64], ...]]
) -> Iterator[Batch]:
    """Pass rows on, and keep those of the energies with their targets and weights in the loss."""
    for batch in batches:
        if loss.energy is not None:
            rows = batch["energy"]
            assert rows.targets is not None  # LossRows was asked for them
            assert rows.weights is not None
            energies.append((rows.values, rows.targets, loss.energy.weight * rows.weights))
        yield batch


# The fit ----------------------------------------------------------------------------------------------------


def _fit(
    batches: Iterable[Batch],
    loss: Loss,
    covariance: Covariance,
    train: tuple[NDArray[np.float64], ...] | None,
    regularizer: float | str,
) -> LossFit:
    """Minimise the loss at the regularizer that was asked for; the Hessian says why it was taken."""
    reason = None
    if isinstance(regularizer, str) and regularizer in REASONS:
        path, reason = regularizer_path(covariance), REASONS[regularizer]
        if regularizer == "loo":
            assert train is not None  # refused where the loss has no energies
            regularizer = path.best("loo", train[0], train[1], weights=train[2])
        else:
            regularizer = path.best(cast(Literal["evidence", "gcv"], regularizer))
    hessian = covariance.factorize(cast(Any, regularizer))
    if reason is not None:
        hessian._reason = reason
    if all(term.huber is None for term in loss.terms.values()):
        return LossFit(hessian.coef, hessian, loss, 0, float("nan"), True)
    fit = fit_loss(batches, loss, regularizer=hessian.regularizer)
    fit.hessian._reason = hessian.regularizer_reason
    return fit


# Its errors -------------------------------------------------------------------------------------------------


def _judge(
    batches: Iterable[Batch], fit: LossFit, sizes: NDArray[np.int64]
) -> tuple[dict[str, Tally], dict[str, Tally]]:
    """Return sums over the residuals of the fit, and over those of fits without the structure in question.

    A Huber residual beyond its threshold δ has no second derivative, so its row is not in H. What it pulls at a
    structure's predictions, less than δ times its leverage, stays in when the structure is left out.
    """
    training, left_out = ({name: Tally() for name in fit.loss.terms} for _ in range(2))
    n_lost = 0
    for batch in batches:
        names = list(fit.loss.terms)
        stops = np.cumsum([len(batch[name]) for name in names])[:-1]
        values, targets, blocks = (
            np.concatenate([getattr(batch[name], part) for name in names]) for part in ("values", "targets", "blocks")
        )
        residuals = targets - values @ fit.coef
        weights = [_curvature(*entry) for entry in zip(batch.values(), np.split(residuals, stops), strict=True)]
        left = leave_out(fit.hessian, fit.coef, values, targets, np.concatenate(weights), blocks)
        parts = (np.split(array, stops) for array in (residuals, left.residuals, left.variances))
        for name, own, others, variances in zip(names, *parts, strict=True):
            factor, known = per_atom(name, batch[name], sizes), np.isfinite(variances)
            training[name].add(own * factor)
            left_out[name].add((others * factor)[known], (variances * factor**2)[known])
            n_lost += int(len(known) - known.sum())
    if n_lost:
        _warn_of_lost(n_lost, sum(tally.n for tally in training.values()))
    return training, left_out


def _curvature(rows: Any, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of these rows in H."""
    weights = np.asarray(rows.term.weight * rows.weights)
    if rows.term.huber is None:
        return weights
    return np.where(np.abs(residuals) < rows.term.huber, weights, 0.0)


def _warn_of_lost(n_lost: int, n: int) -> None:
    warnings.warn(
        f"{n_lost} of {n} training targets alone determine a direction to rounding: there is no fit without their "
        "structures, and they tell nothing about the errors left out and the scale of σ. Raise the regularizer",
        IllConditionedWarning,
        stacklevel=4,
    )
