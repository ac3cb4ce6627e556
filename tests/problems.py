"""Regression problems that several files of tests are about."""

import numpy as np
import reference

import rigidities as rg

P = 24


def data(n=40, p=12, k=None, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, p)) * np.logspace(0, -2, p)
    theta = rng.normal(size=p if k is None else (p, k))
    y = F @ theta
    return F, y + noise * rng.normal(size=y.shape), rng.uniform(0.1, 10, n)


def summed(F, y=None, w=None, **kwargs):
    covariance = rg.Covariance(F.shape[1])
    covariance.update(F, weights=w, targets=y, **kwargs)
    return covariance


def smooth(n=30, p=90, noise=1e-3):
    """Fewer targets than features, in a spectrum that falls below rounding: what energies alone are."""
    rng = np.random.default_rng(3)
    x, centres = np.sort(rng.uniform(-1, 1, n)), np.linspace(-1.2, 1.2, p)
    F = np.exp(-8 * (x[:, None] - centres) ** 2)
    return F, np.sin(3 * x) - 5 + noise * rng.normal(size=n)


def rank_deficient():
    rng = np.random.default_rng(3)
    yield "fewer rows than features", rng.normal(size=(5, 60))
    yield "one row", rng.normal(size=(1, 300))
    yield "duplicated columns", np.tile(rng.normal(size=(90, 20)), 3)
    yield "zero columns", np.pad(rng.normal(size=(90, 20)), ((0, 0), (3, 40)))
    yield "scales from 1e-12 to 1e12", rng.normal(size=(90, 50)) * np.logspace(-12, 12, 50)
    yield "all alike", np.ones((400, 200))
    yield "tiny", 1e-140 * rng.normal(size=(9, 30))
    yield "huge", 1e140 * rng.normal(size=(9, 30))


def penalties(p, seed=1):
    rng = np.random.default_rng(seed)
    A, free = rng.normal(size=(p, p)), np.r_[0.0, np.ones(p - 1)]
    B = A @ A.T + np.eye(p)
    B[3], B[:, 3] = 0, 0
    return {
        "none": None, "diagonal": rng.uniform(0.5, 5, p), "unpenalised": free,
        "matrix": A @ A.T + np.eye(p), "matrix with an unpenalised feature": B,
        "single": (A @ A.T + np.eye(p)).astype(np.float32),
    }  # fmt: skip


def problem(n=200, p=P, seed=0, dtype=np.float64):
    """Rows of unequal column scales, so that H has a condition of about 1e6."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, p)) * np.logspace(0, -2, p)).astype(dtype)
    return X, rng.integers(0, n // 5, size=n)


def factorized(X, groups=None, regularizer=1e-3, penalty=None, **kwargs):
    covariance = rg.Covariance(X.shape[1])
    covariance.update(X, groups=groups, **kwargs)
    return covariance.factorize(regularizer, penalty=penalty)


def oracle(X, groups=None, regularizer=1e-3, penalty=None, **kwargs):
    return reference.hessian(reference.covariance(X, groups, **kwargs), regularizer, penalty)
