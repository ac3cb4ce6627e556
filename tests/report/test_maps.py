"""Maps: axes against the singular value decomposition, figures by what stands on them, the viewer by its file."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

import rigidities as rg
from rigidities import plot
from rigidities.plot import log_limits, lpr_map, lpr_maps, map_of, principal_axes, regularizer_curves, write_viewer
from rigidities.report.content import make_report
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features

pytest.importorskip("matplotlib")


def features(values):
    return Features("rows", rg.Rows(np.asarray(values, dtype=float)))


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def colours(axes):
    """Values and ends of the colour scale of the atoms drawn."""
    drawn = [c for c in axes.collections if c.get_array() is not None and len(c.get_array())]
    return np.concatenate([c.get_array() for c in drawn]), {c.get_clim() for c in drawn}


# ---- axes


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (5, 5)])
def test_axes_are_the_singular_vectors(shape):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=shape) * np.logspace(0, -2, shape[1])
    rows -= rows.mean(axis=0)
    axes, shares = principal_axes(rows)
    s, vt = np.linalg.svd(rows, full_matrices=False)[1:]
    np.testing.assert_allclose(np.abs(vt[:2] @ axes), np.eye(2), atol=1e-10)
    np.testing.assert_allclose(shares, s[:2] ** 2 / (s**2).sum(), rtol=1e-12)
    assert (axes[np.abs(axes).argmax(axis=0), [0, 1]] > 0).all()


@pytest.mark.parametrize(("rows", "rank"), [
    (np.zeros((4, 3)), 0),
    (np.zeros((1, 1)), 0),
    (np.outer([-1.0, 0.0, 1.0], [0.0, 2.0]), 1),
    (np.array([[-1.0], [1.0]]), 1),
])  # fmt: skip
def test_what_spans_no_plane_has_no_second_axis(rows, rank):
    axes, shares = principal_axes(rows)
    assert axes.shape == (rows.shape[1], 2)
    np.testing.assert_allclose(shares, [1.0, 0.0] if rank else [0.0, 0.0])
    np.testing.assert_allclose(np.linalg.norm(axes, axis=0), shares)


def test_a_map_is_made_of_both_sets():
    train, test = np.random.default_rng(2).normal(size=(2, 30, 4))
    atom_map = map_of(features(train), features(test))
    both = np.concatenate([train, test])
    np.testing.assert_allclose(atom_map.centre, both.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(atom_map.background, atom_map.project(train), atol=1e-12)
    spread = atom_map.project(both).var(axis=0) / both.var(axis=0).sum()
    np.testing.assert_allclose(spread, atom_map.explained, rtol=1e-12)


def test_fit_map_is_still_a_name_of_map_of():
    assert plot.fit_map is map_of


# ---- figures


def test_a_map_says_what_it_shows(tmp_path):
    places = np.random.default_rng(3).normal(size=(5, 2))
    lpr = np.array([1e-6, 1e2, np.inf, 1.0, 10.0])
    figure = lpr_map(places, lpr, explained=[0.625, 0.25], background=places[:2], title="a title")
    axes, bar = figure.axes
    assert axes.get_title() == "a title"
    assert axes.get_xlabel() == "principal component 1 (62% of the variance)"
    assert axes.get_ylabel() == "principal component 2 (25% of the variance)"
    assert bar.get_ylabel().startswith("log₁₀ LPR")
    assert texts(axes.get_legend()) == ["training atoms", "test atoms", "infinite LPR"]
    values, limits = colours(axes)
    np.testing.assert_array_equal(values, [2, 1, 0, -6])  # the least rigid is drawn last, on top
    assert limits == {(-6, 2)}
    figure.savefig(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_maps_side_by_side_share_their_scale():
    places = np.random.default_rng(4).normal(size=(4, 2))
    panels = {"before": [1e-3, 1e-2, 1.0, 1.0], "after": [1.0, 1.0, 1.0, 1e4]}
    figure = lpr_maps(places, panels, backgrounds={"after": places}, marks=["", "vacancy", "vacancy", "surface"])
    before, after, _ = figure.axes
    assert colours(before)[1] == colours(after)[1] == {(-3, 4)}
    assert before.get_xlim() == after.get_xlim()
    assert texts(before.get_legend()) == ["other test atoms", "surface", "vacancy"]
    assert texts(after.get_legend())[0] == "training atoms"
    drawn = [c.get_array().tolist() for c in before.collections if c.get_array() is not None and len(c.get_array())]
    assert drawn == [[-3], [0], [0, -2]]  # each atom once, in the order of the legend
    limited = lpr_maps(places, panels, limits=(-1.0, 1.0))
    assert colours(limited.axes[0])[1] == {(-1, 1)}


@pytest.mark.parametrize("lpr", [[np.inf, np.inf], [1.0, 1.0]])
def test_a_map_without_contrast_can_be_drawn(lpr, tmp_path):
    lpr_map(np.zeros((2, 2)), lpr).savefig(tmp_path / "map.png")
    assert log_limits(np.log10(lpr)) == ((0, 1) if np.isinf(lpr[0]) else (0, 0))


def test_no_global_state_of_pyplot():
    code = (
        "import sys, rigidities.plot as plot; assert 'matplotlib' not in sys.modules\n"
        "plot.lpr_map([[0, 0], [1, 1]], [1, 2]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
    assert list(panels) == ["log evidence", "error", "NLL (nats)", "CRPS", "effective dimension"]
    assert list(panels["error"][0]) == ["√GCV", "leave-one-out", "validation"]
    x, values = panels["error"][0]["leave-one-out"].T
    np.testing.assert_array_equal(x, path.regularizers[::-1])
    np.testing.assert_array_equal(values, path.score(F, y, "loo", weights=w)[::-1])
    best = [path.best("gcv"), path.best("loo", F, y, weights=w), path.best("rmse", G, t)]
    assert [mark[0] for mark in panels["error"][1]] == best
    assert panels["log evidence"][1][0][0] == path.best("evidence")
    assert figure.axes[0].get_xscale() == "log"
    assert [axes.get_ylabel() for axes in regularizer_curves(path).axes] == [list(panels)[i] for i in (0, 1, 4)]


@pytest.mark.parametrize("low", [-18, -30])
def test_what_is_not_resolved_is_grey(low, tmp_path):
    F = np.exp(-8 * (np.linspace(-1, 1, 30)[:, None] - np.linspace(-1, 1, 90)) ** 2)
    covariance = rg.Covariance(90)
    covariance.update(F, targets=np.linspace(0, 1, 30) ** 2)
    path = rg.regularizer_path(covariance, np.logspace(low, low + 16, 30))
    figure = regularizer_curves(path)
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["not resolved"]
    [span] = figure.axes[0].patches
    assert span.get_width() == pytest.approx(path.regularizers[np.isnan(path.log_evidence)][-1], rel=1e-6)
    legend = texts(figure.axes[0].get_legend())
    assert legend[0].startswith("evidence, best at" if low == -18 else "evidence: not resolved")
    figure.savefig(tmp_path / "curves.png")


# ---- the viewer


def test_viewer_holds_every_atom(tmp_path):
    pytest.importorskip("chemiscope")
    build, interop = pytest.importorskip("ase.build"), pytest.importorskip("rigidities.interop.featomic")
    frames = [build.bulk("Si", cubic=True), build.bulk("Si")]
    for i, frame in enumerate(frames):
        frame.rattle(0.1, seed=i)
        frame.info["group"] = "bulk"
    source = Structures("Si", frames, interop.Soap("Si", 4.0, max_radial=2, max_angular=1))
    report = make_report(source, source, regularizer=1e-3, atom_map=map_of(source, source))
    report.rigidities.lpr[3] = np.inf
    write_viewer(report, tmp_path / "viewer.json.gz")
    text = gzip.decompress((tmp_path / "viewer.json.gz").read_bytes()).decode()
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    properties = read["properties"]
    assert set(properties) == {"PC1", "PC2", "log10 LPR", "group", "species", "coordination", "log10 PR"}
    np.testing.assert_array_equal(properties["PC1"]["values"], report.rigidities.coordinates[:, 0])
    shown = np.array(properties["log10 LPR"]["values"])
    finite = np.isfinite(report.rigidities.lpr)
    np.testing.assert_array_equal(shown[finite], np.log10(report.rigidities.lpr[finite]))
    assert shown[3] == shown[finite].max()
    assert "infinite" in properties["log10 LPR"]["description"]
    assert properties["species"]["values"] == ["Si"] * 10
    np.testing.assert_array_equal(properties["log10 PR"]["values"], np.log10(report.rigidities.pr))
    assert properties["log10 PR"]["target"] == "structure"
    assert "of the energy per atom" in properties["log10 PR"]["description"]
    assert [(e["structure"], e["center"], e["cutoff"]) for e in read["environments"]][-1] == (1, 1, 4.0)
    assert len(read["environments"]) == 10
    assert read["settings"]["map"]["color"]["property"] == "log10 LPR"
