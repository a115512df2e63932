"""The lander as a process: lands what comes, tends the table in between, erases whom it is asked to, and keeps at it.

It owns the lake for as long as it runs. What fails (a full volume, an unreachable store, damage in the log) is said once, tried
again with growing pauses, and stops nothing else: events wait in the log, which nothing un-landed leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final, Protocol

import msgspec

from footfall.clock import Clock
from footfall.errors import FootfallError, LakeConflictError, LakeOwnedError
from footfall.lake.belonging import require_allowed, require_belonging
from footfall.lake.healing import heal
from footfall.lake.landing import Landed, Lander, Persons
from footfall.lake.opening import volume_of
from footfall.lake.ownership import owned_lake
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable

logger = logging.getLogger("footfall.lander")

_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_OWNER_LOOK_S: Final = 1.0
_LAST_WORK_S: Final = 4.0
"""How long a lander that was told to stop goes on landing what waits: its supervisor waits 9.5 s."""


class Chore(Protocol):
    """Work on the table between landings: at most one bounded piece each time. Raises as `Lander.land`."""

    def tick(self) -> None: ...

    def finish(self) -> None:
        """Everything that is due, however long it takes."""
        ...

    def close(self) -> None: ...


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How the lander is, for whoever wants to know."""

    landed: Landed = Landed()
    """since it started, all batches together"""
    batches: int = 0
    last_landed_at: int | None = None
    """Unix milliseconds of the last batch"""
    positions: dict[str, int] = {}
    """writer → the last sequence that the table has"""
    trouble: str = ""
    """why nothing lands now; empty: it does"""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a lander works with."""

    data: Path
    settings: LakeSettings
    clock: Clock
    persons: Callable[[], Persons | None]
    """who was erased, asked before every batch"""
    chores: Callable[[EventsTable], list[Chore]] = lambda _: []
    """what is done beside landing, made for an opened table"""


@contextmanager
def opened_lander(parts: Parts) -> Iterator[tuple[Lander, EventsTable]]:
    """A lander that owns the lake, its table healed, and made where there is none. Raises LakeOwnedError, LakeError, OSError."""
    volume = volume_of(parts.data, parts.settings)
    with owned_lake(parts.data, volume):
        heal(volume, log=parts.data / "log" / "live")
        table = EventsTable.open(volume, create=True)
        assert table is not None  # noqa: S101 - it was made
        require_allowed(parts.data)
        require_belonging(parts.data, table)
        lander = Lander(parts.data, table, parts.settings, clock=parts.clock, persons=parts.persons)
        try:
            yield lander, table
        finally:
            lander.close()


def land_all(parts: Parts, *, on_batch: Callable[[Landed], None] = lambda _: None) -> Landed:
    """Lands until nothing waits, then does all the chores that are due; returns what landed. Raises what `Lander.land` raises."""
    total = Landed()
    with opened_lander(parts) as (lander, table), ExitStack() as closing:
        while (landed := lander.land()).read:
            total = _added(total, landed)
            on_batch(landed)
        for chore in parts.chores(table):
            closing.callback(chore.close)
            chore.finish()
    return total


class RunningLander:
    """`run` until `stop` is set."""

    def __init__(self, parts: Parts, *, stop: Event, tell: Callable[[Progress], None] = lambda _: None) -> None:
        self._parts = parts
        self._stop = stop
        self._tell = tell
        self._progress = Progress()
        self._failures = 0

    def run(self) -> None:
        """Never raises what can be tried again; a programming error ends the process, and its supervisor starts it again."""
        while not self._stop.is_set():
            try:
                with opened_lander(self._parts) as (lander, table):
                    self._keep_landing(lander, table)
            except LakeOwnedError as error:
                self._trouble(error.message)
                self._stop.wait(_OWNER_LOOK_S)
            except LakeConflictError as error:
                logger.warning("%s; looking again", error.message)
                self._stop.wait(_OWNER_LOOK_S)
            except (FootfallError, OSError) as error:
                self._failures += 1
                pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S)) - 1]
                self._trouble(f"{words_of(error)}; events wait in the log")
                self._stop.wait(pause_s)

    def _keep_landing(self, lander: Lander, table: EventsTable) -> None:
        with ExitStack() as closing:
            chores = self._parts.chores(table)
            for chore in chores:
                closing.callback(chore.close)
            while not self._stop.is_set():
                more = self._land(lander)
                for chore in chores:
                    chore.tick()
                if not more:
                    self._stop.wait(self._parts.settings.interval_s)
            deadline_s = self._parts.clock.monotonic_s() + _LAST_WORK_S
            with suppress(LakeConflictError):
                while self._land(lander) and self._parts.clock.monotonic_s() < deadline_s:
                    pass

    def _land(self, lander: Lander) -> bool:
        landed = lander.land()
        self._failures = 0
        if self._progress.trouble:
            logger.info("landing goes on")
        self._progress = Progress(
            landed=_added(self._progress.landed, landed),
            batches=self._progress.batches + (landed.read > 0),
            last_landed_at=self._parts.clock.now_ms() if landed.read else self._progress.last_landed_at,
            positions=lander.positions(),
        )
        self._tell(self._progress)
        return landed.more

    def _trouble(self, words: str) -> None:
        if words != self._progress.trouble:
            logger.warning("nothing lands: %s", words)
        self._progress = msgspec.structs.replace(self._progress, trouble=words)
        self._tell(self._progress)


def words_of(error: Exception) -> str:
    """One line for a log: our own message, or what the system says of a path."""
    if isinstance(error, FootfallError):
        return error.message
    if isinstance(error, OSError):
        return f"{error.filename or 'the volume'}: {error.strerror or type(error).__name__}"
    return type(error).__name__


def _added(total: Landed, landed: Landed) -> Landed:
    return Landed(
        read=total.read + landed.read, landed=total.landed + landed.landed, repeated=total.repeated + landed.repeated,
        quarantined=total.quarantined + landed.quarantined, erased=total.erased + landed.erased, more=landed.more,
    )  # fmt: skip
