"""Leave-one-out at every λ of a path, by rows and by blocks: against refits, and the dual form where digits are few."""

import numpy as np
import pytest
import reference
from problems import data, penalties, smooth, summed

import rigidities as rg
import rigidities.regularizer.blocks as blocks_left_out

GRID = np.logspace(-6, 3, 10)


@pytest.mark.parametrize("kind", penalties(12))
def test_leave_one_out_along_the_path(kind):
    F, y, w = data(k=2)
    w[5] = 0.0
    penalty = penalties(12)[kind]
    if kind == "single":
        penalty = (0.5 * (penalty + penalty.T)).astype(float)
    path = rg.regularizer_path(summed(F, y, w), GRID, penalty=penalty)
    scores = path.score(F, y, "loo", weights=w)
    for lam, score in zip(GRID, scores, strict=True):
        refit = np.array([reference.left_out(F, y, lam, [i], w, penalty)[0][0] for i in range(40)])
        H = reference.hessian(reference.covariance(F, weights=w), lam, penalty)
        expected = np.sqrt((w @ refit**2 / w.sum()).mean())
        assert score == pytest.approx(expected, rel=100 * reference.tolerance(H))
    some = path.score(F[:7], y[:7], "loo", weights=w[:7])
    assert (some != scores).any()


GRID = np.logspace(-6, 3, 10)


def test_leave_one_out_is_true_or_silent():
    """With fewer targets than features in a spectrum below rounding; against the dual form, which loses nothing."""
    F, y = smooth(noise=1e-2)
    lams = np.logspace(-18, 1, 100)
    scores = rg.regularizer_path(summed(F, y), lams).score(F, y, "loo")
    K = F @ F.T
    values, U = np.linalg.eigh(K)
    values, z = np.maximum(values, 0), U.T @ y
    left = np.array([U @ (z / (values + lam)) / (U**2 @ (1 / (values + lam))) for lam in lams])
    expected = np.sqrt((left**2).mean(axis=1))
    known = ~np.isnan(scores)
    assert 0.1 < known.mean() < 0.9
    assert (np.diff(known.astype(int)) >= 0).all()
    np.testing.assert_allclose(scores[known], expected[known], rtol=0.1)
    assert rg.regularizer_path(summed(F, y), lams).best("loo", F, y) == lams[known][np.argmin(scores[known])]


@pytest.fixture(params=["update", "decompose"])
def form(request, monkeypatch):
    """Leave out all blocks by one of two forms, whatever their size."""
    monkeypatch.setattr(blocks_left_out, "FORMS", {"update": np.inf, "decompose": 0.0}[request.param])


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("kind", penalties(12))
@pytest.mark.parametrize("k", [None, 2])
def test_leaving_out_blocks_along_the_path(kind, k):
    F, y, w = data(k=k)
    w[5] = 0.0
    penalty = penalties(12)[kind]
    if kind == "single":
        penalty = (0.5 * (penalty + penalty.T)).astype(float)
    blocks = np.random.default_rng(4).integers(-3, 9, 40)
    covariance = summed(F, y, w)
    path = rg.regularizer_path(covariance, GRID, penalty=penalty)
    scores = path.score(F, y, "loo", weights=w, blocks=blocks)
    for lam, score in zip(GRID, scores, strict=True):
        hessian = covariance.factorize(lam, penalty=penalty)
        left = rg.leave_one_out(hessian, F, y, weights=w, blocks=blocks).residuals.reshape(40, -1)
        H = reference.hessian(reference.covariance(F, weights=w), lam, penalty)
        expected = np.sqrt((w @ left**2 / w.sum()).mean())
        assert score == pytest.approx(expected, rel=100 * reference.tolerance(H))
    assert path.best("loo", F, y, weights=w, blocks=blocks) == GRID[np.argmin(scores)]
    some = np.isin(blocks, [0, 1, 5])
    part = path.score(F[some], y[some], "loo", weights=w[some], blocks=blocks[some])
    assert np.isfinite(part).all()
    groups = np.repeat(np.arange(40), 2)
    of_atoms = path.score(np.repeat(F, 2, axis=0), y, "loo", weights=w, blocks=blocks, groups=groups)
    np.testing.assert_allclose(of_atoms, scores, rtol=1e-9)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("size", [1, 3])
def test_leaving_out_blocks_is_true_or_silent(size):
    """As `test_leave_one_out_is_true_or_silent`; blocks of one row are rows."""
    F, y = smooth(noise=1e-2)
    lams, blocks = np.logspace(-18, 1, 40), np.arange(len(y)) // size
    path = rg.regularizer_path(summed(F, y), lams)
    scores = path.score(F, y, "loo", blocks=blocks)
    values, U = np.linalg.eigh(F @ F.T)
    expected = []
    for lam in lams:
        inverse = U / (np.maximum(values, 0) + lam) @ U.T
        members = [np.flatnonzero(blocks == label) for label in np.unique(blocks)]
        left = [np.linalg.solve(inverse[np.ix_(b, b)], inverse[b] @ y) for b in members]
        expected.append(np.sqrt(np.mean(np.concatenate(left) ** 2)))
    known = ~np.isnan(scores)
    assert 0.1 < known.mean() < 0.9
    np.testing.assert_allclose(scores[known], np.array(expected)[known], rtol=0.1)
    if size == 1 and blocks_left_out.FORMS:
        np.testing.assert_allclose(scores, path.score(F, y, "loo"), rtol=1e-6)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize(("size", "resolved"), [(1.0, True), (1e6, True), (1e14, False)])
@pytest.mark.parametrize("rows", [1, 4])
def test_residuals_below_the_rounding_are_nan(size, resolved, rows):
    """A fit to 1e14 of which a noise of 0.1 is left: sixteen digits hold the one or the other."""
    F, _, _ = data()
    rng = np.random.default_rng(3)
    y = size * F @ np.ones(12) + 0.1 * rng.normal(size=40)
    blocks = None if rows == 1 else np.arange(40) // rows
    path = rg.regularizer_path(summed(F, y), [1e-25 if size > 1e9 else 1e-12])
    [score] = path.score(F, y, "loo", blocks=blocks)
    if not resolved:
        assert np.isnan(score)
        return
    H = F @ np.linalg.pinv(F)  # without a regularizer
    parts = [slice(first, first + rows) for first in range(0, 40, rows)]
    left = [np.linalg.solve(np.eye(rows) - H[part, part], (y - H @ y)[part]) for part in parts]
    exact = np.sqrt(np.mean(np.concatenate(left) ** 2))
    assert score == pytest.approx(exact, rel=1e-2)


@pytest.mark.usefixtures("form")
def test_nothing_is_known_where_rounding_may_make_the_system_singular():
    """Directions that no row determines, at a λ far below rounding: not even errors of 0 are believed."""
    F, _, w = data()
    F[:, 6:] = F[:, :6]
    path = rg.regularizer_path(summed(F, np.zeros(40), w), [1e-25, 1.0])
    scores = path.score(F, np.zeros(40), "loo", weights=w, blocks=np.arange(40) // 4)
    np.testing.assert_array_equal(scores, [np.nan, 0.0])


@pytest.mark.usefixtures("form")
def test_a_block_that_alone_determines_an_unpenalised_feature_cannot_be_left_out():
    F, y, _ = data()
    F[:, 0] = 0.0
    F[:4, 0] = 1.0
    path = rg.regularizer_path(summed(F, y), GRID, penalty=np.r_[0.0, np.ones(11)])
    assert np.isnan(path.score(F, y, "loo", blocks=np.arange(40) // 4)).all()
    assert np.isfinite(path.score(F, y, "loo", blocks=np.arange(40) % 10)).any()


def test_leave_one_out_resolved_nowhere():
    F, y = smooth(noise=0)
    with pytest.raises(ValueError, match="loo is resolved at no regularizer of the path"):
        rg.regularizer_path(summed(F, y), [1e-30]).best("loo", F, y)
