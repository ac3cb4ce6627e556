"""Prediction rigidities tell how far the training data pin down a prediction.

>>> import rigidities as rg
>>> covariance = rg.Covariance(n_features=448)
"""

from rigidities._core import __version__, get_num_threads, set_num_threads
from rigidities.covariance import Covariance
from rigidities.exceptions import (
    IllConditionedWarning,
    NotFittedError,
    NotPositiveDefiniteError,
    UnresolvedEvidenceWarning,
)
from rigidities.hessian import Hessian
from rigidities.left_out import LeaveOneOut, leave_one_out
from rigidities.regularizer import RegularizerPath, regularizer_path
from rigidities.rows import Rows, reduce_rows

__all__ = [
    "Covariance",
    "Hessian",
    "IllConditionedWarning",
    "LeaveOneOut",
    "NotFittedError",
    "NotPositiveDefiniteError",
    "RegularizerPath",
    "Rows",
    "UnresolvedEvidenceWarning",
    "__version__",
    "get_num_threads",
    "leave_one_out",
    "reduce_rows",
    "regularizer_path",
    "set_num_threads",
]
