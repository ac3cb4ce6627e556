"""Errors of each term from sums against the rows; evidence of term weights against the dense normal; learned ratios."""

import warnings

import numpy as np
import pytest
import reference
from problems import data

import rigidities as rg

LOSS = rg.Loss(energy=rg.Term(), forces=rg.Term())
ALL = rg.Loss(energy=rg.Term(), forces=rg.Term(), virial=rg.Term())
NOISE = {"energy": 0.1, "forces": 0.5, "virial": 2.0}
EPS = np.finfo(np.float64).eps


def made(loss=LOSS, sizes=(40, 90, 60), p=6, seed=0, noise=NOISE, weighted=False, k=None):
    """Rows of a linear model, whose noise is another for each term: scaled by 1/√w where they have weights."""
    random = np.random.default_rng(seed)
    theta = random.normal(size=p if k is None else (p, k))
    batch = {}
    for (name, term), n in zip(loss.terms.items(), sizes, strict=False):
        F = random.normal(size=(n, p)) * np.logspace(0, -1, p)
        w = random.uniform(0.2, 5.0, n) if weighted else np.ones(n)
        y = F @ theta
        y += noise[name] * random.normal(size=y.shape) / np.sqrt(w if k is None else w[:, None])
        batch[name] = rg.TermRows(F, term=term, weights=w if weighted else None, targets=y)
    return batch


def dense(batch, loss):
    """Rows, targets and weights of a loss, end to end; a term of weight 0 is left out."""
    parts = [(batch[name], term.weight) for name, term in loss.terms.items() if term.weight > 0]
    w = [weight * (np.ones(len(part)) if part.weights is None else part.weights) for part, weight in parts]
    return (
        np.concatenate([p.values for p, _ in parts]),
        np.concatenate([p.targets for p, _ in parts]),
        np.concatenate(w),
    )


def root_mean_square(rows, theta):
    w = np.ones(len(rows)) if rows.weights is None else rows.weights
    return np.sqrt(w @ (rows.targets - rows.values @ theta) ** 2 / (w > 0).sum())


def rounding(rows, theta, unit=EPS / 2):
    """By how much rounding of the sums may change √(Σwr²/n), relatively."""
    w = np.ones(len(rows)) if rows.weights is None else rows.weights
    n, p = rows.values.shape
    size = np.sqrt(w @ rows.targets**2) + np.abs(theta) @ np.sqrt(w @ rows.values**2)
    return 0.5 * unit * np.sqrt(n + p) * size**2 / (n * root_mean_square(rows, theta) ** 2)


# ---- errors


@pytest.mark.parametrize("weighted", [True, False])
def test_errors_are_those_of_the_rows(weighted):
    batch = made(ALL, weighted=weighted)
    if weighted:
        batch["forces"].weights[::4] = 0  # counts neither in the squares nor in n
    coefs = np.random.default_rng(1).normal(size=(5, 6))
    for weights in ({}, {"energy": 30.0, "forces": 0.0}):  # a term's weight is not in it
        sums = rg.LossSums(ALL.with_weights(**weights), rg.loss_sums([batch]).covariances)
        errors = sums.errors(coefs)
        assert list(errors) == ["energy", "forces", "virial"]
        for name, rows in batch.items():
            assert errors[name].shape == (5,)
            expected = [root_mean_square(rows, theta) for theta in coefs]
            rtol = max(rounding(rows, theta) for theta in coefs)
            np.testing.assert_allclose(errors[name], expected, rtol=rtol)
            assert rtol < 1e-12
    one = sums.errors(coefs[2])
    assert one == {name: pytest.approx(values[2], rel=1e-12) for name, values in errors.items()}
    assert isinstance(one["energy"], float)


def test_errors_along_a_path():
    batch = made()
    sums = rg.loss_sums([batch])
    path = rg.regularizer_path(sums.combined(), np.logspace(-3, 3, 4))
    for name, errors in sums.errors(path.coef).items():
        np.testing.assert_allclose(errors, [root_mean_square(batch[name], theta) for theta in path.coef], rtol=1e-12)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1.0, 1e5, 1e-5])
def test_errors_are_true_or_nan(precision, scale):
    """Fewer targets than features, fitted ever more closely: Σwr² falls to nothing beside Σwy²."""
    random = np.random.default_rng(2)
    F, y = scale * random.normal(size=(20, 50)), random.normal(size=20)
    U, s, Vt = np.linalg.svd(F, full_matrices=False)
    shares = np.logspace(0, -16, 60)  # what is left of y
    thetas = np.array([Vt.T @ ((1 - share) * (U.T @ y) / s) for share in shares])
    covariance = rg.Covariance(50, precision=precision)
    covariance.update(F, targets=y)
    errors = rg.LossSums(rg.Loss(energy=rg.Term()), {"energy": covariance}).errors(thetas)["energy"]
    known = ~np.isnan(errors)
    assert (np.diff(known.astype(int)) <= 0).all()  # down to some residual, all
    assert 0.1 < known.mean() < 0.6
    expected = shares * np.sqrt(np.mean(y**2))  # exact, where the residual y − Fθ is not
    assert np.abs(errors / expected - 1)[known].max() < 0.05  # a tenth of the squares: what is promised
    unit = np.finfo(precision).eps / 2
    rows = rg.TermRows(F, term=rg.Term(), targets=y)
    n, p = F.shape
    size = np.linalg.norm(y) + np.abs(thetas) @ np.linalg.norm(F, axis=0)
    bound = unit * np.sqrt(n + p) * size**2
    np.testing.assert_array_equal(known, n * expected**2 > 10 * bound)
    if precision == "float64":
        assert root_mean_square(rows, thetas[-1]) < 1e-13  # the rows do tell it, the sums cannot


def test_errors_of_a_term_without_rows_are_nan():
    batch = made()
    none = rg.TermRows(np.zeros((0, 6)), term=rg.Term(), targets=np.zeros(0))
    errors = rg.loss_sums([{**batch, "virial": none}]).errors(np.ones(6))
    assert np.isnan(errors["virial"])
    assert errors["forces"] == rg.loss_sums([batch]).errors(np.ones(6))["forces"]


@pytest.mark.parametrize(
    ("coef", "error", "message"),
    [
        (np.ones(5), ValueError, r"coef has shape \(5,\): expected \(6,\) or \(n_coefs, 6\)"),
        (np.ones((1, 2, 6)), ValueError, r"coef has shape \(1, 2, 6\)"),
        (1.0, ValueError, r"coef has shape \(\)"),
        (np.r_[np.ones(5), np.nan], ValueError, "coef has a NaN or an infinite entry"),
        (["a"] * 6, TypeError, "coef has dtype"),
    ],
)
def test_errors_of_what_is_no_fit_are_refused(coef, error, message):
    with pytest.raises(error, match=message):
        rg.loss_sums([made()]).errors(coef)


def test_errors_need_targets_of_one_output():
    batch = made()
    blind = {name: rg.TermRows(rows.values, term=rows.term) for name, rows in batch.items()}
    with pytest.raises(rg.NotFittedError, match="a training error needs targets, and none were accumulated"):
        rg.loss_sums([blind]).errors(np.ones(6))
    with pytest.raises(ValueError, match="the targets have 2 outputs"):
        rg.loss_sums([made(k=2)]).errors(np.ones(6))


# ---- scan

WEIGHTS = [{"energy": 1.0}, {"energy": 25.0, "forces": 1.0}, {"energy": 3.0, "forces": 40.0}]


@pytest.mark.parametrize("kind", [None, "diagonal", "matrix"])
@pytest.mark.parametrize("weighted", [True, False])
def test_evidence_of_a_scan_is_the_dense_one(kind, weighted):
    """y_k ~ N(0, s²((W_k w)⁻¹ + f(λΛ)⁻¹fᵀ)) at the best s², and the errors those of the dense fit."""
    random = np.random.default_rng(3)
    A = random.normal(size=(6, 6))
    penalty = {None: None, "diagonal": random.uniform(0.5, 3, 6), "matrix": A @ A.T + np.eye(6)}[kind]
    batch = made(weighted=weighted)
    sums = rg.loss_sums([batch])
    losses = [LOSS.with_weights(**weights) for weights in WEIGHTS]
    scan = rg.scan_term_weights(sums, losses, penalty=penalty)
    assert scan.losses == tuple(losses)
    assert scan.best is losses[np.argmax(scan.log_evidence)]
    assert scan.best is losses[1]
    for i, loss in enumerate(losses):
        F, y, w = dense(batch, loss)
        lam = scan.regularizers[i]
        expected = [reference.log_evidence(F, y, c * lam, w, penalty) for c in (0.97, 1.0, 1.03)]
        # as in test_evidence: the condition of the dense matrix, as many digits of s² in n/2·ln s²
        Q = (w @ F**2).sum() * np.linalg.cond(reference.penalty_matrix(penalty, 6)) / lam * w.max() / w.min()
        atol = 10 * len(F) * EPS * (1 + Q)
        assert atol < 1e-3
        np.testing.assert_allclose(scan.log_evidence[i], expected[1], rtol=0, atol=atol)
        assert expected[1] > max(expected[0], expected[2])  # at its top
        H = reference.hessian(reference.covariance(F, weights=w), lam, penalty)
        theta = np.linalg.solve(H, F.T @ (w * y))
        for name, rows in batch.items():
            np.testing.assert_allclose(scan.errors[name][i], root_mean_square(rows, theta), rtol=1e-10)


def test_a_scan_agrees_with_auto_where_the_penalty_gets_jitter():
    """A kernel matrix of points that are alike: 12 features of rank 3, and data of the same rank."""
    random = np.random.default_rng(4)
    B, theta = random.normal(size=(3, 12)), random.normal(size=12)
    batch = {}
    for name, term in LOSS.terms.items():
        F = random.normal(size=(50, 3)) @ B
        batch[name] = rg.TermRows(F, term=term, targets=F @ theta + 0.1 * random.normal(size=50))
    sums = rg.loss_sums([batch])
    scan = rg.scan_term_weights(sums, [LOSS.with_weights(energy=2.0)], penalty=B.T @ B)
    hessian = sums.combined(scan.losses[0]).factorize(penalty=B.T @ B)
    assert "jitter" in hessian.regularizer_reason
    assert scan.regularizers[0] == hessian.regularizer
    assert {k: v[0] for k, v in scan.errors.items()} == sums.errors(hessian.coef)


def test_a_term_of_weight_zero_has_errors_and_no_say():
    sums = rg.loss_sums([made()])
    with_zero, without = LOSS.with_weights(forces=0.0), rg.Loss(energy=LOSS.energy)
    scan = rg.scan_term_weights(sums, [with_zero, without])
    assert scan.log_evidence[0] == scan.log_evidence[1]
    assert (scan.errors["forces"] > 0.3).all()


def edge_data():
    """Exact targets: the evidence rises as long as the residual is resolved."""
    F, _, _ = data(60, 6)
    y = F.sum(axis=1)
    parts = {"energy": slice(0, None, 2), "forces": slice(1, None, 2)}
    return {name: rg.TermRows(F[part], term=rg.Term(), targets=y[part]) for name, part in parts.items()}


def test_the_edge_of_what_is_resolved_is_said():
    sums = rg.loss_sums([edge_data()])
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="for 2 of 2 losses the evidence is largest at") as caught:
        scan = rg.scan_term_weights(sums, [LOSS, LOSS.with_weights(forces=2.0)])
    assert [w.filename for w in caught] == [__file__]
    assert not np.isnan(scan.log_evidence).any()


def test_what_is_resolved_nowhere_is_nan():
    """Two columns alike, both unpenalised: H is singular at every λ."""
    batch = made()
    for rows in batch.values():
        rows.values[:, 1] = rows.values[:, 0]
    sums, penalty = rg.loss_sums([batch]), np.r_[0.0, 0.0, np.ones(4)]
    scan = rg.scan_term_weights(sums, [LOSS], penalty=penalty)
    assert all(np.isnan(values).all() for values in (scan.regularizers, scan.log_evidence, *scan.errors.values()))
    with pytest.raises(ValueError, match="the evidence is not resolved for any of the losses"):
        scan.best  # noqa: B018
    with pytest.raises(ValueError, match="the evidence is not resolved at any weights"):
        rg.most_probable_weights(sums, penalty=penalty)


@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        ([], ValueError, "there are no losses: expected at least one"),
        ([LOSS, "energy"], TypeError, r"losses\[1\] is a str: expected a Loss"),
        ([ALL], ValueError, "the loss has a term 'virial', but rows only of energy, forces"),
        ([LOSS.with_weights(energy=0, forces=0)], ValueError, r"losses\[0\] gives no term a positive weight"),
        (
            [LOSS, LOSS.with_weights(forces=0)],
            ValueError,
            r"losses\[0\] weighs energy, forces but losses\[1\] energy: likelihoods of different data",
        ),
        (
            [rg.Loss(energy=rg.Term(huber=1.0))],
            ValueError,
            "energy has a Huber threshold, which sums of squares cannot",
        ),
    ],
)
def test_what_cannot_be_scanned_is_refused(losses, error, message):
    with pytest.raises(error, match=message):
        rg.scan_term_weights(rg.loss_sums([made()]), losses)


def test_weights_need_sums_with_targets():
    blind = {name: rg.TermRows(rows.values, term=rows.term) for name, rows in made().items()}
    with pytest.raises(rg.NotFittedError, match="the evidence of weights needs targets"):
        rg.scan_term_weights(rg.loss_sums([blind]), [LOSS])
    with pytest.raises(rg.NotFittedError, match="the evidence of weights needs targets"):
        rg.most_probable_weights(rg.loss_sums([blind]))
    with pytest.raises(TypeError, match="sums is a Covariance: expected LossSums, which loss_sums returns"):
        rg.most_probable_weights(rg.Covariance(3))


# ---- the weights of the largest evidence


def learned(loss, first="energy"):
    """Noise of each term over that of the first."""
    weights = {name: term.weight for name, term in loss.terms.items()}
    return {name: np.sqrt(weights[first] / weight) for name, weight in weights.items() if name != first}


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("loss", [LOSS, ALL])
def test_the_noise_ratio_is_learned(loss, weighted):
    """ln s² of n targets less p features has a standard deviation of √(2/(n − p)); the search adds 1e-3."""
    sizes, p = (400, 3000, 1000), 20
    sums = rg.loss_sums([made(loss, sizes, p, weighted=weighted)])
    best = rg.most_probable_weights(sums)
    assert best.energy == loss.energy
    for (name, ratio), n in zip(learned(best).items(), sizes[1:], strict=False):
        margin = 4 * 0.5 * np.sqrt(2 / (sizes[0] - p) + 2 / (n - p)) + 1e-3
        assert margin < 0.2
        assert abs(np.log(ratio / (NOISE[name] / NOISE["energy"]))) < margin


@pytest.mark.parametrize("loss", [LOSS, ALL])
def test_the_learned_weights_are_a_maximum(loss):
    sums = rg.loss_sums([made(loss)])
    best = rg.most_probable_weights(sums)
    near = [best] + [
        best.with_weights(**{name: factor * getattr(best, name).weight})
        for name in list(loss.terms)[1:]
        for factor in (0.8, 1.25)
    ]
    evidence = rg.scan_term_weights(sums, near).log_evidence
    assert np.argmax(evidence) == 0


def test_a_factor_common_to_all_weights_changes_nothing():
    """λ goes along, s² too."""
    sums = rg.loss_sums([made(weighted=True)])
    one, other = LOSS.with_weights(energy=3.0), LOSS.with_weights(energy=3e4, forces=1e4)
    scan = rg.scan_term_weights(sums, [one, other])
    np.testing.assert_allclose(scan.log_evidence[1], scan.log_evidence[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(scan.regularizers[1], 1e4 * scan.regularizers[0], rtol=1e-4)
    for errors in scan.errors.values():
        np.testing.assert_allclose(errors[1], errors[0], rtol=1e-5)
    ratios = [learned(rg.most_probable_weights(sums, loss))["forces"] for loss in (one, other)]
    np.testing.assert_allclose(ratios[1], ratios[0], rtol=1e-3)


def test_from_where_the_search_begins_does_not_matter():
    sums = rg.loss_sums([made()])
    ratios = [learned(rg.most_probable_weights(sums, LOSS.with_weights(forces=w)))["forces"] for w in (3e-9, 1, 4e7)]
    # to the precision of the search, 1e-3 in ln W, from either side
    np.testing.assert_allclose(ratios, ratios[1], rtol=1e-3)


def test_terms_without_a_say_keep_their_weights():
    batch = made(ALL)
    without = rg.most_probable_weights(rg.loss_sums([{name: batch[name] for name in LOSS.terms}]))
    zero = rg.most_probable_weights(rg.loss_sums([batch]), ALL.with_weights(virial=0.0))
    assert zero == rg.Loss(energy=without.energy, forces=without.forces, virial=rg.Term(weight=0.0))
    none = rg.TermRows(np.zeros((0, 6)), term=rg.Term(), targets=np.zeros(0))
    empty = rg.most_probable_weights(rg.loss_sums([{**batch, "virial": none}]))
    assert empty == rg.Loss(energy=without.energy, forces=without.forces, virial=rg.Term())


def test_where_there_is_no_maximum_it_is_said():
    sums = rg.loss_sums([made()])
    with pytest.raises(ValueError, match="no maximum within 16 decades of the weights of forces: start nearer"):
        rg.most_probable_weights(sums, LOSS.with_weights(forces=1e20))
    # three energies among six features can be fitted without residuals: the evidence is flat from
    # some weight on
    few = rg.loss_sums([made(sizes=(3, 90), noise={"energy": 0.0, "forces": 0.5})])
    with pytest.raises(ValueError, match="the targets do not determine the noise of every term"):
        rg.most_probable_weights(few)


def test_the_edge_of_what_is_resolved_is_said_of_the_most_probable_weights():
    batch = edge_data()
    random = np.random.default_rng(5)
    for rows in batch.values():
        rows.targets[:] += 1e-12 * random.normal(size=len(rows))
    with pytest.warns(rg.UnresolvedEvidenceWarning, match="at the most probable weights the evidence is") as caught:
        rg.most_probable_weights(rg.loss_sums([batch]))
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (LOSS.with_weights(forces=0.0), "there is no ratio to learn with energy alone: expected two terms or more"),
        (LOSS.with_weights(energy=0.0, forces=0.0), "loss gives no term a positive weight"),
        (rg.Loss(energy=rg.Term(), forces=rg.Term(huber=1.0)), "forces has a Huber threshold"),
        (ALL, "the loss has a term 'virial', but rows only of energy, forces"),
    ],
)
def test_what_has_no_ratio_is_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        rg.most_probable_weights(rg.loss_sums([made()]), loss)


def test_nothing_is_said_where_all_is_well():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rg.most_probable_weights(rg.loss_sums([made()]))
    assert said == []
