"""Structures read from files, and what can be told of their atoms without a descriptor."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


def read_structures(path: str) -> list[Atoms]:
    """Read all structures of a file in any format of ASE's, or those that ``file@slice`` names."""
    import ase.io

    whole = Path(path).exists() or "@" not in path
    require_file(path if whole else path.rpartition("@")[0])
    try:
        # With an index beside it, ASE passes over the one in the name.
        read = ase.io.read(path, ":", do_not_split_by_at_sign=True) if whole else ase.io.read(path)
    except Exception as error:  # a reader fails in as many ways as there are formats
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        raise InputError(f"{path}: ASE cannot read it ({reason})") from error
    frames = read if isinstance(read, list) else [read]
    if not frames:
        raise InputError(f"{path}: holds no structures")
    return frames


def require_file(path: str) -> None:
    """Refuse what is no file, or an empty one."""
    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if not Path(path).is_file():
        raise InputError(f"{path}: is not a file")
    if Path(path).stat().st_size == 0:
        raise InputError(f"{path}: is empty")


def coordination(frame: Atoms) -> NDArray[np.int64]:
    """Count the neighbours of each atom within `BOND_STRETCH` times the sum of the covalent radii."""
    neighborlist: Any = import_module("ase.neighborlist")
    reach = neighborlist.natural_cutoffs(frame, mult=BOND_STRETCH)
    return np.bincount(neighborlist.neighbor_list("i", frame, reach), minlength=len(frame))


GROUP_KEYS = ("group", "config_type")
"""Names under which data sets keep the kind of a structure in its ``info``."""


BOND_STRETCH = 1.25
"""Two atoms are neighbours up to this times the sum of their covalent radii: 2.78 Å in silicon, between its bond
(2.35 Å) and its second neighbours (3.84 Å)."""
