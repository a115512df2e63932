"""The books of the ledger: what one look at table and log finds, as numbers by platform and source.

Everything of one look belongs to one version of the table; the log is read after it, up to what is durable by then, and the
caller reads the workers' counters before. So a look is right while all of them run: an event is behind the checkpoints of that
version, or in its rows and counts. Rows of an interrupted batch (`footfall/partial/<writer>`) wait until their checkpoint moves.

Nothing here takes a lock, writes a file, or tells what is in an event.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from footfall.lake.engine import Connection, connected
from footfall.lake.quarantine import envelope_of
from footfall.lake.scan import literal, select_events
from footfall.lake.table import EventsTable, count_name, partial_name
from footfall.log.reader import SegmentReader

Pair: TypeAlias = "tuple[str, str]"
"""Platform and source; `""` where a record does not say"""

SOURCES: Final = ("api", "batch", "segment", "import")
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
    """What one look found, for those who check it further."""

    data: Path
    table: EventsTable | None
    reader: SegmentReader
    positions: Mapping[str, int]
    partial: Mapping[str, int]
    """writer → up to where rows of an interrupted batch may be; only of those that have such"""
    read: int
    counted: Mapping[Pair, Counted]
    lines: Mapping[Pair, Terms]

    def rows(self, *names: str) -> str:
        """The query for these columns of all rows."""
        assert self.table is not None  # noqa: S101 - without a table nobody asks for rows
        return select_events(self.table.files().values(), locate=self.table.volume.locate, names=names)

    def connection(self) -> AbstractContextManager[Connection]:
        """A database for these rows, for the length of a block. It may not spill: what it would spill is about people."""
        assert self.table is not None  # noqa: S101
        return connected(temporary=None, filesystem=self.table.volume.filesystem)

    def is_settled(self) -> str:
        """The condition for a row whose landing is complete."""
        beyond = [
            f"(writer = {literal(writer)} AND sequence > {self.positions.get(writer, 0)})" for writer in sorted(self.partial)
        ]
        return f"NOT ({' OR '.join(beyond)})" if beyond else "true"


def look_at_books(data: Path, table: EventsTable | None, *, platforms: Collection[str], counted: Mapping[Pair, Counted]) -> Books:
    reader = SegmentReader(data / "log" / "live")
    positions = {writer: table.position(writer) if table is not None else 0 for writer in reader.writers()}
    partial = dict(_partial(table, positions))
    books = Books(data, table, reader, positions, partial, read=0, counted=counted, lines={})
    waiting = _waiting(reader, positions)
    rows = _rows(books)
    names = [*platforms, *(platform for platform, _ in (*waiting, *rows, *counted))]
    sources = [*SOURCES, *(source for _, source in (*waiting, *rows, *counted))]
    known = {(platform, source) for platform in names for source in SOURCES}
    counts = _counts(table, {(platform, source) for platform in {*names, ""} for source in {*sources, ""}})
    read = sum(count for (*_, term), count in counts.items() if term == "read")
    lines = {}
    for pair in sorted({*known, *waiting, *rows, *counted, *((platform, source) for platform, source, _ in counts)}):
        seen = counted.get(pair, Counted())
        expired = counts[*pair, "expired"]
        lines[pair] = Terms(
            accepted=counts[*pair, "read"] + waiting[pair],
            rejected=seen.rejected, throttled=seen.throttled, unavailable=seen.unavailable,
            landed=rows[pair] + expired, expired=expired, repeated=counts[*pair, "repeated"],
            quarantined=counts[*pair, "quarantined"], erased=counts[*pair, "erased"], waiting=waiting[pair],
        )  # fmt: skip
    return books._replace(read=read, lines=lines)


def _partial(table: EventsTable | None, positions: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for writer, position in positions.items() if table is not None else ():
        upto = table.transaction(partial_name(writer)) if table is not None else None
        if upto is not None and upto > position:
            yield writer, upto


def _counts(table: EventsTable | None, pairs: Iterable[Pair]) -> Counter[tuple[str, str, str]]:
    """The running counts. What was never read has no others, and each asking costs a millisecond."""
    found: Counter[tuple[str, str, str]] = Counter()
    for pair in pairs if table is not None else ():
        for term in ("read", "repeated", "quarantined", "erased", "expired"):
            assert table is not None  # noqa: S101 - told to the type checker
            number = table.transaction(count_name(*pair, term))
            if number is None and term == "read":
                break
            found[*pair, term] = number or 0
    return found


def _rows(books: Books) -> Counter[Pair]:
    if books.table is None or not books.table.files():
        return Counter()
    names = ("platform", "source", "writer", "sequence") if books.partial else ("platform", "source")
    query = (
        f"SELECT coalesce(platform, ''), coalesce(source, ''), count(*) FROM ({books.rows(*names)})"
        f" WHERE {books.is_settled()} GROUP BY ALL"
    )
    with books.connection() as connection:
        return Counter({(platform, source): count for platform, source, count in fetched(connection, query)})


def fetched(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """All rows of a short answer."""
    return connection.execute(query).fetchall()


def _waiting(reader: SegmentReader, positions: Mapping[str, int]) -> Counter[Pair]:
    """Durable records after `positions`, up to what is durable now."""
    found: Counter[Pair] = Counter()
    for writer, upto in reader.durable().items():
        after = positions.get(writer, 0)
        while after < upto:
            pieces = reader.read_payloads(writer, after=after, bytes_max=_PIECE_BYTES, records_max=_PIECE_RECORDS)
            if not pieces:
                break  # gone, having landed since
            for piece in pieces:
                found += _pairs_in(piece.lines, count=piece.count)
            after = pieces[-1].last
    return found


def _pairs_in(lines: bytes, *, count: int) -> Counter[Pair]:
    found = Counter(_HEAD.findall(b"\n" + lines))
    if found.total() == count:
        return Counter({(platform.decode(), source.decode()): number for (platform, source), number in found.items()})
    return Counter(envelope_of(line) for line in lines[:-1].split(b"\n"))
