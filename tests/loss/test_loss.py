"""The loss, its sums and its fit, on made-up rows; energies of the composition."""

import pickle
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
from loss_batches import LOSS, P, batches, dense
from scipy.linalg import lstsq
from scipy.optimize import minimize

import rigidities as rg
from rigidities.loss.rules import REASONS

# ---- loss and terms


def test_a_loss_is_plain_and_frozen():
    assert pickle.loads(pickle.dumps(LOSS)) == LOSS
    assert hash(LOSS) == hash(rg.Loss(energy=rg.Term(2), forces=rg.Term(np.float32(0.5))))
    fields = {name: term and rg.Term(**term) for name, term in asdict(LOSS).items()}
    assert rg.Loss(**fields) == LOSS
    with pytest.raises(FrozenInstanceError):
        LOSS.energy = None


def test_terms_and_other_weights():
    assert list(LOSS.terms) == ["energy", "forces"]
    other = LOSS.with_weights(forces=3.0)
    assert (other.energy, other.forces) == (LOSS.energy, rg.Term(weight=3.0))
    with pytest.raises(ValueError, match="no term 'virial' to weigh: the loss has energy, forces"):
        LOSS.with_weights(virial=1.0)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"weight": -1.0}, ValueError, "weight is -1: expected a number from 0"),
        ({"weight": np.nan}, ValueError, "weight is nan: expected a number from 0, finite"),
        ({"weight": "1"}, TypeError, "weight is '1': expected a number from 0"),
        ({"weight": True}, TypeError, "weight is True"),
        ({"huber": 0.0}, ValueError, "huber is 0: expected a positive threshold, or None for squares"),
        ({"huber": np.inf}, ValueError, "huber is inf: expected a positive threshold, or None, finite"),
        ({"per_atom": 1}, TypeError, "per_atom is 1: expected True or False"),
        ({"missing": "drop"}, ValueError, "missing is 'drop': expected 'refuse' or 'skip'"),
        ({"target": 3}, TypeError, "target is 3: expected the name under which structures carry it"),
        ({"weights": ""}, TypeError, "weights is '': expected the name"),
        ({"weights": np.ones(3)}, TypeError, "weights is array"),
    ],
)
def test_terms_without_meaning_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        rg.Term(**fields)


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ({}, ValueError, "the loss has no term: give at least one"),
        ({"forces": 0.1}, TypeError, r"forces is 0\.1: expected a Term or None, e\.g\. Term\(weight=0\.1\)"),
        ({"forces": rg.Term(per_atom=True)}, ValueError, "forces are per atom already"),
    ],
)
def test_losses_without_meaning_are_refused(terms, error, message):
    with pytest.raises(error, match=message):
        rg.Loss(**terms)


# ---- sums


@pytest.mark.parametrize("weighted", [True, False])
def test_sums_are_those_of_the_weighted_rows(weighted):
    rows = batches(weighted=weighted)
    sums = rg.loss_sums(rows)
    assert sums.loss == LOSS
    assert {name: c.n_rows for name, c in sums.covariances.items()} == {"energy": 12, "forces": 45}
    for loss in (LOSS, LOSS.with_weights(energy=0.3), rg.Loss(forces=LOSS.forces)):
        X, y, w = dense(rows, loss)
        combined = sums.combined(loss)
        # sums of some 60 rows of order 1: a few ulp each
        np.testing.assert_allclose(combined.matrix(), (X.T * w) @ X, rtol=0, atol=1e-13 * len(X))
        hessian = combined.factorize(0.1)
        expected = lstsq(
            np.vstack([X * np.sqrt(w)[:, None], np.sqrt(0.1) * np.eye(P)]), np.append(np.sqrt(w) * y, np.zeros(P))
        )[0]
        np.testing.assert_allclose(hessian.coef, expected, rtol=1e-12)


def test_combining_leaves_the_sums_alone():
    sums = rg.loss_sums(batches())
    before = sums.covariances["energy"].matrix()
    sums.combined()
    sums.combined(LOSS.with_weights(energy=7.0))
    np.testing.assert_array_equal(sums.covariances["energy"].matrix(), before)


def test_a_term_of_weight_zero_says_nothing():
    sums = rg.loss_sums(batches())
    combined = sums.combined(LOSS.with_weights(energy=0.0))
    alone = sums.combined(rg.Loss(forces=LOSS.forces))
    np.testing.assert_array_equal(combined.matrix(), alone.matrix())
    assert combined.n_rows == alone.n_rows


def test_sums_of_parts_add_up():
    rows = batches()
    parts = rg.loss_sums(rows[:1]) + rg.loss_sums(rows[1:])
    np.testing.assert_allclose(parts.combined().matrix(), rg.loss_sums(rows).combined().matrix(), rtol=1e-13)
    with pytest.raises(ValueError, match="cannot add sums of another loss"):
        parts + rg.loss_sums(batches(rg.Loss(energy=rg.Term())))
    with pytest.raises(TypeError):
        parts + 1


def test_sums_survive_pickling():
    sums = rg.loss_sums(batches())
    again = pickle.loads(pickle.dumps(sums))
    assert again.loss == sums.loss
    np.testing.assert_array_equal(again.combined().matrix(), sums.combined().matrix())


def test_batches_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="there are no rows: expected at least one batch"):
        rg.loss_sums([])
    with pytest.raises(ValueError, match="a batch is of another loss"):
        rg.loss_sums(batches() + batches(rg.Loss(energy=rg.Term())))
    with pytest.raises(ValueError, match="a batch has rows of 'charge': expected some of energy, forces, virial"):
        rg.loss_sums([{"charge": batches()[0]["energy"]}])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (rg.Loss(virial=rg.Term()), "the loss has a term 'virial', but rows only of energy, forces"),
        (
            rg.Loss(energy=rg.Term(per_atom=True)),
            "the rows of energy were made for .* only weight and huber may change",
        ),
        (
            rg.Loss(energy=rg.Term(huber=1.0)),
            "energy has a Huber threshold, which sums of squares cannot describe: use fit",
        ),
    ],
)
def test_sums_of_another_loss_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        rg.loss_sums(batches()).combined(loss)


# ---- fit


def objective(coef, rows, loss, regularizer, penalty):
    """The loss as it is written in `rigidities.loss`."""
    total = 0.5 * regularizer * coef @ penalty @ coef
    for batch in rows:
        for name, term in loss.terms.items():
            r = np.abs(batch[name].targets - batch[name].values @ coef)
            delta = np.inf if term.huber is None else term.huber
            rho = np.where(r < delta, r**2 / 2, np.minimum(delta, 1e9) * (r - np.minimum(delta, 1e9) / 2))
            total += term.weight * np.sum(rho if batch[name].weights is None else batch[name].weights * rho)
    return total


def test_squares_are_fitted_at_once():
    rows = batches()
    fit = rg.fit_loss(rows, regularizer=0.1)
    expected = rg.loss_sums(rows).combined().factorize(0.1)
    np.testing.assert_array_equal(fit.coef, expected.coef)
    np.testing.assert_array_equal(fit.hessian.coef, expected.coef)
    assert (fit.n_iterations, fit.converged, fit.loss) == (0, True, LOSS)
    once = rg.fit_loss(iter(rows), LOSS.with_weights(energy=2.0), regularizer=0.1)
    np.testing.assert_array_equal(once.coef, fit.coef)


@pytest.mark.parametrize("penalty", [None, "diagonal", "matrix"])
def test_huber_fits_are_at_the_minimum(penalty):
    loss = rg.Loss(energy=rg.Term(weight=2.0, huber=0.3), forces=rg.Term(weight=0.5, huber=0.2), virial=rg.Term())
    rows = batches(loss, outliers=1.0)
    matrix = {None: np.eye(P), "diagonal": np.diag(np.arange(1.0, P + 1)), "matrix": np.eye(P) + 0.1}[penalty]
    given = {None: None, "diagonal": np.diag(matrix), "matrix": matrix}[penalty]
    fit = rg.fit_loss(rows, regularizer=0.3, penalty=given, tolerance=1e-14)
    assert fit.converged
    assert 2 < fit.n_iterations < 100
    found = minimize(
        objective, np.zeros(P), args=(rows, loss, 0.3, matrix), tol=1e-10, method="BFGS", options={"gtol": 1e-7}
    )
    assert fit.objective == pytest.approx(objective(fit.coef, rows, loss, 0.3, matrix), rel=1e-12)
    assert fit.objective <= found.fun * (1 + 1e-12)
    # the loss is flat to second order: 1e-14 of it is 1e-7 of the weights
    np.testing.assert_allclose(fit.coef, found.x, atol=1e-5)


def test_the_hessian_of_a_huber_fit_is_the_second_derivative():
    loss = rg.Loss(energy=rg.Term(weight=2.0, huber=0.3), forces=rg.Term(weight=0.5, huber=0.2))
    rows = batches(loss, outliers=1.0)
    fit = rg.fit_loss(rows, regularizer=0.3)
    H = 0.3 * np.eye(P)
    n_inside = 0
    for batch in rows:
        for name, term in loss.terms.items():
            part = batch[name]
            inside = np.abs(part.targets - part.values @ fit.coef) < term.huber
            n_inside += inside.sum()
            H += (part.values.T * (term.weight * part.weights * inside)) @ part.values
    assert 0 < n_inside < sum(len(part) for batch in rows for part in batch.values())
    np.testing.assert_allclose(fit.hessian.solve(np.eye(P)), np.linalg.inv(H), rtol=1e-10, atol=1e-14)
    assert fit.hessian.n_rows == n_inside
    with pytest.raises(rg.NotFittedError):
        _ = fit.hessian.coef


def test_thresholds_beyond_all_residuals_leave_squares():
    loss = rg.Loss(**{name: replace(term, huber=1e6) for name, term in LOSS.terms.items()})
    fit, squares = rg.fit_loss(batches(loss), regularizer=0.1), rg.fit_loss(batches(), regularizer=0.1)
    np.testing.assert_allclose(fit.coef, squares.coef, rtol=1e-12)
    np.testing.assert_allclose(fit.hessian.log_determinant, squares.hessian.log_determinant, rtol=1e-12)


def test_thresholds_can_be_given_with_the_fit():
    rows = batches(outliers=1.0)
    loss = rg.Loss(forces=rg.Term(weight=0.5, huber=0.2))
    fit = rg.fit_loss(rows, loss, regularizer=0.3)
    made_for = [{"forces": replace(batch["forces"], term=loss.forces)} for batch in rows]
    np.testing.assert_array_equal(fit.coef, rg.fit_loss(made_for, regularizer=0.3).coef)


@pytest.mark.parametrize("rule", ["evidence", "gcv", "loo"])
def test_a_rule_takes_the_best_of_the_path_of_squares(rule):
    loss = rg.Loss(energy=rg.Term(weight=2.0), forces=rg.Term(weight=0.5))
    rows = batches(loss, outliers=0.1)
    penalty = np.arange(1.0, P + 1)
    fit = rg.fit_loss(rows, regularizer=rule, penalty=penalty)
    path = rg.regularizer_path(rg.loss_sums(rows).combined(LOSS), penalty=penalty)
    if rule == "loo":
        expected = path.regularizers[::4][np.argmin(fit.left_out)]
    else:
        expected = path.best(rule)
        np.testing.assert_array_equal(fit.path.regularizers, path.regularizers)
        assert fit.left_out is None
    assert fit.hessian.regularizer == expected
    assert fit.hessian.reason is REASONS[rule]
    np.testing.assert_array_equal(fit.coef, rg.fit_loss(rows, regularizer=expected, penalty=penalty).coef)
    assert fit.energies is None


def test_sums_of_squares_are_there_after_the_fit():
    loss = rg.Loss(energy=rg.Term(weight=2.0), forces=rg.Term(weight=0.5))
    rows = batches(loss)
    fit = rg.fit_loss(rows)
    assert fit.path is None
    squares = rg.loss_sums(rows).combined(LOSS)
    np.testing.assert_array_equal(fit.covariance.matrix(), squares.matrix())
    again = fit.covariance.factorize()
    assert fit.hessian.regularizer == again.regularizer
    assert fit.hessian.regularizer_reason == again.regularizer_reason
    np.testing.assert_array_equal(again.coef, squares.factorize().coef)


def test_energies_are_kept_where_that_is_asked_for():
    for weighted in (True, False):
        rows = batches(weighted=weighted)
        kept = rg.fit_loss(rows, LOSS.with_weights(energy=3.0), regularizer=0.1, keep_energies=True).energies
        X, y, w = dense(rows, rg.Loss(energy=rg.Term(weight=3.0)))
        for found, expected in ((kept.values, X), (kept.targets, y), (kept.weights_in_loss, w)):
            np.testing.assert_array_equal(found, expected)
    forces = rg.Loss(forces=LOSS.forces)
    assert rg.fit_loss(batches(), forces, regularizer=0.1, keep_energies=True).energies is None
    assert rg.fit_loss(batches(forces), regularizer=0.1, keep_energies=True).energies is None


def test_a_fit_that_does_not_settle_says_so():
    loss = rg.Loss(forces=rg.Term(huber=0.01))
    with pytest.warns(
        rg.NotConvergedWarning, match="the loss still falls after 2 re-weighted fits: .* Raise max_iterations"
    ):
        fit = rg.fit_loss(batches(loss, outliers=1.0), regularizer=0.1, max_iterations=2)
    assert not fit.converged


def test_fits_that_cannot_be_are_refused():
    huber = rg.Loss(forces=rg.Term(huber=0.1))
    with pytest.raises(ValueError, match="these can be read only once: pass a list"):
        rg.fit_loss(iter(batches(huber)), regularizer=0.1)
    with pytest.raises(ValueError, match="the rows of energy have no targets: there is nothing to fit"):
        rg.fit_loss(batches(targets=False), regularizer=0.1)
    with pytest.raises(ValueError, match="the loss has a term 'virial'"):
        rg.fit_loss(batches(), rg.Loss(virial=rg.Term()), regularizer=0.1)
    with pytest.raises(ValueError, match="regularizer is 'much': expected a number, or auto, evidence, gcv, loo"):
        rg.fit_loss(batches(), regularizer="much")
    with pytest.raises(TypeError, match="regularizer is None: expected a number"):
        rg.fit_loss(batches(), regularizer=None)
    with pytest.raises(ValueError, match=r"tolerance is -1\.0: expected a number from 0"):
        rg.fit_loss(batches(), regularizer=0.1, tolerance=-1.0)
    with pytest.raises(ValueError, match="max_iterations is 0: expected at least 1"):
        rg.fit_loss(batches(), regularizer=0.1, max_iterations=0)


# ---- energies of the composition


def test_baselines_are_least_squares_of_energies_per_atom():
    random = np.random.default_rng(1)
    numbers = [random.choice([1, 8], size=n) for n in (3, 7, 12, 4)]
    energies = random.normal(size=4)
    baseline = rg.Baseline.fit(numbers, energies)
    shares = np.array([[(entry == 1).mean(), (entry == 8).mean()] for entry in numbers])
    expected = lstsq(shares, energies / [3, 7, 12, 4])[0]
    assert baseline.species == (1, 8)
    np.testing.assert_allclose(baseline.energies, expected, rtol=1e-12)
    exact = rg.Baseline.fit(numbers, [(entry == 1).sum() - 2.0 * (entry == 8).sum() for entry in numbers])
    np.testing.assert_allclose(exact.energies, [1, -2], rtol=1e-12)


def test_species_that_always_come_together_share_their_energy():
    baseline = rg.Baseline.fit([[11, 17], [11, 17, 17, 11]], [-2.0, -4.0])
    assert baseline.energy([17, 11]) == pytest.approx(-2.0, rel=1e-14)


def test_a_baseline_is_sorted_and_frozen():
    baseline = rg.Baseline({17: -2, 11: -1.0})
    assert (baseline.species, baseline.energies) == ((11, 17), (-1.0, -2.0))
    assert baseline == rg.Baseline({11: -1.0, 17: -2.0})
    assert baseline.energy([]) == 0.0
    with pytest.raises(FrozenInstanceError):
        baseline.species = ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rg.Baseline({}), "the baseline is empty"),
        (lambda: rg.Baseline({14: np.nan}), "the baseline of species 14 is nan: expected an energy per atom, finite"),
        (lambda: rg.Baseline({14: -1.0}).energy([14, 32]), "the baseline has no energy for atomic number 32: add it"),
        (lambda: rg.Baseline.fit([], []), "0 structures, but energies of shape .*: expected one each"),
        (lambda: rg.Baseline.fit([[14]], [1.0, 2.0]), r"1 structures, but energies of shape \(2,\)"),
        (lambda: rg.Baseline.fit([[14], []], [1.0, 2.0]), "structure 1 has no atoms"),
        (lambda: rg.Baseline.fit([[14]], [np.inf]), "the energy of structure 0 is inf"),
    ],
)
def test_baselines_without_meaning_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ["diagonal", "matrix"])
def test_a_guaranteed_regularizer_keeps_its_jitter_in_a_huber_fit(kind):
    """The third feature is neither penalised nor in the data: only the jitter makes H definite."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(30, 3))
    F[:, 2] = 0.0
    y = F @ [1.0, 2.0, 0.0] + rng.normal(size=30)
    penalty = np.array([1.0, 1.0, 0.0]) if kind == "diagonal" else np.diag([1.0, 1.0, 0.0])
    squares, huber = (
        rg.fit_loss([{"energy": rg.TermRows(F, term=rg.Term(huber=delta), targets=y)}], penalty=penalty)
        for delta in (None, 0.5)
    )
    assert squares.hessian.jitter > 0
    assert huber.converged
    assert huber.hessian.reason is squares.hessian.reason
    assert huber.hessian.jitter > 0
    assert huber.coef[2] == squares.coef[2] == 0.0
