"""The sums of a covariance in long double, with a bound on what rounding may do to those in float64."""

import numpy as np

LONG = np.longdouble
EPS = float(np.finfo(np.float64).eps)

#: Rounding of a sum of products in float32, as a multiple of Σ|products|: each row is rounded, and runs of 1,024
#: products are added in float32, each with half an eps of the sum so far. Where rows repeat, this adds up.
SINGLE = (512 + 8) * float(np.finfo(np.float32).eps)

#: Sums up to here must be taken; those beyond the range of float64 must be refused.
LARGEST = 1e299


def reduced(X, groups, reduction):
    """Rows of each label in sorted order, in long double, and the same of their absolute values."""
    X = np.asarray(X, dtype=LONG)
    if groups is None:
        return X, np.abs(X), 1
    labels, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    F, sizes = np.zeros((2, len(labels), X.shape[1]), dtype=LONG)
    np.add.at(F, inverse, X)
    np.add.at(sizes, inverse, np.abs(X))
    divisor = counts[:, None] if reduction == "mean" else 1
    return F / divisor, sizes / divisor, int(counts.max())


class Sums:
    """C, b, Σwy², n and Σ ln w of a covariance, and the sums of the absolute values of all terms."""

    def __init__(self, p, single=False):
        self.p = p
        self.C, self.C_size = np.zeros((2, p, p), dtype=LONG)
        self.n_rows, self.logs, self.logs_size = 0, LONG(0), LONG(0)
        self.steps = 8  # roundings that one term may have gone through
        self.single = single
        self.decide(None)

    def decide(self, n_outputs):
        """Whether targets come (None: not yet known), and of how many outputs."""
        self.n_outputs = n_outputs
        self.b, self.b_size = np.zeros((2, self.p, n_outputs or 0), dtype=LONG)
        self.squares = np.zeros(n_outputs or 0, dtype=LONG)

    def add(self, X, groups=None, reduction="mean", weights=None, targets=None):
        F, sizes, members = reduced(X, groups, reduction)
        w = np.ones(len(F), dtype=LONG) if weights is None else np.asarray(weights, dtype=LONG)
        Y = np.zeros((len(F), 0), dtype=LONG) if targets is None else np.asarray(targets, dtype=LONG)
        Y = Y[:, None] if Y.ndim == 1 else Y
        if self.n_outputs is None:
            self.decide(Y.shape[1])
        self.C = self.C + F.T @ (w[:, None] * F)
        self.C_size = self.C_size + sizes.T @ (w[:, None] * sizes)
        self.b = self.b + F.T @ (w[:, None] * Y)
        self.b_size = self.b_size + sizes.T @ (w[:, None] * np.abs(Y))
        self.squares = self.squares + (w[:, None] * Y**2).sum(axis=0)
        logs = np.log(w[w > 0])
        self.n_rows += len(logs)
        self.logs, self.logs_size = self.logs + logs.sum(), self.logs_size + np.abs(logs).sum()
        self.steps += members + len(F)

    def merge(self, other):
        for name in ("C", "C_size", "n_rows", "logs", "logs_size"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.steps += other.steps
        self.single |= other.single and other.n_rows > 0
        if self.n_outputs is None:
            self.decide(other.n_outputs)
        if other.n_outputs:
            for name in ("b", "b_size", "squares"):
                setattr(self, name, getattr(self, name) + getattr(other, name))

    def scaled(self, k):
        other = Sums(self.p, self.single)
        other.decide(self.n_outputs)
        for name in ("C", "C_size", "b", "b_size", "squares"):
            setattr(other, name, LONG(k) * getattr(self, name))
        if k > 0:
            other.n_rows = self.n_rows
            shift = self.n_rows * np.log(LONG(k))
            other.logs, other.logs_size = self.logs + shift, self.logs_size + abs(shift)
        other.steps = self.steps + 4
        return other

    def copy(self):
        return self.scaled(1)

    @property
    def rounding(self):
        """What rounding may change, relative to the sum of the absolute values."""
        return self.steps * EPS + (SINGLE if self.single else 0.0)

    @property
    def finite(self):
        """Whether float64 holds every sum; None at the end of its range."""
        sums = [self.C_size.max(), np.trace(self.C), self.b_size.max(initial=0), self.squares.max(initial=0)]
        largest, end = max(sums), LONG(np.finfo(np.float64).max)
        return None if LARGEST < largest < 10 * end else bool(largest <= LARGEST)

    def check(self, covariance):
        """Compare with a covariance."""
        least = self.steps * LONG(5e-324)  # products below the range of float64 are lost
        moments = covariance.moments()
        assert covariance.n_rows == moments.n_rows == self.n_rows
        _close("C", covariance.matrix(), self.C, self.rounding * self.C_size + least)
        _close("trace", covariance.trace, np.trace(self.C), self.rounding * np.trace(self.C_size) + self.p * least)
        _close("Σ ln w", moments.log_weight, self.logs, self.steps * EPS * self.logs_size)
        assert moments.n_outputs == (self.n_outputs or 0)
        if self.n_outputs:
            _close("b", moments.cross, self.b, self.rounding * self.b_size + least)
            _close("Σwy²", moments.squares, self.squares, self.steps * EPS * self.squares + least)


def _close(what, got, expected, bound):
    got = np.asarray(got)
    assert np.isfinite(got).all(), f"{what} is not finite"
    off, bound = np.abs(got.astype(LONG) - expected), np.asarray(bound)
    worst = np.argmax(off - bound)
    assert (off <= bound).all(), f"{what} is off by {off.flat[worst]}, where rounding explains {bound.flat[worst]}"
