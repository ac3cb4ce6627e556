"""The same comparison given a class of the targets: kind, composition, size, norm of the force.

σ may be right on average and wrong in each class, too small in one and too large in another. A σ
that is right given what is known of a target is *adaptive* (Pernot, arXiv:2303.07170).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities.calibration.bootstrap import Estimate
from rigidities.calibration.coverage import share
from rigidities.calibration.errors import as_classes_or_numbers
from rigidities.calibration.intervals import gaussian_quantile
from rigidities.calibration.reliability import Partition, ratios
from rigidities.exceptions import UndeterminedWarning, some_of, warn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.calibration.errors import Errors

QUANTITY_BINS = 5
"""Classes of a real number, as the norm of a force: fifths of the targets."""

UNNAMED = "class"
"""Name of classes that are passed as an array."""

Label = str | int | bool


class ClassCalibration(NamedTuple):
    """How σ does for the targets of one class.

    Attributes
    ----------
    n, n_blocks : int
        Targets and independent units.
    rmse, rms_std : float
        In the unit of the target.
    ratio, mean_square : Estimate
        RMSE/(RMS σ) and mean z², 1 if σ is right; limits 0 and infinity for a single unit.
    within_68, within_95 : Estimate
        Shares of |r| ≤ kσ, with k for 68 and 95 % of a Gaussian.
    """

    n: int
    n_blocks: int
    rmse: float
    rms_std: float
    ratio: Estimate
    mean_square: Estimate
    within_68: Estimate
    within_95: Estimate


By = Mapping[str, Mapping[Label, ClassCalibration]]


def read_classes(by: ArrayLike | Mapping[str, ArrayLike] | None, n: int) -> dict[str, NDArray[Any]]:
    """Return classes by name, as arrays of shape (n,)."""
    if by is None:
        return {}
    if not isinstance(by, Mapping):
        return {UNNAMED: as_classes_or_numbers(by, "by", n)}
    for name in by:
        if not isinstance(name, str):
            raise TypeError(f"by has the key {name!r}: expected the name of the classes, a string")
    return {name: as_classes_or_numbers(classes, f"by[{name!r}]", n) for name, classes in by.items()}


def by_class(errors: Errors, classes: Mapping[str, NDArray[Any]]) -> dict[str, dict[Label, ClassCalibration]]:
    """Compare errors with σ in each class; warn of classes of a single unit."""
    found = {}
    for name, values in classes.items():
        labels, part = _parts(values[errors.index])
        found[name] = dict(zip(labels, _of_parts(errors, part), strict=True))
    small = [f"{name} {label!r}" for name, one in found.items() for label, entry in one.items() if entry.n_blocks == 1]
    if small:
        units = "target" if errors.labels is None else "block"
        warn(
            UndeterminedWarning,
            f"{some_of(small)}: one {units} in the class, which has no interval; its numbers say little",
        )
    return found


def _parts(values: NDArray[Any]) -> tuple[list[Label], NDArray[np.int64]]:
    """Return names of the classes and the class of each target; real numbers go into fifths."""
    if values.dtype.kind != "f":
        names, part = np.unique(values, return_inverse=True)
        return [name.item() for name in names], part.ravel().astype(np.int64)
    inner = np.quantile(values, np.arange(1, QUANTITY_BINS) / QUANTITY_BINS, method="inverted_cdf")
    fifth = np.searchsorted(np.unique(inner), values, side="left")  # equal values stay together
    used, part = np.unique(fifth, return_inverse=True)
    ends = [(values[fifth == k].min(), values[fifth == k].max()) for k in used]
    labels: list[Label] = [_range(f"{low:.3g}", f"{high:.3g}") for low, high in ends]
    if len(set(labels)) < len(labels):  # ends that agree to three digits
        labels = [_range(str(low), str(high)) for low, high in ends]
    return labels, part.ravel().astype(np.int64)


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _of_parts(errors: Errors, part: NDArray[np.int64]) -> list[ClassCalibration]:
    found = ratios(errors, Partition(part, errors.block))
    order = np.argsort(part, kind="stable")
    members = np.split(order, np.cumsum(found.n)[:-1])
    within = [np.abs(errors.z) <= gaussian_quantile(level) for level in (0.68, 0.95)]
    return [
        ClassCalibration(
            int(found.n[k]),
            int(found.n_blocks[k]),
            float(found.rmse[k]),
            float(found.rms_std[k]),
            Estimate(float(found.ratio[k]), float(found.ratio_low[k]), float(found.ratio_high[k])),
            Estimate(float(found.mean_square[k]), float(found.mean_square_low[k]), float(found.mean_square_high[k])),
            *(share(inside[own], errors.block[own]) for inside in within),
        )
        for k, own in enumerate(members)
    ]
