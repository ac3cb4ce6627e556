"""Pruning against greedy removal that factorises H anew for each candidate in each step."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import rigidities as rg


def problem(seed, n=14, p=4, lam=0.3):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, p)) * np.geomspace(1, 0.3, p)
    return F, rng.uniform(0.2, 3.0, n), rng.normal(size=(5, p)), lam


def made(F, w, lam, **options):
    covariance = rg.Covariance(F.shape[1])
    covariance.update(F, weights=w, **options)
    return covariance.factorize(lam)


def value(F, w, lam, kept, rule, T, tw):
    C = reference.covariance(F[kept], weights=w[kept]) if len(kept) else np.zeros((F.shape[1],) * 2)
    H = reference.hessian(C, lam)
    if rule == "determinant":
        return np.linalg.slogdet(H)[1]
    v = reference.variance(H, T)
    return tw @ (1 / v) if rule == "target_rigidity" else -tw @ v


def rows_of(members, some):
    return np.concatenate([np.empty(0, dtype=int), *(members[i] for i in some)])


def brute(F, w, lam, members, n_remove, rule, T, tw):
    left, gone, losses = list(range(len(members))), [], []
    for _ in range(n_remove):
        now = value(F, w, lam, rows_of(members, left), rule, T, tw)
        others = ([j for j in left if j != i] for i in left)
        costs = np.array([now - value(F, w, lam, rows_of(members, some), rule, T, tw) for some in others])
        best = int(np.argmax(costs <= costs.min() + 1e-9 * abs(costs.min())))
        gone.append(left.pop(best))
        losses.append(costs[best])
    return gone, np.array(losses)


RULES = ["determinant", "target_rigidity", "target_variance"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(RULES), st.integers(1, 3), st.booleans(), st.booleans())
def test_equals_removal_that_factorises_anew(seed, rule, size, weighted, shuffled):
    """With rows and blocks, more rows than features in a block too, in any order; almost all go."""
    F, w, T, lam = problem(seed, n=14 if size == 1 else 7 * size)
    blocks = np.repeat(np.arange(len(F) // size), size) * 3 - 5
    if shuffled:
        blocks = np.random.default_rng(seed).permutation(blocks)
    members = [np.flatnonzero(blocks == b) for b in np.unique(blocks)]
    tw = np.random.default_rng(seed).uniform(size=5) if weighted else np.ones(5)
    options = {} if rule == "determinant" else {"targets": T, "objective": rule}
    if weighted and options:
        options["target_weights"] = tw
    n = len(members) - 1
    hessian = made(F, w, lam)
    gone, losses = brute(F, w, lam, members, n, rule, T, tw / tw.sum())
    pruned = rg.prune(hessian, F, n, weights=w, blocks=blocks if size > 1 or shuffled else None, **options)
    np.testing.assert_allclose(pruned.losses, losses, rtol=1e-8, atol=1e-12)
    assert pruned.indices.tolist() == gone
    stay = members[next(i for i in range(len(members)) if i not in gone)]
    H = reference.hessian(reference.covariance(F[stay], weights=w[stay]), lam)
    np.testing.assert_allclose(pruned.hessian.variance(T), reference.variance(H, T), rtol=1e-8)
    assert pruned.hessian.n_rows == len(stay)
    if size > 1 or shuffled:
        np.testing.assert_array_equal(pruned.labels, np.unique(blocks)[gone])


@pytest.mark.parametrize("rule", RULES)
def test_the_curve_is_the_objective(rule):
    F, w, T, lam = problem(3)
    options = {} if rule == "determinant" else {"targets": T, "objective": rule}
    pruned = rg.prune(made(F, w, lam), F, 6, weights=w, **options)
    sign = -1 if rule == "target_variance" else 1
    for k in (0, 3, 6):
        kept = np.setdiff1d(np.arange(len(F)), pruned.indices[:k])
        expected = sign * value(F, w, lam, kept, rule, T, np.full(5, 0.2))
        assert pruned.objective_curve[k] == pytest.approx(expected, rel=1e-9)
    assert (pruned.losses >= 0).all()


def test_many_rows_and_features_and_a_block_larger_than_p():
    """Corrections of M, many of them, beside factorisations: the same removals as from bounds anew."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(300, 30))
    hessian = made(F, np.ones(300), 0.1)
    pruned = rg.prune(hessian, F, 250)
    kept = np.setdiff1d(np.arange(300), pruned.indices)
    H = reference.hessian(reference.covariance(F[kept]), 0.1)
    assert pruned.objective_curve[-1] == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-10)
    assert pruned.hessian.log_determinant == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-10)
    left = reference.variance(H, F[kept]) @ np.ones(50)
    random = reference.hessian(reference.covariance(F[:50]), 0.1)
    assert left == pytest.approx(30 - 0.1 * np.trace(np.linalg.inv(H)))
    assert np.linalg.slogdet(H)[1] > np.linalg.slogdet(random)[1] + 5
    blocks = np.repeat(np.arange(6), 50)
    by_block = rg.prune(hessian, F, 4, blocks=blocks)
    gone, losses = brute(F, np.ones(300), 0.1, np.split(np.arange(300), 6), 4, "determinant", None, None)
    assert by_block.indices.tolist() == gone
    np.testing.assert_allclose(by_block.losses, losses, rtol=1e-9)
    to_targets = rg.prune(hessian, F, 4, blocks=blocks, targets=np.eye(30)[:3])
    gone, losses = brute(
        F, np.ones(300), 0.1, np.split(np.arange(300), 6), 4, "target_rigidity", np.eye(30)[:3], np.full(3, 1 / 3)
    )
    assert to_targets.indices.tolist() == gone
    np.testing.assert_allclose(to_targets.losses, losses, rtol=1e-7)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sizes", [[1], [3], [1, 2, 5, 40]])
def test_many_removals_of_candidates_of_several_sizes(rule, sizes):
    """K and q follow each removal, and are computed anew after many; blocks with more rows than features."""
    rng = np.random.default_rng(1)
    blocks = np.repeat(np.arange(80), rng.choice(sizes, 80))
    F, w = rng.normal(size=(len(blocks), 5)), rng.uniform(0.2, 3.0, len(blocks))
    T, tw = rng.normal(size=(3, 5)), np.array([0.5, 0.2, 0.3])
    options = {} if rule == "determinant" else {"targets": T, "objective": rule, "target_weights": 4 * tw}
    pruned = rg.prune(made(F, w, 0.2), F, 75, weights=w, blocks=blocks, **options)
    members = [np.flatnonzero(blocks == b) for b in range(80)]
    gone, losses = brute(F, w, 0.2, members, 75, rule, T, tw)
    assert pruned.indices.tolist() == gone
    np.testing.assert_allclose(pruned.losses, losses, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("size", [1, 2])
def test_small_losses_keep_their_digits(size):
    """With p = 1, ΔR = Σf²/g² and −Δ ln H = −ln(1 − Σf²/H): far below the rounding of R and ln H."""
    F = np.concatenate([[1.0], np.geomspace(1e-9, 1e-7, 12)])[:, None]
    blocks = np.concatenate([[0], 1 + np.arange(12) // size])
    hessian = made(F, np.ones(13), 0.5)
    squares = np.square(F[1:, 0]).reshape(-1, size).sum(axis=1)
    n = len(squares)
    for targets, expected in ((None, squares / 1.5), ([[2.0]], squares / 4)):
        pruned = rg.prune(hessian, F, n, blocks=blocks, targets=targets)
        assert pruned.indices.tolist() == list(range(1, n + 1))
        np.testing.assert_allclose(pruned.losses, expected, rtol=1e-12)
    in_variance = rg.prune(hessian, F, n, blocks=blocks, targets=[[2.0]], objective="target_variance")
    np.testing.assert_allclose(in_variance.losses, 4 * squares / 1.5**2, rtol=1e-12)


@pytest.mark.parametrize("after", [1, 4, 8])
def test_ctrl_c_returns_what_was_removed(after):
    F, w, _, lam = problem(5)
    hessian = made(F, w, lam)

    def stop(done, total):
        if done == after:
            raise KeyboardInterrupt

    whole = rg.prune(hessian, F, 8, weights=w)
    with pytest.warns(rg.InterruptedWarning, match=f"after {after} of 8"):
        pruned = rg.prune(hessian, F, 8, weights=w, progress=stop)
    assert pruned.interrupted
    assert not whole.interrupted
    np.testing.assert_array_equal(pruned.indices, whole.indices[:after])
    np.testing.assert_array_equal(pruned.objective_curve, whole.objective_curve[: after + 1])
    assert pruned.hessian.n_rows == 14 - after


def test_ctrl_c_before_the_first_removal_is_raised(monkeypatch):
    def interrupt(costs):
        raise KeyboardInterrupt

    F, w, _, lam = problem(5)
    monkeypatch.setattr("rigidities.planning.pruning.cheapest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rg.prune(made(F, w, lam), F, 8, weights=w)


def test_of_twins_the_first_goes_and_what_is_kept_stays():
    F, w, _, lam = problem(1)
    F[5], w[5] = F[9], w[9]
    order = rg.prune(made(F, w, lam), F, 14, weights=w).indices.tolist()
    assert order.index(5) < order.index(9)
    pruned = rg.prune(made(F, w, lam), F, 12, weights=w, kept=[order[0], 5])
    assert not set(pruned.indices) & {order[0], 5}


def test_rows_of_weight_0_go_first_and_cost_nothing():
    F, w, _, lam = problem(2)
    w[[4, 7]] = 0.0
    pruned = rg.prune(made(F, w, lam), F, 3, weights=w)
    assert pruned.indices[:2].tolist() == [4, 7]
    assert pruned.losses[:2].tolist() == [0.0, 0.0]
    assert pruned.losses[2] > 0


def test_a_hessian_that_is_changed_meanwhile():
    """Removals and the new Hessian are those of the state at the start, as for another thread."""
    F, w, T, lam = problem(4)
    changed = made(F, w, lam)
    expected = rg.prune(changed, F, 5, weights=w, targets=T)
    found = rg.prune(changed, F, 5, weights=w, targets=T, progress=lambda *_: changed.update(T))
    assert changed.n_rows == 14 + 5 * 5
    np.testing.assert_array_equal(found.losses, expected.losses)
    np.testing.assert_array_equal(found.hessian.variance(T), expected.hessian.variance(T))


def test_the_given_hessian_stays():
    F, w, T, lam = problem(4)
    hessian = made(F, w, lam, targets=F[:, 0])
    before = hessian.variance(T), hessian.coef.copy(), hessian.log_determinant
    pruned = rg.prune(hessian, F, 5, weights=w, targets=T)
    for old, new in zip(before, (hessian.variance(T), hessian.coef, hessian.log_determinant), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(rg.NotFittedError):
        _ = pruned.hessian.coef


def test_rounding_of_float32_sums_does_not_make_rows_strange():
    """A row that alone holds a direction has a leverage of 1, and more where its sum was rounded."""
    F = np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32)
    F[:, 1] = F[:, 0] + np.array([3e-3, 0, 0, 0, 0, 0], dtype=np.float32)
    covariance = rg.Covariance(2, precision="float32")
    covariance.update(F)
    hessian = covariance.factorize(1e-9)
    leverage = hessian.variance(F)
    assert leverage.max() > 1 + 1e-3
    pruned = rg.prune(hessian, F, 4)
    assert int(np.argmax(leverage)) not in pruned.indices


def test_what_alone_determines_a_direction_stays():
    F = np.diag([1e8, 1.0, 1.0])
    F = np.concatenate([F, F[1:]])
    hessian = made(F, np.ones(5), 1e-6)
    with pytest.warns(rg.IllConditionedWarning, match="4 of 5 candidates were removed"):
        pruned = rg.prune(hessian, F, 5)
    assert set(pruned.indices) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"n_remove": 15}, ValueError, "only 14 of 14"),
        ({"n_remove": 0}, ValueError, "positive integer"),
        ({"n_remove": 13, "kept": [1, 2]}, ValueError, "only 12 of 14"),
        ({"kept": [99]}, ValueError, "counted from 0"),
        ({"kept": [1, 1]}, ValueError, "twice"),
        ({"blocks": [1, 2]}, ValueError, "blocks has 2 entries"),
        ({"weights": -np.ones(14)}, ValueError, "weights"),
        ({"objective": "target_variance"}, ValueError, "needs targets"),
        ({"objective": "variance"}, ValueError, "expected"),
        ({"objective": ""}, ValueError, "expected"),
        ({"objective": 0}, TypeError, "expected"),
        ({"targets": np.eye(5, 4)}, ValueError, "target 4 has the variance 0"),
        ({"targets": np.eye(5, 4), "target_weights": [1, 1, 1, 1, 0]}, ValueError, "target 4 has the variance 0"),
        ({"targets": np.eye(2, 4), "target_weights": [1e308, 1e308]}, ValueError, "sum to more than"),
        ({"weights": np.full(14, 1e4)}, ValueError, "leverage .*, above 1"),
        ({"targets": np.ones((2, 3))}, ValueError, "3 columns"),
        ({"F": np.full((14, 4), np.nan)}, ValueError, "NaN"),
        ({"hessian": None}, TypeError, "expected a Hessian"),
        ({"F": np.eye(14, 4) + [[0, 0, 0, 99.0]] * np.eye(14)[:, [5]]}, ValueError, "a row of candidate 5 has the lev"),
        (
            {"F": np.eye(14, 4) + [[0, 0, 0, 99.0]] * np.eye(14)[:, [5]], "blocks": 13 - np.arange(14) // 2},
            ValueError,
            "a row of candidate 4 has the leverage",
        ),
    ],
)
def test_bad_input(changed, kind, words):
    F, w, _, lam = problem(0)
    given = {"hessian": made(F, w, lam), "F": F, "n_remove": 3, "weights": w} | changed
    with pytest.raises(kind, match=words):
        rg.prune(given.pop("hessian"), given.pop("F"), given.pop("n_remove"), **given)


def test_progress_is_told():
    F, w, _, lam = problem(0)
    told = []
    rg.prune(made(F, w, lam), F, 3, weights=w, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
