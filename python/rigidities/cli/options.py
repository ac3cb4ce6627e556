"""Options that several commands share: their types, and the conversion of their texts."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rigidities._core import MAX_THREADS
from rigidities.cli.interrupts import files_whole
from rigidities.exceptions import InputError, blame
from rigidities.report.files import make_directory
from rigidities.runtime.threads import set_num_threads
from rigidities.runtime.writing import without_empty
from rigidities.structures.read import require_file

if TYPE_CHECKING:
    from rigidities.model.kernel import SparseKernel
    from rigidities.model.linear import LinearModel

REGULARIZER = (
    "λ ≥ 0, or the rule that chooses it: loo (each structure left out), evidence, gcv or auto (the maximum of the "
    "evidence; without labels, the smallest λ that rounding allows)."
)
"""Help of --regularizer: auto means one thing in all commands."""

RULES = "auto", "evidence", "gcv", "loo"
"""Rules that choose λ."""

TOP_HELP = "Structures in the list of what to compute next, and in the file of them."

Threads = Annotated[int | None, typer.Option(min=1, help="Number of threads; all by default.")]
Progress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Show progress; by default on a terminal only.")
]
Cutoff = Annotated[float | None, typer.Option(help="Radius of the SOAP neighbourhood in Å; 5 by default.")]
BodyOrders = Annotated[str, typer.Option(help="2, 3 or 2,3: radial spectrum, power spectrum, both.")]
EnergyKey = Annotated[str | None, typer.Option(help="Name of energies in info; the calculator's by default.")]
ForcesKey = Annotated[str | None, typer.Option(help="Name of forces in arrays; the calculator's by default.")]
Hyperparameters = Annotated[
    Path | None, typer.Option(help="JSON file of featomic's hyper-parameters, in place of --cutoff.")
]
PseudoSpecies = Annotated[
    int | None,
    typer.Option(min=1, help="Channels that the neighbours' species are mixed into: 2 for four species or more."),
]
Purified = Annotated[
    bool, typer.Option("--purified", help="Body order 3 without its two-body part; with --body-orders 2,3.")
]

Kernel = Annotated[
    int | None,
    typer.Option(min=1, help="Fit a sparse kernel model, (x·x')^ζ of normalised SOAP rows, with this ζ, e.g. 2."),
]
Points = Annotated[
    str | None,
    typer.Option(help="Representative atoms of each species of a kernel model, 500 by default; or e.g. H=300,O=100."),
]

Force = Annotated[bool, typer.Option("--force", help="Replace existing files of any kind; inputs are never replaced.")]


OF_DESCRIPTOR = ("cutoff", "body_orders", "hyperparameters", "pseudo_species", "purified")
OF_STRUCTURES = (
    *("forces_weight", "virial_weight", "forces_huber", "virial_huber"),
    *("energy_key", "forces_key", "virial_key", "stress_key", "weights_key", "group_key", "kernel", "points"),
    *OF_DESCRIPTOR,
)
"""Options that say nothing of features."""

OF_MODEL = ("regularizer", "energy_key", "forces_key", *OF_DESCRIPTOR)
"""Options of a report that a fitted model decides."""


def given(context: typer.Context, *names: str) -> str:
    """Return those of the options that are on the command line, as they are written there."""
    sources = {name: context.get_parameter_source(name) for name in names if name in context.params}
    found = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    return ", ".join(f"--{name.replace('_', '-')}" for name in found)


def refuse_options_of_structures(context: typer.Context, path: str) -> None:
    """Raise if there are options that say nothing of the features in a file."""
    asked = given(context, *OF_STRUCTURES)
    if asked:
        raise InputError(f"{asked}: for structures only, and {path} holds features: leave it out")


def refuse_what_a_model_decides(context: typer.Context, model: Path | None) -> None:
    """Raise if options are given that --model decides."""
    asked = given(context, *OF_MODEL) if model is not None else ""
    if asked:
        raise InputError(f"{asked}: --model {model} decides this already; leave it out")


def require(*modules: str) -> None:
    """Raise if one of these modules is missing."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise InputError(f'{", ".join(missing)} not found: pip install "rigidities[atoms,plot]"')


def set_threads(threads: int | None) -> None:
    """Set the number of threads of the core, of featomic, and of the BLAS of NumPy and SciPy.

    A BLAS with a thread for each core spins beside the others, and takes their time.
    """
    if threads is None:
        return
    if threads > MAX_THREADS:
        raise InputError(f"--threads {threads}: expected at most {MAX_THREADS}")
    set_num_threads(threads)
    for name in ("RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # read by featomic, and by what is not loaded yet, when they start
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)  # of the libraries that are loaded, until the end of the process


def regularizer(text: str, *rules: str) -> Any:
    """Return λ ≥ 0, or one of the rules that choose it."""
    if text in rules:
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"--regularizer {text}: expected a number from 0, or {', '.join(rules)}")
    return value


def descriptor(
    cutoff: float | None, body_orders: str, hyperparameters: Path | None, pseudo_species: int | None, purified: bool
) -> dict[str, Any]:
    """Return the settings of `Soap` that were given."""
    try:
        settings: dict[str, Any] = {"body_orders": [int(order) for order in body_orders.split(",")]}
    except ValueError:
        raise InputError(f"--body-orders {body_orders}: expected 2, 3 or 2,3") from None
    if purified and sorted(set(settings["body_orders"])) != [2, 3]:
        raise InputError(
            f"--purified: it takes the two-body part out of body order 3, and --body-orders is {body_orders}; "
            "pass --body-orders 2,3"
        )
    settings |= {} if pseudo_species is None else {"pseudo_species": pseudo_species}
    settings |= {"purified": True} if purified else {}
    if hyperparameters is None:
        return settings if cutoff is None else settings | {"cutoff": cutoff}
    if cutoff is not None:
        raise InputError(f"--cutoff and --hyperparameters {hyperparameters}: give one, both set the cutoff")
    require_file(str(hyperparameters))
    try:
        content = json.loads(hyperparameters.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{hyperparameters}: is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{hyperparameters}: expected a JSON object with cutoff, density and basis")
    return settings | {"hyperparameters": content}


def sparse_kernel(zeta: int | None, points: str | None, body_orders: str) -> SparseKernel | None:
    """Return the kernel that the options ask for, or None."""
    if zeta is None:
        if points is not None:
            raise InputError(f"--points {points}: for a kernel model only; add --kernel 2, or leave it out")
        return None
    from rigidities.model.kernel import SparseKernel

    if "," in body_orders:
        raise InputError(f"--kernel {zeta}: a kernel takes one body order, but --body-orders is {body_orders}")
    if points is None:
        return SparseKernel(zeta)
    with blame(f"--points {points}"):
        return SparseKernel(zeta, _points(points))


def _points(text: str) -> int | dict[int | str, int]:
    """Return a number of points, or one for each species by its symbol."""
    entries = [entry.partition("=") for entry in text.split(",")]
    try:
        if len(entries) == 1 and not entries[0][1]:
            return int(text)
        found: dict[int | str, int] = {name.strip(): int(count) for name, _, count in entries}
    except ValueError:
        raise ValueError("expected a number, or one for each species, e.g. H=300,O=100") from None
    if len(found) < len(entries):
        raise ValueError("a species is given twice: expected each once")
    return found


def load_model(path: Path) -> LinearModel:
    """Read a model; any fault of the file names it."""
    from rigidities.model.linear import LinearModel

    with blame(str(path)):
        try:
            return LinearModel.load(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error


@contextmanager
def writing(*outputs: Path) -> Iterator[None]:
    """Make the directories of files that the block writes; Ctrl-C leaves no part of a file.

    A block that fails leaves none of these directories empty.
    """
    with files_whole(), without_empty(*(output.parent for output in outputs)):
        try:
            for output in outputs:
                make_directory(output.parent)
            yield
        except OSError as error:
            output = error.filename or outputs[0]
            raise InputError(f"--output {output}: cannot be written ({error.strerror or error})") from error


@contextmanager
def counted(what: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows on a bar how many are done, of how many; of 0: nobody knows."""
    from tqdm import tqdm

    with tqdm(desc=what, disable=not shown, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        yield show


def progress_shown(progress: bool | None) -> bool:
    """Return whether to show progress: by default on a terminal only."""
    return sys.stderr.isatty() if progress is None else progress
