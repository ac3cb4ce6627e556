"""Errors and warnings of the package, and the advice that they carry.

Built-in errors (``ValueError``, ``TypeError``, ``MemoryError``) are raised if no advice is needed.
Advice is stored as a key, an `Advice`, apart from the text of the fault. Python names arguments in
it, the command line options.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from types import FrameType
from typing import Any

import numpy as np


class Advice(Enum):
    """What to do about a fault. The value is the text for callers of the Python package."""

    # The training set and its labels
    SKIP_UNLABELLED = 'leave them out, or pass Term(missing="skip") for a set that is labelled in part'
    LABEL_OR_DROP_TERM = (
        'label them, leave them out, pass Term(missing="skip") for a set that is labelled in part, or pass {term}=None'
    )
    NAME_LABELS = 'pass {labels:%(term)s=Term(%(field)s="%(name)s"), }'
    DROP_TERM = "pass {term}=None"
    CORRECT_OR_DROP = "correct it, or leave the structure out"
    CONVERT_STRESSES = (
        "convert them: Term(target=...) expects virials, −volume · stress in eV, Term(stress=...) and calculators "
        "stresses in eV/Å³, positive under tension"
    )
    MORE_STRUCTURES = "fit to more structures"
    TOTAL_ENERGIES = 'divide them by the sizes of the groups, or pass reduction="sum"'
    OTHER_COMPOSITIONS = "fit to structures of other compositions, too, or pass the energies of atoms as baseline"
    FIT_BASELINE = 'subtract their mean, add a column of ones, or pass baseline="fit"'
    # The regularizer
    LEAVE_ONE_OUT = "choose it by leave-one-out, path.best('loo', F, y) of a regularizer_path"
    RAISE_REGULARIZER = "raise the regularizer"
    LOWER_REGULARIZER = "pass a smaller regularizer"
    RAISE_OR_AUTO = 'raise the regularizer; "auto" takes the smallest that is resolved'
    LARGER_OR_OTHER_CRITERION = "pass larger ones, or another criterion"
    SMALLER_REGULARIZERS = "pass smaller ones to regularizer_path, if rounding allows them"
    WHITEN_ROWS = (
        "sum whitened rows, which resolve them: whitening = rigidities.Whitening(penalty), "
        "Covariance(whitening.n_features), update(whitening.rows(F), ...), and factorize with whitening.penalty"
    )
    GIVE_REGULARIZER = "pass a regularizer"
    LOOK_FOR_OUTLIERS = "look for a wrong label among the largest residuals, or choose the regularizer another way"
    ERRORS_ON_OTHERS = "choose the weights by errors on other structures"
    RAISE_PEER_REGULARIZER = "raise alpha"
    # Components
    OTHER_COMPONENTS = (
        "ask prior_share for this share of each prediction; name components that share no information, as those of "
        "Soap(..., purified=True) or of Lode with an inner cutoff do, or add data that tell them apart"
    )
    # Iterations
    MORE_ITERATIONS = "raise max_iterations, the tolerance or the thresholds"
    # Other versions
    COMPARE_VERSIONS = "compare structures whose predictions are known, install that version, or fit again"
    # Memory
    FEWER_FEATURES = "use fewer features"
    FEWER_ATOM_ROWS = (
        "take some structures at a time, with iter_soap_rows, or fewer features: pass pseudo_species=2 if there are "
        "four species or more, one of body_orders, or a smaller basis"
    )
    MERGE_IN_PLACE = "merge in place, with +="
    FACTORIZE_WITHOUT = "factorize does not need it"
    CONSUME = "pass consume=True to factorise in place of C"
    FEWER_FEATURES_OR_ONE_LAMBDA = "use fewer features, or factorize at one λ"
    FLOAT64 = 'pass precision="float64"'
    FEWER_COMPONENTS = "ask for fewer components at a time"
    FEWER_AT_A_TIME = "ask for fewer at a time"
    FEWER_MEMBERS = "draw fewer members"
    FEWER_REGULARIZERS = "use fewer regularizers"
    FEWER_REGULARIZERS_OR_TARGETS = "use fewer regularizers or targets"
    FEWER_BLOCKS = "leave out fewer blocks at a time"
    SMALLER_BATCHES = "pass a smaller batch_size"
    CHECK_CELL = "check its cell and the unit of its positions, or use a smaller cutoff"
    SORTED_BLOCKS = "pass them sorted by blocks"
    FEWER_CANDIDATES = "pass fewer candidates, or fewer features"
    FREE_MEMORY = "free some memory first"


class Entries(list[dict[str, str]]):
    """Entries in the text of an advice: the format is that of one of them, with ``%`` and names."""

    def __format__(self, form: str) -> str:
        return "".join(form % entry for entry in self).rstrip(", ")


class Advised:
    """The common part of errors and warnings with advice.

    Attributes
    ----------
    fault : str
        What is wrong, without the advice.
    advice : Advice or None
        What to do about it.
    fields : dict
        Values for the names in braces in the text of the advice.
    """

    fault: str
    advice: Advice | None = None
    fields: dict[str, Any]

    def __init__(self, fault: str, advice: Advice | None = None, **fields: Any) -> None:
        self.fault, self.advice, self.fields = fault, advice, fields
        super().__init__(worded(self))  # type: ignore[call-arg]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.fault, self.advice, self.fields), self.__dict__


def _rebuilt(kind: type, fault: str, advice: Advice | None, fields: dict[str, Any]) -> Any:
    return kind(fault, advice, **fields)


def worded(advised: BaseException | Advised, words: Mapping[Advice, str] | None = None) -> str:
    """Return the text of an error or warning, with its advice.

    Parameters
    ----------
    advised : exception or warning
        Without advice, the text is that of the fault.
    words : mapping of Advice to str, optional
        Texts of the advice, with the same names in braces as the values of `Advice`. By default
        these values.

    Returns
    -------
    str
    """
    advice = getattr(advised, "advice", None)
    if not isinstance(advised, Advised) or advice is None:
        return getattr(advised, "fault", str(advised))
    text = (advice.value if words is None else words[advice]).format(**advised.fields)
    if isinstance(advised, Warning):
        return f"{advised.fault}. {text[0].upper()}{text[1:]}"
    return f"{advised.fault}; {text}"


# Errors -------------------------------------------------------------------------------------------


class AdvisedValueError(Advised, ValueError):
    """A ``ValueError`` with advice."""


class AdvisedMemoryError(Advised, MemoryError):
    """A ``MemoryError`` with advice."""


class InputError(Advised, ValueError):
    """A file or an option that cannot be used. The message is one line and names it."""


SHOWN = 5
"""Names that a message lists; of more, their number."""


def some_of(names: Sequence[object]) -> str:
    """Return the first names as a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more


@contextmanager
def blame(name: str) -> Iterator[None]:
    """Turn an error into an `InputError` of one line that begins with this file or option."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, MemoryError) as error:
        fault = " ".join(getattr(error, "fault", str(error)).split()) or type(error).__name__
        fields = getattr(error, "fields", {})
        raise InputError(f"{name}: {fault}", getattr(error, "advice", None), **fields) from error


class NotPositiveDefiniteError(np.linalg.LinAlgError):
    """H = C + λΛ has no Cholesky factor: data and λ leave a direction undetermined.

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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.pivot, self.regularizer), self.__dict__


class NotFittedError(ValueError, AttributeError):
    """A result needs targets, but no targets were accumulated."""


# Warnings -----------------------------------------------------------------------------------------


class ImplausibleLabelsWarning(Advised, UserWarning):
    """Labels have a size or sign that the other labels contradict: their unit may be another."""


class EmptyFitWarning(Advised, RuntimeWarning):
    """The fit explains next to nothing of its targets: it predicts about zero, or the baseline."""


class IllConditionedWarning(Advised, RuntimeWarning):
    """H was factorised, but rounding may leave no digit of some results."""


class InterruptedWarning(Advised, RuntimeWarning):
    """Ctrl-C ended a call that returns what it had until then."""


class NotConvergedWarning(Advised, RuntimeWarning):
    """An iteration reached its limit: the result is near the minimum, not at it."""


class NotWrittenWarning(Advised, RuntimeWarning):
    """Data of structures were left out of a file, because its format cannot hold them."""


class OtherVersionWarning(Advised, UserWarning):
    """The features of a model came from another version of a library than the installed one."""


class UndeterminedWarning(Advised, RuntimeWarning):
    """The data of a fit do not determine a result: another fit of the same data would differ."""


class SetByPriorWarning(Advised, RuntimeWarning):
    """Rigidities of a component are those of λ: no training target limits what it contributes."""


class UnresolvedEvidenceWarning(Advised, RuntimeWarning):
    """Another λ than the chosen one may be better: rounding hides it, or it was not looked at."""


_held: ContextVar[tuple[type[Warning], list[Warning]] | None] = ContextVar("_held", default=None)


@contextmanager
def held(category: type[Warning]) -> Iterator[list[Warning]]:
    """Keep warnings of this package of one category in a list instead of issuing them.

    Only this thread is affected. `warnings.catch_warnings` changes the filters of all threads, and
    two threads that use it at once can leave them changed.
    """
    kept: list[Warning] = []
    token = _held.set((category, kept))
    try:
        yield kept
    finally:
        _held.reset(token)


def warn(category: type[Warning], fault: str, advice: Advice | None = None, **fields: Any) -> None:
    """Issue a warning at the line outside the package that led to it, unless it is `held`.

    Parameters
    ----------
    category : type of Warning
    fault : str
        What is wrong, without the advice.
    advice : Advice, optional
        What to do about it.
    **fields
        Values for the names in braces in the advice.
    """
    issue([category(fault, advice, **fields)])


def issue(told: Iterable[Warning]) -> None:
    """Issue warnings that were `held`, as `warn` does."""
    holder = _held.get()
    for warning in told:
        if holder is not None and isinstance(warning, holder[0]):
            holder[1].append(warning)
        else:
            _issue(warning)


def _issue(warning: Warning) -> None:
    package = __name__.partition(".")[0]
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and _module(frame).partition(".")[0] == package:
        frame, depth = frame.f_back, depth + 1
    warnings.warn(warning, stacklevel=depth)


def _module(frame: FrameType) -> str:
    """Name of the module that a frame runs; code of `exec` may have none."""
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""
