"""Files of a report: summary (JSON), structures (extended XYZ) or arrays (.npz), map, viewer."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import InputError
from rigidities.report.against import against_summary
from rigidities.report.content import PR_IS, Report
from rigidities.report.map_figure import map_figure
from rigidities.report.next_structures import TOP, ranking, ranking_summary, write_csv, write_next
from rigidities.report.prior_shares import add_shares
from rigidities.report.statistics import by_class, describe, present_components
from rigidities.report.viewer import write_viewer
from rigidities.runtime.writing import replacing, write_text
from rigidities.structures.extxyz import write_annotated
from rigidities.structures.read import BOND_STRETCH

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from rigidities.report.atom_map import AtomMap
    from rigidities.sources.source import Source


STRUCTURES, NEXT, ARRAYS, SUMMARY, RANKING, MAP, VIEWER = (
    "rigidities.xyz", "next.xyz", "rigidities.npz", "summary.json", "ranking.csv", "lpr_map.png", "viewer.json.gz",
)  # fmt: skip
"""Names of the files of a report."""


def files_of(*, with_structures: bool) -> list[str]:
    """Return the names of the files of a report of structures, or of rows alone."""
    return [STRUCTURES, NEXT, SUMMARY, RANKING, MAP, VIEWER] if with_structures else [ARRAYS, SUMMARY, RANKING, MAP]


def versions_of(*sources: Source) -> dict[str, str]:
    """Return the versions of what computed the rows of sources."""
    packages = dict.fromkeys(["rigidities", "numpy", *(name for source in sources for name in source.packages)])
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def summary(report: Report, top: int = TOP) -> dict[str, Any]:
    """Return everything but the arrays as values of JSON; null stands for an infinite rigidity."""
    rigidities, hessian = report.rigidities, report.hessian
    pr = {"is": PR_IS[report.reduction], "all": describe(rigidities.pr)}
    if report.kinds is not None:
        pr["group"] = by_class(rigidities.pr, report.kinds)
    lpr: dict[str, Any] = {"all": describe(rigidities.lpr)}
    lpr |= {name: by_class(rigidities.lpr, classes) for name, classes in report.classes.items()}
    content = {
        "versions": versions_of(report.test),
        "train": _inputs(report.train),
        "test": _inputs(report.test),
        "descriptor": report.test.describe().settings,
        "reduction": report.reduction,
        "regularizer": hessian.regularizer,
        "regularizer_reason": hessian.regularizer_reason,
        "rcond": hessian.rcond,
        "effective_dimension": hessian.effective_dimension,
        "log_determinant": hessian.log_determinant,
        "warnings": report.warnings,
        "pr": pr,
        "lpr": lpr,
        "training_set": against_summary(report.against),
        "next": ranking_summary(ranking(report.against), top),
        "cpr": present_components(report.components, rigidities.cpr),
        "lcpr": present_components(report.body_orders, rigidities.lcpr),
        "coordination": f"neighbours within {BOND_STRETCH} times the sum of the covalent radii",
        "least_rigid_atoms": _least_rigid(report),
        "null": "an infinite rigidity: the row of features is zero, and so is its prediction, whatever the data",
    }
    add_shares(report, content)
    return dict(_finite(content))


def make_directory(path: Path) -> Path:
    """Make a directory unless it exists; return it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {path}: cannot make this directory ({error.strerror})") from error
    return path


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write values as JSON; null stands for infinity and NaN."""
    write_text(path, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_summary(report: Report, path: Path, top: int = TOP) -> None:
    """Write the summary as JSON."""
    write_json(summary(report, top), path)


def write_npz(report: Report, path: Path) -> None:
    """Write ``lpr`` of each row, ``pr`` and ``labels`` of each structure."""
    with replacing(path) as file:
        np.savez(file, lpr=report.rigidities.lpr, pr=report.rigidities.pr, labels=report.labels)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with replacing(path) as file:
        figure.savefig(file, format="png", metadata={"Software": f"rigidities {version('rigidities')}"})


def write_xyz(report: Report, path: Path) -> None:
    """Write the test structures as extended XYZ, with array ``lpr`` and info ``pr``.

    Components go to arrays ``lcpr_<name>`` and info ``cpr_<name>``. If a model with a scale was
    fitted, info ``energy_uncertainty`` and array ``energies_uncertainty`` are σ of the energy and
    of that of each atom, in eV, as `rigidities.model.write_xyz` writes them. All other arrays, info
    and calculated values of the structures are kept.

    Raises
    ------
    ValueError
        If only rows are known of the test set.

    Warns
    -----
    NotWrittenWarning
        If structures carry data that extended XYZ cannot hold: these are left out.
    """
    rigidities = report.rigidities
    info = {"pr": rigidities.pr}
    info |= {f"cpr_{name}": column for name, column in zip(report.components, rigidities.cpr.T, strict=True)}
    arrays = {"lpr": rigidities.lpr}
    arrays |= {f"lcpr_{name}": column for name, column in zip(report.body_orders, rigidities.lcpr.T, strict=True)}
    if report.energy_std is not None and report.atom_energy_std is not None:
        info["energy_uncertainty"] = report.energy_std
        arrays["energies_uncertainty"] = report.atom_energy_std
    write_annotated(report.frames(), path, info, arrays)


def _inputs(source: Source) -> dict[str, Any]:
    return {"source": source.name, "n_structures": len(source.sizes), "n_atoms": int(source.sizes.sum())}


def _least_rigid(report: Report) -> list[dict[str, Any]]:
    chosen = report.least_rigid()
    positions = report.positions(chosen)
    atoms = []
    for i, index in enumerate(chosen.tolist()):
        place: dict[str, Any] = {"structure": report.structures[index].item(), "atom": int(report.atoms[index])}
        place["lpr"] = float(report.rigidities.lpr[index])
        place |= {name: classes[index].item() for name, classes in report.classes.items()}
        atoms.append(place if positions is None else place | {"position": positions[i].tolist()})
    return atoms


def _finite(value: Any) -> Any:
    """Replace infinity and NaN, which JSON lacks, by None."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(report: Report, atom_map: AtomMap, directory: Path, top: int = TOP) -> list[str]:
    """Write the files of a report; return their names.

    They are the summary, the map and the ranking of the structures, and with structures extended
    XYZ of all and of the first `top`, and a viewer. If only rows are known, an .npz file holds the
    rigidities.
    """
    ranked = ranking(report.against)
    write_summary(report, directory / SUMMARY, top)
    write_csv(ranked, directory / RANKING)
    write_figure(map_figure(report, atom_map), directory / MAP)
    if report.test.frames is None:
        write_npz(report, directory / ARRAYS)
    else:
        write_xyz(report, directory / STRUCTURES)
        write_next(ranked, report.test.frames, directory / NEXT, top)
        write_viewer(report, directory / VIEWER)
    return files_of(with_structures=report.test.frames is not None)
