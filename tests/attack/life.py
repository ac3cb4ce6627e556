"""The life of covariances beside sums in long double: whatever order the calls come in, the sums are right.

Hypothesis draws the calls, and shortens a life that ends in a failure. Every refused call must leave its object as it
was, to the bit.
"""

import copy
import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import reference
from attack.arrays import Batch, spoiled
from attack.harness import right
from attack.processes import bits
from attack.sums import EPS, Sums
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import rigidities as rg

#: Lives of one seed.
EXAMPLES = 25

SEEDS = st.integers(0, 2**32 - 1)
SPACES = st.sampled_from([None, None, "a", "b"])
SIZES = st.one_of(st.integers(1, 9), st.sampled_from([255, 256, 257, 600, 1100]))


@dataclass
class Pair:
    """A covariance and what it must hold."""

    covariance: rg.Covariance
    sums: Sums
    space: str | None
    consumed: bool = False

    def check(self):
        assert self.covariance.feature_space == self.space
        if self.consumed:
            assert bits(self.covariance) == "consumed"
        else:
            assert self.covariance.precision == ("float32" if self.sums.single else "float64")
            self.sums.check(self.covariance)

    def refuses(self, *errors):
        """A context in which one of the errors must come, and the object must stay as it is."""
        return _Refusal(self.covariance, errors or (ValueError,))


class _Refusal:
    def __init__(self, covariance, errors):
        self.covariance, self.errors = covariance, errors
        self.before = bits(covariance)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        assert kind is not None, "what must be refused was taken"
        if not issubclass(kind, self.errors):
            return False
        assert bits(self.covariance) == self.before, "a refused call has changed the sums"
        return True


def rows(p, n, seed, n_outputs):
    """A batch of n rows of any scale, in groups or not, with weights or not."""
    rng = np.random.default_rng(seed)
    batch = Batch(p, 10.0 ** rng.integers(-3, 4) * rng.normal(size=(n, p)))
    if rng.random() < 0.4:
        batch.groups, batch.reduction = rng.integers(-3, n, size=n), str(rng.choice(["mean", "sum"]))
    if rng.random() < 0.5:
        batch.weights = rng.uniform(0, 5, batch.n_targets) * (rng.random(batch.n_targets) > 0.2)
    if n_outputs:
        batch.targets = rng.normal(size=(batch.n_targets, n_outputs))
    batch.passed = {
        "features": batch.X, "groups": batch.groups, "weights": batch.weights, "targets": batch.targets,
    }  # fmt: skip
    return batch


class Life(RuleBasedStateMachine):
    """What users do with covariances, in any order."""

    pairs = Bundle("pairs")
    lived = 0

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="life-")

    def teardown(self):
        self.folder.cleanup()
        type(self).lived += 1

    def keep(self, covariance, sums, space):
        pair = Pair(covariance, sums, space)
        pair.check()
        return pair

    @initialize(target=pairs, p=st.integers(1, 12), single=st.booleans(), space=SPACES)
    def begin(self, p, single, space):
        self.p = p
        return self.new(single, space)

    def new(self, single, space):
        covariance = rg.Covariance(self.p, precision="float32" if single else "float64", feature_space=space)
        return self.keep(covariance, Sums(self.p, single), space)

    @rule(target=pairs, single=st.booleans(), space=SPACES)
    def another(self, single, space):
        return self.new(single, space)

    @rule(pair=pairs)
    def look(self, pair):
        pair.check()

    @rule(pair=pairs, n=SIZES, seed=SEEDS, n_outputs=st.integers(0, 2), space=SPACES)
    def update(self, pair, n, seed, n_outputs, space):
        batch = rows(self.p, n, seed, n_outputs)
        passed = batch.passed | {"reduction": batch.reduction, "features": rg.Rows(batch.X, None, space)}
        mixed = pair.sums.n_outputs not in (None, n_outputs)
        if pair.consumed or mixed or len({pair.space, space} - {None}) > 1:
            with pair.refuses():
                pair.covariance.update(**passed)
        else:
            pair.covariance.update(**passed)
            pair.sums.add(**batch.numbers())
            pair.space = pair.space or space
        pair.check()

    @rule(pair=pairs, n=SIZES, seed=SEEDS)
    def refused_update(self, pair, n, seed):
        batch = rows(self.p, n, seed, pair.sums.n_outputs)
        with pair.refuses(ValueError, TypeError):
            pair.covariance.update(**spoiled(np.random.default_rng(seed), batch))
        pair.check()

    def _matches(self, pair, other):
        outputs = {pair.sums.n_outputs, other.sums.n_outputs} - {None}
        spaces = {pair.space, other.space} - {None}
        return len(outputs) < 2 and len(spaces) < 2 and not (pair.consumed or other.consumed)

    @rule(pair=pairs, other=pairs)
    def merge(self, pair, other):
        before = bits(other.covariance)
        if self._matches(pair, other):
            pair.covariance += other.covariance
            pair.sums.merge(other.sums)
            pair.space = pair.space or other.space
        else:
            with pair.refuses():
                pair.covariance.merge(other.covariance)
        assert other is pair or bits(other.covariance) == before
        pair.check()

    @rule(target=pairs, pair=pairs, other=pairs)
    def add(self, pair, other):
        before = bits(pair.covariance), bits(other.covariance)
        if not self._matches(pair, other):
            with pair.refuses():
                pair.covariance + other.covariance
            return pair
        total, sums = sum([pair.covariance, other.covariance]), pair.sums.copy()
        sums.merge(other.sums)
        assert (bits(pair.covariance), bits(other.covariance)) == before
        return self.keep(total, sums, pair.space or other.space)

    @rule(pair=pairs, seed=SEEDS)
    def merge_something_else(self, pair, seed):
        others = [None, 1.0, np.eye(self.p), "sums", rg.Covariance(self.p + 1), {}]
        with pair.refuses(ValueError, TypeError):
            pair.covariance.merge(others[seed % len(others)])

    @rule(target=pairs, pair=pairs, k=st.sampled_from([0, 1e-3, 0.5, 1, 3.0, np.float32(7)]))
    def scale(self, pair, k):
        if pair.consumed:
            with pair.refuses():
                k * pair.covariance
            return pair
        return self.keep(k * pair.covariance, pair.sums.scaled(k), pair.space)

    @rule(pair=pairs, k=st.sampled_from([-1, np.nan, np.inf, -1e-300, "2", None, True, 1j, [1.0], 10**400]))
    def scale_by_something_else(self, pair, k):
        with pair.refuses(ValueError, TypeError):
            k * pair.covariance

    @rule(target=pairs, pair=pairs, way=st.sampled_from(["copy", "deepcopy", "pickle", "file", "method"]))
    def duplicate(self, pair, way):
        if pair.consumed:
            with pair.refuses():
                self._duplicated(pair.covariance, way)
            return pair
        again = self._duplicated(pair.covariance, way)
        assert bits(again) == bits(pair.covariance)
        return self.keep(again, pair.sums.copy(), pair.space)

    def _duplicated(self, thing, way):
        path = Path(self.folder.name, "c.safetensors")
        if way == "file":
            thing.save(path)
            return type(thing).load(path)
        if way == "pickle":
            return pickle.loads(pickle.dumps(thing))
        return {"copy": copy.copy, "deepcopy": copy.deepcopy, "method": lambda c: c.copy()}[way](thing)

    @rule(pair=pairs, seed=SEEDS, consume=st.sampled_from([False, False, True]))
    def factorize(self, pair, seed, consume):
        rng = np.random.default_rng(seed)
        trace = float(np.trace(pair.sums.C))
        regularizer = 10.0 ** rng.uniform(-2, 2) * (trace / self.p or 1.0)
        penalty = [None, rng.uniform(0.5, 2, self.p), np.diag(rng.uniform(1, 2, self.p)) + 0.5][rng.integers(3)]
        if pair.consumed:
            with pair.refuses():
                pair.covariance.factorize(regularizer, penalty=penalty, consume=consume)
            return
        hessian = pair.covariance.factorize(regularizer, penalty=penalty, consume=consume)
        pair.consumed = consume
        pair.check()
        assert (hessian.regularizer, hessian.feature_space) == (regularizer, pair.space)
        self._check_factor(hessian, pair.sums, reference.penalty_matrix(penalty, self.p), rng.normal(size=(5, self.p)))
        again = self._duplicated(hessian, ["file", "pickle"][rng.integers(2)])
        assert bits(again) == bits(hessian)

    def _check_factor(self, hessian, sums, penalty, G):
        assert hessian.n_rows == sums.n_rows
        H = sums.C.astype(np.float64) + hessian.regularizer * penalty
        inverse = np.linalg.inv(H)
        off = np.linalg.norm((sums.rounding * sums.C_size).astype(np.float64)) + 10 * self.p * EPS * np.linalg.norm(H)
        relative = 4 * np.linalg.norm(inverse, 2) * off
        np.testing.assert_allclose(hessian.variance(G), np.einsum("ij,jk,ik->i", G, inverse, G), rtol=relative)
        np.testing.assert_allclose(hessian.log_determinant, np.linalg.slogdet(H)[1], rtol=0, atol=self.p * relative)
        if sums.n_outputs:
            coef = inverse @ sums.b.astype(np.float64)
            off_b = np.linalg.norm((sums.rounding * sums.b_size).astype(np.float64))
            bound = relative * np.linalg.norm(coef) + 2 * np.linalg.norm(inverse, 2) * off_b
            assert np.linalg.norm(hessian.coef.reshape(coef.shape) - coef) <= bound + 5e-324
        else:
            with pytest.raises(rg.NotFittedError):
                _ = hessian.coef

    @rule(pair=pairs, seed=SEEDS)
    def refused_factorize(self, pair, seed):
        wrong = [{"regularizer": value} for value in (-1.0, np.nan, np.inf, "most", None, True, 1j, 10**400)]
        wrong += [{"penalty": value, "consume": True} for value in (
            np.ones(self.p + 1), -np.ones(self.p), np.full(self.p, np.nan), "K", np.ones((1, 1, self.p)),
            -np.eye(self.p),
        )]  # fmt: skip
        with pair.refuses(ValueError, TypeError):
            pair.covariance.factorize(**{"regularizer": 1.0} | wrong[seed % len(wrong)])

    @rule(pair=pairs)
    def guaranteed(self, pair):
        trace = float(np.trace(pair.sums.C))
        if pair.consumed or trace == 0.0:
            with pair.refuses():
                pair.covariance.factorize()
        elif not pair.sums.n_outputs:
            unit = np.finfo(np.float32 if pair.sums.single else np.float64).eps / 2
            expected = 2 * (self.p + 1) * unit * trace
            assert pair.covariance.factorize().regularizer == pytest.approx(expected, rel=1e-5)


def examples(rng, folder):
    """Lives that hypothesis draws."""
    before = Life.lived
    run_state_machine_as_test(
        seed(int(rng.integers(2**62)))(Life),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=30, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    return right(Life.lived - before)
