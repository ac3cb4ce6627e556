"""The path and "auto" of accumulation="qr", against sums, and against arithmetic without rounding."""

from fractions import Fraction
from math import log, pi

import numpy as np
import pytest

import rigidities as rg


def accumulated(F, y, w, accumulation):
    covariance = rg.Covariance(F.shape[1], accumulation=accumulation)
    covariance.update(F, targets=y, weights=w)
    return covariance


def logarithm(x):
    """Natural logarithm of a positive fraction, however long its numbers are."""
    shift = x.numerator.bit_length() - x.denominator.bit_length()
    return float(log(x / Fraction(2) ** shift)) + shift * log(2)


def exact_evidence(F, y, w, regularizer):
    """Log marginal likelihood of one output, Λ = 1: all but logarithms in fractions."""
    n, p = F.shape
    rows, targets, weights = ([[Fraction(x) for x in row] for row in np.atleast_2d(a).tolist()] for a in (F, y, w))
    weight, target = weights[0], targets[0]
    whole = [[*rows[i], target[i]] for i in range(n)]
    system = [[sum(weight[i] * r[a] * r[b] for i, r in enumerate(whole)) for b in range(p + 1)] for a in range(p + 1)]
    for a in range(p):
        system[a][a] += Fraction(regularizer)
    determinant = 0.0
    for k in range(p):
        determinant += logarithm(system[k][k]) - log(regularizer)
        for line in system[k + 1 :]:
            factor = line[k] / system[k][k]
            line[k:] = [x - factor * y for x, y in zip(line[k:], system[k][k:], strict=True)]
    scale = logarithm(2 * system[p][p] / n) + log(pi)
    return -0.5 * (n * scale + n + determinant - float(np.log(w).sum()))


def ill_conditioned(n=30, p=8, noise=1e-9, seed=1):
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.normal(size=shape))[0] for shape in ((n, p), (p, p)))
    F = U * np.logspace(0, -14, p) @ V.T
    theta = V @ np.logspace(0, 4, p)
    return F, F @ theta + noise * rng.normal(size=n), rng.uniform(0.5, 2, n)


def test_the_evidence_is_resolved_down_to_the_square_of_the_roundoff():
    F, y, w = ill_conditioned()
    grid = np.logspace(-28, 1, 30)
    expected = [exact_evidence(F, y, w, float(regularizer)) for regularizer in grid]
    found = rg.regularizer_path(accumulated(F, y, w, "qr"), grid).log_evidence
    resolved = np.isfinite(found)
    assert resolved[grid > 1e-26].all()
    np.testing.assert_allclose(found[resolved], np.array(expected)[resolved], atol=1.0)
    np.testing.assert_allclose(found[grid > 1e-22], np.array(expected)[grid > 1e-22], atol=0.01)
    sums = rg.regularizer_path(accumulated(F, y, w, "sums"), grid).log_evidence
    assert np.isnan(sums[grid < 1e-16]).all()


def test_auto_finds_a_maximum_below_the_edge_of_sums():
    F, y, w = ill_conditioned()
    choice = accumulated(F, y, w, "qr").choose()
    assert choice.reason.value == "evidence maximum"
    assert choice.regularizer < 1e-17
    near = [exact_evidence(F, y, w, choice.regularizer * factor) for factor in (0.5, 1.0, 2.0)]
    assert near[1] == max(near)
    np.testing.assert_allclose(choice.log_evidence, near[1], atol=0.01)
    with pytest.warns(rg.UnresolvedEvidenceWarning):
        accumulated(F, y, w, "sums").choose()


PENALTIES = ["identity", "diagonal", "free", "matrix", "semidefinite"]


def penalty_of(kind, p):
    A = np.random.default_rng(9).normal(size=(p, p))
    diagonal = np.random.default_rng(8).uniform(0.5, 2, p)
    return {
        "identity": None,
        "diagonal": diagonal,
        "free": np.where(np.arange(p) % 7 == 3, 0.0, diagonal),
        "matrix": A @ A.T + np.eye(p),
        "semidefinite": A[:, :-2] @ A[:, :-2].T,
    }[kind]


@pytest.mark.parametrize("kind", PENALTIES)
@pytest.mark.parametrize(("n", "p", "k"), [(60, 12, 1), (500, 40, 2), (40, 4, 3)])
def test_a_path_is_that_of_sums(kind, n, p, k):
    rng = np.random.default_rng(p)
    F, w = rng.normal(size=(n, p)), rng.uniform(0.5, 2, n)
    y = F @ rng.normal(size=(p, k)) + rng.normal(size=(n, k))
    grid, X = np.logspace(-3, 3, 7), rng.normal(size=(5, p))
    paths = [
        rg.regularizer_path(accumulated(F, y, w, accumulation), grid, penalty=penalty_of(kind, p))
        for accumulation in ("qr", "sums")
    ]
    for name in ("log_evidence", "gcv", "effective_dimension", "log_determinant", "coef"):
        found, expected = (getattr(path, name) for path in paths)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8, err_msg=name)
    np.testing.assert_allclose(paths[0].variance(X), paths[1].variance(X), rtol=1e-8)
    blocks = np.arange(n) // 5
    for options in ({}, {"blocks": blocks}):
        scores = [path.score(F, y, "loo", weights=w, **options) for path in paths]
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-7)
    found, expected = (
        accumulated(F, y, w, accumulation).factorize("auto", penalty=penalty_of(kind, p))
        for accumulation in ("qr", "sums")
    )
    np.testing.assert_allclose(found.regularizer, expected.regularizer, rtol=1e-3)
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_the_unit_of_features_and_targets_does_not_matter(scale):
    rng = np.random.default_rng(3)
    F, w = rng.normal(size=(90, 6)), np.ones(90)
    y = F @ rng.normal(size=6) + 0.1 * rng.normal(size=90)
    plain = accumulated(F, y, w, "qr").choose()
    scaled = accumulated(scale * F, scale * y, w, "qr")
    np.testing.assert_allclose(scaled.choose().regularizer, plain.regularizer * scale**2, rtol=1e-3)
    path = rg.regularizer_path(scaled, [plain.regularizer * scale**2])
    reference = rg.regularizer_path(accumulated(F, y, w, "qr"), [plain.regularizer])
    left_out = (p.score(unit * F, unit * y, "loo") / unit for p, unit in ((path, scale), (reference, 1.0)))
    np.testing.assert_allclose(*left_out, rtol=1e-10)


def test_a_penalty_of_a_kernel_has_its_maximum_below_the_edge_of_sums():
    """K_MM of condition 1e17, as for sparse kernel models: sums end above it and are refused."""
    x, rng = np.linspace(0, 1, 200), np.random.default_rng(0)
    kernel = np.exp(-((x[:, None] - x[::5]) ** 2) / 0.3)
    y, w = np.sin(9 * x) + 0.01 * rng.normal(size=200), np.ones(200)
    choice = accumulated(kernel, y, w, "qr").choose(penalty=kernel[::5])
    assert choice.reason.value == "evidence maximum"
    with pytest.raises(ValueError, match=r"down to regularizer .* only") as refused:
        accumulated(kernel, y, w, "sums").choose(penalty=kernel[::5])
    assert "Whitening" in str(refused.value)
    whitening = rg.Whitening(kernel[::5])
    whitened = accumulated(whitening.rows(kernel), y, w, "sums").choose(penalty=whitening.penalty)
    np.testing.assert_allclose(choice.log_evidence, whitened.log_evidence, atol=0.5)


def test_leave_one_out_at_small_regularizers():
    """Leaving a row out is refitting without it: exact weights of the others, by mended rows."""
    F, y, w = ill_conditioned(noise=1e-7)
    path = rg.regularizer_path(accumulated(F, y, w, "qr"), [1e-20, 1e-16])
    errors = []
    for regularizer in path.regularizers:
        left = []
        for i in range(len(F)):
            rest = np.arange(len(F)) != i
            coef = accumulated(F[rest], y[rest], w[rest], "qr").factorize(regularizer).coef
            left.append(w[i] * (y[i] - F[i] @ coef) ** 2)
        errors.append(np.sqrt(np.sum(left) / w.sum()))
    np.testing.assert_allclose(path.score(F, y, "loo", weights=w), errors, rtol=1e-3)


@pytest.mark.parametrize("size", [2, 7, 40])
def test_blocks_left_out_at_small_regularizers(size):
    """Blocks of fewer rows than features, and of more: refitting without them."""
    F, y, w = ill_conditioned(n=120, noise=1e-7)
    blocks = np.arange(120) // size
    path = rg.regularizer_path(accumulated(F, y, w, "qr"), [1e-22, 1e-20, 1e-16])
    errors = []
    for regularizer in path.regularizers:
        left = 0.0
        for block in np.unique(blocks):
            out = blocks == block
            coef = accumulated(F[~out], y[~out], w[~out], "qr").factorize(regularizer).coef
            left += np.sum(w[out] * (y[out] - F[out] @ coef) ** 2)
        errors.append(np.sqrt(left / w.sum()))
    np.testing.assert_allclose(path.score(F, y, "loo", weights=w, blocks=blocks), errors, rtol=1e-3)
    sums = rg.regularizer_path(accumulated(F, y, w, "sums"), path.regularizers)
    assert np.isnan(sums.score(F, y, "loo", weights=w, blocks=blocks)).all()


def test_an_undetermined_free_feature():
    F, y, w = ill_conditioned()
    F[:, 3] = F[:, 2]
    penalty = np.ones(8)
    penalty[[2, 3]] = 0.0
    with pytest.raises(rg.NotPositiveDefiniteError, match="do not determine unpenalised feature"):
        rg.regularizer_path(accumulated(F, y, w, "qr"), penalty=penalty)
    F[:, 3] = 0.0
    with pytest.raises(rg.NotPositiveDefiniteError, match="unpenalised feature 3"):
        rg.regularizer_path(accumulated(F, y, w, "qr"), penalty=penalty)


def test_without_targets_and_without_rows():
    F, _, _ = ill_conditioned()
    covariance = rg.Covariance(8, accumulation="qr")
    with pytest.raises(ValueError, match="nothing was summed"):
        rg.regularizer_path(covariance)
    covariance.update(F)
    path = rg.regularizer_path(covariance)
    hessian = covariance.factorize(path.regularizers[80])  # 1e-20
    np.testing.assert_allclose(path.variance(F)[80], hessian.variance(F), rtol=1e-5)
    with pytest.raises(rg.NotFittedError):
        path.coef  # noqa: B018
    with pytest.raises(ValueError, match="penalty is zero"):
        rg.regularizer_path(covariance, penalty=np.zeros(8))
