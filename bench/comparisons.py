"""Tables of what a shop's side of the wire is compared by, whatever the figures are.

    Comparison: columns ─▶ headings,  rows ─▶ a `Line` each,  cells ─▶ a number, or None where there is nothing to measure

Beside `rounds.Result`, which holds servers under load. Goals are about one cell of one row.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import msgspec

from bench.rounds import SPREAD_MAX, Goal, Pace


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `values` by column; `rounds` holds what the medians in it were made of."""

    title: str
    values: dict[str, float | None]
    rounds: dict[str, list[float]] = {}

    @property
    def spread(self) -> float:
        """How far the rounds of the first column, which ratios are made of, lie apart, as a share of their median; 0 without."""
        return next((_spread(values) for values in self.rounds.values()), 0.0)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario, run."""

    scenario: str
    title: str
    pace: Pace
    columns: dict[str, str]
    """column → its heading, the unit in it"""
    digits: int
    """after the point, in every cell"""
    rows: dict[str, Line]
    goals: list[Goal]
    checks: list[str]
    notes: list[str]
    skipped: dict[str, str]
    """contestant or row → why it is not there"""
    faults: list[str] = []
    """what must not happen whatever the machine is: the run ends with status 1"""

    @property
    def widest(self) -> Line:
        """The row whose rounds lie farthest apart."""
        return max(self.rows.values(), key=lambda line: line.spread)

    @property
    def is_noisy(self) -> bool:
        return bool(self.rows) and self.widest.spread > SPREAD_MAX


def line_of_medians(title: str, rounds: Mapping[str, Sequence[float]]) -> Line:
    """The medians of the rounds, by column. A column without a round is empty."""
    kept = {column: list(values) for column, values in rounds.items()}
    medians = {column: statistics.median(values) if values else None for column, values in kept.items()}
    return Line(title=title, values=medians, rounds=kept)


def _spread(values: Sequence[float]) -> float:
    middle = statistics.median(values) if values else 0.0
    return (max(values) - min(values)) / middle if middle else 0.0
