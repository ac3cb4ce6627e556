"""Pools that are read in batches give the picks of pools in memory, in few reads."""

import numpy as np
import pytest

import rigidities as rg

RNG = np.random.default_rng(20)
POOL = RNG.normal(size=(3000, 12)) * RNG.choice([0.3, 1.0, 2.0], size=(3000, 1))
BYTES = 20 * 12
"""Of a candidate that is kept."""


def warm(n=200):
    covariance = rg.Covariance(12)
    covariance.update(np.random.default_rng(21).normal(size=(n, 12)))
    return covariance.factorize(0.1)


class Batches:
    """A pool in batches of odd sizes, and how often it was read."""

    def __init__(self, rows):
        self.rows, self.reads = rows, 0

    def __call__(self):
        self.reads += 1
        for start in range(0, len(self.rows), 700):
            yield self.rows[start : start + 700]


@pytest.mark.parametrize("n_kept", [1, 40, 400, 3000])
@pytest.mark.parametrize("n_data", [0, 200])
def test_picks_are_those_of_a_pool_in_memory(n_kept, n_data):
    hessian = warm(n_data) if n_data else rg.Covariance(12).factorize(1e-4)
    weights, costs = RNG.uniform(0.1, 1, size=3000), RNG.choice([1.0, 1.5], size=3000)
    named = {"weights": weights, "costs": costs, "forbidden": [5, 2000]}
    expected = rg.select(hessian, POOL, 25, **named)
    batches = Batches(POOL)
    picked = rg.select(hessian, batches, 25, memory_limit=n_kept * BYTES, **named)
    assert (picked.indices == expected.indices).all()
    assert (picked.labels == picked.indices).all()
    np.testing.assert_allclose(picked.gains, expected.gains, rtol=1e-10)
    np.testing.assert_allclose(picked.objective_curve, expected.objective_curve, rtol=1e-12)
    np.testing.assert_allclose(picked.hessian.variance(POOL), expected.hessian.variance(POOL), rtol=1e-9)
    assert batches.reads == {1: 26, 3000: 2}.get(n_kept, batches.reads) <= 26  # one to count them


def test_with_data_few_reads_are_enough():
    batches = Batches(POOL)
    rg.select(warm(400), batches, 100, memory_limit=600 * BYTES)
    assert batches.reads <= 1 + 4


def test_copies_are_picked_in_the_order_of_their_indices():
    rows = np.tile(POOL[:50], (4, 1))
    expected = rg.select(warm(), rows, 60)
    picked = rg.select(warm(), Batches(rows), 60, memory_limit=20 * BYTES)
    assert (picked.indices == expected.indices).all()


def test_a_budget_ends_the_selection():
    costs = RNG.choice([0.3, 0.7], size=3000)
    expected = rg.select(warm(), POOL, costs=costs, budget=5.0)
    picked = rg.select(warm(), Batches(POOL), costs=costs, budget=5.0, memory_limit=100 * BYTES)
    assert (picked.indices == expected.indices).all()
    assert len(rg.select(warm(), Batches(POOL), costs=costs, budget=0.1).indices) == 0


def test_a_large_file_is_read_in_pieces(tmp_path, monkeypatch):
    np.save(tmp_path / "pool.npy", POOL.astype(np.float32))
    pool = np.load(tmp_path / "pool.npy", mmap_mode="r")
    seen = []
    picked = rg.select(
        warm(), pool, 20, memory_limit=100 * BYTES, progress=lambda done, total: seen.append((done, total))
    )
    expected = rg.select(warm(), POOL.astype(np.float32), 20)
    assert (picked.indices == expected.indices).all()
    assert seen[-1] == (20, 20)
    # targets need all rows at once: the file is read into memory
    for_targets = rg.select(warm(), pool, 3, objective="target_rigidity", targets=POOL[:3], memory_limit=100 * BYTES)
    assert len(for_targets.indices) == 3


def with_number(value, row=2900):
    rows = POOL.copy()
    rows[row, 3] = value
    return rows


ONCE = iter([POOL])


@pytest.mark.parametrize(
    ("candidates", "arguments", "message"),
    [
        (Batches(with_number(np.nan)), {}, r"candidates\[2900, 3\] is nan"),
        (Batches(POOL[:, :4]), {}, "features have 4 columns but 12 were expected"),
        (lambda: iter(()), {}, "candidates have no rows"),
        (Batches(POOL), {"n_select": 3001}, "only 3000 of 3000 candidates"),
        (Batches(POOL), {"costs": np.ones(7)}, "costs has 7 entries but there are 3000 candidates"),
        (Batches(POOL), {"weights": np.ones(7)}, "weights has 7 entries but there are 3000"),
        (Batches(POOL), {"blocks": np.arange(3000)}, "blocks needs all candidates at once"),
        (Batches(POOL), {"forced": [1]}, "forced needs all candidates at once"),
        (Batches(POOL), {"n_swaps": 1}, "n_swaps needs all candidates at once"),
        (Batches(POOL), {"objective": "variance"}, 'objective "variance" needs all candidates at once'),
        (lambda: [rg.Rows(POOL, np.arange(3000) // 2)], {}, "a batch of candidates has groups"),
        (lambda: ONCE, {}, "candidates have no rows: the batches are empty, or an iterator"),
    ],
)
def test_what_does_not_fit_is_refused(candidates, arguments, message):
    with pytest.raises(ValueError, match=message):
        rg.select(warm(), candidates, **({"n_select": 2} | arguments))


def test_a_callable_that_returns_no_batches():
    with pytest.raises(TypeError, match="returns a NoneType: expected an iterable of batches"):
        rg.select(warm(), lambda: None, 2)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (POOL[:2999], "when they were first read, and 2999 now"),
        (np.concatenate([POOL, POOL[:1]]), "when they were first read, and have more now"),
    ],
)
def test_a_pool_that_is_another_at_the_next_read(later, message):
    reads = iter([POOL, later])
    with pytest.raises(ValueError, match=message):
        rg.select(warm(), lambda: [next(reads)], 2)


def test_ctrl_c_returns_what_was_picked():
    class Stopped(Batches):
        def __call__(self):
            if self.reads == 4:
                raise KeyboardInterrupt
            return super().__call__()

    with pytest.warns(rg.InterruptedWarning, match="interrupted after 3 of 10"):
        picked = rg.select(warm(), Stopped(POOL), 10, memory_limit=BYTES)
    assert picked.interrupted
    assert (picked.indices == rg.select(warm(), POOL, 3).indices).all()
    assert picked.hessian.n_rows == 203
