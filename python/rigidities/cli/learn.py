"""`rigidities learn`: rigidities and errors against the number of training structures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rigidities.cli.announce import announce
from rigidities.cli.messages import OF_SIZES, in_lines
from rigidities.cli.options import (
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
    counted,
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
from rigidities.cli.places import check_places, outputs_of_learn
from rigidities.exceptions import blame
from rigidities.model.training_set import find_same
from rigidities.report.against import prints_of
from rigidities.report.own_model import labels_of, own_loss
from rigidities.sources.feature_files import are_features
from rigidities.sources.read import read_sources

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rigidities.loss.terms import Loss
    from rigidities.model.linear import LinearModel
    from rigidities.planning.curve import LearningCurve
    from rigidities.sources.source import Source

OF = "Rigidities of structures (PR of their energies) or of their atoms (LPR)."


def learn(
    context: typer.Context,
    train: Annotated[str, typer.Argument(help="Training structures, or features (.npz).", metavar="TRAIN")],
    test: Annotated[str, typer.Argument(help="Test structures, or features (.npz).", metavar="TEST")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The figure, .png; .json is written beside it.")
    ] = Path("learning.png"),
    of: Annotated[Literal["structures", "atoms"], typer.Option(help=OF)] = "structures",
    orders: Annotated[int, typer.Option(min=1, help="Random orders of the training structures.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="The same number gives the same orders.")] = 0,
    model: Annotated[
        Path | None, typer.Option(help="Model that `rigidities fit` wrote: its features, loss, baseline and λ.")
    ] = None,
    regularizer: Annotated[
        str, typer.Option(help="λ ≥ 0, the same at all sizes, or auto: that of all of TRAIN.")
    ] = "auto",
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    cutoff: Cutoff = None,
    body_orders: BodyOrders = "3",
    hyperparameters: Hyperparameters = None,
    pseudo_species: PseudoSpecies = None,
    purified: Purified = False,
    force: Force = False,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Show how rigidities grow and errors fall with training structures, and what more would bring.

    TRAIN and TEST are files as for `rigidities report`. Structures of TRAIN are added in random
    orders, with their energies, and their forces if all have them; at each of ten sizes the
    rigidities of TEST are computed, and its errors of energies where it has labels. λ is the same
    at all sizes.

    Prints the table, and forecasts: how many more structures like those of TRAIN double the
    rigidity or halve the error, or that no number does. Writes OUTPUT.png and OUTPUT.json; files of
    an earlier run are replaced, others only with --force. The rows of all targets of TRAIN are held
    in memory.
    """
    with in_lines(OF_SIZES):
        from_features = are_features(train) and are_features(test)
        require(*[] if from_features else ["ase", "featomic"], "matplotlib")
        set_threads(threads)
        value = as_regularizer(regularizer, "auto")
        settings = descriptor(cutoff, body_orders, hyperparameters, pseudo_species, purified)
        if from_features:
            refuse_options_of_structures(context, train)
        refuse_what_a_model_decides(context, model)
        check_places(outputs_of_learn(output), train, test, hyperparameters, model, force=force)
        shown = progress_shown(progress)
        fitted = None if model is None else load_model(model)
        sources = read_sources(train, test, settings, shown, model=fitted, name=str(model))
        loss = fitted.loss if fitted else _own_loss(sources[0], {"energy": energy_key, "forces": forces_key})
        announce(*sources, ["energy"] if loss is None else loss.terms, shown)
        curve = _curve(*sources, loss, fitted, value, of, orders, seed, shown)
        per_atom = fitted is None or (fitted.loss.energy is not None and fitted.loss.energy.per_atom)
        seen = find_same(prints_of(sources[0]), prints_of(sources[1]))
        typer.echo(_write(curve, sources, of, "meV/atom" if per_atom else "meV", seen, output))
        typer.echo(f"\nWritten: {', '.join(map(str, outputs_of_learn(output)))}")


def _own_loss(train: Source, keys: dict[str, str | None]) -> Loss | None:
    """Return the loss of `rigidities fit`, of the labels that all structures have; None without."""
    terms = labels_of(train, keys)
    if "energy" not in terms:
        return None
    return own_loss(terms, "mean", len(train.sizes))


def _curve(
    train: Source,
    test: Source,
    loss: Loss | None,
    model: LinearModel | None,
    regularizer: float | Literal["auto"],
    of: Literal["structures", "atoms"],
    orders: int,
    seed: int,
    shown: bool,
) -> LearningCurve:
    from rigidities.planning.learning import learning_curve
    from rigidities.sources.target_rows import test_rows, training_rows

    training = training_rows(train, loss, model)
    judged = test_rows(test, training, of)
    known = training.rows
    with counted("sizes", shown) as show, blame(train.name):
        curve = learning_curve(
            known.values,
            judged.values,
            blocks=known.blocks,
            weights=known.weights,
            y=known.targets,
            y_test=judged.targets,
            regularizer=regularizer if model is None else model.hessian.regularizer,
            n_orders=orders,
            random_state=seed,
            progress=show,
        )
    # without labels of the test set, errors would be those of energies and forces together
    return curve if judged.targets is not None else replace(curve, rmse=None)


def _write(
    curve: LearningCurve,
    sources: tuple[Source, Source],
    of: str,
    unit: str,
    seen: NDArray[np.int64],
    output: Path,
) -> str:
    """Write the figure and JSON; return the table."""
    from rigidities.report.files import write_figure, write_json
    from rigidities.report.learning import curve_content, curve_text, draw_learning_curve

    figure = draw_learning_curve(curve, unit=unit, factor=1000.0, rows=of)
    with writing(*outputs_of_learn(output)):
        write_figure(figure, output)
        write_json(curve_content(curve, sources, of, unit, seen), output.with_suffix(".json"))
    return curve_text(curve, sources, of, unit, seen)
