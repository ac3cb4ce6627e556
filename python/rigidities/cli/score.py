"""`rigidities score`: predictions of a fitted model, with standard deviations and rigidities."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rigidities.cli.messages import in_lines
from rigidities.cli.options import (
    TOP_HELP,
    Progress,
    Threads,
    load_model,
    progress_shown,
    require,
    set_threads,
    writing,
)
from rigidities.cli.places import check_places, figures_of_score, outputs_of_score, texts_of_score
from rigidities.exceptions import blame
from rigidities.report.next_structures import TOP
from rigidities.structures.read import read_structures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rigidities.report.comparison import Compared


def score(
    model: Annotated[Path, typer.Argument(help="File that `rigidities fit` wrote.", metavar="MODEL")],
    structures: Annotated[str, typer.Argument(help="Structures to predict.", metavar="STRUCTURES")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the predictions, extended XYZ.")],
    forces: Annotated[
        bool, typer.Option("--forces/--no-forces", help="Predict forces; they take most of the time.")
    ] = True,
    virials: Annotated[
        bool | None,
        typer.Option(
            "--virials/--no-virials", help="Predict virials; by default if the loss has them.", show_default=False
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help=TOP_HELP)] = TOP,
    plot: Annotated[
        bool, typer.Option("--plot/--no-plot", help="Draw errors beside the output, if there are labels.")
    ] = True,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Predict energies, forces and virials, with standard deviations σ and rigidities (PR, LPR).

    STRUCTURES is a file that ASE reads ("file.xyz@:100" takes a part), with species that the model
    was fitted to.

    Writes them with info predicted_energy, energy_std (eV), pr, predicted_virial and virial_std
    (eV, Voigt order), arrays predicted_forces, forces_std (eV/Å) and lpr. σ is the standard
    deviation that comes from the fitted parameters, without the noise of labels. It is scaled so
    that its mean square is the mean squared error of training structures that are left out one at a
    time. If it is true, 68 % of the errors are within σ. The rigidities of the training set, which
    the model holds, say what is low.

    Beside OUTPUT.xyz it writes OUTPUT.csv (what to compute next: the structures by PR, which is
    also the order of σ of the energy per atom), OUTPUT_next.xyz (the first of them) and
    OUTPUT.json. If STRUCTURES have labels and matplotlib is installed, it draws the predicted
    values against the labels in OUTPUT_parity.png, and |error| against σ in OUTPUT_errors.png.
    Files of these kinds that exist are replaced, unless they are the input.
    """
    with in_lines():
        require("ase", "featomic")
        set_threads(threads)
        plot = plot and find_spec("matplotlib") is not None
        check_places(outputs_of_score(output, plot), model, structures)

        from rigidities.model.prediction import write_xyz
        from rigidities.report.comparison import compare
        from rigidities.report.model import prediction_table
        from rigidities.report.scored import scored, scored_summary, write_scored

        loaded = load_model(model)
        frames = read_structures(structures)
        virials = "virial" in loaded.loss.terms if virials is None else virials
        with blame(structures):
            prediction = loaded.predict(frames, forces=forces, virials=virials, progress=progress_shown(progress))
        with writing(output):
            write_xyz(prediction, frames, output)
        with blame(structures):
            compared = compare(loaded, frames, prediction)
        training = scored(loaded, frames, prediction)
        content = scored_summary(loaded, structures, prediction, compared, training, top)
        texts = texts_of_score(output)
        with writing(*texts):
            write_scored(content, frames, training, list(texts), top)
        drawn = _draw(compared, figures_of_score(output)) if plot else []
        typer.echo(prediction_table(loaded, structures, prediction, compared, training, top))
        endings = [place.name.removeprefix(output.stem) for place in (*texts, *drawn)]
        typer.echo(f"\nWritten: {output}, and with the same name {', '.join(endings)}")


def _draw(compared: Mapping[str, Compared], places: Mapping[str, Path]) -> list[Path]:
    """Write the figures for which there are labels; return their places."""
    from rigidities.report.comparison import error_figure, parity_figure
    from rigidities.report.files import write_figure

    if not compared:
        return []
    figures = {places["parity"]: parity_figure(compared), places["errors"]: error_figure(compared)}
    drawn = {place: figure for place, figure in figures.items() if figure is not None}
    with writing(*drawn):
        for place, figure in drawn.items():
            write_figure(figure, place)
    return list(drawn)
