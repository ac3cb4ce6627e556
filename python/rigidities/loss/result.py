"""What the fit of a loss gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rigidities.covariance import Covariance
from rigidities.hessian import Hessian
from rigidities.loss.rows import TermRows
from rigidities.loss.terms import Loss
from rigidities.regularizer.path import RegularizerPath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        Sums from which λ was chosen: `regularizer_path` takes them. They are those of squares; if a
        rule chose λ, a target beyond a Huber threshold δ has its weight times (δ/r)².
    path : RegularizerPath, optional
        The path from which "evidence", "gcv" or "loo" chose λ. None if λ was given or "auto".
    left_out : ndarray of shape (n_λ,), optional
        What "loo" compared, at the λ of `path`: √(Σwe²/n), with the error e of each of the n
        targets in a fit without its structure. Its unit is that of √w times a target.
    energies : TermRows, optional
        Rows of the energies, with the weights that they have in `covariance`, less that of the
        term. None unless they were kept.
    """

    coef: NDArray[np.float64]
    hessian: Hessian
    loss: Loss
    n_iterations: int
    objective: float
    converged: bool
    covariance: Covariance
    path: RegularizerPath | None = None
    left_out: NDArray[np.float64] | None = None
    energies: TermRows | None = None
