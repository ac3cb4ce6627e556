"""Structures in batches of a number of atoms."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import ase
from tqdm import tqdm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def iterable(structures: Any) -> Iterable[Any]:
    """Return structures as an iterable of them, a single one too."""
    # ase.Atoms is an iterable, of its atoms
    one = isinstance(structures, ase.Atoms) or not isinstance(structures, Iterable)
    return [structures] if one else structures


def require_batch_size(batch_size: int) -> int:
    """Raise unless a batch can hold an atom."""
    if operator.index(batch_size) < 1:
        raise ValueError(f"batch_size is {batch_size}: expected at least 1 atom")
    return batch_size


def batch_lengths(sizes: NDArray[np.int64], batch_size: int) -> list[int]:
    """Return the number of structures of each batch.

    A batch has at most `batch_size` atoms, or one structure that has more.
    """
    lengths: list[int] = []
    held = batch_size
    for size in sizes.tolist():
        if not lengths or held + size > batch_size:
            lengths.append(0)
            held = 0
        lengths[-1] += 1
        held += size
    return lengths


def in_batches(structures: Iterable[Any], lengths: Sequence[int], name: str, progress: bool) -> Iterator[list[Any]]:
    """Yield so many structures at a time, with a progress bar of this name on stderr."""
    bar = iter(tqdm(structures, name, sum(lengths), unit=" structures", disable=not progress))
    for length in lengths:
        yield list(islice(bar, length))
    next(bar, None)  # closes the bar
