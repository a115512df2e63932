"""Reading the table: one snapshot of it, as a DuckDB view or a Polars frame.

A snapshot is the list of data files of one version. It never changes, and it holds nothing open: files that compaction or an
erasure no longer needs stay for `lake.vacuum_hours` (an erasure's for less), then they are gone, and a snapshot that names them
cannot be read any more. Open a fresh one then; who asks through `asking.answered` has that done once.

DuckDB reads the files itself; its extensions for Delta and for object stores are not needed, and none is ever fetched.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import duckdb

from footfall.errors import LakeError
from footfall.lake.engine import Connection, connect
from footfall.lake.opening import open_table
from footfall.lake.scan import literal, select_events
from footfall.lake.schema import COLUMNS, NAMES, Type
from footfall.lake.settings import LakeSettings
from footfall.lake.table import DataFile, EventsTable

if TYPE_CHECKING:
    import polars

MEMORY_BYTES_MAX: Final = 1 << 30
"""Of one reading connection; beyond, it spills to the temporary directory (TMPDIR chooses it)."""
_THREADS_MAX: Final = 4
"""A reader shares its machine with the server."""


def open_lake(data: str | Path = "footfall-data", *, settings: LakeSettings | None = None, table: str | None = None) -> Lake:
    """The table of a data directory as it is now; `footfall.lake.open` is this.

    `table` names the table itself (a directory, or `s3://bucket/path` with the usual AWS_… variables) where it does not lie in
    the data directory; `settings` is a loaded `[lake]`. Nothing has landed yet, or there is no such directory: an empty lake.
    Changes nothing and takes no lock, so it may run beside a server. Raises LakeError where what is there cannot be read."""
    chosen = settings or LakeSettings()
    if table is not None:
        chosen = LakeSettings(table=table)
    return Lake(open_table(Path(data), chosen))


class Lake:
    """One snapshot of the table `events`. Closing it closes the connections it gave out. Not thread-safe."""

    def __init__(self, table: EventsTable | None) -> None:
        """Use `footfall.lake.open`."""
        self._table = table
        self._files: Mapping[str, DataFile] = dict(table.files()) if table is not None else {}
        self._connections: list[Connection] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def version(self) -> int | None:
        """Of the Delta table; None where there is none yet."""
        return self._table.version if self._table is not None else None

    @property
    def files(self) -> tuple[str, ...]:
        """The snapshot's Parquet files, as paths or URLs, oldest day first: for readers that know nothing of Delta. They hold no
        partition columns; those stand in the paths."""
        return tuple(self.locate(file.path) for file in self.data_files)

    @property
    def data_files(self) -> tuple[DataFile, ...]:
        """The same with what the table knows of each, by day and then by time."""
        return tuple(sorted(self._files.values(), key=lambda file: (file.event_date, file.first_ms, file.platform, file.path)))

    def locate(self, path: str) -> str:
        """A data file's path, as DuckDB takes it."""
        if self._table is None:
            raise LakeError("nothing has landed yet")
        return self._table.volume.locate(path)

    def position(self, writer: str) -> int:
        """The last sequence of that writer of the log that has landed; 0 for none."""
        return self._table.position(writer) if self._table is not None else 0

    def duckdb(self, *, confined: bool = False) -> Connection:
        """A DuckDB connection of its own with the view `events`: every column of `schema.COLUMNS`, in order; times are in UTC.
        `confined`: it can open no other file than the table's, load nothing, see no Python variable, and cannot be talked out of
        it; what is left to the caller is to run nothing that writes, since the table's own directory stays open. Raises LakeError
        where a file of the snapshot is gone."""
        threads = min(os.cpu_count() or 1, _THREADS_MAX)
        filesystem = self._table.volume.filesystem if self._table is not None else None
        connection = connect(
            temporary=self._spill_directory(), memory_bytes_max=MEMORY_BYTES_MAX, threads=threads, filesystem=filesystem
        )
        self._connections.append(connection)
        events = select_events(self.data_files, locate=self.locate)
        try:
            connection.execute(f"CREATE VIEW events AS {events}")
        except duckdb.Error as error:
            raise LakeError(f"the table cannot be read: {str(error).splitlines()[0]}") from error
        if confined:
            self._confine(connection)
        return connection

    def polars(self) -> polars.LazyFrame:
        """The same as a lazy frame of Polars, which is not installed with Footfall. Raises ImportError without it."""
        try:
            import polars
        except ImportError:
            raise ImportError("lake.polars() needs Polars, which does not come with Footfall: pip install polars") from None
        if self._table is None or not self._files:
            return polars.LazyFrame(schema={column.name: _polars_type(column.type, polars) for column in COLUMNS})
        return polars.scan_delta(self._table.volume.uri, version=self._table.version).select(NAMES)

    def close(self) -> None:
        """Calling it twice is allowed."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _spill_directory(self) -> Path:
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="footfall-", ignore_cleanup_errors=True)  # mode 0700
        return Path(self._scratch.name)

    def _confine(self, connection: Connection) -> None:
        allowed = [f"{self._table.volume.uri.rstrip('/')}/"] if self._table is not None else []
        connection.execute("SET python_enable_replacements = false")
        connection.execute(f"SET allowed_directories = [{', '.join(map(literal, allowed))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")


def _polars_type(kind: Type, polars: Any) -> Any:
    if isinstance(kind, dict):
        return polars.Struct({name: _polars_type(inner, polars) for name, inner in kind.items()})
    if isinstance(kind, list):
        return polars.List(_polars_type(kind[0], polars))
    plain = {"string": polars.String, "long": polars.Int64, "date": polars.Date, "timestamp": polars.Datetime("us", "UTC")}
    return plain.get(kind) or polars.Decimal(38, 9)
