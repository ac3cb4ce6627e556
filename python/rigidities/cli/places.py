"""The files that each command reads and writes, compared before the work.

A command replaces files that an earlier run wrote, without asking. It refuses to replace one of its
inputs (under any name: a link, other case), one of its own outputs, or, without --force, any other
file, and finds out before the work whether it may write there. The suffix must be one of what is
written.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

from rigidities.cli.kinds import (
    ARRAYS,
    FIGURE,
    MODEL,
    NEXT,
    PAGE,
    PICKS,
    PREDICTED_ROWS,
    STRUCTURES,
    SUFFIXES,
    SUMMARY,
    TABLE,
    TEXT,
    VIEWER,
    Kind,
)
from rigidities.exceptions import InputError
from rigidities.report import files
from rigidities.report.files import files_of
from rigidities.runtime.writing import replaceable
from rigidities.structures.read import file_of

Outputs = Mapping[Path, Kind]
"""The files that a command writes."""

_OF_REPORT = {
    files.STRUCTURES: STRUCTURES,
    files.NEXT: NEXT,
    files.ARRAYS: ARRAYS,
    files.SUMMARY: SUMMARY,
    files.RANKING: TABLE,
    files.MAP: FIGURE,
    files.VIEWER: VIEWER,
}
"""Kinds of the files of a report."""


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
        output.with_name(f"{output.stem}_next.xyz"): NEXT,
        output.with_suffix(".csv"): TABLE,
        output.with_suffix(".json"): SUMMARY,
    }


def outputs_of_score(output: Path, plot: bool, from_features: bool = False) -> Outputs:
    """Return the predictions and what is beside them; figures are drawn if there are labels."""
    figures = dict.fromkeys(figures_of_score(output).values(), FIGURE) if plot else {}
    if from_features:
        return {output: PREDICTED_ROWS} | figures
    beside = {place: kind for place, kind in texts_of_score(output).items() if place != output}
    return {output: STRUCTURES} | beside | figures


def outputs_of_calibrate(page: Path) -> Outputs:
    """Return the page, and the report as text and JSON beside it."""
    beside = {page.with_suffix(".txt"): TEXT, page.with_suffix(".json"): SUMMARY} if page.name else {}
    return {page: PAGE} | {place: kind for place, kind in beside.items() if place != page}


def outputs_of_learn(figure: Path) -> Outputs:
    """Return the figure, and the numbers as JSON beside it."""
    beside: dict[Path, Kind] = {figure.with_suffix(".json"): SUMMARY} if figure.name else {}
    return {figure: FIGURE} | {place: kind for place, kind in beside.items() if place != figure}


def outputs_of_select(picks: Path, from_features: bool) -> Outputs:
    """Return the picks, and their table, numbers and figure beside them."""
    own: dict[Path, Kind] = {picks: TABLE if from_features else PICKS}
    if not picks.name:
        return own
    beside = {".csv": TABLE, ".json": SUMMARY, ".png": FIGURE}
    return {picks.with_suffix(suffix): kind for suffix, kind in beside.items()} | own


def outputs_of_report(directory: Path, from_features: bool) -> Outputs:
    """Return the files of a report of structures, or of features."""
    _require_directory_name(directory)
    return {directory / name: _OF_REPORT[name] for name in files_of(with_structures=not from_features)}


def outputs_of_demo(directory: Path) -> Outputs:
    """Return the maps and both reports of the demo."""
    _require_directory_name(directory)
    found: dict[Path, Kind] = {directory / "lpr_maps.png": FIGURE}
    for name in ("pristine", "with_defects"):
        found |= {directory / f"lpr_map_{name}.png": FIGURE, **outputs_of_report(directory / name, from_features=False)}
    return found


def check_places(outputs: Outputs, *inputs: str | Path | None, force: bool = False) -> None:
    """Raise if an output cannot be written, or would replace a file that is no earlier output.

    Parameters
    ----------
    outputs : mapping of Path to Kind
    *inputs : str, Path or None
        Names of files, or ``file@slice``. None: an input that was not given.
    force : bool, default False
        Files of any kind may be replaced, but no inputs.
    """
    files = [Path(file_of(str(name))) for name in inputs if name is not None]
    for output in outputs:
        with _named(output):
            _require_place(output)
            for file in files:
                if _is_same(output, file):
                    raise InputError(f"--output {output}: is the input {file}, which would be lost; give another name")
    for one, other in combinations(outputs, 2):
        if _is_same(one, other):
            raise InputError(f"--output {one}: is {other} as well, through a link; one would replace the other")
    for output, kind in outputs.items():
        with _named(output):
            _require_suffix(output, kind)
            _require_replaceable(output)
            if not force:
                _require_ours(output, kind)


@contextmanager
def _named(output: Path) -> Iterator[None]:
    try:
        yield
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


def _require_suffix(output: Path, kind: Kind) -> None:
    """Raise if the name says that there is something else in the file."""
    suffix, bare = output.suffix.lower(), output
    if suffix == ".gz":
        bare = output.with_suffix("")
        suffix = bare.suffix.lower() + suffix
    if suffix not in kind.suffixes:
        accepted = " or ".join(filter(None, kind.suffixes)) + ", or no suffix" * ("" in kind.suffixes)
        found = f"{suffix} is the suffix of something else" if suffix else "the name has no suffix"
        raise InputError(
            f"--output {output}: {kind.name} would be written, and {found}: expected "
            f"{accepted}, e.g. {bare.with_suffix(kind.suffixes[0])}"
        )


def _require_directory_name(directory: Path) -> None:
    """Raise if the name of a new directory is that of a file."""
    if directory.suffix.lower() in SUFFIXES and not directory.exists():
        raise InputError(
            f"--output {directory}: several files would be written, into a directory: expected a name without "
            f"{directory.suffix}, e.g. {directory.with_suffix('')}"
        )


def _require_replaceable(output: Path) -> None:
    """Raise if there is something that is not replaced: a pipe, a file with other names."""
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


def _require_ours(output: Path, kind: Kind) -> None:
    """Raise if there is a file, not empty, that no command wrote."""
    if output.exists() and output.stat().st_size > 0 and not kind.is_ours(output):
        raise InputError(
            f"--output {output}: this file exists and is not {kind.name} that rigidities wrote: it would be lost; give "
            "another name, or pass --force"
        )
