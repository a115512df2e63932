"""`footfall find`: where an event is, and why it is there, once, twice or not at all.

In the log it is looked for by its bytes: only lines that hold the id are decoded. The table then says what became of each live
record (`lake.lookup`), and what it has of events whose records have left the log. Who it is about is never printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeAlias

import msgspec
import typer

from footfall.cli.data import DEFAULT_DATA, TREES, DataOption, explained, found_registry, note_absence, tree
from footfall.cli.output import REFUSED, JsonOption, complain, counted, counting_bar, marked, print_json, results, say, when
from footfall.cli.records import EventRecord, understood
from footfall.cli.settings import Settings, load
from footfall.errors import LakeError, LogError
from footfall.lake.quarantine import Quarantine
from footfall.log.api import Record
from footfall.log.reader import SegmentReader

if TYPE_CHECKING:
    from footfall.lake.lookup import Fate, Lookup, Poisoned, Row

_LOOK_RECORDS: Final = 20_000
_Key: TypeAlias = tuple[str, str, int]
"""Platform, event_type, timestamp: with the id, what makes two records one event (design section 5.8)."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the event, as `--json` lists it. Times are Unix milliseconds.

    `state`, in the `log`: `accepted`, `repeat` (same platform, id, event_type and timestamp as an earlier one) or `test`; in the
    `lake` and in `quarantine`, where the record has left the log: `landed`, `quarantined`. `landing` is what became of a live
    record: `waits`, `landed`, `repeat`, `quarantined`, `erased` or `gone`; null: not known. `row` is the position of the row that
    counts, and `event_date` and `landed_at` are its."""

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
    landing: str | None = None
    landing_why: str | None = None
    row: str | None = None
    event_date: str | None = None
    landed_at: int | None = None


class Search(NamedTuple):
    """What is looked for, and how a place says that it is getting on: called with the number of records it passed."""

    data: Path
    settings: Settings
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
        total = sum(sum(reader.count_after({}).values()) for reader in trees.values())
        with counting_bar(quiet=json or total < 5 * _LOOK_RECORDS) as progress:
            task = progress.add_task("looking", total=total)
            settings = load(file=None, data=data, environment=os.environ)
            search = Search(data, settings, event_id, lambda count: progress.advance(task, count))
            everything = _with_the_lake(search, list(_in_log(search)))
            found = [entry for entry in everything if platform in (None, entry.platform)]
    if json:
        print_json({"event_id": event_id, "found": found})
    for entry in found if not json else ():
        _print(entry)
    if not found:
        _explain_absence(data, trees, platform)
        raise typer.Exit(REFUSED)


# -- the log


def _in_log(search: Search) -> Iterator[tuple[Found, EventRecord]]:
    matches = [
        (mode, record)
        for mode in TREES
        for record in _candidates(SegmentReader(tree(search.data, mode)), search)
        if b'"erased"' not in record.body[:20]
    ]
    received = [(mode, record, seen) for mode, record in matches if (seen := _understood(search, record)) is not None]
    same = [entry for entry in received if entry[2].event.id == search.event_id]
    # in this order the first of several equals is the one that counts (design section 8)
    same.sort(key=lambda entry: (entry[2].received_at, entry[1].writer, entry[1].sequence))
    days = search.settings.durability.test_retention_days
    firsts: dict[_Key, str] = {}
    for mode, record, seen in same:
        event = seen.event
        first = firsts.setdefault((seen.platform, event.event_type, event.timestamp), record.position)
        state = "repeat" if first != record.position else "test" if mode == "test" else "accepted"
        found = Found(
            place="log", position=record.position, platform=seen.platform, mode=seen.mode, event_type=event.event_type,
            timestamp=event.timestamp, received_at=seen.received_at, source=seen.source, state=state,
            why=_why(state, record.position, first=first, mode=mode, days=days, others=_is_reused(firsts, seen.platform)),
        )  # fmt: skip
        yield found, seen


def _understood(search: Search, record: Record) -> EventRecord | None:
    """None for what nobody can read and is in quarantine for it: there it is found. Raises LogError for another."""
    try:
        return understood(record)
    except LogError:
        if any(poison.position == record.position for poison in Quarantine(search.data).poisons()):
            return None
        raise


def _is_reused(firsts: dict[_Key, str], platform: str) -> bool:
    """Whether the id stands for several events of one platform: it is counted for each of them."""
    return sum(key[0] == platform for key in firsts) > 1


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


# -- the lake


def _with_the_lake(search: Search, found: list[tuple[Found, EventRecord]]) -> list[Found]:
    """The records of the log with what became of them, then what is in the table or in quarantine only."""
    in_log = [entry for entry, _ in found]
    if not _may_have_landed(search):
        return [msgspec.structs.replace(entry, **_WAITS) if entry.mode == "live" else entry for entry in in_log]
    from footfall.lake.lookup import Lookup
    from footfall.lake.reading import open_lake

    try:
        with open_lake(search.data, settings=search.settings.lake) as lake:
            lookup = Lookup(lake, search.data, event_id=search.event_id)
            told = [_with_fate(search, lookup, *entry) for entry in found]
    except LakeError as error:
        say(f"{marked(error.message)}: whether it landed is not known")
        return in_log
    known = {entry.position for entry in in_log if entry.mode == "live"}
    told += [_only_a_row(row) for row in lookup.rows if row.position not in known]
    return told + [_only_poison(poison) for poison in lookup.poisoned.values() if poison.position not in known]


def _may_have_landed(search: Search) -> bool:
    """Without a table the lake's packages, which take half a second, are not asked."""
    return search.settings.lake.table is not None or (search.data / "lake" / "events").exists()


_WAITS: Final = {"landing": "waits", "landing_why": "waits to land in the table"}


def _with_fate(search: Search, lookup: Lookup, entry: Found, seen: EventRecord) -> Found:
    if entry.mode != "live":
        return entry
    writer, _, sequence = entry.position.rpartition("/")
    fate = lookup.fate(writer, int(sequence), platform=entry.platform, event_type=entry.event_type, timestamp=entry.timestamp)
    erased = fate.landing == "gone" and _is_erased(search.data, seen)
    row = fate.row
    return msgspec.structs.replace(
        entry, landing="erased" if erased else fate.landing, landing_why=_ERASED if erased else _fate_in_words(fate),
        row=row.position if row else None, event_date=row.event_date if row else None, landed_at=row.landed_at if row else None,
    )  # fmt: skip


_ERASED: Final = "not in the table: the person it is about was erased by request"
_GONE: Final = (
    "not in the table any more, or never: the person it is about was erased, or the platform's events are not kept that long"
)


def _fate_in_words(fate: Fate) -> str:
    if fate.landing == "waits":
        return _WAITS["landing_why"]
    if fate.poisoned is not None:
        return f"in quarantine since {_moment(fate.poisoned.quarantined_at)}: {fate.poisoned.reason}"
    if fate.row is None:
        return _GONE
    if fate.landing == "repeat":
        return f"a repeat: the row of this event is {fate.row.position}, landed {_moment(fate.row.landed_at)}"
    return f"landed {_moment(fate.row.landed_at)}, event_date {fate.row.event_date}"


def _is_erased(data: Path, seen: EventRecord) -> bool:
    """Whether a request covers it: identifiers are known by their hashes only, so each of the event's is hashed and compared."""
    device = seen.event.device
    held = {
        "user_id": seen.event.user_id,
        "persistent_id": device.persistent_id if device is not None else None,
        "custom_id": seen.event.custom_id,
    }
    with found_registry(data) as registry:
        erasures = registry.erasures() if registry is not None else []
        if registry is None or not erasures:
            return False
        pepper = registry.pepper()
    from footfall.registry.erasures import erasure_mac

    covering = [each for each in erasures if each.platform == seen.platform and seen.event.timestamp < each.requested_at]
    return any(
        erasure.mac == erasure_mac(pepper, platform=seen.platform, kind=erasure.kind, identifier=identifier)
        for erasure in covering
        if (identifier := held[erasure.kind])
    )


def _only_a_row(row: Row) -> Found:
    return Found(
        place="lake", position=row.position, platform=row.platform, mode="live", event_type=row.event_type,
        timestamp=row.timestamp, received_at=row.received_at, source=row.source, state="landed",
        why=f"landed {_moment(row.landed_at)}, event_date {row.event_date}; its record has left the log since",
        landing="landed", row=row.position, event_date=row.event_date, landed_at=row.landed_at,
    )  # fmt: skip


def _only_poison(poison: Poisoned) -> Found:
    return Found(
        place="quarantine", position=poison.position, platform=poison.platform, mode="live", event_type="", timestamp=0,
        received_at=0, source=poison.source, state="quarantined", landing="quarantined",
        why=f"in quarantine since {_moment(poison.quarantined_at)}: {poison.reason}",
    )  # fmt: skip


# -- how it looks


def _print(found: Found) -> None:
    head = f"[bold]{found.position}[/]  {marked(found.platform)}  {found.mode}  {marked(found.event_type)}"
    times = f"happened {_moment(found.timestamp)}, received {_moment(found.received_at)} by {marked(found.source)}"
    if found.place == "quarantine":  # what could not be read says neither
        times = f"came by {marked(found.source)}"
    colour = {"accepted": "green", "landed": "green", "repeat": "yellow", "quarantined": "red"}.get(found.state, "cyan")
    results().print(f"{head}  {times}\n    [{colour}]{marked(found.why)}[/]", soft_wrap=True)
    if found.landing_why is not None:
        results().print(f"    {marked(found.landing_why)}", soft_wrap=True)


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
    say("  the person it is about was erased by request: then nothing of it is left in the log or the table")
    say("  it lies in another data directory (--data or FOOTFALL_DATA), or was sent somewhere else")
    for mode, reader in trees.items():
        for writer, count in reader.unconfirmed().items():
            say(f"  {mode}/{writer} holds {counted(count, 'record')} never confirmed: the next `footfall serve` decides")
