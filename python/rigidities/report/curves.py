"""Curves of all criteria over λ, as a matplotlib figure without pyplot's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from rigidities.regularizer.path import RegularizerPath


def regularizer_curves(
    path: RegularizerPath,
    *,
    train: tuple[ArrayLike, ArrayLike] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    weights: ArrayLike | None = None,
) -> Figure:
    """Draw all criteria over λ, each with its best λ, and the effective dimension.

    Parameters
    ----------
    path : RegularizerPath
        With targets.
    train : tuple of rows and targets, optional
        The training rows, for leave-one-out.
    test : tuple of rows and targets, optional
        Validation rows, for their error, NLL and CRPS.
    weights : array_like of shape (n_targets,), optional
        Loss weights of the training rows.

    Returns
    -------
    matplotlib.figure.Figure
        The panel of the evidence is grey where it is not resolved.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> from rigidities.plot import regularizer_curves
    >>> covariance = rg.Covariance(2)
    >>> covariance.update(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), targets=[0.1, 1.0, 2.2])
    >>> figure = regularizer_curves(rg.regularizer_path(covariance))
    """
    from matplotlib.figure import Figure

    curves = _criteria(path, train, test, weights)
    figure = Figure(figsize=(6.4, 0.6 + 1.9 * len(curves)), dpi=200, layout="constrained")
    grid = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    order = np.argsort(path.regularizers)
    x = path.regularizers[order]
    for axes, (label, lines) in zip(grid, curves.items(), strict=True):
        for name, values in lines.items():
            _draw_criterion(axes, x, values[order], name, label == "log evidence")
        axes.set_ylabel(label, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        if label in ("error", "CRPS"):
            axes.set_yscale("log")
        if label != "effective dimension":
            axes.legend(frameon=False, fontsize=8)
    unresolved = x[np.isnan(path.log_evidence[order])]
    if len(unresolved):
        grid[0].axvspan(unresolved[0], unresolved[-1], color="0.9", linewidth=0)
        grid[0].text(
            unresolved[0], 0.05, " not resolved", transform=grid[0].get_xaxis_transform(), fontsize=8, color="0.4"
        )
    grid[-1].set_xscale("log")
    grid[-1].set_xlabel("regularizer λ")
    return figure


def _criteria(
    path: RegularizerPath,
    train: tuple[ArrayLike, ArrayLike] | None,
    test: tuple[ArrayLike, ArrayLike] | None,
    weights: ArrayLike | None,
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the curves of each panel, by the name of the panel and of the curve."""
    errors = {"√GCV": np.sqrt(path.gcv)}
    if train is not None:
        errors["leave-one-out"] = path.score(*train, "loo", weights=weights)
    curves = {"log evidence": {"evidence": path.log_evidence}, "error": errors}
    if test is not None:
        errors["validation"] = path.score(*test, "rmse")
        curves["NLL (nats)"] = {"validation": path.score(*test, "nll")}
        curves["CRPS"] = {"validation": path.score(*test, "crps")}
    return curves | {"effective dimension": {"": path.effective_dimension}}


def _draw_criterion(axes: Axes, x: NDArray[np.float64], values: NDArray[np.float64], name: str, largest: bool) -> None:
    """Draw a criterion, and mark its best λ, which stands in the legend."""
    if not name or np.isnan(values).all():
        axes.plot(x, values, label=f"{name}: not resolved" if name else None)
        return
    best = int(np.nanargmax(values) if largest else np.nanargmin(values))
    [line] = axes.plot(x, values, label=f"{name}, best at {x[best]:.1e}")
    axes.plot(x[best], values[best], "o", color=line.get_color(), markersize=5)
