"""Choosing λ with a reason: every criterion over a path of λ, from one decomposition."""

from rigidities.regularizer.path import GRID_SIZE, RegularizerPath, regularizer_path

__all__ = ["GRID_SIZE", "RegularizerPath", "regularizer_path"]
