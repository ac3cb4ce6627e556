"""Advice as data: each key worded for Python and for the command line, and warnings at the line of the caller."""

import ast
import pickle
import re
import string
import warnings
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.parametrize(
    "error",
    [AdvisedValueError("a fault", Advice.CORRECT_OR_DROP), rg.NotPositiveDefiniteError("a pivot", 3, 1.0)],
    ids=["advised", "not positive definite"],
)
def test_notes_survive_a_pickle(error):
    error.add_note("in frame 3")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.__dict__) == (str(error), error.__dict__)
    assert again.__notes__ == ["in frame 3"]


def test_blame_names_the_file_and_keeps_the_advice():
    with pytest.raises(InputError) as caught, blame("train.xyz"):
        raise AdvisedValueError("no\n  structure has energies", Advice.DROP_TERM, term="energy")
    assert str(caught.value) == "train.xyz: no structure has energies; pass energy=None"
    assert worded(caught.value, WORDS).endswith("pass --energy-weight 0")
    with pytest.raises(InputError, match=r"^inner: fault$"), blame("outer"), blame("inner"):
        raise TypeError("fault")
    with pytest.raises(InputError, match=r"^train.xyz: MemoryError$"), blame("train.xyz"):
        raise MemoryError


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


@pytest.mark.parametrize("name", [{}, {"__name__": 3}, {"__name__": "notebook"}])
def test_a_warning_points_at_code_of_any_name(name):
    """Code of `exec`, as a notebook runs it, may have no module, or no name of one."""
    source = "\n\ncovariance.factorize(0.0)"
    covariance = rg.Covariance(2)
    covariance.update([[1.0, 0.0], [0.0, 1e-9]])
    with pytest.warns(rg.IllConditionedWarning) as caught:
        exec(compile(source, "<cell>", "exec"), {"covariance": covariance, **name})
    assert [(warning.filename, warning.lineno) for warning in caught] == [("<cell>", 3)]


def test_a_warning_of_a_thread_points_at_what_started_it():
    covariance = rg.Covariance(2)
    covariance.update([[1.0, 0.0], [0.0, 1e-9]])
    with ThreadPoolExecutor(1) as pool, pytest.warns(rg.IllConditionedWarning) as caught:
        pool.submit(covariance.factorize, 0.0).result()
    assert [Path(warning.filename).parent.name for warning in caught] == ["futures"]


def test_a_warning_made_an_error_leaves_the_sums():
    """Whether a copy is factorised or C itself."""
    for consume in (False, True):
        covariance = rg.Covariance(2)
        covariance.update([[1.0, 0.0], [0.0, 1e-9]])
        with warnings.catch_warnings():
            warnings.simplefilter("error", rg.IllConditionedWarning)
            with pytest.raises(rg.IllConditionedWarning, match="the pivots of H span"):
                covariance.factorize(0.0, consume=consume)
        assert covariance.factorize(1.0).regularizer == 1.0


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
