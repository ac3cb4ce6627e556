"""`rigidities score`: predictions of a fitted model, with standard deviations and rigidities."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rigidities.cli.kinds import check_labels
from rigidities.cli.messages import OF_MODEL, in_lines
from rigidities.cli.options import (
    TOP_HELP,
    Force,
    Progress,
    Threads,
    load_model,
    progress_shown,
    require,
    set_threads,
    writing,
)
from rigidities.cli.places import check_places, figures_of_score, outputs_of_score, texts_of_score
from rigidities.exceptions import InputError, blame
from rigidities.report.next_structures import TOP
from rigidities.sources.feature_files import are_features
from rigidities.sources.scored import read_scored
from rigidities.structures.read import read_structures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rigidities.report.comparison import Compared


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
    ensemble: Annotated[
        int | None, typer.Option(min=2, help="Write energies of so many members of an ensemble, too: energy_ensemble.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of --ensemble, 0 by default.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help=TOP_HELP)] = TOP,
    plot: Annotated[
        bool, typer.Option("--plot/--no-plot", help="Draw errors beside the output, if there are labels.")
    ] = True,
    force: Force = False,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Predict energies, forces and virials, with standard deviations σ and rigidities (PR, LPR).

    STRUCTURES is a file that ASE reads ("file.xyz@:100" takes a part), with species that the model
    was fitted to.

    Features of your own, for a model of such: an .npz, .npy or .mts file. Predictions are written
    as .npz then: labels, energies (as in the file that was fitted: per atom, or with --total of the
    whole structure), energy_std, energy_ensemble and pr of structures, and lpr of rows, sorted by
    structure.

    Writes them with info predicted_energy, energy_uncertainty (σ, eV), pr, predicted_virial and
    virial_std (eV, Voigt order), arrays predicted_forces, forces_uncertainty (σ, eV/Å), lpr and
    energies_uncertainty (σ of the energy of each atom, eV; scale/√lpr). energy_std and forces_std
    are the same σ under the names of the version before. σ is the standard deviation of the error:
    scale²·v, which comes from the fitted parameters, and noise², which more data would not remove.
    Both come from training structures that are left out one at a time, with a factor for each kind
    (info group or config_type). If σ is true, 68 % of the errors are within it. The rigidities of
    the training set, which the model holds, say what is low.

    With --ensemble N, info energy_ensemble holds the energy (eV) by each of N fits drawn around
    that of the model, from N(θ, scale²·H⁻¹). A fit is the same for all structures, and in all files
    with one model, N and --seed: the spread of a difference of two energies over the members is its
    σ. The mean over members is predicted_energy. Noise² and the factors of kinds are not in it, and
    it is NaN where σ is infinite.

    Beside OUTPUT.xyz it writes OUTPUT.csv (what to compute next: the structures by PR, in a
    kind also the order of σ of the energy per atom), OUTPUT_next.xyz (the first of them) and
    OUTPUT.json. If STRUCTURES have labels and matplotlib is installed, it draws the predicted
    values against the labels in OUTPUT_parity.png, and |error| against σ in OUTPUT_errors.png.
    They replace those of an earlier run, and other files only with --force.
    """
    with in_lines(OF_MODEL):
        from_features = are_features(structures)
        require(*["ase"] if from_features else ["ase", "featomic"])
        if seed is not None and ensemble is None:
            raise InputError(f"--seed {seed}: for an ensemble only; add --ensemble 64, or leave it out")
        set_threads(threads)
        plot = plot and find_spec("matplotlib") is not None
        check_places(outputs_of_score(output, plot, from_features), model, structures, force=force)

        from rigidities.model.ensembles import check_ensemble
        from rigidities.model.prediction import write_npz, write_xyz
        from rigidities.report.comparison import compare
        from rigidities.report.model import prediction_table
        from rigidities.report.scored import scored, scored_summary, write_scored

        loaded = load_model(model)
        rows = read_scored(structures, loaded) if from_features else None
        frames = read_structures(structures) if rows is None else rows.frames
        if rows is None:
            check_labels(output, frames, force=force)
        members: dict[str, int] = {}
        if ensemble is not None:
            with blame(f"--ensemble {ensemble}"):
                check_ensemble(loaded.hessian, loaded.calibration("energy"), ensemble, len(frames), written=True)
            members = {"ensemble": ensemble, "random_state": seed or 0}
        virials = "virial" in loaded.loss.terms if virials is None else virials
        with blame(structures):
            prediction = loaded.predict(
                frames,
                forces=forces and not from_features,
                virials=virials,
                progress=progress_shown(progress),
                **members,
            )
        with writing(output):
            if rows is None:
                write_xyz(prediction, frames, output)
            else:
                write_npz(prediction, rows.labels, rows.mean, output)
        with blame(structures):
            compared = compare(loaded, frames, prediction)
        training = scored(loaded, frames, prediction, None if rows is None else rows.labels)
        texts = texts_of_score(output) if rows is None else {}
        if texts:
            content = scored_summary(loaded, structures, prediction, compared, training, top, members)
            with writing(*texts):
                write_scored(content, frames, training, list(texts), top)
        drawn = _draw(compared, figures_of_score(output)) if plot else []
        typer.echo(prediction_table(loaded, structures, prediction, compared, training, top))
        if members:
            typer.echo(f"\nenergy_ensemble: {ensemble} members, seed {members['random_state']}, without noise")
        endings = [place.name.removeprefix(output.stem) for place in (*texts, *drawn)]
        typer.echo(f"\nWritten: {output}" + (f", and with the same name {', '.join(endings)}" if endings else ""))


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
