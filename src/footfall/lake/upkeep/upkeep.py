"""Upkeep of the table, beside landing: compaction, checkpoints, retention of table and log, vacuum.

The owner's loop calls `tick` between landings. At most one piece of work is under way at any time, in a thread with low priority;
`tick` finishes it when it is done and starts the next that is due. Landing waits for the finishing only: one commit, or a note.
What a piece could not do is said once and tried again later; a piece that was overtaken (a file of its was written anew by a
landing) is done again. Nothing of upkeep is needed for events to land.
"""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Thread
from typing import Final

import duckdb

from footfall.clock import Clock
from footfall.errors import FootfallError
from footfall.lake.settings import LakeSettings
from footfall.lake.table import DataFile, EventsTable, partial_name
from footfall.lake.upkeep.checkpoints import VERSIONS_BETWEEN, VERSIONS_KEPT
from footfall.lake.upkeep.compaction import Merge, plan
from footfall.lake.upkeep.expiry import DAY_MS, expired_files, log_days
from footfall.lake.upkeep.pieces import (
    Checkpointing,
    Compacting,
    Expiring,
    ExpiringLog,
    Piece,
    Removing,
    Stopping,
    Vacuuming,
    Workshop,
)
from footfall.lake.upkeep.vacuum import Needless
from footfall.log.directory import writers_of
from footfall.log.disk import Disk
from footfall.registry.snapshot import Retention

logger = logging.getLogger("footfall.lander")

STAGING_NAME: Final = "lake-upkeep"
CHECKPOINT_S: Final = 600.0
_LOG_S: Final = 60.0
_LAKE_S: Final = 3600.0
_VACUUM_S: Final = 3600.0
_PLAN_S: Final = 60.0
"""How often is looked whether something came to rest, while nothing is committed."""
_AGAIN_S: Final = 60.0
"""After a failure, …"""
_SHUNNED_S: Final = 3600.0
"""… and for files that could not be merged."""
_PIECE_BYTES: Final = 64 * 1024 * 1024
_PIECE_MERGES: Final = 64
"""Of one piece of compaction: so many small merges share a commit."""
_CLOSE_S: Final = 5.0
_NICE: Final = 10


class Upkeep:
    """The upkeep of one table, for its owner. Every method is for the thread that lands, and none waits for work but `finish`
    and `close`."""

    def __init__(
        self,
        data: Path,
        table: EventsTable,
        settings: LakeSettings,
        *,
        clock: Clock,
        retentions: Callable[[], Mapping[str, Retention]] = dict,
        versions_kept: int = VERSIONS_KEPT,
    ) -> None:
        self._tree = data / "log" / "live"
        self._table = table
        self._settings = settings
        self._clock = clock
        self._retentions = retentions
        self._versions_kept = versions_kept
        staging = data / STAGING_NAME
        shutil.rmtree(staging, ignore_errors=True)  # a predecessor's, of no use to anybody, with personal data in it
        self._workshop = Workshop(table.volume, staging, settings)
        self._needless = Needless(data, table=table.volume.uri)
        self._work: _Work | None = None
        self._next: Piece | None = None
        self._due_s = dict.fromkeys(("checkpoint", "log", "lake", "vacuum", "compaction"), clock.monotonic_s())
        self._due_s["checkpoint"] += CHECKPOINT_S
        self._checkpointed = table.version // VERSIONS_BETWEEN
        self._rest = _Rest(clock)
        self._planned_version = -1
        self._shunned: dict[str, float] = {}  # files of merges that failed, and until when they are left alone

    def tick(self) -> None:
        """Finishes what is done, starts what is due. Raises LakeConflictError, LakeError, OSError from committing, as
        `EventsTable.commit` does; what goes wrong in the work itself is only said."""
        self._turn()

    def finish(self) -> None:
        """Does everything that is due now, and waits for it."""
        while self._turn():
            if self._work is not None:
                self._work.thread.join()

    def vacuum_now(self, paths: Iterable[str] | None = None) -> int:
        """Removes data files at once that the table no longer has, for an erasure: those of `paths`, or whatever lies there;
        returns how many. What is being made of the table's files is given up and removed first. Raises LakeError, OSError."""
        self.give_up()
        volume = self._table.volume
        self._table.refresh()
        needed = self._table.files()
        listed = paths if paths is not None else [path for path, _ in volume.listed()]
        gone = [path for path in listed if path not in needed]
        count = volume.remove(gone)
        self._needless.forget(gone)
        return count

    def give_up(self) -> None:
        """Ends the work under way, takes back what it made, waits for both."""
        work, self._work, self._next = self._work, None, None
        if work is None:
            return
        work.stopping.stop()
        work.thread.join()
        work.piece.drop()

    def close(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.stopping.stop()
            work.thread.join(_CLOSE_S)
            if not work.thread.is_alive():  # else what it makes is nobody's, and vacuumed one day
                work.piece.drop()
        shutil.rmtree(self._workshop.staging, ignore_errors=True)

    # -- one piece after the other

    def _turn(self) -> bool:
        """Whether work is under way, or was."""
        if self._work is not None:
            if self._work.thread.is_alive():
                return True
            work, self._work = self._work, None
            self._end(work)
        try:
            piece, self._next = self._next or self._choose(), None
        except (FootfallError, OSError) as error:
            self._failed("choosing", error)
            piece = None
        if piece is None:
            return False
        self._work = _Work(piece)
        return True

    def _end(self, work: _Work) -> None:
        error = work.error
        if error is None:
            # Where it raises, what was made is left to vacuum: on an object store even a conflict may be the answer to a commit
            # of our own whose first answer was lost, and then those files are the table's.
            work.piece.finish(self._table)
            return
        work.piece.drop()
        if not isinstance(error, FootfallError | OSError | duckdb.Error):
            raise error
        if isinstance(work.piece, Compacting):
            until_s = self._clock.monotonic_s() + _SHUNNED_S
            self._shunned |= {file.path: until_s for merge in work.piece.merges for file in merge.sources}
        self._failed(type(work.piece).__name__.lower(), error)

    def _failed(self, doing: str, error: Exception) -> None:
        # DuckDB may quote what it read: only its own name for the trouble is passed on.
        words = error.message if isinstance(error, FootfallError) else getattr(error, "strerror", None) or type(error).__name__
        logger.warning("upkeep of the table (%s) failed: %s; it is tried again later", doing, words)
        again_s = self._clock.monotonic_s() + _AGAIN_S
        self._due_s = {name: max(due_s, again_s) for name, due_s in self._due_s.items()}

    # -- what is due

    def _choose(self) -> Piece | None:
        now_s = self._clock.monotonic_s()
        if now_s >= self._due_s["checkpoint"] or self._table.version // VERSIONS_BETWEEN > self._checkpointed:
            return self._checkpointing(now_s)
        choices: tuple[tuple[str, float, Callable[[], Piece | None]], ...] = (
            ("log", _LOG_S, self._expiring_log),
            ("lake", _LAKE_S, self._expiring),
            ("vacuum", _VACUUM_S, self._vacuuming),
        )
        for name, every_s, choose in choices:
            if now_s >= self._due_s[name]:
                self._due_s[name] = now_s + every_s
                if (piece := choose()) is not None:
                    return piece
        return self._compacting(now_s)

    def _checkpointing(self, now_s: float) -> Piece:
        self._due_s["checkpoint"] = now_s + CHECKPOINT_S
        self._checkpointed = self._table.version // VERSIONS_BETWEEN
        return Checkpointing(self._table.volume, versions_kept=self._versions_kept)

    def _expiring_log(self) -> Piece:
        passed = {writer: self._table.position(writer) for writer in writers_of(Disk(), self._tree)}
        days = log_days(settings=self._settings, retentions=self._retentions())
        return ExpiringLog(self._tree, passed=passed, sealed_before_ms=self._clock.now_ms() - round(days * DAY_MS))

    def _expiring(self) -> Piece | None:
        if self._is_interrupted():
            return None  # rows of it that went now would land, and be counted, a second time
        files = expired_files(
            self._table.files().values(), settings=self._settings, retentions=self._retentions(), now_ms=self._clock.now_ms()
        )
        return Expiring(files, self._workshop) if files else None

    def _is_interrupted(self) -> bool:
        """Whether a batch landed in part only, so far."""
        table = self._table
        return any((table.transaction(partial_name(name)) or 0) > table.position(name) for name in writers_of(Disk(), self._tree))

    def _vacuuming(self) -> Piece:
        return Vacuuming(
            self._table.volume, self._needless, hours=self._settings.vacuum_hours, now_ms=self._clock.now_ms(), then=self._follow
        )

    def _follow(self, piece: Removing) -> None:
        self._next = piece

    def _compacting(self, now_s: float) -> Piece | None:
        if self._planned_version == self._table.version and now_s < self._due_s["compaction"]:
            return None
        files = self._table.files()
        self._rest.see(files.values())
        self._shunned = {path: until_s for path, until_s in self._shunned.items() if path in files and now_s < until_s}
        merges = [
            merge
            for merge in plan(files.values(), file_bytes=self._settings.file_bytes, rest_s=self._rest.rest_s)
            if not any(file.path in self._shunned for file in merge.sources)
        ]
        if not merges:
            self._planned_version, self._due_s["compaction"] = self._table.version, now_s + _PLAN_S
            return None
        return Compacting(_first_of(merges), self._workshop)


class _Work:
    """A piece and the thread that runs it."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.stopping = Stopping()
        self.error: BaseException | None = None
        self.thread = Thread(target=self._run, name="footfall-upkeep", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            if sys.platform == "linux":  # where priority is a thread's own
                os.setpriority(os.PRIO_PROCESS, 0, _NICE)
            self.piece.run(self.stopping)
        except BaseException as error:  # noqa: BLE001 - it is raised, or said, by the loop
            self.error = error


class _Rest:
    """For how long nothing was added to a partition, by what was seen of it since this process began. What compaction adds
    counts too: a partition is merged by tiers first and looked at again after the same rest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def see(self, files: Iterable[DataFile]) -> None:
        now_s = self._clock.monotonic_s()
        prints: dict[tuple[str, str], int] = {}
        for file in files:
            key = (file.platform, file.event_date)
            prints[key] = prints.get(key, 0) ^ hash(file.path)
        self._seen = {
            key: self._seen[key] if self._seen.get(key, (None,))[0] == each else (each, now_s) for key, each in prints.items()
        }

    def rest_s(self, platform: str, event_date: str) -> float:
        today = datetime.datetime.fromtimestamp(self._clock.now_ms() / 1000, tz=datetime.UTC).date()
        if datetime.date.fromisoformat(event_date) >= today:
            return 0.0
        return self._clock.monotonic_s() - self._seen[platform, event_date][1]


def _first_of(merges: list[Merge]) -> list[Merge]:
    """As many as make one piece of work, at least one."""
    taken: list[Merge] = []
    size = 0
    for merge in merges[:_PIECE_MERGES]:
        if taken and size + merge.bytes_count > _PIECE_BYTES:
            break
        taken.append(merge)
        size += merge.bytes_count
    return taken
