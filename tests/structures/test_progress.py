"""The time that a step takes is shown, if it takes seconds."""

import time

import pytest

from rigidities.structures import progress


def test_a_long_step_shows_its_time(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", 0.05)
    with progress.stage("fit of 4,000 features", True):
        time.sleep(0.3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "fit of 4,000 features: 00:00" in err
    assert err.rpartition("\r")[0].endswith("\r" + " " * len("fit of 4,000 features: 00:00"))  # and is removed


def test_a_short_step_or_one_that_is_not_shown_is_quiet(capsys, monkeypatch):
    with progress.stage("fit", True):
        pass
    monkeypatch.setattr(progress, "QUIET", 0.01)
    with progress.stage("fit", False):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_errors_pass_and_end_the_clock():
    with pytest.raises(KeyboardInterrupt), progress.stage("fit", True):
        raise KeyboardInterrupt
