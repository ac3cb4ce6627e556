"""What a report holds: how rigidly a training set pins down each test structure (PR) and each of its atoms (LPR).

What enters: a training and a test set, of structures or of any model's feature rows. What leaves: a `Report` of plain
arrays, its summary, and the files that hold them. Rows are summed and scored batch by batch: memory holds the
structures, C, and one batch. Reading is done in `sources`, drawing in `plot`, printing in `cli`.

LPR: J. Chem. Theory Comput. 19 (2023) 8020. PR and CPR: Faraday Discuss. 256 (2025) 322.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import IllConditionedWarning, blame
from rigidities.sources.features import Features
from rigidities.sources.read import Source, classes_of, kinds_of, labels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian
    from rigidities.report.atom_map import AtomMap
    from rigidities.rows import Rows
    from rigidities.validation import Reduction


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
