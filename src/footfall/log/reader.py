"""The durable log in local files: the reader. Any process, any time, no lock, no word to the writer.

A reader shows records up to the durable watermark and none beyond, though the file goes on: what is not yet synced a power cut
may take back, and its number then names another record. After a kill the watermark file still tells the truth (it lives in the
page cache); after a power cut, when it may be garbage, the lines of the newest segment say what was durable.

Segments may be superseded or removed while they are read. An open file stays readable; when it ends early, or is gone, the
directory is listed again. Only when the second look shows the same is it corruption. The same before records are passed over as
taken away: a listing may miss a file that is replaced while it is made, two in a row cannot.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

from footfall.errors import LogCorruptError
from footfall.log.api import Payload, Record
from footfall.log.directory import LOCK_NAME, WATERMARK_NAME, SegmentName, list_segments, writers_of
from footfall.log.disk import Disk
from footfall.log.format import GroupHeader
from footfall.log.segment import Damage, Entry, Group, SegmentFile
from footfall.log.watermark import read_watermark

_PIECE_BYTES: Final = 1 << 18
"""Joining more costs more than handing over more pieces: fresh memory by the ten megabytes (1.5 → 0.9 µs a record of 700
bytes)."""
_LOOKS_MAX: Final = 5
"""How often a directory that changes under the reader is listed again before that counts as damage."""


class SegmentReader:
    """All writers of one tree. Holds at most one open file for each; not thread-safe."""

    def __init__(self, tree: Path | str, *, disk: Disk | None = None) -> None:
        self._tree = Path(tree)
        self._disk = disk or Disk()
        self._streams: dict[str, _Stream] = {}
        self._turn = 0

    def writers(self) -> Sequence[str]:
        """The names of the writers so far, sorted."""
        return writers_of(self._disk, self._tree)

    def read(self, positions: Mapping[str, int], *, records_max: int) -> Sequence[Record]:
        """As `LogReader.read`. Writers take turns, so that a long backlog of one does not hide the others."""
        writers = self.writers()
        self._turn += 1
        records: list[Record] = []
        for index in range(len(writers)):
            writer = writers[(index + self._turn) % len(writers)]
            share = -(-(records_max - len(records)) // (len(writers) - index))
            if share > 0:
                records += self._stream(writer).read(positions.get(writer, 0), records_max=share)
        return records

    def read_writer(self, writer: str, *, after: int, records_max: int) -> Sequence[Record]:
        """The next durable records of one writer after sequence `after`. As `read`, without a look at the tree."""
        return self._stream(writer).read(after, records_max=records_max)

    def read_payloads(self, writer: str, *, after: int, bytes_max: int, records_max: int) -> list[Payload]:
        """As `read_writer`, for those who take records by the hundred thousand: no object for each record, but pieces of some
        hundred kilobytes without a gap. Whole groups, as many as stay within both limits, but one at least, whatever its size."""
        return self._stream(writer).read_payloads(after, bytes_max=bytes_max, records_max=records_max)

    def count_after(self, positions: Mapping[str, int]) -> Mapping[str, int]:
        """Writer → how many durable records there are after `positions` (as in `read`), of what is kept: sequences that are lost,
        removed or were never issued do not count, and nothing behind damage does. Reads lines and seals, hardly any records."""
        return {writer: self._stream(writer).count(positions.get(writer, 0)) for writer in self.writers()}

    def scan(self) -> Iterator[Record]:
        """As `LogReader.scan`; in memory there is one group at a time."""
        for writer in self.writers():
            yield from self.scan_writer(writer)

    def scan_writer(self, writer: str, *, after: int = 0) -> Iterator[Record]:
        """The durable records of one writer after sequence `after`, up to what is durable when the scan begins."""
        stream = _Stream(self._disk, self._tree / writer, writer)
        try:
            for group in stream.groups(after, stream.durable()):
                yield from _records(writer, group, after=after)
        finally:
            stream.close()

    def durable(self) -> Mapping[str, int]:
        """Writer → last durable sequence."""
        return {writer: self._stream(writer).durable() for writer in self.writers()}

    def durable_of(self, writer: str) -> int:
        """The last durable sequence of one writer."""
        return self._stream(writer).durable()

    def unconfirmed(self) -> Mapping[str, int]:
        """Writer → how many whole records lie beyond the durable mark, where no writer is alive: the next to open there makes
        them durable. `read` and `scan` do not show them; whoever prints a log should say so."""
        counts: dict[str, int] = {}
        for writer in self.writers():
            if not self._disk.is_locked(self._tree / writer / LOCK_NAME):
                beyond = self._stream(writer).count_unconfirmed()
                if beyond > 0:
                    counts[writer] = beyond
        return counts

    def close(self) -> None:
        """Gives the open files back. The reader may be used again."""
        for stream in self._streams.values():
            stream.close()

    def _stream(self, writer: str) -> _Stream:
        if writer not in self._streams:
            self._streams[writer] = _Stream(self._disk, self._tree / writer, writer)
        return self._streams[writer]


def merge_by(readers: Iterable[SegmentReader], *, key: Callable[[Record], Any]) -> Iterator[Record]:
    """The records of several trees as one stream: exact in order within a writer, and across writers by `key` of the records
    whose turn it is. Holds one group of each writer in memory."""
    streams = [reader.scan_writer(writer) for reader in readers for writer in reader.writers()]
    return heapq.merge(*streams, key=key)


class _Stream:
    """One writer's records, from where the last look ended."""

    def __init__(self, disk: Disk, directory: Path, writer: str) -> None:
        self._disk = disk
        self._directory = directory
        self._writer = writer
        self._segments: tuple[SegmentName, ...] = ()
        self._file: SegmentFile | None = None
        self._offset = 0  # in that file, of a group that begins at …
        self._sequence = 0  # … this sequence; both 0: the file's beginning
        self._held: Group | None = None  # the group read last, of which a part may be left

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._held = None

    def durable(self) -> int:
        mark = read_watermark(self._disk, self._directory / WATERMARK_NAME)
        return mark if mark is not None else self._durable_by_lines()

    def count(self, position: int) -> int:
        """How many durable records after `position` are here."""
        upto = self.durable()
        return self._sum(position, lambda file: self._count_durable(file, position, upto)) if position < upto else 0

    def count_unconfirmed(self) -> int:
        """How many whole records lie beyond the durable mark."""
        durable = self.durable()
        return self._sum(durable, lambda file: _count_whole(file, after=durable))

    def read(self, position: int, *, records_max: int) -> list[Record]:
        upto = self.durable()
        records: list[Record] = []
        if position >= upto:
            return records
        for group in self._groups_or_held(position, upto):
            records += _records(self._writer, group, after=position)
            if len(records) >= records_max:
                break
        return records[:records_max]

    def read_payloads(self, position: int, *, bytes_max: int, records_max: int) -> list[Payload]:
        upto = self.durable()
        payloads: list[Payload] = []
        pieces: list[bytes] = []
        first = last = size = count = gathered = 0
        for group in self._groups_or_held(position, upto) if position < upto else ():
            begin = max(group.header.first, position + 1)
            lines = _lines_after(group, begin - 1)
            size, count = size + len(lines), count + group.last + 1 - begin
            if (pieces or payloads) and (size > bytes_max or count > records_max):
                break
            if pieces and (begin != last + 1 or gathered > _PIECE_BYTES):
                payloads.append(_payload(pieces, first=first, last=last))
                pieces, gathered = [], 0
            first = first if pieces else begin
            pieces.append(lines)
            last, gathered = group.last, gathered + len(lines)
        return [*payloads, _payload(pieces, first=first, last=last)] if pieces else payloads

    def _groups_or_held(self, position: int, upto: int) -> Iterator[Group]:
        """As `groups`; what is left of the group read last is not read again."""
        held = self._held
        if held is not None and held.header.first <= position + 1 <= held.last:
            return chain((held,), self.groups(held.last, upto))
        return self.groups(position, upto)

    def groups(self, position: int, upto: int) -> Iterator[Group]:
        """Groups with records after `position`, up to `upto`."""
        looks = 0
        while position < upto:
            file = self._file_holding(position + 1)
            reached, damage = position, None
            if file is not None:  # what recovery left out, because every reader had passed it, is no gap
                reached = max(reached, file.require_header().first - 1)
                if reached >= upto:
                    return  # everything durable is gone, and what is here has yet to become it
            for entry in self._entries(file, position) if file is not None else ():
                if isinstance(entry, Damage):
                    damage = entry
                    break
                if isinstance(entry, Group) and entry.last > reached:
                    self._held, self._offset, self._sequence = entry, entry.offset, entry.header.first
                    yield entry
                reached = max(reached, entry.last)
                if reached >= upto:
                    return
            if reached > position:
                position, looks = reached, 0
            elif looks < _LOOKS_MAX:
                looks += 1
                self._look_anew()
            else:
                raise self._corrupt(file, damage)

    def _entries(self, file: SegmentFile, position: int) -> Iterator[Entry]:
        file.forget()
        if not 0 < self._sequence <= position + 1:
            self._offset = self._sequence = 0
        return file.entries(offset=self._offset, sequence=self._sequence, skip_upto=position)

    def _file_holding(self, sequence: int) -> SegmentFile | None:
        """The segment whose range holds `sequence`, the oldest where that range was removed, None where there is none (yet)."""
        if not self._segments:
            self._list()
        if self._segments and self._segments[0].base > sequence:
            self._list()  # the records before the oldest are given up for gone: on two looks only
        if not self._segments:
            return None
        name = self._segments[self._index(sequence)]
        if self._file is None or self._file.name != name:
            self.close()
            self._offset = self._sequence = 0
            try:
                self._file = SegmentFile(self._disk, self._directory, name)
            except FileNotFoundError:
                return None
        return self._file

    def _index(self, sequence: int) -> int:
        """Where among the segments listed the one is that `_file_holding` means."""
        return max(bisect_right(self._segments, sequence, key=lambda name: name.base) - 1, 0)

    def _sum(self, position: int, count: Callable[[SegmentFile], int]) -> int:
        """The sum of `count` over the segments that may hold records after `position`; what is being read is left as it is."""
        for _ in range(_LOOKS_MAX):
            self._list()
            try:
                return sum(self._counted(name, count) for name in self._segments[self._index(position + 1) :])
            except FileNotFoundError:
                continue  # replaced or removed since it was listed
        raise self._corrupt(None, None)

    def _counted(self, name: SegmentName, count: Callable[[SegmentFile], int]) -> int:
        file = SegmentFile(self._disk, self._directory, name)
        try:
            return count(file)
        finally:
            file.close()

    def _count_durable(self, file: SegmentFile, position: int, upto: int) -> int:
        if file.name.base > upto:
            return 0
        seal = file.seal()
        if seal is not None and file.require_header().first > position and seal.last <= upto:
            return seal.records
        offset = sequence = 0
        if self._file is not None and self._file.name == file.name and 0 < self._sequence <= position + 1:
            offset, sequence = self._offset, self._sequence  # where reading stands, and counting mostly begins
        count = 0
        for line in file.steps(offset=offset, sequence=sequence):
            if isinstance(line, GroupHeader):
                count += max(0, min(line.last, upto) - max(line.first - 1, position))
            if isinstance(line, Damage) or line.last >= upto:
                break
        return count

    def _look_anew(self) -> None:
        self.close()
        self._offset = self._sequence = 0
        self._list()

    def _corrupt(self, file: SegmentFile | None, damage: Damage | None) -> LogCorruptError:
        where = file.path if file is not None else self._directory
        what = f"byte {damage.offset}: {damage.reason}" if damage else "records that were durable are missing"
        return LogCorruptError(f"{where}, {what}; `footfall log verify` says more")

    def _list(self) -> None:
        try:
            self._segments = list_segments(self._disk, self._directory).segments
        except FileNotFoundError:
            self._segments = ()

    def _newest(self) -> SegmentFile | None:
        for _ in range(_LOOKS_MAX):
            self._list()
            if not self._segments:
                return None
            try:
                return SegmentFile(self._disk, self._directory, self._segments[-1])
            except FileNotFoundError:
                continue
        return None

    def _durable_by_lines(self) -> int:
        file = self._newest()
        if file is None:
            return 0
        try:
            told = [file.require_header().first - 1]
            seal = file.seal()
            if seal is not None:
                told.append(seal.last)
            told += (line.durable_upto for _, line in file.lines_after(file.body_offset) if isinstance(line, GroupHeader))
            return max(told)
        finally:
            file.close()


def _count_whole(file: SegmentFile, *, after: int) -> int:
    return sum(min(entry.header.count, entry.last - after) for entry in file.entries(skip_upto=after) if isinstance(entry, Group))


def _payload(pieces: list[bytes], *, first: int, last: int) -> Payload:
    return Payload(first=first, count=last + 1 - first, lines=b"".join(pieces) if len(pieces) > 1 else pieces[0])


def _lines_after(group: Group, sequence: int) -> bytes:
    passed = sequence + 1 - group.header.first
    return group.payload.split(b"\n", passed)[passed] if passed > 0 else group.payload


def _records(writer: str, group: Group, *, after: int) -> list[Record]:
    first = group.header.first
    if first == group.last:  # as an outbox writes them
        return [Record(writer, first, group.payload[:-1])] if first > after else []
    records = list(map(Record, repeat(writer), range(first, group.last + 1), group.bodies()))
    return records[after + 1 - first :] if first <= after else records
