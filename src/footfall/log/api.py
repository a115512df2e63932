"""What a durable log promises, whatever keeps it: local segment files, memory, and later Kafka.

A record is one line of bytes (no newline inside); what it means is not the log's business. Each writer numbers its records
1, 2, 3 … for ever: a sequence that `sync` confirmed, or that a reader showed, never names another record, whatever died. A
record is *durable* when a `sync` that began after its `write` has returned; readers see durable records only, so nobody acts on
what a power cut may take back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from footfall.log.format import GROUP_BYTES_MAX, RECORD_BYTES_MAX


class Record(NamedTuple):
    """One durable record. `writer` and `sequence` name it for ever; printed as `w0/123`."""

    writer: str
    sequence: int
    body: bytes

    @property
    def position(self) -> str:
        return f"{self.writer}/{self.sequence}"


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Durable records of one writer that follow each other without a gap, in one piece: `first` is the sequence of the first of
    `count`, and `lines` holds them as they were written, each ended by a newline."""

    first: int
    count: int
    lines: bytes

    @property
    def last(self) -> int:
        return self.first + self.count - 1


class LogWriter(Protocol):
    """The one writer of one directory. Not thread-safe: one caller at a time."""

    def write(self, bodies: Sequence[bytes]) -> int:
        """Hands records to the operating system as one group, so that they survive the death of this process.

        Returns the sequence of the last one. All or nothing: on `LogFullError` none of them is stored and the log goes on; on
        `LogClosedError` this writer is finished. Blocks for as long as the volume takes.
        """
        ...

    def write_lines(self, payload: bytes, *, count: int) -> int:
        """`write` for records that stand in one piece already, each ended by a newline: `payload` is what is stored, as it is.
        `ValueError` where it is not `count` records."""
        ...

    def sync(self) -> int:
        """Makes everything written so far durable; returns the last durable sequence. A failure ends this writer
        (`LogClosedError`): what was not yet durable may be lost, and no second attempt can tell."""
        ...

    def seal_if_asked(self) -> bool:
        """Where somebody asked for it: closes off what was written so far, so that it never changes any more except by being
        rewritten (as an erasure does). Syncs on the way; raises as `write` does. Returns whether there was anything to close off;
        costs one system call where nobody asked."""
        ...

    def close(self) -> None:
        """Syncs and releases the directory. Calling it twice is allowed."""
        ...


class LogReader(Protocol):
    """A reader of all writers of one tree. May run in any process, while writers write."""

    def read(self, positions: Mapping[str, int], *, records_max: int) -> Sequence[Record]:
        """Durable records after `positions` (writer → last sequence already seen; a writer not named: from its oldest), in
        order within each writer, at most `records_max`. Never waits for new ones. Raises `LogCorruptError` at damage below
        the durable mark."""
        ...

    def scan(self) -> Iterator[Record]:
        """Every durable record, writer by writer, each in order."""
        ...


def require_lines(payload: bytes, *, count: int) -> None:
    """Raises ValueError unless `payload` is `count` records that may be stored as one group, each ended by a newline."""
    if payload.count(b"\n") != count or payload[-1:] not in (b"\n", b""):
        raise ValueError("a record is one line, ended by a newline, and as many as were told")
    if len(payload) > GROUP_BYTES_MAX:
        raise ValueError(f"a group of {len(payload)} bytes is over the limit of {GROUP_BYTES_MAX}: write it in parts")
    start = 0
    while len(payload) - start > RECORD_BYTES_MAX + 1:  # a look at every MiB finds each record that is longer
        end = payload.rfind(b"\n", start, start + RECORD_BYTES_MAX + 1) + 1
        if not end:
            raise ValueError(f"a record is over the limit of {RECORD_BYTES_MAX} bytes")
        start = end
