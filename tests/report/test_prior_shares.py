"""The prior's share in a report: beside all rigidities in the summary, and said in the table."""

import numpy as np
import pytest

import rigidities as rg
from rigidities.report.content import make_report
from rigidities.report.files import summary
from rigidities.report.prior_shares import share_lines
from rigidities.report.text import table

pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk

from rigidities.interop.featomic import Soap, soap_rows
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features

SMALL = {"cutoff": 4.0, "max_radial": 3, "max_angular": 2}


def crystals(n, seed, symbol="Si"):
    frames = [bulk(symbol, "diamond", 5.4, cubic=True) for _ in range(n)]
    for i, frame in enumerate(frames):
        frame.rattle(0.1, seed=seed + i)
    return frames


def made(regularizer, reduction="mean", n=12, **settings):
    soap = Soap(["Si", "Ge"], **SMALL, **settings)
    mixed = crystals(3, 60)
    for frame in mixed:
        frame.symbols[:2] = "Ge"
    train = Structures("train", crystals(n, 0) + mixed[:1], soap)
    return make_report(
        train, Structures("test", crystals(2, 50) + mixed[1:], soap), regularizer=regularizer, reduction=reduction
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_shares_are_those_of_the_hessian(reduction):
    report = made(1e-4, reduction, body_orders=(2, 3))
    rows = soap_rows(report.frames(), report.test.soap, progress=False)
    of_order, of_structure = report.test.components()
    for found, components, labels in (
        (report.rigidities.prior_lpr, None, None),
        (report.rigidities.prior_pr, None, rows.groups),
        (report.rigidities.prior_lcpr, of_order, None),
        (report.rigidities.prior_cpr, of_structure, rows.groups),
    ):
        named = None if components is None else list(components.values())
        options = {"groups": labels, "reduction": reduction, "components": named}
        np.testing.assert_array_equal(found, report.hessian.prior_share(rows.values, **options))
    content = summary(report)
    assert content["pr"]["prior_share"]["max"] == report.rigidities.prior_pr.max()
    assert content["lpr"]["prior_share"]["n"] == len(rows)
    assert set(content["lcpr"]) == {"2-body", "3-body"}
    assert content["lcpr"]["2-body"]["prior_share"]["min"] == report.rigidities.prior_lcpr[:, 0].min()
    assert content["cpr"]["Ge"]["prior_share"]["n"] == 2  # absent from two structures


def test_the_table_says_which_rigidities_are_set_by_the_regularizer():
    """The radial spectrum is in the span of the power spectrum: body orders are λ's, structures are not."""
    report = made(1e-6, body_orders=(2, 3))
    with pytest.warns(rg.SetByPriorWarning):
        report.hessian.component_rigidity(
            soap_rows(report.frames(), report.test.soap, progress=False),
            list(report.test.components().structure.values()),
        )
    text = table(report)
    assert "set by λ, not by data: " in text
    lines = " ".join(text.split())
    assert "LCPR of 2-body, LCPR of 3-body, CPR of 2-body, CPR of 3-body" in lines
    assert max(map(len, text.splitlines())) <= 100
    assert "PR 0." in lines[lines.index("prior's share, median") :]


def test_rigidities_of_the_data_are_not_said_to_be_set():
    values = np.random.default_rng(0).normal(size=(400, 6))
    rows = [Features(name, rg.Rows(values), None) for name in ("train", "test")]
    report = make_report(*rows, regularizer=1e-3)
    (line,) = share_lines(report)
    assert line.startswith("prior's share, median: LPR ")
    assert "CPR" not in line
