"""What a report holds: how rigidly a training set pins down each test structure (PR) and each of its atoms (LPR).

What enters: a training and a test set, of structures or of any model's feature rows. What leaves: a `Report` of plain
arrays, its summary, and the files that hold them. Rows are summed and scored batch by batch: memory holds the
structures, C, and one batch. Reading is done in `sources`, drawing in `plot`, printing in `cli`.

LPR: J. Chem. Theory Comput. 19 (2023) 8020. PR and CPR: Faraday Discuss. 256 (2025) 322.
"""

from __future__ import annotations

import json
import math
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import IllConditionedWarning, InputError, blame
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.read import Source, classes_of, kinds_of, labels_of
from rigidities.structures.extxyz import write_annotated
from rigidities.structures.read import BOND_STRETCH

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from rigidities.hessian import Hessian
    from rigidities.plot import AtomMap
    from rigidities.rows import Rows
    from rigidities.validation import Reduction

QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
"""Each is the value of one atom or structure; none is interpolated (which infinite values would not allow)."""

PR_IS = {"mean": "of the energy per atom", "sum": "of the total energy"}
"""What `pr` is the rigidity of, by reduction."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Rigidities as they come, batch by batch.

    Attributes
    ----------
    lpr : ndarray of shape (n_atoms,)
        Local prediction rigidity of each atom; inf where a feature row is zero.
    pr : ndarray of shape (n_structures,)
        Prediction rigidity of each structure: of its energy per atom with reduction "mean", of its total energy with
        "sum".
    lcpr : ndarray of shape (n_atoms, n_body_orders)
        Rigidity of each body order's part in an atom's prediction; no columns where there is but one.
    cpr : ndarray of shape (n_structures, n_components)
        The same for structures, with the species of the central atoms after the body orders.
    coordinates : ndarray of shape (n_atoms, 2)
        Place of each atom on the map; no columns without one.
    """

    lpr: NDArray[np.float64]
    pr: NDArray[np.float64]
    lcpr: NDArray[np.float64]
    cpr: NDArray[np.float64]
    coordinates: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Report:
    """Rigidities of a test set, and the labels that say what they belong to.

    Attributes
    ----------
    structures, atoms : ndarray of shape (n_atoms,)
        Label of each atom's structure (its index from 0, or its label in an .npz file), and the atom's index there.
    labels : ndarray of shape (n_structures,)
        Label of each structure.
    kinds : ndarray of str of shape (n_structures,), or None
        Kind of each structure, as far as it is known.
    classes : dict of str to ndarray of shape (n_atoms,)
        What statistics are told apart by: "group", "species" and "coordination", as far as they are known.
    body_orders, components : list of str
        Names of the columns of ``scores.lcpr`` and ``scores.cpr``.
    warnings : list of str
        What the factorisation warned of.
    """

    train: Source
    test: Source
    hessian: Hessian
    reduction: Reduction
    scores: Scores
    structures: NDArray[np.int64]
    atoms: NDArray[np.int64]
    labels: NDArray[np.int64]
    kinds: NDArray[np.str_] | None
    classes: dict[str, NDArray[Any]]
    body_orders: list[str]
    components: list[str]
    warnings: list[str]

    def least_rigid(self, n: int = 10) -> NDArray[np.int64]:
        """Return the positions, among all atoms, of the `n` of lowest LPR, the lowest first."""
        return np.argsort(self.scores.lpr, kind="stable")[:n]


def make_report(
    train: Source,
    test: Source,
    *,
    regularizer: float | Literal["auto"] = "auto",
    reduction: Reduction = "mean",
    group_key: str | None = None,
    atom_map: AtomMap | None = None,
) -> Report:
    """Score a test set by what a training set pins down.

    Parameters
    ----------
    train, test : Structures or Features
        Both of a kind, with the same columns.
    regularizer : float or "auto"
        λ, as in `Covariance.factorize`.
    reduction : {"mean", "sum"}
        A training target is the energy per atom or the total energy of a structure; `pr` is of the same.
    group_key : str, optional
        Name in ``info`` of a structure's kind; by default "group", or else "config_type".
    atom_map : AtomMap, optional
        Where to place the test atoms.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If rows or the regularizer cannot be used.
    """
    hessian, warned = factorize(accumulate(train, reduction), regularizer)
    return score(hessian, train, test, reduction=reduction, group_key=group_key, atom_map=atom_map, warned=warned)


def score(
    hessian: Hessian,
    train: Source,
    test: Source,
    *,
    reduction: Reduction = "mean",
    group_key: str | None = None,
    atom_map: AtomMap | None = None,
    warned: Sequence[str] = (),
) -> Report:
    """Score a test set by a Hessian that is there already; else as `make_report`."""
    kinds = kinds_of(test, group_key)
    orders, components = _components(test)
    with blame(test.name):
        parts = [_score(hessian, rows, reduction, orders, components, atom_map) for rows in test.batches()]
    scores = Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    labels = *labels_of(test), kinds, classes_of(test, kinds)
    return Report(train, test, hessian, reduction, scores, *labels, list(orders), list(components), list(warned))


def accumulate(source: Source, reduction: Reduction = "mean") -> Covariance:
    """Return C of a training set, each structure one target of weight 1."""
    with blame(source.name):
        covariance = Covariance(source.n_features)
        for rows in source.batches():
            covariance.update(rows, reduction=reduction)
    return covariance


def factorize(covariance: Covariance, regularizer: float | Literal["auto"]) -> tuple[Hessian, list[str]]:
    """Factorise C + λ in place of C; return its warnings as texts."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", IllConditionedWarning)
        with blame(f"regularizer {regularizer}"):
            hessian = covariance.factorize(regularizer, consume=True)
    return hessian, [str(warning.message) for warning in caught]


def _score(
    hessian: Hessian,
    rows: Rows,
    reduction: Reduction,
    orders: dict[str, NDArray[np.int64]],
    components: dict[str, NDArray[np.int64]],
    atom_map: AtomMap | None,
) -> tuple[NDArray[np.float64], ...]:
    """Return the fields of `Scores` for one batch."""
    alone = rows.without_groups()
    lpr, pr = hessian.rigidity(alone), hessian.rigidity(rows, reduction=reduction)
    lcpr, cpr = np.empty((len(lpr), 0)), np.empty((len(pr), 0))
    if orders:
        lcpr = hessian.component_rigidity(alone, list(orders.values()))
    if components:
        cpr = hessian.component_rigidity(rows, list(components.values()), reduction=reduction)
    return lpr, pr, lcpr, cpr, np.empty((len(lpr), 0)) if atom_map is None else atom_map.project(rows.values)


def _components(source: Source) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]]]:
    """Return columns of what an atom's and what a structure's prediction is made of, where it has several parts.

    An atom's row is zero in the columns of other central species: parts by species would repeat its LPR.
    """
    if isinstance(source, Features):
        return {}, {}
    orders, species = source.soap.components("body_order"), source.soap.components("species")
    orders = orders if len(orders) > 1 else {}
    return orders, orders | (species if len(species) > 1 else {})


# Summary and files ------------------------------------------------------------------------------------------


def describe(values: NDArray[np.float64]) -> dict[str, float]:
    """Return how many values there are, how many of them infinite, and their `QUANTILES`."""
    quantiles = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    counts = {"n": len(values), "n_infinite": int(np.isinf(values).sum())}
    return counts | dict(zip(QUANTILES, quantiles.tolist(), strict=True))


def by_class(values: NDArray[np.float64], labels: NDArray[Any]) -> dict[str, dict[str, float]]:
    """Return the description of the values of each label, in the order of the sorted labels."""
    return {str(label): describe(values[labels == label]) for label in np.unique(labels)}


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
