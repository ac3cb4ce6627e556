"""Arguments of wrong types and sizes: TypeError or ValueError that says what was expected and what came."""

import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import rigidities as rg

TOO_LARGE = 10**400

NO_NUMBERS = [True, np.True_, "1", b"1", None, 1j, np.complex128(1), [1.0], np.array(1.0), np.array([1.0]), iter([1.0]),
              {}, object(), Decimal(1), Fraction(1), np.datetime64("2026-01-01")]  # fmt: skip
"""What is no real number, or not one."""


def refused(call, error, *said):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) in (ValueError, TypeError), repr(caught.value)
    for text in said:
        assert re.search(text, str(caught.value)), str(caught.value)


ROWS = rg.TermRows(np.eye(3), term=rg.Term(), targets=np.arange(3.0))
SUMS = rg.loss_sums([{"energy": ROWS}])


NUMBERS = {
    "weight": lambda value: rg.Term(value),
    "huber": lambda value: rg.Term(huber=value),
    "the baseline of species 14": lambda value: rg.Baseline({14: value}),
    "tolerance": lambda value: rg.fit_loss([{"energy": ROWS}], regularizer=1.0, tolerance=value),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number(name, value):
    if name == "huber" and value is None:
        return
    refused(lambda: NUMBERS[name](value), TypeError, rf"^{name} is .*: expected a")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [TOO_LARGE, -TOO_LARGE, np.nan, np.inf, np.float32(np.inf), np.longdouble("inf")])
def test_numbers_that_are_not_finite(name, value):
    refused(lambda: NUMBERS[name](value), ValueError, rf"^{name} is (too large|-?(inf|nan): expected .* finite)")


@pytest.mark.parametrize("value", [2, 2.0, np.int8(2), np.uint64(2), np.float16(2), np.float32(2), np.longdouble(2)])
def test_numbers_of_every_kind(value):
    assert rg.Term(value).weight == rg.Term(huber=value).huber == rg.Baseline({np.int64(14): value}).energies[0] == 2.0
    assert type(rg.Term(value).weight) is float


@pytest.mark.parametrize("species", [14.5, 14.0, "Si", "14", True, None, 1j, np.float64(14), (14,)])
def test_species_that_are_no_atomic_number(species):
    refused(lambda: rg.Baseline({species: 1.0}), TypeError, "^a species of the baseline is .*: expected an atomic")


@pytest.mark.parametrize("species", [-1, 2**31, 2**63, 10**400])
def test_species_out_of_range(species):
    refused(lambda: rg.Baseline({species: 1.0}), ValueError, "^a species of the baseline is .*: expected an atomic")


@pytest.mark.parametrize("number", [np.int64(-14), np.uint64(2**64 - 14), np.int64(2**31)])
def test_atomic_numbers_out_of_range(number):
    numbers = np.array([14, number], dtype=number.dtype)
    said = f"has the entry {number}: expected atomic numbers from 0"
    refused(lambda: rg.Baseline({14: 1.0}).energy(numbers), ValueError, said)
    refused(lambda: rg.Baseline.fit([numbers], [1.0]), ValueError, said)


@pytest.mark.filterwarnings("error")
def test_a_baseline_that_overflows():
    refused(lambda: rg.Baseline({14: 1e308}).energy([14] * 10), ValueError, "the baseline of 10 atoms is inf")


@pytest.mark.parametrize("energies", [None, [14, 1.0], "Si", 3, np.ones(2), iter({})])
def test_what_is_no_baseline(energies):
    refused(lambda: rg.Baseline(energies), TypeError, "^energies is a .*: expected a mapping")


@pytest.mark.parametrize(
    "numbers", [[14.5], [[14]], ["Si"], "Si", [True], 14, [None], [1j], np.array(14), [[1], [1, 2]]]
)
def test_atomic_numbers_that_are_none(numbers):
    baseline = rg.Baseline({14: -1.0})
    refused(lambda: baseline.energy(numbers), (TypeError, ValueError))
    refused(lambda: rg.Baseline.fit([numbers], [1.0]), (TypeError, ValueError))


@pytest.mark.parametrize("energies", [["a"], [None], [1j], np.array([1j]), 1.0, [[1.0]], np.ma.masked_array([1.0])])
def test_energies_that_are_none(energies):
    refused(lambda: rg.Baseline.fit([[14]], energies), (TypeError, ValueError), "energies")


@pytest.mark.parametrize("values", [{"per_atom": "yes"}, {"per_atom": 1}, {"per_atom": None}, {"target": 3},
                                    {"target": ""}, {"weights": b"w"}])  # fmt: skip
def test_fields_of_other_types(values):
    [(name, value)] = values.items()
    refused(lambda: rg.Term(**values), TypeError, f"^{name} is {re.escape(repr(value))}: expected")


@pytest.mark.parametrize("missing", ["", "Skip", None, True, 3, ["skip"], np.array(["skip", "refuse"])])
def test_missing_is_refuse_or_skip(missing):
    refused(lambda: rg.Term(missing=missing), ValueError, "^missing is .*: expected 'refuse' or 'skip'")


def test_what_numpy_calls_true_is_true():
    assert rg.Term(per_atom=np.True_).per_atom is True


@pytest.mark.parametrize("take", [rg.loss_sums, lambda batches: rg.fit_loss(batches, regularizer=1.0)])
@pytest.mark.parametrize(("batches", "said"), [
    (None, "None"), (3, "int"), ({"energy": ROWS}, r"a batch is a str: .*pass a single batch as \[batch\]"),
    ([ROWS], "a batch is a TermRows: expected a mapping"), (ROWS, "TermRows"), ([None], "a batch is a NoneType"),
    ([{"energy": np.eye(3)}], "the rows of energy are a ndarray: expected TermRows"),
    ([{"energy": rg.Rows(np.eye(3))}], "the rows of energy are a Rows: expected TermRows"),
    ([{"energy": None}], "the rows of energy are a NoneType"), ("energy", "a batch is a str"),
    (np.eye(3), "a batch is a ndarray"), ([[ROWS]], "a batch is a list"),
])  # fmt: skip
def test_what_is_no_batch_of_rows(take, batches, said):
    refused(lambda: take(batches), TypeError, said)


@pytest.mark.parametrize("term", [None, 1.0, "energy", rg.Loss(energy=rg.Term())])
def test_rows_need_a_term(term):
    refused(lambda: rg.TermRows(np.eye(3), term=term), TypeError, "^term is a .*: expected a Term")


@pytest.mark.parametrize("loss", ["energy", 3, rg.Term(), {"energy": rg.Term()}])
def test_what_is_no_loss(loss):
    for call in (
        lambda: SUMS.combined(loss),
        lambda: rg.fit_loss([{"energy": ROWS}], loss, regularizer=1.0),
        lambda: rg.fit_loss([{"energy": ROWS}], loss, regularizer="loo"),
        lambda: rg.scan_term_weights(SUMS, [loss]),
        lambda: rg.most_probable_weights(SUMS, loss),
    ):
        refused(call, TypeError, "loss.* is a .*: expected a Loss")


@pytest.mark.parametrize("value", [True, None, 2.5, 3.0, "3", [3], np.float64(3)])
def test_a_number_of_fits_is_an_integer(value):
    refused(
        lambda: rg.fit_loss([{"energy": ROWS}], regularizer=1.0, max_iterations=value), TypeError, "^max_iterations"
    )


@pytest.mark.parametrize("sums", [None, 3, {"energy": rg.Covariance(3)}, rg.Covariance(3)])
def test_what_is_no_loss_sums(sums):
    for call in (
        lambda: rg.scan_term_weights(sums, [rg.Loss(energy=rg.Term())]),
        lambda: rg.most_probable_weights(sums),
    ):
        refused(call, TypeError, "^sums is a .*: expected LossSums")


@pytest.mark.parametrize("noise", [x for x in NO_NUMBERS if x is not None] + [None], ids=repr)
def test_noise_is_a_number(noise):
    covariance = rg.Covariance(3)
    covariance.update(np.eye(3), targets=np.arange(3.0))
    path = rg.regularizer_path(covariance)
    refused(
        lambda: path.score(np.eye(3), np.arange(3.0), noise=noise), TypeError, "^noise is .*: expected a number from 0"
    )
    refused(lambda: path.score(np.eye(3), np.arange(3.0), noise=TOO_LARGE), ValueError, "^noise is too large")


@pytest.mark.parametrize("groups", [3, 1.5, True])
def test_groups_of_silicon_are_names(groups):
    pytest.importorskip("ase")
    refused(lambda: rg.datasets.load_silicon(groups=groups), TypeError, "^groups is a .*: expected names of groups")


@pytest.mark.parametrize(("setting", "value"), [
    *[(name, value) for name in ("cutoff", "smoothing", "density_width") for value in NO_NUMBERS],
    *[(name, value) for name in ("max_radial", "max_angular") for value in (True, "3", None, 2.0, [3], 1j)],
])  # fmt: skip
def test_settings_of_soap_are_numbers(setting, value):
    pytest.importorskip("featomic")
    from rigidities.interop.featomic import Soap

    refused(lambda: Soap("Si", **{setting: value}), TypeError, f"^{setting} is .*: expected a")


@pytest.mark.parametrize("species", [14.5, None, True, 1j, [None], ["Si", 3.5], np.array([1.5]), [[14]]])
def test_species_of_soap_are_names_or_numbers(species):
    pytest.importorskip("featomic")
    from rigidities.interop.featomic import Soap

    refused(lambda: Soap(species), TypeError)
    refused(lambda: Soap([10**30]), ValueError, "a species is 10{30}: expected an atomic number")
