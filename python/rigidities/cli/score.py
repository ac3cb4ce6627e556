"""`rigidities score`: predictions of a fitted model, with standard deviations and rigidities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from rigidities.cli.places import check_places, outputs_of_score
from rigidities.exceptions import blame
from rigidities.report.next_structures import TOP
from rigidities.structures.read import read_structures


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
    OUTPUT.json. Files of these kinds that exist are replaced, unless they are the input.
    """
    with in_lines():
        require("ase", "featomic")
        set_threads(threads)
        outputs = outputs_of_score(output)
        check_places(outputs, model, structures)

        from rigidities.model.prediction import write_xyz
        from rigidities.report.model import prediction_table
        from rigidities.report.scored import scored, scored_summary, write_scored

        loaded = load_model(model)
        frames = read_structures(structures)
        virials = "virial" in loaded.loss.terms if virials is None else virials
        with blame(structures):
            prediction = loaded.predict(frames, forces=forces, virials=virials, progress=progress_shown(progress))
        compared = scored(loaded, frames, prediction)
        with writing(output):
            write_xyz(prediction, frames, output)
        with blame(structures):
            content = scored_summary(loaded, structures, frames, prediction, compared, top)
        with writing(*outputs):
            write_scored(content, frames, compared, list(outputs)[1:], top)
        with blame(structures):
            typer.echo(prediction_table(loaded, structures, frames, prediction, compared, top))
        typer.echo(f"\nWritten: {', '.join(map(str, outputs))}")
