"""Fits with fewer targets than features take place in the span of their rows.

The rows of n targets are turned into n coordinates at most (see `rigidities.span`). All that a fit
does, sums, λ by any rule, Huber's iterations, leaving out, then has n features in place of p, and
gives the same results; parameters and Hessian are those of all features again at the end. 40
molecules of H, C, N and O have 14,784 features: C alone would take 1.7 GB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rigidities.forms import norm_of
from rigidities.span import Span, span_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian
    from rigidities.loss.result import LossFit
    from rigidities.loss.rows import Batch


def in_span(batches: Sequence[Batch]) -> tuple[Span, list[Batch]]:
    """Return the span of all rows, and the batches in its coordinates."""
    span = span_of(np.concatenate([part.values for batch in batches for part in batch.values()]))
    return span, [
        {name: replace(part, values=span.coordinates(part.values), feature_space=None) for name, part in batch.items()}
        for batch in batches
    ]


def lifted(minimum: LossFit, span: Span, feature_space: str | None) -> tuple[NDArray[np.float64], Hessian]:
    """Return the parameters and the Hessian of all features, from a fit in a span."""
    coef = span.lift(minimum.coef.reshape(-1, 1))[:, 0]
    coef.flags.writeable = False
    norm = norm_of(minimum.covariance.matrix(), minimum.hessian.regularizer)
    return coef, minimum.hessian.lifted(span, norm, feature_space)
