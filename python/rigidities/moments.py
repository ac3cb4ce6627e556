"""Moments: what is summed beside C when targets are given, b = Σ w f yᵀ, Σ w y², n and Σ ln w."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice, ImplausibleLabelsWarning, NotFittedError, warn
from rigidities.rounding import UNIT_ROUNDOFF, check_scale, unit_roundoff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rigidities.validation import Precision

DIGIT = 10.0
"""A sum of squares is resolved if it exceeds the bound on its rounding this many times. It is then
known to 10 %, its root to 5 %."""


FEWEST = 10
"""Fewest targets that show whether they scale with the sizes of their groups."""


def warn_of_totals(targets: NDArray[np.float64], sizes: NDArray[np.int64], advice: Advice) -> None:
    """Warn if targets of mean rows look like totals.

    They do if y ≈ c·n explains four fifths of their variance, with groups of at least three sizes,
    and y/n varies half as much as y or less, both relative to their means.

    Parameters
    ----------
    targets : ndarray of shape (n_targets,)
    sizes : ndarray of shape (n_targets,)
        Number of rows n of each.
    advice : Advice
    """
    known = np.isfinite(targets)
    y, n = targets[known], sizes[known].astype(np.float64)
    if len(y) < FEWEST or n.max() < 1.5 * n.min() or len(np.unique(n)) < 3:
        return
    unit = np.abs(y).max()
    if unit == 0:
        return
    y = y / unit
    left = y - n * (n @ y) / (n @ n)
    if left @ left < 0.2 * np.sum((y - y.mean()) ** 2) and _variation(y / n) < 0.5 * _variation(y):
        warn(
            ImplausibleLabelsWarning,
            f"the targets grow with the sizes of the groups (by {unit * (n @ y) / (n @ n):.4g} per row, from "
            f"{n.min():g} to {n.max():g} rows): they look like totals, but those of mean rows are expected",
            advice,
        )


def _variation(values: NDArray[np.float64]) -> float:
    return float(values.std() / abs(values.mean())) if values.mean() else np.inf


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums that a `Covariance` keeps beside C, over the rows of positive weight.

    Attributes
    ----------
    cross : ndarray of shape (n_features, n_outputs)
        b = Σ w f yᵀ
    squares : ndarray of shape (n_outputs,)
        Σ w y²
    n_rows : int
        Number of target rows.
    log_weight : float
        Σ ln w
    unit : float
        Unit roundoff u of the least precise products.
    in_column : bool
        Whether targets of one output came as (n, 1); fits are (p, 1) then.
    """

    cross: NDArray[np.float64]
    squares: NDArray[np.float64]
    n_rows: int
    log_weight: float
    unit: float = UNIT_ROUNDOFF
    in_column: bool = False

    @property
    def n_outputs(self) -> int:
        """Number of outputs, 0 without targets."""
        return len(self.squares)

    def require_targets(self, what: str) -> None:
        """Raise if no targets were accumulated; `what` names the result that needs them."""
        if self.n_outputs == 0:
            raise NotFittedError(
                f"{what} needs targets, and none were accumulated: pass targets=... to every Covariance.update"
            )

    def require_scale(self) -> None:
        """Refuse targets so small that their squares have lost digits."""
        for output, squares in enumerate(self.squares):
            if squares or self.cross[:, output].any():
                check_scale(float(squares), f"the sum of w y² of targets[:, {output}]", "rescale the targets")

    def squared_residuals(self, C: NDArray[np.float64], coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Σwr² = Σwy² − 2θᵀb + θᵀCθ for one output, (n_coefs,); NaN if rounding leaves no digit.

        An entry C_ij is rounded by ρ√(C_ii C_jj) at most and b_i by ρ√(C_ii Σwy²), so Σwr² is
        rounded by no more than ρ(√Σwy² + Σ_i √C_ii |θ_i|)². The inequality of Cauchy and Schwarz
        makes the bound in `rigidities.spectrum.evidence` of this one.
        """
        rounding = self.unit * np.sqrt(len(C) + self.n_rows)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self.squares[0] + np.einsum("lp,lp->l", coef, coef @ C - 2 * self.cross[:, 0])
            bound = rounding * (np.sqrt(self.squares[0]) + np.abs(coef) @ np.sqrt(np.diagonal(C))) ** 2
            return np.where(squares > DIGIT * bound, squares, np.nan)

    @classmethod
    def of_state(cls, state: Mapping[str, Any], n_features: int, precision: Precision) -> Moments:
        """Return the moments in a state of the compiled core."""
        squares = state["squares"]
        cross = state["cross"].reshape(len(squares), n_features).T.copy()
        return cls(cross, squares, state["n_rows"], state["log_weight"], unit_roundoff(precision))
