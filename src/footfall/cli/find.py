"""`footfall find`: where an event is, and why it is there, once, twice or not at all.

Looked for by its bytes: only lines of the log that hold the id are decoded. Who it is about is never printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec
import typer

from footfall.cli.data import DEFAULT_DATA, TREES, DataOption, explained, note_absence, tree
from footfall.cli.output import REFUSED, JsonOption, complain, counted, counting_bar, marked, print_json, results, say, when
from footfall.cli.records import understood
from footfall.cli.settings import load
from footfall.log.api import Record
from footfall.log.reader import SegmentReader

_LOOK_RECORDS: Final = 20_000
_Key: TypeAlias = tuple[str, str, int]
"""Platform, event_type, timestamp: with the id, what makes two records one event (design section 5.8)."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the event, as `--json` lists it. Times are Unix milliseconds. `state`: `accepted`, `repeat` (same platform,
    id, event_type and timestamp as an earlier one) or `test`."""

    place: str
    position: str
    platform: str
    mode: str
    event_type: str
    timestamp: int
    received_at: int
    source: str
    state: str
    why: str


class Search(NamedTuple):
    """What is looked for, and how a place says that it is getting on: called with the number of records it passed."""

    data: Path
    event_id: str
    passed: Callable[[int], None]


def find(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The id the event was sent with.", show_default=False)],
    platform: Annotated[str | None, typer.Option(metavar="ID", help="Only this platform id.")] = None,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Find an event by its id: where it is, and why.

    Exit 1 when it is nowhere.
    """
    note_absence(data)
    with explained(data):
        trees = {mode: SegmentReader(tree(data, mode)) for mode in TREES}
        total = sum(sum(reader.durable().values()) for reader in trees.values())
        with counting_bar(quiet=json or total < 5 * _LOOK_RECORDS) as progress:
            task = progress.add_task("looking", total=total)
            search = Search(data, event_id, lambda count: progress.advance(task, count))
            found = [entry for look in _PLACES for entry in look(search) if platform in (None, entry.platform)]
    if json:
        print_json({"event_id": event_id, "found": found})
    for entry in found if not json else ():
        _print(entry)
    if not found:
        _explain_absence(data, trees, platform)
        raise typer.Exit(REFUSED)


# -- places: each takes a search and yields what it holds; the lake will be the second


def _in_log(search: Search) -> Iterator[Found]:
    matches = [
        (mode, record)
        for mode in TREES
        for record in _candidates(SegmentReader(tree(search.data, mode)), search)
        if b'"erased"' not in record.body[:20]
    ]
    received = [(mode, record, understood(record)) for mode, record in matches]
    same = [entry for entry in received if entry[2].event.id == search.event_id]
    # in this order the first of several equals is the one that counts (design section 8)
    same.sort(key=lambda entry: (entry[2].received_at, entry[1].writer, entry[1].sequence))
    days = load(file=None, data=search.data, environment=os.environ).durability.test_retention_days
    firsts: dict[_Key, str] = {}
    for mode, record, seen in same:
        event = seen.event
        first = firsts.setdefault((seen.platform, event.event_type, event.timestamp), record.position)
        state = "repeat" if first != record.position else "test" if mode == "test" else "accepted"
        yield Found(
            place="log", position=record.position, platform=seen.platform, mode=seen.mode, event_type=event.event_type,
            timestamp=event.timestamp, received_at=seen.received_at, source=seen.source, state=state,
            why=_why(state, record.position, first=first, mode=mode, days=days, others=_is_reused(firsts, seen.platform)),
        )  # fmt: skip


def _is_reused(firsts: dict[_Key, str], platform: str) -> bool:
    """Whether the id stands for several events of one platform: it is counted for each of them."""
    return sum(key[0] == platform for key in firsts) > 1


_PLACES: Final[Sequence[Callable[[Search], Iterator[Found]]]] = (_in_log,)


def _candidates(reader: SegmentReader, search: Search) -> Iterator[Record]:
    """Records that may hold the id: those in whose bytes it stands."""
    needle = msgspec.json.encode(search.event_id)
    passed = 0
    for record in reader.scan():
        if needle in record.body:
            yield record
        passed += 1
        if passed == _LOOK_RECORDS:
            search.passed(passed)
            passed = 0
    search.passed(passed)


def _why(state: str, position: str, *, first: str, mode: str, days: float, others: bool) -> str:
    if state == "repeat":
        return f"a repeat of {first}: counted once in the lake" if mode == "live" else f"a repeat of {first}"
    told = f"a test event: kept {days:g} days, never lands" if mode == "test" else f"accepted, durable in the log at {position}"
    return f"{told}; the id was used for another event before (its event_type or timestamp differ)" if others else told


# -- how it looks


def _print(found: Found) -> None:
    head = f"[bold]{found.position}[/]  {found.platform}  {found.mode}  {marked(found.event_type)}"
    times = f"happened {_moment(found.timestamp)}, received {_moment(found.received_at)} by {marked(found.source)}"
    colour = {"accepted": "green", "repeat": "yellow"}.get(found.state, "cyan")
    results().print(f"{head}  {times}\n    [{colour}]{found.why}[/]", soft_wrap=True)


def _moment(unix_ms: int) -> str:
    """To the millisecond: two events with one id often differ in no more."""
    return f"{when(unix_ms)}:{unix_ms // 1000 % 60:02}.{unix_ms % 1000:03}"


def _explain_absence(data: Path, trees: dict[str, SegmentReader], platform: str | None) -> None:
    where = f" of {platform}" if platform is not None else ""
    days = load(file=None, data=data, environment=os.environ).durability.test_retention_days
    complain(f"no event{where} with this id is in {data}; one of these is why:")
    say("  it was refused at the door (4xx), and refused events are not stored: the sender's answer said why")
    say("  its sender never saw a 200: then it must send it again, with the same id and timestamp")
    say(f"  it was a test event, and those older than {days:g} days are gone")
    say("  it lies in another data directory (--data or FOOTFALL_DATA), or was sent somewhere else")
    for mode, reader in trees.items():
        for writer, count in reader.unconfirmed().items():
            say(f"  {mode}/{writer} holds {counted(count, 'record')} never confirmed: the next `footfall serve` decides")
