"""Pairs of calls that do the same work, ours and another's, and how they are timed and reported.

A ratio is the peer's best time over ours: above 1 we are faster. OpenBLAS's threads spin while they
wait and lose most of their speed when another process takes one of the cores, which would flatter
us. What others use of the machine is therefore watched while a pair runs, a disturbed pair is
measured again, and what was seen is kept in the result.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import machine


@dataclass
class Pair:
    """Two ways to do the same work, and how many times as fast ours should be."""

    work: str
    p: int | None
    peer: str
    goal: float
    ours: Callable[[], object]
    theirs: Callable[[], object]
    #: Operations and bytes read by ours, where one can count them; what the roofline is made of.
    flops: float | None = None
    read_bytes: float | None = None
    precision: str = "float64"
    rounds: int = 5
    #: How often the pair is measured; the lowest ratio counts.
    runs: int = 1
    #: What the two durations become before they are compared, where the work is not the same.
    compared: Callable[[float, float], tuple[float, float]] = lambda ours, theirs: (ours, theirs)


@dataclass
class Result:
    """One line of the table."""

    work: str
    p: int | None
    peer: str
    goal: float
    ratio: float
    spread: float
    ours_ms: float
    peer_ms: float
    gigaflops: float | None
    busy: float | None
    flops: float | None
    read_bytes: float | None
    precision: str


def measure(pair, tries):
    """Time both in turn; the best of each counts, and of several runs the one with the lowest ratio."""
    return min((measure_once(pair, tries) for _ in range(pair.runs)), key=lambda result: result.ratio)


def measure_once(pair, tries):
    """Time both in turn; the best of each counts."""
    times, busy = machine.measure((pair.ours, pair.theirs), pair.rounds, tries)
    ours, theirs = (float(x) for x in pair.compared(*times.min(axis=0)))
    ratios = [other / mine for mine, other in (pair.compared(*row) for row in times)]
    return Result(
        pair.work, pair.p, pair.peer, pair.goal,
        ratio=theirs / ours, spread=float(statistics.pstdev(ratios) / statistics.fmean(ratios)),
        ours_ms=1e3 * ours, peer_ms=1e3 * theirs, gigaflops=None if pair.flops is None else pair.flops / ours / 1e9,
        busy=busy, flops=pair.flops, read_bytes=pair.read_bytes, precision=pair.precision,
    )  # fmt: skip
