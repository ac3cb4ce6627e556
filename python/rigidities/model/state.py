"""The state of a linear model in a file: arrays, numbers and names, without pickle.

A file names the kind of its descriptor. `Soap` is made from the file. The caller passes a
descriptor of another kind, so that a file cannot choose the code that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rigidities.hessian import Hessian
from rigidities.loss.baseline import Baseline
from rigidities.loss.terms import Loss, Term
from rigidities.model.errors import Errors

if TYPE_CHECKING:
    from os import PathLike

    from rigidities.structures.descriptor import Descriptor

_HESSIAN = "hessian."

_SOAP = "soap"
"""Kind of descriptor that can be made from a file. Older files name no kind and hold this one."""


def state_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a model with these fields."""
    parts = {f"{_HESSIAN}{name}": value for name, value in fields["hessian"].__getstate__().items()}
    soap, baseline = fields["soap"], fields["baseline"]
    return parts | {
        "coef": fields["coef"],
        "soap": soap.state() | {"kind": soap.kind, "feature_space": soap.feature_space},
        "loss": {name: asdict(term) for name, term in fields["loss"].terms.items()},
        "baseline": None if baseline is None else asdict(baseline),
        "scales": fields["scales"],
        "training": {name: asdict(errors) for name, errors in fields["training"].items()},
        "left_out": {name: asdict(errors) for name, errors in fields["left_out"].items()},
        "versions": fields["versions"],
    }


def check_descriptor(path: str | PathLike[str], state: Mapping[str, Any], given: Descriptor | None) -> None:
    """Raise if the descriptor that a file needs is missing or another one."""
    from rigidities.structures.descriptor import Descriptor

    if not (given is None or isinstance(given, Descriptor)):
        raise TypeError(f"descriptor is a {type(given).__name__}: expected a Descriptor, or None for a Soap")
    held = state.get("soap", {})
    kind = held.get("kind", _SOAP)
    if given is None and kind != _SOAP:
        raise ValueError(
            f"{path} holds a model of a descriptor of kind {kind!r}, which cannot be made from a file: "
            "pass it, LinearModel.load(path, descriptor=...)"
        )
    if given is not None and given.feature_space != held.get("feature_space"):
        raise ValueError(
            f"{path} holds a model of feature space {held.get('feature_space')!r}, but the descriptor has "
            f"{given.feature_space!r}: pass the one that the model was fitted with"
        )


def fields_of(state: Mapping[str, Any], descriptor: Descriptor | None) -> dict[str, Any]:
    """Return the fields of the model that has this state."""
    parts = {name.removeprefix(_HESSIAN): value for name, value in state.items() if name.startswith(_HESSIAN)}
    hessian = Hessian.__new__(Hessian)
    hessian.__setstate__(parts)
    soap = _soap_of(state["soap"]) if descriptor is None else descriptor
    coef, baseline = state["coef"], state["baseline"]
    if coef.shape != (soap.n_features,) or hessian.n_features != soap.n_features:
        raise ValueError(
            f"coef of shape {coef.shape} and a Hessian of {hessian.n_features} features, but the descriptor has "
            f"{soap.n_features}"
        )
    coef.flags.writeable = False
    if baseline is not None:
        baseline = Baseline(dict(zip(baseline["species"], baseline["energies"], strict=True)))
    return {
        "soap": soap,
        "loss": Loss(**{name: Term(**term) for name, term in state["loss"].items()}),
        "baseline": baseline,
        "hessian": hessian,
        "coef": coef,
        "scales": state["scales"],
        "training": {name: Errors(**errors) for name, errors in state["training"].items()},
        "left_out": {name: Errors(**errors) for name, errors in state["left_out"].items()},
        "versions": state["versions"],
    }


def _soap_of(state: Mapping[str, Any]) -> Descriptor:
    from rigidities.interop.featomic import Soap

    soap = Soap.of_state(state)
    if soap.feature_space != state["feature_space"]:
        raise ValueError(f"its columns are {state['feature_space']!r}, but its settings give {soap.feature_space!r}")
    return soap
