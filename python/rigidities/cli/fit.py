"""`rigidities fit`: a linear model of structures or features, its errors, and a figure of λ."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rigidities.cli.announce import announce
from rigidities.cli.messages import in_lines
from rigidities.cli.options import (
    REGULARIZER,
    RULES,
    BodyOrders,
    Cutoff,
    EnergyKey,
    Force,
    ForcesKey,
    Hyperparameters,
    Kernel,
    Points,
    Progress,
    PseudoSpecies,
    Purified,
    Threads,
    descriptor,
    progress_shown,
    refuse_options_of_structures,
    require,
    set_threads,
    sparse_kernel,
    writing,
)
from rigidities.cli.options import regularizer as as_regularizer
from rigidities.cli.places import check_places, figure_of, outputs_of_fit
from rigidities.exceptions import InputError, blame
from rigidities.loss.terms import Loss, Term
from rigidities.report.own_model import WEIGHTS, with_default_weight
from rigidities.sources.feature_files import are_features
from rigidities.sources.labelled import Labelled, loss_of_rows, read_test, read_training

if TYPE_CHECKING:
    from rigidities.loss.rows import TermRows
    from rigidities.model.errors import Evaluation
    from rigidities.model.linear import LinearModel


FEATURES_DRAWN = 1000
"""Most features whose path is decomposed for the figure alone: 0.4 s (4000: 30 s) on 2 cores."""

ENERGY_WEIGHT = "Weight of energies; 0 leaves them out. By default 3000 beside forces, 1000 for few structures."
PLOT = "Draw the criteria for λ beside the model; by default unless that may take longer than the fit."
PER_ATOM = "Fit energies and virials per atom (default), or of the whole structure."


def fit(
    context: typer.Context,
    train: Annotated[
        str,
        typer.Argument(
            help="Structures with energies, forces or stresses; or features with energies.", metavar="TRAIN"
        ),
    ],
    test: Annotated[
        str | None, typer.Argument(help="Structures, or features, to evaluate errors on.", metavar="[TEST]")
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the model, e.g. model.safetensors.")],
    energy_weight: Annotated[float | None, typer.Option(min=0, help=ENERGY_WEIGHT, show_default=False)] = None,
    forces_weight: Annotated[
        float, typer.Option(min=0, help="Weight of force components; 0 leaves them out.")
    ] = WEIGHTS["forces"],
    virial_weight: Annotated[float, typer.Option(min=0, help="Weight of virials; 0 leaves them out.")] = 0.0,
    per_atom: Annotated[bool, typer.Option("--per-atom/--total", help=PER_ATOM)] = True,
    energy_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV, or eV/atom.")] = None,
    forces_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV/Å.")] = None,
    virial_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV, or eV/atom.")] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    virial_key: Annotated[
        str | None, typer.Option(help="Name of virials (eV) in info; by default −volume · stress.")
    ] = None,
    stress_key: Annotated[
        str | None,
        typer.Option(help="Name of stresses in info, instead of virials: eV/Å³, positive under tension (ASE's sign)."),
    ] = None,
    weights_key: Annotated[
        str | None, typer.Option(help="Name of the weights of structures in info, e.g. config_weight; 1 where absent.")
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
    pseudo_species: PseudoSpecies = None,
    purified: Purified = False,
    kernel: Kernel = None,
    points: Points = None,
    plot: Annotated[bool | None, typer.Option("--plot/--no-plot", help=PLOT, show_default=False)] = None,
    force: Force = False,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Fit a linear or kernel model of SOAP, or of features of your own, to energies and forces.

    TRAIN and TEST are files that ASE reads ("file.xyz@:100" takes a part). The loss is the sum over
    all targets of weight · error²/2, errors in eV or eV/atom, and eV/Å. With the weights 3000 and
    1, 1 meV/atom counts as much as 55 meV/Å: without the larger weight the force components, a
    hundred times as many or more, would dominate. On silicon (mlearn) 3000 gives test errors of 6.3
    meV/atom and 143 meV/Å, where 100 gives 27.5 and 138, and 1000 gives 7.6 and 142. With fewer
    than 20 structures, without forces and with --total the default is 1000. Virials are −volume ·
    stress.

    With --kernel 2 the model is a sparse kernel one: (x·x')² of the normalised SOAP rows of an atom
    and of --points atoms of its species in TRAIN, which are chosen to be far from one another. On
    silicon and lithium its errors of energies are 0.55 to 0.75 times those of the linear model, of
    forces 0.85 to 0.9 times, in two to three times the time.

    Labels are the calculator's energy, forces and stress, or the entries that the options --…-key
    name; a name may also be that of another result of the calculator, e.g. free_energy.

    TRAIN and TEST can also be .npz files with features of any model: "features" (n_rows,
    n_features), "groups" (n_rows,), the integer or string label of each row's structure (without
    it, each row is one), "energies" (n_structures,) and, if you like, "weights" and "labels"
    (n_structures,) and "species" (n_rows,). Energies are in the order of labels, or of the sorted
    groups: per atom, those of the mean row (default), or of the whole structure, those of the sum
    of rows (--total). A baseline is fitted by default if there are species.

    Writes the model with its Hessian (no pickle) and, if matplotlib is installed, the criteria for
    λ as .png beside it. Where λ is a number, and with auto where there are many features, this
    figure needs work that the fit does not, and is drawn only with --plot. Both replace those of an
    earlier fit, and other files only with --force.
    Prints the errors of the training set, the errors when each structure is left out, and the
    errors of TEST in the terms that it has labels of. The model is written before TEST is judged.
    """
    with in_lines():
        from_features = are_features(train)
        require(*["ase"] if from_features else ["ase", "featomic"])
        if from_features:
            refuse_options_of_structures(context, train)
        set_threads(threads)
        weight = WEIGHTS["energy"] if energy_weight is None else energy_weight
        terms = {
            "energy": _term(weight, per_atom, energy_huber, target=energy_key),
            "forces": _term(forces_weight, False, forces_huber, target=forces_key),
            "virial": _term(virial_weight, per_atom, virial_huber, target=virial_key, stress=stress_key),
        }
        loss = _loss(terms, missing=missing, weights=weights_key)
        loss = loss_of_rows(loss) if from_features else loss
        rule = as_regularizer(regularizer, *RULES)
        settings = descriptor(cutoff, body_orders, hyperparameters, pseudo_species, purified)
        sparse = sparse_kernel(kernel, points, body_orders)
        plot = _may_plot(plot, rule)
        check_places(outputs_of_fit(output, plot is not False), train, test, hyperparameters, force=force)
        known = read_training(train, loss, settings, progress_shown(progress))
        loss = with_default_weight(loss, len(known.frames)) if energy_weight is None else loss
        n_points = 0 if sparse is None else sparse.most_points
        plot = (n_points or known.soap.n_features) <= FEATURES_DRAWN if plot is None else plot
        outputs = outputs_of_fit(output, plot)
        asked = None if test is None else read_test(test, known, loss)
        announce(known.source, None if asked is None else asked.source, list(loss.terms), known.progress, n_points)
        ground = _baseline("none" if baseline is None and not known.has_species else baseline, loss)

        from rigidities.model.intercept import warn_of_missing_intercept
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
                kernel=sparse,
                keep_energies=plot or from_features,
                progress=known.progress,
            )
        if from_features:
            warn_of_missing_intercept(fitted, known.labelled_sizes)
        model = LinearModel.of_fit(fitted)
        with writing(output):  # before anything that may fail: a fit must not be lost
            model.save(output)
        evaluation, fault = (None, None) if asked is None else _evaluate(model, asked)
        errors = None if evaluation is None else evaluation.errors
        if plot:
            figure = regularizer_figure(fitted, None if evaluation is None else evaluation.energies)
            with writing(figure_of(output)):
                write_figure(figure, figure_of(output))
        seen = "" if asked is None or evaluation is None else _seen(model, asked, evaluation.energies)
        tested = None if asked is None else asked.source
        typer.echo(fit_table(model, fitted.n_missing, known.source, tested, errors, seen))
        typer.echo(f"\nWritten: {', '.join(map(str, outputs))}")
        if fault is not None:
            raise fault


def _may_plot(plot: bool | None, rule: float | str) -> bool | None:
    """Return whether to draw the figure of λ; None if that depends on the number of features.

    The figure needs a path of λ. Criteria have one; "auto" does without, and so does a number.
    """
    if plot is False or find_spec("matplotlib") is None:
        return False
    if plot or rule == "auto":
        return plot
    return isinstance(rule, str)


def _evaluate(model: LinearModel, asked: Labelled) -> tuple[Evaluation, None] | tuple[None, InputError]:
    """Compare the model with the test set, in one pass over its rows; return a fault of the set."""
    try:
        with blame(asked.name):
            return model.evaluate(asked.frames, keep_energies=True, progress=asked.progress), None
    except InputError as fault:
        return None, fault


def _seen(model: LinearModel, asked: Labelled, energies: TermRows | None) -> str:
    """Name the test structures that the model was fitted to, if all have energies."""
    from rigidities.report.against import seen_fact

    sizes = asked.source.sizes
    if energies is None or len(energies) != len(sizes) or model.training_set is None:
        return ""
    means = energies.values if energies.term.per_atom else energies.values / sizes[:, None]
    return seen_fact(asked.source.labels().labels, model.training_set.find_by_means(sizes, means))


# Values of options --------------------------------------------------------------------------------


def _term(weight: float, per_atom: bool, huber: float | None, **keys: str | None) -> dict[str, Any] | None:
    return None if weight == 0 else {"weight": weight, "per_atom": per_atom, "huber": huber} | keys


def _loss(terms: dict[str, dict[str, Any] | None], **common: Any) -> Loss:
    made = {}
    for name, settings in terms.items():
        with blame(f"--{name}-weight, --{name}-huber or --{name}-key"):
            made[name] = None if settings is None else Term(**settings, **common)
    if not any(made.values()):
        raise InputError("--energy-weight, --forces-weight and --virial-weight are all 0: there is nothing to fit")
    return Loss(**made)


def _baseline(text: str | None, loss: Loss) -> Any:
    """Return the baseline as `LossRows` takes it; by default "fit", if the loss has energies."""
    if text in (None, "fit", "none"):
        return "fit" if text == "fit" or (text is None and loss.energy is not None) else None
    from rigidities.structures.species import atomic_number, by_atomic_number

    energies = []
    for entry in str(text).split(","):
        symbol, _, energy = entry.partition("=")
        try:
            energies.append((atomic_number(symbol.strip()), float(energy)))
        except ValueError:
            raise InputError(f"--baseline {text}: expected fit, none, or energies like Si=-5.4,O=-3.1") from None
    with blame(f"--baseline {text}"):
        return by_atomic_number(energies)
