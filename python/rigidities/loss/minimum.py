"""The fit of a loss, Huber's included, by iteratively re-weighted least squares.

What enters: batches of rows that can be gone through again. What leaves: the weights θ at the minimum, and the Hessian
of the loss there. A Huber term is fitted as squares with weights w·min(1, δ/|r|), r from the fit before, which never
raises the loss. Its second derivative is w where |r| < δ and 0 elsewhere: that makes H, and θ comes from the fit.

P. J. Huber, Ann. Math. Statist. 35 (1964) 73; P. W. Holland, R. E. Welsch, Commun. Stat. A 6 (1977) 813.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import NotConvergedWarning
from rigidities.hessian import Hessian
from rigidities.loss.rows import Batch, TermRows, check_rows, loss_of
from rigidities.loss.sums import LossSums, add, loss_sums
from rigidities.loss.terms import Loss, Term

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class LossFit:
    """The minimum of a loss.

    Parameters
    ----------
    coef : ndarray of shape (n_features,)
        θ at the minimum.
    hessian : Hessian
        Second derivative of the loss there. Rows beyond the threshold of a Huber term have weight 0 in it, and with
        such a term it has no ``coef`` of its own.
    loss : Loss
        What was minimised.
    n_iterations : int
        Re-weighted fits after the first; 0 for squares.
    objective : float
        The loss at `coef`, with the penalty; NaN for squares, whose residuals were not looked at.
    converged : bool
        Whether the last fit lowered the loss by no more than the tolerance.
    """

    coef: NDArray[np.float64]
    hessian: Hessian
    loss: Loss
    n_iterations: int
    objective: float
    converged: bool


def fit_loss(
    batches: Iterable[Batch],
    loss: Loss | None = None,
    *,
    regularizer: float | Literal["auto"] = "auto",
    penalty: ArrayLike | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
) -> LossFit:
    """Minimise a loss.

    Parameters
    ----------
    batches : iterable of mappings from a term's name to TermRows
        Rows with targets. With Huber terms they are gone through once for every fit: an iterable that begins anew,
        such as ``rigidities.interop.featomic.LossRows`` (which computes them again) or ``list(...)`` of it (which
        keeps the reduced rows, 8·n_targets·n_features bytes).
    loss : Loss, optional
        Other weights, thresholds or fewer terms than the rows were made for.
    regularizer : float or "auto"
        λ, as in `Covariance.factorize`. "auto" is settled by the first fit, of squares, and stays.
    penalty : array_like of shape (n_features,) or (n_features, n_features), optional
        Λ, as in `Covariance.factorize`.
    tolerance : float, default 1e-10
        A fit that lowers the loss by no more than this share of it is the last.
    max_iterations : int, default 100
        Re-weighted fits at most.

    Returns
    -------
    LossFit

    Raises
    ------
    ValueError
        If rows have no targets, are not of this loss, or cannot be gone through again; or as `Covariance.factorize`.

    Warns
    -----
    NotConvergedWarning
        If `max_iterations` fits do not settle it.
    """
    _check_settings(tolerance, max_iterations)
    sums = loss_sums(_with_targets(batches))
    loss = sums.loss if loss is None else loss
    check_rows(loss, sums.loss)
    squares = Loss(**{name: _without_threshold(term) for name, term in loss.terms.items()})
    hessian = sums.combined(squares).factorize(regularizer, penalty=penalty, consume=True)
    if loss == squares:
        return LossFit(hessian.coef, hessian, loss, 0, float("nan"), True)
    if iter(batches) is batches:
        raise ValueError("a Huber fit goes through the rows again and again, but these can be read once: pass a list")
    return _Reweighting(batches, loss, hessian.regularizer, penalty).minimise(hessian.coef, tolerance, max_iterations)


class _Reweighting:
    """Passes over the rows with the residuals of a fit."""

    def __init__(self, batches: Iterable[Batch], loss: Loss, regularizer: float, penalty: ArrayLike | None) -> None:
        self.batches, self.loss, self.regularizer, self.penalty = batches, loss, regularizer, penalty

    def minimise(self, coef: NDArray[np.float64], tolerance: float, max_iterations: int) -> LossFit:
        """Fit again until the loss falls no further."""
        sums, objective = self.reweighted(coef)
        converged, n_iterations = False, 0
        while not converged and n_iterations < max_iterations:
            n_iterations += 1
            coef = sums.factorize(self.regularizer, penalty=self.penalty, consume=True).coef
            before = objective
            sums, objective = self.reweighted(coef)
            converged = before - objective <= tolerance * before
        if not converged:
            fall = (before - objective) / before
            warnings.warn(
                f"{max_iterations} re-weighted fits have not settled the loss: the last lowered it by {fall:.1e} of "
                f"it, more than the tolerance {tolerance:g}. Raise max_iterations, the tolerance or the thresholds",
                NotConvergedWarning,
                stacklevel=3,
            )
        hessian = self.curvature(coef).factorize(self.regularizer, penalty=self.penalty, consume=True)
        return LossFit(coef, hessian, self.loss, n_iterations, objective, converged)

    def reweighted(self, coef: NDArray[np.float64]) -> tuple[Covariance, float]:
        """Return the sums with weights w·min(1, δ/|r|), and the loss at `coef`."""
        parts = {name: Covariance(len(coef)) for name in self.loss.terms}
        objective = 0.5 * self.regularizer * _penalty_of(coef, self.penalty)
        for name, term, rows in self.rows():
            residuals = _residuals(rows, coef)
            weights = _weights(rows)
            objective += term.weight * float(weights @ _huber(residuals, term.huber))
            add(parts[name], rows, weights * _reweight(residuals, term.huber))
        return self.combined(parts), objective

    def curvature(self, coef: NDArray[np.float64]) -> Covariance:
        """Return the sums with the second derivative as weights, w where |r| < δ and 0 elsewhere; without targets."""
        parts = {name: Covariance(len(coef)) for name in self.loss.terms}
        for name, term, rows in self.rows():
            weights = _weights(rows)
            if term.huber is not None:
                weights = np.where(np.abs(_residuals(rows, coef)) < term.huber, weights, 0.0)
            add(parts[name], rows, weights, with_targets=False)
        return self.combined(parts)

    def rows(self) -> Iterator[tuple[str, Term, TermRows]]:
        """Go through the data once: the rows of each term of each batch."""
        for batch in self.batches:
            for name, term in self.loss.terms.items():
                yield name, term, batch[name]

    def combined(self, parts: dict[str, Covariance]) -> Covariance:
        """Add the terms by their weights; the thresholds are in the rows' weights by now."""
        squares = Loss(**{name: _without_threshold(term) for name, term in self.loss.terms.items()})
        return LossSums(squares, parts).combined()


def _huber(residuals: NDArray[np.float64], threshold: float | None) -> NDArray[np.float64]:
    """ρ(r): ½ r² up to the threshold δ, δ(|r| − δ/2) beyond."""
    if threshold is None:
        return 0.5 * residuals**2
    size = np.abs(residuals)
    return np.where(size <= threshold, 0.5 * size**2, threshold * (size - 0.5 * threshold))


def _reweight(residuals: NDArray[np.float64], threshold: float | None) -> NDArray[np.float64]:
    """ρ'(r)/r = min(1, δ/|r|)."""
    if threshold is None:
        return np.ones(len(residuals))
    return threshold / np.maximum(np.abs(residuals), threshold)


def _residuals(rows: TermRows, coef: NDArray[np.float64]) -> NDArray[np.float64]:
    assert rows.targets is not None  # the first fit has seen to that
    return np.asarray(rows.targets - rows.values @ coef)


def _weights(rows: TermRows) -> NDArray[np.float64]:
    return np.ones(len(rows)) if rows.weights is None else rows.weights


def _penalty_of(coef: NDArray[np.float64], penalty: ArrayLike | None) -> float:
    """θᵀΛθ."""
    if penalty is None:
        return float(coef @ coef)
    matrix = np.asarray(penalty, dtype=np.float64)
    return float(coef @ (matrix * coef if matrix.ndim == 1 else matrix @ coef))


def _without_threshold(term: Term) -> Term:
    return replace(term, huber=None)


def _with_targets(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        for name in loss_of(batch).terms:
            if batch[name].targets is None:
                raise ValueError(f"the rows of {name} have no targets: there is nothing to fit")
        yield batch


def _check_settings(tolerance: float, max_iterations: int) -> None:
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}: expected a number from 0")
    if max_iterations < 1:
        raise ValueError(f"max_iterations is {max_iterations}: expected at least 1")
