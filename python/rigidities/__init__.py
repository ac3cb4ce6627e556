"""Prediction rigidities measure how firmly the training data determine a prediction.

>>> import rigidities as rg
>>> covariance = rg.Covariance(n_features=448)
"""

from rigidities.cli.interrupts import is_command as _is_command
from rigidities.cli.interrupts import leave_on_interrupt as _leave_on_interrupt

if _is_command():  # the imports below are most of its start
    _leave_on_interrupt()

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from rigidities._core import __version__, get_num_threads
from rigidities.calibration.calibrate import calibrate
from rigidities.calibration.scale import Calibration
from rigidities.contrasts import contrast
from rigidities.covariance import Covariance
from rigidities.exceptions import (
    EmptyFitWarning,
    IllConditionedWarning,
    ImplausibleLabelsWarning,
    InterruptedWarning,
    NotConvergedWarning,
    NotFittedError,
    NotPositiveDefiniteError,
    NotWrittenWarning,
    OtherVersionWarning,
    SetByPriorWarning,
    UndeterminedWarning,
    UnresolvedEvidenceWarning,
)
from rigidities.force_covariances import force_covariance
from rigidities.hessian import Hessian
from rigidities.leave_one_out import LeaveOneOut, leave_one_out
from rigidities.loss import (
    Baseline,
    Loss,
    LossFit,
    LossSums,
    Term,
    TermRows,
    TermWeightScan,
    fit_loss,
    loss_sums,
    most_probable_weights,
    scan_term_weights,
)
from rigidities.misspecification import Misspecification, misspecification
from rigidities.regularizer import (
    ComponentRegularizers,
    LikelihoodMap,
    RegularizerPath,
    likelihood_map,
    regularizer_path,
    regularizer_per_component,
)
from rigidities.robust import RobustCovariance, robust_covariance
from rigidities.rows import Rows, reduce_rows
from rigidities.runtime.threads import set_num_threads
from rigidities.shares import component_covariance, variance_shares
from rigidities.whitening import Whitening

if _TYPE_CHECKING:
    from rigidities import datasets
    from rigidities.calibration.provenance import Provenance
    from rigidities.model import LinearModel
    from rigidities.planning.attribution import Attribution, attribution
    from rigidities.planning.curve import LearningCurve
    from rigidities.planning.labels import SuspiciousLabels, suspicious_labels
    from rigidities.planning.learning import learning_curve
    from rigidities.planning.overlap import Overlap, PairwiseOverlap, overlap, pairwise_overlap
    from rigidities.planning.pruning import Pruned, prune
    from rigidities.planning.selection import Selection, select
    from rigidities.report.calibration.report import CalibrationReport, calibration_report

__all__ = [
    "Attribution",
    "Baseline",
    "Calibration",
    "CalibrationReport",
    "ComponentRegularizers",
    "Covariance",
    "EmptyFitWarning",
    "Hessian",
    "IllConditionedWarning",
    "ImplausibleLabelsWarning",
    "InterruptedWarning",
    "LearningCurve",
    "LeaveOneOut",
    "LikelihoodMap",
    "LinearModel",
    "Loss",
    "LossFit",
    "LossSums",
    "Misspecification",
    "NotConvergedWarning",
    "NotFittedError",
    "NotPositiveDefiniteError",
    "NotWrittenWarning",
    "OtherVersionWarning",
    "Overlap",
    "PairwiseOverlap",
    "Provenance",
    "Pruned",
    "RegularizerPath",
    "RobustCovariance",
    "Rows",
    "Selection",
    "SetByPriorWarning",
    "SuspiciousLabels",
    "Term",
    "TermRows",
    "TermWeightScan",
    "UndeterminedWarning",
    "UnresolvedEvidenceWarning",
    "Whitening",
    "__version__",
    "attribution",
    "calibrate",
    "calibration_report",
    "component_covariance",
    "contrast",
    "datasets",
    "fit_loss",
    "force_covariance",
    "get_num_threads",
    "learning_curve",
    "leave_one_out",
    "likelihood_map",
    "loss_sums",
    "misspecification",
    "most_probable_weights",
    "overlap",
    "pairwise_overlap",
    "prune",
    "reduce_rows",
    "regularizer_path",
    "regularizer_per_component",
    "robust_covariance",
    "scan_term_weights",
    "select",
    "set_num_threads",
    "suspicious_labels",
    "variance_shares",
]

#: Public names that are loaded when they are first asked for, and where they are.
_LAZY = {
    "Attribution": "rigidities.planning.attribution",
    "CalibrationReport": "rigidities.report.calibration.report",
    "LearningCurve": "rigidities.planning.curve",
    "LinearModel": "rigidities.model",
    "Overlap": "rigidities.planning.overlap",
    "PairwiseOverlap": "rigidities.planning.overlap",
    "Provenance": "rigidities.calibration.provenance",
    "Pruned": "rigidities.planning.pruning",
    "Selection": "rigidities.planning.selection",
    "SuspiciousLabels": "rigidities.planning.labels",
    "attribution": "rigidities.planning.attribution",
    "calibration_report": "rigidities.report.calibration.report",
    "datasets": "rigidities.datasets",
    "learning_curve": "rigidities.planning.learning",
    "overlap": "rigidities.planning.overlap",
    "pairwise_overlap": "rigidities.planning.overlap",
    "prune": "rigidities.planning.pruning",
    "select": "rigidities.planning.selection",
    "suspicious_labels": "rigidities.planning.labels",
}


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _import_module(_LAZY[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__]
