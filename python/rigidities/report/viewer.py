"""Test structures for the viewer at https://chemiscope.org, with atoms coloured by rigidity."""

from __future__ import annotations

import gzip
import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.report.content import PR_IS, Report
from rigidities.report.maps import log_limits, log_rigidity
from rigidities.runtime.writing import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_viewer(report: Report, path: str | PathLike[str]) -> None:
    """Write the test structures for the viewer: atoms on the map and in space.

    JSON has no infinity: an infinite rigidity is written as the largest finite one, as the
    descriptions in the file state.

    Parameters
    ----------
    report : Report
        It has structures and a map.
    path : path-like
        Ending in ``.json`` or ``.json.gz``.

    Raises
    ------
    ValueError
        If only rows are known of the test set, or the name ends otherwise.
    OSError
        If the file cannot be written.
    """
    import chemiscope

    frames = report.frames()
    path = Path(path)
    if not path.name.endswith((".json", ".json.gz")):
        raise ValueError(f"{path} is no name of a file for the viewer: expected one that ends in .json or .json.gz")
    places = zip(report.structures.tolist(), report.atoms.tolist(), strict=True)
    content = chemiscope.create_input(
        structures=frames,
        properties=_properties(report),
        environments=[(structure, atom, report.test.cutoff) for structure, atom in places],
        metadata={"name": "rigidities", "description": _description(report)},
        settings=chemiscope.quick_settings(
            x="PC1", y="PC2", map_color="log10 LPR", structure_color="log10 LPR", target="atom",
            structure_settings={"unitCell": True},
        ),
    )  # fmt: skip
    text = json.dumps(content).encode()
    with replacing(path) as file:
        file.write(gzip.compress(text) if path.suffix == ".gz" else text)


def _properties(report: Report) -> dict[str, dict[str, Any]]:
    rigidities = report.rigidities
    atoms = {
        "PC1": (rigidities.coordinates[:, 0], "first principal component of the features of training and test atoms"),
        "PC2": (rigidities.coordinates[:, 1], "second principal component of the features of training and test atoms"),
        "log10 LPR": (_capped(rigidities.lpr), "local prediction rigidity; an infinite one as the largest finite one"),
    }
    atoms |= {name: (classes, f"{name} of the atom") for name, classes in report.classes.items()}
    text = f"prediction rigidity {PR_IS[report.reduction]}; an infinite one as the largest finite one"
    structures = {"log10 PR": (_capped(rigidities.pr), text)}
    targets = ("atom", atoms), ("structure", structures)
    return {
        name: {"target": target, "values": values.tolist(), "description": description}
        for target, properties in targets
        for name, (values, description) in properties.items()
    }


def _capped(rigidity: NDArray[np.float64]) -> NDArray[np.float64]:
    log = log_rigidity(rigidity)
    return np.clip(log, *log_limits(log))


def _description(report: Report) -> str:
    return (
        f"How far the training data ({report.train.name}) pin down the predictions for {report.test.name}, "
        f"at regularizer {report.hessian.regularizer:.3g} ({report.hessian.regularizer_reason}). "
        f"PR is {PR_IS[report.reduction]}."
    )
