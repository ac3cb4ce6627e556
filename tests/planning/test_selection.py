"""Selection picks what plain greedy selection picks that factorises H anew for each candidate."""

from dataclasses import dataclass
from fractions import Fraction

import greedy
import numpy as np
import pytest
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


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_costs_and_a_budget_in_place_of_a_count(objective):
    rng = np.random.default_rng(3)
    case = make_case(rng, 6, 40, 15)
    costs = rng.choice([0.1, 0.2, 0.7], size=15)
    picked = rg.select(
        case.hessian, case.rows, weights=case.weights, blocks=case.labels, objective=objective, costs=costs, budget=1.0,
        **case.targets_for(objective),
    )  # fmt: skip
    assert_same(
        picked, greedy.greedy(case.H, case.blocks, 15, objective, G=case.G, costs=costs, budget=1.0), case.hessian
    )
    assert costs[picked.indices].sum() <= 1 + 1e-9
    left = np.setdiff1d(np.arange(15), picked.indices)
    assert (costs[picked.indices].sum() + costs[left] > 1).all()


def test_ten_times_a_tenth_are_within_a_budget_of_one():
    picked = rg.select(cold(), np.random.default_rng(0).normal(size=(12, 3)), costs=np.full(12, 0.1), budget=1.0)
    assert len(picked.indices) == 10
    assert len(rg.select(cold(), np.eye(3), costs=[1, 2, 3], budget=0.5).indices) == 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_candidates_that_are_present_are_in_h_and_not_among_the_picks(objective):
    rng = np.random.default_rng(4)
    case = make_case(rng, 5, 30, 10)
    present = [3, 8]
    H = case.H + sum(case.blocks[c].T @ case.blocks[c] for c in present)
    picked = rg.select(
        case.hessian, case.rows, 4, weights=case.weights, blocks=case.labels, objective=objective, present=present,
        **case.targets_for(objective),
    )  # fmt: skip
    start = case.H if objective == "variance" else H
    expected = greedy.greedy(start, case.blocks, 4, objective, G=case.G, closed=present)
    assert_same(picked, (*expected[:2], expected[2] if start is H else expected[2] + H - case.H), case.hessian)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_curve_is_that_of_the_objective(objective):
    case = make_case(np.random.default_rng(5), 5, 30)
    picked = rg.select(
        case.hessian, case.rows, 7, weights=case.weights, objective=objective, **case.targets_for(objective)
    )
    if objective == "variance":
        expected = np.concatenate([[0], picked.gains]).cumsum()
    else:
        expected, H = [], case.H
        for F in [np.zeros((1, 5)), *(case.blocks[c] for c in picked.indices)]:
            H = H + F.T @ F
            expected.append(abs(greedy.value(H, objective, case.G)) * np.sign(greedy.value(H, objective, case.G) or 1))
        expected = np.array(expected) * (-1 if objective == "target_variance" else 1)
    np.testing.assert_allclose(picked.objective_curve, expected, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.floats(-12, 0), st.booleans())
def test_a_short_list_picks_what_plain_greedy_selection_picks(seed, p, log_lambda, alike):
    """Enough candidates for several lists, cold, down to λ = 1e-12: variances fall by twelve orders of magnitude."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(700, p)) * np.logspace(0, -rng.uniform(0, 3), p)
    if alike:  # of one norm, and each twice
        rows /= np.linalg.norm(rows, axis=1)[:, None]
        rows[350:] = rows[:350]
    hessian = cold(p, 10**log_lambda)
    picked = rg.select(hessian, rows, 60)
    R, picks, gains = np.eye(p), [], []
    Z = hessian.whiten(rows)
    for _ in range(60):
        each = np.log1p((np.linalg.solve(R.T, Z.T) ** 2).sum(axis=0))
        each[picks] = 0
        pick = int(np.flatnonzero(each >= each.max() * (1 - 1e-12))[0])
        picks.append(pick)
        gains.append(each[pick])
        R = np.linalg.qr(np.vstack([R, Z[pick]]), mode="r")  # RᵀR is not formed: λ is far below its rounding
    np.testing.assert_allclose(picked.gains, gains, rtol=1e-10)
    assert picked.indices.tolist() == picks
    assert picked.hessian.log_determinant == pytest.approx(hessian.log_determinant + sum(gains), rel=1e-10)


def test_more_picks_than_features():
    case = make_case(np.random.default_rng(6), 3, 400)
    picked = rg.select(case.hessian, case.rows, 300, weights=case.weights)
    assert len(set(picked.indices.tolist())) == 300
    assert picked.hessian.n_rows == case.hessian.n_rows + 300
    assert (picked.gains > 0).all()
    assert (np.diff(picked.gains) <= 1e-12).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_of_equal_candidates_the_first_is_picked(objective):
    row = np.array([[1.0, 2.0, 0.5]])
    rows = np.concatenate([0.1 * row, row, row, row])
    picked = rg.select(cold(), rows, 3, objective=objective, **({"targets": row} if "target" in objective else {}))
    assert picked.indices.tolist() == [1, 2, 3]


def test_equal_gains_per_cost_are_equal():
    rows = np.diag([1.0, 3.0, 1.0])
    gains = np.log1p([1.0, 9.0, 1.0])
    assert rg.select(cold(), rows, 1, costs=gains / gains[0]).indices.tolist() == [0]


@given(st.integers(0, 2**32 - 1))
def test_many_blocks_of_many_rows(seed):
    """More rows than features in a block, variances up to 1e10, and blocks of very different size."""
    rng = np.random.default_rng(seed)
    p, labels = 6, rng.integers(0, 25, size=120)
    labels[labels == 3] = 2
    rows = rng.normal(size=(120, p)) * 10.0 ** rng.integers(-2, 3, size=(120, 1))
    hessian, Z = cold(p, 1e-6), 1e3 * rows
    picked = rg.select(hessian, rows, 8, blocks=labels)
    R, names, gains = np.eye(p), np.unique(labels), []
    for label in picked.labels:
        each = [log_determinant(R, Z[labels == name]) for name in names]
        gains.append(log_determinant(R, Z[labels == label]))
        assert gains[-1] >= max(each) * (1 - 1e-10)
        R = np.linalg.qr(np.vstack([R, Z[labels == label]]), mode="r")
        names = names[names != label]
    np.testing.assert_allclose(picked.gains, gains, rtol=1e-9)


def log_determinant(R, Z):
    grown = np.linalg.qr(np.vstack([R, Z]), mode="r")
    return 2 * (np.log(np.abs(np.diagonal(grown))).sum() - np.log(np.abs(np.diagonal(R))).sum())


def cold(p=3, regularizer=1.0):
    """H = λ: no data."""
    return rg.Covariance(p).factorize(regularizer)


def exact_means(rows, G, regularizer):
    """Means of 1/v and of −v in rational arithmetic, by elimination without rounding."""
    p = G.shape[1]
    H = [[Fraction(regularizer) * (i == j) for j in range(p)] for i in range(p)]
    for f in ([Fraction(x) for x in row] for row in rows.tolist()):
        H = [[H[i][j] + f[i] * f[j] for j in range(p)] for i in range(p)]
    left, v = [[Fraction(x) for x in row] for row in G.tolist()], [Fraction(0)] * len(G)
    for i in range(p):
        v = [total + g[i] ** 2 / H[i][i] for total, g in zip(v, left, strict=True)]
        for r in range(i + 1, p):
            factor = H[r][i] / H[i][i]
            H[r] = [x - factor * y for x, y in zip(H[r], H[i], strict=True)]
            for g in left:
                g[r] -= factor * g[i]
    return sum(1 / x for x in v) / len(v), -sum(v) / len(v)


def test_candidates_that_nearly_determine_a_target():
    """The tenth pick of ten features lets v fall from 1e8 to 1: v − q²/(1 + d) has few digits left, and would find
    another candidate, 9 % worse."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(60, 10))
    G = np.concatenate([rng.normal(size=(4, 10)), rows[:2]])  # two targets are candidates
    picked = rg.select(cold(10, 1e-10), rows, 11, objective="target_rigidity", targets=G)
    for place in (0, 9, 10):
        taken = picked.indices[:place]
        before = exact_means(rows[taken], G, 1e-10)[0]
        free = np.setdiff1d(np.arange(60), taken).tolist()
        each = {c: exact_means(rows[[*taken, c]], G, 1e-10)[0] - before for c in free}
        pick = int(picked.indices[place])
        assert each[pick] >= max(each.values()) * (1 - Fraction(1, 10**12))
        assert picked.gains[place] == pytest.approx(float(each[pick]), rel=1e-9)
