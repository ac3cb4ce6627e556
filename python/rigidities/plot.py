"""Figures: maps of atoms coloured by rigidity, curves of criteria for λ, files of the viewer.

Figures do not use pyplot's global state, so that scripts and threads can make them.
"""

from rigidities.report.atom_map import MAP_ATOMS, AtomMap, map_of, principal_axes
from rigidities.report.curves import regularizer_curves
from rigidities.report.files import write
from rigidities.report.learning import draw_learning_curve
from rigidities.report.likelihood import draw_likelihood_map
from rigidities.report.maps import log_limits, log_rigidity, lpr_map, lpr_maps
from rigidities.report.palette import COLOUR_MAP, PALETTE
from rigidities.report.viewer import write_viewer

fit_map = map_of
"""Another name of `map_of`, kept for programs that use it."""

__all__ = [
    "COLOUR_MAP",
    "MAP_ATOMS",
    "PALETTE",
    "AtomMap",
    "draw_learning_curve",
    "draw_likelihood_map",
    "fit_map",
    "log_limits",
    "log_rigidity",
    "lpr_map",
    "lpr_maps",
    "map_of",
    "principal_axes",
    "regularizer_curves",
    "write",
    "write_viewer",
]
