"""Choose λ by a criterion: all criteria over a path of λ, from one decomposition."""

from rigidities.regularizer.decompose import regularizer_path
from rigidities.regularizer.grid import GRID_SIZE
from rigidities.regularizer.likelihood_map import LikelihoodMap, likelihood_map
from rigidities.regularizer.path import RegularizerPath
from rigidities.regularizer.per_component import ComponentRegularizers, regularizer_per_component

__all__ = [
    "GRID_SIZE",
    "ComponentRegularizers",
    "LikelihoodMap",
    "RegularizerPath",
    "likelihood_map",
    "regularizer_path",
    "regularizer_per_component",
]
