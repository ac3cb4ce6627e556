"""Pairs with packages that may be missing: oneDAL (scikit-learn-intelex) and PyTorch.

`make bench` installs scikit-learn-intelex, where PyPI has it for the machine. They come last,
because their threads stay in the process. What is missing is named in the results and in the
tables.
"""

import importlib.util

import numpy as np
from pairs import Pair
from workload import accumulate, rows_of

#: Names on PyPI, and the module that each brings.
MODULES = {"scikit-learn-intelex": "sklearnex", "torch": "torch"}


def left_out():
    """Names of the packages that are not installed here."""
    return [name for name, module in MODULES.items() if importlib.util.find_spec(module) is None]


def onedal_covariance(sizes, n):
    """oneDAL's incremental covariance of uncentred rows: X.T @ X / n, summed from batches as ours is.

    It takes all rows in one batch here, its fastest way at p = 64 to 256: in batches of 2,048 rows,
    as we take them, it reaches about half of that rate.
    """
    from sklearnex.covariance import IncrementalEmpiricalCovariance

    def theirs(X):
        return IncrementalEmpiricalCovariance(assume_centered=True, copy=False).partial_fit(X).covariance_

    for p in sizes:
        X = np.random.default_rng(0).normal(size=(rows_of(p, n), p))
        check(theirs(X) * len(X), accumulate(X).matrix())
        ours, others = lambda: accumulate(X), lambda: theirs(X)
        yield Pair("`update`, float64", p, "oneDAL incremental covariance", 1.0, ours, others, len(X) * p * p, X.nbytes)


def check(theirs, ours):
    """Raise if the two sides of a pair do not compute the same; rounding of 2¹⁸ rows is below 1e-10."""
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-9 * np.abs(ours).max())


def torch_products(sizes, n):
    """PyTorch's product."""
    import torch

    for p in sizes:
        X = np.random.default_rng(0).normal(size=(n, p))
        T = torch.from_numpy(X)
        ours, theirs = lambda: accumulate(X), lambda: T.T @ T
        yield Pair("`update`, float64", p, "PyTorch `X.T @ X`", 1.0, ours, theirs, n * p * p, X.nbytes)


def all_pairs(short):
    """Pairs with what is installed, or a short form."""
    missing, n = left_out(), 1024 if short else 16_384
    if "scikit-learn-intelex" not in missing:
        yield from onedal_covariance([64, 128] if short else [64, 128, 256, 512, 1024, 2048], n)
    if "torch" not in missing:
        yield from torch_products([128] if short else [1024, 2048, 4096], n)
