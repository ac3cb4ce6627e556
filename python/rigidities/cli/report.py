"""`rigidities report`: how firmly a training set determines the predictions for a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rigidities.cli.announce import announce
from rigidities.cli.kinds import check_labels
from rigidities.cli.messages import in_lines
from rigidities.cli.options import (
    REGULARIZER,
    RULES,
    TOP_HELP,
    BodyOrders,
    Cutoff,
    EnergyKey,
    Force,
    ForcesKey,
    Hyperparameters,
    Progress,
    PseudoSpecies,
    Purified,
    Threads,
    descriptor,
    load_model,
    progress_shown,
    refuse_options_of_structures,
    refuse_what_a_model_decides,
    require,
    set_threads,
    writing,
)
from rigidities.cli.options import regularizer as as_regularizer
from rigidities.cli.places import check_places, outputs_of_report
from rigidities.report.atom_map import map_of
from rigidities.report.content import make_report
from rigidities.report.files import STRUCTURES, write
from rigidities.report.next_structures import TOP
from rigidities.report.own_model import labels_of, own_model
from rigidities.report.text import table
from rigidities.sources.feature_files import are_features
from rigidities.sources.read import read_sources


def report(
    context: typer.Context,
    train: Annotated[str, typer.Argument(help="Training structures, or features (.npz, .npy, .mts).", metavar="TRAIN")],
    test: Annotated[str, typer.Argument(help="Test structures, or features (.npz, .npy, .mts).", metavar="TEST")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write into; made if it does not exist.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Model that `rigidities fit` wrote: its features, loss and λ, in place of a fit."),
    ] = None,
    regularizer: Annotated[str, typer.Option(help=REGULARIZER)] = "auto",
    reduction: Annotated[
        Literal["mean", "sum"], typer.Option(help="Targets are energies per atom (mean) or total energies (sum).")
    ] = "mean",
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    cutoff: Cutoff = None,
    body_orders: BodyOrders = "3",
    hyperparameters: Hyperparameters = None,
    pseudo_species: PseudoSpecies = None,
    purified: Purified = False,
    group_key: Annotated[
        str | None, typer.Option(help="Entry in info that names a structure's kind; by default group, or config_type.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help=TOP_HELP)] = TOP,
    force: Force = False,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Report how firmly a training set determines the prediction for each test structure and atom.

    The prediction rigidity of a structure is PR, that of an atom LPR: high if the training data
    determine the prediction, low if it is arbitrary.

    TRAIN and TEST are files that ASE reads ("file.xyz@:100" takes a part); SOAP features are
    computed from them. Or both are .npz files with features of any model: the array "features"
    (n_rows, n_features), and optional arrays, "groups" (n_rows,) with the integer or string label
    of each row's structure (without it, each row is a structure), "labels" (n_structures,) with
    their names, "energies" and "weights" (n_structures,) as for `rigidities fit`, and "species"
    (n_rows,). Or .npy files with the features alone, or metatensor's
    (.mts).

    Rigidities belong to a loss and a λ. They are those of --model, or of a fit to TRAIN as
    `rigidities fit` makes it by default: to the energies, and to the forces if all structures have
    them. Where not all have an energy, each structure is one target of weight 1, and auto takes the
    smallest λ that rounding allows. The training atoms' own rigidities say what is low.

    Writes rigidities.xyz (array lpr, info pr and, of a fitted model, info energy_uncertainty and
    array energies_uncertainty: σ in eV, as `rigidities score` writes it), summary.json, ranking.csv
    (what to compute next: the structures by PR), next.xyz (the first of them), lpr_map.png and
    viewer.json.gz (for https://chemiscope.org). From features, it writes rigidities.npz (arrays
    lpr, pr, labels) in place of structures, and no viewer. They replace those of an earlier report,
    and other files only with --force. The map shows the principal components of training and test
    atoms together, at most 3000 of each.
    """
    with in_lines():
        from_features = are_features(train) and are_features(test)
        require(*[] if from_features else ["ase", "featomic", "chemiscope"], "matplotlib")
        set_threads(threads)
        value = as_regularizer(regularizer, *RULES)
        settings = descriptor(cutoff, body_orders, hyperparameters, pseudo_species, purified)
        if from_features:
            refuse_options_of_structures(context, train)
        refuse_what_a_model_decides(context, model)
        outputs = outputs_of_report(output, from_features)
        check_places(outputs, train, test, hyperparameters, model, force=force)
        shown = progress_shown(progress)
        fitted = None if model is None else load_model(model)
        sources = read_sources(train, test, settings, shown, model=fitted, name=str(model))
        if not from_features:
            check_labels(output / STRUCTURES, sources[1].frames or [], force=force)
        if fitted is None:
            labels = labels_of(sources[0], {"energy": energy_key, "forces": forces_key})
            announce(*sources, labels if "energy" in labels else ["energy"], shown)
            fitted = own_model(sources[0], labels, value, reduction)
        atom_map = map_of(*sources)
        made = make_report(
            *sources,
            regularizer=value,
            reduction=reduction,
            group_key=group_key,
            atom_map=atom_map,
            model=fitted,
            is_own=model is None,
        )
        for warning in made.warnings:
            typer.echo(f"rigidities: warning: {warning}", err=True)
        typer.echo(table(made, top))
        with writing(*outputs):
            names = write(made, atom_map, output, top)
        typer.echo(f"\nWritten to {output}: {', '.join(names)}")
