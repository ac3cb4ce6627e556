"""Decompose sums, or the triangular factor of the rows, once for a path of λ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import Advice
from rigidities.moments import Moments
from rigidities.penalty import Penalty
from rigidities.regularizer.grid import GRID_SIZE, as_grid
from rigidities.regularizer.path import RegularizerPath
from rigidities.runtime import memory
from rigidities.spectrum.decomposition import decompose
from rigidities.spectrum.evidence import Projection
from rigidities.spectrum.maximum import ROWS_NEED
from rigidities.spectrum.pencil import make_pencil
from rigidities.spectrum.row_factor import RowFactor, decompose_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def regularizer_path(
    cov: Covariance, regularizers: ArrayLike | None = None, *, penalty: ArrayLike | Penalty | None = None
) -> RegularizerPath:
    """Decompose C once; each λ then costs O(p) for each row.

    Parameters
    ----------
    cov : Covariance
        It is not changed. Fits and their criteria need targets.
    regularizers : array_like of shape (n_λ,), optional
        λ > 0, unsquared, in any order. By default 200, evenly spaced in their logarithm over what
        rounding resolves: from 2(p + 1)·u·trace(C), the guaranteed λ (u² for "qr"), to 100 times
        the largest eigenvalue of C (with a penalty: of C in coordinates in which Λ is the
        identity).
    penalty : array_like of shape (n_features,) or (n_features, n_features), optional
        Λ, as for `Covariance.factorize`. Features whose entry or row is zero are unpenalised. A
        matrix that is singular to rounding, in directions that the data do not determine (K_MM of a
        sparse kernel model with nearly equal points), gets jitter on its diagonal: √(2(p + 1)u)
        times its largest eigenvalue, more for float32. Jitter and rounding of C then change the
        model by as much. See `RegularizerPath.jitter`.

    Returns
    -------
    RegularizerPath

    Raises
    ------
    ValueError
        If there is no λ, one is not positive or not finite, the penalty is invalid or zero, or
        nothing was summed.
    NotPositiveDefiniteError
        If the data do not determine an unpenalised feature.
    MemoryError
        If the decomposition does not fit in memory. It takes four arrays of the size of C, five
        with a diagonal penalty, seven with a matrix, twelve for "qr".

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> rng = np.random.default_rng(0)
    >>> F = rng.normal(size=(50, 8))
    >>> y = F @ rng.normal(size=8) + 0.3 * rng.normal(size=50)
    >>> covariance = rg.Covariance(8)
    >>> covariance.update(F, targets=y)
    >>> path = rg.regularizer_path(covariance, np.logspace(-3, 3, 13))
    >>> round(path.best("loo", F, y), 3)
    0.1
    """
    if not isinstance(cov, Covariance):
        raise TypeError(f"cov is a {type(cov).__name__}: expected a Covariance")
    grid = None if regularizers is None else as_grid(regularizers)
    checked = Penalty.of(penalty, cov.n_features)
    moments = cov.moments()
    moments.require_scale()
    basis, projection = _decomposed(cov, moments, checked)
    spectrum = projection.spectrum
    if grid is None:
        if spectrum.penalised.max(initial=0.0) < np.finfo(np.float64).tiny / np.finfo(np.float64).eps:
            raise ValueError(
                f"nothing was summed (the trace of C is {cov.trace:g}): pass regularizers, or update first"
            )
        grid = np.geomspace(spectrum.floor, 100 * spectrum.penalised.max(), GRID_SIZE)
    return RegularizerPath(grid, basis, projection, cov.feature_space)


def _decomposed(cov: Covariance, moments: Moments, penalty: Penalty) -> tuple[NDArray[np.float64], Projection]:
    """Return the basis in which H is diagonal at every λ, and the moments in it."""
    p, factored = cov.n_features, cov.accumulation == "qr"
    of_sums = 7 if penalty.matrix is not None else 4 if penalty.diagonal is None else 5
    arrays = ROWS_NEED if factored else of_sums
    memory.require(8 * p * p * arrays, f"the decomposition of {p} features", Advice.FEWER_FEATURES_OR_ONE_LAMBDA)
    if factored:
        _, basis, projection = decompose_rows(RowFactor.of(cov._core), moments, penalty)
        return basis, projection
    spectrum, basis = decompose(make_pencil(cov.matrix(), penalty, moments.unit))
    return basis, Projection.diagonal(spectrum, basis, moments)
