"""The prior's share of the rigidities in a report: how much of each is λ's, not the data's.

A rigidity that λ sets looks like any other: it takes its share to tell them apart.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.prior import NEAR_ONE, near_one
from rigidities.report.statistics import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rigidities.report.content import Report


def share_lines(report: Report) -> list[str]:
    """Return the medians of the shares, and which rigidities are set by λ."""
    medians, alone = [], []
    for kind, names, shares, present in _kinds(report):
        texts = [
            f"{name} {np.median(share[there]):.2g}".strip()
            for name, share, there in zip(names, shares.T, present.T, strict=True)
            if there.any()
        ]
        medians += [f"{kind} {', '.join(texts)}"] if texts else []
        flagged = [name for name, near in zip(names, near_one(shares, present), strict=True) if near]
        alone += [f"{kind} of {name}" if name else kind for name in flagged]
    lines = textwrap.wrap(f"prior's share, median: {'; '.join(medians)}", 100, subsequent_indent="  ")
    if alone:
        lines += textwrap.wrap(
            f"set by λ, not by data: {', '.join(alone)}. The prior's share of it is {NEAR_ONE} or more for most "
            "predictions: it rises with λ, and hardly any training target limits it.",
            100,
            subsequent_indent="  ",
        )
    return lines


def add_shares(report: Report, content: dict[str, Any]) -> None:
    """Put quantiles of the shares beside the rigidities in a summary."""
    for kind, names, shares, present in _kinds(report):
        for name, share, there in zip(names, shares.T, present.T, strict=True):
            entry = content[kind.lower()][name] if name else content[kind.lower()]
            if there.any():
                entry["prior_share"] = describe(share[there])


def _kinds(report: Report) -> Iterator[tuple[str, list[str], NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield each kind of rigidity, names of its columns, the shares, and where there is a part."""
    found = report.rigidities
    kinds = (
        ("LPR", [""], found.lpr[:, None], found.prior_lpr[:, None]),
        ("PR", [""], found.pr[:, None], found.prior_pr[:, None]),
        ("LCPR", report.body_orders, found.lcpr, found.prior_lcpr),
        ("CPR", report.components, found.cpr, found.prior_cpr),
    )
    for kind, names, rigidities, shares in kinds:
        yield kind, names, shares, np.isfinite(rigidities)
