"""Sums over the training data: C = Σ w f fᵀ, and with targets b = Σ w f yᵀ, Σ w y², n, Σ ln w."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities import _core, files
from rigidities.choice import choose, factorize, largest_evidence, moments_of
from rigidities.exceptions import Advice
from rigidities.forms import warn_if_unresolved
from rigidities.hessian import Hessian
from rigidities.moments import Moments
from rigidities.penalty import Penalty
from rigidities.rows import CheckedRows, Rows
from rigidities.runtime import memory
from rigidities.spectrum.maximum import Choice
from rigidities.state import IN_COLUMN, VERSION, covariance_state
from rigidities.validation import (
    NO_NUMBERS,
    Accumulation,
    Precision,
    Reduction,
    as_count,
    as_flag,
    as_float,
    as_floats,
    as_outputs,
    check_accumulation,
    check_feature_space,
    check_precision,
    check_reduction,
    is_column,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Covariance(files.Stored):
    """Feature covariance of a training set, accumulated batch by batch.

    C = Σ w f fᵀ, a sum over target rows f with loss weights w, never a mean. Any number of batches
    in any sizes gives the same bits, on any number of threads.

    Parameters
    ----------
    n_features : int
        Length p of a feature row. C takes 8p² bytes.
    precision : {"float64", "float32"}
        Precision of the products. With "float32" the reduced, weighted rows are rounded to float32
        and multiplied in float32 over runs of 1,024 rows, and the runs are added in float64: about
        1.8 times as fast. Each entry C_ij is then off by some 1e-7·√(C_ii C_jj), so that H is only
        safely positive definite for λ above (p + 1)·6e-8·trace(C): nine orders of magnitude more
        than float64 needs. For ranking with a strong regulariser, not for a fit.
    accumulation : {"sums", "qr"}
        "sums" adds up the products w f fᵀ. "qr" keeps the triangular factor R of the weighted rows
        and targets √w[F Y] instead, C = RᵀR, updated by Householder reflections, and forms no
        product. Rounding of C is then u²‖C‖ in place of u‖C‖ (u = 1.1e-16): λ may be so small, and
        the evidence is resolved there. For rows of which many columns nearly depend on one another,
        fitted with little noise. An update takes about twice as long, `factorize` four times.
    feature_space : str, optional
        What the columns mean (a descriptor's settings or their hash). Rows of another space are
        refused; None matches all.

    Raises
    ------
    ValueError, TypeError
        If `n_features` is not a positive integer, `precision` or `accumulation` is another word, or
        "qr" is asked for in float32.
    MemoryError
        If C does not fit in memory.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> atoms = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(atoms, groups=[0, 0, 1])  # the mean of two atoms; one atom
    >>> covariance.matrix()
    array([[1.25, 1.25],
           [1.25, 1.25]])
    """

    _kind = "covariance"

    __array_ufunc__ = None  # NumPy scalars leave `weight * covariance` to __rmul__

    def __init__(
        self,
        n_features: int,
        *,
        precision: Precision = "float64",
        accumulation: Accumulation = "sums",
        feature_space: str | None = None,
    ) -> None:
        p = as_count(n_features, "n_features")
        check_precision(precision)
        check_accumulation(accumulation, precision)
        check_feature_space(feature_space)
        _require_square(p, "a covariance", Advice.FEWER_FEATURES)
        self._core = _core.Covariance(p, precision, accumulation)
        self.feature_space = feature_space
        self._in_column = False

    @property
    def n_features(self) -> int:
        """Length p of a feature row."""
        return self._core.n_features

    @property
    def n_rows(self) -> int:
        """Number of target rows that were summed (rows of weight 0 count nowhere)."""
        return self._core.n_rows

    @property
    def precision(self) -> Precision:
        """Least precision of the products that were summed: float32 once a part had it."""
        return self._core.precision

    @property
    def accumulation(self) -> Accumulation:
        """What is kept of the rows: "sums" of their products, or "qr", their triangular factor."""
        return self._core.accumulation

    @property
    def trace(self) -> float:
        """Trace of C: the summed squared norms of the weighted target rows."""
        return self._core.trace

    def __repr__(self) -> str:
        return f"Covariance(n_features={self.n_features}, n_rows={self.n_rows}, feature_space={self.feature_space!r})"

    def update(
        self,
        features: ArrayLike | Rows,
        *,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
        weights: ArrayLike | None = None,
        targets: ArrayLike | None = None,
    ) -> None:
        """Add a batch of rows. If an error is raised, nothing is added.

        Parameters
        ----------
        features : array_like of shape (n_rows, n_features), or Rows
            float32 or float64, any strides, read-only allowed.
        groups : array_like of int of shape (n_rows,), optional
            Rows with the same label are reduced into one target row: all atoms of a structure, all
            neighbours that contribute to one force component. Labels come in any order; a group
            lies within one call. None: each row is a target.
        reduction : {"mean", "sum"}
            How the rows of a group become its target row.
        weights : array_like of shape (n_targets,), optional
            Loss weights w ≥ 0 of the targets, in the order of the sorted labels; 1 by default.
        targets : array_like of shape (n_targets,) or (n_targets, n_outputs), optional
            What is fitted, in the same order and in the unit of the reduced row (per atom for a
            mean, total for a sum). Pass them to every update, or to none.

        Raises
        ------
        ValueError
            If shapes do not match, a feature, weight or target is NaN or infinite (the message
            names its place), a weight is negative, the sums would overflow, the feature space is
            another, or only some updates have targets.
        TypeError
            If features, weights or targets are not real numbers, or labels not integers.
        KeyboardInterrupt
            If Ctrl-C comes before the batch is added. Raised by this method it means, as every
            error does, that nothing was added. If Ctrl-C comes later, the batch is added, this
            method returns, and Python raises KeyboardInterrupt at the next statement.

        Warns
        -----
        ImplausibleLabelsWarning
            If targets of mean rows grow with the sizes of the groups, as totals do.
        """
        check_reduction(reduction)
        rows = CheckedRows.matching(features, groups, self.n_features, self.feature_space)
        if weights is not None:
            weights = np.ascontiguousarray(as_floats(weights, "weights", ndim=1, double=True))
        if targets is not None:
            targets, in_column = as_outputs(targets), is_column(targets)
            rows.warn_of_totals(targets, reduction)
        # += and not a call, and no call behind it: after a call Python looks for signals, and an
        # interrupted caller, who does not know that the batch is in, would add it again
        self._core += rows.values, rows.groups, reduction, weights, targets
        if self.feature_space is None:
            self.feature_space = rows.feature_space
        if targets is not None:
            self._in_column = in_column

    def merge(self, other: Covariance) -> None:
        """Add the sums of another part of the data to this one, in place.

        If an error is raised, Ctrl-C included, nothing is added.

        Parameters
        ----------
        other : Covariance
            With the same number of features and the same feature space. It is not changed.

        Raises
        ------
        ValueError
            If sizes, accumulations, feature spaces or outputs differ, or the sums would overflow.
        TypeError
            If `other` is not a `Covariance`.
        """
        if not isinstance(other, Covariance):
            raise TypeError(f"cannot merge a {type(other).__name__} into a Covariance")
        spaces = {self.feature_space, other.feature_space} - {None}
        if len(spaces) > 1:
            raise ValueError(
                f"cannot merge a covariance of feature space {other.feature_space!r} into {self.feature_space!r}"
            )
        space = next(iter(spaces), None)
        self._core += other._core  # no call, and none behind it: see `update`
        self.feature_space = space
        self._in_column |= other._in_column

    def __iadd__(self, other: Covariance) -> Covariance:
        if not isinstance(other, Covariance):
            return NotImplemented
        self.merge(other)
        return self

    def __add__(self, other: Covariance) -> Covariance:
        if not isinstance(other, Covariance):
            return NotImplemented
        total = self.copy()
        total.merge(other)
        return total

    def __mul__(self, weight: float) -> Covariance:
        """Scale a term of the loss: every weight w becomes `weight`·w."""
        if isinstance(weight, NO_NUMBERS) or not isinstance(weight, (int, float, np.integer, np.floating)):
            return NotImplemented
        _require_square(self.n_features, "another covariance", Advice.MERGE_IN_PLACE)
        scaled = type(self).__new__(type(self))
        scaled._core = self._core.scaled(as_float(weight, "the weight of the term"))
        scaled.feature_space, scaled._in_column = self.feature_space, self._in_column
        return scaled

    __rmul__ = __mul__

    def __radd__(self, other: object) -> Covariance:
        """Let ``sum([...])`` begin with its 0."""
        return self.copy() if isinstance(other, int) and other == 0 else NotImplemented

    def copy(self) -> Covariance:
        """Return an independent accumulator with the same sums."""
        return self * 1.0

    def __copy__(self) -> Covariance:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Covariance:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        p = self.n_features
        memory.require(4 * p * p, f"the state of a covariance of {p} features", Advice.FREE_MEMORY)
        column = {IN_COLUMN: True} if self._in_column else {}
        return {"version": VERSION, "feature_space": self.feature_space, **column, **self._core.snapshot()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = covariance_state(state)
        self._core = _core.Covariance.from_snapshot(state)
        self.feature_space, self._in_column = state["feature_space"], state[IN_COLUMN]

    def moments(self) -> Moments:
        """Return the sums that a fit needs beside C: b = Σ w f yᵀ, Σ w y², n and Σ ln w.

        Returns
        -------
        Moments
            Without outputs where no targets were given.
        """
        return replace(moments_of(self._core), in_column=self._in_column)

    def matrix(self) -> NDArray[np.float64]:
        """Return C, of shape (n_features, n_features), exactly symmetric."""
        _require_square(self.n_features, "the matrix", Advice.FACTORIZE_WITHOUT)
        return self._core.matrix()

    def factorize(
        self,
        regularizer: float | Literal["auto"] | Choice = "auto",
        *,
        penalty: ArrayLike | Penalty | None = None,
        consume: bool = False,
    ) -> Hessian:
        """Factorise H = C + λΛ.

        Parameters
        ----------
        regularizer : float or "auto"
            λ ≥ 0, added as given (unsquared). "auto" with targets takes the maximum of the marginal
            likelihood over λ, among those at which rounding leaves it resolved (see
            `regularizer_path`). Without targets, it takes the smallest λ at which rounding cannot
            make the factorisation fail: λ·λ_min(Λ) = 2(p + 1)·u·trace(C), u the unit roundoff of
            the least precise products (1.1e-16, or 6e-8 for float32; for "qr" the square, 1.2e-32).
            It is computed, not found by trial. `Hessian.regularizer_reason` is the rule that chose
            λ. A `Choice` is a λ that a criterion has chosen, with its reason.
        penalty : array_like of shape (n_features,) or (n_features, n_features), optional
            Λ: a diagonal (zeros leave features such as an intercept unpenalised) or a symmetric
            positive semi-definite matrix (K_MM), also one of scipy.sparse. The identity by default.
        consume : bool
            Factorise in the memory of C instead of a copy. This object can then no longer be used.
            If an error is raised, Ctrl-C and a warning turned into an error included, it is
            unchanged.

        Returns
        -------
        Hessian

        Raises
        ------
        NotPositiveDefiniteError
            If H is not positive definite to rounding at this λ.
        ValueError
            If λ is negative or not finite, the penalty is not symmetric, not positive semi-definite
            or of the wrong shape, or nothing was summed and "auto" has no scale to go by. If "auto"
            cannot tell the best λ because the penalty is a matrix near to singular: sum whitened
            rows then (`Whitening`).
        MemoryError
            If the factor, or the decomposition that "auto" needs, does not fit in memory.

        Warns
        -----
        UnresolvedEvidenceWarning
            If "auto" finds the largest evidence at the smallest λ at which it is resolved, or if it
            is resolved at none. Choose λ by leave-one-out then, with `regularizer_path`.
        EmptyFitWarning
            If the fit at this λ explains less than a tenth of the squares of its targets.
        IllConditionedWarning
            If the pivots span more than float64 resolves: no digit of a variance can be trusted.
        """
        consume, checked = as_flag(consume, "consume"), Penalty.of(penalty, self.n_features)
        choice = regularizer if isinstance(regularizer, Choice) else self.choose(regularizer, checked)
        # a penalty's matrix is kept; the guaranteed λ needs a factor of it as well
        arrays = (not consume) + (checked.matrix is not None) * (2 if choice.regularizer is None else 1)
        _require_square(self.n_features, "the factor", Advice.CONSUME, arrays)
        hessian = Hessian._without_core(self.feature_space, self._in_column)
        hessian._core = factorize(self._core, choice, checked, consume=consume)
        try:
            warn_if_unresolved(hessian._core.diagonal(), hessian._core.reason, hessian.regularizer, self.accumulation)
            if consume:  # C is whole until here; after an assignment, unlike a call, Python looks for no signal
                self._core.consumed = True
        except BaseException:
            del hessian._core  # C is back once the factor is gone
            raise
        return hessian

    def choose(
        self, regularizer: float | Literal["auto"] = "auto", penalty: ArrayLike | Penalty | None = None
    ) -> Choice:
        """Choose λ as `factorize` does, with its warnings.

        Parameters
        ----------
        regularizer, penalty
            As for `factorize`.

        Returns
        -------
        Choice
            Its λ is None if `factorize` takes the guaranteed one.
        """
        return choose(self._core, regularizer, Penalty.of(penalty, self.n_features))

    def largest_evidence(self, penalty: ArrayLike | Penalty | None = None) -> Choice:
        """Return the λ at the maximum of the marginal likelihood, without a warning.

        Parameters
        ----------
        penalty : array_like of shape (n_features,) or (n_features, n_features), optional
            Λ, as for `factorize`.

        Returns
        -------
        Choice
            A regularizer for `factorize`. Its λ is None if the evidence is resolved at no λ.

        Raises
        ------
        NotFittedError
            If no targets were accumulated.
        MemoryError
            If the decomposition does not fit in memory.
        """
        return largest_evidence(self._core, Penalty.of(penalty, self.n_features))


def _require_square(n: int, what: str, advice: Advice, arrays: int = 1) -> None:
    memory.require(8 * n * n * arrays, f"{what} of {n} features", advice)
