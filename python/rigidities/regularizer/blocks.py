"""Squared errors of blocks that are left out together, at every λ of a path, in closed form.

For the rows F of a block with weights W, in the basis A in which D = AᵀHA is diagonal, Z = W^½FA
and t = W^½y. The fit without the block has the errors e, by either form:

- Small blocks, by Woodbury's formula: W^½e = M⁻¹(t − Zθ) with M = 1 − ZD⁻¹Zᵀ and θ the fit of all
  rows (`rigidities.leave_one_out`). A block of m rows takes m²p + m³/3 operations for each λ. With
  more rows than features M⁻¹ = 1 + YK⁻¹Yᵀ, Y = ZD^-½ and K = 1 − YᵀY, takes p for m.
- Large ones: the pencil without the block, D − ZᵀZ, is decomposed anew. With its basis V, every λ
  takes O(mp), and the block as many operations as 4p³ of the other form (`FORMS`). Not where the
  triangular factor of the rows is kept: a product D would lose what it resolves.

Rounding of the sums (`rigidities.spectrum.evidence`). In the first form it changes M by at most ε
in norm, and W^½r by at most δ: what it changes in v and r of a row with the v of the block, Σwv. So
W^½e is known to (ε‖W^½e‖ + δ)/(1/‖M⁻¹‖ − ε); the 1-norm of M⁻¹, which is no less than its 2-norm,
is estimated (Higham, ACM Trans. Math. Softw. 14 (1988) 381). In the second form it is known to
√(ε'·δS'), where H, δS and θ are those without the block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import NotPositiveDefiniteError
from rigidities.regularizer.path_residuals import LEAST_DIGITS, diagonals
from rigidities.rounding import UNIT_ROUNDOFF
from rigidities.spectrum.decomposition import decompose
from rigidities.spectrum.pencil import Pencil

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.spectrum.evidence import Projection

FORMS = 4.0
"""A pencil is decomposed anew if FORMS·p² < n_λ·m². 193 rows, 50 λ, one AMD core, ms of either
form, Woodbury's first: 27 and 8 at p = 252, 39 and 24 at 448, 83 and 189 at 1024."""


class BlocksLeftOut:
    """Sums of ‖W^½e‖² over blocks, each of which is left out as a whole.

    Parameters
    ----------
    projection : Projection
    basis : ndarray of shape (p, p)
        The basis A in which H is diagonal.
    regularizers : ndarray of shape (n_λ,)
    """

    def __init__(self, projection: Projection, basis: NDArray[np.float64], regularizers: NDArray[np.float64]) -> None:
        self._projection, self._basis, self._regularizers = projection, basis, regularizers
        self._inverse, self._inverse_squared = diagonals(projection, regularizers)
        self._coef = projection.coef(regularizers)
        self._squares, self._noise = np.zeros((2, len(regularizers), self._coef.shape[2]))
        self._known = np.ones(len(self._inverse), dtype=bool)

    def add(self, F: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64]) -> None:
        """Leave out a block of rows F (m, p) with targets y (m, k) and weights w (m,)."""
        root = np.sqrt(w)[:, None]
        Z, t = root * (F @ self._basis), root * y
        m, p = Z.shape
        many = m > p or FORMS * p**2 < len(self._inverse) * m**2
        (self._decompose if many and self._projection.of_sums else self._update)(Z, t)

    def sums(self) -> NDArray[np.float64]:
        """Σ‖W^½e‖² over the blocks, the mean over outputs: (n_λ,); NaN if no digit is left."""
        squares, noise = self._squares.mean(axis=1), self._noise.mean(axis=1)
        return np.where(self._known & (noise <= LEAST_DIGITS**2 * squares), squares, np.nan)

    def _update(self, Z: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        """Add a block by Woodbury's formula."""
        squares = (Z**2).sum(axis=0)[:, None]
        of_block, v = self._inverse_squared @ squares, self._inverse @ squares
        rounding = self._projection.variance_rounding(v, of_block)[:, 0] + len(Z) * UNIT_ROUNDOFF
        of_residuals = self._projection.prediction_noise(self._regularizers, v, of_block)[:, :, 0]
        for i in np.flatnonzero(self._known):
            left, errors = _left_out(Z * np.sqrt(self._inverse[i]), t - Z @ self._coef[i])
            if left <= rounding[i]:
                self._known[i] = False
                continue
            size = np.sqrt((errors**2).sum(axis=0))
            noise = (rounding[i] * size + of_residuals[i]) / (left - rounding[i])
            self._squares[i] += size**2
            self._noise[i] += noise**2

    def _decompose(self, Z: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        """Add a block by a decomposition of the pencil without it."""
        whole, projection = self._projection.spectrum, self._projection
        n = len(whole.penalised)
        C = np.diag(whole.values) - Z.T @ Z
        free = np.arange(len(C)) >= n
        trace = float(whole.penalised.sum())
        try:
            spectrum, V = decompose(
                Pencil(None, free, 0.0, 0.0, trace, whole.floor, whole.safe, projection.moments.unit, 1.0, C)
            )
        except NotPositiveDefiniteError:  # the block alone determines an unpenalised direction
            self._known[:] = False
            return
        inverse, Y = 1 / spectrum.denominators(self._regularizers), Z @ V
        x = inverse[:, :, None] * (V.T @ (projection.projected - Z.T @ t))
        coef = np.einsum("pq,lqk->lpk", V, x, optimize=True)
        self._squares += ((t - np.einsum("mq,lqk->lmk", Y, x, optimize=True)) ** 2).sum(axis=1)
        spread = 1.0 if projection.basis is None else ((projection.basis @ V) ** 2).sum(axis=0)
        scale = projection.rounding * whole.trace
        rounding = np.square(np.sqrt(scale) * inverse) @ ((Y**2).sum(axis=0) * spread)
        self._noise += rounding[:, None] * projection.rounding_of(coef)
        # H without the block is positive definite beyond rounding
        self._known &= (scale * spread * inverse)[:, :n].max(axis=1, initial=0.0) < 1


def sums_of_blocks(
    projection: Projection,
    basis: NDArray[np.float64],
    regularizers: NDArray[np.float64],
    blocks: Iterable[tuple[NDArray[np.float64], ...]],
) -> NDArray[np.float64]:
    """Return Σ‖W^½e‖² of blocks (F, y, w) as `BlocksLeftOut.sums`."""
    left_out = BlocksLeftOut(projection, basis, regularizers)
    for F, y, w in blocks:
        left_out.add(F, y, w)
    return left_out.sums()


def _left_out(half: NDArray[np.float64], r: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return 1/‖M⁻¹‖ and M⁻¹r for M = 1 − half·halfᵀ; 0 and r if M is not positive definite."""
    from scipy.linalg import lapack

    m, p = half.shape
    if m > p:
        left, x = _left_out(half.T, half.T @ r)
        return left, r + half @ x
    M = half @ half.T
    np.negative(M, out=M)
    M.flat[:: len(M) + 1] += 1
    norm = float(np.abs(M).sum(axis=0).max())
    factor, failed = lapack.dpotrf(M.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        return 0.0, r
    reciprocal = lapack.dpocon(factor, norm, uplo="L")[0]
    return float(reciprocal) * norm, np.asarray(lapack.dpotrs(factor, r, lower=1)[0])
