"""The files that each command reads and writes, compared before the work.

A command replaces files of its own kind without asking. It refuses to replace one of its inputs
(under any name: a link, other case), a file of another kind, or one of its own outputs, and finds
out before the work whether it may write there.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from rigidities.exceptions import InputError
from rigidities.runtime.writing import replaceable
from rigidities.structures.read import file_of


class Kind(NamedTuple):
    """A kind of file: its name, and a test of the first bytes of a file."""

    name: str
    begins: Callable[[bytes], bool]


LOOKED_AT = 65536
"""Bytes of a file that show its kind."""

MODEL = Kind("a model", lambda head: head[8:9] == b"{" and b"rigidities" in head)
FIGURE = Kind("a PNG image", lambda head: head.startswith(b"\x89PNG"))
STRUCTURES = Kind("extended XYZ", lambda head: head.split(b"\n", 1)[0].strip().isdigit())
ARRAYS = Kind("an .npz file", lambda head: head.startswith(b"PK"))
SUMMARY = Kind("a JSON file", lambda head: head.lstrip().startswith(b"{"))
TABLE = Kind("a ranking of structures (CSV)", lambda head: head.startswith(b"rank,structure,"))
VIEWER = Kind("a .gz file", lambda head: head.startswith(b"\x1f\x8b"))

Outputs = Mapping[Path, Kind]
"""The files that a command writes."""


def figure_of(model: Path) -> Path:
    """Return the place of the figure of λ, beside the model."""
    return model.with_suffix(".png") if model.name else model  # "." and "" have no name


def outputs_of_fit(model: Path, plot: bool) -> Outputs:
    """Return the model, and the figure of λ beside it."""
    figure = figure_of(model)
    if plot and model.name and _may_be_same(model, figure):
        raise InputError(
            f"--output {model}: the figure of λ, {figure}, would replace the model; give the model another name, e.g. "
            f"{model.with_suffix('.safetensors')}, or pass --no-plot"
        )
    return {model: MODEL} | ({figure: FIGURE} if plot else {})


def figures_of_score(output: Path) -> dict[str, Path]:
    """Return the places of the two figures of `score`, beside the predictions."""
    return {name: output.with_name(f"{output.stem}_{name}.png") for name in ("parity", "errors") if output.name}


def texts_of_score(output: Path) -> dict[Path, Kind]:
    """Return the places of what to compute next (structures, ranking) and of the numbers."""
    if not output.name:
        return {}  # "." and "" have no name
    return {
        output.with_name(f"{output.stem}_next.xyz"): STRUCTURES,
        output.with_suffix(".csv"): TABLE,
        output.with_suffix(".json"): SUMMARY,
    }


def outputs_of_score(output: Path, plot: bool) -> Outputs:
    """Return the predictions and what is beside them; figures are drawn if there are labels."""
    beside = texts_of_score(output)
    if output in beside:
        kind = beside[output].name
        raise InputError(f"--output {output}: is the place of {kind}; name the structures {output.with_suffix('.xyz')}")
    return {output: STRUCTURES} | beside | (dict.fromkeys(figures_of_score(output).values(), FIGURE) if plot else {})


def outputs_of_report(directory: Path, from_features: bool) -> Outputs:
    """Return the files of a report of structures, or of features."""
    found = {
        directory / "summary.json": SUMMARY,
        directory / "ranking.csv": TABLE,
        directory / "lpr_map.png": FIGURE,
    }
    if from_features:
        return found | {directory / "rigidities.npz": ARRAYS}
    return found | {
        directory / "rigidities.xyz": STRUCTURES,
        directory / "next.xyz": STRUCTURES,
        directory / "viewer.json.gz": VIEWER,
    }


def outputs_of_demo(directory: Path) -> Outputs:
    """Return the maps and both reports of the demo."""
    found: dict[Path, Kind] = {directory / "lpr_maps.png": FIGURE}
    for name in ("pristine", "with_defects"):
        found |= {directory / f"lpr_map_{name}.png": FIGURE, **outputs_of_report(directory / name, from_features=False)}
    return found


def check_places(outputs: Outputs, *inputs: str | Path | None) -> None:
    """Raise if an output cannot be written, would replace an input, or a file of another kind.

    Parameters
    ----------
    outputs : mapping of Path to Kind
    *inputs : str, Path or None
        Names of files, or ``file@slice``. None: an input that was not given.
    """
    files = [Path(file_of(str(name))) for name in inputs if name is not None]
    for output, kind in outputs.items():
        try:
            _require_place(output)
            for file in files:
                if _is_same(output, file):
                    raise InputError(f"--output {output}: is the input {file}, which would be lost; give another name")
            _require_kind(output, kind)
        except OSError as error:
            raise InputError(f"--output {output}: cannot be written ({error.strerror or error})") from error


def _is_same(output: Path, file: Path) -> bool:
    """Whether both are one file, under any name."""
    if os.path.exists(output) and os.path.exists(file):
        return output.samefile(file)
    return os.path.realpath(output) == os.path.realpath(file)


def _may_be_same(one: Path, other: Path) -> bool:
    """Whether two new files in a directory are one where a file system takes A for a."""
    return one.name.casefold() == other.name.casefold() or _is_same(one, other)


def _require_place(output: Path) -> None:
    """Raise unless a file can be made at this place, in a directory that may not exist yet."""
    if output.is_dir():
        raise InputError(f"--output {output}: is a directory, expected the name of a file")
    folder = Path(os.path.realpath(output)).parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"--output {output.parent}: cannot make this directory (Not a directory)")
    with tempfile.TemporaryFile(dir=folder):
        pass


def _require_kind(output: Path, kind: Kind) -> None:
    """Raise if there is something else than a file of this kind, or an empty one."""
    try:
        mode = output.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"--output {output}: is not a regular file; give another name")
    try:
        replaceable(output)
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}") from None
    with output.open("rb") as file:
        head = file.read(LOOKED_AT)
    if head and not kind.begins(head):
        raise InputError(
            f"--output {output}: this file exists and is not {kind.name}: it would be lost; give another name, or "
            "remove it first"
        )
