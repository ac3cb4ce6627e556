"""What a fit or a report takes, roughly, from sizes alone: it is said before the work begins.

The counts are those of the largest steps: SOAP rows, sums of w f fᵀ, the decomposition of C and the
rank of it. n targets and p features cost as little as min(n, p) allows (`model.few_rows`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rigidities import _core
from rigidities.sources.atoms import Structures, soaps_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.sources.source import Source

PAIR_SECONDS = 1.0e-7
"""Seconds of one thread for a value of the SOAP gradient of one neighbour. Silicon at 5 Å, 252
features: 4 ms an atom."""

VALUE_SECONDS = 2.0e-7
"""Seconds of one thread for a value of an atom's SOAP row. Silicon: 0.05 ms an atom."""

RATE = 2.0e10
"""Floating-point operations of one thread in a second, in products of matrices (docs/speed.md)."""

DECOMPOSITION = 0.8e-9
"""Seconds of one thread for p³ = 1 in the decomposition of C, the search of λ and the rank: 5 s for
p = 3000 on two threads."""

START = 2.0
"""Seconds for reading, small steps and pictures."""

PASSES = 2
"""Passes over the training rows: for the sums, and for the errors and the training atoms' LPR."""

SAMPLED = 20
"""Structures whose neighbours are counted."""


class Outlay(NamedTuple):
    """Seconds and bytes that the work takes. Both are rough: a factor of three is possible.

    `n_features` are those of the rows that are summed.
    """

    seconds: float
    n_bytes: float
    n_features: int


def outlay_of(train: Source, test: Source | None, terms: Collection[str], n_points: int = 0) -> Outlay:
    """Estimate what a fit to the training set, and the predictions for the test set, take.

    Parameters
    ----------
    train : Source
    test : Source, optional
    terms : collection of {"energy", "forces", "virial"}
        Terms of the loss. Empty: nothing is fitted.
    n_points : int
        Points of each species of a kernel model; 0 for a linear one.

    Returns
    -------
    Outlay
    """
    p, threads = train.n_features, _core.get_num_threads()
    if n_points and isinstance(train, Structures):
        p = n_points * len(train.soap.species)
    sizes, n_test = train.sizes, 0 if test is None else int(test.sizes.sum())
    targets = {"energy": len(sizes), "forces": 3 * int(sizes.sum()), "virial": 6 * len(sizes)}
    n = sum(targets[name] for name in terms)
    rank = min(n, p) if n else p
    products = 2.0 * n * p * rank + 2.0 * (int(sizes.sum()) + n_test) * rank * p
    work = products / RATE + (DECOMPOSITION * rank**3 if n else 0.0) + _soap_seconds(train, terms, n_points) * PASSES
    work += 0.0 if test is None else _soap_seconds(test, terms, n_points)
    squares = (len(terms) + 3) * rank**2
    rows = 3 * n * p if n < p else 0  # with a copy, and their basis
    return Outlay(START + work / threads, 8.0 * (squares + rows + _batch(train.sizes) * p), p)


def _batch(sizes: NDArray[np.int64]) -> int:
    """Return how many rows of atoms are in memory at once."""
    from rigidities.structures.loss_rows import BATCH_SIZE_ENERGIES

    return min(int(sizes.sum()), max(BATCH_SIZE_ENERGIES, int(sizes.max())))


def _soap_seconds(source: Source, terms: Collection[str], n_points: int) -> float:
    """Return the seconds of one thread for the SOAP rows of all atoms, and their gradients.

    Three components of a gradient are multiplied by the points of a kernel.
    """
    if not isinstance(source, Structures):
        return 0.0
    n_values = sum(soap.columns.n_values for soap in soaps_of(source.soap))
    atom = VALUE_SECONDS * n_values
    if {"forces", "virial"} & set(terms):
        atom += (PAIR_SECONDS + 6 * n_points / RATE) * n_values * _neighbours(source)
    return float(source.sizes.sum()) * atom


def _neighbours(source: Structures) -> float:
    """Return the mean number of neighbours of an atom, in some of the structures."""
    from rigidities.interop.featomic.neighbours import n_neighbours

    some = source.frames[:: max(1, len(source.frames) // SAMPLED)]
    counts = [
        min(n_neighbours(frame.positions, np.array(frame.cell) if frame.pbc.all() else None, source.cutoff), 1e6)
        or len(frame)
        for frame in some
    ]
    return float(np.average(counts, weights=[len(frame) for frame in some]))
