"""A linear model of energies and forces that knows how far its training data determine its predictions."""

from rigidities.model.errors import Errors
from rigidities.model.linear import LinearModel
from rigidities.model.prediction import Prediction

__all__ = ["Errors", "LinearModel", "Prediction"]
