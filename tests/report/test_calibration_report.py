"""A calibration report as text, figures, a page and JSON."""

import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

import rigidities as rg
from rigidities.calibration.coverage import half_normal_interval
from rigidities.report.calibration.content import MOST_CLASSES, tables
from rigidities.report.calibration.page import reports_page

RNG = np.random.default_rng(2)
N = 900
S = 0.1 * np.exp(0.8 * RNG.normal(size=N))
Z = RNG.normal(size=N)
KIND = np.array(["crystal", "surface", "<script>&"])[np.arange(N) % 3]
PROVENANCE = rg.Provenance(
    "leave-one-out residuals", n=500, n_blocks=50, regularizer=1e-6, scale=0.12, scale_error=0.01
)


def made(factor=1.0, **options):
    return rg.calibration_report(factor * S * Z, S, **options)


REPORT = made(1.6, unit="eV/Å", by={"kind": KIND}, blocks=np.arange(N) // 9, provenance=PROVENANCE)


# ---- lines of the error figure


@pytest.mark.parametrize(("k", "low", "high"), [(1, 0.3313, 1.8975), (2, 0.05127, 2.8331), (3, 0.003173, 3.7625)])
def test_lines_hold_their_share_of_half_normal_errors(k, low, high):
    """Of all intervals of ln|z| with this share, theirs is the shortest."""
    level = 2 * stats.norm.cdf(k) - 1
    a, b = half_normal_interval(level)
    assert (a, b) == pytest.approx((low, high), rel=2e-4)
    assert stats.halfnorm.cdf(b) - stats.halfnorm.cdf(a) == pytest.approx(level, abs=1e-12)
    for shift in (-1e-3, 1e-3):  # of the lower end, along with an upper one of the same share
        other = a * np.exp(shift)
        assert stats.halfnorm.ppf(stats.halfnorm.cdf(other) + level) / other > b / a


def test_the_figure_has_these_lines():
    axes = REPORT.plot()["errors"].axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
    factors = sorted(float(line.get_ydata()[0] / line.get_xdata()[0]) for line in lines)
    assert factors == pytest.approx([0.003173, 0.05127, 0.3313, 1.8975, 2.8331, 3.7625], rel=1e-3)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    z = np.abs(1.6 * Z)
    held = np.mean((z >= 0.33126) & (z <= 1.8975))
    assert names[0] == f"68.27 % of Gaussian errors (here {100 * held:.2f} %)"


def test_residuals_at_rounding_do_not_fill_the_figure():
    """A force that symmetry holds at zero has a residual of 1e-17 beside a σ of noise."""
    found = rg.calibration_report(np.where(np.arange(N) < 30, 1e-17, S * Z), S)
    axes = found.plot()["errors"].axes[0]
    least = 1e-3 * S.min()
    assert axes.get_ylim()[0] == pytest.approx(least)
    n = int(np.sum(np.abs(found.residuals) <= least))
    assert n >= 30
    assert axes.get_title() == f"n = {N} ({n} residuals near 0 not drawn)"


def test_a_class_far_off_is_drawn_at_the_edge():
    far = np.arange(N) < 30
    found = rg.calibration_report(np.where(far, 1e-17, S * Z), S, by={"is far": far})
    axes = found.plot()["by is far"].axes[0]
    assert axes.get_xlim()[0] == pytest.approx(1e-3 / 1.5)


# ---- figures


def test_reliability_has_a_point_with_limits_for_each_bin():
    axes = REPORT.plot()["reliability"].axes[0]
    points = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() in ("o", "s")])
    order = np.argsort(points[:, 0])
    np.testing.assert_allclose(points[order], np.column_stack([REPORT.bins.rms_std, REPORT.bins.rmse]))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    missed = int(np.sum(REPORT.bins.ratio_low > 1))
    assert axes.get_title().startswith(f"{20 - missed} of 20 bins agree; expected")
    assert missed > 10


def test_coverage_and_retention_show_the_numbers():
    figures = REPORT.plot()
    coverage = {line.get_label(): line.get_xydata() for line in figures["coverage"].axes[0].lines}
    u = np.sort(2 * stats.norm.cdf(1.6 * np.abs(Z)) - 1)
    np.testing.assert_allclose(coverage["all levels"][1:-1, 0], u)
    retention = {line.get_label(): line.get_ydata() for line in figures["retention"].axes[0].lines}
    np.testing.assert_array_equal(retention["largest σ first"], REPORT.retention.rmse)
    np.testing.assert_array_equal(retention["the same, if σ is right"], REPORT.retention.calibrated)
    np.testing.assert_array_equal(retention["largest error first (oracle)"], REPORT.retention.oracle)


def test_classes_are_marked_by_what_their_interval_says():
    factor = np.select([KIND == "crystal", KIND == "surface"], [1.0, 3.0], 0.3)
    found = rg.calibration_report(factor * S * Z, S, by={"kind": KIND})
    figures = found.plot()
    assert list(figures) == ["reliability", "errors", "coverage", "retention", "by kind"]
    names = [text.get_text() for text in figures["by kind"].axes[0].get_legend().get_texts()]
    assert names == ["σ agrees", "σ too small", "σ too large"]
    assert "σ too small" in str(found)
    assert "σ too large" in str(found)


def test_classes_of_few_units_say_nothing():
    """Two blocks of the same errors have an interval of width 0, which means nothing."""
    kind = np.where(np.arange(N) < 18, "few", "many")
    found = rg.calibration_report(np.where(kind == "few", 2 * S, S * Z), S, by={"kind": kind}, blocks=np.arange(N) // 9)
    assert found.by["kind"]["few"].mean_square == pytest.approx((4, 4, 4))
    row = next(row for row in tables(found)[-1].rows if row[0] == "few")
    assert (row[2], row[-1]) == ("2", "few units")
    names = [text.get_text() for text in found.plot()["by kind"].axes[0].get_legend().get_texts()]
    assert names[0] == "few units"


def test_numbers_at_axes_are_plain():
    std = np.linspace(0.1, 0.4, N)  # less than a decade: LogFormatter writes 2e-01
    figure = rg.calibration_report(std * Z, std).plot()["reliability"]
    figure.draw_without_rendering()
    axes = figure.axes[0]
    labels = [text.get_text() for which in (False, True) for text in axes.get_xticklabels(minor=which)]
    shown = [float(label) for label in labels if label]
    assert len(shown) > 2
    assert not [label for label in labels if "e-" in label]


def test_text_of_the_caller_cannot_break_a_figure_or_a_table():
    names = np.array(["$\\frac$", "a\tb\nc", "x" * 300])[np.arange(N) % 3]
    found = made(by={"of $\\frac$": names}, unit="$\\frac$")
    for figure in found.plot().values():
        figure.draw_without_rendering()
    assert [row[0] for row in tables(found)[-1].rows] == ["$\\frac$", "a b c", "x" * 29 + "…"]


def test_many_classes_are_shown_in_part():
    found = made(by={"size": np.arange(N) % 50})
    table = tables(found)[-1]
    assert len(table.rows) == MOST_CLASSES
    assert "The first 30 of 50 classes" in table.explanation
    assert len(found.plot()["by size"].axes[0].get_yticklabels()) == MOST_CLASSES
    assert len(found.to_dict()["by"]["size"]) == 50


@pytest.mark.parametrize(
    "found",
    [
        lambda: rg.calibration_report(np.where(np.arange(N) < 800, 0.0, Z), S),
        lambda: rg.calibration_report(np.where(np.arange(N) == 0, 1.0, 0.0), S, by=np.arange(N) % 2),
        lambda: rg.calibration_report(Z, np.ones(N)),
        lambda: rg.calibration_report(np.ones(N), np.ones(N)),
        lambda: rg.calibration_report(Z[:10], S[:10], by=KIND[:10]),
        lambda: rg.calibration_report(np.where(np.arange(N) == 0, 1e30, Z), S),
        lambda: rg.calibration_report(Z[:20], S[:20], blocks=np.arange(20) // 10),
    ],
)
def test_odd_data_have_figures(found, tmp_path):
    for name, figure in found().plot().items():
        figure.savefig(tmp_path / f"{name}.png", dpi=40)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


# ---- text


def test_text_answers_each_question():
    text = str(REPORT)
    for question in (
        "Is σ right on average?",
        "Is σ right where it is small and where it is large?",
        "Do Gaussian intervals ±kσ hold what they promise?",
        "Does σ carry information?",
        "Does a large σ announce a large error?",
        "How heavy are the tails?",
        "Is σ right given kind?",
        "Where these numbers say little",
    ):
        assert question in text
    z2 = REPORT.mean_square
    assert f"mean (r/σ)² {z2.value:.3g} {z2.low:.3g} to {z2.high:.3g} 1 inside" in " ".join(text.split())
    assert f"σ too small, {np.sqrt(z2.value):.3g}×" in text
    assert f"{100 * REPORT.coverage[1]:.2f} %" in text
    assert "900, 100 blocks" in text
    assert "leave-one-out residuals, 500 targets, 50 independent units" in text
    assert "0.12 ± 0.01" in text
    assert "RMSE, eV/Å" in text
    assert repr(REPORT).startswith("<CalibrationReport of 900 targets, mean (r/σ)²")


@pytest.mark.parametrize("unit", ["eV/Å", "kcal/mol/bohr"])
def test_text_fits_a_terminal(unit):
    """80 columns; what is wider goes on below, the first column again, and an interval beside its number."""
    report = made(1.6, unit=unit, by={"kind": KIND, "a class that has a long name": KIND}, blocks=np.arange(N) // 9)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    for table in tables(report):
        start = lines.index(table.title)
        stop = next((k for k in range(start + 1, len(lines)) if lines[k] in TITLES), len(lines))
        part = [" ".join(line.split()) for line in lines[start:stop]]
        for row in (table.head, *table.rows):
            cells = [" ".join(cell.split()) for cell in row[1:] if cell]
            own = [line for line in part if line.startswith(" ".join(row[0].split()))]
            assert all(any(cell in line for line in own) for cell in cells), (table.title, row)
        for column, name in enumerate(table.head):
            if name == "95 %":
                for row in table.rows:
                    assert any(f"{row[column - 1]} {row[column]}" in line for line in part), (table.title, row)


TITLES = {
    *(f"Is σ right given {name}?" for name in ("kind", "a class that has a long name")),
    *(table.title for table in tables(REPORT)),
    "Where these numbers say little",
}


def test_interval_ends_are_in_view():
    """Of few targets, whose intervals are wide."""
    few = rg.calibration_report(0.2 * S[:30] * Z[:30], S[:30])
    axes, bins = few.plot()["reliability"].axes[0], few.bins
    assert axes.get_ylim()[0] < (bins.ratio_low * bins.rms_std).min()
    assert axes.get_ylim()[1] > (bins.ratio_high * bins.rms_std).max()
    assert (bins.ratio_low * bins.rms_std).min() < bins.rmse.min() / 1.5


def test_blocks_of_one_target_are_independent_targets():
    """The limits are those without blocks, and nothing is said of blocks that are not there."""
    alone, blocks = made(), made(blocks=np.arange(N)[::-1])
    np.testing.assert_array_equal(alone.coverage_low, blocks.coverage_low)
    np.testing.assert_array_equal(alone.coverage_high, blocks.coverage_high)
    text = " ".join(str(blocks).split())
    assert "900, each a block" in text
    assert "independent errors" not in text
    assert "All targets are taken as independent" not in text


@pytest.mark.parametrize(("factor", "says"), [(1.2, "σ too small, 1.2"), (1.0, "σ agrees"), (0.8, "σ too large, 1.2")])
def test_the_verdict_is_that_of_the_interval(factor, says):
    assert says in tables(made(factor))[0].rows[0][-1]


def test_remarks_say_where_numbers_say_little():
    text = " ".join(str(made()).split())
    assert "All targets are taken as independent" in text
    assert "It is not stated what σ was calibrated on" in text
    assert "tails are heavy" not in text
    few = " ".join(str(rg.calibration_report(Z, np.ones(N), blocks=np.arange(N) % 5)).split())
    assert "There are 5 independent units" in few
    assert "All σ are the same: bins, ranks and retention say nothing" in few
    heavy = rg.calibration_report(S * RNG.standard_t(2.5, N), S, threshold=1e9, provenance=PROVENANCE)
    text = " ".join(str(heavy).split())
    assert "The tails are heavy" in text
    assert "AUROC does not exist" in text
    assert "It is not stated" not in text


# ---- page and JSON


class Page(HTMLParser):
    """Tags, links, and the text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_holds_all_and_links_to_nothing():
    page = Page()
    page.feed(REPORT.html(title="Forces <of> silicon & more"))
    assert "script" not in page.tags
    assert len(page.links) == 5
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    text = "".join(page.texts)
    assert "<script>&" in text  # the class, escaped
    assert "Forces <of> silicon & more" in text
    for table in tables(REPORT):
        assert table.title in text
    assert "http" not in REPORT.html()


def headings(page):
    return [int(tag[1]) for tag in page.tags if tag in {"h1", "h2", "h3", "h4"}]


def test_headings_are_in_order():
    """One of the first level, and none skips a level: what a screen reader goes by."""
    for text, levels in (
        (REPORT.html(), {1, 2}),
        (reports_page({"energy": REPORT, "force component": REPORT}, "A model"), {1, 2, 3}),
    ):
        page = Page()
        page.feed(text)
        found = headings(page)
        assert found.count(1) == 1 == found[0]
        assert max(np.diff(found)) == 1
        assert set(found) == levels


def test_the_page_is_for_dark_and_narrow_screens():
    page = REPORT.html()
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media (max-width: 40rem)" in page
    assert "background: #fff" in page[page.index("img {") :]  # figures are drawn for white
    assert "95&nbsp;%" in page  # a number and its % are not parted


def test_without_remarks_there_is_no_heading_of_them():
    quiet = made(blocks=np.arange(N), provenance=PROVENANCE)
    for text in (str(quiet), quiet.html()):
        assert "Where these numbers say little" not in text
    assert "Where these numbers say little" in REPORT.html()


def test_the_page_needs_a_title_of_text():
    with pytest.raises(TypeError, match="title is 3: expected a string"):
        REPORT.html(title=3)


def test_json_has_all_but_the_data():
    values = json.loads(json.dumps(REPORT.to_dict(), allow_nan=False))
    assert values["mean_square"]["value"] == REPORT.mean_square.value
    assert values["by"]["kind"]["crystal"]["n"] == 300
    assert values["bins"]["n"] == [45] * 20
    assert values["worst"][0]["block"] == REPORT.worst[0].block
    assert {"residuals", "std"}.isdisjoint(values)


@pytest.mark.filterwarnings("ignore:class 'one'")
def test_json_has_none_for_infinity_and_nan():
    found = made(by=np.where(np.arange(N) == 0, "one", "others"), threshold=1e9)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["by"]["class"]["one"]["mean_square"]["high"] is None
    assert values["auroc"] is None
    assert values["gaussian"]["auroc"] == {"value": None, "low": None, "high": None}


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        REPORT.nll = 0.0


def test_numbers_need_no_matplotlib():
    code = (
        "import sys, numpy as np, rigidities as rg; x = np.linspace(1, 2, 20); "
        "str(rg.calibration_report(x, x)); print('matplotlib' in sys.modules, 'ase' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False False\n"
