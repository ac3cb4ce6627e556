"""Whether a fit lacks an intercept: the mean of its targets is explained by no features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.exceptions import Advice, ImplausibleLabelsWarning, warn
from rigidities.leave_one_out import leave_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.model.training import ModelFit

FEWEST = 10
"""Fewest energies that show it."""

SHARE = 0.5
"""Errors of left-out structures that fall to this share or less with a constant are warned of."""


def warn_of_missing_intercept(fitted: ModelFit, sizes: NDArray[np.int64]) -> None:
    """Warn if a constant per atom would halve the errors of structures that are left out.

    The errors of the energies e, and those of a fit to the constant u, are both in closed form at
    the λ of the fit. The constant whose e − c·u are least is what the features lack: u is small
    where they contain a constant already.

    Parameters
    ----------
    fitted : ModelFit
        With the rows of its energies (``keep_energies=True``), and without a baseline.
    sizes : ndarray of shape (n_energies,)
        Numbers of atoms of the structures with energies.
    """
    minimum, rows = fitted.minimum, fitted.minimum.energies
    if fitted.baseline is not None or rows is None or rows.targets is None or len(rows.targets) < FEWEST:
        return
    constant = np.ones(len(rows.targets)) if rows.term.per_atom else sizes.astype(np.float64)
    weights = rows.weights_in_loss
    left = []
    for coef, targets in (
        (minimum.coef, rows.targets),
        (minimum.hessian.solve(rows.values.T @ (weights * constant)), constant),
    ):
        left.append(leave_out(minimum.hessian, coef, rows.values, targets, weights).residuals)
    e, u = (array[np.isfinite(left).all(axis=0)] for array in left)
    if len(e) < FEWEST or not u.any():
        return
    c = float(u @ e / (u @ u))
    before, after = (float(np.sqrt(np.mean(errors**2))) for errors in (e, e - c * u))
    if after <= SHARE * before:
        warn(
            ImplausibleLabelsWarning,
            f"an intercept is missing: the targets have the mean {rows.targets.mean():.4g}, and with a constant of "
            f"{c:.4g} per atom the error of structures that are left out would be {after:.3g} in place of {before:.3g}",
            Advice.FIT_BASELINE,
        )
