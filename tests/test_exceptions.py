"""Advice as data: each key worded for Python and for the command line, and warnings at the line of the caller."""

import ast
import pickle
import re
import string
import warnings
from pathlib import Path

import pytest

import rigidities as rg
from rigidities import exceptions
from rigidities.cli.messages import WORDS
from rigidities.exceptions import Advice, AdvisedMemoryError, AdvisedValueError, InputError, blame, warn, worded


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_advice_is_worded_for_the_command_line():
    assert set(WORDS) == set(Advice)
    for advice, words in WORDS.items():
        assert fields(words) <= fields(advice.value), advice
        assert not re.search(r"\w\(|\w=\w|path\.best|None", words), f"{advice} speaks Python: {words}"


def test_an_error_says_its_fault_and_its_advice():
    error = AdvisedValueError("no structure has energies", Advice.DROP_TERM, term="energy")
    assert str(error) == "no structure has energies; pass energy=None"
    assert worded(error, WORDS) == "no structure has energies; pass --energy-weight 0"
    assert worded(ValueError("plain")) == "plain"
    assert worded(AdvisedValueError("alone")) == "alone"


@pytest.mark.parametrize("kind", [AdvisedValueError, AdvisedMemoryError, InputError, rg.UnresolvedEvidenceWarning])
def test_advice_survives_a_pickle(kind):
    error = pickle.loads(pickle.dumps(kind("a fault", Advice.DROP_TERM, term="virial")))
    assert (error.fault, error.advice, error.fields) == ("a fault", Advice.DROP_TERM, {"term": "virial"})
    assert str(error) == str(kind("a fault", Advice.DROP_TERM, term="virial"))


def test_blame_names_the_file_and_keeps_the_advice():
    with pytest.raises(InputError) as caught, blame("train.xyz"):
        raise AdvisedValueError("no\n  structure has energies", Advice.DROP_TERM, term="energy")
    assert str(caught.value) == "train.xyz: no structure has energies; pass energy=None"
    assert worded(caught.value, WORDS).endswith("pass --energy-weight 0")
    with pytest.raises(InputError, match=r"^inner: fault$"), blame("outer"), blame("inner"):
        raise TypeError("fault")


def test_warnings_are_sentences_at_the_line_of_the_caller():
    with pytest.warns(rg.IllConditionedWarning, match=r"^it is lost\. Raise the regularizer$") as caught:
        warn(rg.IllConditionedWarning, "it is lost", Advice.RAISE_REGULARIZER)
    assert caught[0].filename == __file__


def test_a_warning_from_deep_inside_points_at_the_caller():
    covariance = rg.Covariance(2)
    covariance.update([[1.0, 0.0], [0.0, 1e-9]])
    with pytest.warns(rg.IllConditionedWarning) as caught:
        covariance.factorize(0.0)
    assert [warning.filename for warning in caught] == [__file__]


def test_warnings_can_be_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", rg.IllConditionedWarning)
        with pytest.raises(rg.IllConditionedWarning, match="it is lost"):
            warn(rg.IllConditionedWarning, "it is lost")


def test_nothing_counts_stack_levels():
    """`exceptions.warn` finds the caller's line: no other file warns by itself."""
    for path in Path(rg.__file__).parent.rglob("*.py"):
        if path != Path(exceptions.__file__):
            calls = {
                ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
            }
            assert "warnings.warn" not in calls, path
