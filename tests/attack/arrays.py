"""Arrays of every kind against long double: right to rounding, or refused with nothing changed."""

from dataclasses import dataclass, field

import numpy as np
import reference
from attack.harness import refused, right
from attack.processes import bits
from attack.sums import EPS, Sums, reduced
from layouts import LAYOUTS

import rigidities as rg

FLOATS = ("f2", "f4", "f8", ">f2", ">f4", ">f8")
INTEGERS = ("i1", "u1", "i2", ">i2", "u2", "i4", "u4", ">u4", "i8", "u8", ">i8")


class OnlyArray:
    """What has `__array__` and nothing else."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


def _memory_map(values, folder):
    path = folder / f"{len(list(folder.iterdir()))}.raw"
    values = np.ascontiguousarray(values)
    path.write_bytes(values.tobytes())
    return np.memmap(path, dtype=values.dtype, mode="r", shape=values.shape)


def laid_out(rng, values, folder):
    """The same numbers in some layout."""
    if values.ndim == 2 and rng.random() < 0.6:
        return LAYOUTS[rng.choice(list(LAYOUTS))](values)
    kind = rng.integers(8)
    if kind == 0:
        return np.repeat(values, 3, axis=0)[1::3]
    if kind == 1:
        return values[::-1].copy()[::-1]
    if kind == 2:
        raw = np.zeros(values.nbytes + 3, dtype=np.uint8)
        view = raw[3:].view(values.dtype).reshape(values.shape)
        view[...] = values
        return view
    if kind == 3:
        values = values.copy()
        values.flags.writeable = False
        return values
    if kind == 4 and values.size:
        return _memory_map(values, folder)
    if kind == 5:
        return OnlyArray(values)
    if kind == 6 and values.dtype != np.uint64:  # NumPy makes float64 of a list of large and small integers
        return values.tolist()
    return values


@dataclass
class Batch:
    """Arguments of an update, as numbers and as the arrays to pass."""

    p: int
    X: np.ndarray
    groups: np.ndarray | None = None
    reduction: str = "mean"
    weights: np.ndarray | None = None
    targets: np.ndarray | None = None
    passed: dict = field(default_factory=dict)

    @property
    def n_targets(self):
        return len(self.X) if self.groups is None else len(np.unique(self.groups))

    def numbers(self):
        """What a model of the sums takes."""
        return {
            "X": self.X, "groups": self.groups, "reduction": self.reduction, "weights": self.weights,
            "targets": self.targets,
        }  # fmt: skip


def drawn(rng, folder, extreme=True):
    """A batch of finite numbers, perhaps at the ends of the range of float64."""
    p = int(rng.choice([1, 2, 3, 7, 24, 64, 255, 256, 257, 300]))
    n = int(min(np.exp(rng.uniform(0, 7)), 2e7 / p**2 + 1))
    batch = Batch(p, _features(rng, n, p, extreme))
    if rng.random() < 0.5:
        batch.groups, batch.reduction = _labels(rng, n), str(rng.choice(["mean", "sum"]))
    if rng.random() < 0.5:
        weights = rng.uniform(0, 10, batch.n_targets) * (rng.random(batch.n_targets) > 0.1)
        batch.weights = weights.astype(rng.choice((*FLOATS, "i4", "u1", "?")))
    if rng.random() < 0.6:
        shape = (batch.n_targets,) if rng.random() < 0.5 else (batch.n_targets, int(rng.integers(1, 4)))
        batch.targets = (10 * rng.normal(size=shape)).astype(rng.choice((*FLOATS, "i4", ">i2", "?")))
    for name, values in (batch.numbers() | {"features": batch.X}).items():
        if isinstance(values, np.ndarray) and name != "X":
            batch.passed[name] = laid_out(rng, values, folder)
    return batch


def _features(rng, n, p, extreme):
    """Numbers of any type, rows that repeat one row, and float64 of any size."""
    kind = rng.random()
    if kind < 0.3:
        dtype = np.dtype(rng.choice(INTEGERS))
        return rng.integers(0 if dtype.kind == "u" else -100, 100, size=(n, p)).astype(dtype)
    if kind < 0.35:
        return rng.random((n, p)) < 0.5
    X = rng.normal(size=(n, p))
    if kind < 0.5 and extreme:
        return 10.0 ** rng.uniform(-160, 155) * X
    if kind < 0.6:
        return np.broadcast_to(X[:1], (n, p))
    return (10.0 ** rng.uniform(-2, 2) * X).astype(rng.choice(FLOATS))


def _labels(rng, n):
    dtype = np.dtype(rng.choice(INTEGERS))
    low, high = (0, min(n, 100) + 1) if dtype.kind == "u" else (-5, min(n, 100))
    labels = rng.integers(low, high, size=n).astype(dtype)
    if dtype.itemsize == 8 and rng.random() < 0.3:
        labels[rng.random(n) < 0.3] = np.iinfo(dtype).max
        labels[rng.random(n) < 0.3] = np.iinfo(dtype).min
    return labels


def spoiled(rng, batch, names=("features", "weights", "targets", "groups", "reduction")):
    """Arguments of which one is spoiled, so that the batch must be refused."""
    n, p, m = *batch.X.shape, batch.n_targets
    bad = rng.choice([np.nan, np.inf, -np.inf])

    def with_bad(values, number):
        values = np.array(values, dtype=np.float64)
        values[tuple(rng.integers(size) for size in values.shape)] = number
        return values

    spoils = {
        "features": [
            lambda: with_bad(batch.X, bad), lambda: with_bad(batch.X, rng.choice([1e160, -1e300])),
            lambda: np.ones((n, p + 1)), lambda: np.ones((n, p - 1)), lambda: np.ones((0, p)), lambda: np.ones(p),
            lambda: np.ones((n, p, 1)), lambda: np.float64(3), lambda: np.ones((n, p)) + 1j, lambda: None,
            lambda: np.ones((n, p), dtype=object), lambda: np.full((n, p), "1"), lambda: [[1.0] * p, [1.0] * (p + 1)],
            lambda: np.ma.masked_array(np.ones((n, p)), np.eye(n, p, dtype=bool)), lambda: "rows",
            lambda: np.zeros((n, p), dtype="M8[s]"), lambda: np.zeros((n, p), dtype=[("a", "f8")]),
        ],
        "weights": [
            lambda: with_bad(np.ones(m), bad), lambda: with_bad(np.ones(m), -1e-300), lambda: np.ones(m + 1),
            lambda: np.ones((m, 1)), lambda: np.ones(0), lambda: 2.0, lambda: np.ones(m) + 1j, lambda: ["1"] * m,
            lambda: np.ma.masked_array(np.ones(m), [True] + [False] * (m - 1)), lambda: [None] * m,
        ],
        "targets": [
            lambda: with_bad(np.ones(m), bad), lambda: with_bad(np.ones((m, 2)), bad), lambda: np.ones(m + 1),
            lambda: np.ones((m, 1, 1)), lambda: np.ones((m, 0)), lambda: 2.0, lambda: np.ones(m) + 1j,
            lambda: np.full(m, 1e200), lambda: ["a"] * m, lambda: np.ma.masked_array(np.ones(m), np.arange(m) == 0),
        ],
        "groups": [
            lambda: np.zeros(n + 1, dtype=int), lambda: np.zeros(n), lambda: np.zeros(n, dtype=bool),
            lambda: np.zeros((n, 1), dtype=int), lambda: ["a"] * n, lambda: 3, lambda: np.full(n, np.nan),
            lambda: np.ma.masked_array(np.zeros(n, dtype=int), np.arange(n) == 0), lambda: [None] * n,
        ],
        "reduction": [lambda: "median", lambda: None, lambda: 1, lambda: "Mean"],
    }  # fmt: skip
    name = str(rng.choice(names))
    kept = batch.passed | {"reduction": batch.reduction}
    if name in ("features", "targets"):
        kept.pop("weights", None)  # a weight of 0 makes 1e160 harmless
    return kept | {name: spoils[name][rng.integers(len(spoils[name]))]()}


def updates(rng, folder):
    """`update` with a batch in odd arrays, behind rows that wait."""
    batch, counts = drawn(rng, folder), right(0)
    covariance = rg.Covariance(batch.p, precision=str(rng.choice(["float64", "float32"])))
    sums = Sums(batch.p, covariance.precision == "float32")
    X, y = rng.normal(size=(5, batch.p)), None if batch.targets is None else np.ones((5, *batch.targets.shape[1:]))
    covariance.update(X, targets=y)
    sums.add(X, targets=y)
    before = bits(covariance)
    for _ in range(4):
        passed = spoiled(rng, batch)
        try:
            covariance.update(**passed)
        except (ValueError, TypeError):
            assert bits(covariance) == before, "a refused batch has changed the sums"
            counts += refused()
        else:
            raise AssertionError(f"a spoiled batch was taken: {_shown(passed)}")
    sums.add(**batch.numbers())
    try:
        covariance.update(**batch.passed, reduction=batch.reduction)
    except ValueError as error:
        if sums.finite and not _extreme(batch, covariance.precision):
            raise AssertionError("a good batch was refused") from error
        assert bits(covariance) == before, "a refused batch has changed the sums"
        return counts + refused()
    assert sums.finite is not False, "sums that overflow were taken"
    sums.check(covariance)
    return counts + right()


def scores(rng, folder):
    """`reduce_rows`, `variance` and `rigidity` of rows in odd arrays."""
    batch, counts = drawn(rng, folder, extreme=False), right(0)
    covariance = rg.Covariance(batch.p)
    covariance.update(rng.normal(size=(2 * batch.p, batch.p)))
    hessian = covariance.factorize(0.3 * batch.p)
    calls = [hessian.variance, hessian.rigidity, hessian.whiten]
    for _ in range(4):
        X, given = _rows_of(spoiled(rng, batch, ("features", "groups", "reduction")))
        call = calls[rng.integers(3)]
        try:
            call(X, **given)
        except (ValueError, TypeError):
            counts += refused()
        else:
            raise AssertionError(f"{call.__name__} has taken {_shown(given | {'features': X})}")
    X, given = _rows_of(batch.passed | {"reduction": batch.reduction})
    labels, rows = rg.reduce_rows(X, **given)
    F, sizes, members = reduced(batch.X, batch.groups, batch.reduction)
    np.testing.assert_array_equal(labels, np.arange(len(F)) if batch.groups is None else np.unique(batch.groups))
    assert (np.abs(rows - F) <= (members + 4) * EPS * sizes).all()
    H = covariance.matrix() + hessian.regularizer * np.eye(batch.p)
    expected = reference.variance(H, F.astype(np.float64))
    rounding = (20 * batch.p + members) * EPS * np.linalg.cond(H)
    bound = rounding * (sizes.astype(np.float64) ** 2).sum(axis=1) / np.linalg.eigvalsh(H)[0]
    variance = hessian.variance(X, **given)
    assert (np.abs(variance - expected) <= bound).all()
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(hessian.rigidity(X, **given), 1 / variance, rtol=4 * EPS)
    return counts + right(3)


def _rows_of(passed):
    given = {name: passed[name] for name in ("groups", "reduction") if name in passed}
    return passed["features"], given


def _extreme(batch, precision):
    """Whether squares of some row leave the range of the sums, so that the batch may be refused."""
    F, _, _ = reduced(batch.X, batch.groups, batch.reduction)
    w = 1 if batch.weights is None else np.asarray(batch.weights, dtype=F.dtype)
    squares = w * (F**2).sum(axis=1)
    squares = squares[squares > 0]
    low, high = (1e-29, 1e29) if precision == "float32" else (1e-290, 1e300)
    return bool(((squares < low) | (squares > high)).any())


def _shown(passed):
    return {name: f"{type(value).__name__}: {value!r:.300}" for name, value in passed.items()}
