"""`rigidities score`: predictions of a fitted model, with standard deviations and rigidities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rigidities.cli.kinds import check_labels
from rigidities.cli.messages import in_lines
from rigidities.cli.options import Force, Progress, Threads, progress_shown, require, set_threads, writing
from rigidities.cli.places import check_places, outputs_of_score
from rigidities.exceptions import InputError, blame
from rigidities.structures.read import read_structures

if TYPE_CHECKING:
    from rigidities.model.linear import LinearModel


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
    force: Force = False,
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
    time. The file replaces that of an earlier run, and another one only with --force.
    """
    with in_lines():
        require("ase", "featomic")
        set_threads(threads)
        check_places(outputs_of_score(output), model, structures, force=force)

        from rigidities.model.prediction import write_xyz
        from rigidities.report.model import prediction_table

        with blame(str(model)):
            loaded = _load(model)
        frames = read_structures(structures)
        check_labels(output, frames, force=force)
        virials = "virial" in loaded.loss.terms if virials is None else virials
        with blame(structures):
            prediction = loaded.predict(frames, forces=forces, virials=virials, progress=progress_shown(progress))
        with writing(output):
            write_xyz(prediction, frames, output)
        with blame(structures):
            typer.echo(prediction_table(loaded, structures, frames, prediction))
        typer.echo(f"\nWritten: {output}")


def _load(path: Path) -> LinearModel:
    from rigidities.model.linear import LinearModel

    try:
        return LinearModel.load(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
