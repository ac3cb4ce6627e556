"""The content of a report: rigidities of test structures (PR) and of their atoms (LPR).

Input: two sources, a training and a test set. Output: a `Report` of plain arrays. Rows are
processed batch by batch: memory holds the sources, C, and one batch.

LPR: J. Chem. Theory Comput. 19 (2023) 8020. PR and CPR: Faraday Discuss. 256 (2025) 322.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.exceptions import SetByPriorWarning, blame, held
from rigidities.loss.terms import Term
from rigidities.model.compositions import undetermined
from rigidities.model.prediction import std_of_atoms
from rigidities.model.training_set import TrainingSet, fingerprints
from rigidities.report.against import Against, against
from rigidities.report.without_labels import without_labels
from rigidities.sources.labelled import compositions

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.calibration.scale import Calibration
    from rigidities.hessian import Hessian
    from rigidities.model.linear import LinearModel
    from rigidities.report.atom_map import AtomMap
    from rigidities.rows import Rows
    from rigidities.sources.source import Components, Source
    from rigidities.validation import Reduction


PR_IS = {"mean": "of the energy per atom", "sum": "of the total energy"}
"""The quantity of which `pr` is the rigidity, by reduction."""

NO_ENERGIES = ", without an energy of each training structure to choose it by"
"""Why λ is the least one, if no model was fitted."""


@dataclass(frozen=True, eq=False)
class Rigidities:
    """Rigidities of the atoms and structures of a test set.

    Attributes
    ----------
    lpr : ndarray of shape (n_atoms,)
        Local prediction rigidity of each atom; inf where a feature row is zero.
    pr : ndarray of shape (n_structures,)
        Prediction rigidity of each structure: of its energy per atom with reduction "mean", of its
        total energy with "sum".
    lcpr : ndarray of shape (n_atoms, n_body_orders)
        Rigidity of each body order's contribution to an atom's prediction. No columns if there is
        only one body order.
    cpr : ndarray of shape (n_structures, n_components)
        The same for structures. Contributions by the species of the central atom follow the body
        orders.
    prior_lpr, prior_pr, prior_lcpr, prior_cpr : ndarray
        The prior's share of each of these rigidities, from 0 to 1, in the same shapes.
    coordinates : ndarray of shape (n_atoms, 2)
        Place of each atom on the map. No columns without a map.
    fingerprints : ndarray of shape (n_structures, 5)
        Numbers by which training structures are recognised.
    """

    lpr: NDArray[np.float64]
    pr: NDArray[np.float64]
    lcpr: NDArray[np.float64]
    cpr: NDArray[np.float64]
    prior_lpr: NDArray[np.float64]
    prior_pr: NDArray[np.float64]
    prior_lcpr: NDArray[np.float64]
    prior_cpr: NDArray[np.float64]
    coordinates: NDArray[np.float64]
    fingerprints: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Report:
    """Rigidities of a test set, and the atoms and structures they belong to.

    Attributes
    ----------
    train, test : Source
    hessian : Hessian
        Of the training set.
    reduction : {"mean", "sum"}
        A target is the energy per atom or the total energy of a structure.
    rigidities : Rigidities
    structures, atoms : ndarray of shape (n_atoms,)
        Label of each atom's structure, and the atom's index in that structure.
    labels : ndarray of shape (n_structures,)
        Label of each structure.
    kinds : ndarray of str of shape (n_structures,), or None
        Kind of each structure, if it is known.
    classes : dict of str to ndarray of shape (n_atoms,)
        The known classes of atoms, for statistics: "group", "species" and "coordination".
    body_orders, components : list of str
        Names of the columns of ``rigidities.lcpr`` and ``rigidities.cpr``.
    warnings : list of str
        Warnings of the factorisation.
    why : str
        Why there is no choice of λ, in half a line; empty if there is.
    against : Against
        The test set beside the training set: what is low, what was seen, what to compute next.
    energy_std, atom_energy_std : ndarray of shape (n_structures,) and (n_atoms,), or None
        σ of the energy of each structure and of each atom, in eV, as in a `Prediction`; None if no
        model was fitted, or it has no scale.
    """

    train: Source
    test: Source
    hessian: Hessian
    reduction: Reduction
    rigidities: Rigidities
    structures: NDArray[Any]
    atoms: NDArray[np.int64]
    labels: NDArray[Any]
    kinds: NDArray[np.str_] | None
    classes: dict[str, NDArray[Any]]
    body_orders: list[str]
    components: list[str]
    warnings: list[str]
    why: str
    against: Against
    energy_std: NDArray[np.float64] | None = None
    atom_energy_std: NDArray[np.float64] | None = None

    def least_rigid(self, n: int = 10) -> NDArray[np.int64]:
        """Return the positions, among all atoms, of the `n` of lowest LPR, the lowest first."""
        return np.argsort(self.rigidities.lpr, kind="stable")[:n]

    def frames(self) -> Sequence[Atoms]:
        """Return the test structures.

        Raises
        ------
        ValueError
            If only rows are known of the test set.
        """
        if self.test.frames is None:
            raise ValueError(f"{self.test.name}: only feature rows are known: write arrays, not structures")
        return self.test.frames

    def positions(self, atoms: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return where atoms are in space.

        Parameters
        ----------
        atoms : ndarray of int of shape (n,)
            Their positions among all atoms.

        Returns
        -------
        ndarray of shape (n, 3), or None
            In Å. None if the test set has no structures in space.
        """
        frames = self.test.frames
        if frames is None:
            return None
        places = zip(self.structures[atoms], self.atoms[atoms], strict=True)
        return np.array([frames[structure].positions[atom] for structure, atom in places])


def make_report(
    train: Source,
    test: Source,
    *,
    regularizer: float | Literal["auto"] = "auto",
    reduction: Reduction = "mean",
    group_key: str | None = None,
    atom_map: AtomMap | None = None,
    model: LinearModel | None = None,
    is_own: bool = False,
) -> Report:
    """Assess how firmly a training set determines the predictions for a test set.

    Parameters
    ----------
    train, test : Source
        Both with the same columns.
    regularizer : float or "auto"
        λ, as in `Covariance.factorize`.
    reduction : {"mean", "sum"}
        A target is the energy per atom or the total energy of a structure.
    group_key : str, optional
        Name in ``info`` of a structure's kind; by default "group", or else "config_type".
    atom_map : AtomMap, optional
        Map for the places of the test atoms.
    model : LinearModel, optional
        Fitted model whose Hessian counts, with its λ and loss. By default each training structure
        is one target of weight 1.
    is_own : bool, default False
        The model was fitted to `train`, so that it holds the rigidities of this set.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If rows or the regularizer cannot be used.
    """
    options: dict[str, Any] = {"reduction": reduction, "group_key": group_key, "atom_map": atom_map}
    if model is not None:
        kept = model.training_set
        options |= {"rank": None if kept is None else kept.rank, "calibration": model.calibration("energy")}
        if is_own and reduction == "mean":  # the model's PR is that of the energy per atom
            options["training"] = kept
        numbers = compositions(test)
        if numbers is not None:
            options["arbitrary"] = undetermined(model.baseline, numbers)
        return assess(model.hessian, train, test, energy=model.loss.energy, **options)
    alone = without_labels(train, regularizer, reduction)
    options |= {"rank": alone.rank, "warned": alone.warned, "why": NO_ENERGIES}
    return assess(alone.hessian, train, test, energy=Term(per_atom=reduction == "mean"), **options)


def assess(
    hessian: Hessian,
    train: Source,
    test: Source,
    *,
    reduction: Reduction = "mean",
    group_key: str | None = None,
    atom_map: AtomMap | None = None,
    warned: Sequence[str] = (),
    energy: Term | None = None,
    rank: int | None = None,
    training: TrainingSet | None = None,
    calibration: Calibration | None = None,
    arbitrary: NDArray[np.bool_] | None = None,
    why: str = "",
) -> Report:
    """Assess a test set as `make_report` does, with a given Hessian.

    Parameters
    ----------
    hessian, train, test, reduction, group_key, atom_map
        As for `make_report`.
    warned : sequence of str
        Warnings of the factorisation.
    energy : Term, optional
        Energies in the loss, with the weight that PR is compared with.
    rank : int, optional
        Rank of C.
    training : TrainingSet, optional
        Rigidities of the training set, if they are known; else they are computed.
    calibration : Calibration, optional
        What makes σ of the variance of an energy per atom.
    arbitrary : ndarray of bool of shape (n_structures,), optional
        Structures whose energy the fit leaves open, by its baseline: their PR is 0.
    why : str
        Why there is no choice of λ, in half a line.
    """
    kinds, components = test.kinds(group_key), test.components()
    with blame(test.name):
        parts = [_assess(hessian, rows, reduction, components, atom_map) for rows in test.batches()]
    rigidities = Rigidities(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    if arbitrary is not None:
        rigidities.pr[arbitrary] = 0.0
    labels = test.labels()
    if training is None:
        with blame(train.name):
            training = TrainingSet.of(hessian, train.batches(), reduction, rank)
    energy_std, atom_energy_std = _standard_deviations(rigidities, calibration, test.sizes, reduction, test.kinds())
    compared = against(
        training,
        structures=labels.structures,
        labels=labels.labels,
        lpr=rigidities.lpr,
        pr=rigidities.pr,
        prints=rigidities.fingerprints,
        energy=energy,
        reduction=reduction,
        std=None if energy_std is None else 1000 * energy_std / test.sizes,
        kinds=kinds,
    )
    names = list(components.body_orders), list(components.structure)
    classes = test.classes(kinds)
    return Report(
        train,
        test,
        hessian,
        reduction,
        rigidities,
        *labels,
        kinds,
        classes,
        *names,
        list(warned),
        why,
        compared,
        energy_std,
        atom_energy_std,
    )


def _standard_deviations(
    rigidities: Rigidities,
    calibration: Calibration | None,
    sizes: NDArray[np.int64],
    reduction: Reduction,
    kinds: NDArray[np.str_] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None]:
    """Return σ of energies of structures and of atoms in eV, as `LinearModel.predict` gives them.

    v is that of the energy per atom: PR of a total energy is that of the mean over n².
    """
    if calibration is None or math.isnan(calibration.scale):
        return None, None
    divisor = 1 if reduction == "mean" else sizes**2
    with np.errstate(divide="ignore"):  # a PR of 0 is an infinite σ
        of_structures = sizes * calibration.deviations(1 / rigidities.pr / divisor, kinds)
    arbitrary = np.repeat(rigidities.pr == 0, sizes)
    return of_structures, std_of_atoms(calibration.scale, rigidities.lpr, arbitrary)


def _assess(
    hessian: Hessian, rows: Rows, reduction: Reduction, components: Components, atom_map: AtomMap | None
) -> tuple[NDArray[np.float64], ...]:
    """Return the fields of `Rigidities` for one batch."""
    atoms = rows.without_groups()
    lpr, pr = hessian.rigidity(atoms), hessian.rigidity(rows, reduction=reduction)
    prior_lpr, prior_pr = hessian.prior_share(atoms), hessian.prior_share(rows, reduction=reduction)
    lcpr, prior_lcpr = _with_shares(hessian, atoms, reduction, components.body_orders)
    cpr, prior_cpr = _with_shares(hessian, rows, reduction, components.structure)
    places = np.empty((len(lpr), 0)) if atom_map is None else atom_map.project(rows.values)
    return lpr, pr, lcpr, cpr, prior_lpr, prior_pr, prior_lcpr, prior_cpr, places, fingerprints(rows)


def _with_shares(
    hessian: Hessian, rows: Rows, reduction: Reduction, components: dict[str, NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rigidities of components and the prior's shares, both (n_targets, n_components)."""
    if not components:
        n = len(rows) if rows.groups is None else len(np.unique(rows.groups))
        return np.empty((n, 0)), np.empty((n, 0))
    named = list(components.values())
    with held(SetByPriorWarning):  # the report says it of all structures, by name
        rigidity = hessian.component_rigidity(rows, named, reduction=reduction)
    return rigidity, hessian.prior_share(rows, components=named, reduction=reduction)
