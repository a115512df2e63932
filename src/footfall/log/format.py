"""The bytes of a segment: four kinds of lines, and records a person can read with `less`, `grep` and `tail`.

    footfall-log 1 segment=9f0c…32 hex digits writer=w0 base=1 first=1 created_at=1790000000000 check=1f2e3d4c⏎
    #group bytes=27 crc=89abcdef first=1 count=2 durable_upto=0 check=01234567⏎
    {"event":"one"}⏎                                      ┐ `bytes` bytes, each record ended by one newline;
    {"event":2}⏎                                          ┘ `crc` is theirs
    #group bytes=16 crc=… first=3 count=1 durable_upto=2 check=…⏎
    {"event":"three"}⏎
    #lost first=4 last=9 check=…⏎                         only after quarantine: these records are gone, knowingly
    #sealed last=9 groups=2 records=3 sealed_at=1790000000999 check=…⏎

`check` is the CRC32 of its own line up to " check=". All sums but that of the first line start from the CRC32 of the segment's
id, so that bytes of another file, or of another life of the same blocks, never pass. The first line's own sum starts from zero.

- `base` is where the segment's range begins, and part of its name; `first` is the first sequence it may hold. They differ only
  in a successor made by recovery that left out what every reader had passed.
- `durable_upto` is the last sequence known to be on stable storage when the group was written: damage at or below it is
  corruption, damage above it may be what a power cut leaves. `#sealed` says the same of `last`, being written only afterwards.
- A record is any bytes without a newline. It may look like one of our lines: lengths, not looks, tell where it ends.

Every single flipped bit fails a CRC32. Nothing here touches a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec

RECORD_BYTES_MAX: Final = 1 << 20
"""An event is at most 64 KiB as sent; re-encoded and wrapped it stays far below this."""
GROUP_BYTES_MAX: Final = 64 << 20
"""One batch of events, 32 MiB inflated, must fit into one group with its wrapping. Bounds a reader's memory too."""
LINE_BYTES_MAX: Final = 256

_WRITER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}").fullmatch
_SEGMENT: Final = re.compile(
    rb"(footfall-log 1 segment=([0-9a-f]{32}) writer=([A-Za-z0-9_-]{1,64}) base=([0-9]{1,19}) first=([0-9]{1,19})"
    rb" created_at=([0-9]{1,19})) check=([0-9a-f]{8})\n"
)
_GROUP: Final = re.compile(
    rb"(#group bytes=([0-9]{1,9}) crc=([0-9a-f]{8}) first=([0-9]{1,19}) count=([0-9]{1,9}) durable_upto=([0-9]{1,19}))"
    rb" check=([0-9a-f]{8})\n"
)
_LOST: Final = re.compile(rb"(#lost first=([0-9]{1,19}) last=([0-9]{1,19})) check=([0-9a-f]{8})\n")
_SEALED: Final = re.compile(
    rb"(#sealed last=([0-9]{1,19}) groups=([0-9]{1,19}) records=([0-9]{1,19}) sealed_at=([0-9]{1,19})) check=([0-9a-f]{8})\n"
)
ANY_LINE: Final = re.compile(rb"#(?:group|lost|sealed) ")


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    segment_id: str
    writer: str
    base: int
    first: int
    created_at_ms: int

    @property
    def seed(self) -> int:
        return crc32(self.segment_id.encode())

    def encode(self) -> bytes:
        line = (
            f"footfall-log 1 segment={self.segment_id} writer={self.writer} base={self.base} first={self.first}"
            f" created_at={self.created_at_ms}"
        )
        return b"%b check=%08x\n" % (line.encode(), crc32(line.encode()))


class GroupHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What stands before some records: `bytes_count` of them all, `crc` of them all."""

    bytes_count: int
    crc: int
    first: int
    count: int
    durable_upto: int
    line_bytes: int = 0

    @property
    def last(self) -> int:
        return self.first + self.count - 1


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A range of sequences whose records are gone; quarantine wrote it down."""

    first: int
    last: int
    line_bytes: int = 0


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a segment that will never change again; `last` was durable when it was written."""

    last: int
    groups: int
    records: int
    sealed_at_ms: int
    line_bytes: int = 0


def is_writer_name(name: str) -> bool:
    """Whether a directory of this name can be a writer's; others in a tree are none of ours (the lost+found of a volume)."""
    return _WRITER_NAME(name) is not None


def require_writer_name(writer: str) -> None:
    """A writer's name is part of a path, of every first line and of positions such as `w0/123`."""
    if not is_writer_name(writer):
        raise ValueError("a writer's name is 1 to 64 letters, digits, - or _, beginning with a letter or digit")


def decode_segment_header(line: bytes) -> SegmentHeader | None:
    """The first line of `line`, or None where it is damaged or of another format."""
    match = _SEGMENT.match(line)
    if match is None or crc32(match[1]) != int(match[7], 16):
        return None
    return SegmentHeader(
        segment_id=match[2].decode(), writer=match[3].decode(),
        base=int(match[4]), first=int(match[5]), created_at_ms=int(match[6]),
    )  # fmt: skip


def encode_group(payload: bytes, *, seed: int, first: int, count: int, durable_upto: int) -> bytes:
    """A whole group, line and records. `payload` holds `count` records, each ended by a newline."""
    line = b"#group bytes=%d crc=%08x first=%d count=%d durable_upto=%d" % (
        len(payload), crc32(payload, seed), first, count, durable_upto,
    )  # fmt: skip
    return b"%b check=%08x\n%b" % (line, crc32(line, seed), payload)


def encode_lost(first: int, last: int, *, seed: int) -> bytes:
    line = b"#lost first=%d last=%d" % (first, last)
    return b"%b check=%08x\n" % (line, crc32(line, seed))


def encode_sealed(sealed: Sealed, *, seed: int) -> bytes:
    line = b"#sealed last=%d groups=%d records=%d sealed_at=%d" % (
        sealed.last, sealed.groups, sealed.records, sealed.sealed_at_ms,
    )  # fmt: skip
    return b"%b check=%08x\n" % (line, crc32(line, seed))


def decode_line(data: bytes, position: int, *, seed: int) -> GroupHeader | Lost | Sealed | None:
    """The line that begins at `position` of `data`, or None where no undamaged line of ours begins there."""
    if match := _checked(_GROUP.match, data, position, seed=seed):
        size, crc, first, count, durable_upto = match[2], match[3], match[4], match[5], match[6]
        header = GroupHeader(
            bytes_count=int(size), crc=int(crc, 16), first=int(first), count=int(count), durable_upto=int(durable_upto),
            line_bytes=match.end() - position,
        )  # fmt: skip
        return header if header.bytes_count <= GROUP_BYTES_MAX else None
    if match := _checked(_SEALED.match, data, position, seed=seed):
        return Sealed(
            last=int(match[2]), groups=int(match[3]), records=int(match[4]), sealed_at_ms=int(match[5]),
            line_bytes=match.end() - position,
        )  # fmt: skip
    if match := _checked(_LOST.match, data, position, seed=seed):
        return Lost(first=int(match[2]), last=int(match[3]), line_bytes=match.end() - position)
    return None


def _checked(
    pattern: Callable[[bytes, int], re.Match[bytes] | None], data: bytes, position: int, *, seed: int
) -> re.Match[bytes] | None:
    match = pattern(data, position)
    if match is None or match.lastindex is None or crc32(match[1], seed) != int(match[match.lastindex], 16):
        return None
    return match
