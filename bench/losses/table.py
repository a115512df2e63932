"""The loss table: a row for each thing that happens to shops, a column for each library; in the cells what arrived of a thousand.

Footfall has two columns for each kind of receiver: what had arrived when the last process was gone, and what had when the same
shop had started again and its outbox said that nothing waits. The others keep nothing that a next start could send.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bench.comparisons import Comparison, Line
from bench.losses.receiver import Receiver
from bench.losses.rows import ANSWER_S, ROWS, Row, small_disk
from bench.losses.stage import Destination, Stage, whole_footfall
from bench.machine import LOAD_CORE, SERVER_CORE, settle_on
from bench.rounds import Goal, Pace
from bench.trackers import why_not

PREFIX: Final = "losses-"
_COUNT: Final = 1_000
_QUICK_COUNT: Final = 200
_SIDES: Final = {"footfall": "footfall", "batches": "footfall", "segment": "segment", "posthog": "posthog"}
_COLUMNS: Final = {
    "asked": "of",
    "footfall": "Footfall",
    "footfall_restarted": "restarted",
    "batches": "in batches",
    "batches_restarted": "restarted",
    "segment": "Segment",
    "posthog": "PostHog",
}
_NOTES: Final = (
    f"receivers are on the loopback and take {1000 * ANSWER_S:g} ms for an answer, unless the row says otherwise; 'in batches' is"
    " to a whole Footfall; restarted: another process of the same shop has run until its outbox was empty",
    "signals come when the last call has returned, with 1,000 events tracked in a tenth of a second; gunicorn has two workers and"
    " is reloaded while requests track",
    "hour and night: the shop sells evenly all through it on a clock that runs 400 and 4,000 times as fast, the peers' as well;"
    " after the hour it lives on for half an hour, after the night it is restarted with the new key",
    "NaN: the receiver refuses with 400 what is no JSON, as a strict parser does (whether Segment's own service is lenient was"
    " not tried). Segment sends NaN as it is, PostHog as null; Footfall refuses the event where it is tracked, and counts it",
)


class Fate(NamedTuple):
    """What became of the events of one library in one row."""

    asked: int
    arrived: int
    restarted: int | None
    again: int
    """arrived more often than once"""
    lost_said: int
    """refused or shed, by what the first process said last"""
    purchases: tuple[int, int]
    """how many of them, where that matters, arrived in the end, and of how many"""
    raised: int
    """calls that raised into the shop"""
    overstayed: int
    """processes that had to be killed"""


def losses(directory: Path, pace: Pace, *, names: tuple[str, ...] = tuple(ROWS)) -> Comparison:
    settle_on(SERVER_CORE, LOAD_CORE)
    skipped = {side: reason for side, library in _SIDES.items() if (reason := why_not(library))}
    lines, goals, faults, notes = {}, [], [], []
    for name in names:
        row = ROWS[name]
        if (reason := row.why_not()) is not None:
            skipped[name] = reason
            continue
        fates = _play(name, directory, count=_QUICK_COUNT if pace.quick else _COUNT, without=frozenset(skipped))
        if not fates:
            continue
        lines[name] = _line(row, fates)
        goals.extend(_goals(name, fates))
        faults.extend(_faults(name, fates))
        notes.extend(_remarks(row, fates))
    return Comparison(
        scenario="losses" if len(names) > 1 else f"{PREFIX}{names[0]}",
        title="events that arrived, each counted once",
        pace=pace,
        columns=_COLUMNS,
        digits=0,
        rows=lines,
        goals=goals,
        checks=[],
        notes=[*notes, *_NOTES],
        skipped=skipped,
        faults=faults,
    )


def _play(name: str, directory: Path, *, count: int, without: frozenset[str]) -> dict[str, Fate]:
    """One row with everybody in it, one after another."""
    row, fates = ROWS[name], {}
    for side, library in _SIDES.items():
        if side in without or (row.ours and side != "footfall") or (side == "batches" and not row.batches):
            continue
        place = directory / name / side
        with contextlib.ExitStack() as stack:
            destination = stack.enter_context(_destination(side, place))
            if name == "disk":
                stack.enter_context(small_disk(place / "shop" / "outbox"))
            stage = Stage(library, destination, place / "shop", count=count)
            row.play(stage)
            fates[side] = _fate(stage)
    return fates


@contextlib.contextmanager
def _destination(side: str, directory: Path) -> Iterator[Destination]:
    if side == "batches":
        with whole_footfall(directory / "server") as whole:
            yield whole
        return
    with Receiver() as receiver:
        receiver.delay_s = ANSWER_S
        yield receiver


def _fate(stage: Stage) -> Fate:
    arrived, restarted = _arrived(stage), None
    said = stage.words[-1].said if stage.words else {}
    if stage.library == "footfall":
        stage.deliver()
        restarted = _arrived(stage)
    return Fate(
        asked=len(stage.asked),
        arrived=arrived,
        restarted=restarted,
        again=sum(times - 1 for times in stage.destination.arrived.values()),
        lost_said=int(said.get("refused", 0)) + int(said.get("shed", 0)),
        purchases=(len(stage.purchases & stage.destination.arrived.keys()), len(stage.purchases)),
        raised=max((word.raised for word in stage.words), default=0),
        overstayed=stage.overstayed,
    )


def _arrived(stage: Stage) -> int:
    """How many of those that were asked for; others, such as those with a NaN that a library made null, do not count."""
    stage.destination.settle()
    return len(stage.asked & stage.destination.arrived.keys())


def _line(row: Row, fates: Mapping[str, Fate]) -> Line:
    values: dict[str, float | None] = dict.fromkeys(_COLUMNS)
    values["asked"] = max(fate.asked for fate in fates.values())
    for side, fate in fates.items():
        values[side] = fate.arrived
        if fate.restarted is not None:
            values[f"{side}_restarted"] = fate.restarted
    return Line(title=row.title, values=values)


def _goals(name: str, fates: Mapping[str, Fate]) -> list[Goal]:
    """With a full disk, what did not arrive must have been reported; everywhere else everything must arrive."""
    goals = []
    for side, fate in fates.items():
        if fate.restarted is None:
            continue
        known = fate.restarted + (fate.lost_said if name == "disk" else 0)
        goals.append(Goal(title=f"{name}, {side}: accounted for", row=name, unit="events", value=known, at_least=fate.asked))
    return goals


def _faults(name: str, fates: Mapping[str, Fate]) -> list[str]:
    lost = [f"{goal.title}: {goal.value:,.0f} of {goal.at_least:,.0f}" for goal in _goals(name, fates) if not goal.is_reached]
    ours = {side: fate for side, fate in fates.items() if fate.restarted is not None}
    raised = [f"{name}, {side}: {fate.raised:,} calls raised" for side, fate in ours.items() if fate.raised]
    stuck = [f"{name}, {side}: {fate.overstayed} processes did not end" for side, fate in ours.items() if fate.overstayed]
    return lost + raised + stuck


def _remarks(row: Row, fates: Mapping[str, Fate]) -> list[str]:
    remarks = [f"{row.title}: {side} sent {fate.again:,} again" for side, fate in fates.items() if fate.again]
    remarks += [f"{row.title}: {side} had to be killed" for side, fate in fates.items() if fate.overstayed]
    if row.ours:
        fate = fates["footfall"]
        lost = fate.asked - (fate.restarted or 0)
        remarks.append(
            f"{row.title}: {lost:,} did not arrive, {fate.lost_said:,} were reported as lost;"
            " {:,} of {:,} purchases arrived: the last room on a disk is for them".format(*fate.purchases)
        )
    return remarks
