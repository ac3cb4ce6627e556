"""Prediction rigidities tell how far the training data pin down a prediction.

>>> import rigidities as rg
>>> covariance = rg.Covariance(n_features=448)
"""

from rigidities._core import __version__, get_num_threads, set_num_threads
from rigidities.covariance import Covariance
from rigidities.exceptions import IllConditionedWarning, NotFittedError, NotPositiveDefiniteError
from rigidities.hessian import Hessian
from rigidities.rows import Rows, reduce_rows

__all__ = [
    "Covariance",
    "Hessian",
    "IllConditionedWarning",
    "NotFittedError",
    "NotPositiveDefiniteError",
    "Rows",
    "__version__",
    "get_num_threads",
    "reduce_rows",
    "set_num_threads",
]
