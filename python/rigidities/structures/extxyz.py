"""Write structures with computed numbers as extended XYZ.

Each number of an atom has 17 digits. ASE alone writes eight decimals, and a rigidity of 1e-9 would
be written as zero.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.runtime.writing import write_text
from rigidities.structures.carried import holdable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray


def write_annotated(
    frames: Sequence[Atoms],
    path: Path,
    info: Mapping[str, NDArray[np.float64]],
    arrays: Mapping[str, NDArray[np.float64]],
) -> None:
    """Write copies of structures with added numbers; their own info, arrays and results are kept.

    What extended XYZ cannot hold is left out, with a `NotWrittenWarning`.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        They are not changed.
    path : Path
        Replaced if it exists.
    info : mapping of str to ndarray of shape (n_structures,) or (n_structures, k)
        Numbers of each structure. An entry of the same name is replaced.
    arrays : mapping of str to ndarray of shape (n_atoms,) or (n_atoms, k)
        Numbers of each atom, in the order of structures. An array of the same name is replaced.
    """
    import ase.io

    buffer = StringIO()
    ase.io.write(buffer, _annotated(frames, info, arrays), format="extxyz")
    text = buffer.getvalue()
    for name, values in arrays.items():
        columns = values[:1].size
        text = text.replace(f":{name}:S:{columns}", f":{name}:R:{columns}")
    write_text(path, text)


def _annotated(
    frames: Sequence[Atoms], info: Mapping[str, NDArray[np.float64]], arrays: Mapping[str, NDArray[np.float64]]
) -> list[Atoms]:
    # ASE writes text as it is: numbers of atoms are turned into text here.
    stops = np.cumsum([len(frame) for frame in frames])
    texts = {name: _texts(values) for name, values in arrays.items()}
    annotated: list[Any] = holdable(frames)
    for index, copy in enumerate(annotated):
        copy.info |= {name: values[index] if values.ndim > 1 else float(values[index]) for name, values in info.items()}
        for name, text in texts.items():
            copy.arrays[name] = text[stops[index] - len(copy) : stops[index]]
    return annotated


def _texts(values: NDArray[np.float64]) -> NDArray[np.object_]:
    return np.array([f"{x:24.17g}" for x in values.flat], dtype=object).reshape(values.shape)
