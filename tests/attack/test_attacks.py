"""Every attack with the seeds from 0 on, two minutes in all. `make attack` goes on with seeds that nobody tried."""

import sys

import pytest
from attack.harness import run
from attack.known import ATTACKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork, timers and /proc"),
]


@pytest.mark.parametrize("name", ATTACKS)
def test_promises_are_kept(name):
    for package in ATTACKS[name].needs:
        pytest.importorskip(package)
    tally = run(ATTACKS[name], first=0, seeds=ATTACKS[name].seeds)
    assert not tally.failures, "\n\n".join(tally.failures)
    assert tally.tries > 0
