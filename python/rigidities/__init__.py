"""Prediction rigidities tell how far the training data pin down a prediction.

>>> import rigidities as rg
>>> covariance = rg.Covariance(n_features=448)
"""

from rigidities._core import __version__, get_num_threads, set_num_threads
from rigidities.baseline import Baseline
from rigidities.covariance import Covariance
from rigidities.exceptions import (
    IllConditionedWarning,
    NotConvergedWarning,
    NotFittedError,
    NotPositiveDefiniteError,
)
from rigidities.fit import LossFit, fit_loss
from rigidities.hessian import Hessian
from rigidities.loss import Loss, Term
from rigidities.rows import Rows, reduce_rows
from rigidities.sums import LossSums, TermRows, loss_sums

__all__ = [
    "Baseline",
    "Covariance",
    "Hessian",
    "IllConditionedWarning",
    "Loss",
    "LossFit",
    "LossSums",
    "NotConvergedWarning",
    "NotFittedError",
    "NotPositiveDefiniteError",
    "Rows",
    "Term",
    "TermRows",
    "__version__",
    "fit_loss",
    "get_num_threads",
    "loss_sums",
    "reduce_rows",
    "set_num_threads",
]
