"""The figures of docs/claims.md: how they are measured, and that the page says what was measured."""

import copy
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

BENCHES = Path(__file__).parent.parent / "benches"
sys.path.insert(0, str(BENCHES))
claims_page, rank_correlation, records = map(importlib.import_module, ("claims_page", "rank_correlation", "records"))


def shifted(value):
    """The same figures, each number changed."""
    if isinstance(value, dict):
        return {key: shifted(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shifted(entry) for entry in value]
    return 1.37 * value + 1 if isinstance(value, float) else value


def test_the_page_says_what_the_figures_say():
    text = claims_page.PAGE.read_text(encoding="utf-8")
    assert claims_page.page(records.read(claims_page.RESULTS), text) == text, "run benches/claims_page.py"


@pytest.mark.parametrize("block", claims_page.BLOCKS)
def test_another_figure_is_another_table(block):
    content = records.read(claims_page.RESULTS)
    form = claims_page.BLOCKS[block]
    assert form(shifted(content)) != form(copy.deepcopy(content))


@given(arrays(float, st.shared(st.integers(3, 30), key="n"), elements=st.integers(0, 9).map(float)),
       arrays(float, st.shared(st.integers(3, 30), key="n"), elements=st.integers(0, 9).map(float)))  # fmt: skip
def test_spearman_is_that_of_scipy_with_ties(a, b):
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert np.isnan(rank_correlation.spearman(a, b))
    else:
        assert rank_correlation.spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)


def test_limits_hold_the_true_correlation_in_nineteen_of_twenty_samples(monkeypatch):
    """Normal pairs with correlation 0.6: Spearman's is 6/π·arcsin(0.3) in the limit."""
    monkeypatch.setattr(rank_correlation, "SAMPLES", 200)
    truth, inside = 6 / np.pi * np.arcsin(0.3), 0
    rng = np.random.default_rng(3)
    for _ in range(100):
        a = rng.normal(size=60)
        found = rank_correlation.correlation(a, 0.6 * a + 0.8 * rng.normal(size=60), rng)
        inside += found.low <= truth <= found.high
    assert 88 <= inside <= 99


def test_copies_within_a_structure_do_not_narrow_the_limits():
    """Ranks of ten equal copies order as one: each sample of whole structures has the same correlation."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 25))
    once = rank_correlation.correlation(a, a + b, np.random.default_rng(1))
    copied = (np.repeat(values, 10) for values in (a, a + b, np.arange(25)))
    many = rank_correlation.correlation(*(next(copied), next(copied)), np.random.default_rng(1), next(copied))
    assert many.n == 10 * once.n
    np.testing.assert_allclose((many.value, many.low, many.high), (once.value, once.low, once.high), atol=1e-12)


def test_equal_standard_deviations_expect_no_correlation():
    assert np.isnan(rank_correlation.expected(np.ones(20), np.random.default_rng(0)))
    nearly = 1 + 1e-9 * np.arange(20)
    assert rank_correlation.expected(nearly, np.random.default_rng(0)) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("n", [4, 20, 100])
def test_two_sizes_far_apart_expect_a_correlation_of_0_87(n):
    """All errors of one half are smaller than those of the other: n/4 over the deviation √((n² − 1)/12) of ranks."""
    std = np.repeat([1.0, 1e12], n // 2)
    right = n / 4 / np.sqrt((n**2 - 1) / 12)
    assert rank_correlation.expected(std, np.random.default_rng(0)) == pytest.approx(right, rel=1e-12)
