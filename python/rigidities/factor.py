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
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rigidities.components import component_indices, parts_of
from rigidities.exceptions import Advice
from rigidities.prior import AT_ONCE, share_of, warn_if_near_one
from rigidities.rows import CheckedRows, target_batches
from rigidities.runtime import memory
from rigidities.validation import as_count, as_flag, as_generator, as_scales

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from rigidities.rows import Rows
    from rigidities.validation import Reduction

LOOKED_AT = 8
"""Targets whose prior's share is computed to warn of components that λ sets, spread over all. With
p = 1024 and 8 components it takes 15 to 30 ms; 10,000 rows take 190 ms in all the rest."""


class Factor(ABC):
    """A factorised Hessian.

    Wherever rows X are taken, `groups` and `reduction` mean what they mean in `Covariance.update`.
    """

    #: Feature space of the training rows, or None.
    feature_space: str | None = None

    def __copy__(self) -> Self:
        return self  # immutable

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

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

    @abstractmethod
    def _coloured(self, Z: NDArray[np.float64]) -> NDArray[np.float64]:
        """W Z for Z of shape (rank, k), (n_features, k)."""

    @property
    def _rank(self) -> int:
        """Length of a whitened row."""
        return self.n_features

    @abstractmethod
    def _prior_variance(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        """λ fᵀH⁻¹ΛH⁻¹f of each row f of F, (n_targets,)."""

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
        rows = self._rows(X, groups)
        batches = target_batches(rows, reduction)
        variances = [[_squared_norms(self._whitened(part)) for part in parts_of(F, indices)] for F in batches]
        self._warn_of_prior(rows, indices, reduction)
        return reciprocal(np.concatenate([np.stack(columns, axis=1) for columns in variances]))

    def sample(
        self,
        n_members: int,
        *,
        scale: ArrayLike = 1.0,
        random_state: int | np.random.Generator | None = None,
        centred: bool = False,
    ) -> NDArray[np.float64]:
        """Draw fits from N(θ, scale²·H⁻¹): members θ + scale·W z, z of independent normal numbers.

        Parameters
        ----------
        n_members : int
            `rigidities.ensemble.members_needed` says how many.
        scale : float or array_like of shape (n_outputs,), default 1
            From calibration, in the unit of the targets.
        random_state : int or numpy.random.Generator, optional
            The same number gives the same members.
        centred : bool, default False
            Shift the members so that their mean is θ to rounding. Their covariance with n − 1 in
            the denominator is as right as without.

        Returns
        -------
        ndarray of shape (n_members, n_features), or (n_members, n_features, n_outputs)
            Around 0 if no targets were accumulated. Predictions of the members are
            ``members @ X.T``.

        Raises
        ------
        ValueError, TypeError
            If `n_members` is not a positive integer (2 or more if centred), or a scale is negative
            or not finite.
        MemoryError
            If the members do not fit in memory.

        Examples
        --------
        >>> import numpy as np, rigidities as rg
        >>> covariance = rg.Covariance(2)
        >>> covariance.update(np.diag([2.0, 1.0]))
        >>> members = covariance.factorize(0.0).sample(10_000, random_state=0)
        >>> members.std(axis=0).round(2)
        array([0.5, 1. ])
        """
        n = as_count(n_members, "n_members")
        if as_flag(centred, "centred") and n < 2:
            raise ValueError("n_members is 1: expected 2 or more members to centre")
        coef = getattr(self, "coef", None)  # NotFittedError is an AttributeError
        shape: tuple[int, ...] = (self.n_features,) if coef is None else coef.shape
        k = shape[1] if len(shape) == 2 else 1
        scales = as_scales(scale, k)
        memory.require(24 * n * k * self.n_features, f"{n} members", Advice.FEWER_MEMBERS)
        z = as_generator(random_state).standard_normal((n * k, self._rank))
        members = self._coloured(z.T).T.reshape(n, k, self.n_features) * scales[:, None]
        if centred:
            members -= members.mean(axis=0)
        members = members.transpose(0, 2, 1).reshape(n, *shape)
        return members if coef is None else members + coef

    def prior_share(
        self,
        X: ArrayLike | Rows,
        *,
        components: Any = None,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
    ) -> NDArray[np.float64]:
        """Share of the prior in each variance, λ gᵀH⁻¹ΛH⁻¹g / v: how much of R is λ's, from 0 to 1.

        The rest, Σ w (gᵀH⁻¹f)² / v, is shared by the training targets. Near 1 the rigidity is
        proportional to λ and says nothing of the data; near 0 λ hardly matters. It takes
        about four times as long as `variance`.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_features), or Rows
        components : sequence, optional
            As for `component_rigidity`: the share is that of each component's variance.
        groups : array_like of int of shape (n_rows,), optional
        reduction : {"mean", "sum"}
            See `Covariance.update`.

        Returns
        -------
        ndarray of shape (n_targets,), or (n_targets, n_components) with components
            0 for a row of zeros, which has no variance, and without a regularizer.

        Raises
        ------
        ValueError, TypeError
            As `component_rigidity`.
        MemoryError
            If a copy of the penalty does not fit in memory.

        Examples
        --------
        >>> import numpy as np, rigidities as rg
        >>> covariance = rg.Covariance(2)
        >>> covariance.update(np.array([[1.0, 0.0]]))
        >>> covariance.factorize(0.25).prior_share(np.eye(2))
        array([0.2, 1. ])
        """
        if components is not None:
            indices = component_indices(components, self.n_features)
            return np.concatenate([s for s, _ in self._shares(self._rows(X, groups), indices, reduction)])
        whole = [np.arange(self.n_features)]
        return np.concatenate([s[:, 0] for s, _ in self._shares(self._rows(X, groups), whole, reduction)])

    def _shares(
        self, rows: CheckedRows, indices: list[NDArray[np.int64]], reduction: Reduction
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """Yield the prior's shares of some targets and where there are parts, (n, n_components)."""
        for F in target_batches(rows, reduction, AT_ONCE):
            shares = np.empty((len(F), len(indices)))
            present = np.empty(shares.shape, dtype=bool)
            for column, part in enumerate(parts_of(F, indices)):
                shares[:, column] = share_of(self._prior_variance(part), _squared_norms(self._whitened(part)))
                present[:, column] = part.any(axis=1)
            yield shares, present

    def _warn_of_prior(self, rows: CheckedRows, indices: list[NDArray[np.int64]], reduction: Reduction) -> None:
        """Warn if λ sets the rigidity of a component, by a few of the targets."""
        some = rows.spread(LOOKED_AT)
        shares, present = zip(*self._shares(some, indices, reduction), strict=True)
        warn_if_near_one(np.concatenate(shares), np.concatenate(present))

    def _rows(self, X: ArrayLike | Rows, groups: ArrayLike | None) -> CheckedRows:
        return CheckedRows.matching(X, groups, self.n_features, self.feature_space)


def rows_for(hessian: Factor, X: ArrayLike | Rows, groups: ArrayLike | None) -> CheckedRows:
    """Check a factor and rows of predictions: their width, and their feature space."""
    if not isinstance(hessian, Factor):
        raise TypeError(f"hessian is a {type(hessian).__name__}: expected a Hessian, as Covariance.factorize returns")
    return hessian._rows(X, groups)


def finite(answers: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """Refuse answers that float64 cannot hold, in the words of the compiled core."""
    wrong = np.flatnonzero(~np.isfinite(answers).reshape(len(answers), -1).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"{what} {wrong[0]} is too large for float64: rescale the rows, or raise the regularizer",
        )
    return answers


def reciprocal(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """R = 1/v in place of v; inf where v is 0."""
    with np.errstate(divide="ignore"):
        return np.reciprocal(variance, out=variance)


def _squared_norms(Z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", Z, Z))
