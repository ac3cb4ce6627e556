"""One palette for all figures: colours that people with protanopia or deuteranopia tell apart.

The colours are those of Okabe and Ito (Color Universal Design, 2008), without yellow, which is too
pale for lines on white. Kinds are also told apart by their marks, for prints in grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"

PALETTE = (BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE)
"""Colours of kinds, in the order in which to take them."""

COLOUR_MAP = "plasma"
"""Dark colours are low rigidities. Lightness rises evenly, for grey prints and colour blindness."""

DENSITY = "cividis_r"
"""Colours of numbers of points: the more, the darker. It looks the same to protanopes."""

GUIDE = "0.35"
"""Grey of lines to compare with, and of their labels."""


LETTERS = 76
"""Letters and marks of a legend that fit below a panel of a map."""


def open_frame(axes: Axes) -> None:
    """Leave out the upper and the right line of the frame."""
    axes.spines[["top", "right"]].set_visible(False)


def plain_numbers(axes: Axes, which: Iterable[Axis] | None = None) -> None:
    """Write 0.5, 20 or 300 at logarithmic axes, not powers of ten, which overlap in few decades."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        """Where LogFormatter writes 5e-01, write 0.5."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    for axis in (axes.xaxis, axes.yaxis) if which is None else which:
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(Plain(minor_thresholds=(1.2, 0.4)))
    axes.tick_params(labelsize=8, which="both")


def legend_below(axes: Axes) -> None:
    """Put the legend below the axes, where it hides no point, in as many columns as fit."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        columns = max(1, min(4, len(handles), LETTERS // (4 + max(map(len, names)))))
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            borderaxespad=0,
            ncols=columns,
            frameon=False,
            fontsize=8,
            handletextpad=0.3,
            columnspacing=1.2,
        )
