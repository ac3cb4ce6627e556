"""What hypothesis draws: training sets, test rows, regularisers."""

from dataclasses import dataclass

import numpy as np
import reference
from hypothesis import strategies as st


@dataclass
class Problem:
    """A training set with its groups and weights, rows to score, and λ."""

    X: np.ndarray
    groups: np.ndarray
    weights: np.ndarray
    G: np.ndarray
    regularizer: float

    @property
    def p(self):
        return self.X.shape[1]

    @property
    def n_targets(self):
        return len(self.weights)


@st.composite
def problems(draw, max_features=12):
    """Full or short rank, any labels, weights from 0 to 10, λ from 1e-6 up: conditions that leave digits to compare."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p = draw(st.integers(1, max_features))
    n = draw(st.integers(1, 40))
    groups = rng.integers(-5, draw(st.integers(-4, 30)), size=n)
    n_targets = len(np.unique(groups))
    weights = rng.uniform(0, 10, size=n_targets) * (rng.random(n_targets) > 0.1)
    scale = 10.0 ** draw(st.integers(-2, 2))
    return Problem(
        X=scale * rng.normal(size=(n, p)),
        groups=groups,
        weights=weights,
        G=scale * rng.normal(size=(draw(st.integers(1, 8)), p)),
        regularizer=scale**2 * 10.0 ** draw(st.integers(-6, 2)),
    )


def tolerance(problem):
    C = reference.covariance(problem.X, problem.groups, weights=problem.weights)
    return reference.tolerance(reference.hessian(C, problem.regularizer))
