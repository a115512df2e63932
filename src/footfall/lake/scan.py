"""The SQL that reads data files as the table's columns, for the lander, the readers and the exports alike.

Partition columns are not in the files, but in their paths; columns that an older version of the schema lacks are null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from footfall.lake.schema import COLUMNS, PARTITION_COLUMNS, Column, duckdb_type, quoted
from footfall.lake.table import DataFile


def select_events(
    files: Iterable[DataFile], *, locate: Callable[[str], str], names: Iterable[str] | None = None, with_path: bool = False
) -> str:
    """A query for the rows of these files, with the columns of `names` (None: all), in the table's order of columns. No files:
    no rows, the same columns. `with_path` adds the column `path`: the file's as DuckDB names it."""
    wanted = set(names) if names is not None else {column.name for column in COLUMNS}
    columns = [column for column in COLUMNS if column.name in wanted]
    by_version: dict[int, list[str]] = {}
    for file in files:
        by_version.setdefault(file.version, []).append(locate(file.path))
    if not by_version:
        nothing = ", ".join(f"NULL::{duckdb_type(column.type)} AS {quoted(column.name)}" for column in columns)
        return f"SELECT {nothing}{', NULL::VARCHAR AS path' if with_path else ''} WHERE false"
    return " UNION ALL ".join(_select(columns, version, places, with_path) for version, places in sorted(by_version.items()))


def _select(columns: list[Column], version: int, places: list[str], with_path: bool) -> str:
    expressions = [_expression(column, version) for column in columns]
    if with_path:
        expressions.append("filename AS path")
    listed = ", ".join(literal(place) for place in places)
    return (
        f"SELECT {', '.join(expressions)} FROM read_parquet([{listed}], hive_partitioning = true,"
        f" hive_types = {{'platform': VARCHAR, 'event_date': DATE}}, filename = {str(with_path).lower()})"
    )


def _expression(column: Column, version: int) -> str:
    if column.since > version and column.name not in PARTITION_COLUMNS:
        return f"NULL::{duckdb_type(column.type)} AS {quoted(column.name)}"
    return quoted(column.name)


def literal(text: str) -> str:
    """A string as SQL takes it."""
    return "'" + text.replace("'", "''") + "'"
