"""Errors and warnings in one line each on stderr, with advice that names options."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer

from rigidities.exceptions import Advice, Advised, InputError, worded

_SMALLER_DESCRIPTOR = (
    "use fewer features: --pseudo-species 2 if there are four species or more, a smaller basis in --hyperparameters, "
    "or one body order"
)
_FEWER_STRUCTURES = "take part of the structures, e.g. file.xyz@:100"
_LOOSER_CRITERION = "choose another --regularizer: loo, or a number"

WORDS = {
    Advice.SKIP_UNLABELLED: "leave them out, or pass --missing skip for a set that is labelled in part",
    Advice.LABEL_OR_DROP_TERM: (
        "label them, leave them out, pass --missing skip for a set that is labelled in part, or pass --{term}-weight 0"
    ),
    Advice.NAME_LABELS: "pass {labels:--%(kind)s-key %(name)s }",
    Advice.DROP_TERM: "pass --{term}-weight 0",
    Advice.CORRECT_OR_DROP: "correct it, or leave the structure out",
    Advice.CONVERT_STRESSES: (
        "convert them: --virial-key expects virials, −volume · stress in eV, --stress-key stresses in eV/Å³, positive "
        "under tension"
    ),
    Advice.MORE_STRUCTURES: "fit to more structures",
    Advice.TOTAL_ENERGIES: "pass --total, or divide them by the sizes of the groups",
    Advice.FIT_BASELINE: "pass --baseline fit, or add a column of ones to the features",
    Advice.LEAVE_ONE_OUT: "choose it by leave-one-out, --regularizer loo",
    Advice.RAISE_REGULARIZER: "raise --regularizer",
    Advice.LOWER_REGULARIZER: "pass a smaller --regularizer",
    Advice.RAISE_OR_AUTO: "raise --regularizer; auto takes the smallest that is resolved",
    Advice.LARGER_OR_OTHER_CRITERION: _LOOSER_CRITERION,
    Advice.SMALLER_REGULARIZERS: "compare with a smaller number as --regularizer",
    Advice.WHITEN_ROWS: "pass rows whitened by rigidities.Whitening as features",
    Advice.GIVE_REGULARIZER: "pass a number as --regularizer",
    Advice.LOOK_FOR_OUTLIERS: "look for a wrong label, or choose another --regularizer",
    Advice.ERRORS_ON_OTHERS: "choose the weights by errors on other structures",
    Advice.RAISE_PEER_REGULARIZER: "raise --regularizer",
    Advice.OTHER_COMPONENTS: "use --body-orders 2,3 --purified, or add data that tell them apart",
    Advice.MORE_ITERATIONS: "raise the thresholds, --energy-huber, --forces-huber or --virial-huber",
    Advice.OTHER_COMPOSITIONS: "fit to structures of other compositions, too, or pass energies of atoms by --baseline",
    Advice.COMPARE_VERSIONS: "compare structures whose predictions are known, install that version, or fit again",
    Advice.FEWER_FEATURES: _SMALLER_DESCRIPTOR,
    Advice.FEWER_ATOM_ROWS: f"{_FEWER_STRUCTURES}, or {_SMALLER_DESCRIPTOR}",
    Advice.MERGE_IN_PLACE: _SMALLER_DESCRIPTOR,
    Advice.FACTORIZE_WITHOUT: _SMALLER_DESCRIPTOR,
    Advice.CONSUME: _SMALLER_DESCRIPTOR,
    Advice.FEWER_FEATURES_OR_ONE_LAMBDA: f"pass a number as --regularizer and --no-plot, or {_SMALLER_DESCRIPTOR}",
    Advice.FLOAT64: _SMALLER_DESCRIPTOR,
    Advice.FEWER_COMPONENTS: "use one body order",
    Advice.FEWER_AT_A_TIME: _FEWER_STRUCTURES,
    Advice.FEWER_MEMBERS: "pass a smaller --ensemble",
    Advice.FEWER_REGULARIZERS: "pass a number as --regularizer and --no-plot",
    Advice.FEWER_REGULARIZERS_OR_TARGETS: "pass a number as --regularizer and --no-plot",
    Advice.FEWER_BLOCKS: _FEWER_STRUCTURES,
    Advice.SORTED_BLOCKS: Advice.SORTED_BLOCKS.value,
    Advice.FEWER_CANDIDATES: "choose from fewer structures, or use a smaller descriptor",
    Advice.SMALLER_BATCHES: _SMALLER_DESCRIPTOR,
    Advice.CHECK_CELL: "check its cell and the unit of its positions, or use a smaller --cutoff",
    Advice.FREE_MEMORY: "free some memory first",
}
"""Each `Advice` in terms of options."""


OF_MODEL = {
    Advice.RAISE_REGULARIZER: "fit the model with a larger --regularizer",
    Advice.LOWER_REGULARIZER: "fit the model with a smaller --regularizer",
    Advice.RAISE_OR_AUTO: "fit the model with a larger --regularizer; auto takes the smallest that is resolved",
}
"""Advice in a command that has a fitted model, and no --regularizer."""

OF_SIZES = {
    Advice.LEAVE_ONE_OUT: "choose it by leave-one-out, `rigidities fit --regularizer loo`, and pass the model, --model",
    Advice.LARGER_OR_OTHER_CRITERION: "pass a number as --regularizer",
    Advice.LOOK_FOR_OUTLIERS: "look for a wrong label, or pass a number as --regularizer",
}
"""Advice in `learn`, whose --regularizer is a number or auto."""


@contextmanager
def in_lines(changed: Mapping[Advice, str] | None = None) -> Iterator[None]:
    """Run a command with messages of one line on stderr: errors, with exit code 2, and warnings.

    Parameters
    ----------
    changed : mapping of Advice to str, optional
        Advice that is worded otherwise than in `WORDS`, because the command has other options.
    """
    words = WORDS | dict(changed or {})
    with _errors_as_lines(words), _warnings_as_lines(words):
        yield


@contextmanager
def _errors_as_lines(words: Mapping[Advice, str]) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        text = worded(error, words)
    except (BrokenPipeError, ConnectionError):
        raise  # the reader of the output is gone
    except OSError as error:
        text = f"{error.filename or 'a file'}: {error.strerror or error}"
    except MemoryError as error:
        text = worded(error, words) or f"there is not enough memory; {WORDS[Advice.FREE_MEMORY]}"
    else:
        return
    typer.echo(f"rigidities: error: {' '.join(text.split())}", err=True)
    raise typer.Exit(2)


FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
"""Warnings about the code of the package or of a library, of no use to users of the command."""


@contextmanager
def _warnings_as_lines(words: Mapping[Advice, str]) -> Iterator[None]:
    """Print what libraries warn of, or log, in one line on stderr, once, after the work."""
    logged = _Logged(logging.WARNING)  # without a handler, `logging` prints messages as they are
    logging.getLogger().addHandler(logged)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            logging.getLogger().removeHandler(logged)
            messages = [one.message for one in caught if not issubclass(one.category, FOR_DEVELOPERS)]
            texts = [worded(m, words) if isinstance(m, Advised) else str(m) for m in messages] + logged.texts
            for text in dict.fromkeys(" ".join(text.split()) for text in texts):
                typer.echo(f"rigidities: warning: {text}", err=True)


class _Logged(logging.Handler):
    """A handler that keeps the texts of messages."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a message."""
        self.texts.append(record.getMessage())
