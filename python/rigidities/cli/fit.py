"""`rigidities fit`: a linear model of structures, its errors, and a figure of λ."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rigidities.cli.messages import in_lines
from rigidities.cli.options import (
    REGULARIZER,
    RULES,
    BodyOrders,
    Cutoff,
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
from rigidities.cli.places import check_places, figure_of, outputs_of_fit
from rigidities.exceptions import InputError, blame
from rigidities.loss.terms import Loss, Term
from rigidities.sources.read import read_test, read_training

if TYPE_CHECKING:
    from rigidities.model.errors import Evaluation
    from rigidities.model.linear import LinearModel
    from rigidities.sources.atoms import Structures


FEATURES_DRAWN = 1000
"""Most features whose path is decomposed for the figure alone: 0.4 s (4000: 30 s) on 2 cores."""

PLOT = "Draw the criteria for λ beside the model; by default unless that may take longer than the fit."
PER_ATOM = "Fit energies and virials per atom (default), or of the whole structure."


def fit(
    train: Annotated[str, typer.Argument(help="Structures with energies, forces or stresses.", metavar="TRAIN")],
    test: Annotated[str | None, typer.Argument(help="Structures to evaluate errors on.", metavar="[TEST]")] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the model, e.g. model.safetensors.")],
    energy_weight: Annotated[float, typer.Option(min=0, help="Weight of energies; 0 leaves them out.")] = 1000.0,
    forces_weight: Annotated[float, typer.Option(min=0, help="Weight of force components; 0 leaves them out.")] = 1.0,
    virial_weight: Annotated[float, typer.Option(min=0, help="Weight of virials; 0 leaves them out.")] = 0.0,
    per_atom: Annotated[bool, typer.Option("--per-atom/--total", help=PER_ATOM)] = True,
    energy_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV, or eV/atom.")] = None,
    forces_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV/Å.")] = None,
    virial_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV, or eV/atom.")] = None,
    energy_key: Annotated[
        str | None, typer.Option(help="Name of energies in info; the calculator's by default.")
    ] = None,
    forces_key: Annotated[
        str | None, typer.Option(help="Name of forces in arrays; the calculator's by default.")
    ] = None,
    virial_key: Annotated[
        str | None, typer.Option(help="Name of virials (eV) in info; by default −volume · stress.")
    ] = None,
    missing: Annotated[
        Literal["refuse", "skip"], typer.Option(help="Structures that lack a label: refuse to start, or skip them.")
    ] = "refuse",
    baseline: Annotated[
        str | None, typer.Option(help="Energies of the species: fit (default), none, or values, e.g. Si=-5.4,O=-3.1.")
    ] = None,
    regularizer: Annotated[str, typer.Option(help=REGULARIZER)] = "auto",
    cutoff: Cutoff = None,
    body_orders: BodyOrders = "3",
    hyperparameters: Hyperparameters = None,
    plot: Annotated[bool | None, typer.Option("--plot/--no-plot", help=PLOT, show_default=False)] = None,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Fit a linear model of SOAP features to energies, forces and virials.

    TRAIN and TEST are files that ASE reads ("file.xyz@:100" takes a part). The loss is the sum over
    all targets of weight · error²/2, errors in eV or eV/atom, and eV/Å. With the weights 1000 and
    1, 1 meV/atom counts as much as 32 meV/Å: without the larger weight the force components, a
    hundred times as many or more, would dominate. On silicon (mlearn) 1000 gives test errors of 7.6
    meV/atom and 142 meV/Å, where 100 gives 27.5 and 138. Virials are −volume · stress.

    Writes the model with its Hessian (no pickle) and, if matplotlib is installed, the criteria for
    λ as .png beside it. Where λ is a number, and with auto where there are many features, this
    figure needs work that the fit does not, and is drawn only with --plot. A model that exists is
    replaced; an input or a file of another kind is not.
    Prints the errors of the training set, the errors when each structure is left out, and the
    errors of TEST.
    """
    with in_lines():
        require("ase", "featomic")
        set_threads(threads)
        terms = {
            "energy": _term(energy_weight, per_atom, energy_huber, missing, energy_key),
            "forces": _term(forces_weight, False, forces_huber, missing, forces_key),
            "virial": _term(virial_weight, per_atom, virial_huber, missing, virial_key),
        }
        loss = _loss(terms)
        rule = as_regularizer(regularizer, *RULES)
        ground = _baseline(baseline, loss)
        settings = descriptor(cutoff, body_orders, hyperparameters)
        plot = _may_plot(plot, rule)
        check_places(outputs_of_fit(output, plot is not False), train, test, hyperparameters)
        known = read_training(train, settings, progress_shown(progress))
        plot = known.n_features <= FEATURES_DRAWN if plot is None else plot
        outputs = outputs_of_fit(output, plot)
        asked = None if test is None else read_test(test, known)

        from rigidities.model.linear import LinearModel
        from rigidities.model.training import fit_model
        from rigidities.report.files import write_figure
        from rigidities.report.model import fit_table, regularizer_figure

        with blame(train):
            fitted = fit_model(
                known.frames,
                known.soap,
                loss,
                baseline=ground,
                regularizer=rule,
                keep_energies=plot,
                progress=known.progress,
            )
        model = LinearModel.of_fit(fitted)
        evaluation = None if asked is None else _evaluate(model, asked, plot)
        errors = None if evaluation is None else evaluation.errors
        with writing(output):  # before the table, which a closed pipe may refuse
            model.save(output)
        if plot:
            figure = regularizer_figure(fitted, None if evaluation is None else evaluation.energies)
            with writing(figure_of(output)):
                write_figure(figure, figure_of(output))
        typer.echo(fit_table(model, fitted.n_missing, known, asked, errors))
        typer.echo(f"\nWritten: {', '.join(map(str, outputs))}")


def _may_plot(plot: bool | None, rule: float | str) -> bool | None:
    """Return whether to draw the figure of λ; None if that depends on the number of features.

    The figure needs a path of λ. Criteria have one; "auto" does without, and so does a number.
    """
    if plot is False or find_spec("matplotlib") is None:
        return False
    if plot or rule == "auto":
        return plot
    return isinstance(rule, str)


def _evaluate(model: LinearModel, asked: Structures, keep_energies: bool) -> Evaluation:
    """Compare the model with the test set, in one pass over its rows."""
    with blame(asked.name):
        return model.evaluate(asked.frames, keep_energies=keep_energies, progress=asked.progress)


# Values of options --------------------------------------------------------------------------------


def _term(weight: float, per_atom: bool, huber: float | None, missing: Any, key: str | None) -> dict[str, Any] | None:
    if weight == 0:
        return None
    return {"weight": weight, "per_atom": per_atom, "huber": huber, "missing": missing, "target": key}


def _loss(terms: dict[str, dict[str, Any] | None]) -> Loss:
    made = {}
    for name, settings in terms.items():
        with blame(f"--{name}-weight, --{name}-huber or --{name}-key"):
            made[name] = None if settings is None else Term(**settings)
    if not any(made.values()):
        raise InputError("--energy-weight, --forces-weight and --virial-weight are all 0: there is nothing to fit")
    return Loss(**made)


def _baseline(text: str | None, loss: Loss) -> Any:
    """Return the baseline as `LossRows` takes it; by default "fit", if the loss has energies."""
    if text in (None, "fit", "none"):
        return "fit" if text == "fit" or (text is None and loss.energy is not None) else None
    from rigidities.structures.species import atomic_number

    energies = {}
    for entry in str(text).split(","):
        symbol, _, energy = entry.partition("=")
        try:
            energies[atomic_number(symbol.strip())] = float(energy)
        except ValueError:
            raise InputError(f"--baseline {text}: expected fit, none, or energies like Si=-5.4,O=-3.1") from None
    return energies
