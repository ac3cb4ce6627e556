"""Components of a prediction, as users name them, turned into arrays of feature indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.validation import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


def component_indices(components: Any, n_features: int) -> list[NDArray[np.int64]]:
    """Return components of any form as index arrays, none of them empty, none with a repeat."""
    if not isinstance(components, np.ndarray) or components.dtype == object or components.ndim == 0:
        try:
            components = list(components)
        except TypeError:
            text = f"components is {shown(components)}: expected index arrays, slices, masks or sizes of components"
            raise TypeError(text) from None
    array = np.asarray(components) if _are_sizes(components) else None
    if array is not None:
        return _consecutive(array, n_features)
    if not len(components):
        raise ValueError("components are empty: name at least one set of features")
    found = [_indices(entry, i, n_features) for i, entry in enumerate(components)]
    for component, features in enumerate(found):
        _check_features(features, component, n_features)
    return found


def require_partition(
    components: list[NDArray[np.int64]], n_features: int, why: str = "so that the shares sum to the variance"
) -> None:
    """Refuse components that overlap or leave features out; `why` ends the message."""
    counts = np.bincount(np.concatenate(components), minlength=n_features)
    wrong = np.flatnonzero(counts != 1)
    if len(wrong):
        raise ValueError(
            f"feature {wrong[0]} is in {counts[wrong[0]] or 'none'} of the components: expected each in one of them, "
            f"{why}"
        )


def parts_of(F: NDArray[Any], components: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[Any]]:
    """Yield the rows with the features of one component alone; others are 0."""
    for features in components:
        part = np.zeros(F.shape, dtype=F.dtype)
        part[:, features] = F[:, features]
        yield part


def _check_features(features: NDArray[np.int64], component: int, n_features: int) -> None:
    if not len(features):
        raise ValueError(f"component {component} is empty: each must have at least one feature")
    ordered = np.sort(features)
    if ordered[0] < 0:
        raise ValueError(f"component {component} has feature index {ordered[0]}: indices count from 0")
    if ordered[-1] >= n_features:
        raise ValueError(
            f"component {component} has feature index {ordered[-1]}, but there are {n_features} features "
            f"(0 to {n_features - 1})"
        )
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        raise ValueError(f"component {component} has feature {repeated[0]} twice")


def _are_sizes(components: Any) -> bool:
    if isinstance(components, np.ndarray):
        return components.ndim == 1
    scalars = (int, np.integer)
    return bool(
        isinstance(components, (list, tuple)) and components and all(isinstance(c, scalars) for c in components)
    )


def _consecutive(sizes: NDArray[Any], n_features: int) -> list[NDArray[np.int64]]:
    """Components of these sizes, one after the other."""
    if sizes.dtype.kind not in "iu":
        raise TypeError(f"component sizes have dtype {sizes.dtype}: expected integers")
    if (sizes < 1).any():
        component = int(np.argmax(sizes < 1))
        raise ValueError(f"component {component} has size {sizes[component]}: each must have at least one feature")
    total = sum(sizes.tolist())  # in Python's integers, which do not wrap around
    if total != n_features:
        raise ValueError(f"component sizes sum to {total}, but there are {n_features} features")
    return np.split(np.arange(n_features), np.cumsum(sizes)[:-1])


def _indices(entry: Any, component: int, n_features: int) -> NDArray[np.int64]:
    """One component as indices."""
    if isinstance(entry, slice):
        return np.arange(n_features)[entry]
    array = np.asarray(entry)
    if array.ndim != 1:
        raise TypeError(f"component {component} is {shown(entry)}: expected an index array, a slice or a boolean mask")
    if array.dtype == bool:
        if len(array) != n_features:
            raise ValueError(f"the mask of component {component} has {len(array)} entries for {n_features} features")
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"component {component} has dtype {array.dtype}: expected integer indices or a boolean mask")
    return array.astype(np.int64)
