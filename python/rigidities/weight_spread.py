"""Second moments of changes of the weights θ, summed over training targets in one pass.

Target n changes θ by c_n H⁻¹f_n, with a factor c of its residual r, h = fᵀH⁻¹f and weight w. Rows z
= L⁻¹f are summed, in the coordinates in which H is the identity. Then

    variance of gᵀθ = (L⁻¹g)ᵀ S (L⁻¹g),    S = Σ c² z zᵀ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import NotFittedError
from rigidities.factor import rows_for
from rigidities.hessian import Hessian
from rigidities.rounding import UNIT_ROUNDOFF
from rigidities.rows import target_batches
from rigidities.runtime.cached import cached_property
from rigidities.validation import as_targets, as_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows
    from rigidities.validation import Reduction

RowBatches = Iterable[tuple[Any, ...]]
"""Training rows F, targets y and, if they are not 1, weights of some targets at a time."""

Coefficients = Callable[[Any, Any, Any], "NDArray[np.float64]"]
"""The factor c of z in S, of residuals r, h = fᵀH⁻¹f and weights w; NaN sets a target aside."""

ROWS_AT_ONCE = 2048
"""Rows that are whitened at a time."""


@dataclass(frozen=True, eq=False)
class WeightSpread:
    """A covariance of the weights θ, in the square of the targets' unit: no scale belongs to it.

    Attributes
    ----------
    hessian : Hessian
    moment : ndarray of shape (p, p)
        S, in the coordinates of whitened rows z = L⁻¹f (`Hessian.whiten`).
    n : int
        Number of targets that it is made of.
    n_aside : int
        Number of targets that were set aside: with leverages at rounding or, for "HC3", of 1.
    """

    hessian: Hessian
    moment: NDArray[np.float64]
    n: int
    n_aside: int

    def variance(
        self, X: ArrayLike | Rows, *, groups: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> NDArray[np.float64]:
        """Variance of predictions, in the square of the targets' unit (eV²): σ is its root.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_features), or Rows
        groups : array_like of int of shape (n_rows,), optional
        reduction : {"mean", "sum"}
            See `Covariance.update`.

        Returns
        -------
        ndarray of shape (n_targets,)

        Raises
        ------
        ValueError, TypeError
            As `Hessian.variance`.
        """
        parts = [np.einsum("ij,ij->i", Z @ self.moment, Z) for Z in self._whitened(X, groups, reduction)]
        return np.asarray(np.maximum(np.concatenate(parts), 0.0))

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance of θ in the coordinates of the features: (p, p), symmetric."""
        W = self.hessian.whiten(np.eye(self.hessian.n_features))
        covariance = W @ self.moment @ W.T
        return 0.5 * (covariance + covariance.T)

    def _whitened(
        self, X: ArrayLike | Rows, groups: ArrayLike | None, reduction: Reduction
    ) -> Iterator[NDArray[np.float64]]:
        rows = rows_for(self.hessian, X, groups)
        return (self.hessian.whiten(F) for F in target_batches(rows, reduction, ROWS_AT_ONCE))


class TrainingRows:
    """Batches of training rows: yields whitened rows z, residuals r, h = ‖z‖² and weights w > 0."""

    def __init__(self, hessian: Hessian, batches: RowBatches) -> None:
        if not isinstance(hessian, Hessian):
            raise TypeError(f"hessian is a {type(hessian).__name__}: expected a Hessian")
        if not isinstance(batches, Iterable):
            raise TypeError(f"batches is a {type(batches).__name__}: expected an iterable of tuples (F, y)")
        coef = hessian.coef
        if coef.ndim == 2 and coef.shape[1] > 1:
            raise ValueError(f"the targets have {coef.shape[1]} outputs: expected one; fit each output alone")
        self.hessian, self.batches, self.coef = hessian, batches, coef.reshape(-1)
        if hessian.n_rows == 0:
            raise NotFittedError("no targets were accumulated: there is nothing to fit")
        self.mean_leverage = hessian.effective_dimension / hessian.n_rows
        self.rounding = 4 * UNIT_ROUNDOFF * (len(self.coef) + 1 / hessian.rcond)

    @property
    def read_once(self) -> bool:
        """Whether there can be no second pass."""
        return iter(self.batches) is self.batches

    def require_again(self, what: str) -> None:
        """Raise if the rows can be read only once."""
        if self.read_once:
            raise ValueError(f"{what} needs the rows twice, but these can be read only once: pass a list")

    def __iter__(self) -> Iterator[tuple[NDArray[np.float64], ...]]:
        for index, batch in enumerate(self.batches):
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise TypeError(
                    f"batch {index} is a {type(batch).__name__}: expected a tuple of rows, targets and, if they are "
                    "not 1, weights"
                )
            yield from self._of(*batch)

    def _of(self, F: Any, y: Any, weights: Any = None) -> Iterator[tuple[NDArray[np.float64], ...]]:
        rows = rows_for(self.hessian, F, None)
        n = rows.n_targets
        targets, w = as_targets(y, n, 1)[:, 0], as_weights(weights, n)
        start = 0
        for part in target_batches(rows, "mean", ROWS_AT_ONCE):
            these = slice(start, start + len(part))
            start += len(part)
            used = w[these] > 0
            Z = self.hessian.whiten(part[used])
            residuals = targets[these][used] - part[used] @ self.coef
            yield Z, residuals, np.einsum("ij,ij->i", Z, Z), w[these][used]

    def moment(self, coefficients: Coefficients, least: float = 0.0) -> tuple[NDArray[np.float64], int, int]:
        """Return S = Σ c² z zᵀ, the number of targets in it, and of those that c sets aside."""
        sums = Covariance(len(self.coef))
        n, n_aside = 0, 0
        for Z, r, h, w in self:
            c = coefficients(r, h, w)
            aside = np.isnan(c)
            n_aside += int((aside & (h >= least)).sum())
            n += int((~aside).sum())
            if not aside.all():
                sums.update(Z[~aside], weights=c[~aside] ** 2)
        if n == 0:
            raise ValueError("there are no targets of positive weight and leverage: expected at least one")
        return sums.matrix(), n, n_aside
