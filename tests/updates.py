"""Factorised Hessians of every form, and all that the textbook says of their rows."""

import pickle

import numpy as np
import reference

import rigidities as rg

P, LAMBDA = 12, 0.03


def rows(n, p=P, seed=0, n_outputs=1):
    """Rows of unequal column scales, weights with zeros, and targets."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, p)) * np.logspace(0, -1, p)
    w = rng.uniform(0.1, 10, n)
    w[::5] = 0.0
    y = F @ np.arange(1.0, p + 1) + 0.1 * rng.normal(size=n)
    return F, w, y if n_outputs == 1 else np.stack([y, -2 * y + rng.normal(size=n)], axis=1)


def penalty_of(form, p=P):
    A = np.random.default_rng(5).normal(size=(p, p))
    return {"diagonal": np.linspace(0.5, 3, p), "matrix": A @ A.T + np.eye(p), "span matrix": A @ A.T + np.eye(p)}.get(
        form
    )


FORMS = ("sums", "qr", "diagonal", "matrix", "consumed", "pickled", "span", "span matrix")
"""Ways to a factor. In a span, the first rows leave directions open that those added later close."""


def factorized(form, F, w=None, y=None, regularizer=LAMBDA):
    penalty = penalty_of(form, F.shape[1])
    if form.startswith("span"):
        return rg.Hessian.from_rows(F, regularizer, weights=w, targets=y, penalty=penalty)
    covariance = rg.Covariance(F.shape[1], accumulation="qr" if form == "qr" else "sums")
    covariance.update(F, weights=w, targets=y)
    hessian = covariance.factorize(regularizer, penalty=penalty, consume=form == "consumed")
    return pickle.loads(pickle.dumps(hessian)) if form == "pickled" else hessian


def textbook(form, F, w, regularizer=LAMBDA):
    return reference.hessian(reference.covariance(F, weights=w), regularizer, penalty_of(form, F.shape[1]))


def assert_is(hessian, form, F, w, y, safety=10.0):
    """All that a Hessian says is what the textbook says of these rows."""
    H = textbook(form, F, w)
    G = np.random.default_rng(9).normal(size=(7, F.shape[1]))
    tolerance = reference.tolerance(H, safety)
    np.testing.assert_allclose(hessian.variance(G), reference.variance(H, G), rtol=tolerance)
    np.testing.assert_allclose(hessian.log_determinant, np.linalg.slogdet(H)[1], rtol=tolerance, atol=tolerance)
    coef = np.linalg.solve(H, F.T @ (w * y.T).T)
    np.testing.assert_allclose(hessian.coef, coef, rtol=0, atol=tolerance * np.abs(coef).max())
    C = reference.covariance(F, weights=w)
    np.testing.assert_allclose(hessian.effective_dimension, np.trace(np.linalg.solve(H, C)), rtol=tolerance)
    assert hessian.n_rows == np.count_nonzero(w)
    assert (hessian.regularizer, hessian.regularizer_reason) == (LAMBDA, "given")
    state = hessian.__getstate__()
    at = "inner." if "span" in state else ""
    np.testing.assert_allclose(state[f"{at}squares"], np.atleast_1d(w @ np.square(y)), rtol=1e-9)
    np.testing.assert_allclose(state[f"{at}log_weight"], np.log(w[w > 0]).sum(), atol=1e-9)
    if form == "qr":
        left = np.atleast_1d(w @ np.square(y) - np.sum((F.T @ (w * y.T).T) * coef, axis=0))
        np.testing.assert_allclose(hessian._core.unexplained(), left, rtol=1e-8 + tolerance)
