"""Pairs of selection: beside inverting H for every candidate, one product with the pool, and reading it.

A product has 2·N·p·k operations for k picks of N rows: what it takes to bring all variances up to date
once for each pick, blocked.
"""

import numpy as np
from pairs import Pair
from workload import accumulate

import rigidities as rg
from rigidities import _core

INVERTED = 3
"""Inverses that are timed of those that the published way takes; the rest take as long."""


def published(H, pool, targets):
    """Mean rigidity of targets with each of a few candidates, H inverted for each."""
    return [np.mean(1 / np.einsum("ij,jk,ik->i", targets, np.linalg.inv(H + np.outer(f, f)), targets)) for f in pool]


def for_targets(p, n, n_targets, n_select):
    """The picks of the paper: a few structures of many, for the rigidity of targets."""
    rng = np.random.default_rng(11)
    data, pool, targets = (rng.normal(size=(rows, p)) for rows in (2 * p, n, n_targets))
    hessian, H = accumulate(data).factorize(1.0), data.T @ data + np.eye(p)
    evaluations = sum(n - picked for picked in range(n_select))
    yield Pair(
        f"`select`, {n_select} of {n:,} for {n_targets} targets", p, "an inverse per candidate and pick, as published",
        3000.0,
        lambda: rg.select(hessian, pool, n_select, objective="target_rigidity", targets=targets),
        lambda: published(H, pool[:INVERTED], targets),
        compared=lambda ours, theirs: (ours, theirs * evaluations / INVERTED),
    )  # fmt: skip


def for_information(p, n, n_select, n_data):
    """ln|H| by single rows, beside one product with the pool; warm with its whitening, too."""
    rng = np.random.default_rng(12)
    pool, columns = rng.normal(size=(n, p)), rng.normal(size=(p, n_select))
    cold, warm = rg.Covariance(p).factorize(1e-3), accumulate(rng.normal(size=(n_data, p))).factorize(1e-3)
    work, flops = f"`select`, {n_select:,} of {n:,}, ln\\|H\\|", 2 * n * p * n_select
    yield Pair(
        f"{work}, no data yet", p, "one product, 2·N·p·k", 1 / 2.5,
        lambda: rg.select(cold, pool, n_select), lambda: pool @ columns, flops, pool.nbytes, rounds=3,
    )  # fmt: skip
    yield Pair(
        f"{work}, {n_data:,} rows in H", p, "one product and `whiten`", 1.2,
        lambda: rg.select(warm, pool, n_select), lambda: (pool @ columns, warm.whiten(pool)), flops, pool.nbytes,
        rounds=3,
    )  # fmt: skip


def for_each_pick(p, n, n_targets, n_picks):
    """What a pick costs for targets, beside reading the pool once."""
    rng = np.random.default_rng(13)
    pool, x = rng.normal(size=(n, p)), rng.normal(size=p)
    under_way = _core.Selection(pool, None, "target_rigidity", rng.normal(size=(n_targets, p)), [], ([], np.inf))
    yield Pair(
        f"a pick of {n:,} for {n_targets} targets", p, "NumPy `Z @ x`, the pool read once", 1 / 1.3,
        lambda: under_way.advance(n_picks), lambda: [pool @ x for _ in range(n_picks)], None, n_picks * pool.nbytes,
    )  # fmt: skip


def pairs(short):
    """Yield all pairs."""
    p = 32 if short else 512
    yield from for_targets(p, 50 if short else 1000, 5 if short else 50, 3 if short else 10)
    yield from for_information(p, 400 if short else 20_000, 20 if short else 1000, 100 if short else 2000)
    yield from for_each_pick(p, 400 if short else 20_000, 5 if short else 50, 2 if short else 20)
