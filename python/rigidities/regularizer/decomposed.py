"""What a path decomposes: the pencil of the sums, or the triangular factor of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigidities.covariance import Covariance
from rigidities.exceptions import Advice
from rigidities.moments import Moments
from rigidities.penalty import Penalty
from rigidities.runtime import memory
from rigidities.spectrum.decomposition import decompose
from rigidities.spectrum.evidence import Projection
from rigidities.spectrum.maximum import ROWS_NEED
from rigidities.spectrum.pencil import make_pencil
from rigidities.spectrum.row_factor import RowFactor, decompose_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decomposed(cov: Covariance, moments: Moments, penalty: Penalty) -> tuple[NDArray[np.float64], Projection]:
    """Return the basis in which H is diagonal at every λ, and the moments in it.

    Raises
    ------
    MemoryError
        If the decomposition does not fit in memory.
    """
    p, factored = cov.n_features, cov.accumulation == "qr"
    of_sums = 7 if penalty.matrix is not None else 4 if penalty.diagonal is None else 5
    arrays = ROWS_NEED if factored else of_sums
    memory.require(8 * p * p * arrays, f"the decomposition of {p} features", Advice.FEWER_FEATURES_OR_ONE_LAMBDA)
    if factored:
        _, basis, projection = decompose_rows(RowFactor.of(cov._core), moments, penalty)
        return basis, projection
    spectrum, basis = decompose(make_pencil(cov.matrix(), penalty, moments.unit))
    return basis, Projection.diagonal(spectrum, basis, moments)
