"""Changing records that are stored: what an erasure asks of a log, whose segments otherwise never change.

Sequences, groups and counts stay; so do the times at which a segment was made and sealed, so that retention takes it when it
would have taken it anyway. Only records of sealed segments are changed: `sealing` seals what is still open.

    read the segment, ask `change` about every group      nothing held; most segments need nothing more
    hold the directory (`directory.changing`)
      the segment still counts?                           retention or quarantine may have been quicker
      write the next generation, sync, rename, sync       from here on this one counts
      remove the old one, sync                            here the old records are gone
    let go

Dying between any two steps leaves the old file, or both, or the new one, and each is whole; doing it again finishes, and begins
by removing what an earlier attempt or a recovery left behind. A reader that has the old file open reads on in it, to its end, and
finds the next segment as ever; the old bytes leave the volume when the last such reader lets go. A living writer is not in the
way: what it has sealed it never touches again.

Files that quarantine set aside (`damaged/`) are not rewritten: nobody can tell any more what is a record in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from footfall.errors import LogCorruptError, LogLockedError
from footfall.log.api import require_lines
from footfall.log.directory import QUARANTINE_NAME, Listing, SegmentName, changing, list_segments
from footfall.log.disk import Disk, remove_if_there
from footfall.log.format import Lost, Sealed
from footfall.log.recovery import discard
from footfall.log.segment import Damage, Group, OpenSegment, SegmentFile
from footfall.log.verify import DamagedPlace

Change = Callable[[Sequence[bytes]], Sequence[bytes] | None]
"""Gets the records of one group, some or all of them; returns as many, or None where none of them changes."""

_ATTEMPTS_MAX: Final = 5
"""How often a segment may be replaced under our eyes by somebody else, which only an opening with quarantine does."""


class Rewritten(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to one writer's directory. `segments_read` were looked at, `bytes_read` is their size; `aside` is how many
    files quarantine had set aside, which may hold anything; a segment of `damages` was left as it is."""

    records: int
    segments: int
    segments_read: int
    bytes_read: int
    aside: int
    damages: tuple[DamagedPlace, ...]


class _Look(msgspec.Struct, kw_only=True):
    """What one segment asks for: offset of a group → its lines from now on."""

    bytes_read: int = 0
    records: int = 0
    lines: dict[int, bytes] = {}
    damage: DamagedPlace | None = None


def rewrite_records(
    directory: Path,
    *,
    change: Change,
    upto: int | None = None,
    remove_damaged: bool = False,
    on_segment: Callable[[int], None] = lambda _: None,
    disk: Disk | None = None,
) -> Rewritten:
    """Lets `change` loose on the records of every segment of one writer's directory that is sealed when this begins, the newest
    too, up to sequence `upto` (None: all); records after it are not handed over and stay as they are.

    `change` may be asked about a group a second time. `on_segment` hears the size of each segment that is done. `remove_damaged`
    removes the files that quarantine set aside. In memory there is one group, and of a segment what changes in it. Blocks; may
    run in any process, beside a living writer, readers and retention. Raises ValueError where `change` returns what cannot stand
    in for what it got, LogLockedError where others hold the directory for too long, OSError or LogClosedError where the volume
    fails: call it again then.
    """
    disk = disk or Disk()
    with changing(disk, directory):
        listing = list_segments(disk, directory)
        _clear(disk, directory, listing)
        aside = _aside(disk, directory / QUARANTINE_NAME, remove=remove_damaged)
    looks: list[_Look] = []
    for name in listing.segments:
        if upto is not None and name.base > upto:
            break
        look = _rewrite(disk, directory, name.base, change=change, upto=upto)
        if look is not None:
            looks.append(look)
            on_segment(look.bytes_read)
    return Rewritten(
        records=sum(look.records for look in looks),
        segments=sum(bool(look.lines) for look in looks),
        segments_read=len(looks),
        bytes_read=sum(look.bytes_read for look in looks),
        aside=aside,
        damages=tuple(look.damage for look in looks if look.damage is not None),
    )


def _clear(disk: Disk, directory: Path, listing: Listing) -> None:
    """Removes superseded files, and unfinished ones of segments that are sealed: nobody makes those while we hold the directory.
    One beyond them a living writer may be making just now."""
    if not listing.segments:
        return
    sealed_upto = _sealed_upto(disk, directory, listing.segments[-1])
    unfinished = [name for name in listing.unfinished if name[:20].isdecimal() and int(name[:20]) <= sealed_upto]
    superseded = [name.file for name in listing.superseded]
    # Also where nothing is left to remove: an earlier attempt may have died before its removals were durable. And the name of a
    # successor must not come after the removal of what it supersedes.
    disk.sync_directory(directory)
    if superseded or unfinished:
        for file in (*superseded, *unfinished):
            remove_if_there(disk, directory / file)
        disk.sync_directory(directory)


def _sealed_upto(disk: Disk, directory: Path, newest: SegmentName) -> int:
    file = SegmentFile(disk, directory, newest)
    try:
        seal = file.seal()
        return seal.last if seal is not None else newest.base - 1
    finally:
        file.close()


def _aside(disk: Disk, directory: Path, *, remove: bool) -> int:
    if not disk.is_directory(directory):
        return 0
    names = disk.names(directory)
    if remove and names:
        for name in names:
            remove_if_there(disk, directory / name)
        disk.sync_directory(directory)
    return len(names)


def _rewrite(disk: Disk, directory: Path, base: int, *, change: Change, upto: int | None) -> _Look | None:
    """One segment. None where it is not sealed, or gone."""
    for _ in range(_ATTEMPTS_MAX):
        listed = list_segments(disk, directory).segments
        name = next((name for name in listed if name.base == base), None)
        if name is None:
            return None
        try:
            look = _look(disk, directory, name, change=change, upto=upto)
        except FileNotFoundError:
            continue
        if look is None and name != listed[-1]:
            return _Look(damage=_place(directory, name, 0, "the seal is missing or damaged: the writer's next opening mends it"))
        if look is None or not look.lines or _replace(disk, directory, name, look=look):
            return look
    raise LogLockedError(f"{directory}: the segment at {base} is replaced by others again and again; try again")


def _look(disk: Disk, directory: Path, name: SegmentName, *, change: Change, upto: int | None) -> _Look | None:
    """None where the segment is not sealed."""
    file = SegmentFile(disk, directory, name)
    try:
        if file.header is not None and file.seal() is None:
            return None
        look = _Look(bytes_read=file.size())
        fault = _changes(file, look, change=change, upto=upto) if file.header is not None else (0, "the first line is damaged")
    finally:
        file.close()
    if fault is None:
        return look
    return _Look(bytes_read=look.bytes_read, damage=_place(directory, name, *fault))


def _place(directory: Path, name: SegmentName, offset: int, reason: str) -> DamagedPlace:
    return DamagedPlace(file=f"{directory.name}/{name.file}", offset=offset, reason=reason)


def _changes(file: SegmentFile, look: _Look, *, change: Change, upto: int | None) -> tuple[int, str] | None:
    """Fills `look`; returns where and why the segment is damaged, if it is."""
    groups = records = 0
    for entry in file.entries():
        if isinstance(entry, Damage):
            return entry.offset, entry.reason
        if isinstance(entry, Group):
            groups, records = groups + 1, records + entry.header.count
            if upto is None or entry.header.first <= upto:
                _ask(entry, look, change=change, upto=entry.last if upto is None else upto)
        elif isinstance(entry, Sealed) and (entry.groups, entry.records) != (groups, records):
            return 0, "the seal counts other groups or records than there are"
    return None


def _ask(group: Group, look: _Look, *, change: Change, upto: int) -> None:
    bodies = group.bodies()
    asked = bodies[: upto + 1 - group.header.first]
    answer = change(asked)
    if answer is None:
        return
    if len(answer) != len(asked):
        raise ValueError(f"{len(answer)} records cannot stand in for {len(asked)}")
    changed = sum(old != new for old, new in zip(asked, answer, strict=True))
    if changed:
        lines = b"\n".join([*answer, *bodies[len(asked) :]]) + b"\n"
        require_lines(lines, count=group.header.count)
        look.records += changed
        look.lines[group.offset] = lines


def _replace(disk: Disk, directory: Path, name: SegmentName, *, look: _Look) -> bool:
    """Puts the successor into the place of `name`. False where that is gone, or no longer counts."""
    with changing(disk, directory):
        if name not in list_segments(disk, directory).segments:
            return False
        successor_name = SegmentName(name.base, name.generation + 1)
        remove_if_there(disk, directory / successor_name.unfinished)
        source = SegmentFile(disk, directory, name)
        try:
            _write(disk, directory, successor_name, source=source, look=look)
        except BaseException:
            discard(disk, directory / successor_name.unfinished)
            raise
        finally:
            source.close()
        remove_if_there(disk, directory / name.file)
        disk.sync_directory(directory)
    return True


def _write(disk: Disk, directory: Path, name: SegmentName, *, source: SegmentFile, look: _Look) -> None:
    header = msgspec.structs.replace(source.require_header(), segment_id=uuid4().hex)
    successor = OpenSegment(disk, directory, name, header)
    try:
        for entry in source.entries():
            if isinstance(entry, Group):
                lines = look.lines.get(entry.offset, entry.payload)
                successor.append(lines, count=entry.header.count, durable_upto=entry.header.durable_upto)
            elif isinstance(entry, Lost):
                successor.append_lost(entry.last)
            elif isinstance(entry, Sealed):
                successor.append_seal(sealed_at_ms=entry.sealed_at_ms)
            else:
                raise LogCorruptError(f"{source.path}, byte {entry.offset}: {entry.reason}")  # it was whole a moment ago
        successor.publish()
    finally:
        successor.close()
