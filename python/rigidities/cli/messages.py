"""Errors and warnings in one line each, in the words of the command line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from rigidities.exceptions import InputError, OtherVersionWarning, blame


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End with one line on stderr and exit code 2 where what was given cannot be used."""
    try:
        yield
    except InputError as error:
        typer.echo(f"rigidities: error: {error}", err=True)
        raise typer.Exit(2) from None


IN_OPTIONS = {
    'pass Term(missing="skip")': "pass --missing skip",
    "pass energy=None": "pass --energy-weight 0",
    "pass forces=None": "pass --forces-weight 0",
    "pass virial=None": "pass --virial-weight 0",
}
"""What messages advise, in the words of the command line."""


@contextmanager
def blame_in_options(name: str) -> Iterator[None]:
    """As `blame`, with advice in the words of the command line."""
    try:
        with blame(name):
            yield
    except InputError as error:
        text = str(error)
        for advice, option in IN_OPTIONS.items():
            text = text.replace(advice, option)
        raise InputError(text) from error


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Say each warning in one line on stderr, when the work is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, RuntimeWarning | OtherVersionWarning):
                    typer.echo(f"rigidities: warning: {' '.join(str(warning.message).split())}", err=True)
