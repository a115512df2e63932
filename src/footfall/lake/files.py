"""Data files: a query's rows, written sorted by time into staging, and put in place durably.

Who writes knows what is in a file, so the statistics of its commit (rows, least and greatest time) are asked of the file just
written; nothing else about its content leaves it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from footfall.lake.engine import Connection
from footfall.lake.scan import literal, select_events
from footfall.lake.schema import PARTITION_COLUMNS, STORED, quoted
from footfall.lake.table import DataFile, new_path
from footfall.lake.volume import Volume

ROW_GROUP_ROWS: Final = 30_000
"""Small enough that a batch of a minute meets few of a day's row groups, large enough to compress."""
_FORMAT: Final = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
_COLUMNS: Final = ", ".join(quoted(column.name) for column in STORED)


class Content(NamedTuple):
    """What goes into one file: the rows of `query`, which gives all stored columns, sorted by time. Rows of a few minutes
    (`is_spread` false) may stay as they are: within so short a file order helps no reader, and costs a third of the writing."""

    platform: str
    event_date: str
    """ISO"""
    query: str
    is_spread: bool = True


class Staged(NamedTuple):
    """A file in staging, and what the table will know of it."""

    staged: Path
    file: DataFile


class DataWriter:
    """Writes data files of one table through one connection; they lie in `staging` until `place`."""

    def __init__(self, connection: Connection, volume: Volume, staging: Path) -> None:
        self._connection = connection
        self._volume = volume
        self._staging = staging

    def write(self, contents: Iterable[Content]) -> list[Staged]:
        """One file for each content that has rows."""
        return [staged for content in contents if (staged := self._write(content)) is not None]

    def write_partitions(self, query: str) -> list[Staged]:
        """One file a partition of the rows of `query`, which gives all the table's columns, sorted by time."""
        directory = self._staging / uuid4().hex
        partition = ", ".join(map(quoted, PARTITION_COLUMNS))
        self._connection.execute(
            f"COPY (SELECT {_COLUMNS}, {partition} FROM ({query}) ORDER BY {partition}, timestamp) TO {literal(str(directory))}"
            f" ({_FORMAT}, PARTITION_BY ({partition}))"
        )
        told = self._connection.execute(
            f"SELECT platform, event_date::VARCHAR, count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM ({query})"
            " GROUP BY ALL"
        ).fetchall()
        written = []
        for platform, event_date, rows, first, last in told:
            (made,) = (directory / f"platform={platform}" / f"event_date={event_date}").iterdir()
            staged = made.rename(self._staging / f"{uuid4().hex}.parquet")
            written.append(_staged(staged, platform, event_date, (rows, first, last)))
        shutil.rmtree(directory)
        return written

    def place(self, written: Sequence[Staged]) -> list[DataFile]:
        """Puts written files where the table's are; durable when it returns."""
        if written:
            self._volume.place({staged.file.path: staged.staged for staged in written})
        return [staged.file for staged in written]

    def without(self, file: DataFile, positions: Sequence[tuple[str, int]]) -> list[DataFile]:
        """The same file without the rows at these positions (writer, sequence), in place; none where no row is left."""
        self._connection.execute("CREATE OR REPLACE TEMP TABLE leaving (writer VARCHAR, sequence BIGINT)")
        self._connection.execute(  # whole lists: row by row it took 0.3 ms each
            "INSERT INTO leaving SELECT unnest(?::VARCHAR[]), unnest(?::BIGINT[])",
            [[writer for writer, _ in positions], [sequence for _, sequence in positions]],
        )
        rows = select_events([file], locate=self._volume.locate)
        query = f"SELECT * FROM ({rows}) AS row ANTI JOIN leaving USING (writer, sequence)"
        return self.place(self.write([Content(file.platform, file.event_date, query)]))

    def _write(self, content: Content) -> Staged | None:
        staged = self._staging / f"{uuid4().hex}.parquet"
        order = " ORDER BY timestamp" if content.is_spread else ""
        self._connection.execute(f"COPY (SELECT {_COLUMNS} FROM ({content.query}){order}) TO {literal(str(staged))} ({_FORMAT})")
        told = self._connection.execute(
            f"SELECT count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM read_parquet({literal(str(staged))})"
        ).fetchall()[0]
        if not told[0]:
            staged.unlink()
            return None
        return _staged(staged, content.platform, content.event_date, told)


def _staged(staged: Path, platform: str, event_date: str, told: tuple[int, int, int]) -> Staged:
    rows, first_ms, last_ms = told
    return Staged(
        staged,
        DataFile(
            path=new_path(platform, event_date), bytes_count=staged.stat().st_size, rows=rows, platform=platform,
            event_date=event_date, first_ms=first_ms, last_ms=last_ms,
        ),
    )  # fmt: skip
