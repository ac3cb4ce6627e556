"""Suspicious labels: scores against their formula, and wrong labels that were planted in silicon."""

import numpy as np
import pytest
import reference
from problems import data, summed

import rigidities as rg
from rigidities.leave_one_out import LeaveOneOut

LAM = 1e-3


def setting(k=None, n=60):
    F, y, w = data(n, 8, k)
    return F, y, w, rg.leave_one_out(summed(F, y, w).factorize(LAM), F, y, weights=w)


def median_scale(t):
    return np.median(np.abs(t), axis=0) / 0.67449


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_scores_are_residuals_of_refits_over_their_robust_scale(k, noise):
    F, y, w, left = setting(k)
    t = np.empty_like(y)
    for i in range(len(F)):
        residual, variance = reference.left_out(F, y, LAM, np.array([i]), w)
        t[i] = residual[0] / np.sqrt(variance[0] + noise / w[i])
    found = rg.suspicious_labels(left, weights=w, noise=noise, threshold=2.0)
    np.testing.assert_allclose(found.scores, t / median_scale(t), rtol=1e-4)
    np.testing.assert_allclose(found.scales[None], median_scale(t), rtol=1e-4)
    largest = np.abs(found.scores) if k is None else np.abs(found.scores).max(axis=1)
    np.testing.assert_array_equal(found.indices, np.argsort(-largest)[: (largest > 2).sum()])
    assert 0 < len(found.indices) < len(F)


def test_the_scale_of_gaussian_residuals_is_their_standard_deviation():
    rng = np.random.default_rng(0)
    left = LeaveOneOut(0.3 * rng.normal(size=100_000), np.ones(100_000), np.zeros(100_000))
    found = rg.suspicious_labels(left)
    assert found.scales[None] == pytest.approx(0.3, rel=0.01)
    assert 0 < len(found.indices) < 20  # of which 6 are expected


def test_wrong_labels_do_not_widen_the_scale():
    rng = np.random.default_rng(0)
    e = rng.normal(size=1000)
    e[:100] *= 1000
    found = rg.suspicious_labels(LeaveOneOut(e, np.ones(1000), np.zeros(1000)))
    assert found.scales[None] < 1.3
    assert set(found.indices) == set(np.flatnonzero(np.abs(found.scores) > 4)) <= set(range(100))
    assert (np.diff(np.abs(found.scores[found.indices])) <= 0).all()


def test_each_class_has_its_own_scale():
    left = setting()[3]
    by = np.where(np.arange(60) % 3, "forces", "energy")
    found = rg.suspicious_labels(left, by=by)
    for label in ("forces", "energy"):
        t = left.residuals[by == label] / np.sqrt(left.variances[by == label])
        assert found.scales[label] == pytest.approx(median_scale(t), rel=1e-4)
        np.testing.assert_allclose(found.scores[by == label], t / median_scale(t), rtol=1e-4)
    larger = LeaveOneOut(left.residuals * np.where(by == "forces", 7, 1), left.variances, left.leverages)
    np.testing.assert_allclose(rg.suspicious_labels(larger, by=by).scores, found.scores)


def test_targets_that_no_fit_can_be_without_are_not_judged():
    _, _, _, left = setting()
    residuals, variances = left.residuals.copy(), left.variances.copy()
    residuals[7], variances[7] = np.nan, np.inf
    found = rg.suspicious_labels(LeaveOneOut(residuals, variances, left.leverages), threshold=1e-9)
    assert np.isnan(found.scores[7])
    assert sorted(found.indices) == [i for i in range(60) if i != 7]


def test_variances_that_are_rounding_do_not_accuse():
    """The force of an atom on a mirror plane: residual and variance are both rounding."""
    e, v = np.random.default_rng(0).normal(size=50), np.ones(50)
    e[3], v[3] = 1e-9, 1e-32
    assert abs(rg.suspicious_labels(LeaveOneOut(e, v, v)).scores[3]) < 1e-5
    e[3] = 1.0  # but a row of zeros cannot have such a label
    np.testing.assert_array_equal(rg.suspicious_labels(LeaveOneOut(e, v, v)).indices, [3])


def test_a_weight_of_zero_says_nothing_with_noise():
    _, _, w, left = setting()
    w[5] = 0
    assert rg.suspicious_labels(left, weights=w, noise=1.0).scores[5] == 0
    assert rg.suspicious_labels(left, weights=w).scores[5] != 0


def test_wrong_labels_in_silicon_are_found():
    """Two per cent of the energies are wrong by 0.2 eV per atom; others have an RMS of 0.02."""
    pytest.importorskip("featomic")
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import Soap, soap_rows

    frames = load_silicon()
    soap = Soap("Si", cutoff=4.0, max_radial=6, max_angular=4)
    energies = np.array([frame.get_potential_energy() / len(frame) for frame in frames])
    _, rows = rg.reduce_rows(soap_rows(frames, soap, progress=False))
    n_found = n_right = n_wrong = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        wrong = rng.choice(len(frames), round(0.02 * len(frames)), replace=False)
        y = energies - energies.mean()
        y[wrong] += 0.2 * rng.choice([-1, 1], len(wrong))
        hessian = summed(rows, y).factorize(1e-4)
        found = rg.suspicious_labels(rg.leave_one_out(hessian, rows, y)).indices
        n_found, n_wrong = n_found + len(found), n_wrong + len(wrong)
        n_right += len(np.intersect1d(found, wrong))
    assert n_right / n_wrong >= 0.9
    assert n_right / n_found >= 0.5


@pytest.mark.parametrize(
    ("error", "arguments", "text"),
    [
        (TypeError, dict(left_out=np.ones(60)), "left_out is a ndarray: expected what leave_one_out returns"),
        (ValueError, dict(threshold=0.0), "threshold is 0.0: expected a positive number"),
        (TypeError, dict(threshold="5"), "threshold is '5': expected a positive number"),
        (ValueError, dict(noise=-1.0), "noise is -1.0: expected a number from 0"),
        (ValueError, dict(weights=np.ones(3)), "weights has 3 entries"),
        (ValueError, dict(by=np.zeros(3, dtype=int)), "by has 3 entries but there are 60 targets"),
        (ValueError, dict(by=np.arange(60) // 54), "6 targets of class 1 can be judged: expected 10 or more"),
        (
            ValueError,
            dict(left_out=LeaveOneOut(np.zeros(60), np.ones(60), np.ones(60))),
            "half of the residuals are 0: there is no scale",
        ),
        (
            ValueError,
            dict(left_out=LeaveOneOut(np.ones(60), np.zeros(60), np.ones(60))),
            "the variances of half of the targets are 0: pass a noise above 0",
        ),
    ],
)
def test_what_is_refused(error, arguments, text):
    with pytest.raises(error, match=text):
        rg.suspicious_labels(**{"left_out": setting()[3], **arguments})
