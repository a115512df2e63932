"""Erasing people: what the registry was asked for is done everywhere in the data directory, and a receipt says what was done.

All pending erasures are done in one pass, whoever they are about:

    log          live and test tree: records emptied (`records`), in threads of their own
    lake         rows, and the table's old files (`rows`)
    quarantine   lines (`lines`)
    imports      rows that imports refused
    finish       receipts into the registry

The log first: what has not landed then is dropped by the lander, which asks who was erased before each batch, or is an emptied
record; what has landed is in the table when that is read. So nothing of them can land behind the pass. Dying anywhere leaves the
erasures pending, and the next pass does what is left; rows are counted in the commit that removes them, hence once. Where one
place cannot be done (a full volume, damage, an import at work) the others are, and all stays pending.

Nothing here keeps, logs or raises an identifier or its hash.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Final

import msgspec

from footfall.clock import Clock
from footfall.errors import FootfallError, LakeConflictError, LakeError
from footfall.lake.erasing.lines import erase_quarantined, erase_refused
from footfall.lake.erasing.people import People
from footfall.lake.erasing.receipts import Account, Receipt, tell_trouble
from footfall.lake.erasing.records import SEAL_S_MAX, erase_records
from footfall.lake.erasing.rows import RowEraser
from footfall.lake.landing import STAGING_NAME
from footfall.lake.running import words_of
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.lake.volume import LocalVolume
from footfall.log.directory import writers_of
from footfall.log.disk import Disk
from footfall.registry.erasures import Erasure
from footfall.registry.store import Registry

logger = logging.getLogger("footfall.lander")

_TICK_S: Final = 1.5
"""How long landing waits for a piece of a pass, about."""
_PAUSE_S: Final = 0.02
_BACKOFF_S: Final = (2.0, 10.0, 60.0, 300.0)
_COPIES: Final = "copies are not reached: backups, exports, and rows that an import refused into a file of your own"
_VERSIONS: Final = "versions that the object store itself keeps of removed files are not reached"
_DAMAGED: Final = "damaged log files that had been set aside are removed as a whole: nobody could tell whose records were in them"


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass works on. The caller owns the lake, and nobody lands while a step is taken."""

    data: Path
    table: EventsTable
    settings: LakeSettings
    registry: Registry
    clock: Clock
    give_up: Callable[[], None] = lambda: None
    """ends a compaction that is at work, and takes back what it made (`Upkeep.give_up`)"""
    at: Callable[[str], None] = lambda _: None
    """told the name of each step before it is taken"""
    seal_s: float = SEAL_S_MAX
    """how long living writers may take to close the segment in writing"""


class Erasing:
    """The chore of a lander: looks whether somebody is to be erased, and does it a piece at a time."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._account = Account()
        self._revision = -1  # of the registry, when a pass last began that came to its end
        self._next_revision = -1
        self._steps: Generator[float] | None = None
        self._failures = 0
        self._not_before_s = 0.0

    def tick(self) -> None:
        """Raises LakeConflictError where another process committed; everything else is said, and tried again later."""
        clock = self._reach.clock
        now_s = clock.monotonic_s()
        if now_s < self._not_before_s:
            return
        try:
            if self._go_on(now_s + _TICK_S):
                self._end()
        except LakeConflictError:
            self.close()
            raise
        except (FootfallError, OSError) as error:
            self.close()
            self._failures += 1
            self._not_before_s = now_s + _BACKOFF_S[min(self._failures, len(_BACKOFF_S)) - 1]
            tell_trouble(self._reach.data, words_of(error))
            logger.warning("an erasure is pending: %s; it is tried again", words_of(error))

    def finish(self) -> None:
        """Raises LakeError with what could not be done: it stays pending."""
        if self._reach.registry.erasures(pending=True):
            erase_pending(self._reach)

    def close(self) -> None:
        """Gives up the pass, where one is at work; what it did stays done."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()

    def _go_on(self, deadline_s: float) -> bool:
        """Whether a pass has just come to its end."""
        if self._steps is None:
            revision = self._reach.registry.erasures_revision()
            if revision == self._revision:
                return False
            self._steps = erase_steps(self._reach, self._account)
            self._next_revision = revision
        for pause_s in self._steps:
            if self._reach.clock.monotonic_s() + pause_s >= deadline_s:
                return False
            if pause_s:
                time.sleep(pause_s)
        return True

    def _end(self) -> None:
        self._steps = None
        self._revision = self._next_revision
        self._account = Account()
        if self._failures:
            self._failures = 0
            tell_trouble(self._reach.data, "")


def erase_pending(reach: Reach) -> None:
    """One whole pass. Raises LakeError with what could not be done, after everything that could be; all stays pending then."""
    for pause_s in erase_steps(reach, Account()):
        time.sleep(pause_s)


def erase_steps(reach: Reach, account: Account) -> Generator[float]:
    """A pass in bounded pieces; each yields for how many seconds nothing can be done. Between them others may land, and commit to
    this very table. `account` gets what is done."""
    pending = reach.registry.erasures(pending=True)
    if not pending:
        return
    pepper = reach.registry.pepper()
    troubles: list[str] = []
    for place, steps in _places(reach, pending, pepper, account):
        reach.at(place)
        try:
            yield from steps
        except LakeConflictError:
            raise
        except (FootfallError, OSError) as error:
            troubles.append(words_of(error))
    if troubles:
        raise LakeError("; ".join(troubles))
    reach.at("finish")
    for erasure in pending:
        _finish(reach, erasure, account)
    logger.info("%d erasure(s) done; `footfall erase status` shows the receipts", len(pending))


def _places(reach: Reach, pending: Sequence[Erasure], pepper: bytes, account: Account) -> Iterator[tuple[str, Generator[float]]]:
    people = People(pending, pepper=pepper)
    yield "log", _log_steps(reach, pending, pepper, account)
    yield "lake", _lake_steps(reach, people, pepper, account)
    yield "quarantine", erase_quarantined(reach.data, people, into=account.quarantine)
    yield "imports", erase_refused(reach.data, people, into=account.imports)


def _log_steps(reach: Reach, pending: Sequence[Erasure], pepper: bytes, account: Account) -> Generator[float]:
    stop = Event()
    with ThreadPoolExecutor(len(account.log), thread_name_prefix="erasing") as threads:
        works = [
            threads.submit(
                erase_records, reach.data / "log" / mode, People(pending, pepper=pepper), into=found, is_stopped=stop.is_set,
                seal_s=reach.seal_s,
            )
            for mode, found in account.log.items()
        ]  # fmt: skip
        try:
            while not all(work.done() for work in works):
                yield _PAUSE_S
        finally:
            stop.set()
    account.damaged_files += sum(work.result() for work in works)


def _lake_steps(reach: Reach, people: People, pepper: bytes, account: Account) -> Generator[float]:
    eraser = RowEraser(
        reach.table, people, pepper=pepper, staging=reach.data / STAGING_NAME / "erasing",
        memory_bytes_max=reach.settings.memory_bytes_max, writers=lambda: writers_of(Disk(), reach.data / "log" / "live"),
        into=account, give_up=reach.give_up, at=reach.at,
    )  # fmt: skip
    try:
        yield from eraser.erase()
        yield from eraser.remove_old()
    finally:
        eraser.close()


def _finish(reach: Reach, erasure: Erasure, account: Account) -> None:
    """Where it was asked for again meanwhile nothing is noted: it is pending still."""
    now_ms = reach.clock.now_ms()
    receipt = Receipt(
        erasure_id=erasure.id, platform=erasure.platform, kind=erasure.kind, requested_at=erasure.requested_at,
        finished_at=now_ms, places=account.places(erasure.id), notes=_notes(reach, account),
    )  # fmt: skip
    text = msgspec.json.encode(receipt).decode()
    reach.registry.finish_erasure(erasure.id, requested_at=erasure.requested_at, receipt=text, now_ms=now_ms)


def _notes(reach: Reach, account: Account) -> list[str]:
    notes = [_COPIES]
    notes += [] if isinstance(reach.table.volume, LocalVolume) else [_VERSIONS]
    notes += [_DAMAGED] if account.damaged_files else []
    return notes
