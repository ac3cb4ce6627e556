"""A smeared potential 1/rᵖ, averaged by radial functions: what LODE has of l = 0, in closed form.

Each atom is the source of a potential that is 1/rᵖ far away and finite at the atom,

    V(r) = γ(p/2, r²/2σ²) / (Γ(p/2) rᵖ),  for p = 1: erf(r/√2σ) / r,

with smearing σ. Its coefficients around a centre at distance r are g_n(r) = ∫ R_n(x) Y₀₀ V(|x − r|)
d³x, with N orthonormal Gaussian-type orbitals, primitives xⁿ exp(−x²/2s_n²), s_n = √max(n, 1)·R/N.
In reciprocal space this is a product, whose factors have closed forms (A&S 6.5, 13.1):

    F_n(k) = V̂(k) B_n(k),   g_n(r) = 1/2π² ∫ k² F_n(k) sin(kr)/kr dk,
    V̂(k) = π^{3/2} (2σ²)^{(3−p)/2} / Γ(p/2) · E_{(p−1)/2}(k²σ²/2),
    B(k) = √4π ∫ x² R(x) sin(kx)/kx dx, of a primitive
         = √4π 2^{(n+1)/2} s^{n+3} Γ((n+3)/2) · ₁F₁((n+3)/2; 3/2; −k²s²/2),

with E the generalised exponential integral. Huguenin-Dumittan, Loche, Haoran, Ceriotti, J. Phys.
Chem. Lett. 14 (2023) 9612; Grisafi, Ceriotti, J. Chem. Phys. 151 (2019) 204105.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.special import erfc, expn, gamma, hyp1f1

from rigidities.runtime.cached import cached_property

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUNCATION = 1e-8
"""What is left, at the default cutoff of k, of the Gaussian factor that all F_n have."""

LARGEST_K = 1000.0
"""1/Å. Largest cutoff of k that may be given: a tenth of it resolves lengths of 0.1 Å."""

LEAST_OVERLAP = 1e-10
"""Least eigenvalue of the overlap of normalised primitives: digits are lost as 1/√ of it."""

AT_ONCE = 1 << 20
"""Sines of distances and nodes of k in memory at once: 8 MB, three times."""

N_NODES = 64
"""Nodes of a panel of the quadrature: Gauss–Legendre resolves a phase of 64 with them to 10⁻¹⁵."""

STEP = 0.04
"""Step of the table of g_n, in units of 1/K with K the largest k: cubics miss the wave of K by
STEP⁴/384 = 7·10⁻⁹ of it."""


GROWTH = 0.005
"""Step of the table as a share of r, where g_n is 1/rᵖ: cubics miss p…(p + 3)·GROWTH⁴/384 of it,
2·10⁻⁸ for p = 9."""


@dataclass(frozen=True)
class PowerLaw:
    """A smeared 1/rᵖ in the basis of radial functions.

    Parameters
    ----------
    exponent : int
        p, from 1 to 9.
    smearing, radius : float
        σ and R, in Å.
    max_radial : int
        N − 1.
    k_cutoff : float or None
        Largest k, in 1/Å; None: where the Gaussian factor of all F_n is `TRUNCATION`.
    """

    exponent: int
    smearing: float
    radius: float
    max_radial: int
    k_cutoff: float | None = None

    @property
    def largest_k(self) -> float:
        """Largest k, in 1/Å."""
        if self.k_cutoff is not None:
            return self.k_cutoff
        # F_n falls as exp(−k²σ²/2), F_0 of a single Gaussian also as exp(−k²R²/2); primitives with
        # odd powers of the distance only as a power of k
        width = math.hypot(self.smearing, self.radius if self.max_radial == 0 else 0.0)
        return math.sqrt(-2 * math.log(TRUNCATION)) / width

    def require_usable(self) -> None:
        """Raise if the radial functions are dependent, or F_n at the largest k is no number."""
        if self.k_cutoff is not None and not 0 < self.k_cutoff <= LARGEST_K:
            raise ValueError(f"k_cutoff is {self.k_cutoff}: expected a wave vector up to {LARGEST_K:g}/Å")
        least = self._overlap_spectrum[0][0]
        if least < LEAST_OVERLAP:
            raise ValueError(
                f"max_radial is {self.max_radial}: so many radial functions are dependent (least eigenvalue of their "
                f"overlap {least:.0e}), expected fewer"
            )

    # Reciprocal space -----------------------------------------------------------------------------

    def transform(self, k: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return F_n(k) and dF_n/dk, each of shape (n_k, n_functions), for k > 0."""
        V, dV = self._potential(k)
        B, dB = self._basis(k)
        return V[:, None] * B, dV[:, None] * B + V[:, None] * dB

    @cached_property
    def at_zero(self) -> NDArray[np.float64]:
        """F_n(0) for p > 3, (n_functions,). Where it diverges, 0: that of a uniform background."""
        if self.exponent <= 3:
            return np.zeros(self.max_radial + 1)
        # E_s(0) = 1/(s − 1)
        return np.asarray(self._strength * 2 / (self.exponent - 3) * self._basis(np.zeros(1))[0][0])

    @property
    def _strength(self) -> float:
        p = self.exponent
        return float(np.pi**1.5 * (2 * self.smearing**2) ** ((3 - p) / 2) / gamma(p / 2))

    def _potential(self, k: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return V̂(k) and its derivative, by dE_s/dx = −E_{s−1}."""
        x = 0.5 * (k * self.smearing) ** 2
        E, below = _exponential_integrals(self.exponent - 1, x)
        return self._strength * E, -self._strength * below * k * self.smearing**2

    def _basis(self, k: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return B_n(k) and dB_n/dk, (n_k, n_functions)."""
        n, s = self._primitives
        a = (n + 3) / 2
        y = 0.5 * (k[:, None] * s) ** 2
        values = hyp1f1(a, 1.5, -y)
        # d/dz ₁F₁(a; b; z) = a/b ₁F₁(a + 1; b + 1; z)
        slopes = -k[:, None] * s**2 * (a / 1.5) * hyp1f1(a + 1, 2.5, -y)
        to_basis = self._orthonormal * (np.sqrt(4 * np.pi) * 2 ** ((n + 1) / 2) * s ** (n + 3) * gamma(a))
        return values @ to_basis.T, slopes @ to_basis.T

    @property
    def _primitives(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n = np.arange(self.max_radial + 1, dtype=float)
        return n, np.sqrt(np.maximum(n, 1)) * self.radius / len(n)

    @property
    def _orthonormal(self) -> NDArray[np.float64]:
        """Matrix from primitives to orthonormal functions: S^{−1/2} of normalised ones."""
        values, vectors, norm = self._overlap_spectrum
        return np.asarray((vectors / np.sqrt(values)) @ vectors.T / norm)

    @cached_property
    def _overlap_spectrum(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Eigenvalues and -vectors of the overlap of normalised primitives, and their norms."""
        n, s = self._primitives
        both, width = n[:, None] + n, s[:, None] ** -2.0 + s**-2.0
        overlap = 0.5 * (2 / width) ** ((both + 3) / 2) * gamma((both + 3) / 2)  # ∫ x² xⁿ xᵐ exp(−x²·width/2) dx
        norm = np.sqrt(np.diag(overlap))
        return *np.linalg.eigh(overlap / np.outer(norm, norm)), norm

    # Real space -----------------------------------------------------------------------------------

    def pair_function(self, farthest: float) -> CubicHermiteSpline:
        """Return g_n(r) for 0 ≤ r ≤ `farthest`, of values (…, n_functions), as a cubic spline.

        The same object for nearly the same distance. Its error is 10⁻⁸ of g_n(0), and its
        derivative is its own, so that forces are those of the energy.
        """
        return _pair_function(self, 1.25 ** math.ceil(math.log(max(farthest, 1.0), 1.25)))

    def at_distances(self, r: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return g_n(r) and dg_n/dr, each of shape (n, n_functions), for r ≥ 0.

        Only k up to `largest_k` count, so that the sum of g_n over a lattice is that over its
        reciprocal lattice.
        """
        values, slopes = (np.empty((len(r), self.max_radial + 1)) for _ in range(2))
        k, weights = self._nodes(float(r.max(initial=0.0)))
        at_once = max(1, AT_ONCE // len(k))
        for start in range(0, len(r), at_once):
            some = slice(start, start + at_once)
            kr = r[some, None] * k
            sinc = np.sinc(kr / np.pi)
            # d/dx sin(x)/x = (cos x − sin(x)/x)/x, which cancels near 0
            slope = np.divide(np.cos(kr) - sinc, kr, out=-kr / 3 * (1 - kr**2 / 10), where=kr > 1e-2)
            values[some], slopes[some] = sinc @ weights, (slope * k) @ weights
        return values, slopes

    def _nodes(self, r: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return nodes of k of a quadrature, and k² F_n(k)/2π² times its weights.

        With k = K t² for t from 0 to 1, k² F_n dk is smoother at 0: there F_n has odd powers of k,
        or a logarithm. The phase K t² r is cut into panels of some periods each.
        """
        n_panels = 1 + int(2 * self.largest_k * r / N_NODES)
        x, w = np.polynomial.legendre.leggauss(N_NODES)
        t = (np.arange(n_panels)[:, None] + 0.5 * (x + 1)).ravel() / n_panels
        w = np.tile(0.5 * w / n_panels, n_panels)
        k = self.largest_k * t**2
        measure = self.largest_k * 2 * t * w * k**2 / (2 * np.pi**2)
        return k, self.transform(k)[0] * measure[:, None]


@lru_cache(maxsize=16)
def _pair_function(law: PowerLaw, farthest: float) -> CubicHermiteSpline:
    smooth = min(6 * math.hypot(law.smearing, law.radius), farthest)  # from here on g is a sum of powers of 1/r
    near = np.linspace(0, smooth, 2 + int(smooth * law.largest_k / STEP))
    far = np.geomspace(smooth, farthest, 2 + int(math.log(farthest / smooth) / GROWTH))[1:]
    r = np.append(near, far if farthest > smooth else [])
    return CubicHermiteSpline(r, *law.at_distances(r))


def _exponential_integrals(twice: int, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return E_s(x) and E_{s−1}(x) for s = twice/2 and x > 0, by s E_{s+1} = exp(−x) − x E_s."""
    if twice % 2 == 0:
        E = expn(twice // 2, x)
        return E, expn(twice // 2 - 1, x) if twice else (np.exp(-x) + E) / x
    E = np.sqrt(np.pi / x) * erfc(np.sqrt(x))
    below = (np.exp(-x) + 0.5 * E) / x
    for s in (0.5 * odd for odd in range(1, twice, 2)):
        E, below = (np.exp(-x) - x * E) / s, E
    return E, below
