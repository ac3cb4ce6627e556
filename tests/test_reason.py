"""Why a regularizer was taken, as the core keeps it: a word for files, and the jitter that came with λ."""

import numpy as np
import pytest

import rigidities as rg
from rigidities import _core
from rigidities.penalty import Penalty, with_jitter
from rigidities.reason import Reason

P = 12


def accumulated():
    rng = np.random.default_rng(3)
    covariance = rg.Covariance(P)
    covariance.update(rng.normal(size=(40, P)), targets=rng.normal(size=40))
    return covariance._core


def kernel():
    """A matrix of rank 4, and one feature that is unpenalised."""
    B = np.random.default_rng(4).normal(size=(4, P))
    B[:, -1] = 0.0
    return B.T @ B


def test_the_core_knows_the_same_reasons():
    assert {reason.value for reason in Reason} == set(_core.REASONS)
    assert all(reason.text() for reason in Reason)
    assert Reason.GUARANTEED.text(0.25).endswith("(jitter 0.25 on the diagonal of the penalty)")


@pytest.mark.parametrize("reason", _core.REASONS)
def test_a_reason_goes_with_the_factor_and_its_files(reason):
    hessian = accumulated().factorize((0.5, reason, 0.0), None, 0.0, False)
    assert (hessian.reason, hessian.regularizer, hessian.jitter) == (reason, 0.5, 0.0)
    assert _core.Hessian.from_snapshot(hessian.snapshot()).reason == reason


def test_jitter_of_a_criterion_goes_on_penalised_features():
    penalty, eps = kernel(), np.finfo(float).eps
    hessian = accumulated().factorize((0.5, "evidence maximum", 0.25), penalty, eps, False)
    whole = with_jitter(Penalty.of(penalty, P).matrix, 0.25)
    expected = accumulated().factorize((0.5, "given", 0.0), whole, eps, False)
    assert hessian.jitter == 0.25
    np.testing.assert_array_equal(hessian.snapshot()["lower"], expected.snapshot()["lower"])
    assert hessian.effective_dimension() == expected.effective_dimension()
    again = _core.Hessian.from_snapshot(hessian.snapshot())
    assert (again.jitter, again.effective_dimension()) == (0.25, hessian.effective_dimension())


@pytest.mark.parametrize(("penalty", "diagonal"), [(None, np.ones(P)), (np.arange(P) / 4.0, np.arange(P) / 4.0)])
def test_jitter_of_a_criterion_on_a_diagonal(penalty, diagonal):
    hessian = accumulated().factorize((0.5, "evidence edge", 0.25), penalty, 0.0, False)
    expected = accumulated().factorize((0.5, "given", 0.0), np.where(diagonal > 0, diagonal + 0.25, 0.0), 0.0, False)
    np.testing.assert_array_equal(hessian.snapshot()["lower"], expected.snapshot()["lower"])


def test_the_guaranteed_regularizer_keeps_why_there_is_no_other():
    penalty, eps = kernel(), np.finfo(float).eps
    hessian = accumulated().factorize((None, "evidence unresolved", 0.0), penalty, eps, False)
    expected = accumulated().factorize((None, "guaranteed", 0.0), penalty, eps, False)
    assert (hessian.reason, expected.reason) == ("evidence unresolved", "guaranteed with jitter")
    assert (hessian.regularizer, hessian.jitter) == (expected.regularizer, expected.jitter)
    assert hessian.jitter > 0
    np.testing.assert_array_equal(hessian.snapshot()["lower"], expected.snapshot()["lower"])


@pytest.mark.parametrize("penalty", [kernel(), np.r_[0.0, np.ones(P - 1)]], ids=["matrix", "diagonal"])
def test_a_guaranteed_choice_can_be_taken_again(penalty):
    """As the fits of Huber's loss do: its jitter is on every diagonal entry, also of an unpenalised feature."""
    eps = np.finfo(float).eps
    first = accumulated().factorize((None, "evidence unresolved", 0.0), penalty, eps, False)
    again = accumulated().factorize((first.regularizer, first.reason, first.jitter), penalty, eps, False)
    assert (again.reason, again.jitter) == (first.reason, first.jitter)
    assert first.jitter > 0
    np.testing.assert_array_equal(again.snapshot()["lower"], first.snapshot()["lower"])


def test_a_state_of_an_earlier_version_says_nothing_of_jitter_in_the_penalty():
    state = accumulated().factorize((0.5, "given", 0.0), kernel(), 0.0, False).snapshot()
    del state["penalty_jitter"]
    hessian = _core.Hessian.from_snapshot(state)
    assert (hessian.reason, hessian.jitter) == ("given", 0.0)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ((None, "given", 0.0), 'the reason "given" needs a regularizer'),
        ((1.0, "whim", 0.0), 'the reason for the regularizer is "whim"'),
        ((1.0, "evidence top", -1.0), "jitter is -1: it must be finite and not negative"),
    ],
)
def test_choices_that_are_none_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        accumulated().factorize(choice, None, 0.0, False)
