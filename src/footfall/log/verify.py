"""Reads every byte of a tree and says what is wrong, changing nothing; works while writers write."""

from __future__ import annotations

from pathlib import Path

import msgspec

from footfall.log.directory import LOCK_NAME, QUARANTINE_NAME, WATERMARK_NAME, SegmentName, list_segments, writers_of
from footfall.log.disk import Disk
from footfall.log.format import GroupHeader, Lost, Sealed
from footfall.log.segment import Damage, Group, SegmentFile
from footfall.log.watermark import read_watermark

_LOOKS_MAX = 5


class DamagedPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look. `file` is relative to the tree."""

    file: str
    offset: int
    reason: str


class WriterReport(msgspec.Struct, frozen=True, kw_only=True):
    """One writer's directory. `durable` is None where the watermark is missing or unreadable; `lost` counts records that an
    earlier quarantine gave up; a `torn_tail` above the durable mark is not damage (a writer may be writing it just now)."""

    writer: str
    alive: bool
    segments: int
    sealed: int
    groups: int
    records: int
    bytes_count: int
    first: int
    last: int
    durable: int | None
    lost: int
    quarantined: int
    torn_tails: tuple[DamagedPlace, ...]
    damages: tuple[DamagedPlace, ...]


class TreeReport(msgspec.Struct, frozen=True, kw_only=True):
    """All writers of a tree."""

    writers: tuple[WriterReport, ...]

    @property
    def is_sound(self) -> bool:
        return not any(report.damages for report in self.writers)


def verify(tree: Path | str, *, disk: Disk | None = None) -> TreeReport:
    """Checks every line, sum and sequence below `tree`. Memory: one group. Raises OSError where reading fails."""
    disk = disk or Disk()
    return TreeReport(writers=tuple(_verify_writer(disk, Path(tree), writer) for writer in writers_of(disk, Path(tree))))


def _verify_writer(disk: Disk, tree: Path, writer: str) -> WriterReport:
    for _ in range(_LOOKS_MAX - 1):
        try:
            return _Count(disk, tree, writer).report()
        except FileNotFoundError:
            continue  # removed or superseded under our eyes
    return _Count(disk, tree, writer).report()


class _Count:
    """The running sums of one look at a directory."""

    def __init__(self, disk: Disk, tree: Path, writer: str) -> None:
        self._disk = disk
        self._directory = tree / writer
        self._writer = writer
        self._sealed = self._groups = self._records = self._bytes = self._lost = 0
        self._first = self._last = 0
        self._torn: list[DamagedPlace] = []
        self._damages: list[DamagedPlace] = []

    def report(self) -> WriterReport:
        disk, directory = self._disk, self._directory
        alive = disk.is_locked(directory / LOCK_NAME)
        durable = read_watermark(disk, directory / WATERMARK_NAME)  # before the files: what it says is in them
        names = list_segments(disk, directory).segments
        for index, name in enumerate(names):
            following = names[index + 1].base if index + 1 < len(names) else None
            file = self._open(name)
            try:
                self._segment(file, next_base=following, durable=durable or 0)
            finally:
                file.close()
        if durable is not None and self._last < durable:
            self._damage("durable", 0, f"records {self._last + 1} to {durable} were durable and are missing")
        aside = directory / QUARANTINE_NAME
        return WriterReport(
            writer=self._writer, alive=alive, segments=len(names), sealed=self._sealed, groups=self._groups,
            records=self._records, bytes_count=self._bytes, first=self._first, last=self._last, durable=durable,
            lost=self._lost, quarantined=len(disk.names(aside)) if disk.is_directory(aside) else 0,
            torn_tails=tuple(self._torn), damages=tuple(self._damages),
        )  # fmt: skip

    def _open(self, name: SegmentName) -> SegmentFile:
        """The segment, or what replaced it since it was listed: so one look can go on beside an erasure, which replaces many."""
        try:
            return SegmentFile(self._disk, self._directory, name)
        except FileNotFoundError:
            for newer in list_segments(self._disk, self._directory).segments:
                if newer.base == name.base:
                    return SegmentFile(self._disk, self._directory, newer)
            raise

    def _segment(self, file: SegmentFile, *, next_base: int | None, durable: int) -> None:
        self._bytes += file.size()
        self._chain(file.name)
        if file.header is None or file.header.writer != self._writer:
            self._damage(file.name.file, 0, "the first line is damaged, or another writer's")
            self._last = max(self._last, file.name.base - 1)
            return
        self._first = self._first or file.header.first
        self._last = file.header.first - 1
        self._entries(file, next_base=next_base, durable=durable)

    def _chain(self, name: SegmentName) -> None:
        if self._first and name.base != self._last + 1:
            self._damage(name.file, 0, f"begins at {name.base}, the segment before ends at {self._last}")

    def _entries(self, file: SegmentFile, *, next_base: int | None, durable: int) -> None:
        groups, records = self._groups, self._records
        for entry in file.entries():
            if isinstance(entry, Damage):
                if next_base is None:
                    torn = entry.sequence > max(durable, _told(file, entry))
                else:
                    torn = entry.sequence == next_base  # only the seal is torn, the next opening seals it again
                place = DamagedPlace(file=f"{self._writer}/{file.name.file}", offset=entry.offset, reason=entry.reason)
                (self._torn if torn else self._damages).append(place)
                return
            self._last = entry.last
            if isinstance(entry, Group):
                self._groups += 1
                self._records += entry.header.count
            elif isinstance(entry, Lost):
                self._lost += entry.last - entry.first + 1
            else:
                self._sealed += 1
                if (entry.groups, entry.records) != (self._groups - groups, self._records - records):
                    self._damage(file.name.file, 0, "the seal counts other groups or records than there are")

    def _damage(self, file: str, offset: int, reason: str) -> None:
        self._damages.append(DamagedPlace(file=f"{self._writer}/{file}", offset=offset, reason=reason))


def _told(file: SegmentFile, damage: Damage) -> int:
    """The highest sequence that lines behind the damage call durable."""
    told = 0
    for _, line in file.lines_after(damage.offset):
        if isinstance(line, GroupHeader):
            told = max(told, line.durable_upto)
        elif isinstance(line, Sealed):
            told = max(told, line.last)
    return told
