"""Kinds of files that commands write, and how a file shows that a command wrote it.

A file that exists is replaced without asking only if an earlier run wrote it.
"""

from __future__ import annotations

import gzip
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rigidities.exceptions import InputError
from rigidities.model.prediction import PREDICTED


class Kind(NamedTuple):
    """A kind of file.

    Attributes
    ----------
    name : str
        What a command writes, e.g. "a model".
    suffixes : tuple of str
        Those that the name of the file may have, the usual one first.
    is_ours : callable
        Whether a file, which has some content, was written by a command.
    """

    name: str
    suffixes: tuple[str, ...]
    is_ours: Callable[[Path], bool]


RIGIDITIES = {"lpr.npy", "pr.npy", "labels.npy"}
"""Arrays of rigidities in an .npz file."""

LOOKED_AT = 65536
"""Bytes of a file in which its writer is named."""


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LOOKED_AT)


def _is_model(path: Path) -> bool:
    return _head(path)[8:].startswith(b"{") and b'"rigidities.model"' in _head(path)


def _is_figure(path: Path) -> bool:
    return _head(path).startswith(b"\x89PNG") and b"Software\0rigidities" in _head(path)


def _is_arrays(path: Path) -> bool:
    return _arrays_in(path) == RIGIDITIES


def _is_summary(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    versions = content.get("versions") if isinstance(content, dict) else None
    return isinstance(versions, dict) and "rigidities" in versions


def _is_viewer(path: Path) -> bool:
    try:
        with gzip.open(path) as file:
            return b'"name": "rigidities"' in file.read(LOOKED_AT)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False


def _is_structures(path: Path) -> bool:
    """Whether each structure has what `score` and `report` write."""
    return all("pr" in info and "lpr" in columns for info, columns in _names_in(path))


def _is_next(path: Path) -> bool:
    """Whether each structure has what a ranking adds."""
    return all(info >= {"rank", "structure", "pr"} for info, _ in _names_in(path))


def _is_picks(path: Path) -> bool:
    """Whether each structure has what a selection adds."""
    return all(info >= {"rank", "structure", "gain"} for info, _ in _names_in(path))


def _is_ranking(path: Path) -> bool:
    return _head(path).startswith(b"rank,structure,")


def _is_predicted_rows(path: Path) -> bool:
    return _arrays_in(path) > RIGIDITIES


def _is_page(path: Path) -> bool:
    return b'<meta name="generator" content="rigidities">' in _head(path)


def _is_text(path: Path) -> bool:
    return b"Calibration report: residuals r beside their standard deviations" in _head(path)


def _arrays_in(path: Path) -> set[str]:
    """Return the names of the arrays of an .npz file; none of another file."""
    try:
        with zipfile.ZipFile(path) as file:
            return set(file.namelist())
    except (zipfile.BadZipFile, ValueError):
        return set()


MODEL = Kind("a model", (".safetensors", ""), _is_model)
FIGURE = Kind("a figure", (".png",), _is_figure)
STRUCTURES = Kind("structures with rigidities", (".xyz", ".extxyz", ""), _is_structures)
ARRAYS = Kind("rigidities as .npz", (".npz",), _is_arrays)
SUMMARY = Kind("a summary", (".json",), _is_summary)
NEXT = Kind("ranked structures", (".xyz",), _is_next)
PICKS = Kind("selected structures", (".xyz", ".extxyz"), _is_picks)
TABLE = Kind("a ranking of structures", (".csv",), _is_ranking)
PREDICTED_ROWS = Kind("predictions as .npz", (".npz",), _is_predicted_rows)
PAGE = Kind("a calibration report", (".html",), _is_page)
TEXT = Kind("a calibration report as text", (".txt",), _is_text)
VIEWER = Kind("a viewer", (".json.gz",), _is_viewer)

SUFFIXES = {
    suffix
    for kind in (MODEL, FIGURE, STRUCTURES, ARRAYS, SUMMARY, TABLE, PAGE, TEXT, VIEWER)
    for suffix in kind.suffixes
} - {""}
"""Suffixes of files, which the name of a directory should not have."""


# Extended XYZ -------------------------------------------------------------------------------------

_ENTRY = re.compile(r'(?:^|\s)"?([^\s="]+)"?=')
_PROPERTIES = re.compile(r'(?:^|\s)Properties="?([^\s"]+)')
_LABEL = re.compile("energy|energies|forces?|stress|virial|dipole|magmom", re.IGNORECASE)


def _names_in(path: Path) -> Iterator[tuple[set[str], set[str]]]:
    """Yield the names of entries and columns of each structure; none at what is no structure."""
    with path.open("rb") as file:
        while count := file.readline(LOOKED_AT):
            if not re.fullmatch(rb"\s*\d{1,12}\s*", count):
                yield set(), set()
                return
            line = file.readline().decode(errors="replace")
            columns = _PROPERTIES.search(line)
            yield set(_ENTRY.findall(line)), set() if columns is None else set(columns[1].split(":")[::3])
            for _ in islice(file, int(count)):
                pass


def check_labels(output: Path, frames: Sequence[Any], *, force: bool) -> None:
    """Raise if structures that `output` holds have labels that those to be written lack.

    They may have been added to the output of an earlier run, by a reference calculation.

    Parameters
    ----------
    output : Path
        Extended XYZ, or nothing yet.
    frames : sequence of ase.Atoms
        Structures that will be written.
    force : bool
        Check nothing.
    """
    if force or not output.exists():
        return
    old = set().union(*(info | columns for info, columns in _names_in(output)))
    new = set().union(*(frame.info.keys() | frame.arrays.keys() | _results(frame) for frame in frames))
    labels = sorted(name for name in old - new - PREDICTED if _LABEL.search(name))
    if labels:
        raise InputError(
            f"--output {output}: this file has labels, {', '.join(labels)}, that the structures to be written lack: "
            "they would be lost; give another name, or pass --force"
        )


def _results(frame: Any) -> set[str]:
    return set() if frame.calc is None else set(getattr(frame.calc, "results", ()))
