"""The state of a linear model in a file: arrays, numbers and names, without pickle.

A file names the kind of its descriptor. `Soap`, kernels on it, `Lode`, rows as given, and these
side by side are made from the file. The caller passes a descriptor of another kind, so that a file
cannot choose the code that runs. Every entry is checked by its name, as `rigidities.state` does for
sums and factors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice, OtherVersionWarning, warn
from rigidities.hessian import Hessian
from rigidities.loss.baseline import Baseline
from rigidities.loss.terms import NAMES, Loss, Term
from rigidities.model.calibration_state import CALIBRATION, calibration_state, calibrations_from
from rigidities.model.errors import Errors
from rigidities.model.training_set import FINGERPRINT, N_QUANTILES, TrainingSet
from rigidities.state import (
    VERSION,
    Check,
    count,
    each,
    entries,
    flag,
    known_version,
    listed,
    mapping,
    number,
    one_of,
    optional,
    text,
    vector,
)
from rigidities.structures import joined
from rigidities.structures.given import KIND

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from rigidities.structures.descriptor import Descriptor

_HESSIAN = "hessian."

_ARRAYS = "descriptor."
"""How the arrays of a descriptor begin."""

_KERNEL = "kernel"
"""Kind of descriptor of `rigidities.interop.featomic.kernel.KernelRows`."""

_LODE = "lode"
"""Kind of descriptor of a `Lode`."""

_SOAP = "soap"
"""Kind of descriptor of a `Soap`. Files of version 1 may name no kind and hold this one."""


def state_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a model with these fields."""
    parts = {f"{_HESSIAN}{name}": value for name, value in fields["hessian"].__getstate__().items()}
    del parts[f"{_HESSIAN}version"]  # that of the whole state
    soap, baseline = fields["soap"], fields["baseline"]
    kept = fields["training_set"]
    parts |= {} if kept is None else _training_set_state(kept)
    settings = soap.state()
    arrays = {name: value for name, value in settings.items() if isinstance(value, np.ndarray)}
    parts |= {f"{_ARRAYS}{name}": settings.pop(name) for name in arrays}
    return parts | {
        "version": VERSION,
        "coef": fields["coef"],
        "soap": settings | {"kind": soap.kind, "feature_space": soap.feature_space},
        "loss": {name: _term_state(term) for name, term in fields["loss"].terms.items()},
        "baseline": None if baseline is None else _baseline_state(baseline),
        "training": {name: _without_nan(asdict(errors)) for name, errors in fields["training"].items()},
        "left_out": {name: _without_nan(asdict(errors)) for name, errors in fields["left_out"].items()},
        "versions": fields["versions"],
        **calibration_state(fields["calibrations"]),
    }


def _term_state(term: Term) -> dict[str, Any]:
    """Return the fields of a term; versions before `Term.stress` can read those without one."""
    return {name: value for name, value in asdict(term).items() if name != "stress" or value is not None}


def _training_set_state(kept: TrainingSet) -> dict[str, Any]:
    return {
        "training_lpr": kept.lpr,
        "training_pr": kept.pr,
        "training_fingerprints": kept.fingerprints.ravel(),
        "training_rank": kept.rank,
    }


def _without_nan(values: Any) -> Any:
    """Return these numbers with None for NaN, which JSON lacks."""
    return {name: None if value != value else value for name, value in values.items()}


def _with_nan(values: Mapping[str, float | None]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in values.items()}


# What entries may be ------------------------------------------------------------------------------

_TERM: dict[str, Check] = {
    "weight": number(0.0),
    "per_atom": flag,
    "huber": optional(number(0.0)),
    "missing": one_of("refuse", "skip"),
    "target": optional(text),
    "weights": optional(text),
}


def _term(value: Any, name: str) -> None:
    """Raise unless these are the fields of a term; only a term of a stress has that entry."""
    mapping(value, name)
    entries(_TERM | ({"stress": text} if "stress" in value else {}))(value, name)


_ERRORS = entries({"n": count(), "rmse": optional(number(0.0)), "mae": optional(number(0.0))})

_SOAP_STATE = {"species": listed(count(1)), "body_orders": listed(count(1)), "hyperparameters": mapping}

_SOAP_COLUMNS: dict[str, Check] = {"compact": flag, "pseudo_species": listed(listed(number())), "purified": flag}
"""How columns are reduced. Without either entry, as in older files, they are featomic's."""


def _soap(value: Any, name: str) -> None:
    """Raise unless these are the settings of a `Soap`."""
    mapping(value, name)
    entries(_SOAP_STATE | {key: check for key, check in _SOAP_COLUMNS.items() if key in value})(value, name)


_LODE_STATE: dict[str, Check] = {
    "species": listed(count(1)),
    "exponent": count(1),
    "max_radial": count(),
    **{name: number(0.0) for name in ("smearing", "radius")},
    **{name: optional(number(0.0)) for name in ("inner_cutoff", "smoothing", "k_cutoff")},
}

_STATES: dict[str, dict[str, Check]] = {
    _SOAP: _SOAP_STATE,
    _LODE: _LODE_STATE,
    _KERNEL: {
        **{"soap": _soap, "zeta": count(1), "n_points": listed(count(1)), "n_whitened": listed(count(1))},
        **{"points": vector, "whitening": vector},
    },
    KIND: {"n_features": count(1), "species": listed(count()), "space": text},
}


def _species(value: Any, name: str) -> None:
    """Raise unless the value is an atomic number, or the 0 of rows whose species is unknown."""
    if value is not False and value != 0:
        count(1)(value, name)


def _baseline(value: Any, name: str) -> None:
    """Raise unless the value is a baseline; often, and in older files, nothing is undetermined."""
    mapping(value, name)
    checks: dict[str, Check] = {"species": listed(_species), "energies": listed(number())}
    entries(checks | ({"undetermined": listed(listed(number()))} if "undetermined" in value else {}))(value, name)


def _descriptor(value: Any, name: str) -> None:
    """Raise unless the value names a descriptor; the settings of unknown kinds are free."""
    mapping(value, name)
    if value.get("kind") == joined.KIND:
        _joined(value, name)
        return
    free: dict[str, Check] = {key: lambda value, name: None for key in value}
    named: dict[str, Check] = {"kind": text, "feature_space": text}
    if value.get("kind") == _SOAP:
        named |= {key: check for key, check in _SOAP_COLUMNS.items() if key in value}
    entries(_STATES.get(str(value.get("kind")), free) | named)(value, name)


def _joined(value: Mapping[str, Any], name: str) -> None:
    """Raise unless these are descriptors side by side, none of them joined itself."""
    parts = value.get("parts")
    places = {str(place) for place in range(len(parts) if isinstance(parts, list) else 0)}
    arrays: dict[str, Check] = {key: vector for key in value if key.partition(".")[0] in places}
    named: dict[str, Check] = {"kind": text, "feature_space": text}
    entries({"names": listed(text), "parts": listed(mapping)} | named | arrays)(value, name)
    for place, part in enumerate(joined.part_states(value)):
        if part.get("kind") == joined.KIND:
            raise ValueError(f"{name}.parts[{place}] is joined itself")
        _descriptor(part, f"{name}.parts[{place}]")


_MODEL: dict[str, Check] = {
    "version": known_version,
    "coef": vector,
    "soap": _descriptor,
    "loss": each(_term, NAMES),
    "baseline": optional(_baseline),
    "scales": each(optional(number(0.0)), NAMES),
    "training": each(_ERRORS, NAMES),
    "left_out": each(_ERRORS, NAMES),
    "versions": each(text),
}

_TRAINING_SET: dict[str, Check] = {
    "training_lpr": vector,
    "training_pr": vector,
    "training_fingerprints": vector,
    "training_rank": optional(count()),
}
"""Entries that a file may lack: older ones do."""


def checked_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a model in the present version; raise if it is not one.

    The entries of its Hessian are left to `Hessian`.
    """
    hessian = {name: value for name, value in state.items() if name.startswith(_HESSIAN)}
    arrays = {name: value for name, value in state.items() if name.startswith(_ARRAYS)}
    own = {name: value for name, value in state.items() if name not in hessian | arrays}
    if own["version"] == 1:
        own = _completed(own)
    if arrays:
        mapping(own.get("soap"), "soap")
        own["soap"] = own["soap"] | {name.removeprefix(_ARRAYS): value for name, value in arrays.items()}
    later = [part for part in (_TRAINING_SET, CALIBRATION) if part.keys() & own.keys()]
    entries(_MODEL | {name: check for part in later for name, check in part.items()})(own, "")
    for name in ("scales", "training", "left_out", *CALIBRATION.keys() & own.keys()):
        if own[name].keys() != own["loss"].keys():
            raise ValueError(f"{name} has {_listed(own[name])}, but the loss {_listed(own['loss'])}")
    return own | hessian


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _completed(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a model of version 1 with the kind of descriptor that it may lack.

    It had NaN where there is None now.
    """
    for name in ("soap", "scales", "training", "left_out"):
        mapping(state.get(name), name)
    for name in ("training", "left_out"):
        for term, errors in state[name].items():
            mapping(errors, f"{name}.{term}")
    return state | {
        "soap": {"kind": _SOAP} | state["soap"],
        "scales": _without_nan(state["scales"]),
        "training": {term: _without_nan(errors) for term, errors in state["training"].items()},
        "left_out": {term: _without_nan(errors) for term, errors in state["left_out"].items()},
    }


# From a state -------------------------------------------------------------------------------------


def check_descriptor(path: str | PathLike[str], state: Mapping[str, Any], given: Descriptor | None) -> None:
    """Raise if the descriptor that a file needs is missing or another one."""
    from rigidities.structures.descriptor import Descriptor

    if not (given is None or isinstance(given, Descriptor)):
        raise TypeError(f"descriptor is a {type(given).__name__}: expected a Descriptor, or None for a Soap")
    held = state["soap"]
    unknown = [kind for kind in _kinds(held) if kind not in _STATES]
    if given is None and unknown:
        raise ValueError(
            f"{path} holds a model of a descriptor of kind {unknown[0]!r}, which cannot be made from a file: "
            "pass it, LinearModel.load(path, descriptor=...)"
        )
    if given is not None and given.feature_space != held["feature_space"]:
        raise ValueError(
            f"{path} holds a model of feature space {held['feature_space']!r}, but the descriptor has "
            f"{given.feature_space!r}: pass the one that the model was fitted with"
        )


def warn_of_other_versions(fitted: Mapping[str, str], packages: Iterable[str]) -> None:
    """Warn if a model was fitted to features of another version of a package."""
    for package in packages:
        here = version(package)
        if fitted.get(package) not in (None, here):
            warn(
                OtherVersionWarning,
                f"the model was fitted to features of {package} {fitted[package]}, but {here} is installed: "
                "predictions may differ",
                Advice.COMPARE_VERSIONS,
            )


def _kinds(held: Mapping[str, Any]) -> list[str]:
    return [part["kind"] for part in held["parts"]] if held["kind"] == joined.KIND else [held["kind"]]


def fields_of(state: Mapping[str, Any], descriptor: Descriptor | None) -> dict[str, Any]:
    """Return the fields of the model that has this state, which `checked_state` returned."""
    parts = {name.removeprefix(_HESSIAN): value for name, value in state.items() if name.startswith(_HESSIAN)}
    hessian = Hessian.__new__(Hessian)
    hessian.__setstate__({"version": state["version"]} | parts)
    soap = _made_of(state["soap"]) if descriptor is None else descriptor
    return {
        "soap": soap,
        "loss": Loss(**{name: Term(**term) for name, term in state["loss"].items()}),
        "baseline": _baseline_of(state["baseline"]),
        "hessian": hessian,
        "coef": _coef_of(state["coef"], hessian, soap),
        "calibrations": calibrations_from(state, soap.feature_space),
        "training": {name: Errors(**_with_nan(errors)) for name, errors in state["training"].items()},
        "left_out": {name: Errors(**_with_nan(errors)) for name, errors in state["left_out"].items()},
        "versions": state["versions"],
        "training_set": _training_set_of(state) if "training_lpr" in state else None,
    }


def _training_set_of(state: Mapping[str, Any]) -> TrainingSet:
    lpr, pr, prints = (state[f"training_{name}"] for name in ("lpr", "pr", "fingerprints"))
    for name, quantiles in (("lpr", lpr), ("pr", pr)):
        if len(quantiles) != N_QUANTILES or not (quantiles[1:] >= quantiles[:-1]).all():
            raise ValueError(f"training_{name}: expected {N_QUANTILES} quantiles that rise")
    if not len(prints) or len(prints) % FINGERPRINT or not np.isfinite(prints).all():
        raise ValueError(f"training_fingerprints: expected {FINGERPRINT} finite numbers of each structure")
    return TrainingSet(lpr, pr, prints.reshape(-1, FINGERPRINT), state["training_rank"])


def _coef_of(coef: NDArray[np.float64], hessian: Hessian, soap: Descriptor) -> NDArray[np.float64]:
    if coef.shape != (soap.n_features,) or hessian.n_features != soap.n_features:
        raise ValueError(
            f"coef of shape {coef.shape} and a Hessian of {hessian.n_features} features, but the descriptor has "
            f"{soap.n_features}"
        )
    if not np.isfinite(coef).all():
        index = int(np.argmin(np.isfinite(coef)))
        raise ValueError(f"coef[{index}] is {coef[index]}: expected finite numbers")
    coef.flags.writeable = False
    return coef


def _baseline_state(baseline: Baseline) -> dict[str, Any]:
    state = asdict(baseline)
    return state if baseline.undetermined else {name: state[name] for name in ("species", "energies")}


def _baseline_of(state: Mapping[str, Any] | None) -> Baseline | None:
    if state is None:
        return None
    energies = dict(zip(state["species"], state["energies"], strict=True))
    baseline = Baseline(energies, state.get("undetermined", ()))
    if len(baseline.species) < len(state["species"]):
        raise ValueError("the baseline names a species twice")
    return baseline


def _made_of(state: Mapping[str, Any]) -> Descriptor:
    soap: Descriptor
    if state["kind"] == joined.KIND:
        parts = map(_made_of, joined.part_states(state))
        soap = joined.Joined(dict(zip(state["names"], parts, strict=True)))
    elif state["kind"] == _LODE:
        from rigidities.interop.featomic import Lode

        soap = Lode.of_state(state)
    elif state["kind"] == KIND:
        from rigidities.structures.given import GivenRows

        soap = GivenRows.of_state(state)
    elif state["kind"] == _KERNEL:
        from rigidities.interop.featomic.kernel import KernelRows

        soap = KernelRows.of_state(state)
    else:
        from rigidities.interop.featomic import Soap

        soap = Soap.of_state(state)
    if soap.feature_space != state["feature_space"]:
        raise ValueError(f"its columns are {state['feature_space']!r}, but its settings give {soap.feature_space!r}")
    return soap
