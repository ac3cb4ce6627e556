"""What an attack finds is told with its seed, and the other seeds go on."""

import importlib
import sys

import pytest
from attack.harness import Attack, run
from attack.known import ATTACKS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs select on pipes")


@pytest.mark.parametrize(
    ("function", "fault"),
    [("faulty", "AssertionError: other bits"), ("deadly", "the process ended by -11"), ("hanging", "no end after 2 s")],
)
def test_a_broken_promise_is_told_with_its_seed(function, fault):
    attack = Attack("sabotage", function, seeds=5, patience=2.0)
    tally = run(attack, first=2, seeds=3)
    assert len(tally.failures) == 1
    assert f"sabotage.{function}, seed 3: " in tally.failures[0]
    assert fault in tally.failures[0]
    assert "attack sabotage." + function + " --seed 3 --seeds 1" in tally.failures[0]
    assert (tally.right, tally.refused) == ((4, 2) if function == "faulty" else (2, 0))


def test_an_attack_that_ends_in_silence_has_failed():
    tally = run(Attack("sabotage", "silent", seeds=1), first=0, seeds=1)
    assert "seed 0: the process ended by 0" in tally.failures[0]


def test_an_attack_ends_in_time():
    tally = run(Attack("sabotage", "faulty", seeds=1), first=10, seconds=1.0)
    assert tally.right > 10
    assert not tally.failures


def test_attacks_are_named_once_and_exist():
    for name, attack in ATTACKS.items():
        assert name == attack.name
        assert callable(getattr(importlib.import_module(f"attack.{attack.module}"), attack.function))
