"""The line that says what the work takes, before it begins."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import typer

from rigidities.report.outlay import Outlay, outlay_of
from rigidities.report.text import size_text
from rigidities.runtime import memory
from rigidities.sources.atoms import Structures

if TYPE_CHECKING:
    from rigidities.sources.source import Source

LONG, MUCH = 20.0, 1e9
"""Seconds and bytes from which the line is printed also where no progress is shown."""

TOO_LONG = 300.0
"""Seconds from which fewer features are advised."""


def announce(train: Source, test: Source | None, terms: Collection[str], progress: bool, n_points: int = 0) -> None:
    """Print the sizes of the sets, and roughly what the work takes, in one line on stderr.

    Quick work is announced only if progress is shown. A kernel model has points of each species.
    """
    outlay = outlay_of(train, test, terms, n_points)
    if not (progress or outlay.seconds >= LONG or outlay.n_bytes >= MUCH):
        return
    sets = "; ".join(size_text(source) for source in (train, test) if source is not None)
    took = f"roughly {_time(outlay.seconds)} and {max(outlay.n_bytes / 1e9, 0.1):.1f} GB"
    typer.echo(f"rigidities: {sets}; {outlay.n_features:,} features: {took}{_advice(train, outlay)}", err=True)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _advice(train: Source, outlay: Outlay) -> str:
    """Advise fewer features if there are too many of several species."""
    free = memory.available()
    fits = free is None or outlay.n_bytes < free
    if not isinstance(train, Structures) or (fits and outlay.seconds < TOO_LONG):
        return ""
    from rigidities.interop.featomic import Soap

    fewer = train.soap.with_pseudo_species(2) if isinstance(train.soap, Soap) else None
    return "" if fewer is None else f"; --pseudo-species 2 makes {fewer.n_features:,} features"
