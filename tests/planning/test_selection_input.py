"""What selection refuses, what it leaves alone, and how it ends early."""

import os
import signal
import threading

import numpy as np
import pytest

import rigidities as rg
from rigidities.runtime import memory

ROWS = np.random.default_rng(0).normal(size=(12, 4))
BLOCKS = np.repeat(np.arange(4), 3)


def hessian(p=4):
    covariance = rg.Covariance(p)
    covariance.update(np.random.default_rng(1).normal(size=(6, p)), targets=np.arange(6.0))
    return covariance.factorize(0.1)


def with_number(value):
    rows = ROWS.copy()
    rows[7, 2] = value
    return rows


REFUSED = [
    ({"n_select": None}, "n_select is missing: pass a number of picks, or a budget"),
    ({"memory_limit": 0}, "memory_limit is 0: expected a positive number of bytes"),
    ({"candidates": [ROWS[:5], ROWS[5:]]}, "features is a list that makes no array: its entries differ in length"),
    ({"n_select": 0}, "n_select is 0: expected a positive integer"),
    ({"n_select": 13}, "n_select is 13 but only 12 of 12 candidates may be picked"),
    ({"n_select": 5, "blocks": BLOCKS}, "n_select is 5 but only 4 of 4"),
    ({"n_select": 11, "forbidden": [0], "present": [1]}, "only 10 of 12"),
    ({"candidates": np.empty((0, 4))}, "candidates have no rows"),
    ({"candidates": ROWS[:, :3]}, "features have 3 columns but 4 were expected"),
    ({"candidates": with_number(np.nan)}, r"features\[7, 2\] is NaN"),
    ({"candidates": with_number(np.inf), "blocks": BLOCKS[::-1]}, r"features\[7, 2\] is inf"),
    ({"candidates": with_number(1e200)}, "target row 7 is finite but the square of its norm is not|too large"),
    ({"blocks": BLOCKS[:5]}, "blocks has 5 entries but there are 12 targets"),
    ({"weights": np.ones(3)}, "weights has 3 entries but there are 12 target rows"),
    ({"weights": -np.ones(12)}, r"weights\[0\] is -1"),
    ({"costs": np.ones(3)}, "costs has 3 entries but there are 12 candidates"),
    ({"costs": np.r_[np.ones(11), 0.0]}, r"costs\[11\] is 0.0: costs must be positive and finite"),
    ({"costs": np.r_[np.ones(11), np.nan]}, r"costs\[11\] is nan"),
    ({"budget": 0.0}, "budget is 0: expected a positive number"),
    ({"budget": np.inf}, "budget is inf"),
    ({"budget": 1.5, "forced": [1, 2]}, "the forced candidates cost 2 but budget is 1.5"),
    ({"forced": [1, 2, 3], "n_select": 2}, "3 candidates are forced but n_select is 2"),
    ({"forced": [1, 1]}, "forced has candidate 1 twice"),
    ({"forbidden": [12]}, "forbidden has 12, but there are 12 candidates"),
    ({"present": [-1]}, "present has -1, but there are 12 candidates"),
    ({"forced": [1], "forbidden": [1]}, "candidate 1 is in forced and in forbidden"),
    ({"objective": "d-optimal"}, 'objective is "d-optimal": expected "determinant"'),
    ({"objective": "target_rigidity"}, 'objective "target_rigidity" needs targets'),
    ({"targets": ROWS}, 'targets have no effect on objective "determinant"'),
    ({"target_weights": [1.0]}, 'targets have no effect on objective "determinant"'),
    ({"objective": "target_variance", "targets": ROWS[:, :2]}, "features have 2 columns but 4 were expected"),
    ({"objective": "target_variance", "targets": ROWS[:0]}, "targets have no rows"),
    ({"objective": "target_variance", "targets": with_number(np.nan)}, r"features\[7, 2\] is NaN"),
    ({"objective": "target_rigidity", "targets": 0 * ROWS}, "target 0 of the selection has the variance 0.0"),
    ({"objective": "target_rigidity", "targets": ROWS, "target_weights": [1.0]}, "target_weights has 1 entries"),
    ({"objective": "target_rigidity", "targets": ROWS, "target_weights": -np.ones(12)}, r"target_weights\[0\] is -1"),
    ({"objective": "target_rigidity", "targets": ROWS, "target_weights": np.zeros(12)}, "target_weights are all 0"),
    ({"n_swaps": -1}, "n_swaps is -1"),
    ({"sample_fraction": 0.0}, "sample_fraction is 0"),
    ({"sample_fraction": 0.5, "objective": "variance"}, "samples of others guarantee nothing"),
    ({"reduction": "max"}, 'reduction is "max"'),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_does_not_fit_is_refused_and_h_is_as_it_was(arguments, message):
    before = hessian()
    factor, coef = before.whiten(np.eye(4)), before.coef.copy()
    with pytest.raises(ValueError, match=message):
        rg.select(before, **({"candidates": ROWS, "n_select": 2} | arguments))
    assert (before.whiten(np.eye(4)) == factor).all()
    assert (before.coef == coef).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hessian": np.eye(4)}, "hessian is a ndarray: expected a Hessian"),
        ({"forced": [0.5]}, "forced is an array of float64"),
        ({"forced": [[1]]}, r"shape \(1, 1\): expected indices"),
        ({"n_select": 2.0}, "n_select is 2.0"),
        ({"n_swaps": True}, "n_swaps is True"),
        ({"objective": 3}, "objective is 3"),
        ({"costs": ["a"] * 12}, "costs has dtype"),
        ({"blocks": np.arange(12.0)}, "blocks has dtype float64"),
    ],
)
def test_what_is_of_another_type_is_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        rg.select(**({"hessian": hessian(), "candidates": ROWS, "n_select": 2} | arguments))


def test_rows_of_another_feature_space_are_refused():
    covariance = rg.Covariance(4, feature_space="soap")
    covariance.update(rg.Rows(ROWS, None, "soap"))
    with pytest.raises(ValueError, match="feature space 'lode'"):
        rg.select(covariance.factorize(1.0), rg.Rows(ROWS, None, "lode"), 1)
    assert rg.select(covariance.factorize(1.0), rg.Rows(ROWS, None, "soap"), 1).hessian.feature_space == "soap"


def test_the_hessian_given_stays_and_the_new_one_has_no_fit():
    before = hessian()
    factor = before.whiten(np.eye(4))
    picked = rg.select(before, ROWS, 3)
    assert (before.whiten(np.eye(4)) == factor).all()
    assert before.n_rows == 6
    assert picked.hessian.n_rows == 9
    assert picked.hessian.regularizer == before.regularizer
    with pytest.raises(rg.NotFittedError):
        picked.hessian.coef  # noqa: B018


@pytest.mark.parametrize("accumulation", ["sums", "qr"])
@pytest.mark.parametrize("penalty", [None, np.arange(1.0, 5.0), np.eye(4) + 0.1])
def test_the_new_hessian_is_that_of_all_rows(accumulation, penalty):
    weights = np.random.default_rng(2).uniform(size=12)
    weights[3] = 0.0
    covariance = rg.Covariance(4, accumulation=accumulation)
    covariance.update(ROWS[:5], targets=np.ones(5))
    picked = rg.select(covariance.factorize(0.3, penalty=penalty), ROWS, 12, weights=weights)
    whole = rg.Covariance(4, accumulation=accumulation)
    whole.update(ROWS[:5])
    whole.update(ROWS, weights=weights)
    expected = whole.factorize(0.3, penalty=penalty)
    assert picked.hessian.n_rows == expected.n_rows == 16
    np.testing.assert_allclose(picked.hessian.variance(ROWS), expected.variance(ROWS), rtol=1e-11)
    assert picked.hessian.log_determinant == pytest.approx(expected.log_determinant, rel=1e-12)
    assert picked.hessian.effective_dimension == pytest.approx(expected.effective_dimension, rel=1e-11)


@pytest.mark.parametrize("penalty", [None, np.linspace(1, 3, 30), np.eye(30) + 0.1])
@pytest.mark.parametrize("n_select", [2, 40])
def test_a_hessian_in_the_span_of_few_rows(penalty, n_select):
    rng = np.random.default_rng(3)
    data, pool, X = rng.normal(size=(5, 30)), rng.normal(size=(50, 30)), rng.normal(size=(7, 30))
    pool[10:20] = rng.normal(size=(10, 5)) @ data  # some candidates lie in the span
    picked = rg.select(rg.Hessian.from_rows(data, 0.1, penalty=penalty), pool, n_select)
    covariance = rg.Covariance(30)
    covariance.update(data)
    plain = rg.select(covariance.factorize(0.1, penalty=penalty), pool, n_select)
    assert picked.indices.tolist() == plain.indices.tolist()
    np.testing.assert_allclose(picked.gains, plain.gains, rtol=1e-9)
    np.testing.assert_allclose(picked.hessian.variance(X), plain.hessian.variance(X), rtol=1e-9)
    assert picked.hessian.log_determinant == pytest.approx(plain.hessian.log_determinant, rel=1e-11)
    assert picked.hessian.effective_dimension == pytest.approx(plain.hessian.effective_dimension, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "need"),
    [
        ({}, 12 * 12 * 4),
        ({"blocks": BLOCKS}, 8 * 12 * 4),
        ({"objective": "target_rigidity", "targets": ROWS[:2]}, 8 * 12 * (4 + 2 + 1)),
        ({"objective": "target_variance", "targets": ROWS[:2], "blocks": BLOCKS}, 8 * 12 * (4 + 2) + 8 * 4 * 9),
    ],
)
def test_memory_is_looked_at_before(monkeypatch, arguments, need):
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: need - 1)
    with pytest.raises(MemoryError, match=r"the whitened rows of (12|4) candidates needs .* pass fewer candidates"):
        rg.select(hessian(), ROWS, 2, **arguments)


def test_labels_name_groups_and_blocks():
    groups = np.repeat([40, 10, 30, 20], 3)
    picked = rg.select(hessian(), rg.Rows(ROWS, groups), 4)
    assert picked.labels.tolist() == (10 * (picked.indices + 1)).tolist()
    plain = rg.select(hessian(), rg.reduce_rows(ROWS, groups)[1], 4)
    assert (picked.indices == plain.indices).all()
    blocks = np.array([7, 5, 7, 5])
    assert set(rg.select(hessian(), rg.Rows(ROWS, groups), 2, blocks=blocks).labels) == {5, 7}


@pytest.mark.parametrize("dtype", [np.float32, ">f8", np.float16])
def test_candidates_of_any_layout(dtype, tmp_path):
    rows = ROWS.astype(dtype)
    expected = rg.select(hessian(), rows.astype(np.float64), 5)
    path = tmp_path / "rows.npy"
    np.save(path, rows)
    for pool in (rows, np.asfortranarray(rows), np.load(path, mmap_mode="r"), rows.tolist()):
        picked = rg.select(hessian(), pool, 5)
        assert (picked.indices == expected.indices).all()
        np.testing.assert_allclose(picked.gains, expected.gains, rtol=1e-12)


@pytest.mark.parametrize("objective", ["determinant", "target_rigidity", "target_variance", "variance"])
@pytest.mark.parametrize("blocks", [None, np.arange(3000) // 6])
def test_the_bits_do_not_depend_on_threads(objective, blocks):
    rng = np.random.default_rng(5)
    rows, targets = rng.normal(size=(3000, 130)), rng.normal(size=(20, 130))
    named = {"targets": targets} if objective.startswith("target") else {}
    results, count = [], rg.get_num_threads()
    try:
        for n in (1, 2, 3):
            rg.set_num_threads(n)
            covariance = rg.Covariance(130)
            picked = rg.select(covariance.factorize(1e-3), rows, 40, blocks=blocks, objective=objective, **named)
            results.append((picked.indices.tobytes(), picked.gains.tobytes(), picked.objective_curve.tobytes()))
    finally:
        rg.set_num_threads(count)
    assert results[0] == results[1] == results[2]


def test_samples_are_those_of_the_seed_and_find_nearly_as_much():
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(400, 10))
    start = rg.Covariance(10).factorize(1.0)
    most = rg.select(start, rows, 20).gains.sum()
    picked = [rg.select(start, rows, 20, sample_fraction=0.15, random_state=seed) for seed in (1, 1, 2)]
    assert (picked[0].indices == picked[1].indices).all()
    assert (picked[0].indices != picked[2].indices).any()
    # ε = exp(−0.15·20) = 0.05: the guarantee is 58 %, and much more is the rule
    assert all(0.58 * most < one.gains.sum() <= most * (1 + 1e-12) for one in picked)
    whole = rg.select(start, rows, 20, sample_fraction=1.0, random_state=0)
    assert (whole.indices == rg.select(start, rows, 20).indices).all()


@pytest.mark.parametrize("objective", ["determinant", "target_rigidity", "target_variance"])
def test_exchanges_gain_until_none_does(objective):
    sign = -1 if objective == "target_variance" else 1
    start, risen = rg.Covariance(6).factorize(0.1), 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows, costs = rng.normal(size=(25, 6)), rng.choice([1.0, 2.0], size=25)
        named = {"targets": rng.normal(size=(4, 6))} if objective.startswith("target") else {}
        limits = {"costs": costs, "budget": 13.0, "forced": [4]} | named
        greedy = rg.select(start, rows, objective=objective, **limits)
        better = rg.select(start, rows, objective=objective, n_swaps=50, **limits)
        risen += (better.indices != greedy.indices).any()
        assert better.indices[0] == 4
        assert costs[better.indices].sum() <= 13
        np.testing.assert_allclose(sign * np.diff(better.objective_curve), better.gains, rtol=1e-6, atol=1e-9)

        def value(picks, rows=rows, named=named):
            forced = {"forced": picks, "n_select": len(picks)} | named
            return sign * rg.select(start, rows, objective=objective, **forced).objective_curve[-1]

        best = value(better.indices)
        assert best >= value(greedy.indices)
        for place in range(1, len(better.indices)):
            for other in np.setdiff1d(np.arange(25), better.indices):
                picks = better.indices.copy()
                picks[place] = other
                if costs[picks].sum() <= 13:
                    assert value(picks) <= best + 1e-9 * abs(best)
    assert risen > 0


def test_progress_is_reported():
    seen = []
    rg.select(hessian(), ROWS, 5, forced=[3], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (3, 5), (4, 5), (5, 5)]
    seen.clear()
    rg.select(hessian(), ROWS, budget=3.0, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 0)


@pytest.mark.parametrize("options", [{}, {"objective": "target_variance", "targets": ROWS[:2]}, {"memory_limit": 100}])
def test_a_hessian_that_is_changed_meanwhile(options):
    """Picks, gains, curve and the new Hessian are those of the state at the start, as for another thread."""
    pool = (lambda: iter([ROWS])) if "memory_limit" in options else ROWS
    expected, changed = rg.select(hessian(), pool, 4, **options), hessian()
    found = rg.select(changed, pool, 4, **options, progress=lambda *_: changed.update(ROWS[:1]))
    assert changed.n_rows > 6
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.objective_curve, expected.objective_curve)
    np.testing.assert_array_equal(found.hessian.variance(ROWS), expected.hessian.variance(ROWS))
    assert found.hessian.n_rows == 10


def test_ctrl_c_returns_what_was_picked():
    rng = np.random.default_rng(9)
    rows, targets = rng.normal(size=(4000, 60)), rng.normal(size=(30, 60))
    start = rg.Covariance(60).factorize(1.0)

    def stop(done, total):
        if done == 40:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(rg.InterruptedWarning, match="interrupted after 40 of 2000 picks"):
        picked = rg.select(start, rows, 2000, objective="target_rigidity", targets=targets, progress=stop)
    whole = rg.select(start, rows, 40, objective="target_rigidity", targets=targets)
    assert picked.interrupted
    assert not whole.interrupted
    assert (picked.indices == whole.indices).all()
    assert picked.hessian.n_rows == 40


@pytest.mark.parametrize("objective", ["determinant", "target_rigidity"])
def test_ctrl_c_inside_of_a_long_computation(objective):
    rng = np.random.default_rng(10)
    rows = rng.normal(size=(20_000, 100))
    named = {"targets": rows[:50]} if objective.startswith("target") else {}
    start = rg.Covariance(100).factorize(1e-3)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.warns(rg.InterruptedWarning):
        picked = rg.select(start, rows, 20_000, objective=objective, **named)
    timer.join()
    assert 0 < len(picked.indices) < 20_000
    few = rg.select(start, rows, 5, objective=objective, **named)
    assert (picked.indices[:5] == few.indices).all()


def test_ctrl_c_before_the_first_pick_is_raised():
    def stop(*_):
        signal.raise_signal(signal.SIGINT)

    rows = np.random.default_rng(11).normal(size=(50, 4))
    with pytest.warns(rg.InterruptedWarning):
        rg.select(hessian(), rows, 5, progress=stop)  # called after the first
    original = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    many = np.random.default_rng(12).normal(size=(60_000, 400))
    start = rg.Covariance(400).factorize(1.0)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        rg.select(start, many, 2, blocks=np.arange(60_000) // 600)
    timer.join()
    assert signal.getsignal(signal.SIGINT) is original
