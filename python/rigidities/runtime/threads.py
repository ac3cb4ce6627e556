"""The number of threads that computations use."""

from __future__ import annotations

from rigidities import _core
from rigidities.validation import as_count


def set_num_threads(n_threads: int) -> None:
    """Set the number of threads that computations use.

    Parameters
    ----------
    n_threads : int
        From 1 to 1024, more than any machine has cores for.

    Raises
    ------
    ValueError
        If it is less or more.
    TypeError
        If it is not an integer.
    """
    n = as_count(n_threads, "n_threads")
    if n > _core.MAX_THREADS:
        raise ValueError(f"n_threads is {n}: expected at most {_core.MAX_THREADS}")
    _core.set_num_threads(n)
