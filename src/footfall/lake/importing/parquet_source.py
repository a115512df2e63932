"""Parquet as a source: DuckDB reads it and writes each row as the JSON of an event, in bounded memory.

Amounts stay exact: a DECIMAL becomes text, digit by digit; a FLOAT or DOUBLE its shortest form, as everywhere. A `timestamp` may
be whole milliseconds or a time (one without a zone counts as UTC). What is NULL is absent. A file of the table itself, or one
that `footfall export` wrote, is known by its columns: those that are no members are left out, and `extra` is spread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import msgspec

from footfall.lake.engine import Connection, connected
from footfall.lake.importing.paths import Choice, Column, Constant, Tree, choices_of, tree_of
from footfall.lake.importing.sources import OWN_COLUMNS, Place, Slice, SourceError, is_own, with_extra
from footfall.lake.scan import literal
from footfall.lake.schema import quoted

_SLICE_ROWS: Final = 2048
"""A vector of DuckDB's."""
_MEMORY_BYTES_MAX: Final = 256 << 20
_TIMES: Final = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"})
_EXACT: Final = frozenset({"hugeint", "uhugeint", "decimal"})
"""JSON's numbers would pass through doubles."""
_FLOATING: Final = frozenset({"float", "double"})
_NUMBERS: Final = frozenset({"amount", "quantity", "timestamp"})
"""Members that take their number as text."""


class ParquetSource:
    """One Parquet file."""

    def __init__(self, path: Path, *, name: str, mapping: str | None = None) -> None:
        """Raises SourceError, OSError."""
        self.name = name
        self.path = path
        self.form = f"parquet\n{mapping or ''}"
        self._bytes = path.stat().st_size
        self._rows_read = 0
        self._table = (
            f"read_parquet({literal(_escaped(path))}, file_row_number = true, binary_as_string = true, hive_partitioning = false)"
        )
        with connected(temporary=None, threads=1) as connection:
            self._rows, columns = self._look(connection)
        self._selected = _selected(columns, mapping, name=name)

    @property
    def bytes_read(self) -> int:
        return self._bytes * self._rows_read // max(self._rows, 1)

    def slices(self, place: Place) -> Iterator[Slice]:
        number = place.number
        query = f"SELECT {self._selected} FROM {self._table} WHERE file_row_number >= {number}"
        with connected(temporary=None, threads=1, memory_bytes_max=_MEMORY_BYTES_MAX) as connection, self._explained():
            found = connection.execute(query)
            while rows := found.fetchmany(_SLICE_ROWS):
                bodies = [with_extra(event.encode(), extra.encode() if extra else b"") for event, extra in rows]
                before, number = number, number + len(rows)
                self._rows_read = number
                yield Slice(bodies, range(before + 1, number + 1), Place(number))

    def _look(self, connection: Connection) -> tuple[int, dict[str, Any]]:
        """How many rows there are, and the columns with their types."""
        try:
            [(rows,)] = connection.execute(
                f"SELECT num_rows FROM parquet_file_metadata({literal(_escaped(self.path))})"
            ).fetchall()
            found = connection.sql(f"SELECT * EXCLUDE (file_row_number) FROM {self._table}")
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].partition(": ")[2].replace(str(self.path), self.name)
            raise SourceError(f"{self.name} is no whole Parquet file: {reason or type(error).__name__}") from None
        return rows, dict(zip(found.columns, found.types, strict=True))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:  # its words may quote a value
            raise SourceError(
                f"{self.name} is damaged somewhere after row {self._rows_read:,} ({type(error).__name__}); the rows before are"
                " imported"
            ) from None


def _escaped(path: Path) -> str:
    """A path that is no pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _selected(columns: Mapping[str, Any], mapping: str | None, *, name: str) -> str:
    """The two expressions: the event as JSON text, and what is spread into it, or NULL."""
    extra = "NULL"
    if mapping is None and is_own(columns):
        extra = quoted("extra") if "extra" in columns else extra
        columns = {column: kind for column, kind in columns.items() if column not in OWN_COLUMNS | {"extra"}}
    choices = choices_of(list(columns), mapping, name=name)
    moment = choices.get(("timestamp",))
    if isinstance(moment, Column) and columns[moment.name].id == "date":
        raise SourceError(f"{name}: {moment.name} holds dates, and an event has a time: milliseconds since 1970, or a TIMESTAMP")
    event = _object(tree_of(choices, name=name), columns).value
    return f"to_json({event})::VARCHAR, {extra}"


# -- the tree of an event as SQL


class _Made(NamedTuple):
    """An expression, and the one that says whether a row has anything there (None: only constants)."""

    value: str
    presence: str | None


def _object(tree: Tree, columns: Mapping[str, Any]) -> _Made:
    """The root, or a member that is made of several columns."""
    if tree and all(isinstance(part, int) for part in tree):
        return _list([_end(below, columns, name="") for _, below in sorted(tree.items(), key=lambda entry: int(entry[0]))])
    made = {str(part): _end(below, columns, name=str(part)) for part, below in tree.items()}
    packed = ", ".join(f"{quoted(part)} := {below.value}" for part, below in made.items())
    return _Made(f"struct_pack({packed})", _any(list(made.values())))


def _end(below: Tree | Choice, columns: Mapping[str, Any], *, name: str) -> _Made:
    if isinstance(below, Constant):
        return _Made(f"{literal(msgspec.json.encode(below.value).decode())}::JSON", None)
    if isinstance(below, Column):
        column = quoted(below.name)
        return _Made(_plain(column, columns[below.name], name=name), f"{column} IS NOT NULL")
    made = _object(below, columns)
    presence = made.presence or "false"  # a currency alone makes no price
    return _Made(f"CASE WHEN {presence} THEN to_json({made.value}) END", presence)


def _list(elements: list[_Made]) -> _Made:
    """Without the gaps that absent elements leave. Each is JSON by now, since their members may differ."""
    listed = ", ".join(f"to_json({element.value})" for element in elements)
    return _Made(f"list_filter([{listed}], lambda element: element IS NOT NULL)", _any(elements))


def _any(parts: list[_Made]) -> str | None:
    return " OR ".join(part.presence for part in parts if part.presence is not None) or None


# -- values


def _plain(value: str, kind: Any, *, name: str, depth: int = 0) -> str:
    """The value of a column, or of a part of one, as JSON may take it."""
    if kind.id == "struct":
        inner = ", ".join(
            f"{quoted(part)} := {_plain(f'{value}.{quoted(part)}', below, name=part, depth=depth)}"
            for part, below in kind.children
        )
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({inner}) END"
    if kind.id in {"list", "array"}:
        element = f"element{depth}"
        below = _plain(element, kind.children[0][1], name=name, depth=depth + 1)
        return value if below == element else f"list_transform({value}, lambda {element}: {below})"
    return _scalar(value, kind, name=name)


def _scalar(value: str, kind: Any, *, name: str) -> str:
    if kind.id == "decimal" and dict(kind.children)["scale"]:
        return f"rtrim(rtrim({value}::VARCHAR, '0'), '.')"
    if kind.id in _EXACT or (kind.id in _FLOATING and name in _NUMBERS):
        return f"{value}::VARCHAR"
    if kind.id == "float":  # 19.99 is not 19.989999771118164
        return f"{value}::VARCHAR::DOUBLE"
    if kind.id in _TIMES and name == "timestamp":
        return f"epoch_ms({value})"
    return value
