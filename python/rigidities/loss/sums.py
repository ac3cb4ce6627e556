"""Sums of a loss: one `Covariance` per term, added by the weights of the terms.

Sums of the terms are kept apart, so that the weights of terms can be changed without a new pass
over the data.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.covariance import Covariance
from rigidities.loss.rows import Batch, TermRows, check_rows, loss_of
from rigidities.loss.terms import Loss
from rigidities.spectrum.row_factor import RowFactor
from rigidities.validation import Accumulation, as_array, as_floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class LossSums:
    """Sums over a training set, one `Covariance` for each term of the loss.

    Parameters
    ----------
    loss : Loss
        The loss that the rows were made for.
    covariances : dict of str to Covariance
        Sums of each term by its name, excluding the weight of the term.
    """

    loss: Loss
    covariances: dict[str, Covariance]

    @property
    def n_features(self) -> int:
        """Length p of a feature row."""
        return next(iter(self.covariances.values())).n_features

    def combined(self, loss: Loss | None = None) -> Covariance:
        """Return Σ weight · covariance over the terms: the sums of the loss.

        Parameters
        ----------
        loss : Loss, optional
            Other weights of the terms (``sums.loss.with_weights(forces=0.2)``), or fewer terms. By
            default the loss of these sums.

        Returns
        -------
        Covariance
            A new object, independent of these sums.

        Raises
        ------
        ValueError
            If the loss has a term that was not summed, or one whose rows would have to be
            recomputed; or a Huber threshold, which needs the residuals themselves (`fit_loss`).
        """
        loss = self.loss if loss is None else loss
        check_rows(loss, self.loss)
        for name, term in loss.terms.items():
            if term.huber is not None:
                raise ValueError(f"{name} has a Huber threshold, which sums of squares cannot describe: use fit_loss")
        parts = (term.weight * self.covariances[name] for name, term in loss.terms.items())
        return functools.reduce(operator.iadd, parts)

    def errors(self, coef: ArrayLike) -> dict[str, Any]:
        """Return the training error √(Σwr²/n) of each term, without a new pass over the data.

        Σwr² = Σwy² − 2θᵀb + θᵀCθ over the n rows of the term with weight w > 0, excluding the
        weight of the term. The error is NaN if rounding of the sums leaves no digit of Σwr² (if it
        is below ten times the bound on the rounding), as in a fit that reproduces its targets.
        Compute it from the rows then.

        Parameters
        ----------
        coef : array_like of shape (n_features,) or (n_coefs, n_features)
            One fit θ, or several (`RegularizerPath.coef`).

        Returns
        -------
        dict of str to float, or to ndarray of shape (n_coefs,)
            By the name of the term, in the unit of its targets: eV (with ``per_atom`` eV/atom),
            eV/Å. NaN for a term without rows.

        Raises
        ------
        NotFittedError
            If no targets were accumulated.
        ValueError, TypeError
            If `coef` is not finite or of another shape, or the targets have several outputs.
        MemoryError
            If another matrix of the size of C does not fit in memory.
        """
        array = as_array(coef, "coef")
        p = self.n_features
        if array.ndim not in (1, 2) or array.shape[-1] != p:
            raise ValueError(f"coef has shape {array.shape}: expected ({p},) or (n_coefs, {p})")
        array = as_floats(array, "coef", ndim=array.ndim, double=True)
        if not np.isfinite(array).all():
            raise ValueError("coef has a NaN or an infinite entry: expected finite numbers")
        found = {name: _error(covariance, np.atleast_2d(array)) for name, covariance in self.covariances.items()}
        return {name: float(errors[0]) for name, errors in found.items()} if array.ndim == 1 else dict(found)

    def __add__(self, other: LossSums) -> LossSums:
        """Add the sums of two parts of the data."""
        if not isinstance(other, LossSums):
            return NotImplemented
        if self.loss != other.loss:
            raise ValueError(f"cannot add sums of another loss: {other.loss} to {self.loss}")
        parts = self.covariances.items()
        return LossSums(self.loss, {name: covariance + other.covariances[name] for name, covariance in parts})


def _error(covariance: Covariance, coef: NDArray[np.float64]) -> NDArray[np.float64]:
    """√(Σwr²/n) of each θ, (n_coefs,)."""
    if covariance.n_rows == 0:
        return np.full(len(coef), np.nan)
    moments = covariance.moments()
    moments.require_targets("a training error")
    if moments.n_outputs > 1:
        raise ValueError(f"the targets have {moments.n_outputs} outputs: errors are defined for one")
    if covariance.accumulation == "qr":
        squares = RowFactor.of(covariance._core).squared_residuals(coef, moments.n_rows)
    else:
        squares = moments.squared_residuals(covariance.matrix(), coef)
    return np.sqrt(squares / moments.n_rows)


def loss_sums(batches: Iterable[Batch], *, accumulation: Accumulation = "sums") -> LossSums:
    """Sum the rows of a loss, term by term.

    Weights of structures and atoms are applied here, weights of terms in `LossSums.combined`.

    Parameters
    ----------
    batches : iterable of mappings from a term's name to TermRows
        E.g. ``rigidities.interop.featomic.LossRows``. All batches have the same terms; a term may
        have no rows.
    accumulation : {"sums", "qr"}
        As in `Covariance`.

    Returns
    -------
    LossSums

    Raises
    ------
    ValueError
        If there are no batches, or they belong to different losses; or as `Covariance.update`.
    MemoryError
        If the sums do not fit in memory.
    """
    covariances: dict[str, Covariance] = {}
    loss: Loss | None = None
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches is a {type(batches).__name__}: expected an iterable of batches, e.g. LossRows")
    for batch in batches:
        if loss is None:
            loss = loss_of(batch)
            widths = {name: batch[name].values.shape[1] for name in loss.terms}
            covariances = {name: Covariance(p, accumulation=accumulation) for name, p in widths.items()}
        elif loss_of(batch) != loss:
            raise ValueError(f"a batch is of another loss: {loss_of(batch)}, expected {loss}")
        for name, covariance in covariances.items():
            add(covariance, batch[name], batch[name].weights)
    if loss is None:
        raise ValueError("there are no rows: expected at least one batch")
    return LossSums(loss, covariances)


def add(
    covariance: Covariance, rows: TermRows, weights: NDArray[np.float64] | None, *, with_targets: bool = True
) -> None:
    """Add the rows of a term, if there are any, with these weights."""
    if len(rows):
        covariance.update(rows, weights=weights, targets=rows.targets if with_targets else None)
