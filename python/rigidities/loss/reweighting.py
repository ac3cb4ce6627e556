"""Huber's loss: squares with other weights, again and again, and λ chosen beside them.

A Huber term is fitted as squares with weights w·u, u = min(1, δ/|r|), with the residuals r of the
previous fit; at one λ no such step raises the loss. The second derivative of a Huber term is w if
|r| < δ and 0 otherwise. The Hessian is made of it; θ is that of the last fit.

A rule chooses λ from sums with weights w·u², again after each fit, until λ is still. A target
beyond its threshold then adds w·(u·r)² = wδ² to the squares that the rule weighs, however wrong its
label is: those of Huber's Proposal 2 for a scale. With weights w·u it would add wδ|r|, and one
label could decide λ.

P. J. Huber, Ann. Math. Statist. 35 (1964) 73 (Proposal 2: section 9); P. W. Holland, R. E. Welsch,
Commun. Stat. A 6 (1977) 813.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import Advice, NotConvergedWarning, held, issue, warn
from rigidities.loss.rows import Batch, TermRows, read_again
from rigidities.loss.rules import Rule, choose, rows_to_leave_out
from rigidities.loss.sums import LossSums, add
from rigidities.loss.terms import Term, without_thresholds
from rigidities.penalty import Penalty
from rigidities.spectrum.maximum import Choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.loss.result import LossFit

STILL = 0.05
"""Relative change of λ at which it is still: the criteria are flat around their best λ."""

MOST_CHOICES = 20
"""Times that λ is chosen anew for Huber's loss; on argon, silicon and lithium it is still after 3
to 6."""


class _Pass(NamedTuple):
    """What a pass over the rows gives at θ.

    Attributes
    ----------
    fit : Covariance
        Sums with weights w·u, which the next fit is made of.
    choice : Covariance or None
        Sums with weights w·u², which λ is chosen from.
    data : float
        The loss without the penalty.
    """

    fit: Covariance
    choice: Covariance | None
    data: float


class Reweighting:
    """Fits of a loss with Huber terms: each needs a pass over the rows, with their residuals."""

    def __init__(
        self,
        batches: Iterable[Batch],
        n_batches: int,
        first: LossFit,
        choice: Choice,
        penalty: Penalty,
        rule: Rule | None = None,
    ) -> None:
        self.batches, self.n_batches = batches, n_batches
        self.first, self.choice, self.penalty, self.rule = first, choice, penalty, rule
        self.loss, self.path, self.left_out, self.told = first.loss, first.path, first.left_out, list[Warning]()

    def minimise(self, tolerance: float, max_iterations: int) -> LossFit:
        """Repeat re-weighted fits, from that of squares on, until λ is still and the loss too."""
        coef = self.first.coef
        n_choices, still = 0, self.rule is None
        found = self.passed(coef, with_choice=not still)
        converged, n_iterations = False, 0
        while not converged and n_iterations < max_iterations:
            if not still:
                n_choices += 1
                still = self.choose(coef, found) or n_choices == MOST_CHOICES
            before = found.data + self.penalised(coef)
            n_iterations += 1
            coef = found.fit.factorize(self.choice, penalty=self.penalty, consume=True).coef
            found = self.passed(coef, with_choice=not still)
            objective = found.data + self.penalised(coef)
            converged = still and before - objective <= tolerance * before
        if not converged:
            fall = (before - objective) / before
            warn(
                NotConvergedWarning,
                f"the loss still falls after {max_iterations} re-weighted fits: the last lowered it by a fraction of "
                f"{fall:.1e}, more than the tolerance {tolerance:g}",
                Advice.MORE_ITERATIONS,
            )
        issue(self.told)
        curved, covariance = self.last(coef)
        return replace(
            self.first,
            coef=coef,
            hessian=curved.factorize(self.choice, penalty=self.penalty, consume=True),
            n_iterations=n_iterations,
            objective=objective,
            converged=converged,
            covariance=covariance,
            path=self.path,
            left_out=self.left_out,
            energies=self.energies(coef),
        )

    @property
    def regularizer(self) -> float:
        """λ in use."""
        assert self.choice.regularizer is not None
        return self.choice.regularizer

    # λ --------------------------------------------------------------------------------------------

    def choose(self, coef: NDArray[np.float64], found: _Pass) -> bool:
        """Choose λ by the rule again; return whether it changed by little.

        Only what the last choice warned of is told.
        """
        assert found.choice is not None
        assert self.rule is not None
        before = self.regularizer
        with held(Warning) as self.told:
            choice, self.path, self.left_out = choose(
                found.choice, self.rule, self.penalty, without_thresholds(self.loss), self.bounded_rows(coef)
            )
        if choice.regularizer is None:  # the guaranteed one, of the sums that are factorised
            hessian = found.fit.factorize(choice, penalty=self.penalty)
            choice = Choice(hessian.regularizer, hessian.jitter, hessian.reason)
        self.choice = choice
        return abs(self.regularizer - before) <= STILL * before

    def bounded_rows(self, coef: NDArray[np.float64]) -> Iterator[Batch]:
        """Yield all rows with weights w·u²; energies that were kept, if there is nothing else."""
        batches = read_again(self.batches, self.n_batches)
        for batch in rows_to_leave_out(self.first.energies, self.loss, batches):
            yield {name: _bounded(batch[name], term, coef) for name, term in self.loss.terms.items()}

    def energies(self, coef: NDArray[np.float64]) -> TermRows | None:
        """Return the rows of the energies that were kept, with weights w·u² if a rule chose λ."""
        kept = self.first.energies
        if kept is None or self.rule is None or self.loss.energy is None:
            return kept
        return _bounded(kept, self.loss.energy, coef)

    # Sums -----------------------------------------------------------------------------------------

    def penalised(self, coef: NDArray[np.float64]) -> float:
        """½λθᵀΛθ."""
        # roots of λ and of weights come first: θ² and r² alone can leave the range of float64
        return 0.5 * self.penalty.quadratic_form(
            np.sqrt(self.regularizer) * coef, self.choice.jitter, everywhere=self.choice.reason.is_guaranteed
        )

    def empty(self) -> dict[str, Covariance]:
        """Return a covariance for each term, of the kind of the first fit."""
        first = self.first.covariance
        return {n: Covariance(first.n_features, accumulation=first.accumulation) for n in self.loss.terms}

    def passed(self, coef: NDArray[np.float64], *, with_choice: bool) -> _Pass:
        """Return the sums of re-weighted rows, and the loss at `coef`."""
        parts = self.empty()
        bounded = self.empty() if with_choice else {}
        data = 0.0
        for name, term, rows in self.rows():
            residuals, weights = rows.residuals(coef), rows.known_weights
            u = reweight(residuals, term.huber)
            data += float(_huber(residuals, term.huber, np.sqrt(term.weight) * np.sqrt(weights)).sum())
            add(parts[name], rows, weights * u)
            if with_choice:
                add(bounded[name], rows, weights * u**2)
        return _Pass(self.combined(parts), self.combined(bounded) if with_choice else None, data)

    def last(self, coef: NDArray[np.float64]) -> tuple[Covariance, Covariance]:
        """Return the sums of H, w·ρ'' without targets, and those that λ is chosen from, w·u²."""
        curved = self.empty()
        bounded = self.empty()
        for name, term, rows in self.rows():
            residuals, weights = rows.residuals(coef), rows.known_weights
            add(curved[name], rows, weights * curvature(residuals, term.huber), with_targets=False)
            if self.rule is not None:
                add(bounded[name], rows, weights * reweight(residuals, term.huber) ** 2)
        return self.combined(curved), self.first.covariance if self.rule is None else self.combined(bounded)

    def rows(self) -> Iterator[tuple[str, Term, TermRows]]:
        """Yield the rows of each term of each batch, in one pass over the data."""
        for batch in read_again(self.batches, self.n_batches):
            for name, term in self.loss.terms.items():
                yield name, term, batch[name]

    def combined(self, parts: dict[str, Covariance]) -> Covariance:
        """Add the terms by their weights; thresholds are part of the rows' weights already."""
        return LossSums(without_thresholds(self.loss), parts).combined()


def _huber(residuals: NDArray[np.float64], threshold: float | None, root: NDArray[np.float64]) -> NDArray[np.float64]:
    """wρ(r), with √w as `root`: ½ wr² up to the threshold δ, wδ(|r| − δ/2) beyond."""
    size = np.abs(residuals)
    near = size if threshold is None else np.minimum(size, threshold)
    return np.asarray((root * near) * (root * (size - 0.5 * near)))


def reweight(residuals: NDArray[np.float64], threshold: float | None) -> NDArray[np.float64]:
    """ρ'(r)/r = min(1, δ/|r|)."""
    if threshold is None:
        return np.ones(len(residuals))
    return threshold / np.maximum(np.abs(residuals), threshold)


def _bounded(rows: TermRows, term: Term, coef: NDArray[np.float64]) -> TermRows:
    """Return rows with weights w·u²."""
    return replace(rows, weights=rows.known_weights * reweight(rows.residuals(coef), term.huber) ** 2)


def curvature(residuals: NDArray[np.float64], threshold: float | None) -> NDArray[np.float64]:
    """ρ''(r): 1 up to the threshold δ, 0 from there on."""
    if threshold is None:
        return np.ones(len(residuals))
    return (np.abs(residuals) < threshold).astype(np.float64)
