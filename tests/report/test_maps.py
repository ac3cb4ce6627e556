"""Maps: axes against the singular value decomposition, figures by what stands on them, the viewer by its file."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

import rigidities as rg
from rigidities import plot
from rigidities.plot import log_limits, lpr_map, lpr_maps, map_of, principal_axes, write_viewer
from rigidities.report.content import make_report
from rigidities.report.map_figure import map_figure
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
    assert texts(axes.get_legend()) == ["training atoms", "test atoms", "infinite LPR (hollow)"]
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


def test_a_few_outliers_do_not_take_the_colours():
    lpr = 10 ** np.concatenate([np.linspace(-2, 0, 100), [-9.0, 7.0]])
    figure = lpr_map(np.zeros((102, 2)), lpr)
    values, [(low, high)] = colours(figure.axes[0])
    assert values.min() == pytest.approx(-9)  # drawn all the same
    assert -2.1 < low < -1.9
    assert -0.2 < high < 0.1
    assert bar_of(figure).extend == "both"
    assert bar_of(lpr_map(np.zeros((3, 2)), [1.0, 2.0, 3.0])).extend == "neither"
    assert bar_of(lpr_map(np.zeros((101, 2)), lpr[:101])).extend == "both"
    limited = lpr_maps(np.zeros((2, 2)), {"": [1e-3, 1.0]}, limits=(-2.0, 1.0))
    assert bar_of(limited).extend == "min"


def bar_of(figure):
    return next(c.colorbar for axes in figure.axes for c in axes.collections if c.colorbar is not None)


def ticks(figure):
    """Marks of the training atoms beside the colours."""
    [axis] = figure.axes[-1].child_axes or [None]
    return (
        {}
        if axis is None
        else {t.get_text(): y for t, y in zip(axis.get_yticklabels(), axis.get_yticks(), strict=True)}
    )


def test_the_training_atoms_own_rigidities_are_marked():
    training = 10 ** np.linspace(-1, 3, 401)
    found = ticks(lpr_map(np.zeros((3, 2)), [1.0, 10.0, 100.0], training=training))
    assert found == {"training\n1 %": pytest.approx(-0.96), "training\nmedian": pytest.approx(1.0)}
    figure = lpr_map(np.zeros((2, 2)), [1.0, 2.0], training=[1e-5, 1e5, 1e5])
    assert colours(figure.axes[0])[1] == {(-5, 5)}  # the scale reaches to the marks
    assert list(ticks(lpr_map(np.zeros((2, 2)), [1.0, 1.0], training=[1.0] * 5))) == ["training\n1 %, median"]
    assert ticks(lpr_map(np.zeros((2, 2)), [1.0, 1.0], training=[np.inf])) == {}
    assert ticks(lpr_maps(np.zeros((2, 2)), {"": [1.0, 1.0]}, limits=(0, 1), training=[1e-5])) == {}


def test_of_many_kinds_the_least_rigid_have_their_own_mark(tmp_path):
    kinds = np.array([f"kind{i:02}" for i in range(30)])
    lpr = np.r_[np.logspace(3, 0, 29), np.inf]
    figure = lpr_map(np.random.default_rng(5).normal(size=(30, 2)), lpr, marks=kinds, background=np.empty((0, 2)))
    named = ["kind23", "kind24", "kind25", "kind26", "kind27", "kind28"]
    assert texts(figure.axes[0].get_legend()) == ["other test atoms", *named, "infinite LPR (hollow)"]
    figure.savefig(tmp_path / "map.png")


@pytest.mark.parametrize(("lpr", "legend"), [
    ([np.inf], ["bulk", "infinite LPR (hollow)"]),
    ([0.0], ["bulk"]),
    ([5e-324], ["bulk"]),
    ([1.7e308], ["bulk"]),
])  # fmt: skip
def test_the_legend_holds_what_is_drawn(lpr, legend, tmp_path):
    figure = lpr_map([[0.0, 0.0]], lpr, marks=["bulk"], training=lpr)
    assert texts(figure.axes[0].get_legend()) == legend
    figure.savefig(tmp_path / "map.png")


def test_training_atoms_are_seen_around_test_atoms_at_the_same_place():
    places = np.zeros((5, 2))
    ground, *_, atoms = [
        c for c in lpr_map(places, np.ones(5), background=places).axes[0].collections if len(c.get_offsets())
    ]
    assert ground.get_sizes()[0] > 1.5 * atoms.get_sizes()[0]
    assert ground.get_zorder() < atoms.get_zorder()


def test_the_map_of_a_report_has_sizes_lambda_groups_and_training_marks():
    pytest.importorskip("featomic")
    build, interop = pytest.importorskip("ase.build"), pytest.importorskip("rigidities.interop.featomic")
    frames = [build.bulk("Si", cubic=True) for _ in range(4)]
    for i, frame in enumerate(frames):
        frame.rattle(0.05 * (i + 1), seed=i)
        frame.info["group"] = "calm" if i < 2 else "wild"
    soap = interop.Soap("Si", 4.0, max_radial=2, max_angular=1)
    train, test = Structures("train", frames[:2], soap), Structures("test", frames, soap)
    atom_map = map_of(train, test)
    report = make_report(train, test, regularizer=1e-3, atom_map=atom_map)
    figure = map_figure(report, atom_map)
    title = figure.axes[0].get_title()
    assert title == "4 test structures, 32 atoms\ntrained on 2 structures, 16 atoms, λ = 0.001"
    assert texts(figure.axes[0].get_legend()) == ["training atoms", "calm", "wild"]
    training = np.log10(report.hessian.rigidity(train.sample(100)))
    assert ticks(figure)["training\nmedian"] == pytest.approx(np.quantile(training, 0.5, method="inverted_cdf"))


def test_no_global_state_of_pyplot():
    code = (
        "import sys, rigidities.plot as plot; assert 'matplotlib' not in sys.modules\n"
        "plot.lpr_map([[0, 0], [1, 1]], [1, 2]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
