"""An outbox directory as its keeper sees it: what lies in it, and what becomes of the refused events. Prints nothing.

Reading needs no lock and disturbs nobody. Resending and dropping work while the owner of a tray lives: how far the refused events
are handled is a file beside them, which the owner only reads. Resent events become a tray of their own that no process holds, and
the next outbox that looks (each does so every 30 s) delivers it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from footfall.client.outbox.complaints import what_of
from footfall.client.outbox.records import DECODE_ERRORS, Refused, decode_refused, head_of, line_of
from footfall.client.outbox.tally import Tally, read_tally
from footfall.client.outbox.tray import HANDLED_NAME, REFUSED_NAME, Room, Tray, handled_of, label_of, replace_file, trays_in
from footfall.client.outbox.worths import NAMES, worth_of
from footfall.clock import Clock, SystemClock
from footfall.errors import LogCorruptError, LogError, LogLockedError
from footfall.log.directory import LOCK_NAME, WATERMARK_NAME
from footfall.log.disk import Disk
from footfall.log.reader import SegmentReader
from footfall.log.watermark import read_watermark

_HANDLING_NAME: Final = "handling"
_RESEND_BYTES_MAX: Final = 1 << 30


class TrayReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process's directory. Numbers of a living one are a moment old."""

    name: str
    to: str
    """The events URL; empty where it cannot be told."""
    pid: int
    made_at: int
    """Milliseconds since 1970."""
    alive: bool
    """Whether some process answers for it: the one that made it, or one that took it up."""
    waiting: dict[str, int]
    """By worth: page-view, browsing, cart, purchase."""
    delivered: int
    refused: int
    """Kept and not handled yet."""
    shed: int
    """Given up, and never kept (as far as it was written down)."""
    mistaken: int
    bytes_count: int
    damaged: str = ""
    """What cannot be read of it, and so is not in these numbers; empty where all can."""


class RefusedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was set aside, and why. `repr` leaves the event out."""

    tray: str
    sequence: int
    to: str
    at: int
    status: int
    message: str
    event: bytes
    """As JSON."""
    lane: int

    def __repr__(self) -> str:
        return f"RefusedEvent(tray={self.tray!r}, sequence={self.sequence}, status={self.status}, message={self.message!r})"


def list_trays(root: Path | str, *, disk: Disk | None = None) -> list[TrayReport]:
    """Every process directory, oldest first. One that goes while it is read is left out; of a damaged one the report tells what
    can be told. OSError where `root` cannot be read."""
    disk = disk or Disk()
    reports = [_report(disk, directory) for directory in trays_in(disk, Path(root))]
    return [report for report in reports if report is not None]


def refused_events(root: Path | str, *, tray: str | None = None, disk: Disk | None = None) -> Iterator[RefusedEvent]:
    """What was set aside and not handled, oldest tray first; of one `tray` where named. Each event comes once, although a crash
    may have set it aside twice. What lies behind damage is left out, and told by `list_trays`. OSError."""
    disk = disk or Disk()
    for directory in _named(disk, Path(root), tray):
        yield from _refused(disk, directory).events


def resend(root: Path | str, *, tray: str | None = None, disk: Disk | None = None, clock: Clock | None = None) -> int:
    """Puts the refused events back among the waiting ones, with the ids and times they had; returns how many. Killed halfway it
    may have put some back that a second call puts back again: the receiver counts an id once. LogLockedError: somebody else is
    at it. LogCorruptError: what lies before damage, and all of other trays, is put back, the rest stays."""
    disk, clock = disk or Disk(), clock or SystemClock()

    def put_back(events: list[RefusedEvent]) -> None:
        for to, group in groupby(sorted(events, key=lambda event: event.to), key=lambda event: event.to):
            made = Tray.make(Path(root), to=to, room=Room(bytes_max=_RESEND_BYTES_MAX), disk=disk, clock=clock)
            try:
                _fill(made, list(group), clock)
            finally:
                made.close()

    return _handle(disk, Path(root), tray, put_back)


def drop(root: Path | str, *, tray: str | None = None, disk: Disk | None = None) -> int:
    """Gives the refused events up for good, also what cannot be read of them; returns how many could. LogLockedError: somebody
    else is at it."""
    return _handle(disk or Disk(), Path(root), tray, None)


class _Refusals(NamedTuple):
    """The refused events of a tray that nobody has handled, each once."""

    events: list[RefusedEvent]
    last: int
    """The number of the last record among them."""
    damage: LogCorruptError | None
    """What hides the rest."""


def _report(disk: Disk, directory: Path) -> TrayReport | None:
    """None where the tray has gone meanwhile."""
    label, tally, damages = label_of(disk, directory), Tally(), []
    lasts: Mapping[str, int] = {name: read_watermark(disk, directory / name / WATERMARK_NAME) or 0 for name in NAMES}
    refusals = _Refusals([], 0, None)
    alive, bytes_count = False, 0
    try:
        tally = read_tally(disk, directory)
        alive = disk.is_locked(directory / LOCK_NAME)
        bytes_count = _bytes_in(directory)
        refusals = _refused(disk, directory)
        lasts = _lasts(disk, directory)
    except (OSError, LogError) as error:
        damages.append(error)
    if not disk.is_directory(directory):
        return None
    return TrayReport(
        name=directory.name, to=label.to if label else "", pid=label.pid if label else 0, made_at=label.made_at if label else 0,
        alive=alive, delivered=tally.delivered, refused=len(refusals.events), shed=tally.shed + tally.turned_away,
        waiting={name: max(0, lasts.get(name, 0) - cursor) for name, cursor in zip(NAMES, tally.cursors, strict=True)},
        mistaken=tally.mistaken, bytes_count=bytes_count,
        damaged="; ".join(_words(each, directory) for each in (*damages, refusals.damage) if each),
    )  # fmt: skip


def _lasts(disk: Disk, directory: Path) -> Mapping[str, int]:
    """The last record of each log, as far as it is known."""
    reader = SegmentReader(directory, disk=disk)
    try:
        unconfirmed = reader.unconfirmed()
        return {name: durable + unconfirmed.get(name, 0) for name, durable in reader.durable().items()}
    finally:
        reader.close()


def _bytes_in(directory: Path) -> int:
    count = 0
    for file in directory.glob("*/*.log"):
        with suppress(FileNotFoundError):  # delivered meanwhile
            count += file.stat().st_size
    return count


def _words(error: Exception, directory: Path) -> str:
    """Without the place of the outbox, which may name a person."""
    return what_of(error).replace(f"{directory}{os.sep}", "")


def _refused(disk: Disk, directory: Path) -> _Refusals:
    """In memory: they take a quarter of an outbox at most."""
    last = handled_of(disk, directory)
    events: dict[str, RefusedEvent] = {}
    damage = None
    if not disk.is_directory(directory / REFUSED_NAME):
        return _Refusals([], last, None)
    try:
        for record in SegmentReader(directory, disk=disk).scan_writer(REFUSED_NAME, after=last):
            last = record.sequence
            try:
                found: Refused = decode_refused(record.body)
            except DECODE_ERRORS:
                continue
            event = RefusedEvent(
                tray=directory.name, sequence=record.sequence, to=found.to, at=found.at, status=found.status,
                message=found.message, event=bytes(found.event), lane=found.lane,
            )  # fmt: skip
            events.setdefault(found.position, event)
    except LogCorruptError as error:
        damage = error
    return _Refusals(list(events.values()), last, damage)


def _handle(disk: Disk, root: Path, tray: str | None, put_back: Callable[[list[RefusedEvent]], None] | None) -> int:
    """Notes all refused events as handled, which `put_back` does; where there is none they are given up."""
    count = 0
    damage: LogCorruptError | None = None
    for directory in _named(disk, root, tray):
        try:
            lock = disk.lock(directory / _HANDLING_NAME)
        except BlockingIOError:
            raise LogLockedError(f"the refused events of {directory} are being handled by another process") from None
        except FileNotFoundError:
            continue  # its owner has just finished with it
        try:
            events, last, damaged = _refused(disk, directory)
            if put_back is not None:
                put_back(events)
                damage = damage or damaged
            elif damaged:
                last = max(last, read_watermark(disk, directory / REFUSED_NAME / WATERMARK_NAME) or 0)
            if last > handled_of(disk, directory):
                replace_file(disk, directory / HANDLED_NAME, b"%d\n" % last)
            count += len(events)
        finally:
            disk.close(lock)
    if damage:
        raise damage
    return count


def _fill(made: Tray, events: list[RefusedEvent], clock: Clock) -> None:
    head = head_of(made.label.to)
    for n, event in enumerate(events, 1):
        found: Any = msgspec.json.decode(event.event)
        kind = found.get("event_type") if isinstance(found, dict) else None
        made.append(worth_of(kind), line_of(head, n, clock.now_ms(), event.lane, event.event))


def _named(disk: Disk, root: Path, tray: str | None) -> list[Path]:
    return [directory for directory in trays_in(disk, root) if tray in (None, directory.name)]
