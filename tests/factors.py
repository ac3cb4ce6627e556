"""Every form of a factorised H, each with its dense H, for what must hold of all of them."""

from dataclasses import dataclass

import numpy as np
import reference
from problems import P, factorized, penalties, problem

import rigidities as rg
from rigidities.factor import Factor
from rigidities.interop.skmatter import PseudoInverse

LAMBDA = 1e-3


@dataclass
class Factorised:
    """A factor, H⁻¹ as a matrix, and the relative error that rounding explains."""

    hessian: Factor
    inverse: np.ndarray
    rtol: float

    def joint(self, F):
        """V = F H⁻¹ Fᵀ"""
        return F @ self.inverse @ F.T


def by_rows(n, penalty):
    X = problem(n=n)[0]
    hessian = rg.Hessian.from_rows(X, LAMBDA, penalty=penalty)
    assert "span" in hessian._core.snapshot()
    return hessian, reference.hessian(reference.covariance(X), LAMBDA, penalty)


def by_qr():
    X = problem()[0]
    covariance = rg.Covariance(P, accumulation="qr")
    covariance.update(X)
    return covariance.factorize(LAMBDA), reference.hessian(reference.covariance(X), LAMBDA)


def by_sums(name):
    X, penalty = problem()[0], penalties(P)[name]
    return factorized(X, None, LAMBDA, penalty), reference.hessian(reference.covariance(X), LAMBDA, penalty)


def by_eigenvectors():
    H = reference.hessian(reference.covariance(problem()[0]), LAMBDA)
    return PseudoInverse(H, 0.0, LAMBDA), H


FORMS = {
    "sums": lambda: by_sums("none"),
    "sums, matrix": lambda: by_sums("matrix"),
    "qr": by_qr,
    "few rows": lambda: by_rows(15, None),
    "few rows, diagonal": lambda: by_rows(15, penalties(P)["diagonal"]),
    "whitened rows": lambda: by_rows(200, penalties(P)["matrix"]),
    "eigenvectors": by_eigenvectors,
}


def made(form):
    hessian, H = FORMS[form]()
    return Factorised(hessian, np.linalg.inv(H), reference.tolerance(H))


def scaled_close(found, expected, rtol, scale):
    """Errors are a part of √(vᵢvⱼ) of the rows behind an entry, not of the entry, in which they may cancel."""
    assert np.shape(found) == np.shape(expected)
    assert (np.abs(found - expected) <= rtol * scale).all()


def nearly_undetermined(few_rows):
    """H whose variances of rows of 1e152 exceed float64, in either form."""
    if few_rows:
        return rg.Hessian.from_rows(np.eye(2, 6), 1e-12)
    covariance = rg.Covariance(6)
    covariance.update(np.eye(2, 6))
    return covariance.factorize(1e-12)
