"""Where the numbers of a calibration report say little, for the data at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rigidities.calibration.report import CalibrationNumbers

FEW_UNITS = 20
"""Bootstrap intervals of fewer units are too narrow by 5 % or more: their variance is short by the
factor 1 − 1/n, and single units govern it."""

FOURTH_MOMENT = 4.0
"""At and below this ν, Student's t has no fourth moment: no kurtosis, no variance of r²."""


def remarks(numbers: CalibrationNumbers) -> list[str]:
    """Return where the numbers say little, in whole sentences."""
    found = []
    if not numbers.has_blocks:
        found.append(
            "All targets are taken as independent. Forces of one structure, or frames of one trajectory, are not: pass "
            "their structure as blocks, or intervals are too narrow."
        )
    elif numbers.n_blocks < numbers.n:
        found.append(
            "References are drawn with independent errors. Errors that are alike within a block spread more, so "
            "rely on the intervals, which count blocks."
        )
    if numbers.n_blocks < FEW_UNITS:
        found.append(f"There are {numbers.n_blocks} independent units: intervals of so few are too narrow.")
    if numbers.is_constant:
        found.append("All σ are the same: bins, ranks and retention say nothing.")
    if numbers.tails.degrees_of_freedom <= FOURTH_MOMENT:
        found.append(
            f"The tails are heavy (Student's t with ν = {numbers.tails.degrees_of_freedom:.2g}): kurtosis does not "
            "converge, and RMSE, NLL and the intervals of mean (r/σ)² depend on few targets. Rely on coverage, CRPS "
            "and interval scores."
        )
    if np.isnan(numbers.auroc):
        found.append("All |r|, or none, are above the threshold: AUROC does not exist.")
    if not numbers.provenance.calibrated_on:
        found.append(
            "It is not stated what σ was calibrated on. If on these targets, mean (r/σ)² is 1 by construction: "
            "coverage, bins and classes still say something."
        )
    if numbers.provenance.n_seen:
        found.append(
            f"Structures that the model was fitted to are among the targets: {numbers.provenance.n_seen:,}. Their "
            "errors say nothing about new structures: leave them out."
        )
    return found
