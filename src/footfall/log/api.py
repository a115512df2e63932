"""What a durable log promises, whatever keeps it: local segment files, memory, and later Kafka.

A record is one line of bytes (no newline inside); what it means is not the log's business. Each writer numbers its records
1, 2, 3 … for ever: a sequence that `sync` confirmed, or that a reader showed, never names another record, whatever died. A
record is *durable* when a `sync` that began after its `write` has returned; readers see durable records only, so nobody acts on
what a power cut may take back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """One durable record. `writer` and `sequence` name it for ever; printed as `w0/123`."""

    writer: str
    sequence: int
    body: bytes

    @property
    def position(self) -> str:
        return f"{self.writer}/{self.sequence}"


class LogWriter(Protocol):
    """The one writer of one directory. Not thread-safe: one caller at a time."""

    def write(self, bodies: Sequence[bytes]) -> int:
        """Hands records to the operating system as one group, so that they survive the death of this process.

        Returns the sequence of the last one. All or nothing: on `LogFullError` none of them is stored and the log goes on; on
        `LogClosedError` this writer is finished. Blocks for as long as the volume takes.
        """
        ...

    def sync(self) -> int:
        """Makes everything written so far durable; returns the last durable sequence. A failure ends this writer
        (`LogClosedError`): what was not yet durable may be lost, and no second attempt can tell."""
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
