"""The figure of criteria over λ: panels, units, the window, the λ in use."""

import numpy as np
import pytest

import rigidities as rg
from rigidities.plot import regularizer_curves

pytest.importorskip("matplotlib")


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


@pytest.fixture(scope="module")
def noisy():
    """A path, training and test rows of smooth features and noisy targets."""
    rng = np.random.default_rng(7)
    places = [np.sort(rng.uniform(-1, 1, 60)) for _ in range(2)]
    rows = [np.exp(-8 * (x[:, None] - np.linspace(-1, 1, 20)) ** 2) for x in places]
    targets = [np.sin(3 * x) + 0.1 * rng.normal(size=60) for x in places]
    covariance = rg.Covariance(20)
    covariance.update(rows[0], targets=targets[0])
    return rg.regularizer_path(covariance), (rows[0], targets[0]), (rows[1], targets[1])


# ---- criteria over λ


def drawn(axes):
    """Values of each line, and of its mark, by the first words in the legend."""
    lines = {line.get_label().split(",")[0]: line for line in axes.lines if not line.get_label().startswith("_")}
    marks = [line.get_xydata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    return {name: line.get_xydata() for name, line in lines.items()}, marks


def test_all_criteria_are_drawn_with_their_best():
    rng = np.random.default_rng(6)
    F, G = rng.normal(size=(2, 30, 4))
    y, t = (rows @ np.arange(4) + 0.3 * rng.normal(size=30) for rows in (F, G))
    w = rng.uniform(1, 2, 30)
    covariance = rg.Covariance(4)
    covariance.update(F, targets=y, weights=w)
    path = rg.regularizer_path(covariance, np.logspace(3, -3, 20))
    figure = regularizer_curves(path, train=(F, y), test=(G, t), weights=w)
    panels = {axes.get_ylabel(): drawn(axes) for axes in figure.axes}
    names = "log evidence\n(nats)", "√GCV\n(unit of √w · target)", "RMSE", "test NLL\n(nats)", "test CRPS"
    assert list(panels) == [*names, "effective dimension\n(directions)"]
    assert list(panels["RMSE"][0]) == ["leave-one-out", "test"]
    x, values = panels["RMSE"][0]["leave-one-out"].T
    np.testing.assert_array_equal(x, path.regularizers[::-1])
    np.testing.assert_array_equal(values, path.score(F, y, "loo", weights=w)[::-1])
    best = [path.best("loo", F, y, weights=w), path.best("rmse", G, t)]
    assert [mark[0] for mark in panels["RMSE"][1]] == best
    assert panels[names[0]][1][0][0] == path.best("evidence")
    assert panels[names[1]][1][0][0] == path.best("gcv")
    assert figure.axes[0].get_xscale() == "log"
    assert [axes.get_ylabel() for axes in regularizer_curves(path).axes] == [list(panels)[i] for i in (0, 1, 5)]


@pytest.mark.parametrize("low", [-18, -30])
def test_what_is_not_resolved_is_grey(low, tmp_path):
    F = np.exp(-8 * (np.linspace(-1, 1, 30)[:, None] - np.linspace(-1, 1, 90)) ** 2)
    covariance = rg.Covariance(90)
    covariance.update(F, targets=np.linspace(0, 1, 30) ** 2)
    path = rg.regularizer_path(covariance, np.logspace(low, low + 16, 30))
    figure = regularizer_curves(path)
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["not resolved"]
    [span] = figure.axes[0].patches
    width = path.regularizers[np.isnan(path.log_evidence)][-1] - path.regularizers[0]
    assert span.get_width() == pytest.approx(width, rel=1e-6)
    legend = texts(figure.axes[0].get_legend())
    assert legend[0].startswith("evidence, best at" if low == -18 else "evidence: not resolved")
    figure.savefig(tmp_path / "curves.png")


def test_errors_have_their_unit(noisy):
    path, train, test = noisy
    figure = regularizer_curves(path, train=train, test=test, unit="meV/atom", factor=1000.0)
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert {"RMSE\n(meV/atom)", "test CRPS\n(meV/atom)"} < set(panels)
    values = drawn(panels["RMSE\n(meV/atom)"])[0]["test"][:, 1]
    np.testing.assert_allclose(values, 1000 * path.score(*test, "rmse")[np.argsort(path.regularizers)])
    assert not any("validation" in text for axes in figure.axes for text in texts(axes.get_legend() or NO_LEGEND))


class _NoLegend:
    def get_texts(self):
        return []


NO_LEGEND = _NoLegend()


@pytest.mark.parametrize("used", [1e-3, 1e-30, 1e9])
def test_the_regularizer_in_use_is_a_line_within_the_window(noisy, used):
    path, train, _ = noisy
    figure = regularizer_curves(path, train=train, regularizer=used)
    for axes in figure.axes:
        assert any(line.get_linestyle() == "--" and set(line.get_xdata()) == {used} for line in axes.lines)
        assert axes.get_xlim()[0] < used < axes.get_xlim()[1]
    assert f"λ in use: {used:.3g}" in [text.get_text() for text in figure.axes[0].texts]


def test_a_regularizer_of_0_is_said(noisy, tmp_path):
    figure = regularizer_curves(noisy[0], regularizer=0.0)
    assert "λ in use: 0" in [text.get_text() for text in figure.axes[0].texts]
    figure.savefig(tmp_path / "curves.png")


def test_the_window_is_around_the_best_values(noisy):
    path, train, test = noisy
    best = [path.best("evidence"), path.best("gcv"), path.best("loo", *train)]
    best += [path.best(name, *test) for name in ("rmse", "nll", "crps")]
    figure = regularizer_curves(path, train=train, test=test, regularizer=best[0])
    low, high = figure.axes[0].get_xlim()
    assert max(best) < high < 1000 * max(best)
    assert low < min(best)
    assert high - low < path.regularizers.max()


def test_a_steep_end_does_not_flatten_the_rest(noisy):
    path, train, test = noisy
    figure = regularizer_curves(path, train=train, test=test)
    [likelihood] = [axes for axes in figure.axes if axes.get_ylabel().startswith("test NLL")]
    assert np.ptp(likelihood.get_ylim()) < 0.5 * np.nanmax(np.ptp(path.score(*test, "nll")))
    for axes in figure.axes[:-1]:
        window = axes.get_xlim()
        x = path.regularizers[np.argsort(path.regularizers)]
        for line in axes.lines:
            if len(line.get_xdata()) == 1:  # every best value is inside
                assert axes.get_ylim()[0] < line.get_ydata()[0] < axes.get_ylim()[1]
            elif len(line.get_xdata()) == len(x):
                shown = line.get_ydata()[(x >= window[0]) & (x <= window[1])]
                inside = (shown >= axes.get_ylim()[0]) & (shown <= axes.get_ylim()[1])
                assert inside[np.isfinite(shown)].mean() > 0.6


def test_flat_curves_look_flat():
    covariance = rg.Covariance(2)
    covariance.update(np.eye(2), targets=[1.0, 1.0])
    path = rg.regularizer_path(covariance, [1e-9, 1e-8, 1e-7])
    axes = regularizer_curves(path, test=(np.eye(2), [2.0, 2.0])).axes[2]
    values = axes.lines[0].get_ydata()
    assert np.ptp(values) < 1e-6
    assert np.ptp(axes.get_ylim()) > 0.05 * values.mean()


@pytest.mark.parametrize("regularizers", [[1.0], [1e-3, 1e-3], [1e-100, 1e100]])
def test_odd_paths_can_be_drawn(noisy, regularizers, tmp_path):
    _, (rows, targets), test = noisy
    covariance = rg.Covariance(20)
    covariance.update(rows, targets=targets)
    path = rg.regularizer_path(covariance, regularizers)
    regularizer_curves(path, train=(rows, targets), test=test, regularizer=1.0).savefig(tmp_path / "curves.png")
