"""From records of the log to rows of the table, in SQL: what DuckDB reads of a staged line, and what it makes of it.

A staged line is a record as it lies in the log; where it has members nobody knows these stand apart, as text, since DuckDB would
write their numbers anew:

    {"x":"{\\"colour\\":…}","platform":"SHOP","mode":"live","received_at":…,"source":"api","event":{…}}

Positions are told by the number of the line: `Run` by run, since sequences seldom have gaps (numbering every line of a batch in
Python took 1 µs an event, a quarter of everything DuckDB does with it).
Of an erased record only `"event":{"erased":true}` is left. The record was encoded by us and its sums are right, so DuckDB's
reading is exact: times and counts are integers, amounts are text (its JSON numbers would pass through doubles). What it cannot
read raises; nothing is ever ignored.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from footfall.lake.scan import literal
from footfall.lake.schema import COLUMNS, MONEY, Column, Type, quoted

DAYS_BY_MONTH: Final = 800
"""Events older than this when they land share a partition with their month, …"""
DAYS_BY_YEAR: Final = 1826
"""… and older than this, five years, with their year: 10,000 days of history make 900 partitions, not 10,000."""

_IDENTIFIERS: Final = {
    "user_id": "event.user_id",
    "device.persistent_id": "event.device.persistent_id",
    "device.unique_device_id": "event.device.unique_device_id",
    "device.advertising_id": "event.device.advertising_id",
    "custom_id": "event.custom_id",
    "session_id": "event.session_id",
}


class Run(NamedTuple):
    """Lines whose sequences follow each other: `records` of them, of one writer, from `first` on."""

    writer: str
    first: int
    records: int


def read_staged(staged: Path, runs: Sequence[Run], *, today: datetime.date) -> str:
    """The query that reads one staged file as rows with all the table's columns but `landed_at`, and `is_erased`. `runs` are its
    lines in order; `today`, the day of the landing, decides into which partitions old events go."""
    writers, shifts, upto = [], [], 0
    for run in runs:
        upto += run.records
        writers.append(f"WHEN number <= {upto} THEN {literal(run.writer)}")
        shifts.append(f"WHEN number <= {upto} THEN {run.first - (upto - run.records) - 1}")
    return (
        _READ_STAGED.replace("$staged", literal(str(staged)))
        .replace("$today", f"DATE '{today.isoformat()}'")
        .replace("$writer", f"CASE {' '.join(writers)} END" if writers else "NULL::VARCHAR")
        .replace("$sequence", f"number + CASE {' '.join(shifts)} END" if shifts else "NULL::BIGINT")
    )


def _read_staged() -> str:
    selected = ", ".join(f"{_expression(column)} AS {quoted(column.name)}" for column in COLUMNS if column.name != "landed_at")
    members = ", ".join(f"{name}: '{kind}'" for name, kind in _staged_types().items())
    return (
        f"SELECT {selected}, coalesce(event.erased, false) AS is_erased FROM (SELECT *, row_number() OVER () AS number"
        f" FROM read_json($staged, format = 'newline_delimited', columns = {{{members}}}, maximum_object_size = 4194304))"
    )


def partition_date(moment: str, today: str) -> str:
    """The expression for `event_date` of an event that happened at `moment` and lands on `today`."""
    day = f"{moment}::DATE"
    return (
        f"CASE WHEN {day} >= {today} - {DAYS_BY_MONTH} THEN {day}"
        f" WHEN {day} >= {today} - {DAYS_BY_YEAR} THEN date_trunc('month', {day})::DATE ELSE date_trunc('year', {day})::DATE END"
    )


def _expression(column: Column) -> str:
    special = _SPECIAL.get(column.name)
    if special is not None:
        return special
    return _converted(f"event.{quoted(column.name)}", column.type) if column.is_member else quoted(column.name)


def _moment(milliseconds: str) -> str:
    # Past the year 9999 there is no way to write a date; below zero nothing passes the rules.
    return (
        f"CASE WHEN {milliseconds} BETWEEN 0 AND 253402300799999 THEN make_timestamptz({milliseconds} * 1000)"
        f" ELSE error('a time beyond the years 1970 to 9999') END"
    )


_IDENTIFIER_KIND: Final = f"CASE {' '.join(f'WHEN {path} IS NOT NULL THEN {name!r}' for name, path in _IDENTIFIERS.items())} END"
# An erased record has no time; of any other the time, and a platform that can be a partition, are what makes it a row.
_HAPPENED: Final = _moment("(CASE WHEN event.erased THEN 0 ELSE event.timestamp END)")
_PLATFORM: Final = "CASE WHEN regexp_full_match(platform, '[A-Z][A-Z0-9_]{0,127}') THEN platform ELSE error('no platform id') END"
_SPECIAL: Final = {
    "platform": _PLATFORM,
    "event_date": partition_date(f"({_HAPPENED})", "$today"),
    "timestamp": _HAPPENED,
    "received_at": _moment("received_at"),
    "identifier": f"coalesce({', '.join(_IDENTIFIERS.values())})",
    "identifier_kind": _IDENTIFIER_KIND,
    "extra": "x",
    "source": "coalesce(source, '')",  # the ledger's counts are by source
    "writer": "$writer",
    "sequence": "$sequence",
}


def _converted(path: str, kind: Type) -> str:
    """A value as read → a value as stored: amounts become decimals, wherever they are."""
    if kind == MONEY:
        return (
            f"CASE WHEN {path} IS NOT NULL THEN"
            f" struct_pack(currency := {path}.currency, amount := {path}.amount::DECIMAL(38,9)) END"
        )
    if isinstance(kind, list) and isinstance(kind[0], dict):
        inner = ", ".join(f"{quoted(name)} := {_converted(f'item.{quoted(name)}', part)}" for name, part in kind[0].items())
        return f"list_transform({path}, lambda item: struct_pack({inner}))"
    return path


def _staged_types() -> dict[str, str]:
    members = {column.name: _as_read(column.type) for column in COLUMNS if column.is_member and column.name != "extra"}
    members |= {"timestamp": "BIGINT", "erased": "BOOLEAN"}
    event = ", ".join(f"{quoted(name)} {kind}" for name, kind in members.items())
    return {
        "x": "VARCHAR", "platform": "VARCHAR", "received_at": "BIGINT", "source": "VARCHAR",
        "event": f"STRUCT({event})",
    }  # fmt: skip


def _as_read(kind: Type) -> str:
    if isinstance(kind, dict):
        return f"STRUCT({', '.join(f'{quoted(name)} {_as_read(inner)}' for name, inner in kind.items())})"
    if isinstance(kind, list):
        return f"{_as_read(kind[0])}[]"
    plain: Any = {"long": "BIGINT"}.get(kind, "VARCHAR")
    return str(plain)


_READ_STAGED: Final = _read_staged()
