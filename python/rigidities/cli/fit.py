"""The command line's `rigidities fit` and `rigidities score`: a linear model from structures, and what it predicts.

What enters: names of files, and options. What leaves: files, tables on the terminal. Everything is computed in
`fitting` and `model`, and told in `fitting_report`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rigidities.cli.messages import blame_in_options, one_line_errors, warnings_as_lines
from rigidities.cli.options import (
    BodyOrders,
    Cutoff,
    Hyperparameters,
    Progress,
    Threads,
    descriptor,
    progress_shown,
    require,
    require_place,
    set_threads,
)
from rigidities.cli.options import regularizer as as_regularizer
from rigidities.exceptions import InputError, blame
from rigidities.loss.terms import Loss, Term
from rigidities.sources.read import read_test, read_training

if TYPE_CHECKING:
    from rigidities.model.errors import Errors
    from rigidities.model.training import ModelFit
    from rigidities.sources.atoms import Structures


def fit(
    train: Annotated[str, typer.Argument(help="Structures with energies, forces or stresses.", metavar="TRAIN")],
    test: Annotated[str | None, typer.Argument(help="Structures to take errors of.", metavar="[TEST]")] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the model, e.g. model.safetensors.")],
    energy_weight: Annotated[float, typer.Option(min=0, help="Weight of energies; 0 leaves them out.")] = 1000.0,
    forces_weight: Annotated[float, typer.Option(min=0, help="Weight of force components; 0 leaves them out.")] = 1.0,
    virial_weight: Annotated[float, typer.Option(min=0, help="Weight of virials; 0 leaves them out.")] = 0.0,
    per_atom: Annotated[bool, typer.Option("--per-atom/--total", help="Of what energies and virials are.")] = True,
    energy_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV (per atom).")] = None,
    forces_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV/Å.")] = None,
    virial_huber: Annotated[float | None, typer.Option(help="Huber's threshold in eV (per atom).")] = None,
    energy_key: Annotated[str | None, typer.Option(help="Name of energies in info, if not the calculator's.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Name of forces in arrays, likewise.")] = None,
    virial_key: Annotated[str | None, typer.Option(help="Name of virials in info (eV), likewise.")] = None,
    missing: Annotated[
        Literal["refuse", "skip"], typer.Option(help="What happens to structures without a target.")
    ] = "refuse",
    baseline: Annotated[
        str | None, typer.Option(help="Energies of the species: fit (default), none, or e.g. Si=-5.4,O=-3.1.")
    ] = None,
    regularizer: Annotated[
        str, typer.Option(help="λ ≥ 0; auto or evidence, gcv, loo: the best by that criterion.")
    ] = "auto",
    cutoff: Cutoff = None,
    body_orders: BodyOrders = "3",
    hyperparameters: Hyperparameters = None,
    plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the criteria for λ beside the model.")] = True,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Fit a linear model of SOAP features to energies, forces and virials, and keep how far the data hold it.

    TRAIN and TEST are files that ASE reads ("file.xyz@:100" takes a part). The loss is the sum over all targets of
    weight · error²/2, errors in eV (per atom) and eV/Å. With the weights 1000 and 1, 1 meV per atom counts as much as
    32 meV/Å: force components are a hundred times as many as energies, or more, and would outvote them. On silicon
    (mlearn) 1000 gives test errors of 7.6 meV/atom and 142 meV/Å where 100 gives 27.5 and 138. Virials are
    −volume · stress.

    Writes the model (no pickle) and, where matplotlib is there, the criteria for λ as .png beside it; files that exist
    are replaced. Prints the errors of the training set, of fits without the structure in question, and of TEST.
    """
    with one_line_errors(), warnings_as_lines():
        require("ase", "featomic")
        set_threads(threads)
        terms = {
            "energy": _term(energy_weight, per_atom, energy_huber, missing, energy_key),
            "forces": _term(forces_weight, False, forces_huber, missing, forces_key),
            "virial": _term(virial_weight, per_atom, virial_huber, missing, virial_key),
        }
        loss = _loss(terms)
        rule = as_regularizer(regularizer, "auto", "evidence", "gcv", "loo")
        ground = _baseline(baseline, loss)
        settings = descriptor(cutoff, body_orders, hyperparameters)
        require_place(output)
        known = read_training(train, settings, progress_shown(progress))
        asked = None if test is None else read_test(test, known)

        from rigidities.model.training import fit_model
        from rigidities.report.model import fit_table

        options: Any = {"baseline": ground, "regularizer": rule, "progress": known.progress}
        with blame_in_options(train):
            fitted = fit_model(known.frames, known.soap, loss, **options)
        typer.echo(fit_table(fitted, known, asked, _test_errors(fitted, asked)))
        typer.echo(f"\nWritten: {', '.join(map(str, _write_fit(fitted, asked, output, plot)))}")


def _test_errors(fitted: ModelFit, asked: Structures | None) -> dict[str, Errors]:
    if asked is None:
        return {}
    with blame_in_options(asked.name):
        return fitted.model.errors(asked.frames, progress=asked.progress)


def _write_fit(fitted: ModelFit, asked: Structures | None, output: Path, plot: bool) -> list[Path]:
    """Write the model, and the criteria for λ beside it; return the files."""
    from rigidities.report.model import regularizer_figure

    fitted.model.save(output)
    if not plot or find_spec("matplotlib") is None:
        return [output]
    picture = output.with_suffix(".png")
    regularizer_figure(fitted, asked).savefig(picture)
    return [output, picture]


# What options mean ------------------------------------------------------------------------------------------


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
    """Return what `LossRows` takes; by default a fit, where there are energies."""
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
