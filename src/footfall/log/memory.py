"""The log in memory: the same promises as `segments` until the process ends. For tests, ours and our users'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from footfall.errors import LogClosedError, LogFullError, LogLockedError
from footfall.log.api import Record, require_lines
from footfall.log.format import require_writer_name


class MemoryTree:
    """What a directory tree is to segments: where writers write and readers read. `bytes_max` makes it fill up."""

    def __init__(self, *, bytes_max: int = 1 << 30) -> None:
        self.bytes_max = bytes_max
        self._records: dict[str, list[Record]] = {}
        self._durable: dict[str, int] = {}
        self._owners: dict[str, MemoryWriter] = {}
        self._bytes = 0

    def cut_power(self) -> None:
        """Forgets what was not durable, and who was writing: every writer has to be opened anew."""
        for writer in tuple(self._owners.values()):
            writer._end()
        for name, records in self._records.items():
            del records[self._durable[name] :]
        self._bytes = sum(len(record.body) + 1 for records in self._records.values() for record in records)


class MemoryWriter:
    """Implements LogWriter."""

    @classmethod
    def open(cls, tree: MemoryTree, *, writer: str = "w0") -> Self:
        """Raises LogLockedError while another one of this name is open. What that left behind unsynced becomes durable, as
        recovery does it with files."""
        require_writer_name(writer)
        if writer in tree._owners:
            raise LogLockedError(f"writer {writer} of this tree is open already; close that one first")
        opened = cls(tree, writer)
        tree._owners[writer] = opened
        tree._durable[writer] = len(tree._records.setdefault(writer, []))
        return opened

    def __init__(self, tree: MemoryTree, writer: str) -> None:
        """Use `open`."""
        self._tree = tree
        self._writer = writer
        self._closed = False

    def write(self, bodies: Sequence[bytes]) -> int:
        return self.write_lines(b"".join(body + b"\n" for body in bodies), count=len(bodies))

    def write_lines(self, payload: bytes, *, count: int) -> int:
        self._require_open()
        require_lines(payload, count=count)
        records = self._tree._records[self._writer]
        if self._tree._bytes + len(payload) > self._tree.bytes_max:
            raise LogFullError(f"this log in memory is limited to {self._tree.bytes_max} bytes")
        self._tree._bytes += len(payload)
        bodies = payload.split(b"\n")[:-1]
        records += (Record(self._writer, sequence, body) for sequence, body in enumerate(bodies, len(records) + 1))
        return len(records)

    def sync(self) -> int:
        self._require_open()
        durable = self._tree._durable[self._writer] = len(self._tree._records[self._writer])
        return durable

    def seal_if_asked(self) -> bool:
        """Nobody asks: there are no segments."""
        self._require_open()
        return False

    def close(self) -> None:
        if not self._closed:
            self.sync()
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _end(self) -> None:
        self._closed = True
        self._tree._owners.pop(self._writer, None)

    def _require_open(self) -> None:
        if self._closed:
            raise LogClosedError("this log was closed")


class MemoryReader:
    """Implements LogReader."""

    def __init__(self, tree: MemoryTree) -> None:
        self._tree = tree

    def read(self, positions: Mapping[str, int], *, records_max: int) -> Sequence[Record]:
        found: list[Record] = []
        for writer in sorted(self._tree._records):
            position = positions.get(writer, 0)
            found += self._durable_records(writer)[position : position + records_max - len(found)]
        return found

    def scan(self) -> Iterator[Record]:
        for writer in sorted(self._tree._records):
            yield from self._durable_records(writer)

    def _durable_records(self, writer: str) -> list[Record]:
        return self._tree._records[writer][: self._tree._durable[writer]]
