"""Predictions of a model for structures, and the extended XYZ file that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.runtime.writing import replacing
from rigidities.structures.extxyz import write_annotated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from ase import Atoms
    from numpy.typing import NDArray


PREDICTED = {
    *("predicted_energy", "energy_uncertainty", "energy_std", "energies_uncertainty", "energy_ensemble"),
    *("predicted_forces", "forces_uncertainty", "forces_std", "predicted_virial", "virial_std"),
}
"""Names of predictions in extended XYZ."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energies, forces and virials of structures, with standard deviations and rigidities.

    Attributes
    ----------
    sizes : ndarray of shape (n_structures,)
        Numbers of atoms.
    energies, energy_std : ndarray of shape (n_structures,)
        Energy of each structure and its standard deviation, in eV. The latter is infinite where the
        composition is outside those of the fit, so that the baseline is arbitrary.
    pr : ndarray of shape (n_structures,)
        Prediction rigidity of the energy per atom, 1/v; 0 where σ is infinite.
    lpr : ndarray of shape (n_atoms,)
        Local prediction rigidity of each atom, in the order of the structures.
    forces, forces_std : ndarray of shape (n_atoms, 3), or None
        Force components and their standard deviations, in eV/Å; None if they were not asked for.
    virials, virial_std : ndarray of shape (n_structures, 6), or None
        Virials −∂E/∂ε and their standard deviations, in eV, in ASE's Voigt order xx, yy, zz, yz,
        xz, xy; None if they were not asked for. The stress is −virial/volume.
    fingerprints : ndarray of shape (n_structures, 5), or None
        Numbers by which `TrainingSet.find` recognises training structures.
    atom_energy_std : ndarray of shape (n_atoms,), or None
        Standard deviation of the energy of each atom, scale·√v = scale/√LPR, in eV: what the
        parameters leave open. Energies of atoms have no labels, so there is no noise in it.
    energy_ensemble : ndarray of shape (n_structures, n_members), or None
        Energy of each structure in eV by each member of an ensemble, if one was asked for. The mean
        over members is `energies`, their spread the part scale·√v of `energy_std`: no noise and no
        factor of a kind. NaN where σ is infinite.
    """

    sizes: NDArray[np.int64]
    energies: NDArray[np.float64]
    energy_std: NDArray[np.float64]
    pr: NDArray[np.float64]
    lpr: NDArray[np.float64]
    forces: NDArray[np.float64] | None = None
    forces_std: NDArray[np.float64] | None = None
    virials: NDArray[np.float64] | None = None
    virial_std: NDArray[np.float64] | None = None
    fingerprints: NDArray[np.float64] | None = None
    atom_energy_std: NDArray[np.float64] | None = None
    energy_ensemble: NDArray[np.float64] | None = None


def std_of_atoms(scale: float, lpr: NDArray[np.float64], arbitrary: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return σ = scale·√v of the energy of each atom; infinite where the baseline is arbitrary."""
    return np.where(arbitrary, np.inf, scale / np.sqrt(lpr))


def write_npz(prediction: Prediction, labels: NDArray[Any], mean: bool, path: str | PathLike[str]) -> None:
    """Write the predictions for rows as given to an .npz file.

    Arrays ``labels``, ``energies``, ``energy_std`` and ``pr`` of shape (n_structures,), ``lpr`` of
    the rows, sorted by structure, and, of an ensemble, ``energy_ensemble`` (n_structures,
    n_members).

    Parameters
    ----------
    prediction : Prediction
    labels : ndarray of shape (n_structures,)
        Labels or names of the structures.
    mean : bool
        Write energies per atom, else of the whole structure.
    path : path-like
        Replaced if it exists.
    """
    sizes = prediction.sizes if mean else np.ones_like(prediction.sizes)
    arrays: dict[str, Any] = {"labels": labels, "energies": prediction.energies / sizes}
    arrays |= {"energy_std": prediction.energy_std / sizes, "pr": prediction.pr, "lpr": prediction.lpr}
    if prediction.energy_ensemble is not None:
        arrays["energy_ensemble"] = prediction.energy_ensemble / sizes[:, None]
    with replacing(path) as file:
        np.savez(file, **arrays)


def write_xyz(prediction: Prediction, frames: Sequence[Atoms], path: str | PathLike[str]) -> None:
    """Write structures as extended XYZ, with the predictions beside the data they already have.

    Info ``predicted_energy``, ``energy_uncertainty`` (σ, eV) and ``pr``, arrays ``lpr`` and
    ``energies_uncertainty`` (σ of the energy of each atom, eV); with forces arrays
    ``predicted_forces`` and ``forces_uncertainty`` (σ, eV/Å); with virials info
    ``predicted_virial`` and ``virial_std`` (eV, Voigt order); with an ensemble info
    ``energy_ensemble`` (eV, a number for each member). Until the next version ``energy_std`` and
    ``forces_std`` are the same as the names that end in uncertainty. Predictions of an earlier
    output are left out, those that this one lacks too: numbers of two models are not mixed.

    Parameters
    ----------
    prediction : Prediction
    frames : sequence of ase.Atoms
        The structures of the prediction.
    path : path-like
        Replaced if it exists.

    Warns
    -----
    NotWrittenWarning
        If structures carry data that extended XYZ cannot hold: these are left out.
    """
    info = {"predicted_energy": prediction.energies, "pr": prediction.pr}
    info |= dict.fromkeys(("energy_uncertainty", "energy_std"), prediction.energy_std)
    if prediction.virials is not None and prediction.virial_std is not None:
        info |= {"predicted_virial": prediction.virials, "virial_std": prediction.virial_std}
    if prediction.energy_ensemble is not None:
        info["energy_ensemble"] = prediction.energy_ensemble
    arrays = {"lpr": prediction.lpr}
    if prediction.atom_energy_std is not None:
        arrays["energies_uncertainty"] = prediction.atom_energy_std
    if prediction.forces is not None and prediction.forces_std is not None:
        arrays["predicted_forces"] = prediction.forces
        arrays |= dict.fromkeys(("forces_uncertainty", "forces_std"), prediction.forces_std)
    write_annotated(frames, Path(path), info, arrays, PREDICTED)
