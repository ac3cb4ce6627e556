"""The Hessian of a training set without labels: each structure is one target of weight 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rigidities.covariance import Covariance
from rigidities.exceptions import IllConditionedWarning, blame, held
from rigidities.hessian import Hessian
from rigidities.model.training_set import rank_of, rank_of_products
from rigidities.rows import Rows, reduce_rows

if TYPE_CHECKING:
    from rigidities.sources.source import Source
    from rigidities.validation import Reduction

FEW = 4
"""With p/4 structures or fewer, H is factorised in the span of their rows: 8n²p operations for this
span are then fewer than the np² + p³/3 for C and its factor."""


class WithoutLabels(NamedTuple):
    """A Hessian, the rank of its C, None if unknown, and the texts of the warnings."""

    hessian: Hessian
    rank: int | None
    warned: list[str]


def without_labels(train: Source, regularizer: float | Literal["auto"], reduction: Reduction) -> WithoutLabels:
    """Factorise C + λ of the rows of structures."""
    found = _of_rows if FEW * len(train.sizes) <= train.n_features else _of_sums
    with held(IllConditionedWarning) as warned:
        hessian, rank = found(train, regularizer, reduction)
    return WithoutLabels(hessian, rank, [str(warning) for warning in warned])


def _of_sums(train: Source, regularizer: float | Literal["auto"], reduction: Reduction) -> tuple[Hessian, int | None]:
    with blame(train.name):
        covariance = Covariance(train.n_features)
        for rows in train.batches():
            covariance.update(rows, reduction=reduction)
        rank = rank_of(covariance)
    with blame(f"regularizer {regularizer}"):
        return covariance.factorize(regularizer, consume=True), rank


def _of_rows(train: Source, regularizer: float | Literal["auto"], reduction: Reduction) -> tuple[Hessian, int | None]:
    space, parts = None, []
    with blame(train.name):
        for rows in train.batches():
            space = rows.feature_space
            parts.append(reduce_rows(rows, reduction=reduction)[1])
    F = np.concatenate(parts)
    with blame(f"regularizer {regularizer}"):
        return Hessian.from_rows(Rows(F, None, space), regularizer), rank_of_products(F @ F.T)
