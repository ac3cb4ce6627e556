"""Former place of `rigidities.model.prediction`, kept for programs that import from it."""

from rigidities.model.prediction import Prediction, write_xyz

__all__ = ["Prediction", "write_xyz"]
