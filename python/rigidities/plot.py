"""Pictures: maps of atoms coloured by their rigidity, criteria for λ over λ, and a file for the chemiscope viewer.

Figures are made without pyplot's global state, so that scripts and threads can use them.
"""

from rigidities.report.atom_map import MAP_ATOMS, AtomMap, fit_map, principal_axes
from rigidities.report.curves import regularizer_curves
from rigidities.report.files import write
from rigidities.report.maps import COLOUR_MAP, log_limits, log_rigidity, lpr_map, lpr_maps
from rigidities.report.viewer import write_viewer

__all__ = [
    "COLOUR_MAP",
    "MAP_ATOMS",
    "AtomMap",
    "fit_map",
    "log_limits",
    "log_rigidity",
    "lpr_map",
    "lpr_maps",
    "principal_axes",
    "regularizer_curves",
    "write",
    "write_viewer",
]
