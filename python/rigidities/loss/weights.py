"""Weights of a loss's terms, chosen from sums alone.

One C is tridiagonalised for each set of weights; no row is looked at again. `scan_term_weights`
gives λ, log evidence and training errors for each loss, `most_probable_weights` the weights at the
maximum of the evidence.

In the evidence a target of weight w in a term of weight W has noise of variance s²/(W w): weights
are inverse noise variances, and √(W_energy/W_forces) is the ratio of the noise of forces to that of
energies. ``k * cov`` adds n ln k to Σ ln w, which makes different weights comparable. A factor
common to all weights and λ cancels against s². Noise levels by maximum likelihood: MacKay, Neural
Comput. 4 (1992) 415.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, UnresolvedEvidenceWarning, warn
from rigidities.loss.rows import check_rows
from rigidities.loss.sums import LossSums
from rigidities.loss.terms import Loss
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.spectrum.evidence import RESOLVED
from rigidities.spectrum.maximum import Choice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

DECADES, MOVES = 4, 4
"""Weights are searched so far to either side: noise a hundred times more or less than the start
says. Where the edge is as good as any point, the search goes on around the best point of the edge,
so often in all: sixteen decades."""

STEPS = {1: 1, 2: 2}
"""Decades between the points of the search, for one ratio and for two: 9 points and 25. No top is
narrower: over ln W the evidence bends from a slope of n/2, n the rows of the term, to one below 0
while the term's share of S goes from none to all, over a factor of ten to a hundred in W."""

PRECISION = {"xatol": 1e-3, "fatol": 1e-2}
"""Of the top, in ln W and in nats. n rows tell ln W to √(2/n), 4e-3 for a hundred thousand."""


@dataclass(frozen=True, eq=False)
class TermWeightScan:
    """What each choice of term weights gives. Made by `scan_term_weights`.

    Parameters
    ----------
    losses : tuple of Loss, of length n_losses
        As they were given.
    regularizers : ndarray of shape (n_losses,)
        λ of the largest evidence for each; NaN where the evidence is resolved at none.
    log_evidence : ndarray of shape (n_losses,)
        Log marginal likelihood there; NaN where it is not resolved.
    errors : dict of str to ndarray of shape (n_losses,)
        Root mean square training error of each term that was summed, in the unit of its targets
        (`LossSums.errors`).
    """

    losses: tuple[Loss, ...]
    regularizers: NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    errors: dict[str, NDArray[np.float64]]

    @property
    def best(self) -> Loss:
        """The loss of the largest evidence. When to trust it: `most_probable_weights`."""
        if np.isnan(self.log_evidence).all():
            raise ValueError("the evidence is resolved for none of the losses: choose by errors on other structures")
        return self.losses[int(np.nanargmax(self.log_evidence))]


def scan_term_weights(sums: LossSums, losses: Iterable[Loss], *, penalty: ArrayLike | None = None) -> TermWeightScan:
    """Fit each loss at the λ of its largest evidence; give evidence and errors of every term.

    Parameters
    ----------
    sums : LossSums
        With targets; left as they are.
    losses : iterable of Loss
        Other weights of the terms that were summed: ``[sums.loss.with_weights(energy=w) for w in
        (1, 10, 100)]``. The same terms have positive weight in all: a term of weight 0 drops its
        rows, and likelihoods of different data cannot be compared.
    penalty : array_like of shape (n_features,) or (n_features, n_features), optional
        Λ, as for `Covariance.factorize`.

    Returns
    -------
    TermWeightScan

    Raises
    ------
    NotFittedError
        If no targets were accumulated.
    ValueError, TypeError
        If there is no loss, losses weigh different terms, or as `LossSums.combined`,
        `LossSums.errors` and `Covariance.factorize`.
    MemoryError
        If the decomposition does not fit: beside the sums two arrays of the size of C, with a
        penalty that has zeros four, with a matrix as penalty seven.

    Warns
    -----
    UnresolvedEvidenceWarning
        If the evidence of a loss is largest at the least λ at which it is resolved: it may be
        larger below.

    Notes
    -----
    The errors show what one term pays for the other; when the evidence may choose:
    `most_probable_weights`.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> rng = np.random.default_rng(0)
    >>> loss, theta = rg.Loss(energy=rg.Term(), forces=rg.Term()), rng.normal(size=5)
    >>> batch = {}
    >>> for name, n, noise in (("energy", 50, 0.1), ("forces", 300, 1.0)):
    ...     F = rng.normal(size=(n, 5))
    ...     y = F @ theta + noise * rng.normal(size=n)
    ...     batch[name] = rg.TermRows(F, term=getattr(loss, name), targets=y)
    >>> losses = [loss.with_weights(energy=10.0**k) for k in range(5)]
    >>> scan = rg.scan_term_weights(rg.loss_sums([batch]), losses)
    >>> scan.best.energy.weight
    100.0
    """
    losses = tuple(losses)
    _check_sums(sums)
    _check(sums, {f"losses[{i}]": loss for i, loss in enumerate(losses)})
    checked = Penalty.of(penalty, _n_features(sums))
    choices, fits = [], []
    for loss in losses:
        total = sums.combined(loss)
        choice = total.largest_evidence(checked)
        choices.append(choice)
        if choice.regularizer is not None:
            fits.append(total.factorize(choice, penalty=checked, consume=True).coef)
    n_edges = sum(choice.reason is Reason.EVIDENCE_EDGE for choice in choices)
    if n_edges:
        _warn(f"for {n_edges} of {len(losses)} losses the evidence is largest")
    regularizers = np.array([math.nan if c.regularizer is None else c.regularizer for c in choices])
    errors = {name: np.full(len(losses), np.nan) for name in sums.covariances}
    if fits:
        for name, found in sums.errors(np.array(fits)).items():
            errors[name][~np.isnan(regularizers)] = found
    return TermWeightScan(losses, regularizers, np.array([choice.log_evidence for choice in choices]), errors)


def most_probable_weights(sums: LossSums, loss: Loss | None = None, *, penalty: ArrayLike | None = None) -> Loss:
    """Return the weights of the terms at the maximum of the evidence over weights and λ.

    Only ratios matter, so the first term keeps its weight. Then √(W_first/W_other) is the ratio of
    the noise of the other term to that of the first, in the units of their targets.

    Parameters
    ----------
    sums : LossSums
        With targets; left as they are.
    loss : Loss, optional
        Weights to begin from, the loss of the sums by default: the search goes sixteen decades up
        or down at most. Terms of weight 0 are left out.
    penalty : array_like of shape (n_features,) or (n_features, n_features), optional
        Λ, as for `Covariance.factorize`.

    Returns
    -------
    Loss
        To be fitted by ``sums.combined(loss).factorize(penalty=penalty)``.

    Raises
    ------
    NotFittedError
        If no targets were accumulated.
    ValueError, TypeError
        If there are less than two terms with rows and positive weight, the evidence has no maximum
        inside the range or is resolved nowhere; or as `LossSums.combined` and
        `Covariance.factorize`.
    MemoryError
        As `scan_term_weights`.

    Warns
    -----
    UnresolvedEvidenceWarning
        If the evidence at these weights is largest at the least λ at which it is resolved.

    Notes
    -----
    **When to trust it.** The evidence takes residuals for independent noise, alike within a term,
    and the model for one that fits all but that noise: labels with noise of their own, or a model
    flexible enough. Residuals that are errors of the model break both: they go together from one
    force component to the next, yet each counts as a witness, and many thousand forces outvote some
    hundred energies. That is the usual case of linear models of converged DFT data, and energies
    then get far too little weight. There, take the weights from errors on structures that were left
    out; `scan_term_weights` shows what each term pays. docs/units-and-weights.md has figures.

    The cost is some 35 tridiagonalisations of C for two terms and 85 for three, 9 and 25 of them
    for the first search and for every further one, where the start is off by four decades or more.
    """
    from scipy.optimize import minimize

    _check_sums(sums)
    loss = sums.loss if loss is None else loss
    _check(sums, {"loss": loss})
    ratios = _Ratios(sums, loss, Penalty.of(penalty, _n_features(sums)))
    begin, n = ratios.highest(), len(ratios.others)
    simplex = np.vstack([begin, begin + 0.5 * ratios.step * np.eye(n)])
    found = minimize(ratios.depth, begin, method="Nelder-Mead", options={"initial_simplex": simplex, **PRECISION})
    if ratios.choice(found.x).reason is Reason.EVIDENCE_EDGE:
        _warn("at the most probable weights the evidence is largest")
    return ratios.loss_at(found.x)


@dataclass(frozen=True, eq=False)
class _Ratios:
    """The evidence as a function of ln W of all terms but the first, relative to the loss."""

    sums: LossSums
    loss: Loss
    penalty: Penalty

    @cached_property
    def others(self) -> dict[str, float]:
        """Weights that are varied, as they are in the loss."""
        terms, sums = self.loss.terms, self.sums.covariances
        names = [name for name, term in terms.items() if term.weight > 0 and sums[name].n_rows > 0]
        if len(names) < 2:
            raise ValueError(
                f"there is no ratio to learn with {' and '.join(names) or 'nothing'} alone: expected two terms or more "
                "with rows and positive weight"
            )
        return {name: terms[name].weight for name in names[1:]}

    @property
    def step(self) -> float:
        """Between the points of the search."""
        return STEPS[len(self.others)] * math.log(10)

    def loss_at(self, logs: NDArray[np.float64]) -> Loss:
        """Return the loss with these weights."""
        factors = np.exp(logs).tolist()
        return self.loss.with_weights(**{n: w * f for (n, w), f in zip(self.others.items(), factors, strict=True)})

    def choice(self, logs: NDArray[np.float64]) -> Choice:
        """λ of the largest evidence at these weights."""
        return self.sums.combined(self.loss_at(logs)).largest_evidence(self.penalty)

    def depth(self, logs: NDArray[np.float64]) -> float:
        """−ln evidence, ∞ where it is not resolved."""
        evidence = self.choice(logs).log_evidence
        return math.inf if math.isnan(evidence) else -evidence

    def highest(self) -> NDArray[np.float64]:
        """Return the highest point of the search, which no point of its edge comes near."""
        reach = DECADES * math.log(10)
        ticks = np.arange(-reach, reach + 0.5 * self.step, self.step)
        grid = np.array(list(product(ticks, repeat=len(self.others))))
        edge = (np.abs(grid) > reach - 0.5 * self.step).any(axis=1)
        centre = np.zeros(len(self.others))
        for _ in range(MOVES):
            points = centre + grid
            depths = np.array([self.depth(point) for point in points])
            if np.isinf(depths).all():
                raise ValueError("the evidence is resolved at no weights: choose them by errors on other structures")
            if depths[edge].min() > depths.min() + RESOLVED:
                return np.asarray(points[np.argmin(depths)])
            centre = points[edge][np.argmin(depths[edge])]
        raise ValueError(
            f"the evidence has no maximum within {MOVES * DECADES} decades of the weights of {', '.join(self.others)}: "
            "begin nearer to it, by loss=...; or the targets do not tell the noise of every term (one that can be "
            "fitted without residuals, say): choose the weights by errors on other structures"
        )


def _check_sums(sums: LossSums) -> None:
    if not isinstance(sums, LossSums):
        raise TypeError(f"sums is a {type(sums).__name__}: expected LossSums, which loss_sums returns")


def _check(sums: LossSums, losses: dict[str, Loss]) -> None:
    """Raise unless the evidence of these losses exists and can be compared."""
    if not losses:
        raise ValueError("there are no losses: expected at least one")
    first: list[str] = []
    for which, loss in losses.items():
        if not isinstance(loss, Loss):
            raise TypeError(f"{which} is a {type(loss).__name__}: expected a Loss")
        check_rows(loss, sums.loss)
        used = [name for name, term in loss.terms.items() if term.weight > 0]
        if not used:
            raise ValueError(f"{which} gives no term a positive weight: there is nothing to fit")
        first = first or used
        if used != first:
            raise ValueError(
                f"losses[0] weighs {', '.join(first)} but {which} {', '.join(used)}: likelihoods of different data "
                "cannot be compared; give the same terms positive weight"
            )
    for name in first:
        if sums.covariances[name].n_rows > 0:
            sums.covariances[name].moments().require_targets("the evidence of weights")


def _warn(what: str) -> None:
    warn(
        UnresolvedEvidenceWarning,
        f"{what} at the smallest regularizer at which it is resolved: below, the training residual drowns in the "
        "rounding of the sums, and the evidence may be larger there",
        Advice.ERRORS_ON_OTHERS,
    )


def _n_features(sums: LossSums) -> int:
    return next(iter(sums.covariances.values())).n_features
