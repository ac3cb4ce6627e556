"""Predictions of a model beside its training set, and the files that `score` writes of them."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.report.against import Against, against, against_summary
from rigidities.report.files import write_json
from rigidities.report.model import comparison_summary
from rigidities.report.next_structures import ranking, ranking_summary, write_csv, write_next
from rigidities.report.statistics import describe
from rigidities.structures.read import kinds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from rigidities.model.linear import LinearModel
    from rigidities.model.prediction import Prediction
    from rigidities.report.comparison import Compared


def scored(
    model: LinearModel, frames: Sequence[Atoms], prediction: Prediction, labels: NDArray[Any] | None = None
) -> Against:
    """Compare predicted structures with the training set that the model holds.

    Structures have these labels, or are counted from 0.
    """
    labels = np.arange(len(prediction.sizes)) if labels is None else labels
    std = 1000 * prediction.energy_std / prediction.sizes
    return against(
        model.training_set,
        structures=np.repeat(labels, prediction.sizes),
        labels=labels,
        lpr=prediction.lpr,
        pr=prediction.pr,
        prints=prediction.fingerprints,
        energy=model.loss.energy,
        std=None if np.isnan(std).all() else std,
        kinds=kinds_of(frames),
    )


def scored_summary(
    model: LinearModel,
    name: str,
    prediction: Prediction,
    compared: Mapping[str, Compared],
    training: Against,
    top: int,
    members: Mapping[str, int],
) -> dict[str, Any]:
    """Return the predictions in numbers, as values of JSON.

    `members` are "ensemble" and "random_state", the options of `LinearModel.predict`, or nothing.
    """
    hessian = model.hessian
    drawn = {"n_members": members["ensemble"], "seed": members["random_state"]} if members else None
    return {
        "structures": name,
        "n_structures": len(prediction.sizes),
        "n_atoms": int(prediction.sizes.sum()),
        "versions": {"rigidities": version("rigidities")},
        "versions_of_fit": model.versions,
        "regularizer": hessian.regularizer,
        "regularizer_reason": hessian.regularizer_reason,
        "effective_dimension": hessian.effective_dimension,
        "scales": model.scales,
        "noise": {name: one.noise_std for name, one in model.calibrations.items()},
        "energy_std_meV_per_atom": describe(1000 * prediction.energy_std / prediction.sizes),
        "energy_ensemble": drawn,
        "pr": describe(prediction.pr),
        "lpr": describe(prediction.lpr),
        "errors": comparison_summary(compared),
        "training_set": against_summary(training),
        "next": ranking_summary(ranking(training), top),
    }


def write_scored(
    content: dict[str, Any], frames: Sequence[Atoms], compared: Against, places: Sequence[Path], top: int
) -> None:
    """Write the first structures to compute next, the ranking of all, and the numbers."""
    structures, order, summary = places
    ranked = ranking(compared)
    write_next(ranked, frames, structures, top)
    write_csv(ranked, order)
    write_json(content, summary)
