"""One segment file: read through a window, made under a name that does not count yet, written by appending.

Reading yields entries until the end, a seal or damage, and never guesses: what damage *means* (a torn tail or corruption) is
decided by who knows the durable mark (`recovery`, `reader`, `verify`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from footfall.errors import LogClosedError, LogCorruptError
from footfall.log.directory import SegmentName
from footfall.log.disk import Disk, write_all
from footfall.log.format import (
    ANY_LINE,
    LINE_BYTES_MAX,
    GroupHeader,
    Lost,
    Sealed,
    SegmentHeader,
    decode_line,
    decode_segment_header,
    encode_group,
    encode_lost,
    encode_sealed,
)

_WINDOW_BYTES: Final = 256 * 1024
_STEP_BYTES: Final = 4096
"""Between two lines with more than this between them only so much is read: a page."""
_CUT_SHORT: Final = "a group is cut short, or its records do not match its sum"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Records that were written together, checked."""

    header: GroupHeader
    last: int
    offset: int
    payload: bytes

    def bodies(self) -> list[bytes]:
        return self.payload[:-1].split(b"\n")


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes at `offset` that are no entry; the first record they may have held is `sequence`."""

    offset: int
    sequence: int
    reason: str


Entry = Group | Lost | Sealed | Damage


class SegmentFile:
    """A segment open for reading. Raises FileNotFoundError when it is gone; `header` is None when the first line is damaged."""

    def __init__(self, disk: Disk, directory: Path, name: SegmentName) -> None:
        self.path = directory / name.file
        self.name = name
        self._disk = disk
        self._descriptor = disk.open_read(self.path)
        self._window = b""
        self._window_offset = 0
        line, start = self._at(0, LINE_BYTES_MAX)
        header = decode_segment_header(line[start : start + LINE_BYTES_MAX])
        self.header = header if header is not None and header.base == name.base else None
        self.body_offset = len(header.encode()) if header is not None else 0
        self._seed = header.seed if header is not None else 0

    def close(self) -> None:
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
            self._descriptor = -1

    def size(self) -> int:
        return self._disk.size(self._descriptor)

    def forget(self) -> None:
        """Drops what was read ahead: the file may have grown since."""
        self._window = b""

    def require_header(self) -> SegmentHeader:
        if self.header is None:
            raise LogCorruptError(f"{self.path}: the first line of this segment is damaged; see `footfall log verify`")
        return self.header

    def entries(self, *, offset: int = 0, sequence: int = 0, skip_upto: int = 0) -> Iterator[Entry]:
        """Entries from `offset` on, where the next record is `sequence` (both 0: from the beginning).

        Ends silently at the end of the file, else after one Sealed or one Damage. Groups wholly at or below `skip_upto` are
        stepped over unchecked.
        """
        offset, sequence = offset or self.body_offset, sequence or self.require_header().first
        while True:
            data, start = self._at(offset, LINE_BYTES_MAX)
            if start >= len(data):
                return
            line = decode_line(data, start, seed=self._seed)
            if type(line) is GroupHeader and line.first == sequence and line.count:  # nearly always, and millions of times
                body_offset = offset + line.line_bytes
                if (last := sequence + line.count - 1) > skip_upto:
                    payload = self._payload(line, body_offset)
                    if payload is None:
                        yield Damage(offset=offset, sequence=sequence, reason=_CUT_SHORT)
                        return
                    yield Group(header=line, last=last, offset=offset, payload=payload)
                offset, sequence = body_offset + line.bytes_count, last + 1
                continue
            entry = self._rarer(line, offset=offset, sequence=sequence)
            yield entry
            if isinstance(entry, (Damage, Sealed)):
                return
            offset, sequence = offset + entry.line_bytes, entry.last + 1

    def steps(self, *, offset: int = 0, sequence: int = 0) -> Iterator[GroupHeader | Lost | Sealed | Damage]:
        """As `entries`, but the lines only: what a group holds is neither checked nor, where it is large, read."""
        offset, sequence = offset or self.body_offset, sequence or self.require_header().first
        stepped_bytes = 0
        while True:
            ahead_bytes = _WINDOW_BYTES if stepped_bytes < _STEP_BYTES else _STEP_BYTES
            data, start = self._at(offset, LINE_BYTES_MAX, ahead_bytes=ahead_bytes)
            if start >= len(data):
                return
            line = decode_line(data, start, seed=self._seed)
            if isinstance(line, GroupHeader) and line.first == sequence and line.count:
                yield line
                stepped_bytes = line.line_bytes + line.bytes_count
                offset, sequence = offset + stepped_bytes, line.last + 1
                continue
            entry = self._rarer(line, offset=offset, sequence=sequence)
            yield entry
            if isinstance(entry, (Damage, Sealed)):
                return
            offset, sequence, stepped_bytes = offset + entry.line_bytes, entry.last + 1, 0

    def seal(self) -> Sealed | None:
        """The last line, if it is a seal; read from the end, so that a chain of segments is checked without reading them."""
        size = self.size()
        data = self._disk.read_at(self._descriptor, min(size, LINE_BYTES_MAX), max(0, size - LINE_BYTES_MAX))
        start = data.rfind(b"#sealed ")
        if start < 0 or self.header is None:
            return None
        line = decode_line(data, start, seed=self.header.seed)
        return line if isinstance(line, Sealed) and start + line.line_bytes == len(data) else None

    def lines_after(self, offset: int) -> Iterator[tuple[int, GroupHeader | Lost | Sealed]]:
        """Every undamaged line of ours beyond `offset`, wherever it stands: what is left behind damage."""
        seed = self.require_header().seed
        while True:
            data, start = self._at(offset, 2 * LINE_BYTES_MAX)
            window_offset = self._window_offset
            for match in ANY_LINE.finditer(data, start):
                line = decode_line(data, match.start(), seed=seed)
                if line is not None:
                    yield window_offset + match.start(), line
            end = window_offset + len(data)
            if start >= len(data) or end >= self.size():
                return
            offset = end - LINE_BYTES_MAX  # a line may straddle two windows; one seen twice does no harm

    def _rarer(self, line: GroupHeader | Lost | Sealed | None, *, offset: int, sequence: int) -> Lost | Sealed | Damage:
        """What stands at `offset` where no group does that follows on."""
        reason = ""
        if line is None:
            reason = "no undamaged line begins here"
        elif isinstance(line, Sealed):
            if line.last != sequence - 1:
                reason = f"the seal says {line.last}, the records end at {sequence - 1}"
            elif offset + line.line_bytes != self.size():
                offset, reason = offset + line.line_bytes, "bytes follow the seal"
        elif isinstance(line, GroupHeader) or line.first != sequence or line.last < sequence:
            reason = f"sequence {line.first} follows {sequence - 1}"
        return Damage(offset=offset, sequence=sequence, reason=reason) if reason or line is None else _not_group(line)

    def _payload(self, header: GroupHeader, offset: int) -> bytes | None:
        data, start = self._at(offset, header.bytes_count)
        payload = data[start : start + header.bytes_count]
        if len(payload) != header.bytes_count or crc32(payload, self._seed) != header.crc:
            return None
        return payload if payload.endswith(b"\n") and payload.count(b"\n") == header.count else None

    def _at(self, offset: int, count: int, *, ahead_bytes: int = _WINDOW_BYTES) -> tuple[bytes, int]:
        """Bytes in memory, and where among them `offset` is; at least `count` follow unless the file ends before."""
        start = offset - self._window_offset
        if start < 0 or start + count > len(self._window):
            self._window = self._disk.read_at(self._descriptor, max(count, ahead_bytes), offset)
            self._window_offset, start = offset, 0
        return self._window, start


def _not_group(line: GroupHeader | Lost | Sealed) -> Lost | Sealed:
    assert not isinstance(line, GroupHeader)  # noqa: S101 - told to the type checker
    return line


@contextmanager
def _syncing(directory: Path) -> Iterator[None]:
    """After a failed sync the kernel may drop the data and report success next time (reliability F9): never retry, stop."""
    try:
        yield
    except OSError as error:
        raise LogClosedError(f"{directory}: a sync failed ({error.strerror}); this process must end") from error


class OpenSegment:
    """A segment open for appending, its counts, and the offset up to which it is whole. A failed sync raises LogClosedError,
    every other failure stays an OSError."""

    def __init__(self, disk: Disk, directory: Path, name: SegmentName, header: SegmentHeader) -> None:
        """Makes the file under its unfinished name; `publish` gives it the one that counts."""
        self.name = name
        self.header = header
        self.offset = 0
        self.last = header.first - 1
        self.groups = 0
        self.records = 0
        self._disk = disk
        self._directory = directory
        self._seed = header.seed
        self._descriptor = disk.create(directory / name.unfinished)
        try:
            self._put(header.encode())
        except BaseException:
            self.close()
            raise

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing of any record, not even that it is lost."""
        return self.last < self.header.first

    def publish(self) -> None:
        """Content, then name, then directory reach stable storage: only now may anybody rely on this segment."""
        disk, directory = self._disk, self._directory
        with _syncing(directory):
            disk.sync_file(self._descriptor)
        self.close()  # Windows renames no open file
        disk.rename(directory / self.name.unfinished, directory / self.name.file)
        with _syncing(directory):
            disk.sync_directory(directory)
        self._descriptor = disk.open_append(directory / self.name.file)

    def append(self, payload: bytes, *, count: int, durable_upto: int) -> None:
        """One group. On OSError (any other call than a sync) the file may have grown by part of it: `cut_back` then."""
        first = self.last + 1
        self._put(encode_group(payload, seed=self._seed, first=first, count=count, durable_upto=durable_upto))
        self.last += count
        self.groups += 1
        self.records += count

    def append_lost(self, last: int) -> None:
        self._put(encode_lost(self.last + 1, last, seed=self._seed))
        self.last = last

    def append_seal(self, *, sealed_at_ms: int) -> None:
        """The caller has synced every record before this, and syncs after it."""
        sealed = Sealed(last=self.last, groups=self.groups, records=self.records, sealed_at_ms=sealed_at_ms)
        self._put(encode_sealed(sealed, seed=self._seed))

    def cut_back(self) -> None:
        """Takes off what a failed append left, durably: a torn record must never stand before good ones."""
        self._disk.truncate(self._descriptor, self.offset)
        self.sync()

    def sync(self) -> None:
        """Raises LogClosedError when the system could not: it must not be asked twice (rule R5)."""
        with _syncing(self._directory):
            self._disk.sync_data(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._disk.close(descriptor)

    def _put(self, data: bytes) -> None:
        write_all(self._disk, self._descriptor, data)
        self.offset += len(data)
