"""Figures that Uncertainty Toolbox has, too."""

import numpy as np
import pytest
from uncertainty_toolbox import metrics_calibration, metrics_scoring_rule

import rigidities as rg


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_scores_sharpness_coverage_and_area(factor):
    rng = np.random.default_rng(0)
    std = np.exp(rng.normal(size=700))
    y = factor * std * rng.standard_t(4, 700)
    prediction = np.zeros(700)
    ours = rg.calibration_report(y, std)
    assert ours.nll == pytest.approx(metrics_scoring_rule.nll_gaussian(prediction, std, y))
    assert ours.crps == pytest.approx(metrics_scoring_rule.crps_gaussian(prediction, std, y))
    assert ours.sharpness == pytest.approx(metrics_calibration.sharpness(std))
    for level, coverage in zip(ours.levels, ours.coverage, strict=True):
        assert coverage == metrics_calibration.get_proportion_in_interval(prediction, std, y, level)
    # theirs is a sum over points; ours is the integral
    area = metrics_calibration.miscalibration_area(prediction, std, y, num_bins=2000)
    assert ours.miscalibration_area == pytest.approx(area, abs=1e-3)
    for name, level in (("interval_68", 0.68), ("interval_95", 0.95)):
        theirs = metrics_scoring_rule.interval_score(prediction, std, y, start_p=level, end_p=level, resolution=1)
        assert getattr(ours, name) == pytest.approx(theirs)
