"""`rigidities select`: which candidate structures to compute next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from rigidities.cli.messages import OF_MODEL, in_lines
from rigidities.cli.options import (
    Force,
    Progress,
    Threads,
    counted,
    load_model,
    progress_shown,
    require,
    set_threads,
    writing,
)
from rigidities.cli.places import check_places, outputs_of_select
from rigidities.exceptions import InputError, blame
from rigidities.loss.terms import Loss
from rigidities.sources.feature_files import are_features
from rigidities.sources.read import read_for_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rigidities.model.linear import LinearModel
    from rigidities.planning.selection import Objective, Selection
    from rigidities.report.picks import Picked
    from rigidities.sources.source import Source

OBJECTIVE = (
    "What the picks improve: target_variance (by default with --targets), determinant (by default without), "
    "target_rigidity, or variance."
)
OF = "Targets are the energies of the structures of --targets, or those of their atoms."
COST = "Each structure costs one, or as many as it has atoms."
BUDGET = "The most that the picks may cost together, in place of -n."


def select(
    candidates: Annotated[
        str, typer.Argument(help="Structures to choose from, without labels; or features (.npz).", metavar="CANDIDATES")
    ],
    model: Annotated[Path, typer.Option(help="Model that `rigidities fit` wrote: what is known already.")],
    number: Annotated[int | None, typer.Option("--number", "-n", min=1, help="Structures to pick.")] = None,
    targets: Annotated[
        str | None, typer.Option(help="Structures, or features, whose predictions are to become rigid.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The picks: picks.xyz by default; of features picks.csv."),
    ] = None,
    objective: Annotated[
        Literal["determinant", "target_rigidity", "target_variance", "variance"] | None,
        typer.Option(help=OBJECTIVE, show_default=False),
    ] = None,
    of: Annotated[Literal["structures", "atoms"], typer.Option(help=OF)] = "structures",
    cost: Annotated[Literal["structures", "atoms"], typer.Option(help=COST)] = "structures",
    budget: Annotated[float | None, typer.Option(min=0, help=BUDGET)] = None,
    forces: Annotated[
        bool, typer.Option("--forces/--no-forces", help="Picks bring forces and virials, if the loss has them.")
    ] = True,
    swaps: Annotated[int, typer.Option(min=0, help="Exchanges of a pick for another candidate afterwards.")] = 0,
    force: Force = False,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Pick the candidates that say most, about given predictions or about the model.

    A structure that is computed brings its energy, and forces and virials if the loss of the model
    has them. Each step takes the candidate that improves the objective most, in view of the picks
    before: two structures that are alike are not both taken. Labels are not needed. With --targets,
    picks lower the mean variance of these structures' energies; without, they raise the determinant
    of the Hessian, which is what all data say about the model. target_rigidity, the published
    choice, raises the mean rigidity of the targets, which the most rigid of them lead: on silicon
    and lithium errors of the least rigid ones then stayed longer.

    Candidates that are in the training set of the model are left out.

    Writes the picks in their order as extended XYZ (info rank, structure, gain), and beside them
    .csv, .json and a figure of the objective, .png. Files of an earlier run are replaced, others
    only with --force. The rows of all candidates are held in memory.
    """
    with in_lines(OF_MODEL):
        from_features = are_features(candidates)
        require(*[] if from_features else ["ase", "featomic"], "matplotlib")
        set_threads(threads)
        if number is None and budget is None:
            raise InputError("-n or --budget: say how many structures to pick, or what they may cost")
        rule = _objective(objective, targets)
        place = output if output is not None else Path("picks.csv" if from_features else "picks.xyz")
        outputs = outputs_of_select(place, from_features)
        check_places(outputs, candidates, targets, model, force=force)
        known = load_model(model)
        shown = progress_shown(progress)
        pool = read_for_model(candidates, known, str(model), shown)
        asked = None if targets is None else read_for_model(targets, known, str(model), shown)
        loss = known.loss if forces else replace(known.loss, forces=None, virial=None)
        if not loss.terms:
            raise InputError(f"--no-forces: the loss of {model} has no energies")
        seen = _in_training_set(known, pool)
        _require_affordable(pool, seen, number, budget, cost)
        with counted("picks", shown) as show:
            picked = _pick(known, pool, seen, loss, asked, rule, of, cost, number, budget, swaps, show)
        _write(picked, place, outputs)
        for line in picked.lines():
            typer.echo(line)
        typer.echo(f"\nWritten: {', '.join(map(str, outputs))}")


def _objective(objective: Objective | None, targets: str | None) -> Objective:
    """Return the objective that was asked for, or the one for targets."""
    rule: Objective = objective or ("determinant" if targets is None else "target_variance")
    if rule.startswith("target") and targets is None:
        raise InputError(f"--objective {rule}: needs --targets, the structures whose predictions matter")
    if not rule.startswith("target") and targets is not None:
        raise InputError(f"--objective {rule}: looks at no targets; leave --targets out")
    return rule


def _pick(
    model: LinearModel,
    pool: Source,
    seen: NDArray[np.int64],
    loss: Loss,
    asked: Source | None,
    objective: Objective,
    of: Literal["structures", "atoms"],
    cost: str,
    number: int | None,
    budget: float | None,
    swaps: int,
    show: Callable[[int, int], None],
) -> Picked:
    from rigidities.planning.selection import select as select_rows
    from rigidities.report.picks import Picked, costs_of
    from rigidities.sources.target_rows import candidate_rows

    rows = candidate_rows(pool, loss)
    arguments: dict[str, Any] = {} if asked is None else {"targets": _target_rows(asked, model.loss, of)}
    if cost == "atoms":
        arguments["costs"] = costs_of(pool, cost)
    with blame(pool.name):
        found: Selection = select_rows(
            model.hessian,
            rows.values,
            number,
            weights=rows.weights,
            blocks=rows.blocks,
            objective=objective,
            budget=budget,
            forbidden=seen,
            n_swaps=swaps,
            progress=show,
            **arguments,
        )
    return Picked.of(found, pool, asked, objective, len(seen), cost)


def _require_affordable(
    pool: Source, seen: NDArray[np.int64], number: int | None, budget: float | None, cost: str
) -> None:
    """Raise unless as many can be picked as are asked for, and the budget allows one."""
    from rigidities.report.picks import costs_of

    able = np.delete(costs_of(pool, cost), seen)
    if not len(able):
        raise InputError(f"{pool.name}: all structures are in the training set of the model: none is left to pick")
    if number is not None and number > len(able):
        left_out = f", as {len(seen):,} are in the training set of the model" if len(seen) else ""
        raise InputError(f"-n {number}: {pool.name} has {len(able):,} structures to pick from{left_out}; ask for fewer")
    if budget is not None and not able.min() <= budget < np.inf:
        raise InputError(
            f"--budget {budget:g}: expected a finite number, at least {able.min():g}, the least that a structure costs "
            f"with --cost {cost}"
        )


def _target_rows(asked: Source, loss: Loss, of: Literal["structures", "atoms"]) -> NDArray[np.float64]:
    """Return the rows of the targets; refuse rows of zeros, whose predictions are certain."""
    from rigidities.sources.target_rows import query_rows

    rows = query_rows(asked, loss, of)
    zero = np.flatnonzero(~rows.any(axis=1))
    if len(zero):
        atoms = asked.labels()
        label = (atoms.labels if of == "structures" else atoms.structures)[zero[0]]
        atom = "" if of == "structures" else f" of atom {atoms.atoms[zero[0]]}"
        raise InputError(
            f"{asked.name}: the features{atom} of structure {label} are all 0, so that its prediction is certain: "
            "leave it out of the targets"
        )
    return rows


def _in_training_set(model: LinearModel, pool: Source) -> NDArray[np.int64]:
    """Return the candidates that are in the training set of the model."""
    from rigidities.report.against import prints_of

    if model.training_set is None:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(model.training_set.find(prints_of(pool)) >= 0).astype(np.int64)


def _write(picked: Picked, place: Path, outputs: Any) -> None:
    with writing(*outputs):
        picked.write(place)
