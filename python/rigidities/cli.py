"""The command line: `rigidities report` and `rigidities demo`.

What enters: names of files, and options. What leaves: files, a table on the terminal, an exit code. What cannot be used
is said in one line on stderr, with exit code 2; Ctrl-C ends with 130; anything else that goes wrong is a bug and shows
its traceback. Nothing heavy is imported before it is needed: `rigidities --help` answers at once.
"""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from rigidities import __version__, set_num_threads
from rigidities.covariance import Covariance
from rigidities.report import (
    PR_IS,
    QUANTILES,
    Features,
    InputError,
    Report,
    Source,
    Structures,
    blame,
    by_class,
    describe,
    make_report,
    score,
    write_npz,
    write_summary,
    write_xyz,
)
from rigidities.rows import Rows, as_floats, reduce_rows

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian
    from rigidities.interop.featomic import Soap
    from rigidities.plot import AtomMap

PRISTINE = ("crystal", "strained", "rattled")
DEFECTIVE = ("vacancy", "interstitial", "surface")

DEMO_CUTOFF = 3.5
"""Å. The potential behind the demo's energies ends at 3.0: a longer reach adds features that no energy depends on."""

DEMO_GRID = np.logspace(-13, -2, 23)
"""λ that the demo tries, in units of the trace of C: from rounding's reach to a model that hardly fits."""

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


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        typer.echo(f"rigidities: error: {error}", err=True)
        raise typer.Exit(2) from None


def _require(*modules: str) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise InputError(f'{", ".join(missing)} not found: pip install "rigidities[atoms,plot]"')


# Commands ---------------------------------------------------------------------------------------------------

Threads = Annotated[int | None, typer.Option(min=1, help="Threads to compute with; all by default.")]
Progress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Show progress; by default on a terminal only.")
]


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
    cutoff: Annotated[float | None, typer.Option(help="Radius of the SOAP neighbourhood in Å; 5 by default.")] = None,
    body_orders: Annotated[str, typer.Option(help="2, 3 or 2,3: radial spectrum, power spectrum, both.")] = "3",
    hyperparameters: Annotated[
        Path | None, typer.Option(help="JSON file of featomic's hyper-parameters, in place of --cutoff.")
    ] = None,
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
    with _one_line_errors():
        from_features = train.endswith(".npz") and test.endswith(".npz")
        _require(*[] if from_features else ["ase", "featomic", "chemiscope"], "matplotlib")
        _set_threads(threads)
        value = _regularizer(regularizer)
        descriptor = _descriptor(cutoff, body_orders, hyperparameters)
        directory = _directory(output)
        sources = read_sources(train, test, descriptor, sys.stderr.isatty() if progress is None else progress)
        from rigidities.plot import fit_map

        atom_map = fit_map(*sources)
        made = make_report(*sources, regularizer=value, reduction=reduction, group_key=group_key, atom_map=atom_map)
        for warning in made.warnings:
            typer.echo(f"rigidities: warning: {warning}", err=True)
        typer.echo(table(made))
        typer.echo(f"\nWritten to {directory}: {', '.join(write(made, atom_map, directory))}")


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        set_num_threads(threads)
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # featomic's, read when it starts


def _regularizer(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"--regularizer {text}: expected a number from 0, or auto")
    return value


def _directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {path}: cannot make this directory ({error.strerror})") from error
    return path


def _descriptor(cutoff: float | None, body_orders: str, hyperparameters: Path | None) -> dict[str, Any]:
    """Return the settings of `Soap` that were given."""
    try:
        settings: dict[str, Any] = {"body_orders": [int(order) for order in body_orders.split(",")]}
    except ValueError:
        raise InputError(f"--body-orders {body_orders}: expected 2, 3 or 2,3") from None
    if hyperparameters is None:
        return settings if cutoff is None else settings | {"cutoff": cutoff}
    if cutoff is not None:
        raise InputError(f"--cutoff and --hyperparameters {hyperparameters}: give one, both set the cutoff")
    _require_file(str(hyperparameters))
    try:
        content = json.loads(hyperparameters.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{hyperparameters}: is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{hyperparameters}: expected a JSON object with cutoff, density and basis")
    return settings | {"hyperparameters": content}


# Reading ----------------------------------------------------------------------------------------------------


def read_sources(train: str, test: str, descriptor: dict[str, Any], progress: bool = False) -> tuple[Source, Source]:
    """Read a training and a test set: both of structures, or both of features (``.npz``)."""
    if train.endswith(".npz") != test.endswith(".npz"):
        raise InputError(f"{train}, {test}: one holds features, the other structures; give two of a kind")
    if train.endswith(".npz"):
        features = read_features(train), read_features(test)
        _require_columns(*features)
        return features
    known, asked = read_structures(train), read_structures(test)
    species = sorted({number for frame in known for number in frame.numbers.tolist()})
    if not species:
        raise InputError(f"{train}: its structures have no atoms")
    _require_species(test, asked, train, species)
    soap = _soap(species, descriptor)
    return Structures(train, known, soap, progress), Structures(test, asked, soap, progress)


def _soap(species: Sequence[int], descriptor: dict[str, Any]) -> Soap:
    from rigidities.interop.featomic import Soap

    with blame("descriptor"):
        return Soap(species, **descriptor)


def read_structures(path: str) -> list[Atoms]:
    """Read all structures of a file in any format of ASE's, or those that ``file@slice`` names."""
    import ase.io

    whole = Path(path).exists() or "@" not in path
    _require_file(path if whole else path.rpartition("@")[0])
    try:
        # With an index beside it, ASE passes over the one in the name.
        read = ase.io.read(path, ":", do_not_split_by_at_sign=True) if whole else ase.io.read(path)
    except Exception as error:  # a reader fails in as many ways as there are formats
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        raise InputError(f"{path}: ASE cannot read it ({reason})") from error
    frames = read if isinstance(read, list) else [read]
    if not frames:
        raise InputError(f"{path}: holds no structures")
    return frames


def read_features(path: str) -> Features:
    """Read ``features`` (n_rows, n_features), and ``groups`` and ``species`` (n_rows,) if present, of an .npz file."""
    _require_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # what is no archive, no array or a pickle: five unrelated types
        raise InputError(f"{path}: NumPy cannot read it as .npz ({' '.join(str(error).split())})") from error
    if "features" not in arrays:
        raise InputError(f"{path}: has no array features, but {', '.join(arrays) or 'none at all'}")
    groups, species = arrays.get("groups"), arrays.get("species")
    with blame(path):
        features = as_floats(arrays["features"], "features", ndim=2)
    if features.size == 0:
        raise InputError(f"{path}: features have shape {features.shape}, expected at least one row and one column")
    _require_finite(path, features)
    for name, labels in (("groups", groups), ("species", species)):
        if labels is not None and labels.shape != features.shape[:1]:
            raise InputError(f"{path}: {name} have shape {labels.shape}, expected {features.shape[:1]}")
    if groups is not None and groups.dtype.kind not in "iu":
        raise InputError(f"{path}: groups have dtype {groups.dtype}, expected integers")
    return Features(path, Rows(features, groups), None if species is None else species.astype(str))


def _require_file(path: str) -> None:
    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if not Path(path).is_file():
        raise InputError(f"{path}: is not a file")
    if Path(path).stat().st_size == 0:
        raise InputError(f"{path}: is empty")


def _require_finite(path: str, features: NDArray[Any]) -> None:
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        column = int((~np.isfinite(features[row])).argmax())
        raise InputError(f"{path}: features hold {features[row, column]} in row {row}, column {column}")


def _require_columns(train: Features, test: Features) -> None:
    if train.n_features != test.n_features:
        raise InputError(
            f"{test.name}: features have {test.n_features} columns, but {train.n_features} in {train.name}: "
            "compute both with the same model"
        )


def _require_species(path: str, frames: list[Atoms], train: str, species: Sequence[int]) -> None:
    from ase.data import chemical_symbols

    for index, frame in enumerate(frames):
        unknown = sorted(set(frame.numbers.tolist()).difference(species))
        if unknown:
            names, known = (", ".join(chemical_symbols[number] for number in part) for part in (unknown, species))
            raise InputError(f"{path}: structure {index} contains {names}, which {train} lacks: it holds {known} only")


# Writing ----------------------------------------------------------------------------------------------------


def write(report: Report, atom_map: AtomMap, directory: Path) -> list[str]:
    """Write the files of a report; return their names."""
    from rigidities.plot import lpr_map, write_viewer

    figure = lpr_map(
        report.scores.coordinates, report.scores.lpr, explained=atom_map.explained, background=atom_map.background
    )
    names = ["summary.json", "lpr_map.png"]
    write_summary(report, directory / "summary.json")
    figure.savefig(directory / "lpr_map.png")
    if isinstance(report.test, Features):
        write_npz(report, directory / "rigidities.npz")
        return ["rigidities.npz", *names]
    write_xyz(report, directory / "rigidities.xyz")
    write_viewer(report, directory / "viewer.json.gz")
    return ["rigidities.xyz", *names, "viewer.json.gz"]


# Tables -----------------------------------------------------------------------------------------------------

TABLE_ROWS = 30
"""Labels of a class that the terminal shows; summary.json has them all."""


def table(report: Report) -> str:
    """Return the report as text of at most 100 columns."""
    scores = report.scores
    lines = [*_heading(report), "", _head("LPR", "atoms"), _row("all", describe(scores.lpr))]
    for name, labels in report.classes.items():
        lines += [name, *_rows(by_class(scores.lpr, labels))]
    lines += ["", _head(f"PR {PR_IS[report.reduction]}", "number"), _row("all", describe(scores.pr))]
    if report.kinds is not None:
        lines += _rows(by_class(scores.pr, report.kinds))
    for head, names, columns in (("LCPR", report.body_orders, scores.lcpr), ("CPR", report.components, scores.cpr)):
        parts = {name: describe(column) for name, column in zip(names, columns.T, strict=True)}
        lines += ["", _head(head, "number"), *_rows(parts)] if parts else []
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
    return [
        line
        for name, fact in facts.items()
        for line in textwrap.wrap(f"{name:14}{fact}", 100, subsequent_indent=" " * 14)
    ]


def _size(source: Source) -> str:
    return f"{source.name}: {len(source.sizes):,} structures, {source.sizes.sum():,} atoms"


def _head(name: str, counted: str) -> str:
    return f"{name:26}{counted:>7}" + "".join(f"{quantile:>9}" for quantile in QUANTILES)


def _row(name: str, description: dict[str, float]) -> str:
    return f"{name:26.26}{description['n']:>7}" + "".join(f"{description[q]:>9.2g}" for q in QUANTILES)


def _rows(descriptions: dict[str, dict[str, float]]) -> list[str]:
    rows = [_row(f"  {name}", description) for name, description in descriptions.items()]
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


# The demo ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Part:
    """Structures of the demo, their rows, and the energies to fit: eV per atom, from the mean of the pristine ones."""

    source: Structures
    rows: NDArray[np.float64]
    energies: NDArray[np.float64]

    def covariance(self) -> Covariance:
        """Return the sums of a fit to these energies."""
        covariance = Covariance(self.source.n_features, feature_space=self.source.soap.feature_space)
        covariance.update(self.rows, targets=self.energies)
        return covariance

    def error(self, hessian: Hessian, kinds: Sequence[str]) -> float:
        """Return the root mean squared error, in meV per atom, of a fit on the structures of these kinds."""
        chosen = [frame.info["group"] in kinds for frame in self.source.frames]
        return 1000 * _rms((self.energies - self.rows @ hessian.coef)[chosen])


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write into.")] = Path("rigidities-demo"),
    threads: Threads = None,
) -> None:
    """Show on silicon what a rigidity tells: which atoms a model knows, before and after it has seen defects.

    The structures come with the package: half of each kind for training, half for testing.
    Writes the reports of both models, and maps.
    """
    with _one_line_errors():
        _require("ase", "featomic", "matplotlib", "chemiscope")
        _set_threads(threads)
        directory = _directory(output)
        from rigidities.plot import fit_map

        before, after, test = _silicon()
        regularizer, error = choose_regularizer(before)
        typer.echo(_premise(before, after, regularizer, error))
        atom_map = fit_map(after.source, test.source)
        reports = [
            score(part.covariance().factorize(regularizer), part.source, test.source, atom_map=atom_map)
            for part in (before, after)
        ]
        typer.echo(_comparison(reports, test))
        _write_demo(reports, atom_map, directory)
        typer.echo(f"\nMaps and both reports are in {directory}; open a viewer.json.gz on https://chemiscope.org")


def _silicon() -> tuple[Part, Part, Part]:
    """Return pristine structures, these and such with defects, and other ones of both to test on."""
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import Soap, soap_rows

    # An even number of each kind, disorder rising with the index: every other one makes halves that are alike.
    frames: list[Any] = load_silicon(groups=[*PRISTINE, *DEFECTIVE])
    train, test = frames[::2], frames[1::2]
    pristine = [frame for frame in train if frame.info["group"] in PRISTINE]
    baseline = np.mean([frame.get_potential_energy() / len(frame) for frame in pristine])
    soap = Soap("Si", DEMO_CUTOFF)
    parts = []
    for name, part in (("pristine silicon", pristine), ("silicon with defects", train), ("held-out silicon", test)):
        energies = np.array([frame.get_potential_energy() / len(frame) for frame in part]) - baseline
        rows = reduce_rows(soap_rows(part, soap, progress=False))[1]
        parts.append(Part(Structures(name, part, soap), rows, energies))
    return parts[0], parts[1], parts[2]


def choose_regularizer(part: Part) -> tuple[float, float]:
    """Return the λ of the least leave-one-out error, and that error in meV per atom.

    Without target i, the fit misses it by rᵢ/(1 − hᵢ), where r = y − Fθ and h = fᵀH⁻¹f is its leverage: no refitting.
    """
    covariance = part.covariance()
    errors = {}
    for regularizer in (DEMO_GRID * covariance.trace).tolist():
        hessian = covariance.factorize(regularizer)
        residuals = part.energies - part.rows @ hessian.coef
        errors[regularizer] = 1000 * _rms(residuals / (1 - hessian.variance(part.rows)))
    best = min(errors, key=errors.__getitem__)
    return best, errors[best]


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _premise(before: Part, after: Part, regularizer: float, error: float) -> str:
    n, more = len(before.energies), len(after.energies) - len(before.energies)
    text = (
        f"A linear model of SOAP features (cutoff {DEMO_CUTOFF} Å) is fitted to the energies of {n} structures of "
        f"pristine silicon ({', '.join(PRISTINE)}), then to these and {more} with defects ({', '.join(DEFECTIVE)}). "
        f"Energies are those of Tersoff's potential. The regularizer is λ = {regularizer:.2g} for both: of "
        f"{len(DEMO_GRID)} between {DEMO_GRID[0]:.0e} and {DEMO_GRID[-1]:.0e} of the trace of C, it leaves the least "
        f"leave-one-out error of the pristine energies, {error:.1f} meV per atom. How rigid are the predictions for "
        "atoms of structures that neither model has seen?"
    )
    return textwrap.fill(text, 100)


def _comparison(reports: Sequence[Report], test: Part) -> str:
    """Return median LPR of the test atoms before and after, and what it has to do with the errors."""
    kinds, defect = reports[0].classes["group"], _at_defect(reports[0].test)
    lines = ["", f"{'median LPR of test atoms':38}{'atoms':>7}{'before':>11}{'after':>11}{'after/before':>15}"]
    rows = {kind: kinds == kind for kind in PRISTINE}
    rows |= {f"{kind}, elsewhere in the cell": (kinds == kind) & ~defect for kind in DEFECTIVE}
    rows |= {f"{kind}, at the defect": (kinds == kind) & defect for kind in DEFECTIVE}
    medians = {name: [float(np.median(r.scores.lpr[chosen])) for r in reports] for name, chosen in rows.items()}
    for name, (low, high) in medians.items():
        lines.append(f"{name:38}{rows[name].sum():>7}{low:>11.2g}{high:>11.2g}{high / low:>15,.1f}")
    lines += ["", f"{'error of test energies, meV per atom':38}{'number':>7}{'before':>11}{'after':>11}"]
    for name, group in (("pristine", PRISTINE), ("with defects", DEFECTIVE)):
        n = sum(frame.info["group"] in group for frame in test.source.frames)
        low, high = (test.error(report.hessian, group) for report in reports)
        lines.append(f"{name:38}{n:>7}{low:>11.1f}{high:>11.1f}")
    growth = reports[1].hessian.n_rows / reports[0].hessian.n_rows
    gains = [high / low for low, high in medians.values()]
    known, new = gains[: -len(DEFECTIVE)], gains[-len(DEFECTIVE) :]
    text = (
        f"The second training set is {growth:.1f} times as large, and C is a sum over it: what the first one pinned "
        f"down gains about as much ({min(known):.1f} to {max(known):.1f} times). Atoms at defects, which it had never "
        f"seen, gain {min(new):,.0f} to {max(new):,.0f} times. Nothing loses. "
        f"Least rigid now: {min(medians, key=lambda name: medians[name][1])}. That is where to add data next."
    )
    return "\n".join([*lines, "", textwrap.fill(text, 100)])


def _at_defect(source: Source) -> NDArray[np.bool_]:
    assert isinstance(source, Structures)
    return np.concatenate([frame.arrays["defect"] for frame in source.frames])


def _write_demo(reports: Sequence[Report], atom_map: AtomMap, directory: Path) -> None:
    """Write each model's report, its map on the common scale, and both maps side by side."""
    from rigidities.plot import MAP_ATOMS, log_limits, log_rigidity, lpr_maps

    names = ("pristine", "with_defects")
    titles = [f"trained on {report.train.name} ({report.hessian.n_rows} structures)" for report in reports]
    panels = {title: report.scores.lpr for title, report in zip(titles, reports, strict=True)}
    grounds = [atom_map.project(report.train.sample(MAP_ATOMS)) for report in reports]
    options: dict[str, Any] = {
        "explained": atom_map.explained,
        "backgrounds": dict(zip(titles, grounds, strict=True)),
        "marks": np.where(_at_defect(reports[0].test), reports[0].classes["group"], ""),
        "limits": log_limits(*map(log_rigidity, panels.values())),
    }
    places = reports[0].scores.coordinates
    lpr_maps(places, panels, **options).savefig(directory / "lpr_maps.png")
    for name, title, report, ground in zip(names, titles, reports, grounds, strict=True):
        figure = lpr_maps(places, {title: report.scores.lpr}, **options)
        figure.savefig(directory / f"lpr_map_{name}.png")
        write(report, replace(atom_map, background=ground), _directory(directory / name))
