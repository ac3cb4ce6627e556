"""Every quantity as the textbook has it: dense, slow, float64, a few lines each. The oracle of the tests."""

import numpy as np
from scipy.stats import multivariate_normal


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


def log_evidence(F, y, regularizer, weights=None, penalty=None):
    """Density of the targets at the best scale of each output, from the dense n × n covariance of the targets."""
    n = len(F)
    w = np.ones(n) if weights is None else weights
    K = np.diag(1 / w) + F @ np.linalg.solve(regularizer * penalty_matrix(penalty, F.shape[1]), F.T)
    total = 0.0
    for target in np.asarray(y).reshape(n, -1).T:
        scale2 = target @ np.linalg.solve(K, target) / n
        total += multivariate_normal(np.zeros(n), scale2 * K).logpdf(target)
    return total


def left_out(F, y, regularizer, block, weights=None, penalty=None):
    """Residuals and variances of the rows of a block, from a fit without them."""
    w = np.ones(len(F)) if weights is None else weights
    kept = np.setdiff1d(np.arange(len(F)), block)
    H = hessian(covariance(F[kept], weights=w[kept]), regularizer, penalty)
    theta = np.linalg.solve(H, F[kept].T @ (w[kept] * y[kept].T).T)
    return y[block] - F[block] @ theta, variance(H, F[block])
