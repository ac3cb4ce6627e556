"""`rigidities calibrate`: how well standard deviations describe errors, of any model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rigidities.cli.messages import OF_MODEL, in_lines
from rigidities.cli.options import Force, Progress, Threads, load_model, progress_shown, require, set_threads, writing
from rigidities.cli.places import check_places, outputs_of_calibrate
from rigidities.exceptions import InputError, blame
from rigidities.sources.residuals import are_residuals, read_residuals
from rigidities.structures.read import read_structures

if TYPE_CHECKING:
    from rigidities.report.calibration.report import CalibrationReport


def calibrate(
    source: Annotated[
        str, typer.Argument(help="Residuals and σ, as .npz or .csv; or the file of a fitted model.", metavar="SOURCE")
    ],
    structures: Annotated[
        str | None,
        typer.Argument(help="With a model: labelled structures that it was not fitted to.", metavar="[STRUCTURES]"),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page, .html; .txt and .json are written beside it.")
    ] = Path("calibration.html"),
    unit: Annotated[
        str | None, typer.Option(help="Unit of residuals and σ, e.g. eV/atom; a model knows its own.")
    ] = None,
    forces: Annotated[
        bool, typer.Option("--forces/--no-forces", help="Judge forces; they take most of the time.")
    ] = True,
    force: Force = False,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Tell how well standard deviations σ describe errors: of any model, or of a fitted one.

    SOURCE is an .npz file with the arrays residuals and std, both (n,), or a .csv file whose first
    line names its columns. Optional is blocks, the structure of each target: forces of one
    structure are not independent. All other entries are classes, for which the same comparison is
    made: kinds, compositions, sizes.

    Or SOURCE is the file of a fitted model, and STRUCTURES a labelled file that it has not seen:
    energies and virials are per atom, forces by component, each with a report of its own.

    Writes OUTPUT.html, one page with all tables and figures, OUTPUT.txt and OUTPUT.json. Each
    number stands beside what it would be if errors agreed with σ. Files of an earlier run are
    replaced, others only with --force.
    """
    with in_lines(OF_MODEL):
        require("matplotlib")
        set_threads(threads)
        of_model = not are_residuals(source)
        _check(source, structures, unit, of_model=of_model)
        check_places(outputs_of_calibrate(output), source, structures, force=force)
        if of_model:
            assert structures is not None
            reports = _of_model(source, structures, forces=forces, progress=progress)
        else:
            reports = {"": _of_residuals(source, unit or "")}
        title = f"Calibration of {Path(source).name}" + (f" on {Path(structures).name}" if structures else "")
        typer.echo(_write(reports, title, output))
        typer.echo(f"\nWritten: {output}, and with the same name .txt, .json")


def _check(source: str, structures: str | None, unit: str | None, *, of_model: bool) -> None:
    """Raise if arguments do not go together."""
    if of_model and structures is None:
        raise InputError(
            f"{source}: no .npz or .csv file of residuals; to judge a model, give labelled structures after its file"
        )
    if of_model and unit is not None:
        raise InputError(f"--unit {unit}: for residuals only; a model knows its units: leave it out")
    if not of_model and structures is not None:
        raise InputError(f"{structures}: {source} holds residuals, which need no structures; leave them out")


def _of_residuals(path: str, unit: str) -> CalibrationReport:
    from rigidities.report.calibration.report import calibration_report

    found = read_residuals(path)
    with blame(path):
        return calibration_report(found.residuals, found.std, by=dict(found.by), blocks=found.blocks, unit=unit)


def _of_model(path: str, structures: str, *, forces: bool, progress: bool | None) -> dict[str, CalibrationReport]:
    require("ase", "featomic")
    from rigidities.report.calibration.of_model import LEAST, reports_of
    from rigidities.report.comparison import compare

    model = load_model(Path(path))
    frames = read_structures(structures)
    with blame(structures):
        virials = "virial" in model.loss.terms
        prediction = model.predict(frames, forces=forces, virials=virials, progress=progress_shown(progress))
        reports = reports_of(model, frames, prediction, compare(model, frames, prediction))
    if not reports:
        raise InputError(
            f"{structures}: no target has {LEAST} labels or more whose σ is known: expected labelled structures"
        )
    return reports


def _write(reports: dict[str, CalibrationReport], title: str, output: Path) -> str:
    """Write the page, the text and JSON; return the text."""
    from rigidities.report.calibration.page import report_page, reports_page
    from rigidities.report.files import write_json
    from rigidities.runtime.writing import write_text

    texts = [f"{name.upper()}\n{report}" if name else str(report) for name, report in reports.items()]
    text = "\n\n".join(texts)
    page = report_page(reports[""], title) if "" in reports else reports_page(reports, title)
    values = {name: report.to_dict() for name, report in reports.items()}
    versions = dict(next(iter(reports.values())).provenance.versions)
    places = list(outputs_of_calibrate(output))
    with writing(*places):
        write_text(places[0], page)
        write_text(places[1], text + "\n")
        write_json({"versions": versions} | values.get("", {"reports": values}), places[2])
    return text
