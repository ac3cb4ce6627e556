"""Figures that other packages share: scores of uncertainty-toolbox, half-widths of MAPIE. Skipped without them."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import rigidities as rg

pytestmark = pytest.mark.filterwarnings("ignore")  # of their imports


@pytest.mark.parametrize(("loss", "score"), [("nll", "nll_gaussian"), ("crps", "crps_gaussian")])
def test_scores_of_uncertainty_toolbox_are_least_at_our_scale(loss, score):
    function = getattr(pytest.importorskip("uncertainty_toolbox.metrics_scoring_rule"), score)
    rng = np.random.default_rng(0)
    v = rng.uniform(0.1, 2, 300)
    r = 0.3 * np.sqrt(v) * rng.standard_t(4, 300)
    found = rg.calibrate(r, v, loss)
    best = minimize_scalar(
        lambda log: function(np.zeros(300), np.exp(log) * np.sqrt(v), r),
        bounds=(np.log(found.scale) - 1, np.log(found.scale) + 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found.scale == pytest.approx(np.exp(best.x), rel=1e-6)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95])
def test_half_widths_are_those_of_mapie(coverage):
    """Its absolute residuals are our scores where all variances are 1."""
    regression = pytest.importorskip("mapie.regression")
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(260, 3))
    y = X @ [1.0, 2.0, -1.0] + rng.standard_t(4, 260)
    fitted = linear_model.LinearRegression().fit(X[:100], y[:100])
    peer = regression.SplitConformalRegressor(fitted, confidence_level=coverage, prefit=True)
    peer.conformalize(X[100:200], y[100:200])
    ends = np.asarray(peer.predict_interval(X[200:])[1]).reshape(60, 2)
    half = rg.calibrate(y[100:200] - fitted.predict(X[100:200]), np.ones(100)).interval(
        np.ones(60), coverage, "conformal"
    )
    np.testing.assert_allclose(half, 0.5 * (ends[:, 1] - ends[:, 0]), rtol=1e-10)
