"""Structures in batches of a number of atoms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import ase
from tqdm import tqdm

from rigidities.validation import as_integer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def iterable(structures: Any) -> Iterable[Any]:
    """Return structures as an iterable; a single structure becomes a list of one."""
    # ase.Atoms is itself an iterable, of atoms
    one = isinstance(structures, ase.Atoms) or not isinstance(structures, Iterable)
    return [structures] if one else structures


def require_batch_size(batch_size: int) -> int:
    """Return the batch size; raise unless it is at least one atom."""
    if as_integer(batch_size, "batch_size", "a number of atoms, at least 1") < 1:
        raise ValueError(f"batch_size is {batch_size}: expected at least 1 atom")
    return batch_size


def batch_lengths(sizes: NDArray[np.int64], batch_size: int) -> list[int]:
    """Return the number of structures of each batch.

    A batch has at most `batch_size` atoms, or one structure that has more.
    """
    lengths: list[int] = []
    n_atoms = batch_size
    for size in sizes.tolist():
        if not lengths or n_atoms + size > batch_size:
            lengths.append(0)
            n_atoms = 0
        lengths[-1] += 1
        n_atoms += size
    return lengths


def in_batches(structures: Iterable[Any], lengths: Sequence[int], name: str, progress: bool) -> Iterator[list[Any]]:
    """Yield structures in batches of these lengths, with a progress bar of this name on stderr."""
    bar = iter(tqdm(structures, name, sum(lengths), unit=" structures", disable=not progress))
    for length in lengths:
        yield list(islice(bar, length))
    next(bar, None)  # closes the bar
