"""Objects to attack: covariances, Hessians and models of random sizes, and random batches of rows."""

import functools
import warnings

import numpy as np
import pair_distances

import rigidities as rg


def batch(rng, n, p, n_outputs=None):
    """Arguments of an update: rows in groups or not, with weights or not, and with as many outputs as asked for."""
    given = {"features": rng.normal(size=(n, p)).astype(rng.choice([np.float64, np.float32]))}
    n_targets = n
    if rng.random() < 0.4:
        given["groups"] = rng.integers(-3, max(n // 3, 1), size=n)
        given["reduction"] = str(rng.choice(["mean", "sum"]))
        n_targets = len(np.unique(given["groups"]))
    if rng.random() < 0.5:
        given["weights"] = rng.uniform(0, 3, n_targets)
    if n_outputs:
        given["targets"] = rng.normal(size=(n_targets, n_outputs))
    return given


def covariance(rng, p, n_outputs=None, n=None):
    made = rg.Covariance(p, precision=str(rng.choice(["float64", "float32"])))
    made.update(**batch(rng, n or int(rng.integers(1, 700)), p, n_outputs))
    return made


def hessian(rng, p):
    penalty = None
    if rng.random() < 0.7:
        penalty = rng.uniform(0.5, 2, p)
        if rng.random() < 0.5:
            A = rng.normal(size=(p, p))
            penalty = A @ A.T + np.diag(penalty)
    return covariance(rng, p, int(rng.integers(0, 3))).factorize(float(10.0 ** rng.uniform(-1, 2)), penalty=penalty)


@functools.cache
def model(n=6):
    """A small model of n structures of silicon; its descriptor is NumPy's."""
    from rigidities.datasets import load_silicon
    from rigidities.model import LinearModel

    frames = [frame for frame in load_silicon(groups=["strained"]) if len(frame) == 8][:n]
    loss = rg.Loss(energy=rg.Term(100.0, per_atom=True), forces=rg.Term())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LinearModel.fit(frames, DESCRIPTOR, loss, progress=False)


DESCRIPTOR = pair_distances.PairDistances((14,))
