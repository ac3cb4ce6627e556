"""The factorised Hessian H = C + λΛ = L Lᵀ: variances, rigidities, the fit, diagnostics.

J. Chem. Theory Comput. 19 (2023) 8020 (LPR); Faraday Discuss. 256 (2025) 322 (PR, CPR).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities import files, forms
from rigidities.components import component_indices
from rigidities.exceptions import Advice
from rigidities.factor import reciprocal
from rigidities.prior import Prior
from rigidities.reason import Reason
from rigidities.rows import CheckedRows, Rows
from rigidities.runtime import memory
from rigidities.runtime.cached import revised_property
from rigidities.state import IN_COLUMN, VERSION, check_regularizer, hessian_state, penalty_kind
from rigidities.updating import Updatable
from rigidities.validation import Precision, Reduction, as_columns, check_precision, is_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from rigidities.span import Span


class Hessian(Updatable, files.Stored):
    """The Hessian of a training loss, factorised. Made by `Covariance.factorize`.

    Wherever rows X are taken, `groups` and `reduction` mean what they mean in `Covariance.update`:
    rows with the same label are reduced into one; results are per label, in sorted order. `Rows`
    bring their own groups. `update` and `downdate` change a Hessian in place; its copies stay.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> hessian = covariance.factorize(0.0)
    >>> hessian.rigidity(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
    array([4., 1., 1.])
    """

    _kind = "hessian"
    #: Revision of the copy of the factor in float32, if there is one already.
    _single: int | None = None

    #: Feature space of the training rows, or None.
    feature_space: str | None

    def __init__(self) -> None:
        raise TypeError("a Hessian is made by Covariance.factorize or Hessian.from_rows")

    @classmethod
    def from_rows(
        cls,
        F: ArrayLike | Rows,
        regularizer: float | Literal["auto"] = "auto",
        *,
        weights: ArrayLike | None = None,
        targets: ArrayLike | None = None,
        penalty: ArrayLike | None = None,
    ) -> Hessian:
        """Factorise H of training rows, in their span if it is small or the penalty is a matrix.

        With fewer rows than features this is the dual form, n²p work. Rows are whitened by a matrix
        as penalty, to keep their digits. Where a direction is not penalised, C is summed.

        Parameters
        ----------
        F : array_like of shape (n, n_features), or Rows
            One row per target; the groups of `Rows` are reduced by their mean.
        regularizer, penalty
            As for `Covariance.factorize`.
        weights, targets
            As for `Covariance.update`.

        Returns
        -------
        Hessian

        Raises
        ------
        ValueError, TypeError, MemoryError, NotPositiveDefiniteError
            As `Covariance.update` and `Covariance.factorize`.

        Examples
        --------
        >>> hessian = Hessian.from_rows(np.eye(2, 1000), 0.5)
        >>> hessian.rigidity(np.eye(3, 1000))
        array([1.5, 1.5, 0.5])
        """
        rows = CheckedRows.of(F, None)
        hessian = cls._without_core(rows.feature_space, is_column(targets))
        hessian._core = forms.form_of_rows(rows, regularizer, weights, targets, penalty)
        return hessian

    def lifted(self, span: Span, norm: float, feature_space: str | None) -> Hessian:
        """Return the H of all features, if this one is in a span of rows; `norm` is its 1-norm."""
        hessian = self._without_core(feature_space, self._in_column)
        hessian._core = forms.lifted(self._core, span, norm)
        return hessian

    @classmethod
    def _without_core(cls, feature_space: str | None, in_column: bool) -> Hessian:
        hessian = cls.__new__(cls)
        hessian.feature_space, hessian._in_column = feature_space, in_column
        return hessian

    def __repr__(self) -> str:
        return f"Hessian(n_features={self.n_features}, n_rows={self.n_rows}, regularizer={self.regularizer:g})"

    def __getstate__(self) -> dict[str, Any]:
        forms.require_state(self._core)
        snapshot = self._core.snapshot()
        state = {"version": VERSION, "feature_space": self.feature_space, "penalty": penalty_kind(snapshot)}
        return state | snapshot | ({IN_COLUMN: True} if self._in_column else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = hessian_state(state)
        core = forms.form_of_state(state)
        check_regularizer(state)
        self._core = core
        self.feature_space, self._in_column = state["feature_space"], state[IN_COLUMN]

    @property
    def n_features(self) -> int:
        """Length p of a feature row."""
        return self._core.n_features

    @property
    def n_rows(self) -> int:
        """Number of target rows in C."""
        return self._core.n_rows

    @property
    def regularizer(self) -> float:
        """λ, as it was added: H = C + λΛ."""
        return self._core.regularizer

    @property
    def regularizer_reason(self) -> str:
        """Why λ has its value: "given", or the rule that chose it, with any jitter."""
        return self.reason.text(self.jitter)

    @property
    def reason(self) -> Reason:
        """Why λ has its value, as a `Reason`."""
        return Reason(self._core.reason)

    @property
    def jitter(self) -> float:
        """Number that was added to the diagonal of a singular penalty: H = C + λ(Λ + jitter)."""
        return self._core.jitter

    @property
    def log_determinant(self) -> float:
        """Natural logarithm of the determinant of H."""
        return self._core.log_determinant

    @revised_property
    def rcond(self) -> float:
        """Reciprocal condition number 1/(‖H‖₁‖H⁻¹‖₁).

        Estimated as in LAPACK's ``dpocon``, mostly within a factor of three. Rounding changes a
        variance by about p·eps/rcond (accumulation "qr": p·eps/√rcond) of its value at most.
        """
        return self._core.rcond()

    @revised_property
    def effective_dimension(self) -> float:
        """tr(C H⁻¹) = p − λ tr(ΛH⁻¹): how many directions the data determine, from 0 to p."""
        return self._core.effective_dimension()

    @revised_property
    def coef(self) -> NDArray[np.float64]:
        """The fit θ = H⁻¹b: (n_features,), or (n_features, n_outputs) if targets had columns.

        Raises
        ------
        NotFittedError
            If no targets were accumulated.
        """
        coef = self._core.coef()
        coef = coef[:, 0].copy() if coef.shape[1] == 1 and not self._in_column else np.ascontiguousarray(coef)
        coef.flags.writeable = False
        return coef

    def solve(self, B: ArrayLike) -> NDArray[np.float64]:
        """Solve H X = B.

        Parameters
        ----------
        B : array_like of shape (n_features,) or (n_features, k)

        Returns
        -------
        ndarray of the shape of B
            H⁻¹B.

        Raises
        ------
        ValueError
            If B has another number of rows, or an entry that is not finite.
        """
        solved = self._core.solve(as_columns(B, self.n_features))
        return solved[:, 0].copy() if np.ndim(B) == 1 else np.ascontiguousarray(solved)

    def whiten(
        self, X: ArrayLike | Rows, *, groups: ArrayLike | None = None, reduction: Reduction = "mean"
    ) -> NDArray[np.float64]:
        """Whiten rows: z = L⁻¹g, with H = L Lᵀ the Cholesky factor.

        ‖z‖² is the variance of a prediction, z·z' the covariance of two.

        Parameters
        ----------
        X, groups, reduction
            As for `variance`.

        Returns
        -------
        ndarray of shape (n_targets, n_features)

        Raises
        ------
        ValueError, TypeError, MemoryError
            As `Covariance.update`, or if the result does not fit in memory.
        """
        rows = self._rows(X, groups)
        n = rows.n_targets
        memory.require(8 * n * self.n_features, f"{n} whitened rows", Advice.FEWER_AT_A_TIME)
        return self._core.whiten(rows.values, rows.groups, reduction)

    def _whitened(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._core.whiten(F, None, "sum")

    def _coloured(self, Z: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._core.colour(Z)

    @revised_property
    def _prior(self) -> Prior:
        return Prior.of(self._core)

    def _prior_variance(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._prior.variance(F)

    def variance(
        self,
        X: ArrayLike | Rows,
        *,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
        precision: Precision = "float64",
    ) -> NDArray[np.float64]:
        """Variance v = gᵀH⁻¹g of each prediction, dimensionless for unit weights.

        The standard deviation of a prediction, in the unit of the target, is scale·√v with `scale`
        from calibration.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_features), or Rows
        groups : array_like of int of shape (n_rows,), optional
        reduction : {"mean", "sum"}
            See `Covariance.update`.
        precision : {"float64", "float32"}
            With "float32" the rows and a copy of the factor (4p² bytes, kept) are rounded to
            float32: about 1.8 times as fast, with a relative error of about 1e-7/√rcond. Refused
            if that exceeds 1e-3.

        Returns
        -------
        ndarray of shape (n_targets,)

        Raises
        ------
        ValueError, TypeError
            As `Covariance.update`, or if H is too ill-conditioned for float32.
        """
        check_precision(precision)
        rows = self._rows(X, groups)
        if precision == "float32":
            revision = self._revision
            forms.require_single(self._core, self.rcond, self._single == revision)
            self._single = revision
        return self._core.variance(rows.values, rows.groups, reduction, precision)

    def rigidity(
        self,
        X: ArrayLike | Rows,
        *,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
        precision: Precision = "float64",
    ) -> NDArray[np.float64]:
        """Prediction rigidity R = 1/(gᵀH⁻¹g) of each prediction.

        Local (LPR) with atoms' rows and no groups, or of structures (PR) with groups. A row of
        zeros has R = inf: it predicts 0 for any data.

        Parameters
        ----------
        X, groups, reduction, precision
            As for `variance`.

        Returns
        -------
        ndarray of shape (n_targets,)

        Raises
        ------
        ValueError, TypeError
            As `variance`.
        """
        return reciprocal(self.variance(X, groups=groups, reduction=reduction, precision=precision))

    def component_rigidity(
        self,
        X: ArrayLike | Rows,
        components: Sequence[int] | Sequence[slice] | Sequence[ArrayLike],
        *,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
    ) -> NDArray[np.float64]:
        """Component-wise prediction rigidity: R of the part that some features contribute.

        CPR with groups, LCPR (of each atom) without. The cost of C components is about Σ p_c² a
        row, not C·p².

        Parameters
        ----------
        X, groups, reduction
            As for `variance`.
        components : sequence
            One entry per component (body order, range, species, …): an array of feature indices, a
            slice or a boolean mask, which may overlap; or the sizes of components that follow one
            another, which sum to n_features.

        Returns
        -------
        ndarray of shape (n_targets, n_components)

        Raises
        ------
        ValueError, TypeError
            If a component is none of the above, is empty, repeats a feature or names one that does
            not exist, or as `Covariance.update`.
        MemoryError
            If the factors of the components, Σ p_c² numbers, do not fit in memory.

        Warns
        -----
        SetByPriorWarning
            If the rigidity of a component is set by λ; see `prior_share`.
        """
        indices = component_indices(components, self.n_features)
        rows = self._rows(X, groups)
        forms.require_components(self._core, [len(features) for features in indices])
        variances = self._core.component_variance(rows.values, indices, rows.groups, reduction)
        self._warn_of_prior(rows, indices, reduction)
        return reciprocal(variances)

    def prediction_covariance(self, X: ArrayLike | Rows, Y: ArrayLike | Rows | None = None) -> NDArray[np.float64]:
        """Joint covariance G_X H⁻¹ G_Yᵀ of predictions, for their differences and contrasts.

        Parameters
        ----------
        X : array_like of shape (n, n_features), or Rows
        Y : array_like of shape (m, n_features), or Rows, optional
            X by default. The groups of `Rows` are reduced by their mean.

        Returns
        -------
        ndarray of shape (n, m)
            Without Y it is exactly symmetric, and its diagonal has the variances.

        Raises
        ------
        ValueError, TypeError
            As `Covariance.update`.
        MemoryError
            If the result does not fit in memory.
        """
        rows = self._rows(X, None)
        n = rows.n_targets
        if Y is None:
            forms.require_joint(n, n, self.n_features)
            return self._core.prediction_covariance(rows.values, rows.groups, "mean")
        others = self._rows(Y, None)
        forms.require_joint(n, others.values.shape[0], self.n_features)
        return self._core.prediction_cross_covariance(forms.target_rows(rows), forms.target_rows(others))
