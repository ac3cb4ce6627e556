"""Suspicious labels: training targets that a fit without them misses by far more than usual.

A wrong energy or force pulls the fit towards itself, so its residual in the fit is small where its
leverage is high. The left-out residual e is not pulled. Divided by its standard deviation,

    z = e/(s √(v + noise/w)),

it is the externally studentised residual of Cook & Weisberg (*Residuals and Influence in
Regression*, 1982, section 2.2) with two changes: s is robust, the median of |e|/√(v + noise/w) over
0.6745, the median of |z| of a Gaussian, so that wrong labels do not widen it; and noise is 0 by
default, as labels from converged calculations have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.leave_one_out import LeaveOneOut
from rigidities.validation import as_classes, as_noise, as_number, as_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

GAUSSIAN_MEDIAN = 0.6744897501960817
"""Median of |z| of a Gaussian, Φ⁻¹(¾)."""

FEWEST = 10
"""Fewest targets of a class from which s is found: of 10, it is known to a third or so."""

FLOOR = 1e-6
"""Least v that counts, as a part of the median: as in `calibrate`, a smaller one is rounding (of
the row of a force that symmetry holds at 0)."""


@dataclass(frozen=True, eq=False)
class SuspiciousLabels:
    """Training targets ranked by how far they are from a fit without them.

    Attributes
    ----------
    indices : ndarray of shape (n_suspicious,)
        Targets with |z| above the threshold, the largest first.
    scores : ndarray of shape (n_targets,) or (n_targets, n_outputs)
        z of every target. NaN where there is no fit without the target, so that nothing checks it.
    scales : dict
        Robust scale s of each class, in the unit of the targets; the key is None without classes.
        With several outputs arrays of shape (n_outputs,).
    threshold : float
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float64]
    scales: dict[Any, Any]
    threshold: float


def suspicious_labels(
    left_out: LeaveOneOut,
    *,
    weights: ArrayLike | None = None,
    noise: float = 0.0,
    by: ArrayLike | None = None,
    threshold: float = 4.0,
) -> SuspiciousLabels:
    """Rank training targets by their left-out residuals, and name those that are suspicious.

    Look at the first ones, correct or remove what is wrong, and fit again: errors that were hidden
    behind larger ones come up. A suspicious label may be right, of a structure unlike all others.

    Parameters
    ----------
    left_out : LeaveOneOut
        From `leave_one_out`, with the whole structure as a block if there are forces.
    weights : array_like of shape (n_targets,), optional
        Loss weights, 1 by default; they count with noise only.
    noise : float, default 0
        Variance of a target of weight 1 over s², beside v. With 0, targets that other data hold
        firmly are judged most strictly. With 1, as in Bayesian ridge regression, nearly all are
        judged by the size of e alone.
    by : array_like of shape (n_targets,), optional
        Class of each target, integers or text: energies and forces, say. Each class has its own s.
    threshold : float, default 4
        |z| above which a label is suspicious. Of a Gaussian, 6 in 100,000 are beyond 4. Errors of
        models have heavier tails: docs/attribution.md has figures.

    Returns
    -------
    SuspiciousLabels

    Raises
    ------
    ValueError, TypeError
        If arguments do not match, a class has fewer than 10 targets that can be judged, or half of
        its residuals or variances are 0.

    Examples
    --------
    A line through 30 points, of which the last one is off:

    >>> import numpy as np, rigidities as rg
    >>> x = np.linspace(0, 1, 30)
    >>> F, y = np.column_stack([np.ones(30), x]), 2 * x + 0.01 * np.sin(50 * x)
    >>> y[29] += 0.2
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(F, targets=y)
    >>> found = rg.suspicious_labels(rg.leave_one_out(covariance.factorize(0.0), F, y), noise=1.0)
    >>> print(found.indices, found.scores[29].round())
    [29] 10.0
    """
    if not isinstance(left_out, LeaveOneOut):
        raise TypeError(f"left_out is a {type(left_out).__name__}: expected what leave_one_out returns")
    limit = as_number(threshold, "threshold", "a positive number")
    if limit <= 0:
        raise ValueError(f"threshold is {threshold}: expected a positive number")
    v, n = left_out.variances, len(left_out.variances)
    w, nu = as_weights(weights, n), as_noise(noise)
    classes = None if by is None else as_classes(by, "by", n, "target")
    judged = np.isfinite(v)
    e = left_out.residuals.reshape(n, -1)
    z = np.full(e.shape, np.nan)
    scales: dict[Any, Any] = {}
    for label in [None] if classes is None else np.unique(classes).tolist():
        these = judged if classes is None else judged & (classes == label)
        z[these], s = _studentised(e[these], v[these], nu, w[these], "" if classes is None else f" of class {label!r}")
        scales[label] = s if left_out.residuals.ndim == 2 else float(s[0])
    largest = np.nan_to_num(np.abs(z).max(axis=1), nan=0.0, posinf=np.inf)
    order = np.argsort(-largest, kind="stable")
    found = order[: int((largest > limit).sum())]
    return SuspiciousLabels(found, z.reshape(left_out.residuals.shape), scales, limit)


def _studentised(
    e: NDArray[np.float64], v: NDArray[np.float64], noise: float, w: NDArray[np.float64], of_class: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return z (n, n_outputs) and s (n_outputs,) of one class."""
    if len(e) < FEWEST:
        raise ValueError(f"{len(e)} targets{of_class} can be judged: expected {FEWEST} or more, to learn a scale from")
    with np.errstate(divide="ignore"):  # a weight of 0: the target says nothing
        total = np.maximum(v, FLOOR * np.median(v)) + (noise / w if noise else 0.0)
    if not (total > 0).all():
        raise ValueError(f"the variances of half of the targets{of_class} are 0: pass a noise above 0")
    t = e / np.sqrt(total)[:, None]
    s = np.median(np.abs(t), axis=0) / GAUSSIAN_MEDIAN
    if not (s > 0).all():
        raise ValueError(f"half of the residuals{of_class} are 0: there is no scale to judge others by")
    return t / s, s
