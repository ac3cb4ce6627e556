"""`rigidities overlap`: how much of one set of structures others determine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rigidities.cli.messages import OF_MODEL, in_lines
from rigidities.cli.options import Progress, Threads, load_model, progress_shown, require, set_threads
from rigidities.report.overlap import compare_sets, overlap_table
from rigidities.sources.feature_files import are_features
from rigidities.sources.read import read_for_model


def overlap(
    model: Annotated[Path, typer.Argument(help="File that `rigidities fit` wrote.", metavar="MODEL")],
    sets: Annotated[list[str], typer.Argument(help="Structures, or features: one file per set.", metavar="SET...")],
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Tell how much of one set of structures the data of another determine.

    Each SET is a file that ASE reads ("file.xyz@:100" takes a part), with species that the model
    was fitted to; or features of your own, for a model of such. No labels are needed.

    For each set, it prints how many directions of the features the energies of its structures alone
    would determine, at the λ and with the weights of the model. For each pair, it prints the part
    of the prior variance along these directions that the other set leaves open, from 0 (all is
    determined) to 1 (nothing is). The first row is for the data that the model was fitted to, with
    forces if the loss has them.
    """
    with in_lines(OF_MODEL):
        require(*[] if all(map(are_features, sets)) else ["ase", "featomic"])
        set_threads(threads)
        loaded = load_model(model)
        sources = [read_for_model(path, loaded, str(model), progress_shown(progress)) for path in sets]
        typer.echo(overlap_table(compare_sets(loaded, sources, str(model)), model.name))
