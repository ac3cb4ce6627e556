"""A linear model of energies and forces, with standard deviations and rigidities."""

from rigidities.model.errors import Errors
from rigidities.model.linear import LinearModel
from rigidities.model.prediction import Prediction, write_xyz

__all__ = ["Errors", "LinearModel", "Prediction", "write_xyz"]
