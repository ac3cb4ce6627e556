"""Calibration reports of a fitted model on labelled structures, one for each kind of target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.calibration.provenance import Provenance
from rigidities.report.calibration.report import CalibrationReport, calibration_report
from rigidities.report.comparison import QUANTITIES
from rigidities.structures.read import kinds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.model.linear import LinearModel
    from rigidities.model.prediction import Prediction
    from rigidities.report.comparison import Compared

LEAST = 10
"""Fewest targets of a report."""

MOST_LABELS = 20
"""Most compositions that are told apart."""


def reports_of(
    model: LinearModel, frames: Sequence[Atoms], prediction: Prediction, compared: Mapping[str, Compared]
) -> dict[str, CalibrationReport]:
    """Return a report for each kind of target of which there are enough.

    Energies and virials are per atom, in eV/atom, forces in eV/Å. Targets of one structure are a
    block, and targets at rounding are left out.

    Parameters
    ----------
    model : LinearModel
    frames : sequence of ase.Atoms
        Structures with labels.
    prediction : Prediction
        Of these structures.
    compared : dict of str to Compared
        From `rigidities.report.comparison.compare`.

    Returns
    -------
    dict of str to CalibrationReport
        By the name of the target, "energy", "force component" or "virial component".
    """
    reports = {}
    seen = _seen(model, prediction)
    for term, one in compared.items():
        assert one.structures is not None
        judged = one.judged & np.isfinite(one.std)
        structures = one.structures[judged]
        if len(structures) < LEAST or len(np.unique(structures)) < 2:
            continue
        calibration = model.calibration(term)
        name, unit, _ = QUANTITIES[term]
        reports[name] = calibration_report(
            one.residuals[judged],
            one.std[judged],
            by=_classes(frames, prediction, structures, _norms(term, one, judged)),
            blocks=structures,
            unit=unit,
            provenance=Provenance(
                "training structures that are left out",
                n=calibration.n or None,
                regularizer=model.hessian.regularizer,
                scale=float(calibration.scale),
                n_seen=int(seen[np.unique(structures)].sum()),
            ),
        )
    return reports


def _seen(model: LinearModel, prediction: Prediction) -> NDArray[np.bool_]:
    """Whether each structure is in the training set, as far as the model knows it."""
    if model.training_set is None or prediction.fingerprints is None:
        return np.zeros(len(prediction.sizes), dtype=bool)
    return model.training_set.find(prediction.fingerprints) >= 0


def _norms(term: str, one: Compared, judged: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Return the norm of the predicted force of each component, if all of them are there."""
    if term != "forces" or len(one.predicted) % 3:
        return None
    return np.repeat(np.linalg.norm(one.predicted.reshape(-1, 3), axis=1), 3)[judged]


def _classes(
    frames: Sequence[Any],
    prediction: Prediction,
    structures: NDArray[np.int64],
    norms: NDArray[np.float64] | None,
) -> dict[str, Any]:
    """Return what the comparison is made for: kind, composition, size, norm of the force."""
    found: dict[str, Any] = {}
    kinds = kinds_of(frames)
    if kinds is not None:
        found["kind"] = kinds[structures]
    formulas = np.array([frame.get_chemical_formula(empirical=True) for frame in frames])
    if 1 < len(np.unique(formulas)) <= MOST_LABELS:
        found["composition"] = formulas[structures]
    sizes = prediction.sizes.astype(np.float64)
    if len(np.unique(sizes)) > 1:
        found["number of atoms"] = sizes[structures]
    if norms is not None:
        found["norm of the force, eV/Å"] = norms
    return found
