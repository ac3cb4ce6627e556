"""Choose λ by a criterion: all criteria over a path of λ, from one decomposition."""

from rigidities.regularizer.path import GRID_SIZE, RegularizerPath, regularizer_path

__all__ = ["GRID_SIZE", "RegularizerPath", "regularizer_path"]
