"""Functions of one distance that `Lode` sums: against integrals of their definition, and closed forms."""

import numpy as np
import pytest

featomic = pytest.importorskip("featomic")

from lode_integrals import by_integration  # noqa: E402
from scipy.special import erf, gamma  # noqa: E402

from rigidities.interop.featomic.power_law import PowerLaw  # noqa: E402


@pytest.mark.parametrize("exponent", range(1, 10))
def test_functions_of_one_distance_are_integrals(exponent):
    law = PowerLaw(exponent, 0.9, 1.4, 2, k_cutoff=8.0)
    for r in (0.4, 1.7, 4.2, 9.0):
        expected = by_integration(law, r)
        # what is left of the Gaussian factor at k = 8 is 1e-14
        np.testing.assert_allclose(law.pair_function(10.0)(r), expected, rtol=0, atol=2e-8 * gamma(exponent / 2) ** -1)


@pytest.mark.parametrize(("radius", "max_radial"), [(1.0, 0), (1.0, 1), (5.0, 1), (5.0, 5), (0.3, 0)])
@pytest.mark.parametrize("exponent", [1, 2, 6])
def test_larger_wave_vectors_add_nothing(exponent, radius, max_radial):
    """At the default cutoff of k; and the table is as near to the integral."""
    law = PowerLaw(exponent, 1.0, radius, max_radial)
    r = np.array([0.0, 0.3, 1.0, 3.0, 5.2, 7.7, 12.0, 33.0, 80.0, 250.0])
    expected = PowerLaw(exponent, 1.0, radius, max_radial, 3 * law.largest_k).at_distances(r)[0]
    np.testing.assert_allclose(law.pair_function(250.0)(r), expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_a_function_far_wider_than_the_largest_wave_is_no_overflow():
    """₁F₁ of k²s²/2 = 45,000: less than 1e-16 of g comes from beyond k = 8."""
    found, expected = (PowerLaw(1, 1.0, 5.0, 5, k).at_distances(np.array([0.0, 2.0, 9.0]))[0] for k in (60.0, 8.0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_one_gaussian_has_the_potential_of_a_gaussian_charge():
    """erf(r/√2w)/r with w² = σ² + R², times ∫ R₀ Y₀₀ d³x = π^{3/4} √8 R^{3/2}."""
    law = PowerLaw(1, 0.8, 1.1, 0, k_cutoff=9.0)
    r = np.linspace(0.3, 30, 40)
    norm = np.pi**0.75 * np.sqrt(8.0) * 1.1**1.5
    np.testing.assert_allclose(
        law.pair_function(30.0)(r)[:, 0], norm * erf(r / np.sqrt(2 * (0.8**2 + 1.1**2))) / r, rtol=1e-8
    )
