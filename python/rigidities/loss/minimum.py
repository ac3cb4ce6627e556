"""Minimise a loss: choose λ, then fit squares in one step and Huber's loss by re-weighted squares.

Squares need one pass over the rows. A Huber term is fitted as squares with weights w·min(1, δ/|r|),
with the residuals r of the previous fit; no such step raises the loss. The second derivative of a
Huber term is w if |r| < δ and 0 otherwise. The Hessian is made of it; θ is that of the last fit.

P. J. Huber, Ann. Math. Statist. 35 (1964) 73; P. W. Holland, R. E. Welsch, Commun. Stat. A 6 (1977)
813.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import Advice, AdvisedValueError, NotConvergedWarning, warn
from rigidities.hessian import Hessian
from rigidities.loss.rows import Batch, TermRows, check_loss, check_rows, join_rows, loss_of
from rigidities.loss.sums import LossSums, add, loss_sums
from rigidities.loss.terms import Loss, Term
from rigidities.penalty import Penalty
from rigidities.reason import Reason
from rigidities.regularizer.path import RegularizerPath, regularizer_path
from rigidities.spectrum.maximum import Choice
from rigidities.validation import as_integer, as_number, as_regularizer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PathRule = Literal["evidence", "gcv", "loo"]
"""The rules that choose λ from a path."""

Rule = Literal["auto", PathRule]

REASONS: dict[PathRule, Reason] = {
    "evidence": Reason.PATH_EVIDENCE,
    "gcv": Reason.PATH_GCV,
    "loo": Reason.PATH_LEAVE_ONE_OUT,
}
"""The reason of λ, by the rule that chose it."""


@dataclass(frozen=True, eq=False)
class LossFit:
    """The minimum of a loss, and the sums and the path of λ that led to it.

    Parameters
    ----------
    coef : ndarray of shape (n_features,)
        θ at the minimum.
    hessian : Hessian
        Second derivative of the loss at the minimum. Rows beyond the threshold of a Huber term have
        weight 0 in it. With a Huber term, use `coef` above: the Hessian has no ``coef``.
    loss : Loss
        The loss that was minimised.
    n_iterations : int
        Number of re-weighted fits after the first; 0 for squares.
    objective : float
        The loss at `coef`, with the penalty. NaN for squares, where no residual is computed.
    converged : bool
        Whether the last fit lowered the loss by no more than the tolerance.
    covariance : Covariance
        Sums of the loss, with squares in place of Huber's function: `regularizer_path` takes them.
    path : RegularizerPath, optional
        The path from which "evidence", "gcv" or "loo" chose λ. None if λ was given or "auto".
    energies : TermRows, optional
        Rows of the energies, with weights that exclude the weight of the term. None unless they
        were kept.
    """

    coef: NDArray[np.float64]
    hessian: Hessian
    loss: Loss
    n_iterations: int
    objective: float
    converged: bool
    covariance: Covariance
    path: RegularizerPath | None = None
    energies: TermRows | None = None


def fit_loss(
    batches: Iterable[Batch],
    loss: Loss | None = None,
    *,
    regularizer: float | Rule = "auto",
    penalty: ArrayLike | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    keep_energies: bool = False,
) -> LossFit:
    """Minimise a loss.

    Parameters
    ----------
    batches : iterable of mappings from a term's name to TermRows
        Rows with targets. Huber terms need one pass for every fit, so pass an iterable that can be
        read repeatedly: ``rigidities.interop.featomic.LossRows``, which computes the rows again, or
        ``list(...)`` of it, which keeps the reduced rows (8·n_targets·n_features bytes).
    loss : Loss, optional
        Loss with other weights or thresholds, or fewer terms, than the rows were made for.
    regularizer : float or "auto", "evidence", "gcv", "loo"
        λ, or the rule that chooses it: "auto" as in `Covariance.factorize`, the others as the best
        of a path (`regularizer_path`). "loo" leaves out one energy at a time. The rule is applied
        to the first fit, of squares; Huber's fits keep its λ.
    penalty : array_like of shape (n_features,) or (n_features, n_features), optional
        Λ, as in `Covariance.factorize`.
    tolerance : float, default 1e-10
        Relative decrease of the loss at which re-weighting stops.
    max_iterations : int, default 100
        Largest number of re-weighted fits.
    keep_energies : bool, default False
        Keep the rows of the energies as `LossFit.energies`, 8·n_energies·n_features bytes. With
        "loo" they are always kept.

    Returns
    -------
    LossFit

    Raises
    ------
    ValueError
        If rows have no targets or belong to another loss, if rows for a Huber term can be read only
        once, if "loo" is asked for a loss without energies, or as `Covariance.factorize` and
        `RegularizerPath.best`.
    MemoryError
        As `Covariance.factorize` and, with a rule that needs a path, `regularizer_path`.

    Warns
    -----
    NotConvergedWarning
        If the loss still falls after `max_iterations` fits.
    UnresolvedEvidenceWarning
        As `Covariance.factorize` and `RegularizerPath.best`.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> F, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([1.0, 3.0, 5.0])
    >>> rows = rg.TermRows(F, term=rg.Term(weight=10.0), targets=y)
    >>> fit = rg.fit_loss([{"energy": rows}], regularizer=1e-9)
    >>> fit.coef.round(6)
    array([1., 2.])
    """
    _check_settings(tolerance, max_iterations)
    if loss is not None:
        check_loss(loss)
    check_regularizer(regularizer, loss)
    first = _FirstPass(batches, keep_energies or regularizer == "loo")
    sums = loss_sums(first)
    loss = sums.loss if loss is None else loss
    check_rows(loss, sums.loss)
    squares = _without_thresholds(loss)
    covariance = sums.combined(squares)
    kept = join_rows(first.energies, loss.energy) if first.energies and loss.energy is not None else None
    checked = Penalty.of(penalty, covariance.n_features)
    choice, path = _choose(covariance, regularizer, checked, kept)
    hessian = covariance.factorize(choice, penalty=checked)
    fit = LossFit(hessian.coef, hessian, loss, 0, float("nan"), True, covariance, path, kept)
    if loss == squares:
        return fit
    if iter(batches) is batches:
        raise ValueError(_READ_ONCE)
    settled = Choice(hessian.regularizer, hessian.jitter, hessian.reason)
    return _Reweighting(batches, first.n_batches, fit, settled, checked).minimise(tolerance, max_iterations)


# λ ------------------------------------------------------------------------------------------------


def check_regularizer(regularizer: float | Rule, loss: Loss | None = None) -> None:
    """Raise if this is neither a number nor a rule, or a rule that this loss cannot follow."""
    if not isinstance(regularizer, str):
        as_regularizer(regularizer)
    elif regularizer not in ("auto", *REASONS):
        raise ValueError(f"regularizer is {regularizer!r}: expected a number, or auto, {', '.join(REASONS)}")
    if regularizer == "loo" and loss is not None and loss.energy is None:
        raise AdvisedValueError(_NOTHING_TO_LEAVE_OUT, Advice.OTHER_CRITERION)


_READ_ONCE = "a Huber fit needs the rows several times, but these can be read only once: pass a list"

_NOTHING_TO_LEAVE_OUT = "regularizer is 'loo', which leaves out energies, but the loss has none"


def _choose(
    covariance: Covariance, regularizer: float | Rule, penalty: Penalty, energies: TermRows | None
) -> tuple[Choice, RegularizerPath | None]:
    """λ, and the path that it was chosen from."""
    if not isinstance(regularizer, str) or regularizer == "auto":
        return covariance.choose(regularizer, penalty), None
    if regularizer == "loo" and energies is None:
        raise AdvisedValueError(_NOTHING_TO_LEAVE_OUT, Advice.OTHER_CRITERION)
    path = regularizer_path(covariance, penalty=penalty)
    if regularizer == "loo" and energies is not None:
        value = path.best("loo", energies.values, energies.targets, weights=energies.weights_in_loss)
    else:
        value = path.best(regularizer)
    return Choice(value, path.jitter, REASONS[regularizer]), path


class _FirstPass:
    """A pass over rows that must have targets; it counts batches and may keep the energies."""

    def __init__(self, batches: Iterable[Batch], keep_energies: bool) -> None:
        self.batches, self.keep_energies = batches, keep_energies
        self.n_batches = 0
        self.energies: list[TermRows] = []

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            for name in loss_of(batch).terms:
                if batch[name].targets is None:
                    raise ValueError(f"the rows of {name} have no targets: there is nothing to fit")
            if self.keep_energies and "energy" in batch:
                self.energies.append(batch["energy"])
            self.n_batches += 1
            yield batch


# Huber's loss -------------------------------------------------------------------------------------


class _Reweighting:
    """Fits of a loss with Huber terms: each needs a pass over the rows, with their residuals."""

    def __init__(
        self, batches: Iterable[Batch], n_batches: int, first: LossFit, choice: Choice, penalty: Penalty
    ) -> None:
        self.batches, self.n_batches = batches, n_batches
        self.first, self.choice, self.penalty = first, choice, penalty
        self.loss, self.regularizer = first.loss, first.hessian.regularizer

    def minimise(self, tolerance: float, max_iterations: int) -> LossFit:
        """Repeat re-weighted fits, from the fit of squares on, until the loss falls no further."""
        coef = self.first.coef
        sums, objective = self.reweighted(coef)
        converged, n_iterations = False, 0
        while not converged and n_iterations < max_iterations:
            n_iterations += 1
            coef = sums.factorize(self.choice, penalty=self.penalty, consume=True).coef
            before = objective
            sums, objective = self.reweighted(coef)
            converged = before - objective <= tolerance * before
        if not converged:
            fall = (before - objective) / before
            warn(
                NotConvergedWarning,
                f"the loss still falls after {max_iterations} re-weighted fits: the last lowered it by a fraction of "
                f"{fall:.1e}, more than the tolerance {tolerance:g}",
                Advice.MORE_ITERATIONS,
            )
        hessian = self.curvature(coef).factorize(self.choice, penalty=self.penalty, consume=True)
        return replace(
            self.first,
            coef=coef,
            hessian=hessian,
            n_iterations=n_iterations,
            objective=objective,
            converged=converged,
        )

    def reweighted(self, coef: NDArray[np.float64]) -> tuple[Covariance, float]:
        """Return the sums with weights w·min(1, δ/|r|), and the loss at `coef`."""
        parts = {name: Covariance(len(coef)) for name in self.loss.terms}
        # roots of λ and of weights come first: θ² and r² alone can leave the range of float64
        objective = 0.5 * self.penalty.quadratic_form(
            np.sqrt(self.regularizer) * coef, self.choice.jitter, everywhere=self.choice.reason.is_guaranteed
        )
        for name, term, rows in self.rows():
            residuals = rows.residuals(coef)
            weights = rows.known_weights
            objective += float(_huber(residuals, term.huber, np.sqrt(term.weight) * np.sqrt(weights)).sum())
            add(parts[name], rows, weights * _reweight(residuals, term.huber))
        return self.combined(parts), objective

    def curvature(self, coef: NDArray[np.float64]) -> Covariance:
        """Return sums without targets, with weights w·ρ''."""
        parts = {name: Covariance(len(coef)) for name in self.loss.terms}
        for name, term, rows in self.rows():
            weights = rows.known_weights * curvature(rows.residuals(coef), term.huber)
            add(parts[name], rows, weights, with_targets=False)
        return self.combined(parts)

    def rows(self) -> Iterator[tuple[str, Term, TermRows]]:
        """Yield the rows of each term of each batch, in one pass over the data."""
        n_batches = 0
        for batch in self.batches:
            n_batches += 1
            for name, term in self.loss.terms.items():
                yield name, term, batch[name]
        if n_batches == 0:
            raise ValueError(_READ_ONCE)
        if n_batches != self.n_batches:
            raise ValueError(f"the rows came in {self.n_batches} batches, then in {n_batches}: pass a list")

    def combined(self, parts: dict[str, Covariance]) -> Covariance:
        """Add the terms by their weights; thresholds are part of the rows' weights already."""
        return LossSums(_without_thresholds(self.loss), parts).combined()


def _huber(residuals: NDArray[np.float64], threshold: float | None, root: NDArray[np.float64]) -> NDArray[np.float64]:
    """wρ(r), with √w as `root`: ½ wr² up to the threshold δ, wδ(|r| − δ/2) beyond."""
    size = np.abs(residuals)
    near = size if threshold is None else np.minimum(size, threshold)
    return np.asarray((root * near) * (root * (size - 0.5 * near)))


def _reweight(residuals: NDArray[np.float64], threshold: float | None) -> NDArray[np.float64]:
    """ρ'(r)/r = min(1, δ/|r|)."""
    if threshold is None:
        return np.ones(len(residuals))
    return threshold / np.maximum(np.abs(residuals), threshold)


def curvature(residuals: NDArray[np.float64], threshold: float | None) -> NDArray[np.float64]:
    """ρ''(r): 1 up to the threshold δ, 0 from there on."""
    if threshold is None:
        return np.ones(len(residuals))
    return (np.abs(residuals) < threshold).astype(np.float64)


def _without_thresholds(loss: Loss) -> Loss:
    """Return the loss with squares in place of Huber's function."""
    return Loss(**{name: replace(term, huber=None) for name, term in loss.terms.items()})


def _check_settings(tolerance: float, max_iterations: int) -> None:
    if as_number(tolerance, "tolerance", "a number from 0") < 0:
        raise ValueError(f"tolerance is {tolerance}: expected a number from 0")
    if as_integer(max_iterations, "max_iterations", "a number of fits, at least 1") < 1:
        raise ValueError(f"max_iterations is {max_iterations}: expected at least 1")
