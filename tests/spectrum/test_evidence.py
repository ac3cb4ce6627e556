"""The evidence against the dense multivariate normal; that it is silent where it is not resolved; "auto" by it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import reference
from problems import data, rank_deficient, smooth, summed
from scipy.optimize import minimize_scalar

import rigidities as rg
from rigidities.reason import Reason
from rigidities.spectrum import hiding

GRID = np.logspace(-4, 3, 8)


def check(path, expected, F, w=None):
    """The dense matrix has a condition of Σw‖f‖²/λ, times that of W: as many digits its solve costs s² in n/2·ln s²."""
    w = np.ones(len(F)) if w is None else w
    condition = (1 + (w @ F**2).sum() / GRID.min()) * w.max() / w[w > 0].min()
    atol = 10 * len(F) * np.finfo(np.float64).eps * condition
    np.testing.assert_allclose(path.log_evidence, expected, rtol=0, atol=atol)
    assert atol < 0.05


@pytest.mark.parametrize("shape", [(40, 12), (10, 25), (1, 1), (1, 5), (300, 3)])
@pytest.mark.parametrize("k", [None, 3])
def test_evidence_is_the_dense_one(shape, k):
    F, y, w = data(*shape, k)
    for weights in (None, w):
        path = rg.regularizer_path(summed(F, y, weights), GRID)
        check(path, [reference.log_evidence(F, y, lam, weights) for lam in GRID], F, weights)


@pytest.mark.parametrize("kind", ["diagonal", "matrix"])
def test_evidence_with_a_penalty(kind):
    F, y, w = data()
    rng = np.random.default_rng(1)
    A = rng.normal(size=(12, 12))
    penalty = rng.uniform(0.5, 5, 12) if kind == "diagonal" else A @ A.T + np.eye(12)
    path = rg.regularizer_path(summed(F, y, w), GRID, penalty=penalty)
    check(path, [reference.log_evidence(F, y, lam, w, penalty) for lam in GRID], F, w)


def test_evidence_of_groups_merged_and_scaled_terms():
    F, y, w = data(60)
    groups = np.arange(60) // 2
    reduced, y = reference.reduce_rows(F, groups), y[::2]
    w = w[::2]
    terms = [summed(F[:20], y[:10], w[:10], groups=groups[:20]), summed(F[20:], y[10:], w[10:], groups=groups[20:])]
    nothing = summed(F[:20], 1e3 * y[:10], groups=groups[:20])
    path = rg.regularizer_path(10.0 * terms[0] + 0.1 * terms[1] + 0 * nothing, GRID)
    w = w * np.r_[np.full(10, 10.0), np.full(20, 0.1)]
    check(path, [reference.log_evidence(reduced, y, lam, w) for lam in GRID], reduced, w)


def test_rows_of_weight_zero_count_nowhere():
    F, y, w = data()
    w[::3] = 0
    path = rg.regularizer_path(summed(F, y, w), GRID)
    check(path, [reference.log_evidence(F[w > 0], y[w > 0], lam, w[w > 0]) for lam in GRID], F, w)


@pytest.mark.parametrize("as_matrix", [False, True])
@pytest.mark.parametrize("n_free", [1, 3])
def test_unpenalised_features_make_it_the_restricted_likelihood(as_matrix, n_free):
    """The density of the targets' part at right angles to the unpenalised columns X, times |XᵀX|^-½ for each output."""
    F, y, w = data(k=2)
    F[:, 4] = 1.0
    free = [4, 0, 7][:n_free]
    penalty = np.linspace(1, 3, 12)
    penalty[free] = 0
    path = rg.regularizer_path(summed(F, y, w), GRID, penalty=np.diag(penalty) if as_matrix else penalty)
    root = np.sqrt(w)[:, None]
    whitened, X = np.delete(root * F, free, axis=1), root * F[:, free]
    Q = np.linalg.qr(X, mode="complete")[0][:, n_free:]
    left = np.delete(penalty, free)
    contrast = [reference.log_evidence(Q.T @ whitened, Q.T @ (root * y), lam, None, left) for lam in GRID]
    expected = np.array(contrast) + 2 * (0.5 * np.log(w).sum() - 0.5 * np.linalg.slogdet(X.T @ X)[1])
    check(path, expected, F, w)
    np.testing.assert_allclose(path.effective_dimension[-1], n_free, atol=0.3)


def test_what_a_roughness_penalty_cannot_see_is_unpenalised():
    """Second differences leave constants and slopes alone: the same as two unpenalised features."""
    rng = np.random.default_rng(2)
    F = rng.normal(size=(60, 10))
    y = F @ np.linspace(0, 3, 10) + 0.1 * rng.normal(size=60)
    D = np.diff(np.eye(10), n=2, axis=0)
    path = rg.regularizer_path(summed(F, y), GRID, penalty=D.T @ D)
    assert path.jitter == 0
    np.testing.assert_allclose(path.effective_dimension[-1], 2, atol=0.8)
    values, U = np.linalg.eigh(D.T @ D)
    rotated = rg.regularizer_path(summed(F @ U, y), GRID, penalty=np.r_[0, 0, values[2:]])
    check(path, rotated.log_evidence, F)


# ---- where it is resolved


def dual_evidence(F, y, regularizers):
    """From the singular values of F, in which S loses no digits however small it is."""
    U, s, _ = np.linalg.svd(F)
    z, d, n = U.T @ y, np.zeros(len(F)), len(F)
    d[: len(s)] = s**2
    S = np.array([(z**2 * lam / (d + lam)).sum() for lam in regularizers])
    determinant = np.array([np.log1p(d / lam).sum() for lam in regularizers])
    return -0.5 * (n * np.log(2 * np.pi * S / n) + n + determinant)


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-9])
def test_it_is_true_or_silent(scale):
    F, y = smooth(noise=0)
    F, lams = scale * F, scale**2 * np.logspace(-20, 3, 120)
    evidence = rg.regularizer_path(summed(F, y), lams).log_evidence
    known = ~np.isnan(evidence)
    assert (np.diff(known.astype(int)) >= 0).all()  # from some λ on, all
    assert 0.2 < known.mean() < 0.8
    expected = dual_evidence(F, y, lams)
    # One nat is the promise; a bound that adds the worst of every sum is rarely met to a tenth.
    np.testing.assert_allclose(evidence[known], expected[known], rtol=0, atol=0.1)


def test_rounding_is_bounded():
    """S computed from sums differs from the dual one by less than the bound, and by more than its thousandth."""
    F, y = smooth(noise=0)
    lams = np.logspace(-12, -2, 40)
    path = rg.regularizer_path(summed(F, y), lams)
    S = path._projection.residuals(lams)[:, 0]
    bound = path._projection.residual_rounding(lams)[:, 0]
    U, s, _ = np.linalg.svd(F)
    expected = np.array([((U.T @ y) ** 2 * lam / (s**2 + lam)).sum() for lam in lams])
    assert (np.abs(S - expected) < bound).all()
    assert (np.abs(S - expected) > 1e-4 * bound).any()


def test_the_edge_is_said():
    F, y = smooth(noise=0)
    covariance = summed(F, y)
    path = rg.regularizer_path(covariance)
    with pytest.warns(
        rg.UnresolvedEvidenceWarning, match=r"best at the smallest .* path.best\('loo', F, y\)"
    ) as caught:
        best = path.best("evidence")
    assert caught[0].filename == __file__
    assert best == path.regularizers[np.flatnonzero(~np.isnan(path.log_evidence))[0]]
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="gcv is best at the smallest"):
        path.best("gcv")
    few = rg.regularizer_path(covariance, [best])  # a grid of one has an edge too
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="evidence"):
        few.best("evidence")


def test_the_edge_of_auto_is_said():
    F, _, _ = data(60, 3)
    covariance = summed(F, F @ np.ones((3, 1)))  # exact: the evidence rises as long as the residual falls
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="evidence is best at the smallest regularizer") as caught:
        hessian = covariance.factorize()
    assert caught[0].filename == __file__
    assert hessian.regularizer_reason.startswith("evidence: the smallest at which rounding leaves it resolved")
    np.testing.assert_allclose(hessian.coef.ravel(), 1.0, rtol=1e-6)


def exact_log_evidence(F, y, regularizer):
    """From singular values, which know F to eps‖F‖ where sums know its square."""
    U, s, _ = np.linalg.svd(F, full_matrices=False)
    inside = U.T @ y
    S = y @ y - inside @ inside + (regularizer / (s**2 + regularizer) * inside**2).sum()
    return -0.5 * (len(F) * (np.log(2 * np.pi * S / len(F)) + 1) + np.log1p(s**2 / regularizer).sum())


def test_auto_looks_below_what_the_spectrum_resolves():
    """The maximum at 5e-12 is a tenth of what eigenvalues resolve; a Cholesky factor resolves it."""
    F, y = smooth(noise=0)
    choice = summed(F, y).choose()  # that it rises by 0.3 nats towards the edge is not worth a warning
    assert choice.reason is Reason.EVIDENCE_MAXIMUM
    assert np.isnan(rg.regularizer_path(summed(F, y), [choice.regularizer]).log_evidence[0])
    exact = minimize_scalar(lambda log: -exact_log_evidence(F, y, np.exp(log)), bounds=(-28, -24), method="bounded")
    assert np.log(choice.regularizer) == pytest.approx(exact.x, abs=0.05)
    assert choice.log_evidence == pytest.approx(-exact.fun, abs=0.01)


def test_a_rise_towards_the_edge_is_said(monkeypatch):
    monkeypatch.setattr(hiding, "SLOPE", 0.01)
    with pytest.warns(rg.UnresolvedEvidenceWarning, match=r"best at regularizer \S+e-12, but it rises again towards"):
        summed(*smooth(noise=0)).choose()


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e7])
def test_a_column_in_another_unit_changes_little(scale):
    """Rounding is that of each column: a wide one does not hide the λ of the others."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(60, 5))
    y = F[:, :4] @ [1.0, 2.0, -1.0, 0.5] + 0.1 * rng.normal(size=60)
    F[:, 4] *= scale
    hessian = summed(F, y).factorize()
    exact = minimize_scalar(lambda log: -exact_log_evidence(F, y, np.exp(log)), bounds=(-6, 4), method="bounded")
    assert np.log(hessian.regularizer) == pytest.approx(exact.x, abs=1e-3)


def test_a_maximum_within_is_taken_without_a_warning():
    F, y, w = data()
    path = rg.regularizer_path(summed(F, y, w))
    assert path.best("evidence") == path.regularizers[np.nanargmax(path.log_evidence)]
    assert path.best() == path.best("evidence")
    assert path.best("gcv") == path.regularizers[np.nanargmin(path.gcv)]


def test_resolved_nowhere():
    F, y = smooth(noise=0)
    covariance = summed(F, y)
    path = rg.regularizer_path(covariance, np.logspace(-30, -25, 5))
    for criterion in ("evidence", "gcv"):
        with pytest.raises(
            ValueError, match=f"{criterion} is resolved at no regularizer of the path \\(1e-30 to 1e-25\\)"
        ):
            path.best(criterion)
    zero = summed(F, 0 * y)  # a perfect fit at every λ
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="the evidence is resolved at no regularizer: the") as caught:
        hessian = zero.factorize()
    assert caught[0].filename == __file__
    assert hessian.regularizer == summed(F).factorize().regularizer
    assert hessian.regularizer_reason.startswith("guaranteed: ")
    assert hessian.regularizer_reason.endswith("; the evidence is resolved at no regularizer")


# ---- "auto"


@pytest.mark.filterwarnings("ignore:the fit explains")  # with this matrix, the maximum is an almost empty fit
@pytest.mark.parametrize("penalty", ["none", "diagonal", "unpenalised", "matrix"])
def test_auto_is_the_maximum(penalty):
    F, y, w = data(k=2)
    F[:, 0] = 1.0
    rng = np.random.default_rng(4)
    A = rng.normal(size=(12, 12))
    Lambda = {
        "none": None,
        "diagonal": rng.uniform(0.5, 5, 12),
        "unpenalised": np.r_[0, np.ones(11)],
        "matrix": A @ A.T,
    }
    covariance = summed(F, y, w)
    hessian = covariance.factorize("auto", penalty=Lambda[penalty])

    def loss(log):
        if penalty == "unpenalised":
            return -rg.regularizer_path(covariance, [np.exp(log)], penalty=Lambda[penalty]).log_evidence[0]
        return -reference.log_evidence(F, y, np.exp(log), w, Lambda[penalty])

    centre = np.log(hessian.regularizer)
    found = minimize_scalar(loss, bounds=(centre - 3, centre + 3), method="bounded", options={"xatol": 1e-7})
    # Brent's method stops at 1e-5 in ln λ, and finds a maximum to the root of the rounding of its
    # values, 1e-7 or so.
    assert centre == pytest.approx(found.x, abs=1e-4)
    assert hessian.regularizer_reason == "evidence: the maximum of the marginal likelihood"
    H = reference.hessian(covariance.matrix(), hessian.regularizer, Lambda[penalty])
    np.testing.assert_allclose(
        hessian.coef, np.linalg.solve(H, F.T @ (w[:, None] * y)), rtol=reference.tolerance(H), atol=1e-9
    )


@pytest.mark.parametrize(("kind", "X"), list(rank_deficient()))
@pytest.mark.parametrize("penalty", ["none", "diagonal", "matrix"])
def test_auto_with_targets_never_fails(kind, X, penalty):
    p = X.shape[1]
    scale = np.abs(X).max()
    rng = np.random.default_rng(6)
    y = X @ rng.normal(size=p) / scale + rng.normal(size=len(X))
    Lambda = {"none": None, "diagonal": np.linspace(1, 2, p), "matrix": np.diag(np.linspace(1, 2, p))}[penalty]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.UnresolvedEvidenceWarning)
        warnings.simplefilter("ignore", rg.EmptyFitWarning)
        hessian = summed(X, y).factorize(penalty=Lambda)
    assert hessian.regularizer_reason.startswith(("evidence: ", "guaranteed: "))
    assert np.isfinite(hessian.log_determinant)
    assert np.isfinite(hessian.coef).all()
    assert (hessian.variance(X) > 0).all()


@pytest.mark.parametrize("penalty", [None, [2.0], [[2.0]]])
def test_auto_of_one_feature(penalty):
    """A tridiagonal matrix of one row has nothing beside its diagonal."""
    F, y, _ = data(40, 1)
    grid = np.logspace(-6, 3, 2000)
    evidence = [reference.log_evidence(F, y, lam, penalty=penalty) for lam in grid]
    best = summed(F, y).factorize(penalty=penalty)
    assert best.regularizer_reason.startswith("evidence: the maximum")
    assert best.regularizer == pytest.approx(grid[np.argmax(evidence)], rel=0.02)


def test_auto_of_one_penalised_feature_beside_an_intercept():
    F, y, _ = data(40, 1)
    covariance = summed(np.column_stack([np.ones(40), F]), y + 3.0)
    path = rg.regularizer_path(covariance, penalty=[0.0, 1.0])
    best = covariance.factorize(penalty=[0.0, 1.0])
    assert best.regularizer == pytest.approx(path.regularizers[np.argmax(path.log_evidence)], rel=0.2)


def test_auto_where_the_data_say_nothing_of_the_penalised_features():
    """One row determines the intercept, and the search for λ has no λ to begin with."""
    covariance = summed(np.array([[1.0, 0.5]]), np.array([2.0]))
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="resolved at no regularizer"):
        hessian = covariance.factorize(penalty=[0.0, 1.0])
    assert hessian.reason is Reason.EVIDENCE_UNRESOLVED
    assert np.isfinite(hessian.coef).all()


def test_auto_with_sums_beyond_float64_is_refused():
    F, y, _ = data(30, 3)
    with pytest.raises(ValueError, match=r"the trace of C would be .*, more than 1e300: rescale the features"):
        summed(1e151 * F, y)
    with pytest.raises(ValueError, match=r"the trace of C is .*e-3.*: expected 1e-280 to 1e\+300"):
        summed(1e-160 * F, y).factorize()


def test_auto_finds_the_noise():
    """s² of the evidence, times 1/λ, are the variances of noise and prior that the data were drawn with."""
    rng = np.random.default_rng(7)
    F = rng.normal(size=(3000, 100))
    y = F @ (2.0 * rng.normal(size=100)) + 0.5 * rng.normal(size=3000)
    hessian = summed(F, y).factorize()
    assert hessian.regularizer == pytest.approx(0.5**2 / 2.0**2, rel=0.45)  # three times √(2/100), of the prior's draws


def test_targets_of_noise_alone_end_at_the_top():
    rng = np.random.default_rng(8)
    F = rng.normal(size=(50, 3))
    y = rng.normal(size=50)
    y -= F @ np.linalg.lstsq(F, y)[0]
    with pytest.warns(rg.EmptyFitWarning, match=r"the fit explains \S+ % of the weighted squares of its targets"):
        hessian = summed(F, y).factorize()
    assert (
        hessian.regularizer_reason
        == "evidence: at the upper end of the search, where the model explains nothing of the targets"
    )
    assert hessian.regularizer == pytest.approx(100 * np.linalg.eigvalsh(F.T @ F)[-1])


def test_auto_without_a_way_to_the_evidence_is_the_guaranteed_one():
    F, y, _ = data()
    F[:, 3] = 0.0
    penalty = np.ones(12)
    penalty[3] = 0.0
    hessian = summed(F, y).factorize(penalty=penalty)
    assert "jitter" in hessian.regularizer_reason
    assert hessian.regularizer_reason.startswith("guaranteed: ")
    assert "; the data leave an unpenalised feature undetermined (jitter" in hessian.regularizer_reason
    nothing = rg.Covariance(2)
    nothing.update(np.eye(2), targets=np.ones(2), weights=np.zeros(2))
    with pytest.raises(ValueError, match="nothing was summed"):
        nothing.factorize()


def test_auto_in_place_and_unharmed():
    F, y, w = data()
    covariance = summed(F, y, w)
    before = pickle.dumps(covariance)
    kept = covariance.factorize()
    assert pickle.dumps(covariance) == before
    taken = copy.copy(covariance).factorize(consume=True)
    assert taken.regularizer == kept.regularizer
    np.testing.assert_array_equal(taken.coef, kept.coef)


# ---- sums


def test_sums_include_rows_that_wait():
    F, y, w = data(700, 5, 2)
    covariance = summed(F, y, w)
    assert 0 < len(covariance._core.snapshot()["waiting_rows"]) < 700 * 5
    sums = covariance.moments()
    np.testing.assert_allclose(sums.cross, F.T @ (w[:, None] * y), rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(sums.squares, w @ y**2, rtol=1e-12)
    assert sums.n_rows == 700
    assert sums.log_weight == pytest.approx(np.log(w).sum())
