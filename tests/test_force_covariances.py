"""Covariances of force vectors, against the dense joint covariance of all rows."""

import tracemalloc

import factors
import numpy as np
import pytest
import reference
from factors import FORMS, scaled_close
from hypothesis import given
from hypothesis import strategies as st
from problems import P, factorized, problem
from scipy.spatial.transform import Rotation
from strategies import problems, tolerance

import rigidities as rg
from rigidities import force_covariances


def rows(n_atoms=10, seed=1):
    return problem(n=3 * n_atoms, seed=seed)[0]


def blocks(V):
    """The 3 × 3 blocks on the diagonal."""
    return np.array([V[i : i + 3, i : i + 3] for i in range(0, len(V), 3)])


def sizes(V):
    """√(vᵢvⱼ) of each entry."""
    root = np.sqrt(np.diagonal(V, axis1=1, axis2=2))
    return root[:, :, None] * root[:, None, :]


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_dense_formula(form):
    made, F = factors.made(form), rows()
    dense = blocks(made.joint(F))
    assert (np.abs(dense[:, 0, 1]) > 0.01 * sizes(dense)[:, 0, 1]).any()
    scaled_close(rg.force_covariance(made.hessian, F), dense, made.rtol, sizes(dense))


def test_diagonal_has_the_variances():
    hessian, F = factors.made("sums").hessian, rows()
    V = rg.force_covariance(hessian, F)
    np.testing.assert_allclose(np.diagonal(V, axis1=1, axis2=2).ravel(), hessian.variance(F), rtol=1e-12)


@given(problems(), st.integers(0, 2**32 - 1))
def test_symmetric_and_positive_semi_definite(drawn, seed):
    """Also of rows that depend on each other, and of zeros."""
    hessian = factorized(drawn.X, drawn.groups, drawn.regularizer, weights=drawn.weights)
    mix = np.random.default_rng(seed).integers(-1, 2, size=(12, len(drawn.G)))
    V = rg.force_covariance(hessian, mix @ drawn.G)
    np.testing.assert_array_equal(V, V.transpose(0, 2, 1))
    eps = np.finfo(np.float64).eps
    assert (np.linalg.eigvalsh(V)[:, 0] >= -4 * (3 + drawn.p) * eps * np.trace(V, axis1=1, axis2=2)).all()
    np.testing.assert_allclose(
        np.trace(V, axis1=1, axis2=2), hessian.variance(mix @ drawn.G).reshape(-1, 3).sum(axis=1), rtol=tolerance(drawn)
    )


@pytest.mark.parametrize("form", FORMS)
def test_turns_with_the_frame(form):
    made, F = factors.made(form), rows(40)
    Q = Rotation.random(random_state=3).as_matrix()
    turned = np.einsum("ij,ajp->aip", Q, F.reshape(40, 3, P)).reshape(F.shape)
    V = rg.force_covariance(made.hessian, F)
    found, expected = rg.force_covariance(made.hessian, turned), Q @ V @ Q.T
    assert np.abs(V[:, 0, 0] - found[:, 0, 0]).max() > 1e-3 * V.max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * V.max())
    np.testing.assert_allclose(np.linalg.eigvalsh(found), np.linalg.eigvalsh(V), rtol=0, atol=1e-10 * V.max())


def test_of_groups():
    """Rows of neighbours are summed into the force component that they contribute to, batches or not."""
    rng, hessian = np.random.default_rng(0), factors.made("sums").hessian
    X = problem(n=900, seed=4)[0]
    groups = rng.permutation(np.repeat(np.arange(-7, 83), 10))
    F = reference.reduce_rows(X, groups, "sum")
    expected = rg.force_covariance(hessian, F)
    scaled_close(rg.force_covariance(hessian, rg.Rows(X, groups)), expected, 1e-10, sizes(expected))
    scaled_close(
        rg.force_covariance(hessian, X, groups=groups, reduction="mean"), expected / 100, 1e-10, sizes(expected)
    )


@pytest.mark.parametrize("at_once", [1, 4, 7])
@pytest.mark.parametrize("grouped", [False, True])
def test_batches_do_not_show(at_once, grouped, monkeypatch):
    """Groups of unequal sizes end batches within an atom."""
    hessian, X = factors.made("sums").hessian, problem(n=400, seed=4)[0]
    groups = np.sort(np.random.default_rng(1).integers(0, 60, size=400)) if grouped else None
    X = X if grouped else X[:390]
    whole = rg.force_covariance(hessian, X, groups=groups)
    assert whole.shape == (20 if grouped else 130, 3, 3)
    monkeypatch.setattr(force_covariances, "AT_ONCE", at_once)
    scaled_close(rg.force_covariance(hessian, X, groups=groups), whole, 1e-12, sizes(whole))


def test_single_precision_and_strides():
    made, F = factors.made("sums"), np.asfortranarray(rows(20).astype(np.float32))[::2]
    dense = blocks(made.joint(F.astype(np.float64)))
    scaled_close(rg.force_covariance(made.hessian, F), dense, made.rtol, sizes(dense))


@pytest.mark.parametrize("n", [1, 4, 29])
def test_rows_that_are_not_three_for_each_atom_are_refused(n):
    with pytest.raises(ValueError, match=f"there are {n} rows of force components: expected three for each atom"):
        rg.force_covariance(factors.made("sums").hessian, rows()[:n])


@pytest.mark.parametrize("few_rows", [True, False])
def test_answers_beyond_float64_are_refused(few_rows):
    hessian, F = factors.nearly_undetermined(few_rows), 1e152 * np.eye(6)
    F[:3] = 0
    with pytest.raises(ValueError, match="covariance of atom 1 is too large"):
        rg.force_covariance(hessian, F)


def test_other_refusals():
    hessian, F = factors.made("sums").hessian, rows()
    with pytest.raises(TypeError, match="hessian is a Covariance: expected a Hessian"):
        rg.force_covariance(rg.Covariance(P), F)
    with pytest.raises(ValueError, match="0 rows of force components"):
        rg.force_covariance(hessian, F[:0])
    with pytest.raises(ValueError, match='reduction is "max"'):
        rg.force_covariance(hessian, F, reduction="max")
    with pytest.raises(ValueError, match="features have 23 columns but 24"):
        rg.force_covariance(hessian, F[:, 1:])
    F[25, 3] = np.inf
    with pytest.raises(ValueError, match=r"features\[25, 3\] is inf"):
        rg.force_covariance(hessian, F)


def test_another_feature_space_is_refused():
    covariance = rg.Covariance(P, feature_space="a")
    covariance.update(problem()[0])
    with pytest.raises(ValueError, match="feature space 'b'"):
        rg.force_covariance(covariance.factorize(1e-3), rg.Rows(rows(), None, "b"))


def test_forces_of_structures_turn_with_them():
    """`LossRows` gives three rows for each atom, x, y and z, one atom after the other."""
    pytest.importorskip("featomic")
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import LossRows, Soap

    loss, soap = rg.Loss(energy=None, forces=rg.Term()), Soap("Si", 3.5, max_radial=2, max_angular=2)
    forces = lambda structures: next(iter(LossRows(structures, soap, loss, targets=False, progress=False)))["forces"]  # noqa: E731
    frames = load_silicon(groups="strained")
    covariance = rg.Covariance(soap.n_features)
    covariance.update(forces(frames[:4]))
    hessian = covariance.factorize(1e-3 * covariance.trace / soap.n_features)
    turned = frames[5].copy()
    Q = Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix()
    turned.set_cell(turned.cell.array @ Q.T)
    turned.positions = turned.positions @ Q.T
    V, found = rg.force_covariance(hessian, forces([frames[5]])), rg.force_covariance(hessian, forces([turned]))
    assert V.shape == (len(turned), 3, 3)
    assert np.abs(found - V).max() > 0.1 * V.max()
    np.testing.assert_allclose(found, Q @ V @ Q.T, rtol=0, atol=1e-10 * V.max())


def test_memory_is_that_of_a_few_atoms():
    """All whitened rows would take 19 MB beside the result."""
    hessian, X = factors.made("sums").hessian, problem(n=99_999, seed=2)[0]
    tracemalloc.start()
    try:
        V = rg.force_covariance(hessian, X)
        assert tracemalloc.get_traced_memory()[1] < V.nbytes + 2_000_000
    finally:
        tracemalloc.stop()
