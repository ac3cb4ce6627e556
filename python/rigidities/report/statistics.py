"""Quantiles of rigidities, overall and by class, and root mean squares of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
"""Each quantile is one of the values. Interpolation would fail at infinite ones."""


def root_mean_square(values: NDArray[np.float64]) -> float:
    """Return √(mean x²)."""
    return float(np.sqrt(np.mean(values**2)))


def describe(values: NDArray[np.float64]) -> dict[str, float]:
    """Return the number of values, the number of infinite ones, and their `QUANTILES`."""
    quantiles = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    counts = {"n": len(values), "n_infinite": int(np.isinf(values).sum())}
    return counts | dict(zip(QUANTILES, quantiles.tolist(), strict=True))


def present_components(names: Sequence[str], columns: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Describe the rigidities of components where they are present.

    A component that is absent from a structure, as hydrogen is from a crystal, has a row of zeros
    and an infinite rigidity: it is counted as absent, not as firmly determined.
    """
    found: dict[str, dict[str, float]] = {}
    for name, column in zip(names, columns.T, strict=True):
        present = column[np.isfinite(column)]
        described: dict[str, float] = describe(present) if len(present) else {"n": 0}
        found[name] = described | {"n_absent": len(column) - len(present)}
    return found


def by_class(values: NDArray[np.float64], classes: NDArray[Any]) -> dict[str, dict[str, float]]:
    """Describe the values of each class, in the order of the sorted names."""
    return {str(name): describe(values[classes == name]) for name in np.unique(classes)}
