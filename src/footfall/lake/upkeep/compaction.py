"""Compaction: many small data files of a partition become few large ones, the same rows, sorted by time.

Landing writes a small file a partition every few seconds. Two rules keep their number down without writing a busy day anew again
and again:

    tiers    files of a partition are grouped by size, each tier 16 times the one below. Sixteen in one tier become one, which is
             in the next: a row is written anew once a tier, three or four times from a landing of seconds to a full file
    rest     a partition whose days are over and that nothing was added to for a while is put in its last shape: files of about
             `file_bytes` whose times do not overlap, so that whoever asks for an hour reads one

Planning is pure: files in, merges out. A `Compactor` does the work with a connection of its own and puts the new files in place;
who owns the table commits them (`upkeep`), after a look at whether every source still belongs to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from footfall.errors import LakeError
from footfall.lake.engine import Connection
from footfall.lake.files import ROW_GROUP_ROWS, Content, DataWriter, Staged
from footfall.lake.scan import literal, select_events
from footfall.lake.schema import STORED, quoted
from footfall.lake.table import DataFile
from footfall.lake.volume import Volume

TIER_FILES: Final = 16
"""So many of one tier become one."""
SOURCES_MAX: Final = 256
"""Files of one merge: DuckDB holds each one's footer."""
REST_FILES_MAX: Final = 64
"""Full files that a partition at rest may be written anew into at one go, 8 GB as the settings are: beyond, its large files stay
as they are, because the volume must hold both shapes until the old one is vacuumed."""
REST_S: Final = 900.0
"""A partition that nothing was added to for so long is at rest, …"""
LONG_REST_S: Final = 86_400.0
"""… and for so long that even a single late event is worth writing its neighbours anew."""
_LATE_SHARE: Final = 16
"""Before that, what came late must be a sixteenth of what is written anew for it."""
_SLICE_ROWS: Final = 200_000
_SLICE_BYTES: Final = 12 * 1024 * 1024
"""Of Parquet, about ten times as much in memory: what is sorted at once."""
_STORED: Final = ", ".join(quoted(column.name) for column in STORED)


class Merge(NamedTuple):
    """Files of one partition that are to become `files_aimed` files."""

    sources: tuple[DataFile, ...]
    files_aimed: int = 1

    @property
    def bytes_count(self) -> int:
        return sum(file.bytes_count for file in self.sources)


class Compaction(NamedTuple):
    """A merge done: the files of `add` lie in place and hold exactly the rows of those of `remove`."""

    remove: tuple[DataFile, ...]
    add: tuple[DataFile, ...]


def plan(
    files: Iterable[DataFile], *, file_bytes: int, rest_s: Callable[[str, str], float] = lambda _platform, _event_date: 0.0
) -> list[Merge]:
    """What should be merged, the smallest first. `rest_s` tells of a partition (platform, event_date) for how long it has been at
    rest; 0 while its days are not over."""
    partitions: dict[tuple[str, str], list[DataFile]] = {}
    for file in files:
        partitions.setdefault((file.platform, file.event_date), []).append(file)
    merges: list[Merge] = []
    for (platform, event_date), found in partitions.items():
        if len(found) < 2:
            continue
        found.sort(key=lambda file: (file.first_ms, file.path))
        tiers = _tier_merges(found, file_bytes)
        merges += tiers
        if not tiers and (rested_s := rest_s(platform, event_date)) >= REST_S:
            merges += _rest_merges(found, file_bytes, spares_nothing=rested_s >= LONG_REST_S)
    return sorted(merges, key=lambda merge: merge.bytes_count)


class Compactor:
    """Does merges, one after the other, through one connection. Its memory does not grow with the files: what is too much to be
    sorted at once is sorted in slices of time, which are then put one behind the other (2.4 million rows at once spilled 1 GB
    and did not fit 160 MiB; in slices they do, in about the same time)."""

    def __init__(self, connection: Connection, volume: Volume, staging: Path) -> None:
        self._connection = connection
        self._volume = volume
        self._staging = staging
        self._writer = DataWriter(connection, volume, staging)

    def compact(self, merge: Merge) -> Compaction:
        """Writes the merged files and puts them in place, durable. Raises LakeError where rows were gained or lost, in which
        case, as in all others, the table is as it was."""
        rows = sum(file.rows for file in merge.sources)
        aimed = merge.files_aimed
        slices_a_file = max(1, math.ceil(max(rows / _SLICE_ROWS, merge.bytes_count / _SLICE_BYTES) / aimed))
        cuts = self._cuts(merge, slices_a_file * aimed)
        bounds = list(itertools.pairwise([None, *cuts, None]))
        written = [
            staged
            for start in range(0, len(bounds), slices_a_file)
            for staged in self._write(merge, bounds[start : start + slices_a_file])
        ]
        found = sum(staged.file.rows for staged in written)
        if found != rows:
            partition = f"{merge.sources[0].platform} {merge.sources[0].event_date}"
            raise LakeError(f"merging {len(merge.sources)} files of {partition}: {rows} rows became {found}")
        return Compaction(merge.sources, tuple(self._writer.place(written)))

    def _write(self, merge: Merge, bounds: Sequence[tuple[int | None, int | None]]) -> list[Staged]:
        """One file of the slices between these times."""
        first = merge.sources[0]
        rows = select_events(merge.sources, locate=self._volume.locate)
        queries = [f"SELECT * FROM ({rows}) WHERE {_between(begin, end)}" for begin, end in bounds]
        if len(queries) == 1:
            return self._writer.write([Content(first.platform, first.event_date, queries[0])])
        slices = [self._staging / f"{uuid4().hex}.slice" for _ in queries]
        for query, path in zip(queries, slices, strict=True):
            self._connection.execute(
                f"COPY (SELECT {_STORED} FROM ({query}) ORDER BY timestamp) TO {literal(str(path))}"
                f" (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
            )
        in_order = ", ".join(literal(str(path)) for path in slices)
        joined = f"SELECT * FROM read_parquet([{in_order}])"  # DuckDB keeps the order of the list and of the rows
        written = self._writer.write([Content(first.platform, first.event_date, joined, is_spread=False)])
        for path in slices:
            path.unlink()
        return written

    def _cuts(self, merge: Merge, slices: int) -> list[int]:
        """The times (ms) that part the rows into about equal shares; an estimate will do."""
        if slices < 2:
            return []
        shares = [index / slices for index in range(1, slices)]
        times = select_events(merge.sources, locate=self._volume.locate, names=("timestamp",))
        query = f"SELECT approx_quantile(epoch_ms(timestamp), {shares}) FROM ({times})"
        return sorted({int(cut) for cut in self._connection.execute(query).fetchall()[0][0]})


def _tier_merges(files: Sequence[DataFile], file_bytes: int) -> list[Merge]:
    """`files` in order of time."""
    tiers: dict[int, list[DataFile]] = {}
    for file in files:
        if not _is_full(file, file_bytes):
            tiers.setdefault(_tier(file, file_bytes), []).append(file)
    return [
        Merge(tuple(taken))
        for _, found in sorted(tiers.items())
        if len(found) >= TIER_FILES
        for taken in _portions(found, file_bytes)
        if len(taken) > 1
    ]


def _tier(file: DataFile, file_bytes: int) -> int:
    """0 for the smallest; a file of tier n is at least 16^(n-m) × half a full one, m being the highest tier."""
    return -math.ceil(math.log(file_bytes / 2 / max(file.bytes_count, 1), TIER_FILES))


def _portions(files: Iterable[DataFile], file_bytes: int) -> Iterable[list[DataFile]]:
    """Files in order, each portion enough for one full file."""
    portion: list[DataFile] = []
    size = 0
    for file in files:
        if portion and (size + file.bytes_count > file_bytes or len(portion) >= SOURCES_MAX):
            yield portion
            portion, size = [], 0
        portion.append(file)
        size += file.bytes_count
    if portion:
        yield portion


class _Run(NamedTuple):
    """Neighbours in time: files that overlap, directly or through others, or small ones beside each other."""

    files: list[DataFile]
    last_ms: int
    bytes_count: int


def _rest_merges(files: Sequence[DataFile], file_bytes: int, *, spares_nothing: bool) -> list[Merge]:
    """`files` in order of time."""
    merges = []
    for run in _joined(_overlapping(files), file_bytes):
        aimed = max(1, round(run.bytes_count / file_bytes))
        largest = max(file.bytes_count for file in run.files)
        worth_it = spares_nothing or (run.bytes_count - largest) * _LATE_SHARE >= largest
        if len(run.files) > 1 and worth_it and aimed <= REST_FILES_MAX:
            merges.append(Merge(tuple(run.files), aimed))
    return merges


def _overlapping(files: Sequence[DataFile]) -> list[_Run]:
    runs: list[_Run] = []
    for file in files:
        if runs and file.first_ms <= runs[-1].last_ms:
            run = runs[-1]
            runs[-1] = _Run([*run.files, file], max(run.last_ms, file.last_ms), run.bytes_count + file.bytes_count)
        else:
            runs.append(_Run([file], file.last_ms, file.bytes_count))
    return runs


def _joined(runs: Sequence[_Run], file_bytes: int) -> list[_Run]:
    """Small neighbours together, as long as they make one file."""
    joined: list[_Run] = []
    for run in runs:
        before = joined[-1] if joined else None
        if (
            before is not None
            and before.bytes_count + run.bytes_count <= file_bytes
            and min(before.bytes_count, run.bytes_count) < file_bytes // 2
        ):
            joined[-1] = _Run([*before.files, *run.files], run.last_ms, before.bytes_count + run.bytes_count)
        else:
            joined.append(run)
    return joined


def _is_full(file: DataFile, file_bytes: int) -> bool:
    return file.bytes_count >= file_bytes // 2


def _between(begin_ms: int | None, end_ms: int | None) -> str:
    parts = []
    if begin_ms is not None:
        parts.append(f"timestamp >= make_timestamptz({begin_ms * 1000})")
    if end_ms is not None:
        parts.append(f"timestamp < make_timestamptz({end_ms * 1000})")
    return " AND ".join(parts) or "true"
