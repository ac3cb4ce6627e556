"""What can go wrong beyond ``ValueError``, ``TypeError`` and ``MemoryError``."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


class NotPositiveDefiniteError(np.linalg.LinAlgError):
    """H = C + λΛ has no Cholesky factor: the data leave a direction uncovered and λ does not close it.

    Attributes
    ----------
    pivot : int
        Index (from 0) of the feature at which the factorisation met a pivot that is not positive.
    regularizer : float
        The λ that was tried.
    """

    def __init__(self, message: str, pivot: int, regularizer: float) -> None:
        super().__init__(message)
        self.pivot = pivot
        self.regularizer = regularizer

    def __reduce__(self) -> tuple[type, tuple[str, int, float]]:
        return type(self), (str(self), self.pivot, self.regularizer)


class NotFittedError(ValueError, AttributeError):
    """Something that comes from targets was asked of an object that has seen none."""


class IllConditionedWarning(RuntimeWarning):
    """H was factorised, but rounding may leave no digit of some results."""


class NotConvergedWarning(RuntimeWarning):
    """An iteration was ended by its limit: what it gives is near the minimum, not at it."""


class OtherVersionWarning(UserWarning):
    """A model's features were computed by another version of a library than they will be: they may differ."""


class UnresolvedEvidenceWarning(RuntimeWarning):
    """The evidence is best where rounding begins to hide it, or resolved nowhere: a better λ may lie below."""


class InputError(ValueError):
    """What was given cannot be used. The message is one line and names the file or the option."""


@contextmanager
def blame(name: str) -> Iterator[None]:
    """Let a refusal say, in one line, which file or option it is about."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{name}: {' '.join(str(error).split())}") from error
