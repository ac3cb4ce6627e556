"""The calibration report that callers get: its numbers, and how people read them.

The numbers are computed in `rigidities.calibration`, which knows neither figures nor text. This
class adds them, as text, figures, a page of HTML and values for JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rigidities.calibration.coverage import LEVELS
from rigidities.calibration.provenance import Provenance
from rigidities.calibration.report import CalibrationNumbers, calibration_numbers
from rigidities.report.calibration.figures import report_figures
from rigidities.report.calibration.page import report_page
from rigidities.report.calibration.text import report_text
from rigidities.report.calibration.values import as_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationReport(CalibrationNumbers):
    """How well standard deviations describe residuals; ``print(report)`` shows it all.

    Its attributes, with their units and meaning, are those of
    `rigidities.calibration.report.CalibrationNumbers`: among others `mean_square`, `levels`,
    `coverage`, `coverage_low`, `coverage_high`, `nll`, `crps`, `rmse`, `sharpness`,
    `miscalibration_area`, `spearman`, `bins`, `tails`, `retention` and `by`.
    """

    def __str__(self) -> str:
        return report_text(self)

    def __repr__(self) -> str:
        z2 = self.mean_square
        return (
            f"<CalibrationReport of {self.n:,} targets, mean (r/σ)² {z2.value:.3g} ({z2.low:.3g} to {z2.high:.3g}); "
            "print() shows all of it>"
        )

    def plot(self) -> dict[str, Figure]:
        """Draw the figures; needs matplotlib.

        Returns
        -------
        dict of str to matplotlib.figure.Figure
            "reliability" (RMSE against RMS σ in bins), "errors" (|r| against σ, with lines that
            hold 68.27, 95.45 and 99.73 % of Gaussian errors), "coverage", "retention", and "by
            NAME" for each of `by`. `savefig` of each writes a file.
        """
        return report_figures(self)

    def html(self, title: str = "Calibration report") -> str:
        """Return the report as one page of HTML with its figures inside; needs matplotlib.

        Parameters
        ----------
        title : str

        Returns
        -------
        str
            To be written in UTF-8. It links to nothing.
        """
        if not isinstance(title, str):
            raise TypeError(f"title is {title!r}: expected a string")
        return report_page(self, title)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as values of JSON: lists for arrays, None for infinity and NaN.

        `residuals` and `std` are left out.
        """
        return as_values(self)


def calibration_report(
    residuals: ArrayLike,
    std: ArrayLike,
    *,
    by: ArrayLike | Mapping[str, ArrayLike] | None = None,
    blocks: ArrayLike | None = None,
    levels: Sequence[float] = LEVELS,
    threshold: float | None = None,
    unit: str = "",
    provenance: Provenance | None = None,
    random_state: int = 0,
) -> CalibrationReport:
    """Tell how well standard deviations describe residuals, of any model.

    Parameters
    ----------
    residuals : array_like of shape (n,)
        Target minus prediction, of targets that neither the fit nor the calibration of σ has seen.
    std : array_like of shape (n,)
        σ of each prediction, in the same unit, finite, from 0. Targets with σ = 0 are set aside, as
        are those whose σ and |r| are both rounding (at most 0.3 % of their medians).
    by : array_like of shape (n,), or mapping of str to array_like, optional
        Classes of the targets, for the same comparison in each: kinds, compositions, sizes. Text,
        integers and booleans are classes; other numbers, as the norm of a force, go into fifths. A
        mapping gives several, by name; an array has the name "class".
    blocks : array_like of int of shape (n,), optional
        Targets with the same label are not independent, as the forces of one structure. Intervals
        then count blocks.
    levels : sequence of float
        Levels of coverage, between 0 and 1.
    threshold : float, optional
        AUROC asks whether σ tells which |r| are above it. By default the 90 % quantile of |r|.
    unit : str
        Unit of residuals and σ, for text and figures.
    provenance : Provenance, optional
        What σ was calibrated on, and how.
    random_state : int
        Seed of bootstrap (2000 repeats) and simulations (24 to 400). The same seed gives the same
        report.

    Returns
    -------
    CalibrationReport
        ``print(report)`` is a table; `plot`, `html` and `to_dict` give figures, a page and JSON.

    Raises
    ------
    ValueError, TypeError
        If lengths differ, a number is not finite, a σ is negative, all σ or all residuals are 0,
        fewer than 10 targets have a σ above 0, blocks has one label, or a level is not between 0
        and 1.

    Warns
    -----
    IllConditionedWarning
        If targets are set aside.
    UndeterminedWarning
        If a class has a single target (block), which has no interval.

    Notes
    -----
    10⁵ targets take one to two seconds. Most of it goes into simulations of errors that agree with
    σ, which show what is good for these σ.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> rng = np.random.default_rng(0)
    >>> std = np.exp(rng.normal(size=2000))
    >>> report = rg.calibration_report(1.5 * std * rng.normal(size=2000), std, unit="eV")
    >>> report.mean_square.holds(1.0), round(report.mean_square.value, 1)  # 1.5² times
    (False, 2.2)
    >>> report.coverage.round(2)  # in place of 50, 68, 90, 95, 99 %
    array([0.33, 0.49, 0.73, 0.81, 0.91])
    >>> report.information.low > 0  # it changes from target to target as errors do
    True
    """
    numbers = calibration_numbers(
        residuals,
        std,
        by=by,
        blocks=blocks,
        levels=levels,
        threshold=threshold,
        unit=unit,
        provenance=provenance,
        random_state=random_state,
    )
    return CalibrationReport(**vars(numbers))
