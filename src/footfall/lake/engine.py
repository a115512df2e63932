"""DuckDB, opened as this package needs it: bounded in memory and threads, in UTC, and never fetching an extension."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import duckdb

Connection: TypeAlias = duckdb.DuckDBPyConnection


def connect(*, temporary: Path | None, memory_bytes_max: int = 1 << 30, threads: int = 2, filesystem: Any = None) -> Connection:
    """A fresh in-memory database. What does not fit into memory spills to `temporary` (None: nowhere, and the query fails).
    `filesystem` is the fsspec one of an object store."""
    settings: dict[str, Any] = {
        "threads": threads,
        "memory_limit": f"{memory_bytes_max >> 20}MiB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "temp_directory": str(temporary) if temporary is not None else "",
    }
    connection = duckdb.connect(config=settings)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        if filesystem is not None:
            connection.register_filesystem(filesystem)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def connected(*, temporary: Path | None, **options: Any) -> Iterator[Connection]:
    """`connect` for the length of a block."""
    connection = connect(temporary=temporary, **options)
    try:
        yield connection
    finally:
        connection.close()
