"""Rank correlations with limits, and the rank correlation that right standard deviations would have.

Even if every error were drawn from the distribution that its σ says, a small error could have a
large σ by chance. `expected` says how large a rank correlation of |error| with σ is then: 0 if all
σ are equal, and never 1.
"""

from dataclasses import asdict, dataclass

import numpy as np

SAMPLES = 1000
"""Samples of structures for limits, and of errors for `expected`."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation (Spearman) of n pairs, and 95 % limits."""

    n: int
    value: float
    low: float
    high: float

    def record(self):
        return asdict(self)


def ranks(values):
    """Ranks less their mean; ties share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - 0.5 * counts)[places] - 0.5 * len(values)


def spearman(a, b):
    """Correlation of the ranks; NaN if all of one side are equal."""
    a, b = ranks(a), ranks(b)
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")


def correlation(a, b, rng, blocks=None):
    """Spearman's, with limits from samples of whole blocks (structures), drawn with replacement."""
    blocks = np.arange(len(a)) if blocks is None else np.asarray(blocks)
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    found = []
    for _ in range(SAMPLES):
        drawn = np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))])
        found.append(spearman(a[drawn], b[drawn]))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Correlation(len(a), spearman(a, b), float(low), float(high))


def expected(std, rng):
    """Mean rank correlation of σ with |error| if the errors are Gaussian with these σ."""
    drawn = np.abs(rng.normal(size=(SAMPLES, len(std)))) * std
    return float(np.mean([spearman(std, errors) for errors in drawn]))
