"""Rows from a metatensor `TensorMap` (a descriptor, a last layer), with their labels.

The sparse blocks become one dense row per sample. Keys that are not moved to samples become
properties. With the key "center_type", for example, each species of the centre has its own columns,
which are zero in the rows of other species, so that a linear model has parameters for each species.

Metatensor calls Python back for each array of NumPy. So all is done on a thread that takes no
signals (`rigidities.runtime.aside`): Ctrl-C in such a callback would be lost, with a part of the
values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.rows import Rows
from rigidities.runtime.aside import aside

try:
    from metatensor import Labels, MetatensorError, TensorBlock, TensorMap, load
except ImportError as error:
    hint = 'rigidities.interop.metatensor needs metatensor-core: pip install "rigidities[atoms]"'
    raise ImportError(hint) from error

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class TensorRows(Rows):
    """Rows of a tensor map, with its labels, by which results can be mapped back.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        One row per sample, float32 or float64 as in the tensor.
    groups : ndarray of shape (n_rows,), optional
        The chosen dimension of the samples, e.g. the index of the system.
    feature_space : str
        Name of the columns.
    samples : metatensor.Labels
        Label of each row, with the keys that were moved to samples.
    properties : metatensor.Labels
        Label of each column, with the keys and components that were moved to properties.
    """

    samples: Labels
    properties: Labels


def tensor_rows(
    tensor: Any,
    *,
    samples: str | None = "system",
    keys_to_samples: str | Sequence[str] = (),
    components: Literal["refuse", "properties"] = "refuse",
    feature_space: str | None = None,
) -> TensorRows:
    """Return the blocks of a tensor map as rows.

    If a block lacks a sample or, with `keys_to_samples`, a property, its value is 0. Gradients in
    the tensor are ignored. If no key is moved, the values are those of the tensor, not a copy.

    Parameters
    ----------
    tensor : metatensor.TensorMap or metatensor.torch.TensorMap
        Values of shape (n_samples, …, n_properties), in any unit. PyTorch's are detached and moved
        to the CPU.
    samples : str or None, default "system"
        Dimension of the samples whose value is the label of a row's target. None: each row is a
        target.
    keys_to_samples : str or sequence of str, default ()
        Keys that do not split the columns, e.g. "center_type" if all species share the parameters
        of the model. All other keys are moved to properties, in the order of the tensor.
    components : {"refuse", "properties"}, default "refuse"
        How to treat blocks with components (vectors, spherical tensors). A row is the gradient of a
        scalar, so they are refused by default. "properties" makes each component a column.
    feature_space : str, optional
        Name of the columns. By default a hash of the property labels, so that rows of other
        properties, or of the same properties in another order, are refused later. The hash does not
        depend on the settings of the descriptor: if they vary, give a name for each.

    Returns
    -------
    TensorRows
        Values of shape (n_rows, n_features), groups of shape (n_rows,), sample and property labels.

    Raises
    ------
    TypeError
        If `tensor` is not a tensor map, or its values are neither float32 nor float64.
    ValueError
        If the tensor is empty, or has components and they are refused, or a name is missing or
        would occur twice.
    """
    return aside(_tensor_rows, tensor, samples, _names(keys_to_samples), components, feature_space)


def _tensor_rows(
    tensor: Any, samples: str | None, keys_to_samples: list[str], components: str, feature_space: str | None
) -> TensorRows:
    block = _merged(_in_numpy(tensor), keys_to_samples, components)
    values, labels = block.values, block.samples
    if values.size == 0:
        raise ValueError(f"the tensor is empty: {values.shape[0]} samples with {values.shape[1]} properties")
    if samples is not None and samples not in labels.names:
        raise ValueError(f"samples is {samples!r}: the tensor's samples have {_listed(labels.names)}")
    return TensorRows(
        values,
        None if samples is None else np.array(labels[samples], dtype=np.int64),
        _hashed(block.properties) if feature_space is None else feature_space,
        samples=labels,
        properties=block.properties,
    )


def read_rows(path: str | PathLike[str]) -> TensorRows:
    """Read a tensor map from metatensor's file (.mts), as rows.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    TensorRows
        As `tensor_rows` makes them; without the dimension "system", each row is a target.

    Raises
    ------
    ValueError
        If the file is no tensor map, or `tensor_rows` refuses it.
    """
    try:
        tensor = aside(load, str(path))
    except MetatensorError as error:
        raise ValueError(f"metatensor cannot read it ({' '.join(str(error).split())})") from error
    return tensor_rows(tensor, samples="system" if "system" in tensor.sample_names else None)


def _in_numpy(tensor: Any) -> TensorMap:
    """Return the tensor map in NumPy, without gradients."""
    # metatensor-torch has another class with the same methods; a test for these needs no import of
    # torch.
    if not (hasattr(tensor, "block_by_id") and hasattr(tensor, "keys")):
        raise TypeError(f"tensor is a {type(tensor).__name__}: expected a metatensor.TensorMap")
    if len(tensor) == 0:
        raise ValueError("the tensor is empty: it has no blocks")
    blocks = [_block_in_numpy(tensor.block_by_id(index)) for index in range(len(tensor))]
    return TensorMap(_labels_in_numpy(tensor.keys), blocks)


def _block_in_numpy(block: Any) -> TensorBlock:
    values = _array(block.values)
    if values.dtype not in (np.float32, np.float64):
        raise TypeError(f"the tensor's values are {values.dtype}: expected float32 or float64")
    components = [_labels_in_numpy(labels) for labels in block.components]
    return TensorBlock(values, _labels_in_numpy(block.samples), components, _labels_in_numpy(block.properties))


def _labels_in_numpy(labels: Any) -> Labels:
    return Labels(list(labels.names), _array(labels.values))


def _array(values: Any) -> NDArray[Any]:
    array = np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # metatensor takes no other byte order


def _merged(tensor: TensorMap, to_samples: list[str], components: str) -> TensorBlock:
    """Move keys and components to samples and properties; return the one block that remains."""
    keys = tensor.keys.names
    absent = [name for name in to_samples if name not in keys]
    if absent:
        raise ValueError(f"keys_to_samples has {_listed(absent)}: the tensor's keys have {_listed(keys)}")
    # metatensor names the key of a tensor of one block "_"; it has no meaning
    to_properties = [name for name in keys if name not in to_samples and (name, len(tensor)) != ("_", 1)]
    _refuse_twins(to_samples, tensor.sample_names, "samples")
    _refuse_twins(to_properties + tensor.component_names, tensor.property_names, "properties")
    if tensor.component_names:
        tensor = tensor.components_to_properties(_flattened(tensor.component_names, components))
    if to_samples:
        tensor = tensor.keys_to_samples(to_samples)
    if to_properties:
        tensor = tensor.keys_to_properties(to_properties)
    return tensor.block()


def _flattened(names: list[str], components: str) -> list[str]:
    if components == "properties":
        return names[::-1]  # each is put before the one moved last: their order is kept
    if components != "refuse":
        raise ValueError(f"components is {components!r}: expected 'refuse' or 'properties'")
    raise ValueError(
        f"the blocks have components, {_listed(names)}, and a row is the gradient of a scalar: keep the "
        "invariant blocks only, or pass components='properties' to make each component a column"
    )


def _refuse_twins(moved: list[str], present: list[str], place: str) -> None:
    # metatensor would crash
    twins = [name for name in moved if name in present]
    if twins:
        raise ValueError(f"{_listed(twins)} would occur twice in the {place}: rename it in the tensor")


def _names(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _hashed(properties: Labels) -> str:
    """Return a name of the columns that depends only on their labels and order."""
    values = np.ascontiguousarray(properties.values, dtype="<i4")
    text = json.dumps(properties.names).encode()
    return f"metatensor-{hashlib.sha256(text + values.tobytes()).hexdigest()[:16]}"
