"""Training: from structures with reference values to a fit, its errors and its scale.

`fit_model` computes the rows of a descriptor, minimises the loss, and reads the rows once more for
the errors. Rows are computed only once if they take little memory (`KEPT`). `LinearModel.fit` makes
a model of the result.

The scale of σ comes from structures that are left out (`rigidities.model.scale`). The evidence has
another scale, s² = (Σwy² − bᵀH⁻¹b)/n, which assumes that the model is exact and that the noise of
all targets is independent. With forces neither is true: the root mean square error of test energies
of lithium (mlearn) is then 14 times that σ, but 1.0 times the σ used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.exceptions import Advice, EmptyFitWarning, IllConditionedWarning, held, warn
from rigidities.leave_one_out import leave_out
from rigidities.loss.minimum import fit_loss
from rigidities.loss.result import LossFit
from rigidities.loss.reweighting import curvature, reweight
from rigidities.loss.rows import Batch
from rigidities.loss.rules import Rule, check_regularizer
from rigidities.loss.terms import Loss
from rigidities.model.atom_rows import iter_atom_rows
from rigidities.model.compositions import warn_of_fit
from rigidities.model.errors import Errors, Tally, per_atom
from rigidities.model.few_rows import in_span, lifted
from rigidities.model.kernel import SparseKernel, checked_kernel
from rigidities.model.scale import LeftOut, calibrations_of
from rigidities.model.training_set import TrainingSet, rank_of
from rigidities.regularizer import RegularizerPath, regularizer_path
from rigidities.runtime import memory
from rigidities.runtime.cached import cached_property
from rigidities.spectrum.evidence import warn_of_empty
from rigidities.structures.progress import stage
from rigidities.structures.read import kinds_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.calibration.scale import Calibration
    from rigidities.hessian import Hessian
    from rigidities.loss.baseline import Baseline
    from rigidities.structures.descriptor import Descriptor
    from rigidities.structures.loss_rows import LossRows

KEPT = 1_000_000_000
"""Most bytes of rows that are kept between passes, if they are no fewer than the features. Forces
of 13,233 atoms with 252 features: 0.08 GB."""


@dataclass(frozen=True, eq=False)
class ModelFit:
    """A fit with its errors and scales.

    Attributes
    ----------
    soap : Soap, or another Descriptor
        Defines the columns.
    minimum : LossFit
        The fit as it was minimised, with the sums of its loss, the path of λ if there was one, and
        the rows of the energies if they were kept. If it is `in_span`, all of it has the
        coordinates of the span of the training rows (`rigidities.model.few_rows`).
    coef, hessian
        Parameters and Hessian of all features.
    baseline : Baseline or None
        Energies of the species that were subtracted.
    training, left_out : dict of str to Errors
        Errors of the training set by the name of the term: of the fit, and of fits that leave out
        the structure of the target.
    calibrations : dict of str to Calibration
        σ of each term by its name; the scale is NaN if structures that are left out determine none.
    n_missing : dict of str to int
        Number of missing targets of each term.
    training_set : TrainingSet
        Rigidities of the training set itself, and fingerprints of its structures.
    """

    soap: Descriptor
    minimum: LossFit
    coef: NDArray[np.float64]
    hessian: Hessian
    baseline: Baseline | None
    training: dict[str, Errors]
    left_out: dict[str, Errors]
    calibrations: dict[str, Calibration]
    n_missing: dict[str, int]
    training_set: TrainingSet

    @property
    def in_span(self) -> bool:
        """Whether there were fewer targets than features, so that `minimum` is in their span."""
        return self.hessian is not self.minimum.hessian

    @cached_property
    def path(self) -> RegularizerPath:
        """The path from which λ was chosen, or a new one if λ was given or "auto"."""
        return self.minimum.path or regularizer_path(self.minimum.covariance)


def fit_model(
    structures: Any,
    soap: Descriptor,
    loss: Loss,
    *,
    baseline: Baseline | Mapping[int | str, float] | Literal["fit"] | None = "fit",
    regularizer: float | Rule = "auto",
    kernel: SparseKernel | None = None,
    keep_energies: bool = False,
    progress: bool = True,
) -> ModelFit:
    """Fit a model as `LinearModel.fit`, and return all results of the fit.

    Parameters
    ----------
    structures, soap, loss, baseline, regularizer, kernel, progress
        As for `LinearModel.fit`.
    keep_energies : bool, default False
        As for `fit_loss`.

    Returns
    -------
    ModelFit
    """
    from rigidities.model.virial_units import check_virials
    from rigidities.structures.loss_rows import LossRows

    check_regularizer(regularizer)
    rows = LossRows(structures, soap, loss, baseline=baseline, progress=progress)
    if kernel is not None:  # faults of labels were found before this work
        soap = checked_kernel(kernel).rows(rows.structures, soap, progress=progress)
        rows = LossRows(rows.structures, soap, loss, baseline=baseline, progress=progress)
    check_virials(rows)
    warn_of_fit(rows.baseline)
    kept, span = _are_kept(rows), None
    batches: Iterable[Batch] = list(rows) if kept else rows
    with stage(f"fit of {rows.n_features:,} features", progress):
        if kept and rows.n_targets < rows.n_features:
            span, batches = in_span(list(batches))
        with held(EmptyFitWarning):  # issued below, with the structure
            minimum = fit_loss(batches, regularizer=regularizer, keep_energies=keep_energies)
        training, left_out = _judge(batches, minimum, rows)
        rank = rank_of(minimum.covariance)
    coef, hessian = minimum.coef, minimum.hessian
    if span is not None:
        coef, hessian = lifted(minimum, span, rows.feature_space)
    return ModelFit(
        soap,
        minimum,
        coef,
        hessian,
        rows.baseline,
        {name: tally.errors() for name, tally in training.items()},
        {name: tally.errors() for name, tally in left_out.items()},
        calibrations_of(left_out, kinds_of(rows.structures), soap.feature_space),
        rows.n_missing,
        TrainingSet.of(
            hessian,
            iter_atom_rows(rows.structures, rows.sizes, soap, progress),
            rank=rank,
        ),
    )


def _are_kept(rows: LossRows) -> bool:
    """Whether all rows are kept between passes: if they take little memory, or less than C."""
    n, p, free = rows.n_targets, rows.n_features, memory.available()
    if n < p:  # the rows, a copy of them, and their basis
        return free is None or 24 * n * p <= free
    return 8 * n * p <= min(KEPT, KEPT if free is None else free // 4)


# Errors and scale ---------------------------------------------------------------------------------


def _judge(batches: Iterable[Batch], fit: LossFit, made: LossRows) -> tuple[dict[str, Tally], dict[str, LeftOut]]:
    """Return sums over residuals: of the fit, and of fits that leave out the target's structure.

    The second derivative of Huber's function is 0 beyond its threshold δ, so rows there are not in
    H. Their effect on the predictions for the structure, less than δ times the leverage, remains
    when the structure is left out.
    """
    training, left_out = {name: Tally() for name in fit.loss.terms}, {name: LeftOut() for name in fit.loss.terms}
    n_lost, size_of_coef = 0, float(np.linalg.norm(fit.coef))
    squares, squared_errors = 0.0, np.zeros(len(made.sizes))
    for batch in batches:
        rows = list(batch.values())
        stops = np.cumsum([len(part) for part in rows])[:-1]
        values, targets, blocks = (
            np.concatenate([getattr(part, name) for part in rows]) for name in ("values", "targets", "blocks")
        )
        residuals = targets - values @ fit.coef
        pairs = list(zip(rows, np.split(residuals, stops), strict=True))
        weights = [part.weights_in_loss * curvature(own, part.term.huber) for part, own in pairs]
        left = leave_out(fit.hessian, fit.coef, values, targets, np.concatenate(weights), blocks)
        # a target beyond a Huber threshold counts as in the choice of λ: as if its error were δ
        in_loss = np.concatenate([part.weights_in_loss * reweight(own, part.term.huber) ** 2 for part, own in pairs])
        squares += float(in_loss @ targets**2)
        squared_errors += np.bincount(blocks, in_loss * residuals**2, minlength=len(squared_errors))
        parts = (np.split(array, stops) for array in (residuals, left.residuals, left.variances))
        for (name, part), own, others, variances in zip(batch.items(), *parts, strict=True):
            factor = per_atom(name, part, made.sizes)
            training[name].add(own * factor)
            norms = np.linalg.norm(part.values, axis=1) * factor
            magnitudes = np.abs(part.targets) * factor + norms * size_of_coef
            if name == "energy":
                magnitudes += np.abs(made.subtracted / made.sizes)[part.blocks]
            left_out[name].add_targets(others * factor, variances * factor**2, magnitudes, norms, part.blocks)
            n_lost += int(np.count_nonzero(~np.isfinite(variances)))
    _warn_if_empty(squares, squared_errors, fit.hessian.regularizer)
    if n_lost:
        _warn_of_lost(n_lost, sum(tally.n for tally in training.values()))
    return training, left_out


def _warn_if_empty(squares: float, squared_errors: NDArray[np.float64], regularizer: float) -> None:
    """Warn if the fit explains next to nothing; name the structure of the largest error."""
    left = float(squared_errors.sum())
    if squares > 0 and left > 0:
        worst = int(np.argmax(squared_errors))
        share = f"; {100 * squared_errors[worst] / left:.2g} % of its squared errors are those of structure {worst}"
        warn_of_empty(1 - left / squares, regularizer, share)


def _warn_of_lost(n_lost: int, n: int) -> None:
    warn(
        IllConditionedWarning,
        f"{n_lost} of {n} training targets cannot be left out: without their structure the fit is undetermined to "
        "rounding. They are excluded from the left-out errors and from the scale of σ",
        Advice.RAISE_REGULARIZER,
    )
