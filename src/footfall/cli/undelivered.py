"""What an outbox directory still holds, put into an operator's terms: places, reasons, kinds of events. Prints nothing.

Of an event nothing leaves here but its id, its type, and what the receiver said about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from footfall.client.outbox.inspection import RefusedEvent, TrayReport, drop, list_trays
from footfall.client.outbox.records import DECODE_ERRORS, decode_waiting
from footfall.client.outbox.tally import read_tally
from footfall.client.outbox.tray import Room, Tray, holds_refused
from footfall.client.outbox.worths import NAMES
from footfall.clock import SystemClock
from footfall.delivery.address import EVENTS_PATH_END, PLATFORMS_PATH, Address
from footfall.errors import LogError
from footfall.events.schema import EVENT_TYPES
from footfall.log.disk import Disk
from footfall.log.reader import SegmentReader

OTHER: Final = "other"
"""Stands for types nobody knows, which may hold anything, and for what cannot be read."""
ANY_BYTES: Final = 1 << 50
"""Room without end: who looks after an outbox by hand must not have its oldest events given up meanwhile."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One platform of one receiver, taken apart from the events URL of a label."""

    base_url: str
    platform_id: str

    def __str__(self) -> str:
        return f"{self.platform_id} at {self.base_url}"

    @property
    def url(self) -> str:
        return Address(base_url=self.base_url, platform_id=self.platform_id, api_key="").url


class Reason(msgspec.Struct, kw_only=True):
    """Why events were set aside. Events that met the same words count together."""

    status: int
    """0 where no answer came."""
    message: str
    count: int = 0
    event_types: dict[str, int] = msgspec.field(default_factory=dict)
    example_id: str = ""
    """Of one of the events."""


class _Told(msgspec.Struct, frozen=True):
    """The part of an event that is told. Without types, for a refused event may hold anything there."""

    id: Any = ""
    event_type: Any = ""


_decode_told: Final = msgspec.json.Decoder(_Told).decode


def place_of(to: str) -> Place | None:
    """Where the events of a label go; None for a label that was lost, or is none of ours."""
    base_url, _, rest = to.rpartition(PLATFORMS_PATH)
    place = Place(base_url=base_url, platform_id=unquote(rest.removesuffix(EVENTS_PATH_END)))
    return place if base_url and place.url == to else None


def trays(root: Path, *, name: str | None = None) -> list[TrayReport]:
    """The process directories, oldest first; the one of `name` where given. OSError."""
    return [tray for tray in list_trays(root) if name in (None, tray.name)]


def waiting(tray: TrayReport) -> int:
    return sum(tray.waiting.values())


def waiting_of_the_dead(found: Iterable[TrayReport]) -> int:
    """What nobody is about to deliver."""
    return sum(waiting(tray) for tray in found if not tray.alive)


def oldest_waiting_at(root: Path, tray: TrayReport) -> int | None:
    """When the oldest event that waits was tracked, in milliseconds since 1970; None where nothing waits, or only what a process
    wrote in the last second of its life, which its heir brings up."""
    times: list[int] = []
    reader = SegmentReader(root / tray.name)
    try:
        cursors = read_tally(Disk(), root / tray.name).cursors
        for name, cursor in zip(NAMES, cursors, strict=True):
            if tray.waiting.get(name):
                records = reader.read_writer(name, after=cursor, records_max=1)
                times += [decode_waiting(record.body).at for record in records]
    except (OSError, LogError, *DECODE_ERRORS):
        pass  # an age is not worth a failure; who delivers the events meets the damage and says so
    finally:
        reader.close()
    return min(times, default=None)


def reasons_of(events: Iterable[RefusedEvent]) -> list[Reason]:
    """The refused events by what the receiver said, the most frequent first."""
    reasons: dict[tuple[int, str], Reason] = {}
    for event in events:
        key = (event.status, event.message)
        reason = reasons.setdefault(key, Reason(status=event.status, message=event.message))
        told = _told(event.event)
        kind = _type_in(told)
        reason.count += 1
        reason.event_types[kind] = reason.event_types.get(kind, 0) + 1
        reason.example_id = reason.example_id or (told.id if isinstance(told.id, str) else "")
    return sorted(reasons.values(), key=lambda reason: -reason.count)


def type_of(event: bytes) -> str:
    """The event's type where it is one of the eight, else `OTHER`."""
    return _type_in(_told(event))


def _type_in(told: _Told) -> str:
    kind = told.event_type
    return kind if isinstance(kind, str) and kind in EVENT_TYPES else OTHER


def give_up_waiting(root: Path, tray: TrayReport) -> Counter[str] | None:
    """Removes the directory of a dead process with everything in it, refused events included, and returns what waited, by type;
    None where it is not ours to remove: some process answers for it, or its label is lost. OSError, LogError."""
    directory = root / tray.name
    disk, clock = Disk(), SystemClock()
    claimed = Tray.claim(directory, to=tray.to, room=Room(bytes_max=ANY_BYTES), disk=disk, clock=clock)
    if claimed is None:
        return None
    try:
        types = _waiting_types(claimed)
        if holds_refused(disk, directory):
            drop(root, tray=tray.name)
        claimed.remove()
    finally:
        claimed.close()
    return types


def _waiting_types(tray: Tray) -> Counter[str]:
    types: Counter[str] = Counter()
    reader = SegmentReader(tray.directory)
    for name, cursor, last in zip(NAMES, tray.tallies.tally.cursors, tray.lasts, strict=True):
        unread = max(0, last - cursor)
        try:
            for record in reader.scan_writer(name, after=cursor) if unread else ():
                types[type_of(bytes(decode_waiting(record.body).event))] += 1
                unread -= 1
        except (LogError, *DECODE_ERRORS):
            pass  # damaged: it goes with the rest
        types[OTHER] += max(0, unread)
    return +types


def _told(event: bytes) -> _Told:
    try:
        return _decode_told(event)
    except DECODE_ERRORS:
        return _Told()
