"""Choose λ by a criterion: all criteria over a path of λ, from one decomposition."""

from rigidities.regularizer.decompose import regularizer_path
from rigidities.regularizer.grid import GRID_SIZE
from rigidities.regularizer.path import RegularizerPath

__all__ = ["GRID_SIZE", "RegularizerPath", "regularizer_path"]
