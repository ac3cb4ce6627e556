"""Weights of a loss's terms, chosen from sums alone.

C is tridiagonalised once for each set of weights; rows are not read again. `scan_term_weights`
gives λ, log evidence and training errors for each loss, `most_probable_weights` the weights at the
maximum of the evidence.

In the evidence, a target of weight w in a term of weight W has noise of variance s²/(W w). So
weights are inverse noise variances, and √(W_energy/W_forces) is the ratio of the noise of forces to
that of energies. ``k * cov`` adds n ln k to Σ ln w, so that different weights can be compared. A
common factor of all weights and λ cancels with s². Noise levels by maximum likelihood: MacKay,
Neural Comput. 4 (1992) 415.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, UnresolvedEvidenceWarning, warn
from rigidities.loss.rows import check_rows
from rigidities.loss.sums import LossSums
from rigidities.loss.terms import Loss
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.runtime.cached import cached_property
from rigidities.spectrum.evidence import HIDDEN, RESOLVED
from rigidities.spectrum.maximum import Choice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

DECADES, MOVES = 4, 4
"""The search covers four decades of W on either side of the start, a factor of 100 in the noise. If
the best point lies on the edge, the search is repeated around it, at most four times in all:
sixteen decades."""

STEPS = {1: 1, 2: 2}
"""Decades between the points of the search, for one ratio (9 points) and for two (25). No peak is
narrower: the slope of the evidence over ln W falls from n/2, n the rows of the term, to below 0
while the term's share of S rises from 0 to 1, over a factor of ten to a hundred in W."""

PRECISION = {"xatol": 1e-3, "fatol": 1e-2}
"""Of the maximum, in ln W and in nats. n rows determine ln W to √(2/n): 4e-3 for n = 100,000."""


@dataclass(frozen=True, eq=False)
class TermWeightScan:
    """λ, evidence and errors for each choice of term weights. Made by `scan_term_weights`.

    Parameters
    ----------
    losses : tuple of Loss, of length n_losses
        The losses, as given.
    regularizers : ndarray of shape (n_losses,)
        λ of the largest evidence for each; NaN if the evidence is not resolved at any λ.
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
        """The loss of the largest evidence; see `most_probable_weights` for when to trust it."""
        if np.isnan(self.log_evidence).all():
            raise ValueError("the evidence is not resolved for any of the losses: choose by errors on other structures")
        return self.losses[int(np.nanargmax(self.log_evidence))]


def scan_term_weights(sums: LossSums, losses: Iterable[Loss], *, penalty: ArrayLike | None = None) -> TermWeightScan:
    """Fit each loss at the λ of its largest evidence; return evidence and errors of every term.

    Parameters
    ----------
    sums : LossSums
        With targets. They are not changed.
    losses : iterable of Loss
        Other weights of the terms that were summed: ``[sums.loss.with_weights(energy=w) for w in
        (1, 10, 100)]``. The same terms need positive weight in all losses: weight 0 excludes the
        rows of a term, and likelihoods of different data cannot be compared.
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
        `LossSums.errors` and `Covariance.factorize`; or if a penalty matrix near to singular hides
        the best λ, which sums by ``loss_sums(..., accumulation="qr")`` or of whitened rows show.
    MemoryError
        If the decomposition does not fit in memory. Beside the sums it takes two arrays of the size
        of C, four with a diagonal penalty that has zeros, seven with a matrix.

    Warns
    -----
    UnresolvedEvidenceWarning
        If the evidence of a loss is largest at the smallest λ at which it is resolved: it may be
        larger at smaller λ.

    Notes
    -----
    The errors show how a larger weight of one term raises the errors of the others. See
    `most_probable_weights` for when to choose weights by the evidence.

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
    checked = Penalty.of(penalty, sums.n_features)
    choices, fits = [], []
    for loss in losses:
        total = sums.combined(loss)
        choice = total.largest_evidence(checked)
        choice.refuse_hidden()
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
        With targets. They are not changed.
    loss : Loss, optional
        Weights to start from, by default those of the sums. The search covers at most sixteen
        decades up or down. Terms of weight 0 are left out.
    penalty : array_like of shape (n_features,) or (n_features, n_features), optional
        Λ, as for `Covariance.factorize`.

    Returns
    -------
    Loss
        Fit it with ``sums.combined(loss).factorize(penalty=penalty)``.

    Raises
    ------
    NotFittedError
        If no targets were accumulated.
    ValueError, TypeError
        If there are fewer than two terms with rows and positive weight, if the evidence has no
        maximum inside the range or is not resolved there, if a penalty hides it as in
        `scan_term_weights`, or as `LossSums.combined` and `Covariance.factorize`.
    MemoryError
        As `scan_term_weights`.

    Warns
    -----
    UnresolvedEvidenceWarning
        If the evidence at these weights is largest at the smallest λ at which it is resolved.

    Notes
    -----
    **When to trust it.** The evidence assumes that residuals are independent noise of one size
    within a term, and that the model reproduces everything but this noise. This holds for noisy
    reference values, or for a model that is flexible enough. It does not hold if residuals are
    errors of the model, which is usual for linear models of converged DFT data. Such residuals are
    correlated between force components, but the evidence counts each as independent information:
    many thousand forces then outweigh a few hundred energies, and energies get far too little
    weight. In this case choose the weights by errors on structures that were left out;
    `scan_term_weights` shows the errors of each term. docs/units-and-weights.md has figures.

    The cost is about 35 tridiagonalisations of C for two terms and 85 for three. The first search
    takes 9 or 25 of them, and so does each further one, if the start is off by four decades or
    more.
    """
    from scipy.optimize import minimize

    _check_sums(sums)
    loss = sums.loss if loss is None else loss
    _check(sums, {"loss": loss})
    ratios = _Ratios(sums, loss, Penalty.of(penalty, sums.n_features))
    begin, n = ratios.highest(), len(ratios.others)
    simplex = np.vstack([begin, begin + 0.5 * ratios.step * np.eye(n)])
    found = minimize(
        ratios.depth_near_top, begin, method="Nelder-Mead", options={"initial_simplex": simplex, **PRECISION}
    )
    if ratios.choice(found.x).reason is Reason.EVIDENCE_EDGE:
        _warn("at the most probable weights the evidence is largest")
    return ratios.loss_at(found.x)


@dataclass(frozen=True, eq=False)
class _Ratios:
    """The evidence as a function of ln(W/W₀) of all terms but the first; W₀ are those of `loss`."""

    sums: LossSums
    loss: Loss
    penalty: Penalty

    @cached_property
    def others(self) -> dict[str, float]:
        """The weights W₀ of the terms that are varied."""
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
        """Distance in ln W between the points of the search."""
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
        return _depth(self.choice(logs))

    def depth_near_top(self, logs: NDArray[np.float64]) -> float:
        """Return the same; raise if a penalty matrix hides the evidence here."""
        choice = self.choice(logs)
        choice.refuse_hidden()
        return _depth(choice)

    def highest(self) -> NDArray[np.float64]:
        """Return the highest point of the search, which exceeds its edge by `RESOLVED`."""
        reach = DECADES * math.log(10)
        ticks = np.arange(-reach, reach + 0.5 * self.step, self.step)
        grid = np.array(list(product(ticks, repeat=len(self.others))))
        edge = (np.abs(grid) > reach - 0.5 * self.step).any(axis=1)
        centre = np.zeros(len(self.others))
        for _ in range(MOVES):
            points = centre + grid
            depths = np.array([self.depth(point) for point in points])
            if np.isinf(depths).all():
                raise ValueError("the evidence is not resolved at any weights: choose by errors on other structures")
            if depths[edge].min() > depths.min() + RESOLVED:
                return np.asarray(points[np.argmin(depths)])
            centre = points[edge][np.argmin(depths[edge])]
        raise ValueError(
            f"the evidence has no maximum within {MOVES * DECADES} decades of the weights of {', '.join(self.others)}: "
            "start nearer to it, with loss=...; or the targets do not determine the noise of every term (for example "
            "one that is fitted without residuals): choose the weights by errors on other structures"
        )


def _depth(choice: Choice) -> float:
    return math.inf if math.isnan(choice.log_evidence) else -choice.log_evidence


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
        f"{what} at the smallest regularizer at which it is resolved: {HIDDEN}, and the evidence may be larger there",
        Advice.ERRORS_ON_OTHERS,
    )
