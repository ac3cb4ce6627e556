"""Objects of whole numbers, so that their sums have the same bits everywhere: what files of every version hold."""

import numpy as np

import rigidities as rg

P = 6

PENALTIES = {
    "identity": None,
    "diagonal": np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
    "matrix": 4 * np.eye(P) + 1.0,
}


def whole_rows(n=9, p=P, seed=0):
    """Rows and two columns of targets, small integers."""
    rng = np.random.default_rng(seed)
    return rng.integers(-4, 5, (n, p)).astype(float), rng.integers(-9, 10, (n, 2)).astype(float)


def covariance(precision="float64"):
    rows, targets = whole_rows()
    made = rg.Covariance(P, precision=precision, feature_space="whole numbers")
    made.update(rows, targets=targets, weights=np.full(len(rows), 4.0))
    return made


def row_factor():
    rows, targets = whole_rows()
    made = rg.Covariance(P, accumulation="qr")
    made.update(np.tile(rows, (30, 1)), targets=np.tile(targets, (30, 1)))  # some rows wait
    return made


def hessian(penalty):
    return covariance().factorize(0.5, penalty=PENALTIES[penalty])


def bare_covariance():
    """Without targets, and with nothing summed but one row."""
    made = rg.Covariance(P)
    made.update(np.arange(1.0, P + 1)[None])
    return made
