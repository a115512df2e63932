"""One question in SQL about the view `events`, asked so that it can only read.

Three fences: the statement must be one that reads, the connection can open no file but the table's, and nothing else is attached.
DuckDB says what kind of statement it parsed, so no list of words is kept here, except for two kinds that may hide another one:
EXPLAIN ANALYZE runs what it explains, and PIVOT comes as several statements in one.

On an object store the second fence stands at the table's prefix as well, but what lies there is read through the process's own
credentials: it is as narrow as the prefix, not as the list of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import duckdb

from footfall.errors import LakeError
from footfall.lake.engine import Connection
from footfall.lake.interrupting import interruptible
from footfall.lake.reading import Lake

_ROWS_AT_ONCE: Final = 2_000
_MESSAGE_LINES_MAX: Final = 6
_READS: Final = frozenset({"SELECT"})
_EXPLAIN: Final = re.compile(r"\s*EXPLAIN(?:\s+ANALYZE)?\s+(.*)", re.IGNORECASE | re.DOTALL)
_PIVOT: Final = re.compile(r"\s*(?:PIVOT|FROM|SELECT|WITH)\b", re.IGNORECASE)
_ONLY_READING: Final = (
    "only one statement that reads is run here: SELECT, WITH, FROM, VALUES, PIVOT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN"
)
_OF_THE_SYSTEM: Final = (
    duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InternalException, duckdb.FatalException, duckdb.HTTPException,
)  # fmt: skip


class QueryError(LakeError):
    """The person who asked: the SQL is wrong, or does something other than read. `details` are DuckDB's further lines, which
    point at the place."""

    def __init__(self, message: str, *, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class ResultColumn(NamedTuple):
    """Of an answer; `type` as DuckDB spells it, such as `DECIMAL(38,9)`."""

    name: str
    type: str


class Answer:
    """What came back. Rows come as DuckDB makes Python values of them, batch by batch, while the query still runs."""

    def __init__(self, connection: Connection, sql: str) -> None:
        self._connection = connection
        self._sql = sql
        cursor = _run(connection, connection.execute, sql)
        self.columns = tuple(ResultColumn(column[0], str(column[1])) for column in cursor.description or ())
        self._first = _run(connection, connection.fetchmany, _ROWS_AT_ONCE)

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """Every row, once. Raises QueryError, LakeError, and KeyboardInterrupt when the person had enough."""
        batch, self._first = self._first, []
        while batch:
            yield batch
            batch = _run(self._connection, self._connection.fetchmany, _ROWS_AT_ONCE)

    def count(self) -> int | None:
        """How many rows there are in all, found by asking again; None where that cannot be said."""
        try:
            _run(self._connection, self._connection.execute, f"SELECT count(*) FROM ({self._sql.strip().rstrip(';')}\n)")
            return int(_run(self._connection, self._connection.fetchall)[0][0])
        except LakeError:
            return None


@contextmanager
def answered(opened: Callable[[], Lake], sql: str) -> Iterator[Answer]:
    """The answer to one question. When a file is gone before the first rows came, a fresh snapshot is asked once more. Raises
    QueryError before anything is run where the statement does not read."""
    with opened() as lake:
        try:
            answer = _ask(lake, sql)
        except LakeError as error:
            if not isinstance(error.__cause__, duckdb.IOException):
                raise
        else:
            yield answer
            return
    with opened() as lake:
        yield _ask(lake, sql)


def _ask(lake: Lake, sql: str) -> Answer:
    connection = lake.duckdb(confined=True)
    require_reading(connection, sql)
    return Answer(connection, sql)


def require_reading(connection: Connection, sql: str) -> None:
    """Raises QueryError unless it is one statement that only reads."""
    statements = _parsed(connection, sql)
    if len(statements) != 1:
        raise QueryError(_ONLY_READING if statements else "there is no statement to run")
    kind = statements[0].type.name
    if kind == "EXPLAIN":
        explained = _EXPLAIN.fullmatch(sql)
        if explained is None:
            raise QueryError("of EXPLAIN only EXPLAIN SELECT … and EXPLAIN ANALYZE SELECT … are run here")
        require_reading(connection, explained[1])
    elif kind not in _READS and not (kind == "MULTI" and _PIVOT.match(sql)):
        raise QueryError(_ONLY_READING)


def _parsed(connection: Connection, sql: str) -> list[Any]:
    return list(_run(connection, connection.extract_statements, sql))


def _run(connection: Connection, step: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return interruptible(connection, step, *arguments)
    except _OF_THE_SYSTEM as error:
        raise LakeError(f"the table cannot be read: {_lines(error)[0]}") from error
    except duckdb.Error as error:
        first, *others = _lines(error)
        raise QueryError(first, details=tuple(others)) from error


def _lines(error: Exception) -> list[str]:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[:_MESSAGE_LINES_MAX] or [type(error).__name__]
