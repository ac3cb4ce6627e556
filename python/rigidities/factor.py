"""The contract of a factor: what every factorised form of the Hessian H = C + λΛ provides.

A form is any W with H⁻¹ = W Wᵀ: W = L⁻ᵀ for the Cholesky factor L of `Hessian`, eigenvectors over
the roots of their eigenvalues for a pseudo-inverse. It whitens a row g to z = Wᵀg, and then

    v = gᵀH⁻¹g = ‖z‖²,    gᵀH⁻¹g' = z·z',    R = 1/v.

A form solves and whitens, and it gives |H|, tr(CH⁻¹) and cond(H). Variances and rigidities, also
those of components, follow from these here. A form that has a faster way, such as `Hessian` with
the compiled core, overrides them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.components import component_indices
from rigidities.rows import CheckedRows, target_batches

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows
    from rigidities.validation import Reduction


class Factor(ABC):
    """A factorised Hessian.

    Wherever rows X are taken, `groups` and `reduction` mean what they mean in `Covariance.update`.
    """

    #: Feature space of the training rows, or None.
    feature_space: str | None = None

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Length p of a feature row."""

    @property
    @abstractmethod
    def log_determinant(self) -> float:
        """Natural logarithm of the determinant of H (of a singular H, of its non-zero part)."""

    @property
    @abstractmethod
    def effective_dimension(self) -> float:
        """tr(C H⁻¹): how many directions of the features the data determine, between 0 and p."""

    @property
    @abstractmethod
    def rcond(self) -> float:
        """Reciprocal condition number of H (of a singular H, of its non-zero part)."""

    @abstractmethod
    def solve(self, B: ArrayLike) -> NDArray[np.float64]:
        """H⁻¹B, for B of shape (n_features,) or (n_features, k)."""

    @abstractmethod
    def _whitened(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        """Wᵀf of each row f of F, (n_targets, rank)."""

    def whiten(
        self, X: ArrayLike | Rows, *, groups: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> NDArray[np.float64]:
        """Whiten rows: z = Wᵀg with H⁻¹ = W Wᵀ, so that ‖z‖² is the variance of a prediction.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_features), or Rows
        groups : array_like of int of shape (n_rows,), optional
        reduction : {"mean", "sum"}
            See `Covariance.update`.

        Returns
        -------
        ndarray of shape (n_targets, rank)
            The rank is n_features unless H is singular.

        Raises
        ------
        ValueError, TypeError
            As `Covariance.update`.
        """
        batches = target_batches(self._rows(X, groups), reduction)
        return np.concatenate([self._whitened(F) for F in batches])

    def variance(
        self, X: ArrayLike | Rows, *, groups: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> NDArray[np.float64]:
        """Variance v = gᵀH⁻¹g of each prediction, (n_targets,)."""
        batches = target_batches(self._rows(X, groups), reduction)
        return np.concatenate([_squared_norms(self._whitened(F)) for F in batches])

    def rigidity(
        self, X: ArrayLike | Rows, *, groups: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> NDArray[np.float64]:
        """Prediction rigidity R = 1/(gᵀH⁻¹g), (n_targets,); inf for a row of zeros."""
        return reciprocal(self.variance(X, groups=groups, reduction=reduction))

    def component_rigidity(
        self,
        X: ArrayLike | Rows,
        components: Any,
        *,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
    ) -> NDArray[np.float64]:
        """R of each component's contribution to each prediction, (n_targets, n_components)."""
        indices = component_indices(components, self.n_features)
        batches = target_batches(self._rows(X, groups), reduction)
        return reciprocal(np.concatenate([self._component_variances(F, indices) for F in batches]))

    def _component_variances(self, F: NDArray[np.float64], indices: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        variances = np.empty((len(F), len(indices)))
        for column, features in enumerate(indices):
            part = np.zeros_like(F)
            part[:, features] = F[:, features]
            variances[:, column] = _squared_norms(self._whitened(part))
        return variances

    def _rows(self, X: ArrayLike | Rows, groups: ArrayLike | None) -> CheckedRows:
        return CheckedRows.matching(X, groups, self.n_features, self.feature_space)


def reciprocal(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """R = 1/v in place of v; inf where v is 0."""
    with np.errstate(divide="ignore"):
        return np.reciprocal(variance, out=variance)


def _squared_norms(Z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", Z, Z))
