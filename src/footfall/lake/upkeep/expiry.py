"""Retention: what is too old leaves the table, and landed events leave the log.

In the table whole partitions go, when their youngest event is older than the platform's days, with one commit that also counts
what went (the ledger's term `expired`), by source, as read from the very files that go. In the log whole segments go, which hold
events of all platforms: the longest time that any of them asks for holds for all. Nothing goes from there that a durable commit
of the table has not passed, however full the volume is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from footfall.lake.engine import Connection
from footfall.lake.scan import select_events
from footfall.lake.settings import LakeSettings
from footfall.lake.table import DataFile
from footfall.log.directory import writers_of
from footfall.log.disk import Disk
from footfall.log.retention import remove_sealed
from footfall.registry.snapshot import Retention

DAY_MS: Final = 86_400_000
_FILES_MAX: Final = 5_000
"""That leave with one commit; more leave with the next."""


class Expired(NamedTuple):
    """Files that leave the table, and their rows by platform and source."""

    files: tuple[DataFile, ...]
    rows: Mapping[tuple[str, str], int]


class LogExpired(NamedTuple):
    """What left the log."""

    segments: int
    bytes_count: int


def expired_files(
    files: Iterable[DataFile], *, settings: LakeSettings, retentions: Mapping[str, Retention], now_ms: int
) -> list[DataFile]:
    """The files of partitions whose whole time is over."""
    partitions: dict[tuple[str, str], list[DataFile]] = {}
    for file in files:
        partitions.setdefault((file.platform, file.event_date), []).append(file)
    expired: list[DataFile] = []
    for (platform, _), found in sorted(partitions.items()):
        days = lake_days(platform, settings=settings, retentions=retentions)
        if days is not None and max(file.last_ms for file in found) < now_ms - days * DAY_MS and len(expired) < _FILES_MAX:
            expired += found
    return expired


def lake_days(platform: str, *, settings: LakeSettings, retentions: Mapping[str, Retention]) -> float | None:
    """How long the events of a platform stay in the table; None: for ever."""
    own = retentions[platform].lake_days if platform in retentions else None
    return settings.retention_days if own is None else own


def log_days(*, settings: LakeSettings, retentions: Mapping[str, Retention]) -> float:
    """How long landed events stay in the log."""
    return max([settings.log_retention_days, *(kept.log_days for kept in retentions.values() if kept.log_days is not None)])


def count_rows(files: Iterable[DataFile], connection: Connection, *, locate: Callable[[str], str]) -> Expired:
    """How many rows of which platform and source are in these files."""
    chosen = tuple(files)
    rows = select_events(chosen, locate=locate, names=("platform", "source"))
    found = connection.execute(f"SELECT platform, source, count(*) FROM ({rows}) GROUP BY ALL").fetchall()
    return Expired(chosen, Counter({(platform, source or ""): count for platform, source, count in found}))


def expire_log(tree: Path, *, passed: Mapping[str, int], sealed_before_ms: int) -> LogExpired:
    """Removes segments sealed before that time whose last sequence is at most its writer's `passed`. Raises OSError, LogError."""
    segments = bytes_count = 0
    for writer in writers_of(Disk(), tree):
        removed = remove_sealed(tree / writer, sealed_before_ms=sealed_before_ms, passed=passed.get(writer, 0))
        segments += removed.segments
        bytes_count += removed.bytes_count
    return LogExpired(segments, bytes_count)
