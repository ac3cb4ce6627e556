"""Errors and warnings in one line each on stderr, with advice that names options."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from rigidities.exceptions import Advice, Advised, InputError, OtherVersionWarning, worded

_SMALLER_DESCRIPTOR = "use fewer features: a smaller basis in --hyperparameters, or one body order"
_FEWER_STRUCTURES = "take part of the structures, e.g. file.xyz@:100"
_LOOSER_CRITERION = "choose another --regularizer: loo, or a number"

WORDS = {
    Advice.SKIP_UNLABELLED: "leave them out, or pass --missing skip for a set that is labelled in part",
    Advice.LABEL_OR_DROP_TERM: (
        "label them, leave them out, pass --missing skip for a set that is labelled in part, or pass --{term}-weight 0"
    ),
    Advice.DROP_TERM: "pass --{term}-weight 0",
    Advice.CORRECT_OR_DROP: "correct it, or leave the structure out",
    Advice.LEAVE_ONE_OUT: "choose it by leave-one-out, --regularizer loo",
    Advice.RAISE_REGULARIZER: "raise --regularizer",
    Advice.RAISE_OR_AUTO: "raise --regularizer; auto takes the smallest that is resolved",
    Advice.LARGER_OR_OTHER_CRITERION: _LOOSER_CRITERION,
    Advice.OTHER_CRITERION: "choose another --regularizer",
    Advice.GIVE_REGULARIZER: "pass a number as --regularizer",
    Advice.ERRORS_ON_OTHERS: "choose the weights by errors on other structures",
    Advice.RAISE_PEER_REGULARIZER: "raise --regularizer",
    Advice.MORE_ITERATIONS: "raise the thresholds, --energy-huber, --forces-huber or --virial-huber",
    Advice.COMPARE_VERSIONS: "compare structures whose predictions are known, install that version, or fit again",
    Advice.FEWER_FEATURES: _SMALLER_DESCRIPTOR,
    Advice.MERGE_IN_PLACE: _SMALLER_DESCRIPTOR,
    Advice.FACTORIZE_WITHOUT: _SMALLER_DESCRIPTOR,
    Advice.CONSUME: _SMALLER_DESCRIPTOR,
    Advice.FEWER_FEATURES_OR_ONE_LAMBDA: f"pass a number as --regularizer and --no-plot, or {_SMALLER_DESCRIPTOR}",
    Advice.FLOAT64: _SMALLER_DESCRIPTOR,
    Advice.FEWER_COMPONENTS: "use one body order",
    Advice.FEWER_AT_A_TIME: _FEWER_STRUCTURES,
    Advice.FEWER_REGULARIZERS: "pass a number as --regularizer and --no-plot",
    Advice.FEWER_REGULARIZERS_OR_TARGETS: "pass a number as --regularizer and --no-plot",
    Advice.FEWER_BLOCKS: _FEWER_STRUCTURES,
    Advice.SMALLER_BATCHES: _SMALLER_DESCRIPTOR,
    Advice.FREE_MEMORY: "free some memory first",
}
"""Each `Advice` in terms of options."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exit with one line on stderr and code 2 if an input cannot be used."""
    try:
        yield
    except InputError as error:
        typer.echo(f"rigidities: error: {worded(error, WORDS)}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning in one line on stderr, after the work."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                message = warning.message
                if isinstance(message, RuntimeWarning | OtherVersionWarning):
                    text = worded(message, WORDS) if isinstance(message, Advised) else str(message)
                    typer.echo(f"rigidities: warning: {' '.join(text.split())}", err=True)
