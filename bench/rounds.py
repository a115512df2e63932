"""Contestants take turns, and what their rounds come to.

    round 1: A B C   round 2: A B C   …   ─▶ a row each, medians of rounds; goals are ratios of medians, or a rate to reach

In turns, because a machine that slows down then slows all of them. How far the rounds of one contestant lie apart says whether
the machine was quiet enough for its figures to be repeated to anybody.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bench.contestants import Contestant, ProcessMemory
from bench.load import Measured, drive

SPREAD_MAX: Final = 0.25
"""(fastest - slowest) / median of the rounds of any contestant: beyond it no ratio of the scenario is quotable."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often. The quick pace shows that it works, not how fast."""

    rounds: int
    round_s: float
    warmup_s: float
    quick: bool


FULL: Final = Pace(rounds=5, round_s=3.0, warmup_s=0.5, quick=False)
QUICK: Final = Pace(rounds=1, round_s=1.0, warmup_s=0.2, quick=True)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One contestant's part in every round: its requests, how many are under way, what a good answer holds."""

    title: str
    contestant: Contestant
    requests: Sequence[bytes]
    connections: int
    proof: bytes = b""
    events_each: int = 1
    """events in one request"""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds of one contestant come to. Rates are events a second; latencies are of a whole request."""

    title: str
    rate: float
    rates: list[float]
    spread: float
    p50_ms: float
    p99_ms: float
    processor_us: float
    """processor time of all its processes for one event: it moves less than the rate when others want the core too"""
    load_busy: float
    answered: int
    """events in good answers, those of the warming too"""
    processes: list[ProcessMemory]
    rss_mb: float
    pss_mb: float


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and what it should at least be, or at most. None: nothing is asked of it."""

    title: str
    row: str
    """the row of the table it is shown in"""
    unit: str
    """× or events/s, µs, ms, events"""
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_reached(self) -> bool | None:
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario, run."""

    scenario: str
    title: str
    pace: Pace
    rows: dict[str, Row]
    goals: list[Goal]
    checks: list[str]
    """what was verified besides the answers"""
    notes: list[str]
    skipped: dict[str, str]
    """row → why it is not there"""

    @property
    def widest(self) -> Row:
        """The row whose rounds lie farthest apart."""
        return max(self.rows.values(), key=lambda row: row.spread)

    @property
    def is_noisy(self) -> bool:
        return self.widest.spread > SPREAD_MAX


def take_turns(turns: Mapping[str, Turn], pace: Pace) -> dict[str, Row]:
    """A row for each, in the same order. Raises AssertionError at the first round with an answer that was not good."""
    measured: dict[str, list[Measured]] = {name: [] for name in turns}
    processor_s = dict.fromkeys(turns, 0.0)
    for _ in range(pace.rounds):
        for name, turn in turns.items():
            before_s = turn.contestant.processor_s()
            measured[name].append(_one(name, turn, pace))
            processor_s[name] += turn.contestant.processor_s() - before_s
    return {name: _row(turn, measured[name], processor_s=processor_s[name]) for name, turn in turns.items()}


def _one(name: str, turn: Turn, pace: Pace) -> Measured:
    measured = drive(
        turn.contestant.port,
        turn.requests,
        connections=turn.connections,
        seconds=pace.round_s,
        warmup_s=pace.warmup_s,
        proof=turn.proof,
    )
    if measured.failures:
        raise AssertionError(f"{name}: {measured.failures} answers were not good, the first was:\n{measured.first_failure}")
    return measured


def _row(turn: Turn, measured: Sequence[Measured], *, processor_s: float) -> Row:
    answered = sum(one.answered for one in measured) * turn.events_each
    rates = [one.rate * turn.events_each for one in measured]
    processes = turn.contestant.memory()
    return Row(
        title=turn.title,
        rate=statistics.median(rates),
        rates=rates,
        spread=(max(rates) - min(rates)) / statistics.median(rates),
        p50_ms=statistics.median(one.p50_ms for one in measured),
        p99_ms=statistics.median(one.p99_ms for one in measured),
        processor_us=1e6 * processor_s / answered,
        load_busy=statistics.median(one.load_busy for one in measured),
        answered=answered,
        processes=processes,
        rss_mb=sum(one.rss_mb for one in processes),
        pss_mb=sum(one.pss_mb for one in processes),
    )
