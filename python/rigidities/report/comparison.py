"""Predictions beside known reference values: numbers, and the two figures of `rigidities score`.

The first figure shows predicted against reference values (parity). The second shows |error| against
the standard deviation σ of the prediction: if errors are Gaussian with that σ, 68 % of the points
lie below the line 1σ, 95 % below 2σ, and the RMSE in bins of σ lies on the line 1σ.

Energies and virials are per atom, in eV/atom, forces in eV/Å. Where there are more than
`points.SINGLE` points, the figures show their density.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rigidities.calibration.scale import FLOOR
from rigidities.loss.terms import Loss, Term
from rigidities.report.palette import GUIDE, legend_below, open_frame, plain_numbers
from rigidities.report.points import draw_points
from rigidities.report.statistics import root_mean_square
from rigidities.structures.read import kinds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rigidities.calibration.scale import Calibration
    from rigidities.model.linear import LinearModel
    from rigidities.model.prediction import Prediction

ROUNDING = 1e-9
"""Errors and σ up to this (eV, eV/Å) are rounding."""

PER_BIN = 20
"""Fewest points of like σ from which an RMSE is drawn."""

QUANTITIES = {
    "energy": ("energy", "eV/atom", "meV/atom"),
    "forces": ("force component", "eV/Å", "meV/Å"),
    "virial": ("virial component", "eV/atom", "meV/atom"),
}


class Compared(NamedTuple):
    """Known reference values of one term, and their predictions.

    Attributes
    ----------
    reference, predicted, std : ndarray of shape (n,)
        Energies and virials per atom. NaN in `std` if the model has no scale for the term.
    aside : ndarray of bool of shape (n,), or None
        Targets that σ is not judged by: their rows are zero or rounding, as by symmetry. None if
        there are none.
    structures : ndarray of int of shape (n,), or None
        Index of the structure of each target.
    """

    reference: NDArray[np.float64]
    predicted: NDArray[np.float64]
    std: NDArray[np.float64]
    aside: NDArray[np.bool_] | None = None
    structures: NDArray[np.int64] | None = None

    @property
    def residuals(self) -> NDArray[np.float64]:
        """Reference less prediction, of shape (n,)."""
        return self.reference - self.predicted

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Whether σ is judged by a target."""
        return np.ones(len(self.std), dtype=bool) if self.aside is None else ~self.aside

    @property
    def n_aside(self) -> int:
        """Number of targets that σ is not judged by."""
        return 0 if self.aside is None else int(self.aside.sum())

    def share_within(self, k: float) -> float:
        """Return the share of errors up to kσ; NaN if there is none to judge by, or no σ."""
        judged = self.judged
        if not judged.any() or np.isnan(self.std).any():
            return float("nan")
        return float(np.mean(np.abs(self.residuals[judged]) <= k * self.std[judged]))


def compare(model: LinearModel, frames: Any, prediction: Prediction) -> dict[str, Compared]:
    """Return known reference values beside their predictions, by the name of the term.

    Parameters
    ----------
    model : LinearModel
        Its loss names the labels.
    frames : iterable of ase.Atoms
        The structures of the prediction. Labels that they lack are left out, and energies whose σ
        is infinite: the fit does not determine them.
    prediction : Prediction

    Returns
    -------
    dict of str to Compared
    """
    from rigidities.structures.reference import read_known_reference

    kinds = kinds_of(frames)
    structures = np.arange(len(prediction.sizes))
    of_targets = {"energy": structures, "virial": np.repeat(structures, 6)}
    of_targets["forces"] = np.repeat(structures, 3 * prediction.sizes)
    predicted: dict[str, tuple[NDArray[Any], ...]] = {}
    predicted["energy"] = prediction.energies, prediction.energy_std, prediction.sizes
    if prediction.forces is not None and prediction.forces_std is not None:
        predicted["forces"] = prediction.forces.ravel(), prediction.forces_std.ravel(), np.ones(1)
    if prediction.virials is not None and prediction.virial_std is not None:
        predicted["virial"] = prediction.virials.ravel(), prediction.virial_std.ravel(), np.repeat(prediction.sizes, 6)
    terms = {name: model.loss.terms.get(name, Term()) for name in predicted}
    loss = Loss(**{name: replace(term, missing="skip", weights=None) for name, term in terms.items()})
    compared = {}
    for name, reference in read_known_reference(frames, loss).items():
        values, std, divisors = predicted[name]
        labels = np.concatenate(reference.values)
        known = np.isfinite(labels) & ~np.isinf(std)
        labelled, found, deviation = ((array / divisors)[known] for array in (labels, values, std))
        own = None if kinds is None else kinds[of_targets[name]][known]
        aside = _at_rounding(model.calibration(name), deviation, own)
        structures_of = of_targets[name][known]
        compared[name] = Compared(labelled, found, deviation, aside if aside.any() else None, structures_of)
    return compared


def _at_rounding(
    calibration: Calibration, std: NDArray[np.float64], kinds: NDArray[np.str_] | None
) -> NDArray[np.bool_]:
    """Whether σ is that of a row at rounding; models of older files do not know its size."""
    if calibration.floor > 0:
        least = calibration.deviations(np.full(len(std), calibration.floor), kinds)
        return np.asarray(std <= (1 + 1e-12) * least)  # σ was multiplied and divided by numbers of atoms
    above = std[std > 0]
    return np.asarray(std <= np.sqrt(FLOOR) * (np.median(above) if len(above) else 0.0))


# Parity -------------------------------------------------------------------------------------------


def parity_figure(compared: Mapping[str, Compared]) -> Figure:
    """Draw predicted against reference values, a panel for each term.

    Parameters
    ----------
    compared : mapping of str to Compared
        At least one term with at least one value.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, grid = _panels(len(compared), height=4.3)
    for axes, (name, values) in zip(grid, compared.items(), strict=True):
        what, unit, small_unit = QUANTITIES[name]
        ends = _with_room(np.concatenate([values.reference, values.predicted]))
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.locator_params(nbins=5)  # −4.6250 takes the room of two ticks
        axes.plot(ends, ends, color=GUIDE, linewidth=1, zorder=3, label="1:1")
        draw_points(figure, axes, values.reference, values.predicted, (ends[0], ends[1], ends[0], ends[1]))
        axes.set(xlabel=f"reference {what} ({unit})", ylabel=f"predicted {what} ({unit})")
        axes.set_title(f"{what}: RMSE {_size(values.residuals)} {small_unit}, n = {len(values.std):,}", fontsize=9)
        legend_below(axes)
    return figure


# Errors -------------------------------------------------------------------------------------------


def error_figure(compared: Mapping[str, Compared]) -> Figure | None:
    """Draw |error| against σ on logarithmic axes, a panel for each term of known σ.

    Parameters
    ----------
    compared : mapping of str to Compared

    Returns
    -------
    matplotlib.figure.Figure, or None
        None if no term has a point with an error and a σ above 0.
    """
    known = {name: values for name, values in compared.items() if _drawable(values).any()}
    if not known:
        return None
    figure, grid = _panels(len(known), height=4.9)
    for axes, (name, values) in zip(grid, known.items(), strict=True):
        _draw_errors(figure, axes, name, values)
    figure.supxlabel("expected of Gaussian errors: 68 % below 1σ, 95 % below 2σ, RMSE in bins on 1σ", fontsize=8)
    return figure


def _drawable(values: Compared) -> NDArray[np.bool_]:
    """Whether error and σ have a logarithm worth drawing: symmetry holds some forces at 0."""
    std = values.std
    above = std[std > ROUNDING]  # not NaN
    least = 1e-3 * np.median(above) if len(above) else np.inf
    drawable = (std > least) & (np.abs(values.residuals) > ROUNDING)
    return np.asarray(drawable if values.aside is None else drawable & ~values.aside)


def _draw_errors(figure: Figure, axes: Axes, name: str, values: Compared) -> None:
    from matplotlib.patheffects import withStroke

    what, _, unit = QUANTITIES[name]
    shown = _drawable(values)
    std, errors = 1000 * values.std[shown], 1000 * np.abs(values.residuals[shown])
    x_ends = _log_ends(std, 0.001)
    y_ends = _log_ends(np.concatenate([errors, std]), 0.01)
    axes.set(xscale="log", yscale="log", xlim=x_ends, ylim=y_ends)
    draw_points(figure, axes, std, errors, (*np.log10(x_ends), *np.log10(y_ends)))
    line = np.array(x_ends)
    axes.plot(line, line, color=GUIDE, linewidth=1, zorder=3, label="|error| = 1σ")
    axes.plot(line, 2 * line, color=GUIDE, linewidth=1, linestyle="--", zorder=3, label="|error| = 2σ")
    binned = _binned(std, errors)
    if len(binned):
        outline = [withStroke(linewidth=3, foreground="white")]  # seen on any density, by anyone
        axes.plot(
            *binned.T, "s-", color="black", markersize=4, zorder=4, path_effects=outline, label="RMSE in bins of σ"
        )
    axes.set(xlabel=f"σ of the {what} ({unit})", ylabel=f"|error| of the {what} ({unit})")
    inside = [f"{100 * values.share_within(k):.0f} % below {k}σ" for k in (1, 2)]
    n_left_out = len(shown) - int(shown.sum())
    left_out = f" ({n_left_out:,} of error or σ near 0 not drawn)" if n_left_out else ""
    axes.set_title(f"n = {len(shown):,}{left_out}\n{', '.join(inside)}", fontsize=9)
    plain_numbers(axes)
    legend_below(axes)


def _binned(std: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return RMS σ and RMSE of points of like σ, in bins of as many points, (n_bins, 2)."""
    n_bins = min(12, len(std) // PER_BIN)
    if n_bins < 2:
        return np.empty((0, 2))
    parts = np.array_split(np.argsort(std, kind="stable"), n_bins)
    return np.array([(root_mean_square(std[part]), root_mean_square(errors[part])) for part in parts])


# Panels and limits --------------------------------------------------------------------------------


def _panels(n: int, height: float) -> tuple[Figure, NDArray[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.6 + 4.4 * n, height), dpi=200, layout="constrained")
    grid = figure.subplots(1, n, squeeze=False)[0]
    for axes in grid:
        open_frame(axes)
    return figure, grid


def _with_room(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range of the values with room: 5 %, but 1 meV or 1 meV/Å at least."""
    low, high = float(values.min()), float(values.max())
    room = max(0.05 * (high - low), 1e-3)
    return low - room, high + room


def _log_ends(values: NDArray[np.float64], share: float) -> tuple[float, float]:
    """Return the ends of a logarithmic axis, without a share of the least values."""
    return float(np.quantile(values, share, method="higher")) / 1.5, float(values.max()) * 1.5


def _size(residuals: NDArray[np.float64]) -> str:
    return f"{1000 * root_mean_square(residuals):.3g}"
