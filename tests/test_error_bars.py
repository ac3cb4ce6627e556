"""The figures of docs/error-bars.md: how error bars are made and judged, and that the page says what was measured."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import rigidities as rg

BENCHES = Path(__file__).parent.parent / "benches"
sys.path.insert(0, str(BENCHES))
judged, page, records = map(importlib.import_module, ("error_bars_judged", "error_bars_page", "records"))


# The page -----------------------------------------------------------------------------------------


def shifted(value):
    """The same figures, each number changed."""
    if isinstance(value, dict):
        return {key: shifted(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shifted(entry) for entry in value]
    return 0.8 * value + 0.01 if isinstance(value, float) else value


def test_the_page_says_what_the_figures_say():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(records.read(page.RESULTS), text) == text, "run benches/error_bars_page.py"


@pytest.mark.parametrize("block", page.BLOCKS)
def test_another_figure_is_another_table(block):
    content = records.read(page.RESULTS)
    assert page.BLOCKS[block](shifted(content)) != page.BLOCKS[block](content)


def test_the_figure_is_of_the_run_of_the_tables():
    pytest.importorskip("matplotlib")
    figure = importlib.import_module("error_bars_figure")
    content = records.read(page.RESULTS)
    drawn = figure.IMAGE.read_bytes()
    assert figure.digest(content).encode() in drawn, "run benches/error_bars_figure.py"
    assert figure.digest(shifted(content)) != figure.digest(content)


def test_the_figure_shows_the_coverages():
    pytest.importorskip("matplotlib")
    figure = importlib.import_module("error_bars_figure")
    content = records.read(page.RESULTS)
    panels = figure.draw(content).axes
    of = figure.shown(content)["Si"]
    for panel, part, names in ((panels[0], "bins", figure.IN_BINS), (panels[2], "kinds", of)):
        lines = [line.get_ydata() for line in panel.lines if len(line.get_ydata()) > 2]
        wanted = [of[name][coverage][part] for name in names for coverage in ("68", "95")]
        wanted = [[one[kind] for kind in sorted(one)] if part == "kinds" else one for one in wanted]
        assert np.asarray(lines) == pytest.approx(100 * np.asarray(wanted))
        assert panel.get_ylim()[0] < np.min(lines)


# JSON ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON, st.integers(0, 3))
def test_records_are_json_however_flat(value, flat):
    assert records.text_of(value) == json.dumps(value, indent=1)
    text = records.text_of(value, flat)
    assert json.loads(text) == value
    if records.depth(value) <= flat:
        assert "\n" not in text


# How half-widths are judged -----------------------------------------------------------------------


def judge_of(errors, structures=None, kinds="a", std=None):
    n = len(errors)
    targets = SimpleNamespace(
        errors=np.asarray(errors, dtype=float),
        kinds=np.broadcast_to(kinds, n),
        structures=np.arange(n) if structures is None else np.asarray(structures),
    )
    return judged.Judge(targets, np.ones(n) if std is None else std)


@given(st.integers(2, 40), st.integers(0, 40))
def test_limits_of_independent_targets_are_those_of_clopper_and_pearson(n, k):
    errors = np.where(np.arange(n) < k, -0.5, 2.0)
    found = judge_of(errors).record(np.ones(n), 0.68)
    exact = scipy.stats.binomtest(min(k, n), n).proportion_ci(0.95, "exact")
    assert (found["held"], found["low"], found["high"]) == pytest.approx((min(k, n) / n, *exact), abs=1e-12)


def test_components_of_a_structure_do_not_count_as_independent():
    rng = np.random.default_rng(0)
    once = rng.normal(size=40)
    alone = judge_of(once).record(np.ones(40), 0.68)
    copies = judge_of(np.repeat(once, 30), np.repeat(np.arange(40), 30)).record(np.ones(1200), 0.68)
    assert copies["held"] == alone["held"]
    wanted = alone["high"] - alone["low"]
    assert copies["high"] - copies["low"] == pytest.approx(wanted, rel=0.15)
    all_held = judge_of(np.zeros(1200), np.repeat(np.arange(40), 30)).record(np.ones(1200), 0.68)
    assert all_held["low"] == pytest.approx(0.025 ** (1 / 40))  # none of 40 structures outside


def test_score_width_whole_structures_and_kinds():
    errors, half = np.array([0.5, -3.0, 1.0, 0.0]), np.array([1.0, 2.0, 0.5, np.inf])
    found = judge_of(errors, [0, 0, 1, 1], np.array(["a", "a", "a", "b"])).record(half, 0.9)
    assert found["score"] is None
    assert found["unbounded"] == 1
    assert found["width"] == pytest.approx(3.5 / 3)
    assert found["kinds"] == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert found["whole"] == 0.0
    bounded = judge_of(errors[:3], [0, 1, 1]).record(half[:3], 0.9)
    # 2h, and 2/(1 − 0.9) for each unit that an error lies outside
    assert bounded["score"] == pytest.approx((2 + (4 + 20 * 1.0) + (1 + 20 * 0.5)) / 3)
    assert bounded["whole"] == 0.5
    assert bounded["bins"] == []


def test_bins_follow_std_and_the_worst_is_the_farthest():
    std = np.random.default_rng(1).permutation(200) + 1.0
    errors = np.where((std > 20) & (std <= 40), 2.0, 0.0)  # the second tenth
    record = judge_of(errors, std=std).record(np.ones(200), 0.9)
    assert record["bins"] == [1.0, 0.0] + 8 * [1.0]
    assert judged.worst_bin(record, 0.9) == 0.0
    assert judged.worst_bin({"bins": []}, 0.9) is None


def test_kinds_of_few_structures_are_not_the_worst():
    record = {"kinds": {"few": 0.0, "many": 0.8, "more": 1.0}}
    sizes = {"few": [judged.FEWEST - 1, 400], "many": [judged.FEWEST, 5], "more": [50, 777]}
    assert judged.worst_kind(record, sizes, 0.95) == ("many", 0.8)
    assert judged.worst_kind(record, sizes, 0.68) == ("more", 1.0)


def test_sizes_of_kinds_are_counted():
    assert judge_of(np.ones(5), [0, 0, 1, 2, 2], np.array(list("aabbb"))).of_kinds == {"a": [1, 2], "b": [2, 3]}


# How half-widths are made -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """Modules that read structures, and rows of 60 made-up structures with four atoms each."""
    pytest.importorskip("featomic")
    names = ("error_bars_fits", "error_bars_measured", "error_bars_methods", "claims_rows")
    found = SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    rng = np.random.default_rng(0)
    n, p = 75, 6
    theta = rng.normal(size=p)
    found.rows = found.claims_rows.TrainingRows.__new__(found.claims_rows.TrainingRows)
    kinds = np.array(["Elastic", "Vacancy", "AIMD-NVT"])[np.arange(n) % 3]
    found.rows.structures = SimpleNamespace(n=n, train=np.arange(n) < 60, kinds=kinds)
    for name, each in (("energy", 1), ("forces", 12)):
        values = rng.normal(size=(n * each, p))
        targets = values @ theta + 0.3 * rng.standard_t(5, size=n * each) + 2.0 * (name == "energy")
        blocks = np.repeat(np.arange(n), each)
        setattr(found.rows, name, rg.TermRows(values, term=rg.Term(), targets=targets, blocks=blocks))
    found.weights = found.claims_rows.Weights(10.0, 1.0)
    return found


def test_no_method_sees_what_it_is_judged_on(made):
    structures = made.rows.structures
    settings = made.error_bars_measured.settings_of(structures)
    for name, splits in settings.items():
        assert not any((budget & seen).any() for budget, seen in splits), name
        assert not any((budget & ~structures.train).any() for budget, _ in splits), name
    assert [int(sum(seen for _, seen in settings[name]).sum()) for name in settings] == [15, 60, 60]
    for budget, seen in settings["new kinds"]:
        assert not set(structures.kinds[budget]) & set(structures.kinds[seen])
    pair = made.error_bars_fits.Pair(
        made.rows, made.weights, structures.train, ~structures.train, np.random.default_rng(0)
    )
    assert not (pair.held & pair.part.chosen).any()
    assert ((pair.held | pair.part.chosen) == structures.train).all()
    assert pair.held.sum() == 20


@pytest.mark.parametrize("term", ["energy", "forces"])
def test_left_out_targets_are_those_of_a_fit_without_the_structure(made, term):
    train = made.rows.structures.train
    fitted = made.error_bars_fits.Fitted(made.rows, made.weights, train)
    found = fitted.left_out(term)
    other = train & (np.arange(len(train)) != 7)
    own = found.structures == 7
    parts, _ = made.rows.batch(other, made.weights)
    covariance = rg.Covariance(found.rows.shape[1])
    for part in parts.values():  # λ stays, and so does the baseline
        shift = made.rows.batch(other, made.weights)[1] - fitted.baseline if part is parts["energy"] else 0.0
        covariance.update(part.values, weights=part.weights_in_loss, targets=part.targets + shift)
    hessian = covariance.factorize(fitted.fit.hessian.regularizer)
    rows = getattr(made.rows, term)
    targets = rows.targets[rows.blocks == 7] - (fitted.baseline if term == "energy" else 0.0)
    np.testing.assert_allclose(found.errors[own], targets - found.rows[own] @ hessian.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.variances[own], hessian.variance(found.rows[own]), rtol=1e-9)
    if term == "forces":
        force = (found.rows[own] @ hessian.coef).reshape(-1, 3)
        np.testing.assert_allclose(found.norms[own].reshape(-1, 3).T, 3 * [np.linalg.norm(force, axis=1)], rtol=1e-9)


def test_other_targets_are_predicted_without_a_change_of_the_fit(made):
    train = made.rows.structures.train
    fitted = made.error_bars_fits.Fitted(made.rows, made.weights, train)
    found = fitted.of("energy", ~train)
    np.testing.assert_allclose(found.errors, made.rows.errors(fitted.fit, ~train), rtol=1e-12)
    assert (found.structures == np.flatnonzero(~train)).all()
    assert (found.at(np.arange(15) > 11).errors == found.errors[12:]).all()


@pytest.mark.filterwarnings("ignore:.*(half-widths|class)")
@pytest.mark.parametrize("term", ["energy", "forces"])
def test_half_widths_are_those_of_the_package(made, term):
    methods, structures = made.error_bars_methods, made.rows.structures
    train = structures.train
    pair = made.error_bars_fits.Pair(made.rows, made.weights, train, ~train, np.random.default_rng(0))
    pair.look_at(term)
    found = methods.half_widths(term, pair, 0.68, methods.Spreads(term, pair))
    known, new = pair.targets["left out"]
    held, other = pair.targets["held out"]
    z = scipy.stats.norm.ppf(0.84)
    scale = np.sqrt(np.mean(known.errors**2 / known.variances))
    np.testing.assert_allclose(found["left out"]['"nll"'], z * scale * np.sqrt(new.variances), rtol=1e-12)
    t = scipy.stats.t(60).ppf(0.84)
    np.testing.assert_allclose(found["left out"]['Student, "nll"'], t * scale * np.sqrt(new.variances), rtol=1e-12)
    score = np.sort(np.abs(held.errors) / np.sqrt(held.variances))
    k = int(np.ceil((len(score) + 1) * 0.68)) - 1
    np.testing.assert_allclose(found["held out"]["conformal"], score[k] * np.sqrt(other.variances), rtol=1e-12)
    size = np.sort(np.abs(known.errors))[int(np.ceil((len(known.errors) + 1) * 0.68)) - 1]
    np.testing.assert_allclose(found["left out"]["one width for all"], size, rtol=1e-12)
    spread = rg.misspecification(pair.whole.fit.hessian, pair.whole.batches())
    np.testing.assert_allclose(found["none"]["misspecification"], z * np.sqrt(spread.variance(new.rows)), rtol=1e-9)
    part = rg.robust_covariance(pair.part.fit.hessian, pair.part.batches(), kind="HC3")
    score = np.sort(np.abs(held.errors) / np.sqrt(part.variance(held.rows)))
    wanted = score[k] * np.sqrt(part.variance(other.rows))
    np.testing.assert_allclose(found["held out"]["sandwich, conformal"], wanted, rtol=1e-9)
    own = {
        kind: methods.interval(known.at(known.kinds == kind), new, 0.68, method="conformal") for kind in set(new.kinds)
    }
    by_kind = np.array([own[kind][index] for index, kind in enumerate(new.kinds)])
    np.testing.assert_allclose(found["left out"]["conformal by kind"], by_kind, rtol=1e-12)
    assert ("followed" in found) == (term == "forces")


@pytest.mark.filterwarnings("ignore:.*variances are 0 or rounding")
def test_targets_at_rounding_are_no_part_of_the_one_width(made):
    rng = np.random.default_rng(5)
    errors, variances = rng.normal(size=300), np.ones(300)
    errors[:100], variances[:100] = 0.0, 1e-20  # forces that symmetry holds at zero
    columns = {"rows": None, "kinds": None, "structures": None, "norms": None}
    known = made.error_bars_fits.Targets(errors=errors, variances=variances, **columns)
    found = made.error_bars_methods.one_width(known, known, 0.68)
    assert set(found) == {np.sort(np.abs(errors[100:]))[int(np.ceil(201 * 0.68)) - 1]}


@pytest.mark.filterwarnings("ignore")
def test_records_hold_every_method_in_every_setting(made):
    found = made.error_bars_measured.measure(made.rows)
    assert [(one["loss"], one["target"]) for one in found] == list(page.TITLES)
    for record in found:
        for setting in ("test", "thirds", "new kinds"):
            of = record[setting]
            n = sum(structures for structures, _ in of["left out"]["kinds"].values())
            assert n == (15 if setting == "test" else 60)
            gaussian = of["left out"]["methods"]['"nll"']
            assert 0.5 < gaussian["68"]["held"] < gaussian["95"]["held"] <= 1.0  # errors are nearly Gaussian
            assert of["none"]["rmse"] == of["left out"]["rmse"]
        for source, name in page.SUMMARY:
            if not (record["target"] == "energy" and name == "adaptive by kind"):
                assert page.method(record, "thirds", source, name), (source, name)
