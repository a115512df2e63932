"""The pieces of work that upkeep does beside landing: each long part in a thread, each change of the table by its owner.

A piece is made by the owner's loop, `run` in a thread of its own, and `finish`ed by the loop between two landings; where it is
not to be finished, it is `drop`ped. Only `finish` touches the owner's table. What `run` reads through DuckDB it reads through a
connection of its own, which `Stopping` can interrupt.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Protocol
from uuid import uuid4

from footfall.errors import LakeError
from footfall.lake.engine import Connection, connected
from footfall.lake.settings import LakeSettings
from footfall.lake.table import DataFile, EventsTable, count_name
from footfall.lake.upkeep.checkpoints import write_checkpoint
from footfall.lake.upkeep.compaction import Compaction, Compactor, Merge
from footfall.lake.upkeep.expiry import Expired, count_rows, expire_log
from footfall.lake.upkeep.vacuum import Needless
from footfall.lake.volume import Volume

logger = logging.getLogger("footfall.lander")


class Piece(Protocol):
    """One bounded piece of work."""

    def run(self, stopping: Stopping) -> None:
        """The long part, in a thread. Raises FootfallError, OSError, duckdb.Error."""
        ...

    def finish(self, table: EventsTable) -> None:
        """The short part, which may commit. Raises as `EventsTable.commit`."""
        ...

    def drop(self) -> None:
        """Takes back what `run` left, finished or not."""
        ...


class StoppedError(LakeError):
    """The piece was told to stop, and did."""


class Stopping:
    """How a running piece is told to stop; thread-safe."""

    def __init__(self) -> None:
        self._event = Event()
        self._lock = Lock()
        self._connection: Connection | None = None

    def stop(self) -> None:
        self._event.set()
        with self._lock:
            if self._connection is not None:
                self._connection.interrupt()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        if self._event.is_set():
            raise StoppedError("stopped")

    @contextmanager
    def interrupting(self, connection: Connection) -> Iterator[None]:
        """Within the block, stopping interrupts this connection's query."""
        with self._lock:
            self._connection = connection
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._connection = None


class Workshop:
    """What pieces that read and write data files share. Memory is half of what the settings allow: the lander has the other."""

    def __init__(self, volume: Volume, staging: Path, settings: LakeSettings) -> None:
        self.volume = volume
        self.staging = staging
        self._settings = settings

    @contextmanager
    def open(self, stopping: Stopping) -> Iterator[tuple[Connection, Path]]:
        """A connection and an empty directory, both gone afterwards."""
        directory = self.staging / uuid4().hex
        directory.mkdir(mode=0o700, parents=True)
        try:
            with (
                connected(
                    temporary=directory / "spill", memory_bytes_max=self._settings.memory_bytes_max // 2,
                    threads=self._settings.threads, filesystem=self.volume.filesystem,
                ) as connection,
                stopping.interrupting(connection),
            ):  # fmt: skip
                yield connection, directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


class Compacting:
    """Merges, each of which holds or falls by itself."""

    def __init__(self, merges: Sequence[Merge], workshop: Workshop) -> None:
        self.merges = merges
        self._workshop = workshop
        self._done: list[Compaction] = []

    def run(self, stopping: Stopping) -> None:
        with self._workshop.open(stopping) as (connection, directory):
            compactor = Compactor(connection, self._workshop.volume, directory)
            for merge in self.merges:
                stopping.check()
                self._done.append(compactor.compact(merge))

    def finish(self, table: EventsTable) -> None:
        files = table.files()
        current = [done for done in self._done if all(files.get(file.path) == file for file in done.remove)]
        stale = [file.path for done in self._done if done not in current for file in done.add]
        if stale:
            self._workshop.volume.remove(stale)
        self._done = current
        if current:
            table.commit(
                add=[file for done in current for file in done.add],
                remove=[file for done in current for file in done.remove],
                transactions={},
                changes=False,
            )
            logger.debug("%d files became %d", sum(len(d.remove) for d in current), sum(len(d.add) for d in current))

    def drop(self) -> None:
        self._workshop.volume.remove(file.path for done in self._done for file in done.add)
        self._done = []


class Expiring:
    """Files whose time in the table is over."""

    def __init__(self, files: Sequence[DataFile], workshop: Workshop) -> None:
        self._files = files
        self._workshop = workshop
        self._expired: Expired | None = None

    def run(self, stopping: Stopping) -> None:
        with self._workshop.open(stopping) as (connection, _):
            self._expired = count_rows(self._files, connection, locate=self._workshop.volume.locate)

    def finish(self, table: EventsTable) -> None:
        files = table.files()
        if self._expired is None or any(files.get(file.path) != file for file in self._expired.files):
            return  # one of them was written anew meanwhile: counted again the next time
        totals = {}
        for (platform, source), rows in self._expired.rows.items():
            name = count_name(platform, source, "expired")
            totals[name] = (table.transaction(name) or 0) + rows
        table.commit(remove=self._expired.files, transactions=totals)
        rows = sum(self._expired.rows.values())
        logger.info("%d event(s) in %d file(s) were older than they are kept, and left the table", rows, len(self._files))

    def drop(self) -> None:
        """Nothing was made."""


class Checkpointing:
    """A checkpoint of whatever version is the last by then."""

    def __init__(self, volume: Volume, *, versions_kept: int) -> None:
        self._volume = volume
        self._versions_kept = versions_kept

    def run(self, stopping: Stopping) -> None:
        stopping.check()
        write_checkpoint(self._volume, versions_kept=self._versions_kept)

    def finish(self, table: EventsTable) -> None:
        table.renew()

    def drop(self) -> None:
        """A checkpoint harms nobody."""


class ExpiringLog:
    """Segments that every record of has landed, and whose time is over."""

    def __init__(self, tree: Path, *, passed: Mapping[str, int], sealed_before_ms: int) -> None:
        self._tree = tree
        self._passed = passed
        self._sealed_before_ms = sealed_before_ms

    def run(self, stopping: Stopping) -> None:
        stopping.check()
        removed = expire_log(self._tree, passed=self._passed, sealed_before_ms=self._sealed_before_ms)
        if removed.segments:
            logger.info("%d landed segment(s) left the log, %d bytes", removed.segments, removed.bytes_count)

    def finish(self, table: EventsTable) -> None:
        """All is done."""

    def drop(self) -> None:
        """What is gone is gone."""


class Vacuuming:
    """A look at what lies there, and the removal of what has been needless for long enough."""

    def __init__(
        self, volume: Volume, needless: Needless, *, hours: float, now_ms: int, then: Callable[[Removing], None]
    ) -> None:
        self._volume = volume
        self._needless = needless
        self._hours = hours
        self._now_ms = now_ms
        self._then = then
        self._listed: list[str] = []

    def run(self, stopping: Stopping) -> None:
        stopping.check()
        self._listed = [path for path, _ in self._volume.listed()]

    def finish(self, table: EventsTable) -> None:
        # Between landings whatever was placed before the look is committed, or is nobody's.
        table.refresh()
        self._needless.see(self._listed, needed=table.files().keys(), now_ms=self._now_ms)
        due = self._needless.due(hours=self._hours, now_ms=self._now_ms)
        if due:
            self._then(Removing(self._volume, self._needless, due))

    def drop(self) -> None:
        """Nothing was made."""


class Removing:
    """The removal itself: a file of 128 MiB takes the volume some milliseconds."""

    def __init__(self, volume: Volume, needless: Needless, paths: Iterable[str]) -> None:
        self._volume = volume
        self._needless = needless
        self._paths = list(paths)

    def run(self, stopping: Stopping) -> None:
        stopping.check()
        self._volume.remove(self._paths)

    def finish(self, table: EventsTable) -> None:
        self._needless.forget(self._paths)

    def drop(self) -> None:
        """What is gone is gone."""
