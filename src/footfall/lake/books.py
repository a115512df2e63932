"""The books of the ledger: what one look at table and log finds, as numbers by platform and source.

Everything of one look belongs to one version of the table; the log is read after it, up to what is durable by then, and the
caller reads the workers' counters before. So a look is right while all of them run: an event is behind the checkpoints of that
version, or in its rows and counts. Rows of an interrupted batch (`footfall/partial/<writer>`) wait until their checkpoint moves.

Nothing here takes a lock, writes a file, or tells what is in an event.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from footfall.lake.engine import Connection, connected
from footfall.lake.quarantine import envelope_of
from footfall.lake.scan import literal, select_events
from footfall.lake.table import EventsTable, count_name, partial_name, position_name
from footfall.log.reader import SegmentReader

Pair: TypeAlias = "tuple[str, str]"
"""Platform and source; `""` where a record does not say"""

SOURCES: Final = ("api", "batch", "segment", "import")
_COUNTED_TERMS: Final = ("repeated", "quarantined", "erased", "expired")
_PIECE_BYTES: Final = 8 << 20
_PIECE_RECORDS: Final = 100_000
# All our records begin like this, and no record holds a newline: nothing else matches.
_HEAD: Final = re.compile(
    rb'\n\{"platform":"([A-Z0-9_]*)","mode":"live","received_at":[0-9]+,"source":"([a-z]*)","event":'
)  # fmt: skip


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What all workers together counted of one platform and source."""

    accepted: int = 0
    rejected: int = 0
    throttled: int = 0
    unavailable: int = 0


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one platform and source, or of all. `expired` (dropped by the table's retention) is a part of `landed`."""

    accepted: int = 0
    rejected: int = 0
    throttled: int = 0
    unavailable: int = 0
    landed: int = 0
    expired: int = 0
    repeated: int = 0
    quarantined: int = 0
    erased: int = 0
    waiting: int = 0

    @property
    def received(self) -> int:
        return self.accepted + self.rejected + self.throttled + self.unavailable

    @property
    def difference(self) -> int:
        """Accepted events that are nowhere; below zero: events that are somewhere twice."""
        return self.accepted - (self.landed + self.repeated + self.quarantined + self.erased + self.waiting)

    @property
    def is_empty(self) -> bool:
        return not any(getattr(self, name) for name in self.__struct_fields__)

    def numbers(self) -> dict[str, int]:
        """Every term by name, `received` first and `difference` last."""
        terms = {name: getattr(self, name) for name in self.__struct_fields__}
        return {"received": self.received, **terms, "difference": self.difference}

    def __add__(self, other: Terms) -> Terms:
        return Terms(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Books(NamedTuple):
    """What one look found, for those who check it further. Without a table there are no rows, and all positions are 0."""

    data: Path
    table: EventsTable | None
    reader: SegmentReader
    positions: Mapping[str, int]
    """writer of the log → last landed sequence"""
    partial: Mapping[str, int]
    """writer → up to where rows of an interrupted batch may be; only of those that have such"""
    read: int
    """all records the lander has read"""
    counted: Mapping[Pair, Counted]
    lines: Mapping[Pair, Terms]

    def rows(self, *names: str) -> str:
        """The query for these columns of all rows."""
        if self.table is None:
            return select_events([], locate=str, names=names)
        return select_events(self.table.files().values(), locate=self.table.volume.locate, names=names)

    def connection(self) -> AbstractContextManager[Connection]:
        """A database for these rows, for the length of a block. It may not spill: what it would spill is about people."""
        return connected(temporary=None, filesystem=self.table.volume.filesystem if self.table is not None else None)

    def is_settled(self) -> str:
        """The condition for a row whose landing is complete; it may name `writer` and `sequence` where `partial` is not empty."""
        beyond = [f"(writer = {literal(writer)} AND sequence > {self.positions[writer]})" for writer in sorted(self.partial)]
        return f"NOT ({' OR '.join(beyond)})" if beyond else "true"


def look_at_books(data: Path, table: EventsTable | None, *, platforms: Collection[str], counted: Mapping[Pair, Counted]) -> Books:
    """One look. Raises LakeError, LogError, OSError, and what DuckDB raises where a file is gone or damaged."""
    reader = SegmentReader(data / "log" / "live")
    asked = _number_in(table)
    positions = {writer: asked(position_name(writer)) for writer in reader.writers()}
    partial = {writer: upto for writer, position in positions.items() if (upto := asked(partial_name(writer))) > position}
    books = Books(data, table, reader, positions, partial, read=0, counted=counted, lines={})
    waiting = _waiting(reader, positions)
    rows = _rows(books)
    seen = {*waiting, *rows, *counted}
    known = {*platforms, *(platform for platform, _ in seen)}
    sources = {*SOURCES, *(source for _, source in seen)}
    counts = _counts(asked, ((platform, source) for platform in {*known, ""} for source in {*sources, ""}))
    pairs = {*seen, *counts, *((platform, source) for platform in known for source in SOURCES)}
    lines = {
        pair: _terms(counts.get(pair, Counter()), counted.get(pair, Counted()), rows=rows[pair], waiting=waiting[pair])
        for pair in sorted(pairs)
    }
    return books._replace(read=sum(count["read"] for count in counts.values()), lines=lines)


def fetched(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """All rows of a short answer."""
    return connection.execute(query).fetchall()


def _terms(count: Counter[str], seen: Counted, *, rows: int, waiting: int) -> Terms:
    return Terms(
        accepted=count["read"] + waiting, rejected=seen.rejected, throttled=seen.throttled, unavailable=seen.unavailable,
        landed=rows + count["expired"], expired=count["expired"], repeated=count["repeated"],
        quarantined=count["quarantined"], erased=count["erased"], waiting=waiting,
    )  # fmt: skip


def _number_in(table: EventsTable | None) -> Callable[[str], int]:
    """The number of an app transaction, 0 where there was none yet."""
    return lambda name: (table.transaction(name) or 0) if table is not None else 0


def _counts(asked: Callable[[str], int], pairs: Iterable[Pair]) -> dict[Pair, Counter[str]]:
    """The running counts of those of whom anything was read: each asking costs a fraction of a millisecond or more."""
    found: dict[Pair, Counter[str]] = {}
    for pair in pairs:
        if read := asked(count_name(*pair, "read")):
            found[pair] = Counter({"read": read, **{term: asked(count_name(*pair, term)) for term in _COUNTED_TERMS}})
    return found


def _rows(books: Books) -> Counter[Pair]:
    """The rows of the table whose landing is complete."""
    if books.table is None or not books.table.files():
        return Counter()
    names = ("platform", "source", *(("writer", "sequence") if books.partial else ()))
    query = (
        f"SELECT coalesce(platform, ''), coalesce(source, ''), count(*) FROM ({books.rows(*names)})"
        f" WHERE {books.is_settled()} GROUP BY ALL"
    )
    with books.connection() as connection:
        return Counter({(platform, source): count for platform, source, count in fetched(connection, query)})


def _waiting(reader: SegmentReader, positions: Mapping[str, int]) -> Counter[Pair]:
    """Durable records after `positions`, up to what is durable now."""
    found: Counter[Pair] = Counter()
    for writer, upto in reader.durable().items():
        after = positions.get(writer, 0)
        while after < upto:
            pieces = reader.read_payloads(writer, after=after, bytes_max=_PIECE_BYTES, records_max=_PIECE_RECORDS)
            if not pieces:
                break  # removed, having landed since
            for piece in pieces:
                found += pairs_in(piece.lines, count=piece.count)
            after = pieces[-1].last
    reader.close()
    return found


def pairs_in(lines: bytes, *, count: int) -> Counter[Pair]:
    """How many of these `count` records, each ended by a newline, are of which platform and source. A million take a second."""
    found = Counter(_HEAD.findall(b"\n" + lines))
    if found.total() == count:
        return Counter({(platform.decode(), source.decode()): number for (platform, source), number in found.items()})
    return Counter(envelope_of(line) for line in lines[:-1].split(b"\n"))
