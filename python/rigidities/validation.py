"""Checks of arguments: types, shapes and ranges, each in one place, with one text for each fault.

The compiled core finds faults that only a pass over the data shows, such as NaN among the features.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Reduction = Literal["mean", "sum"]
Precision = Literal["float64", "float32"]

Accumulation = Literal["sums", "qr"]

_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))

SPECIES_END = 2**31
"""Atomic numbers are below: featomic's species are integers of 32 bits."""

NO_NUMBERS = bool, np.timedelta64
"""Types that Python or NumPy derives from integers, though they are none here."""


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return an array; refuse a masked one, whose mask would be lost, and a sparse one."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: leave the masked entries out, or fill them")
    if isinstance(values, list | tuple):
        _refuse_masked_entries(values, name)
    try:
        array = np.asarray(values)
    except ValueError as error:
        if not isinstance(values, list | tuple):
            raise
        raise ValueError(
            f"{name} is a {type(values).__name__} that makes no array: its entries differ in length"
        ) from error
    if array.ndim == 0 and hasattr(values, "toarray"):
        raise TypeError(f"{name} is a sparse {type(values).__name__}: expected an array, as its toarray() returns")
    return array


def _refuse_masked_entries(values: list[Any] | tuple[Any, ...], name: str) -> None:
    """Refuse a list that holds masked numbers: NumPy would take what is behind the mask."""
    for index, entry in enumerate(values):
        if isinstance(entry, np.ma.MaskedArray) and np.ma.getmaskarray(entry).any():
            raise TypeError(f"{name}[{index}] has masked entries: leave them out, or fill them")
        if isinstance(entry, list | tuple):
            _refuse_masked_entries(entry, f"{name}[{index}]")


def as_floats(values: ArrayLike, name: str, *, ndim: int, double: bool = False) -> NDArray[Any]:
    """Return an aligned float32 or float64 array (with `double`: float64) of `ndim` dimensions."""
    array = as_array(values, name)
    if array.dtype not in _FLOATS[: 1 if double else 2]:
        array = _to_float(array, name, double)
    if array.ndim != ndim:
        kind = "one row per target or atom, (n_rows, n_features)" if ndim == 2 else "one entry per target"
        raise ValueError(f"{name} has shape {array.shape}: expected {ndim} dimension{'s' * (ndim > 1)}, {kind}")
    return array if array.flags.aligned else array.copy()


def _to_float(array: NDArray[Any], name: str, double: bool) -> NDArray[Any]:
    """Widen integers, booleans, half precision and the other byte order; refuse other types."""
    size = array.dtype.itemsize
    if array.dtype.kind in "biu" or (array.dtype.kind == "f" and (size == 8 or (double and size < 8))):
        return array.astype(np.float64)
    if array.dtype.kind == "f" and size < 8:
        return array.astype(np.float32)
    advice = {"O": ": is it ragged, sparse or of mixed types?", "c": ": take the real part if that is meant"}
    hint = advice.get(array.dtype.kind, "")
    raise TypeError(f"{name} has dtype {array.dtype}: expected real numbers, float64 or float32{hint}")


def as_flag(value: bool, name: str) -> bool:
    """Return a boolean; refuse all else, of which nobody knows whether it is meant."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {shown(value)}: expected True or False")
    return bool(value)


def check_reduction(reduction: str) -> None:
    """Refuse another word than "mean" or "sum"."""
    check_word(reduction, "reduction", ("mean", "sum"))


def check_precision(precision: str) -> None:
    """Refuse another word than "float64" or "float32"."""
    check_word(precision, "precision", ("float64", "float32"))


def check_accumulation(accumulation: str, precision: str) -> None:
    """Refuse another word than "sums" or "qr", and "qr" in float32."""
    check_word(accumulation, "accumulation", ("sums", "qr"))
    if accumulation == "qr" and precision != "float64":
        raise ValueError(f'accumulation "qr" is in float64, but precision is "{precision}": leave one of them out')


def check_word(word: object, name: str, words: tuple[str, ...]) -> None:
    """Refuse all but these words."""
    if isinstance(word, str) and word in words:
        return
    *others, last = (f'"{one}"' for one in words)
    expected = f"{', '.join(others)} or {last}"
    if isinstance(word, str):
        raise ValueError(f'{name} is "{word}": expected {expected}')
    raise TypeError(f"{name} is {shown(word)}: expected {expected}")


def check_feature_space(feature_space: str | None) -> None:
    """Refuse a feature space that is no text."""
    if not (feature_space is None or isinstance(feature_space, str)):
        raise TypeError(f"feature_space is {shown(feature_space)}: expected a string or None")


def check_columns(n_columns: int, expected: int) -> None:
    """Refuse rows of another width than the covariance or the Hessian was built for."""
    if n_columns != expected:
        raise ValueError(
            f"features have {n_columns} columns but {expected} were expected: pass rows of the same descriptor"
        )


def as_labels(labels: ArrayLike, name: str, n: int, of: str) -> NDArray[Any]:
    """Return integer labels, one for each of n rows or targets."""
    array = as_array(labels, name)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: expected one integer label per {of}, ({n},)")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} has dtype {array.dtype}: expected integer labels")
    if len(array) != n:
        raise ValueError(f"{name} has {len(array)} entries but there are {n} {of}s: expected one label per {of}")
    return array


def as_classes(classes: ArrayLike, name: str, n: int, of: str) -> NDArray[Any]:
    """Return labels of classes, integers or text, one for each of n rows or targets."""
    array = as_array(classes, name)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: expected one label per {of}, ({n},)")
    array = text_as_str(array)
    if array.dtype.kind not in "biuU" and array.size:
        raise TypeError(f"{name} has dtype {array.dtype}: expected labels, integers or text")
    if len(array) != n:
        raise ValueError(f"{name} has {len(array)} entries but there are {n} {of}s: expected one label per {of}")
    return np.array(array)


def text_as_str(array: NDArray[Any]) -> NDArray[Any]:
    """Return text of any kind as NumPy's str, and other arrays as they are."""
    is_text = array.dtype.kind == "T" or (
        array.dtype.kind == "O" and all(isinstance(one, str) for one in array.ravel())
    )
    return array.astype(str) if is_text else array


def as_variances(variance: ArrayLike, *, finite: bool = True) -> NDArray[np.float64]:
    """Return variances as (n,), not negative; infinity only where it may stand."""
    v = np.array(as_floats(variance, "variance", ndim=1, double=True))
    bad = ~(v >= 0) | (np.isinf(v) if finite else False)
    if bad.any():
        expected = "finite and not negative" if finite else "not negative"
        raise ValueError(f"variance[{int(np.argmax(bad))}] is {v[bad][0]}: variances must be {expected}")
    return v


def as_feature_table(features: ArrayLike, n: int, n_columns: int | None = None) -> NDArray[np.float64]:
    """Return a few features of n targets as (n, n_columns), finite."""
    array = as_array(features, "features")
    table = np.array(as_floats(array[:, None] if array.ndim == 1 else array, "features", ndim=2, double=True))
    if len(table) != n or (n_columns is not None and table.shape[1] != n_columns):
        raise ValueError(
            f"features has shape {array.shape}: expected ({n}, {'n_features' if n_columns is None else n_columns})"
        )
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(f"features[{row}, {column}] is {table[row, column]}: features must be finite")
    return table


def as_groups(groups: ArrayLike | None, n_rows: int) -> NDArray[np.int64] | None:
    """Return labels of rows as contiguous, aligned int64, or None."""
    if groups is None:
        return None
    array = as_labels(groups, "groups", n_rows, "row")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        return np.unique(array, return_inverse=True)[1].astype(np.int64)
    array = np.ascontiguousarray(array, dtype=np.int64)
    return array if array.flags.aligned else array.copy()


def block_members(blocks: ArrayLike | None, n_targets: int) -> list[NDArray[np.int64]]:
    """Return the targets of each block; without labels each target is one."""
    if blocks is None:
        return np.split(np.arange(n_targets), n_targets)
    labels = as_labels(blocks, "blocks", n_targets, "target")
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def is_column(targets: Any) -> bool:
    """Whether targets are of one output in a column, (n_targets, 1)."""
    shape: tuple[int, ...] = () if targets is None else np.shape(targets)
    return len(shape) == 2 and shape[1] == 1


def as_outputs(targets: ArrayLike) -> NDArray[np.float64]:
    """Targets as (n_targets, n_outputs)."""
    array = as_array(targets, "targets")
    if array.ndim == 1:
        array = array[:, None]
    elif array.ndim != 2:
        raise ValueError(f"targets has shape {array.shape}: expected (n_targets,) or (n_targets, n_outputs)")
    return as_floats(array, "targets", ndim=2, double=True)


def as_columns(B: ArrayLike, n_features: int) -> NDArray[np.float64]:
    """Right-hand sides of a solve as (n_features, k)."""
    array = as_array(B, "B")
    columns = array[:, None] if array.ndim == 1 else array
    if columns.ndim != 2 or columns.shape[1] == 0:
        raise ValueError(f"right-hand sides have shape {array.shape}: expected ({n_features},) or ({n_features}, k)")
    columns = as_floats(columns, "B", ndim=2, double=True)
    if len(columns) != n_features:
        raise ValueError(f"right-hand sides have {len(columns)} rows but the Hessian has {n_features}")
    return columns


def as_regularizer(regularizer: float | str) -> float | None:
    """λ as a number, None for "auto"."""
    if isinstance(regularizer, str):
        if regularizer == "auto":
            return None
        raise ValueError(f'regularizer is {shown(regularizer)}: expected a number or "auto"')
    if isinstance(regularizer, NO_NUMBERS) or not isinstance(regularizer, (int, float, np.integer, np.floating)):
        raise TypeError(f'regularizer is {shown(regularizer)}: expected a number or "auto"')
    return as_float(regularizer, "regularizer")


def as_float(value: float, name: str) -> float:
    """Return a Python number as float64."""
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large for float64") from None


def as_number(value: object, name: str, expected: str = "a number") -> float:
    """Return a finite real number as float64; refuse booleans, texts and arrays."""
    if isinstance(value, NO_NUMBERS) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {shown(value)}: expected {expected}")
    number = as_float(float(value) if isinstance(value, np.generic) else value, name)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}: expected {expected}, finite")
    return number


def as_integer(value: object, name: str, expected: str = "an integer") -> int:
    """Return an integer; refuse booleans, and floats that happen to be whole."""
    if isinstance(value, NO_NUMBERS) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {shown(value)}: expected {expected}")
    return int(value)


def as_atomic_number(value: object, name: str, expected: str = "an atomic number, e.g. 14") -> int:
    """Return an atomic number; numbers from 119 on stand for sites that are no elements."""
    number = as_integer(value, name, expected)
    if not 0 <= number < SPECIES_END:
        raise ValueError(f"{name} is {shown(number)}: expected an atomic number from 0, below {SPECIES_END}")
    return number


def as_count(value: object, name: str) -> int:
    """Return a positive integer."""
    number = as_integer(value, name, "a positive integer")
    if number < 1:
        raise ValueError(f"{name} is {number}: expected a positive integer")
    if number > sys.maxsize:
        raise ValueError(f"{name} is {shown(number)}: expected a positive integer of at most {sys.maxsize}")
    return number


def as_generator(random_state: Any) -> np.random.Generator:
    """Return a random generator: itself, or of a seed."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        fault = f"random_state is {shown(random_state)}: expected an integer from 0, or a numpy.random.Generator"
        raise type(error)(fault) from None


def shown(value: object) -> str:
    """Return the value as text, or its type if the text is long."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


def as_noise(noise: float) -> float:
    """Return the noise of a target as float64, finite and not negative."""
    value = as_number(noise, "noise", "a number from 0")
    if value < 0:
        raise ValueError(f"noise is {noise}: expected a number from 0")
    return value


def as_targets(y: ArrayLike, n: int, n_outputs: int) -> NDArray[np.float64]:
    """Targets as (n, n_outputs), finite."""
    array = as_array(y, "y")
    if array.shape not in ({(n,), (n, 1)} if n_outputs == 1 else {(n, n_outputs)}):
        raise ValueError(
            f"y has shape {array.shape}: expected {n} targets of {n_outputs} outputs, as in the covariance"
        )
    # copied before it is checked, as weights are: another thread may write to the caller's array
    values = np.array(as_floats(array.reshape(n, n_outputs), "y", ndim=2, double=True))
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"y[{row}, {column}] is {values[row, column]}: targets must be finite; leave rows without a target out"
        )
    return values


def as_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """Loss weights of n targets, finite and not negative; ones by default."""
    if weights is None:
        return np.ones(n)
    w = np.array(as_floats(weights, "weights", ndim=1, double=True))
    if w.shape != (n,):
        raise ValueError(f"weights has {len(w)} entries but there are {n} target rows")
    bad = ~(np.isfinite(w) & (w >= 0))
    if bad.any():
        raise ValueError(
            f"weights[{int(np.argmax(bad))}] is {w[bad][0]}: weights of the loss must be finite and not negative"
        )
    return w


def as_scales(scale: ArrayLike, n_outputs: int) -> NDArray[np.float64]:
    """Return the scale of each output, (n_outputs,), finite and not negative."""
    array = as_array(scale, "scale")
    if array.shape not in ((), (n_outputs,)):
        raise ValueError(f"scale has shape {array.shape}: expected a number, or one for each of {n_outputs} outputs")
    scales = as_floats(np.broadcast_to(array, (n_outputs,)), "scale", ndim=1, double=True)
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise ValueError(f"scale is {shown(scale)}: expected finite numbers from 0")
    return scales
