"""Every quantity as the textbook has it: dense, slow, float64, a few lines each. The oracle of the tests."""

import numpy as np


def reduce_rows(X, groups=None, reduction="mean"):
    """Rows of each label, in sorted order, summed or averaged."""
    X = np.asarray(X, dtype=np.float64)
    if groups is None:
        return X
    groups = np.asarray(groups)
    return np.array([getattr(X[groups == label], reduction)(axis=0) for label in np.unique(groups)])


def covariance(X, groups=None, reduction="mean", weights=None):
    """C = Σ w f fᵀ"""
    F = reduce_rows(X, groups, reduction)
    w = np.ones(len(F)) if weights is None else np.asarray(weights, dtype=np.float64)
    return F.T @ (w[:, None] * F)


def penalty_matrix(penalty, n_features):
    """Λ, from None, a diagonal or a matrix."""
    if penalty is None:
        return np.eye(n_features)
    return np.diag(penalty) if np.ndim(penalty) == 1 else np.asarray(penalty)


def hessian(C, regularizer, penalty=None):
    """H = C + λΛ"""
    return C + regularizer * penalty_matrix(penalty, len(C))


def variance(H, G):
    """gᵀH⁻¹g of each row"""
    return np.einsum("ij,ji->i", G, np.linalg.solve(H, G.T))


def rigidity(H, G):
    """1/(gᵀH⁻¹g)"""
    return 1.0 / variance(H, G)


def component_rigidity(H, G, components):
    """R of each row with all features but one component's set to zero."""
    columns = []
    for component in components:
        masked = np.zeros_like(G)
        masked[:, component] = G[:, component]
        columns.append(rigidity(H, masked))
    return np.stack(columns, axis=1)


def tolerance(H, safety=10.0):
    """Relative error of a variance that rounding explains: p·eps·cond(H) with a margin."""
    p = len(H)
    return safety * p * np.finfo(np.float64).eps * max(np.linalg.cond(H), 10.0)
