"""Prediction rigidities tell how far the training data pin down a prediction.

>>> import rigidities as rg
>>> covariance = rg.Covariance(n_features=448)
"""

from rigidities._core import __version__, get_num_threads, set_num_threads
from rigidities.covariance import Covariance
from rigidities.exceptions import (
    IllConditionedWarning,
    NotConvergedWarning,
    NotFittedError,
    NotPositiveDefiniteError,
    OtherVersionWarning,
    UnresolvedEvidenceWarning,
)
from rigidities.hessian import Hessian
from rigidities.leave_one_out import LeaveOneOut, leave_one_out
from rigidities.loss.baseline import Baseline
from rigidities.loss.minimum import LossFit, fit_loss
from rigidities.loss.rows import TermRows
from rigidities.loss.sums import LossSums, loss_sums
from rigidities.loss.terms import Loss, Term
from rigidities.loss.weights import TermWeightScan, most_probable_weights, scan_term_weights
from rigidities.regularizer.path import RegularizerPath, regularizer_path
from rigidities.rows import Rows, reduce_rows

__all__ = [
    "Baseline",
    "Covariance",
    "Hessian",
    "IllConditionedWarning",
    "LeaveOneOut",
    "Loss",
    "LossFit",
    "LossSums",
    "NotConvergedWarning",
    "NotFittedError",
    "NotPositiveDefiniteError",
    "OtherVersionWarning",
    "RegularizerPath",
    "Rows",
    "Term",
    "TermRows",
    "TermWeightScan",
    "UnresolvedEvidenceWarning",
    "__version__",
    "fit_loss",
    "get_num_threads",
    "leave_one_out",
    "loss_sums",
    "most_probable_weights",
    "reduce_rows",
    "regularizer_path",
    "scan_term_weights",
    "set_num_threads",
]
