"""`rigidities report`: how firmly a training set determines the predictions for a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rigidities.cli.kinds import check_labels
from rigidities.cli.messages import in_lines
from rigidities.cli.options import (
    BodyOrders,
    Cutoff,
    Force,
    Hyperparameters,
    Progress,
    Threads,
    descriptor,
    progress_shown,
    require,
    set_threads,
    writing,
)
from rigidities.cli.options import regularizer as as_regularizer
from rigidities.cli.places import check_places, outputs_of_report
from rigidities.report.atom_map import map_of
from rigidities.report.content import make_report
from rigidities.report.files import STRUCTURES, write
from rigidities.report.text import table
from rigidities.sources.feature_files import are_features
from rigidities.sources.read import read_sources


def report(
    train: Annotated[str, typer.Argument(help="Training structures, or features (.npz, .npy, .mts).", metavar="TRAIN")],
    test: Annotated[str, typer.Argument(help="Test structures, or features (.npz, .npy, .mts).", metavar="TEST")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write into; made if it does not exist.")],
    regularizer: Annotated[
        str, typer.Option(help="λ ≥ 0 in H = C + λ, or auto: the smallest λ that rounding allows.")
    ] = "auto",
    reduction: Annotated[
        Literal["mean", "sum"], typer.Option(help="Targets are energies per atom (mean) or total energies (sum).")
    ] = "mean",
    cutoff: Cutoff = None,
    body_orders: BodyOrders = "3",
    hyperparameters: Hyperparameters = None,
    group_key: Annotated[
        str | None, typer.Option(help="Entry in info that names a structure's kind; by default group, or config_type.")
    ] = None,
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
    their names, and "species" (n_rows,). Or .npy files with the features alone, or metatensor's
    (.mts).

    Writes rigidities.xyz (array lpr, info pr), summary.json, lpr_map.png and viewer.json.gz (for
    https://chemiscope.org). From features, it writes rigidities.npz (arrays lpr, pr, labels) in
    place of rigidities.xyz, and no viewer. They replace those of an earlier report, and other files
    only with --force. The map shows the principal components of training and test atoms together,
    at most 3000 of each.
    """
    with in_lines():
        from_features = are_features(train) and are_features(test)
        require(*[] if from_features else ["ase", "featomic", "chemiscope"], "matplotlib")
        set_threads(threads)
        value = as_regularizer(regularizer, "auto")
        settings = descriptor(cutoff, body_orders, hyperparameters)
        outputs = outputs_of_report(output, from_features)
        check_places(outputs, train, test, hyperparameters, force=force)
        sources = read_sources(train, test, settings, progress_shown(progress))
        if not from_features:
            check_labels(output / STRUCTURES, sources[1].frames or [], force=force)
        atom_map = map_of(*sources)
        made = make_report(*sources, regularizer=value, reduction=reduction, group_key=group_key, atom_map=atom_map)
        for warning in made.warnings:
            typer.echo(f"rigidities: warning: {warning}", err=True)
        typer.echo(table(made))
        with writing(*outputs):
            names = write(made, atom_map, output)
        typer.echo(f"\nWritten to {output}: {', '.join(names)}")
