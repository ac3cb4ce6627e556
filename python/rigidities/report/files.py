"""The files of a report: summary as JSON, structures as extended XYZ, arrays as .npz, map and viewer."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import InputError
from rigidities.report.content import PR_IS, Report
from rigidities.report.maps import lpr_map
from rigidities.report.statistics import by_class, describe
from rigidities.report.viewer import write_viewer
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.read import Source
from rigidities.structures.extxyz import write_annotated
from rigidities.structures.read import BOND_STRETCH

if TYPE_CHECKING:
    from pathlib import Path

    from rigidities.report.atom_map import AtomMap


def summary(report: Report) -> dict[str, Any]:
    """Return all but the arrays, ready for JSON, in which null stands for an infinite rigidity."""
    scores, hessian = report.scores, report.hessian
    pr = {"is": PR_IS[report.reduction], "all": describe(scores.pr)}
    if report.kinds is not None:
        pr["group"] = by_class(scores.pr, report.kinds)
    lpr = {"all": describe(scores.lpr)} | {n: by_class(scores.lpr, c) for n, c in report.classes.items()}
    content = {
        "versions": {name: version(name) for name in _packages(report)} | {"python": platform.python_version()},
        "train": _inputs(report.train),
        "test": _inputs(report.test),
        "descriptor": _descriptor(report.test),
        "reduction": report.reduction,
        "regularizer": hessian.regularizer,
        "regularizer_reason": hessian.regularizer_reason,
        "rcond": hessian.rcond,
        "effective_dimension": hessian.effective_dimension,
        "log_determinant": hessian.log_determinant,
        "warnings": report.warnings,
        "pr": pr,
        "lpr": lpr,
        "cpr": {name: describe(column) for name, column in zip(report.components, scores.cpr.T, strict=True)},
        "lcpr": {name: describe(column) for name, column in zip(report.body_orders, scores.lcpr.T, strict=True)},
        "coordination": f"neighbours within {BOND_STRETCH} times the sum of the covalent radii",
        "least_rigid_atoms": [_atom(report, index) for index in report.least_rigid().tolist()],
        "null": "an infinite rigidity: the row of features is zero, and so is its prediction, whatever the data",
    }
    return dict(_finite(content))


def make_directory(path: Path) -> Path:
    """Make a directory to write into, unless it is there; return it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {path}: cannot make this directory ({error.strerror})") from error
    return path


def write_summary(report: Report, path: Path) -> None:
    """Write the summary as JSON."""
    path.write_text(json.dumps(summary(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_npz(report: Report, path: Path) -> None:
    """Write ``lpr`` of each row, ``pr`` of each structure and the structures' ``labels``."""
    np.savez(path, lpr=report.scores.lpr, pr=report.scores.pr, labels=report.labels)


def write_xyz(report: Report, path: Path) -> None:
    """Write the test structures as extended XYZ, with array ``lpr`` and info ``pr``, and what they brought.

    Components stand in arrays ``lcpr_<name>`` and info ``cpr_<name>``.
    """
    assert isinstance(report.test, Structures)
    scores = report.scores
    info = {"pr": scores.pr}
    info |= {f"cpr_{name}": column for name, column in zip(report.components, scores.cpr.T, strict=True)}
    arrays = {"lpr": scores.lpr}
    arrays |= {f"lcpr_{name}": column for name, column in zip(report.body_orders, scores.lcpr.T, strict=True)}
    write_annotated(report.test.frames, path, info, arrays)


def _packages(report: Report) -> list[str]:
    return ["rigidities", "numpy"] + ["ase", "featomic"] * isinstance(report.test, Structures)


def _inputs(source: Source) -> dict[str, Any]:
    return {"source": source.name, "n_structures": len(source.sizes), "n_atoms": int(source.sizes.sum())}


def _descriptor(source: Source) -> dict[str, Any]:
    if isinstance(source, Features):
        return {"kind": "features as given", "n_features": source.n_features}
    soap = source.soap
    return {
        "kind": "SOAP, computed by featomic",
        "n_features": soap.n_features,
        "feature_space": soap.feature_space,
        "species": list(soap.species),
        "body_orders": list(soap.body_orders),
        "hyperparameters": soap.hyperparameters,
    }


def _atom(report: Report, index: int) -> dict[str, Any]:
    """Return where an atom is, and what."""
    structure, atom = int(report.structures[index]), int(report.atoms[index])
    place = {"structure": structure, "atom": atom, "lpr": float(report.scores.lpr[index])}
    place |= {name: labels[index].item() for name, labels in report.classes.items()}
    if isinstance(report.test, Structures):
        place["position"] = report.test.frames[structure].positions[atom].tolist()
    return place


def _finite(value: Any) -> Any:
    """Return the same with None for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(report: Report, atom_map: AtomMap, directory: Path) -> list[str]:
    """Write the files of a report; return their names."""
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
