"""`rigidities demo`: rigidities of the silicon structures that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rigidities.cli.messages import in_lines
from rigidities.cli.options import Force, Threads, require, set_threads, writing
from rigidities.cli.places import check_places, outputs_of_demo
from rigidities.demo import choose_regularizer, compare, comparison, load_parts, premise, write_demo
from rigidities.report.atom_map import map_of


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write into.")] = Path("rigidities-demo"),
    force: Force = False,
    threads: Threads = None,
) -> None:
    """Show rigidities of silicon atoms before and after a model is trained on defects.

    The structures are part of the package. Half of each kind are for training, half for testing.
    Writes a report and a map for each of the two models.
    """
    with in_lines():
        require("ase", "featomic", "matplotlib", "chemiscope")
        set_threads(threads)
        outputs = outputs_of_demo(output)
        check_places(outputs, force=force)
        before, after, test = load_parts()
        regularizer, error = choose_regularizer(before)
        typer.echo(premise(before, after, regularizer, error))
        atom_map = map_of(after.source, test.source)
        reports = compare((before, after), test, regularizer, atom_map)
        typer.echo(comparison(reports, test))
        with writing(*outputs):
            write_demo(reports, test, atom_map, output)
        typer.echo(f"\nMaps and both reports are in {output}; open a viewer.json.gz on https://chemiscope.org")
