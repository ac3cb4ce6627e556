"""`rigidities score`: predictions of a fitted model, with standard deviations and rigidities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rigidities.cli.messages import in_lines
from rigidities.cli.options import Progress, Threads, progress_shown, require, set_threads, writing
from rigidities.cli.places import check_places, outputs_of_score
from rigidities.exceptions import InputError, blame
from rigidities.sources.feature_files import are_features
from rigidities.sources.scored import read_scored

if TYPE_CHECKING:
    from rigidities.model.linear import LinearModel


def score(
    model: Annotated[Path, typer.Argument(help="File that `rigidities fit` wrote.", metavar="MODEL")],
    structures: Annotated[str, typer.Argument(help="Structures to predict, or features.", metavar="STRUCTURES")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the predictions: extended XYZ, or .npz.")],
    forces: Annotated[
        bool, typer.Option("--forces/--no-forces", help="Predict forces; they take most of the time.")
    ] = True,
    virials: Annotated[
        bool | None,
        typer.Option(
            "--virials/--no-virials", help="Predict virials; by default if the loss has them.", show_default=False
        ),
    ] = None,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Predict energies, forces and virials, with standard deviations σ and rigidities (PR, LPR).

    STRUCTURES is a file that ASE reads ("file.xyz@:100" takes a part), with species that the model
    was fitted to.

    Features of your own, for a model of such: an .npz, .npy or .mts file. Predictions are written
    as .npz then: labels, energies (as in the file that was fitted: per atom, or with --total of the
    whole structure), energy_std and pr of structures, and lpr of rows, sorted by structure.

    Writes them with info predicted_energy, energy_std (eV), pr, predicted_virial and virial_std
    (eV, Voigt order), arrays predicted_forces, forces_std (eV/Å) and lpr. σ is the standard
    deviation that comes from the fitted parameters, without the noise of labels. It is scaled so
    that its mean square is the mean squared error of training structures that are left out one at a
    time. An extended XYZ file that exists is replaced, unless it is the input.
    """
    with in_lines():
        from_features = are_features(structures)
        require(*["ase"] if from_features else ["ase", "featomic"])
        set_threads(threads)
        check_places(outputs_of_score(output, from_features), model, structures)

        from rigidities.model.prediction import write_npz, write_xyz
        from rigidities.report.model import prediction_table

        with blame(str(model)):
            loaded = _load(model)
        asked = read_scored(structures, loaded)
        virials = "virial" in loaded.loss.terms if virials is None else virials
        with blame(structures):
            prediction = loaded.predict(
                asked.frames, forces=forces and not from_features, virials=virials, progress=progress_shown(progress)
            )
        with writing(output):
            if from_features:
                write_npz(prediction, asked.labels, asked.mean, output)
            else:
                write_xyz(prediction, asked.frames, output)
        with blame(structures):
            typer.echo(
                prediction_table(loaded, structures, asked.frames, prediction, asked.labels if from_features else None)
            )
        typer.echo(f"\nWritten: {output}")


def _load(path: Path) -> LinearModel:
    from rigidities.model.linear import LinearModel

    try:
        return LinearModel.load(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
