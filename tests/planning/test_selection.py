"""Selection picks what plain greedy selection picks that factorises H anew for each candidate."""

from dataclasses import dataclass

import greedy
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import rigidities as rg

settings.register_profile("selection", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("selection")

OBJECTIVES = ["determinant", "target_rigidity", "target_variance", "variance"]


@dataclass
class Case:
    """Training rows, candidates in blocks, targets, and limits."""

    hessian: rg.Hessian
    H: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    G: np.ndarray

    @property
    def blocks(self):
        weighted = self.rows * np.sqrt(self.weights)[:, None]
        return [weighted[self.labels == label] for label in np.unique(self.labels)]

    def targets_for(self, objective):
        return {"targets": self.G} if objective.startswith("target") else {}


def make_case(rng, p, n, n_blocks=None, regularizer=0.1, copies=0, n_data=5):
    covariance = rg.Covariance(p)
    data = rng.normal(size=(n_data, p))
    covariance.update(data)
    rows = rng.normal(size=(n, p)) * rng.choice([0.1, 1.0, 3.0], size=(n, 1))
    labels = np.arange(n) if n_blocks is None else rng.permutation(np.arange(n) % n_blocks)
    weights = rng.uniform(0.1, 2, size=n)
    if copies:  # the last candidates are those at the front again
        rows[-copies:], weights[-copies:] = rows[:copies], weights[:copies]
    H = data.T @ data + regularizer * np.eye(p)
    return Case(covariance.factorize(regularizer), H, rows, weights, labels, rng.normal(size=(6, p)))


def assert_same(picked, expected, hessian=None):
    picks, gains, H = expected
    assert picked.indices.tolist() == picks
    np.testing.assert_allclose(picked.gains, gains, rtol=1e-7, atol=1e-9)
    if hessian is not None:
        np.testing.assert_allclose(picked.hessian.solve(np.eye(len(H))), np.linalg.inv(H), rtol=1e-8, atol=1e-10)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 40), st.sampled_from(OBJECTIVES), st.booleans())
def test_picks_are_those_of_plain_greedy_selection(seed, p, n, objective, in_blocks):
    rng = np.random.default_rng(seed)
    n_blocks = int(rng.integers(1, n + 1)) if in_blocks else None
    case = make_case(rng, p, n, n_blocks, copies=0 if in_blocks else int(rng.integers(0, n // 2 + 1)))
    m = len(case.blocks)
    n_select = int(rng.integers(1, m + 1))
    limits = {}
    closed = rng.permutation(m)[: int(rng.integers(0, m - n_select + 1))]
    forced = rng.permutation(np.setdiff1d(np.arange(m), closed))[: int(rng.integers(0, min(3, n_select) + 1))]
    if rng.random() < 0.5:
        limits["costs"] = rng.choice([1.0, 2.0, 5.0], size=m)
    weights = {}
    if objective.startswith("target") and rng.random() < 0.5:
        weights["target_weights"] = rng.uniform(0, 2, size=len(case.G)) + 1e-3
    picked = rg.select(
        case.hessian, case.rows, n_select, weights=case.weights, blocks=case.labels if in_blocks else None,
        objective=objective, forbidden=closed, forced=forced, **case.targets_for(objective), **limits, **weights,
    )  # fmt: skip
    expected = greedy.greedy(
        case.H, case.blocks, n_select, objective, G=case.G, closed=closed, forced=list(forced), **limits, **weights
    )
    assert_same(picked, expected, case.hessian)
