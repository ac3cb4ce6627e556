"""The spectrum of rows that are kept as a triangular factor R, C = RᵀR, and their evidence.

The singular values σ of R take the place of the eigenvalues τ = σ² of C. They are known to u‖R‖,
and so τ to 2σu‖R‖ + u²‖R‖², where sums leave u‖R‖². With R = U diag(σ) Vᵀ and c = Uᵀz

    S = Σwy² − ‖z‖² + Σ c²λ/(σ² + λ),    Σwr² = Σwy² − ‖z‖² + Σ c²λ²/(σ² + λ)²

are sums of positive numbers (Eldén, BIT 17 (1977) 134). Rounding of R and z changes √S by ε =
√ρ(√Σwy² + √trace(C)‖θ‖) at most, with √ρ = u√(p + min(n, 256) + n/256): rows are taken up 256 at a
time, and errors of random signs add up like a random walk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rigidities import _core
from rigidities.moments import DIGIT, Moments
from rigidities.penalty import Penalty, with_jitter
from rigidities.rounding import UNIT_ROUNDOFF, check_scale
from rigidities.spectrum.decomposition import Eliminated, Spectrum, eliminated_from, spectrum_of
from rigidities.spectrum.eigen import eigh, svd
from rigidities.spectrum.evidence import ROWS_AT_ONCE, Projection, divide
from rigidities.spectrum.pencil import (
    ROUNDED_SUMS,
    Coordinates,
    decomposed,
    guaranteed,
    smallest_eigenvalue,
    undetermined,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNIT_SQUARED = UNIT_ROUNDOFF**2
"""Unit roundoff of C = RᵀR, relative to its trace."""


def rounding(p: int, n: int) -> float:
    """ρ = u²(p + min(n, 256) + n/256) of n rows, of which the root counts."""
    return UNIT_SQUARED * (p + min(n, ROWS_AT_ONCE) + n / ROWS_AT_ONCE)


@dataclass(frozen=True, eq=False)
class RowFactor:
    """The triangular factor of √w[F Y].

    Attributes
    ----------
    R : ndarray of shape (p, p)
    z : ndarray of shape (p, n_outputs)
        b = Rᵀz
    unexplained : ndarray of shape (n_outputs,)
        Σwy² − ‖z‖²
    """

    R: NDArray[np.float64]
    z: NDArray[np.float64]
    unexplained: NDArray[np.float64]

    @classmethod
    def of(cls, core: _core.Covariance) -> RowFactor:
        """Return the factor that an accumulator keeps."""
        lower, z, unexplained = core.row_factor()
        return cls(lower.T, z, unexplained)

    def squared_residuals(self, coef: NDArray[np.float64], n_rows: int) -> NDArray[np.float64]:
        """Σwr² = Σwy² − ‖z‖² + ‖z − Rθ‖² of fits θ (n_coefs, p) of one output, (n_coefs,).

        NaN if rounding leaves no digit of it.
        """
        root = np.hypot(np.sqrt(self.unexplained[0]), np.linalg.norm(self.z[:, 0] - coef @ self.R.T, axis=1))
        size = np.hypot(np.sqrt(self.unexplained[0]), np.linalg.norm(self.z[:, 0]))
        lengths = np.linalg.norm(coef, axis=1) * np.linalg.norm(self.R)
        noise = np.sqrt(rounding(len(self.R), n_rows)) * (size + lengths)
        return np.where(root > DIGIT * noise, root**2, np.nan)

    def retriangulated(self, R: NDArray[np.float64]) -> RowFactor:
        """Return the factor after the columns of R have changed."""
        core = _core.Covariance(len(R), "float64", "qr")
        core += (np.ascontiguousarray(R), None, "sum", None, np.ascontiguousarray(self.z) if self.z.size else None)
        factor = RowFactor.of(core)
        return replace(factor, unexplained=self.unexplained + factor.unexplained) if self.z.size else factor


@dataclass(frozen=True, eq=False)
class RowProjection(Projection):
    """Moments in the coordinates of singular vectors.

    Attributes
    ----------
    along : ndarray of shape (p − m, n_outputs)
        c = Uᵀz of the penalised directions.
    unexplained : ndarray of shape (n_outputs,)
        Σwy² − ‖z‖²
    """

    along: NDArray[np.float64]
    unexplained: NDArray[np.float64]

    @property
    def of_sums(self) -> bool:
        """No: the rows themselves were taken up."""
        return False

    @property
    def rounding(self) -> float:
        """ρ of these rows."""
        return rounding(len(self.spectrum.values), self.moments.n_rows)

    def residuals(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """S: (n_λ, n_outputs)."""
        return self._left(regularizers, 1)

    def errors(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted squared training residuals Σwr²: (n_λ, n_outputs)."""
        return self._left(regularizers, 2)

    def _left(self, regularizers: NDArray[np.float64], power: int) -> NDArray[np.float64]:
        shrinkage = regularizers[:, None] / (self.spectrum.penalised + regularizers[:, None])
        return np.asarray(self.unexplained + shrinkage**power @ self.along**2)

    def residual_rounding(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of S, and of Σwr², (√S + ε)² − S: (n_λ, n_outputs)."""
        squares = super().residual_rounding(regularizers)
        return np.asarray(squares + 2 * np.sqrt(squares) * np.sqrt(self.residuals(regularizers)))

    def determinant_rounding(self, regularizers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of ln|H|, and of tr CH⁻¹: (n_λ,).

        An eigenvalue changes by 2σδ + δ². The first part has random signs.
        """
        spectrum = self.spectrum
        n = len(spectrum.penalised)
        squares = self.rounding * (spectrum.spread[:n] * spectrum.trace + spectrum.penalised.max(initial=0.0))
        inverse = 1 / (spectrum.penalised + regularizers[:, None])
        first = 2 * inverse * np.sqrt(spectrum.penalised) * np.sqrt(squares)  # squares of 1/τ may overflow
        return np.asarray(np.linalg.norm(first, axis=1) + inverse @ squares)

    def variance_rounding(self, variances: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound on the rounding of variances, (√v + q)² − v with q² = `squares`."""
        return np.asarray(squares + 2 * np.sqrt(variances) * np.sqrt(squares))

    def prediction_noise(
        self, regularizers: NDArray[np.float64], variances: NDArray[np.float64], squares: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Bound on the rounding of residuals, √v·ε + q√S + qε: (n_λ, n_outputs, n)."""
        epsilon = np.sqrt(super().residual_rounding(regularizers))[:, :, None]
        root = np.sqrt(self.residuals(regularizers))[:, :, None]
        q = np.sqrt(squares)[:, None, :]
        return np.asarray(np.sqrt(variances)[:, None, :] * epsilon + q * (root + epsilon))


def decompose_rows(
    factor: RowFactor, moments: Moments, penalty: Penalty
) -> tuple[Spectrum, NDArray[np.float64], RowProjection]:
    """Return the spectrum of C and Λ, its basis A, and the moments in it.

    Parameters
    ----------
    factor : RowFactor
    moments : Moments
        Of the same rows.
    penalty : Penalty

    Returns
    -------
    spectrum : Spectrum
    basis : ndarray of shape (p, p)
    projection : RowProjection

    Raises
    ------
    NotPositiveDefiniteError
        If the data do not determine an unpenalised direction.
    """
    penalty.require_effect()
    coordinates, R = _in_coordinates(factor.R, penalty)
    free, m = coordinates.free, int(coordinates.free.sum())
    turned = replace(factor, R=R)
    if m:  # unpenalised features come first
        turned = factor.retriangulated(R[:, np.r_[np.flatnonzero(free), np.flatnonzero(~free)]])
    eliminated = _eliminate(turned.R, coordinates, m)
    values, V, along = svd(turned.R[m:, m:], turned.z[m:])
    basis = coordinates.lift(eliminated_from(eliminated, free, V))
    rotated = coordinates.R is not None and coordinates.R.ndim == 2
    spread = np.einsum("ij,ij->j", basis, basis) if rotated else None
    spectrum = spectrum_of(coordinates, eliminated, values**2, spread)
    signs = np.sign(np.diagonal(turned.R)[:m])[:, None]
    projected = np.r_[values[:, None] * along, signs * turned.z[:m]]
    projection = RowProjection(
        spectrum,
        moments,
        projected,
        divide(projected, spectrum),
        basis if rotated else None,
        along,
        turned.unexplained,
    )
    return spectrum, basis, projection


def _in_coordinates(R: NDArray[np.float64], penalty: Penalty) -> tuple[Coordinates, NDArray[np.float64]]:
    """Return coordinates in which Λ is the identity, as `make_pencil`, and R in them."""
    p, trace = len(R), float(np.sum(R**2))
    if trace != 0:
        check_scale(trace, "the trace of C", "rescale the features or weights")
    if penalty.matrix is not None:
        return _rotated(R, penalty.matrix, penalty.eps, trace)
    if penalty.diagonal is None:
        floor = guaranteed(p, trace, UNIT_SQUARED)
        none = np.zeros(p, dtype=bool)
        return Coordinates(None, none, 0.0, 0.0, trace, floor, floor, UNIT_SQUARED, 1.0), R
    free = penalty.diagonal == 0
    diagonal = np.where(free, np.sum(R**2, axis=0), penalty.diagonal)
    if (diagonal <= 0).any():
        raise undetermined(int(np.argmax(diagonal <= 0)), "feature")
    scale = 1 / np.sqrt(diagonal)
    R = R * scale
    trace = float(np.sum(R[:, ~free] ** 2))
    floor = guaranteed(p, trace, UNIT_SQUARED)
    return Coordinates(scale, free, 0.0, float(np.log(scale).sum()), trace, floor, floor, UNIT_SQUARED, 1.0), R


def _rotated(
    R: NDArray[np.float64], matrix: NDArray[np.float64], eps: float, trace: float
) -> tuple[Coordinates, NDArray[np.float64]]:
    """U d^-½ with Λ = U d Uᵀ, as for sums; jitter is as large as rounding of Λ."""
    p, jitter = len(R), 0.0
    d, U = eigh((0.5 * matrix + 0.5 * matrix.T).T)
    free = d <= smallest_eigenvalue(d, eps)
    if free.any() and not _determined(R @ U[:, free], trace):
        jitter = float(4 * p * eps * d[-1])
        d, U = decomposed(with_jitter(matrix, jitter))
        free = d <= 0
    root = np.sqrt(np.where(free, 1.0, d))
    turn = U / root
    rows = R @ turn
    floor = guaranteed(p, float(np.sum(rows[:, ~free] ** 2)), UNIT_SQUARED)
    safe = max(floor, guaranteed(p, trace, UNIT_SQUARED) / float(d[~free].min()))
    return Coordinates(turn, free, jitter, float(-np.log(root).sum()), trace, floor, safe, UNIT_SQUARED, 1.0), rows


def _determined(rows: NDArray[np.float64], trace: float) -> bool:
    """Whether rows determine all their directions beyond rounding."""
    least = np.linalg.svd(rows, compute_uv=False)[-1]
    return bool(least**2 > max(ROUNDED_SUMS, 2 * len(rows)) * UNIT_SQUARED * trace)


def _eliminate(R: NDArray[np.float64], coordinates: Coordinates, m: int) -> Eliminated:
    """Eliminate the first m columns, the unpenalised ones: R = [Lᵀ K; 0 R''], and R'' remains."""
    pivots = np.diagonal(R)[:m]
    if m:
        weakest = int(np.argmin(np.abs(pivots)))
        if pivots[weakest] ** 2 <= ROUNDED_SUMS * UNIT_SQUARED * (pivots**2).max():
            what = "direction" if coordinates.R is not None and coordinates.R.ndim == 2 else "feature"
            raise undetermined(int(np.flatnonzero(coordinates.free)[weakest]), what)
    signs = np.sign(pivots)[:, None]
    return Eliminated(R[m:, m:], signs * R[:m, m:], (signs * R[:m, :m]).T)
