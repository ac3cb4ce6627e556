"""Read structures from files, and count the neighbours of their atoms."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray


GROUP_KEYS = ("group", "config_type")
"""Entries of ``info`` in which data sets store the kind of a structure."""

BOND_STRETCH = 1.25
"""Two atoms are neighbours up to this multiple of the sum of their covalent radii. For silicon that
is 2.78 Å, between the bond length (2.35 Å) and the second neighbours (3.84 Å)."""


def read_structures(path: str) -> list[Atoms]:
    """Read the structures of a file in any format that ASE reads.

    Parameters
    ----------
    path : str
        Name of the file, for all its structures, or ``file@slice`` for some of them.

    Returns
    -------
    list of ase.Atoms

    Raises
    ------
    InputError
        If the file is missing or empty, ASE cannot read it, or it holds no structures.
    """
    import ase.io

    file = file_of(path)
    require_file(file)
    whole = file == path
    try:
        # An explicit index keeps ASE from splitting the name at its last @.
        read = ase.io.read(path, ":", do_not_split_by_at_sign=True) if whole else ase.io.read(path)
    except Exception as error:  # each of ASE's readers raises errors of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        raise InputError(f"{path}: ASE cannot read it ({reason})") from error
    frames = read if isinstance(read, list) else [read]
    if not frames:
        raise InputError(f"{path}: holds no structures")
    return frames


def kinds_of(frames: Sequence[Atoms], keys: Sequence[str] = GROUP_KEYS) -> NDArray[np.str_] | None:
    """Return the kind of each structure: the first of these entries of ``info`` that any has."""
    for name in keys:
        if any(name in frame.info for frame in frames):
            return np.array([str(frame.info.get(name, "-")) for frame in frames])
    return None


def file_of(path: str) -> str:
    """Return the file of ``file@slice``, or of a name that has an @ of its own."""
    return path if Path(path).exists() or "@" not in path else path.rpartition("@")[0]


def require_file(path: str) -> None:
    """Raise an `InputError` unless `path` is a file with content."""
    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if not Path(path).is_file():
        raise InputError(f"{path}: is not a file")
    if Path(path).stat().st_size == 0:
        raise InputError(f"{path}: is empty")


def coordination(frame: Atoms) -> NDArray[np.int64]:
    """Count the neighbours of each atom, as `BOND_STRETCH` defines them."""
    neighborlist: Any = import_module("ase.neighborlist")
    reach = neighborlist.natural_cutoffs(frame, mult=BOND_STRETCH)
    return np.bincount(neighborlist.neighbor_list("i", frame, reach), minlength=len(frame))
