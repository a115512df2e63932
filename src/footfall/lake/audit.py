"""What `footfall ledger --verify` holds against the books: everything that can be known twice, compared.

Each check is a name, a verdict and the numbers behind it; names never change. None tells more of an event than its position.

To find two equal among many rows, their hashes are grouped, a share of them at a time: bounded memory for any table, nothing
spilled, and where no hash comes twice no key does. Only rows whose hashes meet are compared by what they hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from footfall.lake.books import Books, Pair, fetched
from footfall.lake.engine import Connection
from footfall.lake.quarantine import Quarantine, envelope_of
from footfall.lake.scan import literal

_PASS_ROWS: Final = 4_000_000
"""Hashes grouped at a time: about 300 MB."""
_SHOWN: Final = 3
_HASHES_MAX: Final = 1_000


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that has to be so, whether it is, and the numbers behind it."""

    check: str
    ok: bool
    detail: str


def checks_of(books: Books) -> tuple[Check, ...]:
    """Every check, in a fixed order. Raises LakeError, LogError, OSError, and what DuckDB raises."""
    return (*_of_rows(books), *_of_log(books), _quarantine_kept(books), _counters_within_accepted(books))


# -- the table


def _of_rows(books: Books) -> Iterator[Check]:
    files = books.table.files().values() if books.table is not None else ()
    if not files:
        for name in ("rows_as_committed", "rows_within_positions", "positions_once", "keys_once"):
            yield Check(check=name, ok=True, detail="no rows")
        return
    with books.connection() as connection:
        yield _rows_as_committed(books, connection, committed=sum(file.rows for file in files))
        yield _rows_within_positions(books, connection)
        yield _positions_once(books, connection)
        yield _keys_once(books, connection)


def _rows_as_committed(books: Books, connection: Connection, *, committed: int) -> Check:
    """The data files hold as many rows as the commits that added them said."""
    there = fetched(connection, f"SELECT count(*) FROM ({books.rows('timestamp')})")[0][0]
    detail = f"{there:,} rows" if there == committed else f"{there:,} rows are in files that were committed with {committed:,}"
    return Check(check="rows_as_committed", ok=there == committed, detail=detail)


def _rows_within_positions(books: Books, connection: Connection) -> Check:
    """No row comes from behind its writer's checkpoint, unless an interrupted batch is known to have left it."""
    reached = ", ".join(
        f"({literal(writer)}, {max(position, books.partial.get(writer, 0))})" for writer, position in books.positions.items()
    )
    beyond: list[tuple[str, int]] = []
    if reached:
        query = (
            f"SELECT writer, count(*) FROM ({books.rows('writer', 'sequence')}) JOIN (VALUES {reached}) AS reached(name, upto)"
            " ON writer = name WHERE sequence > upto GROUP BY writer ORDER BY writer"
        )
        beyond = [(writer, count) for writer, count in fetched(connection, query)]
    detail = "no row is ahead of its checkpoint"
    if beyond:
        detail = "rows ahead of their checkpoint: " + ", ".join(f"{count:,} of {writer}" for writer, count in beyond)
    return Check(check="rows_within_positions", ok=not beyond, detail=detail)


def _positions_once(books: Books, connection: Connection) -> Check:
    """No record of the log is two rows."""
    doubled = _doubled(books, connection, key=("writer", "sequence"), condition="true")
    return _once("positions_once", doubled, well="each record of the log is at most one row", ill="records are several rows")


def _keys_once(books: Books, connection: Connection) -> Check:
    """No event with an id is two rows. (A batch that was interrupted may still have to take the loser out.)"""
    key = ("platform", "id", "event_type", "timestamp")
    doubled = _doubled(books, connection, key=key, condition=f"id IS NOT NULL AND {books.is_settled()}")
    return _once("keys_once", doubled, well="each event with an id is one row", ill="events with an id are several rows")


def _doubled(books: Books, connection: Connection, *, key: tuple[str, ...], condition: str) -> list[str]:
    """The first positions of rows that share their `key`, as many as there are keys, or as `_HASHES_MAX` hashes lead to."""
    hashed = f"hash({', '.join(key)})"
    hashes = _doubled_hashes(books, connection, key=key, hashed=hashed, condition=condition)
    if not hashes:
        return []
    query = (
        f"SELECT min(writer || '/' || sequence) AS place FROM ({books.rows(*key, 'writer', 'sequence')})"
        f" WHERE {condition} AND {hashed} IN ({', '.join(map(str, hashes))})"
        f" GROUP BY {', '.join(key)} HAVING count(*) > 1 ORDER BY place"
    )
    return [place for (place,) in fetched(connection, query)]


def _doubled_hashes(books: Books, connection: Connection, *, key: tuple[str, ...], hashed: str, condition: str) -> list[int]:
    names = (*key, *(("writer", "sequence") if books.partial else ()))
    rows = f"SELECT {hashed} AS hashed FROM ({books.rows(*names)}) WHERE {condition}"
    passes = fetched(connection, f"SELECT count(*) FROM ({books.rows('timestamp')})")[0][0] // _PASS_ROWS + 1
    found: list[int] = []
    for turn in range(passes):
        if len(found) < _HASHES_MAX:
            query = (
                f"SELECT hashed FROM ({rows}) WHERE hashed % {passes} = {turn} GROUP BY hashed HAVING count(*) > 1"
                f" LIMIT {_HASHES_MAX - len(found)}"
            )
            found += [number for (number,) in fetched(connection, query)]
    return found


def _once(name: str, doubled: list[str], *, well: str, ill: str) -> Check:
    shown = ", ".join(doubled[:_SHOWN])
    more = "at least " if len(doubled) >= _HASHES_MAX else ""
    return Check(check=name, ok=not doubled, detail=f"{more}{len(doubled):,} {ill}, such as {shown}" if doubled else well)


# -- the log


def _of_log(books: Books) -> Iterator[Check]:
    yield _positions_within_log(books)
    yield _read_as_logged(books)


def _positions_within_log(books: Books) -> Check:
    """No checkpoint is ahead of its log: what the log takes next would never land. What a power cut left unconfirmed counts; the
    next start of a server makes it durable."""
    durable, unconfirmed = books.reader.durable(), books.reader.unconfirmed()
    ahead = [
        f"{writer} ({position:,} landed, {durable.get(writer, 0):,} durable)"
        for writer, position in books.positions.items()
        if position > durable.get(writer, 0) + unconfirmed.get(writer, 0)
    ]
    detail = f"checkpoints ahead of their log: {', '.join(ahead)}" if ahead else "no checkpoint is ahead of its log"
    return Check(check="positions_within_log", ok=not ahead, detail=detail)


def _read_as_logged(books: Books) -> Check:
    """The lander has read what the log holds up to its checkpoints: exactly so while no old segment is removed and nobody writes
    at this moment, else at least what is left of it."""
    before = books.reader.durable()
    held = books.reader.count_after({})
    behind = books.reader.count_after(books.positions)  # later, so never too few
    landed = sum(held.values()) - sum(behind.get(writer, 0) for writer in held)
    complete = [held.get(writer, 0) == last >= books.positions.get(writer, 0) for writer, last in before.items()]
    whole = bool(complete) and all(complete) and before == books.reader.durable()
    ok = books.read == landed if whole else books.read >= landed
    rest = "" if whole else " at least; the log goes on, or its oldest segments are gone"
    return Check(check="read_as_logged", ok=ok, detail=f"{books.read:,} records read, {landed:,} in the log up to there{rest}")


# -- others who count


def _quarantine_kept(books: Books) -> Check:
    """Each quarantined record is in its file. (Of an erased one a line without its content is.)"""
    kept: Counter[Pair] = Counter(envelope_of(poison.record) for poison in Quarantine(books.data).poisons(upto=books.positions))
    counted = Counter({pair: terms.quarantined for pair, terms in books.lines.items() if terms.quarantined})
    detail = f"{kept.total():,} kept" + (f", {counted.total():,} counted" if kept != counted else "")
    return Check(check="quarantine_kept", ok=kept == counted, detail=detail)


def _counters_within_accepted(books: Books) -> Check:
    """No worker says that it accepted more than its log holds or the lander read: that much was answered 200, and lost."""
    unconfirmed = sum(books.reader.unconfirmed().values())
    lost = [
        f"{platform} {source} ({seen.accepted:,} answered, {terms.accepted:,} in the log)"
        for (platform, source), seen in sorted(books.counted.items())
        if seen.accepted > (terms := books.lines[platform, source]).accepted + unconfirmed
    ]
    total = sum(seen.accepted for seen in books.counted.values())
    detail = f"more was answered than is there: {', '.join(lost)}" if lost else f"workers counted {total:,}"
    return Check(check="counters_within_accepted", ok=not lost, detail=detail)
