"""Linear and sparse kernel models of energies and forces, with σ and rigidities."""

from rigidities.model.errors import Errors
from rigidities.model.kernel import SparseKernel
from rigidities.model.linear import LinearModel
from rigidities.model.prediction import Prediction, write_xyz

__all__ = ["Errors", "LinearModel", "Prediction", "SparseKernel", "write_xyz"]
