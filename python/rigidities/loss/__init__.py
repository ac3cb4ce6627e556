"""Losses: their terms, rows and sums, their minimum, and the weights of their terms.

A loss is

    Σ_terms weight · Σ_targets w ρ(y − fᵀθ)  +  ½ λ θᵀΛθ,
    ρ(r) = ½ r², or Huber's function beyond a threshold δ,

with y and f the target and the row of an energy, a force component or a component of a virial. All
rows are derivatives of one linear model, E = Σ_atoms fᵀθ + baseline, with respect to the same
parameters θ. Nothing here depends on a library of atoms.
"""

from rigidities.loss.baseline import Baseline
from rigidities.loss.minimum import fit_loss
from rigidities.loss.result import LossFit
from rigidities.loss.rows import Batch, TermRows
from rigidities.loss.sums import LossSums, loss_sums
from rigidities.loss.terms import NAMES, Loss, Term
from rigidities.loss.weights import TermWeightScan, most_probable_weights, scan_term_weights

__all__ = [
    "NAMES",
    "Baseline",
    "Batch",
    "Loss",
    "LossFit",
    "LossSums",
    "Term",
    "TermRows",
    "TermWeightScan",
    "fit_loss",
    "loss_sums",
    "most_probable_weights",
    "scan_term_weights",
]
