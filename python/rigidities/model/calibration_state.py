"""The state of calibrations in the file of a model.

The scales have an entry of their own, which files of all versions hold. Noise (`noise_std`), floor
and kinds are in the entry "calibration", which older files lack: σ is scale·√v there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rigidities.calibration.scale import Calibration, Kind
from rigidities.loss.terms import NAMES
from rigidities.state import Check, count, each, entries, number

_KIND = entries({"n_structures": count(1), "mean_square": number(0.0), "factor": number(0.0)})

_CALIBRATION = entries(
    {"noise": number(0.0), "floor": number(0.0), "n": count(), "n_aside": count(), "kinds": each(_KIND)}
)

CALIBRATION: dict[str, Check] = {"calibration": each(_CALIBRATION, NAMES)}


def calibration_state(calibrations: Mapping[str, Calibration]) -> dict[str, Any]:
    """Return the entries of calibrations in the state of a model, with None for NaN."""
    states = {
        name: {
            "noise": one.noise_std,
            "floor": one.floor,
            "n": one.n,
            "n_aside": one.n_aside,
            "kinds": {kind: asdict(found) for kind, found in one.kinds.items()},
        }
        for name, one in calibrations.items()
    }
    known = {name: None if one.scale != one.scale else one.scale for name, one in calibrations.items()}
    return {"scales": known, "calibration": states}


def calibrations_from(state: Mapping[str, Any], feature_space: str) -> dict[str, Calibration]:
    """Return the calibrations of a checked state, whose variances are of this feature space."""
    rest = state.get("calibration", {})
    found = {}
    for name, scale in state["scales"].items():
        own = dict(rest.get(name, {}))
        kinds = {kind: Kind(**values) for kind, values in own.pop("kinds", {}).items()}
        own |= {"noise_std": own.pop("noise", 0.0), "feature_space": feature_space}
        found[name] = Calibration(float("nan") if scale is None else scale, kinds=kinds, **own)
    return found
