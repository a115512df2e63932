"""What a server asks of a tree before it opens it: are old segments whole, and was work left behind that nobody owns now?

Opening a writer reads its newest segment whole and of the others the first and last line (`recovery.survey`). What rots in the
middle of an old segment would therefore be met by a reader, weeks later. `check_sealed` meets it at the start, as far as a time
budget goes, the newest first: they are the likeliest to be read. `set_aside` then does to old segments what quarantine does to
the newest. `recover_leftover` opens the directories of writers that no longer run, so that nothing waits there for an opening
that never comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path
from typing import TypedDict, Unpack
from uuid import uuid4

import msgspec

from footfall.clock import Clock, SystemClock
from footfall.errors import LogLockedError
from footfall.log.directory import LOCK_NAME, SegmentName, changing, list_segments, writers_of
from footfall.log.disk import Disk
from footfall.log.format import Sealed, is_writer_name
from footfall.log.recovery import Succession, quarantine_older
from footfall.log.segment import Damage, Group, SegmentFile
from footfall.log.segments import SegmentWriter
from footfall.log.verify import DamagedPlace

_UNSEALED_MS = 1 << 62


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found. `segments_left` were not reached within the budget: the next start begins with the newest again, and
    `footfall log verify` reads them all."""

    damages: tuple[DamagedPlace, ...]
    segments_checked: int
    segments_left: int
    bytes_checked: int


class OpenOptions(TypedDict, total=False):
    """Those of `SegmentWriter.open` that matter to an opening which writes nothing new."""

    segment_bytes: int
    free_bytes_min: int
    accept_tmpfs: bool
    quarantine_corrupt: bool
    clock: Clock
    disk: Disk


class _Older(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that another follows."""

    writer: str
    name: SegmentName
    next_base: int
    sealed_at_ms: int


def check_sealed(tree: Path | str, *, budget_s: float, clock: Clock | None = None, disk: Disk | None = None) -> Inspection:
    """Reads every byte of the older segments of all writers, the last sealed first, until `budget_s` is over.

    Changes nothing, takes no lock; a segment that is removed or superseded meanwhile is passed over. The newest segment of each
    writer is left to the opening, which reads it whole. Memory: one group. OSError where reading fails.
    """
    disk, clock, tree = disk or Disk(), clock or SystemClock(), Path(tree)
    older = sorted(_older_segments(disk, tree), key=lambda segment: segment.sealed_at_ms, reverse=True)
    deadline_s = clock.monotonic_s() + budget_s
    damages: list[DamagedPlace] = []
    checked = bytes_checked = 0
    for segment in older:
        if clock.monotonic_s() >= deadline_s:
            break
        found, size = _damage(disk, tree, segment)
        damages += [found] if found else []
        checked += 1
        bytes_checked += size
    return Inspection(
        damages=tuple(damages), segments_checked=checked, segments_left=len(older) - checked, bytes_checked=bytes_checked
    )


def set_aside(tree: Path | str, damages: Iterable[DamagedPlace], *, clock: Clock | None = None, disk: Disk | None = None) -> int:
    """Quarantines the older segments that `damages` name; returns how many.

    Each damaged file keeps all its bytes under `damaged/`. In its place stands a successor with every undamaged group, sequences
    unchanged, and a line that says which records are lost; a sum covers a group, so a damaged group is lost whole. Dying midway
    leaves a tree that opens to the same records, and calling it again finishes. Raises LogLockedError where a writer is alive,
    OSError where the volume fails.
    """
    disk, clock, tree = disk or Disk(), clock or SystemClock(), Path(tree)
    by_writer: dict[str, set[str]] = {}
    for place in damages:
        writer, _, file = place.file.partition("/")
        by_writer.setdefault(writer, set()).add(file)
    return sum(_set_aside(disk, clock, tree / writer, files) for writer, files in by_writer.items())


def recover_leftover(tree: Path | str, *, keep: Collection[str], **options: Unpack[OpenOptions]) -> list[str]:
    """Opens and closes every writer's directory that is not in `keep` and that nobody owns: what was never confirmed there
    becomes durable, readable and sealed. Returns the writers that had not ended properly, by name.

    Raises what `SegmentWriter.open` raises, but passes over a living writer (an import in progress) and over directories that
    hold no log. Idempotent.
    """
    tree, disk = Path(tree), options.get("disk") or Disk()
    recovered = []
    for writer in writers_of(disk, tree):
        if writer in keep or not _holds_log(disk, tree / writer):
            continue
        unfinished = not _ended_properly(disk, tree / writer)
        try:
            SegmentWriter.open(tree, writer=writer, **options).close()
        except LogLockedError:
            continue
        recovered += [writer] if unfinished else []
    return recovered


def _older_segments(disk: Disk, tree: Path) -> Iterable[_Older]:
    for writer in writers_of(disk, tree):
        for name, following in pairwise(list_segments(disk, tree / writer).segments):
            try:
                file = SegmentFile(disk, tree / writer, name)
            except FileNotFoundError:
                continue
            try:
                seal = file.seal()
            finally:
                file.close()
            sealed_at_ms = seal.sealed_at_ms if seal is not None else _UNSEALED_MS  # no seal is odd: look there first
            yield _Older(writer=writer, name=name, next_base=following.base, sealed_at_ms=sealed_at_ms)


def _damage(disk: Disk, tree: Path, segment: _Older) -> tuple[DamagedPlace | None, int]:
    """The first damage of one segment, and its size."""
    try:
        file = SegmentFile(disk, tree / segment.writer, segment.name)
    except FileNotFoundError:
        return None, 0
    try:
        found = _first_damage(file, segment)
        if found is None:
            return None, file.size()
        offset, reason = found
        place = f"{segment.writer}/{segment.name.file}"
        return DamagedPlace(file=place, offset=offset, reason=reason), file.size()
    finally:
        file.close()


def _first_damage(file: SegmentFile, segment: _Older) -> tuple[int, str] | None:
    header = file.header
    if header is None or header.writer != segment.writer:
        return 0, "the first line is damaged, or another writer's"
    last, groups, records = header.first - 1, 0, 0
    for entry in file.entries():
        if isinstance(entry, Damage):
            # where only the seal is torn, the opening seals again: no record is touched
            return None if entry.sequence == segment.next_base else (entry.offset, entry.reason)
        last = entry.last
        if isinstance(entry, Group):
            groups, records = groups + 1, records + entry.header.count
        elif isinstance(entry, Sealed) and (entry.groups, entry.records) != (groups, records):
            return 0, "the seal counts other groups or records than there are"
    return None if last >= segment.next_base - 1 else (file.size(), "records end early")


def _set_aside(disk: Disk, clock: Clock, directory: Path, files: set[str]) -> int:
    try:
        lock = disk.lock(directory / LOCK_NAME)
    except BlockingIOError:
        raise LogLockedError(f"{directory} is owned by another running process; stop that one first") from None
    plan = Succession(
        disk=disk, directory=directory, writer=directory.name, new_id=lambda: uuid4().hex, now_ms=clock.now_ms
    )  # fmt: skip
    try:
        with changing(disk, directory):
            return quarantine_older(plan, files)
    finally:
        disk.close(lock)


def _holds_log(disk: Disk, directory: Path) -> bool:
    """Whether this is a writer's: people leave things, too."""
    if not is_writer_name(directory.name):
        return False
    listing = list_segments(disk, directory)
    return bool(listing.segments or listing.unfinished) or LOCK_NAME in disk.names(directory)


def _ended_properly(disk: Disk, directory: Path) -> bool:
    segments = list_segments(disk, directory).segments
    if not segments:
        return True
    try:
        file = SegmentFile(disk, directory, segments[-1])
    except FileNotFoundError:
        return False
    try:
        return file.seal() is not None
    finally:
        file.close()
