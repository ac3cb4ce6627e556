"""H ← H ± Σ w f fᵀ: rows that are added to a factorised Hessian, or removed from it, in O(k p²).

The factor itself is changed: added rows are reflected into L, removed ones are taken out by
orthogonal transformations. So nothing drifts, however many changes there are. In the span of few
rows, which new rows leave, the span grows first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rigidities import _core
from rigidities.exceptions import Advice
from rigidities.factor import Factor
from rigidities.forms import Form, target_rows
from rigidities.rows import CheckedRows
from rigidities.runtime import memory
from rigidities.runtime.turn import Turn
from rigidities.span_form import SpanForm
from rigidities.validation import Reduction, as_floats, as_outputs, check_reduction, is_column

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rigidities.rows import Rows

_TURN = Turn()
"""Held while a span grows: two threads that change one Hessian must not start from one span."""


class Updatable(Factor):
    """A factor that rows can be added to and removed from, in place."""

    _core: Form
    _in_column: bool

    def __copy__(self) -> Self:
        """Return an independent Hessian. Both share the memory of L until one of them changes."""
        copied = type(self).__new__(type(self))
        copied.feature_space, copied._in_column = self.feature_space, self._in_column
        copied._core = self._core.copy()
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    @property
    def _revision(self) -> int:
        """How often rows were added or removed: other numbers belong to values out of date."""
        return self._core.revision

    def update(
        self,
        X: ArrayLike | Rows,
        *,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
        weights: ArrayLike | None = None,
        targets: ArrayLike | None = None,
    ) -> None:
        """Add rows to the data, in place: H + Σ w f fᵀ, with λ and the penalty as they are.

        Equal to summing the rows and factorising again, but k rows of p features cost about k·p²
        multiplications twice, not p³/3. If an error is raised, nothing has changed.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_features), or Rows
        groups, reduction, weights
            As for `Covariance.update`.
        targets : array_like of shape (n_targets,) or (n_targets, n_outputs), optional
            In the unit of the reduced row. `coef` is then the fit of all data. Without targets, a
            fitted Hessian is no longer one: `coef` raises `NotFittedError` from then on.

        Raises
        ------
        ValueError, TypeError
            As `Covariance.update`; also if there are targets, but rows before came without.
        MemoryError
            If a second factor does not fit in memory, which more than 64 rows at a time need.
        KeyboardInterrupt
            If Ctrl-C comes while rows are added: H is then as before, or with all of them.

        Examples
        --------
        >>> import numpy as np, rigidities as rg
        >>> covariance = rg.Covariance(2)
        >>> covariance.update(np.array([[2.0, 0.0], [0.0, 1.0]]))
        >>> hessian = covariance.factorize(0.0)
        >>> hessian.update(np.array([[0.0, 1.0]]))
        >>> hessian.rigidity(np.eye(2)).round(12)
        array([4., 2.])
        """
        self._change(True, X, groups, reduction, weights, targets)

    def downdate(
        self,
        X: ArrayLike | Rows,
        *,
        groups: ArrayLike | None = None,
        reduction: Reduction = "mean",
        weights: ArrayLike | None = None,
        targets: ArrayLike | None = None,
    ) -> None:
        """Remove rows from the data, in place: H − Σ w f fᵀ, with λ and the penalty as they are.

        The opposite of `update`. If an error is raised, nothing has changed.

        Parameters
        ----------
        X, groups, reduction, weights, targets
            Rows that are in H, with their weights and targets, as they were added. Without targets,
            a fitted Hessian is no longer one.

        Raises
        ------
        NotPositiveDefiniteError
            If H without the rows is not positive definite to rounding: they are not in H, or
            nothing else, not even λ, covers one of their directions. `pivot` is the index of the
            pivot of H that is lost.
        ValueError, TypeError
            As `update`; also if more rows of positive weight are removed than there are, or targets
            whose squares exceed those of all targets.
        MemoryError, KeyboardInterrupt
            As `update`.

        Examples
        --------
        >>> import numpy as np, rigidities as rg
        >>> covariance = rg.Covariance(2)
        >>> covariance.update(np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
        >>> hessian = covariance.factorize(0.0)
        >>> hessian.downdate(np.array([[0.0, 1.0]]))
        >>> hessian.rigidity(np.eye(2)).round(12)
        array([4., 1.])
        """
        self._change(False, X, groups, reduction, weights, targets)

    def _change(
        self,
        add: bool,
        X: ArrayLike | Rows,
        groups: ArrayLike | None,
        reduction: Reduction,
        weights: ArrayLike | None,
        targets: ArrayLike | None,
    ) -> None:
        check_reduction(reduction)
        rows = CheckedRows.matching(X, groups, self.n_features, self.feature_space)
        if weights is not None:
            weights = np.ascontiguousarray(as_floats(weights, "weights", ndim=1, double=True))
        if targets is not None:
            targets, in_column = as_outputs(targets), is_column(targets)
            rows.warn_of_totals(targets, reduction)
        if isinstance(self._core, SpanForm):
            F = target_rows(rows, reduction)
            with _TURN:
                self._core = self._core.changed(F, weights, targets, add)
        else:
            p, n = self.n_features, rows.n_targets
            if n > _core.ROWS_IN_PLACE:
                memory.require(8 * p * p, f"a second factor, to change {n} rows at once,", Advice.FEWER_AT_A_TIME)
            # an operator and not a call, and no call behind it: see `Covariance.update`
            if add:
                self._core += rows.values, rows.groups, reduction, weights, targets
            else:
                self._core -= rows.values, rows.groups, reduction, weights, targets
        if self.feature_space is None:
            self.feature_space = rows.feature_space
        if targets is not None:
            self._in_column = in_column
