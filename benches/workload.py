"""The work that several suites time: rows in batches, as one would read them from a file."""

import rigidities as rg

#: Rows in a batch.
BATCH = 2048


def rows_of(p, n):
    """Rows of p features: n, or as many as hold what n rows of 1,024 features hold, more than the caches."""
    return max(n, 1024 * n // p)


def accumulate(X, precision="float64", accumulation="sums", **kwargs):
    """C of rows that come in batches, or their triangular factor."""
    covariance = rg.Covariance(X.shape[1], precision=precision, accumulation=accumulation)
    for start in range(0, len(X), BATCH):
        covariance.update(X[start : start + BATCH], **kwargs)
    return covariance
