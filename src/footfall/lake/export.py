"""Events of one platform as a file for other programs: Parquet, CSV, or NDJSON.

DuckDB makes every line itself, in SQL put together from `schema.COLUMNS`, so a new column is exported without a word here:

    parquet   the table's columns and types
    csv       one line of column names, then one a row; times as 2026-11-23T18:00:00.000Z, structs and lists as JSON text. A text
              that a spreadsheet would take for a formula (= + - @ tab CR LF first) gets an apostrophe in front; numbers do not.
              Null is nothing, an empty text is ""
    ndjson    one object a line, nulls left out; amounts as strings without trailing zeros, as the API takes them; `extra` as the
              object it was

Rows come by day of the partition, in a file of the table by time; over all they are in no promised order.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from footfall.errors import LakeError
from footfall.lake.engine import Connection
from footfall.lake.interrupting import interruptible
from footfall.lake.reading import Lake
from footfall.lake.scan import literal, select_events
from footfall.lake.schema import COLUMNS, Column, Type, quoted
from footfall.lake.table import DataFile

_ROWS_AT_ONCE: Final = 5_000
_POLL_S: Final = 0.2
_FORMULA: Final = "^[=+@\\-\\t\\r\\n]"
_NOT_FOR_TRAINING: Final = ("METRIC_ONLY", "ID_LESS")


class Form(StrEnum):
    """What can be written."""

    PARQUET = "parquet"
    CSV = "csv"
    NDJSON = "ndjson"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: of one live platform, those with since ≤ timestamp < until (Unix milliseconds; None: no bound).
    `training` leaves out events that may only be counted (`METRIC_ONLY`) and those without identifiers (`ID_LESS`)."""

    platform: str
    since_ms: int | None = None
    until_ms: int | None = None
    training: bool = False


def platforms_of(lake: Lake) -> set[str]:
    """Those that have events in the table."""
    return {file.platform for file in lake.data_files}


def rows_at_most(lake: Lake, selection: Selection) -> int:
    """What a progress bar counts up to: rows of the files that need reading."""
    return sum(file.rows for file in _files(lake, selection))


def export_lines(lake: Lake, selection: Selection, form: Form) -> Iterator[tuple[int, bytes]]:
    """CSV or NDJSON as pieces of whole lines in UTF-8, each with its number of events; of CSV the header comes first. Raises
    LakeError."""
    if form is Form.CSV:
        yield 0, ",".join(column.name for column in COLUMNS).encode() + b"\n"
        line = _csv_line()
    else:
        line = _json_line()
    connection = lake.duckdb()
    with _told():
        interruptible(connection, connection.execute, f"SELECT {line} FROM ({_query(lake, selection)})")
        while rows := interruptible(connection, connection.fetchmany, _ROWS_AT_ONCE):
            yield len(rows), ("\n".join(row[0] for row in rows) + "\n").encode()


def export_parquet(lake: Lake, selection: Selection, out: Path, *, told: Callable[[float], None] = lambda _: None) -> int:
    """Writes one Parquet file and returns its number of events. `told` hears how much is done, from 0 to 1, from another
    thread. Raises LakeError."""
    connection = lake.duckdb()
    with _told(), _watched(connection, told):
        target = f"{literal(str(out))} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
        interruptible(connection, connection.execute, f"COPY ({_query(lake, selection)}) TO {target}")
        written = connection.fetchall()
    return int(written[0][0])


def sync(out: Path) -> None:
    """A written file survives a power cut."""
    descriptor = os.open(out, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- which rows


def _query(lake: Lake, selection: Selection) -> str:
    conditions = ["true"]
    if selection.since_ms is not None:
        conditions.append(f"timestamp >= make_timestamptz({selection.since_ms * 1000})")
    if selection.until_ms is not None:
        conditions.append(f"timestamp < make_timestamptz({selection.until_ms * 1000})")
    if selection.training:
        conditions.append(f"coalesce(personalization_mode, '') NOT IN ({', '.join(map(literal, _NOT_FOR_TRAINING))})")
    files = select_events(_files(lake, selection), locate=lake.locate)
    return f"SELECT * FROM ({files}) WHERE {' AND '.join(conditions)}"


def _files(lake: Lake, selection: Selection) -> list[DataFile]:
    since_ms = selection.since_ms if selection.since_ms is not None else -(1 << 62)
    until_ms = selection.until_ms if selection.until_ms is not None else 1 << 62
    return [
        file
        for file in lake.data_files
        if file.platform == selection.platform and file.last_ms >= since_ms and file.first_ms < until_ms
    ]


# -- a row as a line, in SQL


def _csv_line() -> str:
    cells = ", ".join(f"coalesce({_csv_cell(quoted(column.name), column.type)}, '')" for column in COLUMNS)
    return f"concat_ws(',', {cells})"


def _csv_cell(value: str, kind: Type) -> str:
    if kind in ("long", "date"):
        return f"{value}::VARCHAR"
    if kind == "timestamp":
        return _moment(value)
    if kind == "string":
        text = f"CASE WHEN regexp_matches({value}, {literal(_FORMULA)}) THEN '''' || {value} ELSE {value} END"
    else:
        text = f"CASE WHEN {value} IS NOT NULL THEN {_json(value, kind)} END"
    return f"""'"' || replace({text}, '"', '""') || '"'"""


def _json_line() -> str:
    return _json_object([(column.name, _json_column(column)) for column in COLUMNS], quoted)


def _json_column(column: Column) -> Callable[[str], str]:
    if column.name == "extra":
        return lambda value: f"CASE WHEN json_valid({value}) THEN {value} ELSE {_json(value, 'string')} END"
    return lambda value: _json(value, column.type)


def _json_object(members: Iterable[tuple[str, Callable[[str], str]]], place: Callable[[str], str]) -> str:
    """An expression for the object without its null members. `place` says where a member's value is."""
    parts = []
    for name, written in members:
        value, key = place(name), literal(f',"{name}":')
        parts.append(f"CASE WHEN {value} IS NOT NULL THEN {key} || {written(value)} ELSE '' END")
    return f"'{{' || substr({' || '.join(parts)}, 2) || '}}'"


def _json(value: str, kind: Type) -> str:
    """An expression for the JSON text of a value that is not null."""
    if isinstance(kind, dict):
        members = [(name, _member(inner)) for name, inner in kind.items()]
        return _json_object(members, lambda name: f"{value}.{quoted(name)}")
    if isinstance(kind, list):
        element = f"CASE WHEN item IS NULL THEN 'null' ELSE {_json('item', kind[0])} END"
        return f"'[' || array_to_string(list_transform({value}, lambda item: {element}), ',') || ']'"
    if kind == "timestamp":
        return f"""'"' || {_moment(value)} || '"'"""
    if kind == "date":
        return f"""'"' || {value}::VARCHAR || '"'"""
    if kind == "long":
        return f"{value}::VARCHAR"
    if kind.startswith("decimal"):  # its text always has a point, so only zeros behind it go
        return f"""'"' || rtrim(rtrim({value}::VARCHAR, '0'), '.') || '"'"""
    return f"to_json({value})::VARCHAR"


def _member(kind: Type) -> Callable[[str], str]:
    return lambda value: _json(value, kind)


def _moment(value: str) -> str:
    return f"strftime({value}, '%Y-%m-%dT%H:%M:%S.%gZ')"


# -- while it runs


@contextmanager
def _watched(connection: Connection, told: Callable[[float], None]) -> Iterator[None]:
    """Tells how far the statement of the block is, several times a second."""
    connection.execute("SET enable_progress_bar = true")
    connection.execute("SET enable_progress_bar_print = false")
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_S):
            told(min(max(connection.query_progress(), 0.0), 100.0) / 100)

    watcher = threading.Thread(target=watch, name="export progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise LakeError(f"the export failed: {_words(error)}") from error


def _words(error: Any) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
