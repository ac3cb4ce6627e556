"""The command line: `rigidities report` and `rigidities demo`; `fit` and `score` are in `cli_fit`.

What enters: names of files, and options. What leaves: files, a table on the terminal, an exit code. What cannot be used
is said in one line on stderr, with exit code 2; Ctrl-C ends with 130; anything else that goes wrong is a bug and shows
its traceback. Nothing heavy is imported before it is needed: `rigidities --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from rigidities import __version__
from rigidities.cli_fit import fit, score
from rigidities.demo import choose_regularizer, compare, comparison, load_parts, premise, write_demo
from rigidities.options import (
    BodyOrders,
    Cutoff,
    Hyperparameters,
    Progress,
    Threads,
    descriptor,
    one_line_errors,
    require,
    set_threads,
)
from rigidities.options import regularizer as as_regularizer
from rigidities.plot import fit_map, write
from rigidities.report import PR_IS, Report, by_class, describe, make_directory, make_report
from rigidities.sources.atoms import Structures
from rigidities.sources.read import Source, read_sources
from rigidities.tables import fact_lines, quantile_head, quantile_row

app = typer.Typer(
    name="rigidities",
    help="How far do the training data pin down a prediction?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rigidities {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that go before a command."""


# Commands ---------------------------------------------------------------------------------------------------


@app.command()
def report(
    train: Annotated[str, typer.Argument(help="Training structures, or features as .npz.", metavar="TRAIN")],
    test: Annotated[str, typer.Argument(help="Test structures, or features as .npz.", metavar="TEST")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write into; made if absent.")],
    regularizer: Annotated[
        str, typer.Option(help="λ ≥ 0 in H = C + λ, or auto: the least λ that rounding allows.")
    ] = "auto",
    reduction: Annotated[
        Literal["mean", "sum"], typer.Option(help="Targets are energies per atom (mean) or total (sum).")
    ] = "mean",
    cutoff: Cutoff = None,
    body_orders: BodyOrders = "3",
    hyperparameters: Hyperparameters = None,
    group_key: Annotated[
        str | None, typer.Option(help="Name in info of a structure's kind; by default group, or config_type.")
    ] = None,
    threads: Threads = None,
    progress: Progress = None,
) -> None:
    """Report how far a training set pins down each test structure (PR) and each of its atoms (LPR).

    TRAIN and TEST are files that ASE reads ("file.xyz@:100" takes a part), from which SOAP features are made; or .npz
    files of any model's features: "features" (n_rows, n_features), and if you like "groups" (n_rows,), the integer
    label of each row's structure (without it, each row is one), and "species" (n_rows,).

    Writes rigidities.xyz (array lpr, info pr; from features: rigidities.npz with lpr, pr, labels), summary.json,
    lpr_map.png and viewer.json.gz (for https://chemiscope.org; not from features). Files that exist are replaced.
    The map shows the principal components of training and test atoms together, at most 3000 of each.
    """
    with one_line_errors():
        from_features = train.endswith(".npz") and test.endswith(".npz")
        require(*[] if from_features else ["ase", "featomic", "chemiscope"], "matplotlib")
        set_threads(threads)
        value = as_regularizer(regularizer, "auto")
        settings = descriptor(cutoff, body_orders, hyperparameters)
        directory = make_directory(output)
        sources = read_sources(train, test, settings, sys.stderr.isatty() if progress is None else progress)
        atom_map = fit_map(*sources)
        made = make_report(*sources, regularizer=value, reduction=reduction, group_key=group_key, atom_map=atom_map)
        for warning in made.warnings:
            typer.echo(f"rigidities: warning: {warning}", err=True)
        typer.echo(table(made))
        typer.echo(f"\nWritten to {directory}: {', '.join(write(made, atom_map, directory))}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write into.")] = Path("rigidities-demo"),
    threads: Threads = None,
) -> None:
    """Show on silicon what a rigidity tells: which atoms a model knows, before and after it has seen defects.

    The structures come with the package: half of each kind for training, half for testing.
    Writes the reports of both models, and maps.
    """
    with one_line_errors():
        require("ase", "featomic", "matplotlib", "chemiscope")
        set_threads(threads)
        directory = make_directory(output)
        before, after, test = load_parts()
        regularizer, error = choose_regularizer(before)
        typer.echo(premise(before, after, regularizer, error))
        atom_map = fit_map(after.source, test.source)
        reports = compare((before, after), test, regularizer, atom_map)
        typer.echo(comparison(reports, test))
        write_demo(reports, atom_map, directory)
        typer.echo(f"\nMaps and both reports are in {directory}; open a viewer.json.gz on https://chemiscope.org")


# The commands of a fitted model, told in a file of their own.
app.command()(fit)
app.command("score")(score)


# Tables -----------------------------------------------------------------------------------------------------

TABLE_ROWS = 30
"""Labels of a class that the terminal shows; summary.json has them all."""


def table(report: Report) -> str:
    """Return the report as text of at most 100 columns."""
    scores = report.scores
    lines = [*_heading(report), "", quantile_head("LPR", "atoms"), quantile_row("all", describe(scores.lpr))]
    for name, labels in report.classes.items():
        lines += [name, *_rows(by_class(scores.lpr, labels))]
    lines += ["", quantile_head(f"PR {PR_IS[report.reduction]}", "number"), quantile_row("all", describe(scores.pr))]
    if report.kinds is not None:
        lines += _rows(by_class(scores.pr, report.kinds))
    for head, names, columns in (("LCPR", report.body_orders, scores.lcpr), ("CPR", report.components, scores.cpr)):
        parts = {name: describe(column) for name, column in zip(names, columns.T, strict=True)}
        lines += ["", quantile_head(head, "number"), *_rows(parts)] if parts else []
    return "\n".join([*lines, "", *_least_rigid(report)])


def _heading(report: Report) -> list[str]:
    hessian, test = report.hessian, report.test
    facts = {
        "training set": _size(report.train),
        "test set": _size(test),
        "features": f"{test.n_features} as given",
        "regularizer": f"{hessian.regularizer:.3g} ({hessian.regularizer_reason})",
        "determined": f"{hessian.effective_dimension:.1f} of {test.n_features} directions; rcond {hessian.rcond:.1e}",
    }
    if isinstance(test, Structures):
        orders = ", ".join(map(str, test.soap.body_orders))
        facts["features"] = f"{test.n_features} of SOAP: cutoff {test.soap.cutoff:g} Å, body orders {orders}"
    return fact_lines(facts)


def _size(source: Source) -> str:
    return f"{source.name}: {len(source.sizes):,} structures, {source.sizes.sum():,} atoms"


def _rows(descriptions: dict[str, dict[str, float]]) -> list[str]:
    rows = [quantile_row(f"  {name}", description) for name, description in descriptions.items()]
    rest = len(rows) - TABLE_ROWS
    return rows if rest <= 0 else [*rows[:TABLE_ROWS], f"  and {rest} more: see summary.json"]


def _least_rigid(report: Report) -> list[str]:
    """Return where the ten least rigid atoms are."""
    chosen = report.least_rigid()
    columns: dict[str, Any] = {"structure": report.structures[chosen], "atom": report.atoms[chosen]}
    columns["LPR"] = np.array([f"{lpr:.2g}" for lpr in report.scores.lpr[chosen]])
    columns |= {name: labels[chosen] for name, labels in report.classes.items()}
    if isinstance(report.test, Structures):
        places = zip(columns["structure"], columns["atom"], strict=True)
        positions = np.array([report.test.frames[structure].positions[atom] for structure, atom in places])
        columns |= {f"{axis} in Å": np.char.mod("%.2f", x) for axis, x in zip("xyz", positions.T, strict=True)}
    texts = [[name, *map(str, column)] for name, column in columns.items()]
    widths = [min(20, max(map(len, column))) for column in texts]
    cells = [[f"{text:>{width}.{width}}" for text in column] for column, width in zip(texts, widths, strict=True)]
    return ["least rigid atoms, counted from 0", *("  ".join(row) for row in zip(*cells, strict=True))]
