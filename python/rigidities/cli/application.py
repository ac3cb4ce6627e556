"""The application: its own options, and the commands of the other files."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

from rigidities._core import __version__
from rigidities.cli.calibrate import calibrate
from rigidities.cli.demo import demo
from rigidities.cli.fit import fit
from rigidities.cli.foreign import foreign_lines_aside
from rigidities.cli.learn import learn
from rigidities.cli.overlap import overlap
from rigidities.cli.report import report
from rigidities.cli.score import score
from rigidities.cli.select import select

app = typer.Typer(
    name="rigidities",
    help="How firmly do the training data determine a prediction?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def run() -> None:
    """Run the command that the arguments of the process name."""
    for stream in (sys.stdout, sys.stderr):
        _make_unicode(stream)
    with foreign_lines_aside():
        app()


def _make_unicode(stream: Any) -> None:
    """Write UTF-8 where the encoding of a stream lacks a character of the texts (cp1252: λ, σ)."""
    if not isinstance(stream, io.TextIOWrapper):  # closed, or replaced by a program that has its own
        return
    try:
        "Å−·²½λΛσΣ√–…".encode(stream.encoding)
    except (UnicodeEncodeError, LookupError):
        stream.reconfigure(encoding="utf-8")


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
    """Handle the options before a command."""


for command in (report, demo, fit, score, calibrate, select, learn, overlap):
    app.command()(command)
