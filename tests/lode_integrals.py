"""Coefficients of a smeared potential 1/rᵖ in featomic's radial functions, by integration."""

import featomic
import numpy as np
from scipy.integrate import quad
from scipy.special import gammainc


def by_integration(law, r):
    """∫ R_n(x) Y₀₀ V(|x − r|) d³x, with featomic's orthonormal functions R_n."""
    p, s = law.exponent, law.smearing
    basis = featomic.basis.Gto(max_radial=law.max_radial, radius=law.radius)
    potential = lambda d: gammainc(p / 2, d**2 / (2 * s**2)) / d**p  # noqa: E731

    def on_shell(x):
        """Mean of the potential over the sphere of radius x around the centre."""
        return quad(lambda d: d * potential(d), abs(x - r), x + r, epsabs=1e-12)[0] / (2 * x * r)

    nodes, weights = np.polynomial.legendre.leggauss(80)
    x, w = 4 * law.radius * (nodes + 1), 4 * law.radius * weights
    shells = np.array([on_shell(value) for value in x])
    return np.sqrt(4 * np.pi) * (w * x**2 * shells) @ basis.compute(x, derivative=False)
