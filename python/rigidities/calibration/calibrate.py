"""Calibrate σ on any residuals and variances: no model of this package is needed.

The checks of the arguments, the rows that are set aside, and one calibration for each output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from rigidities.calibration.intervals import Scores
from rigidities.calibration.losses import BIN_SIZE, Likelihood, Loss, relative_error
from rigidities.calibration.scale import LEAST_OF_KIND, Calibration, Kind, above_rounding, fit_calibration
from rigidities.exceptions import IllConditionedWarning, UndeterminedWarning, some_of, warn
from rigidities.validation import (
    as_array,
    as_classes,
    as_count,
    as_feature_table,
    as_floats,
    as_labels,
    as_noise,
    as_variances,
    check_feature_space,
    check_word,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST_ROWS = 10
"""Fewest rows that a scale is found from: its relative error is 1/√(2n), 22 %."""

USUAL = 0.99
"""Quantile of v that is taken for a usual v: up to 99 % of the rows may be rounding, and 1 % (one
row at least) may have any v above."""


def calibrate(
    residuals: ArrayLike,
    variance: ArrayLike,
    loss: Loss = "nll",
    *,
    noise: float | Literal["fit"] = 0.0,
    by: ArrayLike | None = None,
    blocks: ArrayLike | None = None,
    features: ArrayLike | None = None,
    bin_size: int = BIN_SIZE,
    feature_space: str | None = None,
) -> Calibration:
    """Find the scale of σ from residuals: σ² = scale²·(v + noise).

    The residuals are those of targets that the fit has not seen: of a validation set, or of
    training targets that are left out (`leave_one_out`). Any model will do, if v says how its
    variance changes from target to target.

    Parameters
    ----------
    residuals : array_like of shape (n,) or (n, n_outputs)
        Target minus prediction. Each output gets a scale of its own.
    variance : array_like of shape (n,)
        v of the targets, finite, from 0. Targets with v of 0, or at most 1e-6 of the median, are
        rounding: they are set aside, and their σ is that of 1e-6 of the median.
    loss : {"nll", "absolute", "crps", "binned"}
        What the scale minimises; `rigidities.calibration.losses` has the formulas. "nll", the
        Gaussian likelihood, makes mean (r/σ)² one. "absolute", the Laplace likelihood, and "crps"
        give few large errors less weight. "binned" compares mean r² and mean v in bins of like v.
    noise : float or "fit"
        Variance of a target of weight 1 over scale², beside v: 0 in the LLPR papers, 1 in Bayesian
        ridge regression. "fit": with the scale, by the likelihood of "nll" or "absolute"; it is 0
        unless it raises the log likelihood by more than 1.
    by : array_like of shape (n,), optional
        Class of each target, integers or text ("-": unknown). Each class of at least 5 targets (5
        blocks, with `blocks`) has a scale of its own, which is drawn towards the common scale as if
        that came from 5 more; a smaller class has the common scale. The classes also have
        conformal quantiles of their own.
    blocks : array_like of int of shape (n,), optional
        Targets with the same label are not independent, as the forces of one structure. The
        standard error then counts blocks, and conformal half-widths hold all targets of a new block
        together.
    features : array_like of shape (n,) or (n, n_features), optional
        Kept for ``interval(..., method="adaptive")``: what the size of errors may depend on beside
        v, as the norm of the force or the number of atoms.
    bin_size : int
        For "binned". The last bin, of the largest v, is left out if it is not full.
    feature_space : str, optional
        That of the Hessian that `variance` comes from, ``hessian.feature_space``. The calibration
        refuses variances of another one if they are named, too; arrays alone do not know theirs.

    Returns
    -------
    Calibration
        With `scale`, `scale_error`, `noise`, `by`, and the methods `standard_deviation` and
        `interval`.

    Raises
    ------
    ValueError, TypeError
        If lengths differ, a number is not finite, a variance is negative, all variances are 0 or
        all residuals of an output are 0, fewer than 10 targets are above rounding, or the loss is
        unknown. If the loss has no minimum above scale 0: "crps" if residuals of 0 carry 1/√2 of
        Σ√(v + noise) or more, "binned" if all residuals of a bin are 0 or no bin is full.

    Warns
    -----
    IllConditionedWarning
        If targets are set aside because their variance is 0 or rounding.
    UndeterminedWarning
        If a class has fewer than 5 targets, or blocks, and takes the common scale.

    Notes
    -----
    Residuals of `leave_one_out` resemble those of new targets, with two limits: σ is too small if
    targets resemble each other (frames of one trajectory: pass `blocks` there and here), and
    conformal intervals carry no finite-sample guarantee, because all residuals come from one data
    set. They do from a validation set.

    Examples
    --------
    No validation set is needed:

    >>> import numpy as np, rigidities as rg
    >>> rng = np.random.default_rng(0)
    >>> F = rng.normal(size=(300, 20))
    >>> y = F @ rng.normal(size=20) + 0.1 * rng.normal(size=300)
    >>> covariance = rg.Covariance(20)
    >>> covariance.update(F, targets=y)
    >>> hessian = covariance.factorize("auto")
    >>> left_out = rg.leave_one_out(hessian, F, y)
    >>> calibration = rg.calibrate(left_out.residuals, left_out.variances, noise=1.0)
    >>> round(calibration.scale, 2), round(calibration.scale_error, 3)  # y has errors of 0.1
    (0.1, 0.004)
    >>> new = rng.normal(size=(2, 20))
    >>> calibration.standard_deviation(hessian.variance(new)).round(2)
    array([0.11, 0.1 ])
    >>> calibration.interval(hessian.variance(new), 0.95, "conformal").round(1)
    array([0.2, 0.2])
    """
    check_word(loss, "loss", get_args(Loss))
    check_feature_space(feature_space)
    nu = _noise(noise, loss)
    r, v = _checked(residuals, variance)
    kept, floor = _above_rounding(v)
    members = np.arange(len(r)) if blocks is None else as_labels(blocks, "blocks", len(r), "target")
    classes = None if by is None else as_classes(by, "by", len(r), "target")
    table = None if features is None else as_feature_table(features, len(r))
    size = as_count(bin_size, "bin_size")
    if loss == "binned" and size > kept.sum():
        raise ValueError(f"bin_size is {bin_size} but there are {int(kept.sum())} targets: expected at most so many")

    r, v, own = r[kept], v[kept], None if classes is None else classes[kept]
    structures = np.unique(members[kept], return_inverse=True)[1].ravel()
    if structures.max() == 0:
        raise ValueError("blocks has one label: expected at least two blocks, which are independent of each other")
    found = [_one_output(column, v, structures, loss, floor, own, nu, size) for column in r.T]
    _warn_of_small_classes(found[0].kinds)
    several = as_array(residuals, "residuals").ndim == 2
    calibration = _stacked(found) if several else found[0]
    u = np.column_stack([np.abs(c) / np.sqrt(v + one.noise) for c, one in zip(r.T, found, strict=True)])
    scores = Scores(u, structures, own, None if table is None else table[kept])
    return replace(calibration, n=len(kept), n_aside=len(kept) - len(r), scores=scores, feature_space=feature_space)


def _noise(noise: float | Literal["fit"], loss: Loss) -> float | None:
    """Return ν, or None if it is to be fitted."""
    if not isinstance(noise, str):
        return as_noise(noise)
    if noise != "fit":
        raise ValueError(f'noise is "{noise}": expected a number from 0, or "fit"')
    if loss not in get_args(Likelihood):
        raise ValueError(f'noise="fit" needs a likelihood, but loss is "{loss}": expected "nll" or "absolute"')
    return None


def _checked(residuals: ArrayLike, variance: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return residuals (n, n_outputs) and variances (n,)."""
    array = as_array(residuals, "residuals")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise ValueError(f"residuals has shape {array.shape}: expected (n,) or (n, n_outputs)")
    r = np.array(as_floats(array[:, None] if array.ndim == 1 else array, "residuals", ndim=2, double=True))
    v = as_variances(variance)
    if len(r) != len(v):
        raise ValueError(f"there are {len(r)} residuals but {len(v)} variances: expected one variance per target")
    if not np.isfinite(r).all():
        row, column = np.argwhere(~np.isfinite(r))[0]
        place = f"{row}" if array.ndim == 1 else f"{row}, {column}"
        raise ValueError(f"residuals[{place}] is {r[row, column]}: residuals must be finite; leave this target out")
    return r, v


def _above_rounding(v: NDArray[np.float64]) -> tuple[NDArray[np.bool_], float]:
    """Return which targets have a variance above rounding, and the floor; warn of the others."""
    if len(v) and v.max() == 0:
        raise ValueError("all variances are 0: σ = scale·√v is 0 for each scale")
    # The floor is that of the median row: neither rounding nor a few rows far off may set it.
    largest = float(v.max(initial=0.0)) or 1.0  # so that medians stay in range
    usual = float(np.quantile(v / largest, USUAL, method="lower")) if len(v) else 0.0
    kept, floor = above_rounding(v / largest, v / largest, usual)
    n = int(kept.sum())
    if n < LEAST_ROWS:
        aside = f" ({len(v) - n} more have a variance of 0, or rounding)" if n < len(v) else ""
        raise ValueError(f"there are {n} targets{aside}: expected at least {LEAST_ROWS}")
    if n < len(v):
        warn(
            IllConditionedWarning,
            f"{len(v) - n} of {len(v)} variances are 0 or rounding, at most {floor * largest:.3g}: their targets are "
            "set aside, and their σ is that of this variance",
        )
    return kept, floor * largest


def _one_output(
    r: NDArray[np.float64],
    v: NDArray[np.float64],
    blocks: NDArray[np.int64],
    loss: Loss,
    floor: float,
    classes: NDArray[Any] | None,
    noise: float | None,
    bin_size: int,
) -> Calibration:
    """Calibrate one output, with the standard error of its scale."""
    if not r.any():
        raise ValueError("all residuals of the targets above rounding are 0: no scale follows from them")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by the result
        found = fit_calibration(r, v, blocks, loss, floor=floor, kinds=classes, noise=noise, bin_size=bin_size)
    if not (np.isfinite(found.scale) and np.isfinite(found.noise_std)):
        raise ValueError(
            f"the scale of residuals of up to {np.abs(r).max():.3g} over variances of up to {v.max():.3g} leaves the "
            "range of float64: pass them in other units"
        )
    if found.scale == 0:
        raise ValueError(_without_scale(r, np.sqrt(v + (noise or 0.0)), loss))
    deviation = found.deviations(v)
    share = (found.noise_std / deviation) ** 2 if noise is None and found.noise_std > 0 else None
    error = found.scale * relative_error(r, deviation, share, blocks, loss, bin_size)
    return replace(found, loss=loss, scale_error=float(error))


def _without_scale(r: NDArray[np.float64], deviation: NDArray[np.float64], loss: Loss) -> str:
    if loss == "binned":
        return 'all residuals of a bin are 0, whose logarithm "binned" takes: pass a larger bin_size, or another loss'
    zeros = np.abs(r) / deviation <= 1e-9 * np.max(np.abs(r) / deviation)
    share = float(deviation[zeros].sum() / deviation.sum())
    return (
        f"{int(zeros.sum())} of {len(r)} residuals are 0 or nearly so, and carry {share:.3g} of Σσ: from 1/√2 on, the "
        'CRPS is least at scale 0. Pass loss="nll" or "absolute", or leave targets out that are predicted exactly'
    )


def _warn_of_small_classes(kinds: Any) -> None:
    small = [f"{label!r} ({kind.n_structures})" for label, kind in kinds.items() if kind.n_structures < LEAST_OF_KIND]
    if small:
        warn(
            UndeterminedWarning,
            f"class {some_of(small)} has fewer than {LEAST_OF_KIND} targets or blocks: it takes the common scale",
        )


def _stacked(found: Sequence[Calibration]) -> Calibration:
    """Return one calibration of several outputs, with arrays in place of numbers."""
    scale, noise_std, error = (np.array([getattr(c, name) for c in found]) for name in _PER_OUTPUT)
    kinds = {
        label: Kind(
            kind.n_structures,
            np.array([c.kinds[label].mean_square for c in found]),
            np.array([c.kinds[label].factor for c in found]),
        )
        for label, kind in found[0].kinds.items()
    }
    return replace(found[0], scale=scale, noise_std=noise_std, scale_error=error, kinds=kinds)


_PER_OUTPUT = "scale", "noise_std", "scale_error"
