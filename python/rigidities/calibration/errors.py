"""Residuals and the standard deviations that were predicted for them, checked once.

Targets are sorted by σ here, once: bins, ranks and the retention curve all need this order.

**Targets without a statement.** σ = 0 has no r/σ: these targets are set aside and counted. So are
targets whose σ *and* |r| are at most `ROUNDING` of their medians, as of a force component that
symmetry holds at zero: r/σ is then a ratio of roundings. A small σ beside a residual that is not
small is overconfident, not rounding, and stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import IllConditionedWarning, warn
from rigidities.validation import as_array, as_floats, as_labels, text_as_str

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST_TARGETS = 10
"""Fewest targets that a report is made of: the relative error of mean z² is √(2/n), 45 %."""

ROUNDING = 3e-3
"""Share of the median σ, and of the median |r|, up to which a target is rounding. `Calibration` has
its floor at 1e-3 of the median σ of its own targets, whose median may differ from that of these."""

LARGEST = 1e75
"""Largest |r|, σ and |r|/σ: their fourth powers, of the kurtosis, stay in the range of float64."""


@dataclass(frozen=True, eq=False)
class Errors:
    """Residuals and their σ, in the order of rising σ.

    Attributes
    ----------
    residuals, std : ndarray of shape (n,)
        r and σ > 0, in the unit of the target.
    block : ndarray of int of shape (n,)
        Index of the block of each target, from 0 to n_blocks − 1. Without blocks, each target is
        one.
    labels : ndarray of shape (n_blocks,), or None
        Labels of the blocks as they were passed.
    index : ndarray of int of shape (n,)
        Place of each target in the arrays that were passed.
    n_aside : int
        Number of targets that were set aside.
    """

    residuals: NDArray[np.float64]
    std: NDArray[np.float64]
    block: NDArray[np.int64]
    labels: NDArray[Any] | None
    index: NDArray[np.int64]
    n_aside: int

    def __len__(self) -> int:
        return len(self.std)

    @property
    def n_blocks(self) -> int:
        """Number of independent units: blocks, or targets where there are no blocks."""
        return len(self) if self.labels is None else len(self.labels)

    @cached_property
    def z(self) -> NDArray[np.float64]:
        """r/σ, (n,)."""
        return np.asarray(self.residuals / self.std)


def read_errors(residuals: ArrayLike, std: ArrayLike, blocks: ArrayLike | None) -> Errors:
    """Check residuals and standard deviations, and set aside those without a statement.

    Parameters
    ----------
    residuals, std : array_like of shape (n,)
    blocks : array_like of int of shape (n,), or None

    Returns
    -------
    Errors

    Raises
    ------
    ValueError, TypeError
        If lengths differ, a number is not finite, a σ is negative, all σ or all residuals are 0,
        fewer than 10 targets remain, blocks has one label, or numbers are out of range.

    Warns
    -----
    IllConditionedWarning
        If targets are set aside.
    """
    r = np.array(as_floats(residuals, "residuals", ndim=1, double=True))
    s = np.array(as_floats(std, "std", ndim=1, double=True))
    if len(r) != len(s):
        raise ValueError(f"there are {len(r)} residuals but {len(s)} standard deviations: expected one for each")
    for name, values in (("residuals", r), ("std", s)):
        bad = ~np.isfinite(values)
        if bad.any():
            raise ValueError(
                f"{name}[{int(np.argmax(bad))}] is {values[bad][0]}: expected finite numbers; leave such targets out"
            )
    if (s < 0).any():
        raise ValueError(f"std[{int(np.argmax(s < 0))}] is {s[s < 0][0]}: standard deviations must not be negative")
    labels = None if blocks is None else as_labels(blocks, "blocks", len(r), "target")
    kept = _with_statement(r, s)
    order = np.flatnonzero(kept)[np.argsort(s[kept], kind="stable")]
    r, s = r[order], s[order]
    _check_range(r, s)
    if labels is None:
        return Errors(r, s, np.arange(len(order)), None, order, len(kept) - len(order))
    names, block = np.unique(labels[order], return_inverse=True)
    if len(names) == 1:
        raise ValueError("blocks has one label: expected at least two blocks, which are independent of each other")
    return Errors(r, s, block.ravel().astype(np.int64), names, order, len(kept) - len(order))


def _with_statement(r: NDArray[np.float64], s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which targets are neither of σ = 0 nor rounding; warn of the others."""
    positive = s > 0
    if len(s) and not positive.any():
        raise ValueError("all standard deviations are 0: there is nothing to compare residuals with")
    misses = np.abs(r)
    if positive.any() and not misses[positive].any():
        raise ValueError("all residuals are 0: are the predictions compared with themselves?")
    usual, usual_miss = (float(np.median(a[positive])) if positive.any() else 0.0 for a in (s, misses))
    rounded = positive & (s <= ROUNDING * usual) & (misses <= ROUNDING * usual_miss)
    kept = positive & ~rounded
    n, n_zero, n_rounded = int(kept.sum()), int((~positive).sum()), int(rounded.sum())
    parts = []
    if n_zero:
        largest = float(misses[~positive].max())
        parts.append(f"{n_zero} with a standard deviation of 0 (largest |residual| {largest:.3g})")
    if n_rounded:
        parts.append(f"{n_rounded} whose residual and standard deviation are rounding")
    aside = " and ".join(parts)
    if n < LEAST_TARGETS:
        more = f" (set aside: {aside})" if aside else ""
        raise ValueError(f"there are {n} targets{more}: expected at least {LEAST_TARGETS}")
    if aside:
        warn(IllConditionedWarning, f"{len(r) - n} of {len(r)} targets are set aside: {aside}")
    return np.asarray(kept)


def _check_range(r: NDArray[np.float64], s: NDArray[np.float64]) -> None:
    with np.errstate(over="ignore"):
        largest = {"|residual|": np.abs(r).max(), "std": s.max(), "|residual|/std": (np.abs(r) / s).max()}
    for name, value in largest.items():
        if value > LARGEST:
            raise ValueError(f"the largest {name} is {value:.3g}: expected at most {LARGEST:g}; use another unit")
    if s.min() < 1 / LARGEST:
        raise ValueError(f"the least std is {s.min():.3g}: expected 0, or at least {1 / LARGEST:g}; use another unit")
    if np.abs(r).max() < 1 / LARGEST:
        raise ValueError(f"the largest |residual| is {np.abs(r).max():.3g}: use another unit")


def as_classes_or_numbers(classes: ArrayLike, name: str, n: int) -> NDArray[Any]:
    """Return classes of n targets: integers, booleans or text as they are, other numbers finite."""
    array = text_as_str(as_array(classes, name))
    if array.dtype.kind not in "biufU":
        raise TypeError(f"{name} has dtype {array.dtype}: expected text, integers or numbers")
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape} but there are {n} targets: expected ({n},)")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = int(np.argmax(~np.isfinite(array)))
        raise ValueError(f"{name}[{place}] is {array[place]}: expected finite numbers")
    return array
