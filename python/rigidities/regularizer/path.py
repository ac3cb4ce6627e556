"""Fits, variances and criteria at every λ of a path, from one decomposition.

Which criterion to trust: the evidence and generalised cross-validation need no rows, but assume
that the noise is the same for every target and that the model is right. Leave-one-out assumes less
and needs the training rows. Scores on validation rows assume nothing. The evidence is given only
where rounding leaves it resolved (`rigidities.spectrum.evidence`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from rigidities.calibration.scale import above_rounding
from rigidities.exceptions import Advice, IllConditionedWarning, warn
from rigidities.regularizer.blocks import sums_of_blocks
from rigidities.regularizer.grid import as_grid
from rigidities.regularizer.least import least
from rigidities.regularizer.path_residuals import PathResiduals, residuals_along, squared_norms
from rigidities.rows import CheckedRows, Rows, target_batches
from rigidities.runtime import memory
from rigidities.runtime.cached import cached_property
from rigidities.scores import continuous_ranked_probability_score, negative_log_likelihood, root_mean_square
from rigidities.validation import (
    Reduction,
    as_noise,
    as_targets,
    as_weights,
    block_members,
    check_word,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from rigidities.spectrum.evidence import Projection

Score = Literal["nll", "crps", "rmse", "loo"]
Criterion = Literal["evidence", "gcv", "loo", "nll", "crps", "rmse"]


class RegularizerPath:
    """Fits, variances and criteria at every λ of a path. Made by `regularizer_path`.

    A result is NaN if rounding leaves no digit of it. Each of several outputs has its own scale.
    """

    def __init__(
        self,
        regularizers: NDArray[np.float64],
        basis: NDArray[np.float64],
        projection: Projection,
        feature_space: str | None,
    ) -> None:
        regularizers.flags.writeable = False
        self._regularizers = regularizers
        self._spectrum, self._moments = projection.spectrum, projection.moments
        self._basis, self._projection = basis, projection
        self.feature_space = feature_space

    def __repr__(self) -> str:
        low, high = self.regularizers.min(), self.regularizers.max()
        return f"RegularizerPath({len(self.regularizers)} regularizers from {low:.3g} to {high:.3g})"

    @property
    def regularizers(self) -> NDArray[np.float64]:
        """λ, of shape (n_λ,), as given."""
        return self._regularizers

    @property
    def jitter(self) -> float:
        """Jitter on the diagonal of a penalty singular to rounding: H = C + λ(Λ + jitter)."""
        return self._spectrum.jitter

    @cached_property
    def log_determinant(self) -> NDArray[np.float64]:
        """ln|H|, of shape (n_λ,)."""
        return self._spectrum.log_determinant(self.regularizers)

    @cached_property
    def effective_dimension(self) -> NDArray[np.float64]:
        """tr(CH⁻¹), how many directions the data determine: of shape (n_λ,)."""
        return self._projection.effective_dimension(self.regularizers)

    @cached_property
    def coef(self) -> NDArray[np.float64]:
        """The fits θ = H⁻¹b: (n_λ, n_features), or (n_λ, n_features, n_outputs)."""
        self._moments.require_targets("coef")
        n, p = len(self.regularizers), len(self._basis)
        memory.require(16 * n * p * self._moments.n_outputs, f"{n} fits of {p} features", Advice.FEWER_REGULARIZERS)
        coef = np.einsum("ij,ljk->lik", self._basis, self._projection.coef(self.regularizers), optimize=True)
        coef = np.ascontiguousarray(
            coef[:, :, 0] if self._moments.n_outputs == 1 and not self._moments.in_column else coef
        )
        coef.flags.writeable = False
        return coef

    @cached_property
    def log_evidence(self) -> NDArray[np.float64]:
        """Log marginal likelihood, summed over outputs: (n_λ,), NaN where it is not resolved.

        The density of y ~ N(0, s²(W⁻¹ + F(λΛ)⁻¹Fᵀ)) at the best s² for each λ; the restricted
        likelihood if there are unpenalised features. See `rigidities.spectrum.evidence`.
        """
        return self._projection.log_evidence(self.regularizers)

    @cached_property
    def gcv(self) -> NDArray[np.float64]:
        """Generalised cross-validation n·Σwr²/(n − effective dimension)², of shape (n_λ,).

        The mean over the outputs; NaN where it is not resolved. Golub, Heath, Wahba, Technometrics
        21 (1979) 215.
        """
        return self._projection.gcv(self.regularizers)

    def at(self, regularizers: ArrayLike) -> RegularizerPath:
        """Return the path of other λ, with the same decomposition.

        Parameters
        ----------
        regularizers : array_like of shape (n_λ,)
            As for `regularizer_path`.

        Returns
        -------
        RegularizerPath
        """
        return RegularizerPath(as_grid(regularizers), self._basis, self._projection, self.feature_space)

    def variance(
        self, X: ArrayLike | Rows, groups: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> NDArray[np.float64]:
        """Variance gᵀH⁻¹g of each prediction at each λ.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_features), or Rows
        groups : array_like of int of shape (n_rows,), optional
        reduction : {"mean", "sum"}
            See `Covariance.update`.

        Returns
        -------
        ndarray of shape (n_λ, n_targets)

        Raises
        ------
        ValueError, TypeError
            As `Covariance.update`.
        MemoryError
            If the result does not fit in memory.
        """
        rows, n = self._rows(X, groups)
        memory.require(8 * n * len(self.regularizers), f"the variances of {n} targets", Advice.FEWER_AT_A_TIME)
        inverse = 1 / self._spectrum.denominators(self.regularizers)
        out = np.empty((len(inverse), n))
        start = 0
        for batch in target_batches(rows, reduction):
            stop = start + len(batch)
            out[:, start:stop] = squared_norms(inverse, batch @ self._basis)
            start = stop
        return out

    def score(
        self,
        X: ArrayLike | Rows,
        y: ArrayLike,
        criterion: Score = "nll",
        *,
        weights: ArrayLike | None = None,
        noise: float = 0.0,
        blocks: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
    ) -> NDArray[np.float64]:
        """Score the predictions of every λ on rows with known targets; the lowest is the best.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_features), or Rows
            Validation rows; for "loo" training rows, all of them or some (the energies of a loss).
        y : array_like of shape (n_targets,) or (n_targets, n_outputs)
        criterion : {"nll", "crps", "rmse", "loo"}
            "nll": mean negative log-likelihood of N(prediction, scale²(v + noise/w)), in nats,
            with the best scale for each λ and output, averaged over the outputs. "crps": mean
            continuous ranked probability score of the same distribution, in the unit of the target.
            "rmse": √(Σwr²/Σw). "loo": the same with the leave-one-out residuals r/(1 − wv); NaN if
            rounding leaves less than a digit of them.
        weights : array_like of shape (n_targets,), optional
            Loss weights w, 1 by default; for "loo" those of the fit. Targets of weight 0 are
            ignored.
        noise : float
            For "nll" and "crps": 0 in the LLPR papers, 1 in Bayesian ridge regression.
        blocks : array_like of int of shape (n_targets,), optional
            For "loo": rows with the same label (the energy and the forces of a structure) are left
            out together. A block of 193 rows takes 8 ms for a path of 50 λ (`at`), which is
            enough, on one thread at 252 features, 24 ms at 448.
        groups : array_like of int of shape (n_rows,), optional
        reduction : {"mean", "sum"}
            See `Covariance.update`.

        Returns
        -------
        ndarray of shape (n_λ,)

        Raises
        ------
        ValueError, TypeError
            If shapes do not match, a number is not finite, the criterion is unknown or takes no
            blocks, or the variances of all targets are 0 (rows of zeros, without noise).
        NotFittedError
            If no targets were accumulated.
        MemoryError
            If residuals and variances, n_λ · n_targets each, do not fit in memory.

        Warns
        -----
        IllConditionedWarning
            If "nll" or "crps", without noise, set targets aside whose variance is 0 or nearly so.
        """
        check_word(criterion, "criterion", get_args(Score))
        noise = as_noise(noise)
        if blocks is not None and criterion != "loo":
            raise ValueError(f'blocks are left out together, but criterion is {criterion!r}: expected "loo"')
        if blocks is not None:
            rows, outputs, w = self._targets(X, y, weights, groups)
            members = block_members(blocks, len(w))
            memory.require(8 * len(w) * len(self._basis), f"{len(w)} target rows", Advice.FEWER_BLOCKS)
            F = np.concatenate(list(target_batches(rows, reduction)))
            parts = ((F[block], outputs[block], w[block]) for block in members)
            sums = sums_of_blocks(self._projection, self._basis, self.regularizers, parts)
            return np.asarray(np.sqrt(sums) / np.sqrt(w.sum()))  # the quotient can leave the range of float64
        found, w = self.residuals(X, y, weights, groups=groups, reduction=reduction)
        if criterion == "loo":
            return found.left_out(w)
        used = w > 0
        residuals, variances, w = found.residuals[:, :, used], found.variances[:, used], w[used]
        if criterion == "rmse":
            return root_mean_square(residuals, w)
        if noise == 0:
            kept = self.more_than_rounding(variances, criterion)
            residuals, variances, w = residuals[:, :, kept], variances[:, kept], w[kept]
        variances = variances + noise / w
        function = negative_log_likelihood if criterion == "nll" else continuous_ranked_probability_score
        return np.asarray(np.mean([function(residuals[:, k], variances) for k in range(residuals.shape[1])], axis=0))

    def residuals(
        self, X: ArrayLike | Rows, y: ArrayLike, weights: ArrayLike | None, *, groups: Any, reduction: Reduction
    ) -> tuple[PathResiduals, NDArray[np.float64]]:
        """Return residuals and variances of targets at every λ, and their weights."""
        rows, outputs, w = self._targets(X, y, weights, groups)
        batches = target_batches(rows, reduction)
        return residuals_along(self._projection, self._basis, self.regularizers, batches, outputs), w

    def _targets(
        self, X: ArrayLike | Rows, y: ArrayLike, weights: ArrayLike | None, groups: ArrayLike | None
    ) -> tuple[CheckedRows, NDArray[np.float64], NDArray[np.float64]]:
        """Check rows, their targets (n, n_outputs) and weights (n,), of which one is positive."""
        self._moments.require_targets("a score")
        rows, n = self._rows(X, groups)
        outputs, w = as_targets(y, n, self._moments.n_outputs), as_weights(weights, n)
        if not (w > 0).any():
            raise ValueError("there are no targets of positive weight: expected at least one")
        return rows, outputs, w

    def more_than_rounding(self, variances: NDArray[np.float64], criterion: Score) -> NDArray[np.bool_]:
        """Return which targets have a variance that is more than rounding; warn of the others.

        The variances are (n_λ, n). At the largest λ they are in proportion to |f|².
        """
        lengths = variances[np.argmax(self._regularizers)]
        kept, _ = above_rounding(lengths, lengths, float(lengths.mean()))
        kept &= (variances > 0).all(axis=0)
        n = len(kept) - int(kept.sum())
        if n == len(kept):
            raise ValueError("all targets have variance 0, rows of zeros: pass others, or a noise above 0")
        if n:
            fault = f"{n} of {len(kept)} targets have rows that are zero or nearly so: {criterion} sets them aside"
            warn(IllConditionedWarning, fault)
        return kept

    def leave_out(self, blocks: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]]) -> NDArray[np.float64]:
        """Sum the squared errors of blocks of training rows, each left out as a whole, at every λ.

        One block is in memory at a time. `least` gives the λ of the smallest sum. See ``blocks`` of
        `score` for the cost.

        Parameters
        ----------
        blocks : iterable of tuples
            Rows (m, n_features), targets (m,) or (m, n_outputs) and weights (m,) of each block, as
            they went into the covariance.

        Returns
        -------
        ndarray of shape (n_λ,)
            Σwe², averaged over outputs; NaN if rounding leaves less than a digit.

        Raises
        ------
        ValueError, TypeError, NotFittedError
            As `score`.
        """
        self._moments.require_targets("a score")
        return sums_of_blocks(self._projection, self._basis, self.regularizers, map(self._checked_block, blocks))

    def least(self, values: NDArray[np.float64], criterion: Criterion = "loo") -> float:
        """Return the λ at which the values of a criterion are least, with the warnings of `best`.

        Parameters
        ----------
        values : ndarray of shape (n_λ,)
            From `score` or `leave_out`.
        criterion : str
            Name of the criterion.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If all values are NaN.
        """
        return least(self._projection, self.regularizers, values, criterion)

    def best(
        self,
        criterion: Criterion = "evidence",
        X: ArrayLike | Rows | None = None,
        y: ArrayLike | None = None,
        **options: Any,
    ) -> float:
        """Return the λ of the path that a criterion prefers, among those at which it is resolved.

        Parameters
        ----------
        criterion : {"evidence", "gcv", "loo", "nll", "crps", "rmse"}
            "evidence" and "gcv" need the sums only, the others rows: see `score`.
        X, y, **options
            As for `score`.

        Returns
        -------
        float

        Raises
        ------
        ValueError, TypeError
            As `score`, or if the criterion is not resolved at any λ of the path, or if a penalty
            near to singular hides the best λ (see `Whitening`).

        Warns
        -----
        UnresolvedEvidenceWarning
            If the criterion is best at the smallest λ at which it is resolved, or at an end of the
            path, unless it is an error that changes by less than a thousandth in a decade there.
        EmptyFitWarning
            If the fit at this λ explains less than a tenth of the squares of its targets.
        """
        return self.least(self._losses(criterion, X, y, options), criterion)

    def _losses(
        self, criterion: Criterion, X: ArrayLike | Rows | None, y: ArrayLike | None, options: dict[str, Any]
    ) -> NDArray[np.float64]:
        """Return a criterion at every λ, (n_λ,); the lowest value is the best."""
        check_word(criterion, "criterion", get_args(Criterion))
        match criterion:
            case "evidence" | "gcv":
                if X is not None or y is not None or options:
                    raise TypeError(f'best("{criterion}") takes the sums alone: pass neither rows nor options')
                return -self.log_evidence if criterion == "evidence" else self.gcv
            case "loo" | "nll" | "crps" | "rmse":
                if X is None or y is None:
                    what = "training" if criterion == "loo" else "validation"
                    fault = f'best("{criterion}") needs {what} rows and their targets: best("{criterion}", X, y)'
                    raise TypeError(fault)
                return self.score(X, y, criterion, **options)

    def _checked_block(self, block: tuple[ArrayLike, ArrayLike, ArrayLike]) -> tuple[NDArray[np.float64], ...]:
        F, y, weights = block
        rows, n = self._rows(F, None)
        values = np.concatenate(list(target_batches(rows, "sum")))
        return values, as_targets(y, n, self._moments.n_outputs), as_weights(weights, n)

    def _rows(self, X: ArrayLike | Rows, groups: ArrayLike | None) -> tuple[CheckedRows, int]:
        """Check rows; return them and their number of targets."""
        rows = CheckedRows.matching(X, groups, len(self._basis), self.feature_space)
        return rows, rows.n_targets
