"""The contract of a factor: every form agrees with dense algebra."""

import numpy as np
import pytest
import reference
from problems import factorized, oracle, problem

import rigidities as rg
from rigidities.factor import Factor
from rigidities.interop.skmatter import PseudoInverse

LAMBDA = 1e-2


def forms(X, groups=None):
    """Every form of the same H, by its name."""
    cholesky = factorized(X, groups, LAMBDA)
    return {"Cholesky": cholesky, "pseudo-inverse": PseudoInverse(oracle(X, groups, LAMBDA), 0.0, LAMBDA)}


NAMES = ["Cholesky", "pseudo-inverse"]


@pytest.fixture(params=NAMES)
def form(request):
    return forms(problem()[0])[request.param]


def test_every_form_fills_the_contract(form):
    assert isinstance(form, Factor)
    assert not getattr(type(form), "__abstractmethods__", ())


def test_answers_are_those_of_dense_algebra(form):
    X, (G, labels) = problem()[0], problem(n=57, seed=1)
    H = oracle(X, None, LAMBDA)
    inverse, rtol = np.linalg.inv(H), reference.tolerance(H)
    assert form.n_features == len(H)
    assert form.log_determinant == pytest.approx(np.linalg.slogdet(H)[1], rel=rtol)
    assert form.effective_dimension == pytest.approx(np.trace(X.T @ X @ inverse), rel=rtol * len(H))
    values = np.linalg.eigvalsh(H)
    assert 0.1 < form.rcond / (values[0] / values[-1]) < 10  # one is in the 1-norm, the other in the 2-norm
    for B in (G[0], G[:5].T):
        np.testing.assert_allclose(form.solve(B), inverse @ B, rtol=0, atol=rtol * np.abs(inverse @ B).max())
    for groups in (None, labels):
        F = G if groups is None else reference.reduce_rows(G, groups, "sum")
        v = np.einsum("ij,jk,ik->i", F, inverse, F)
        np.testing.assert_allclose(form.variance(G, groups=groups, reduction="sum"), v, rtol=rtol)
        np.testing.assert_allclose(form.rigidity(G, groups=groups, reduction="sum"), 1 / v, rtol=rtol)


def test_whitened_rows_make_variances_and_covariances(form):
    G, labels = problem(n=57, seed=1)
    Z = form.whiten(G, groups=labels)
    F = reference.reduce_rows(G, labels, "mean")
    H = oracle(problem()[0], None, LAMBDA)
    expected = F @ np.linalg.solve(H, F.T)
    assert Z.shape == F.shape
    np.testing.assert_allclose(Z @ Z.T, expected, rtol=0, atol=reference.tolerance(H) * np.abs(expected).max())
    np.testing.assert_allclose((Z**2).sum(axis=1), form.variance(G, groups=labels), rtol=1e-12)


def test_components_are_the_masked_rows(form):
    G = problem(n=30, seed=1)[0]
    parts = [slice(0, 10), np.array([3, 17, 23])]
    expected = []
    for part in parts:
        masked = np.zeros_like(G)
        masked[:, part] = G[:, part]
        expected.append(form.rigidity(masked))
    rtol = reference.tolerance(oracle(problem()[0], None, LAMBDA))
    np.testing.assert_allclose(form.component_rigidity(G, parts), np.stack(expected, axis=1), rtol=rtol)


def test_rows_are_checked_alike(form):
    with pytest.raises(ValueError, match="features have 3 columns but 24 were expected"):
        form.whiten(np.ones((2, 3)))
    X = np.ones((2, 24))
    X[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"features\[1, 2\] is NaN"):
        form.variance(X)
    with pytest.raises(ValueError, match="groups has 3 entries but there are 2 rows"):
        form.rigidity(np.ones((2, 24)), groups=[0, 0, 1])
    assert form.rigidity(np.zeros((1, 24)))[0] == np.inf
    for answer in (form.whiten, form.variance, form.rigidity, lambda X: form.component_rigidity(X, [24])):
        with pytest.raises(ValueError, match="features have no rows: pass at least one"):
            answer(np.zeros((0, 24)))


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ([], "components are empty: name at least one"),
        ([[0], []], "component 1 is empty"),
        ([[3, 1, 3]], "component 0 has feature 3 twice"),
        ([[-1]], "component 0 has feature index -1: indices count from 0"),
        ([[0, 24]], r"component 0 has feature index 24, but there are 24 features \(0 to 23\)"),
    ],
)
def test_components_are_checked_alike(form, components, message):
    with pytest.raises(ValueError, match=message):
        form.component_rigidity(np.ones((2, 24)), components)


@pytest.mark.parametrize(
    ("error", "B", "message"),
    [
        (ValueError, np.full(24, np.nan), r"B\[0, 0\] is NaN: only finite numbers"),
        (ValueError, np.full((24, 2), np.inf), r"B\[0, 0\] is inf: only finite numbers"),
        (ValueError, np.ones(3), "right-hand sides have 3 rows but the Hessian has 24"),
        (ValueError, np.ones((24, 1, 1)), r"right-hand sides have shape \(24, 1, 1\): expected \(24,\) or \(24, k\)"),
        (ValueError, np.ones((24, 0)), r"right-hand sides have shape \(24, 0\)"),
        (ValueError, 1.0, r"right-hand sides have shape \(\)"),
        (TypeError, np.ones(24) * 1j, "B has dtype complex128: expected real numbers"),
        (TypeError, np.ma.ones(24), "B is a masked array"),
        (TypeError, ["a"] * 24, "B has dtype <U1"),
    ],
)
def test_right_hand_sides_are_checked_alike(form, error, B, message):
    with pytest.raises(error, match=message):
        form.solve(B)


def test_nothing_at_all_is_rigid():
    form = PseudoInverse(np.zeros((3, 3)), 1e-15, 0.0)
    assert (form.rcond, form.log_determinant, form.effective_dimension) == (0.0, 0.0, 0.0)
    assert np.isinf(form.rigidity(np.ones((2, 3)))).all()


def test_a_singular_matrix_has_the_pseudo_inverse():
    X = problem()[0].copy()
    X[:, 20:] = 0
    H = X.T @ X
    form, inverse = PseudoInverse(H, 1e-12, 0.0), np.linalg.pinv(H, rcond=1e-12, hermitian=True)
    G = problem(n=9, seed=1)[0]
    assert form.whiten(G).shape == (9, 20)
    np.testing.assert_allclose(form.solve(G.T), inverse @ G.T, rtol=1e-6, atol=1e-6 * np.abs(inverse @ G.T).max())
    np.testing.assert_allclose(form.variance(G), np.einsum("ij,jk,ik->i", G, inverse, G), rtol=1e-6)
    assert form.effective_dimension == pytest.approx(20)
    assert form.log_determinant == pytest.approx(np.log(np.linalg.eigvalsh(H)[4:]).sum(), rel=1e-9)


def test_whitening_asks_for_memory_first(monkeypatch):
    hessian = factorized(problem()[0])
    monkeypatch.setattr(rg.runtime.memory, "available", lambda: 10**6)
    with pytest.raises(MemoryError, match=r"400000 whitened rows needs 76\.8 MB|400000 whitened rows needs 77 MB"):
        hessian.whiten(np.ones((400_000, 24)))
