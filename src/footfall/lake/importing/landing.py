"""Landing while an import writes, and waiting until all of it is in the table.

In a thread of its own: DuckDB lets go of the interpreter's lock, so reading and landing use two cores. Where another process
owns the lake (a server's lander), it lands and this looks on; when that one ends, this takes over, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Final

from footfall.errors import LakeConflictError, LakeError, LakeOwnedError
from footfall.lake.opening import volume_of
from footfall.lake.running import Parts, opened_lander
from footfall.lake.table import EventsTable

LOOK_S: Final = 0.3
STALL_S: Final = 60.0


class Landing:
    """One writer's records on their way into the table, from `start` to `stop`."""

    def __init__(self, parts: Parts, *, writer: str, look_s: float = LOOK_S) -> None:
        self._parts = parts
        self._writer = writer
        self._look_s = look_s
        self._batch_events = parts.settings.batch_events_max
        self._durable = 0  # what the writer told
        self._end: int | None = None
        self._news = Event()
        self._stopped = False
        self._table: EventsTable | None = None  # for looking on
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, name="footfall-landing", daemon=True)
        self.position = 0
        """The last sequence that is known to be in the table."""
        self.is_elsewhere = False
        """Whether another process owns the lake, as last seen."""

    def start(self) -> None:
        self._thread.start()

    def durable(self, sequence: int) -> None:
        """There are records up to this one to land."""
        self._durable = sequence
        self._news.set()

    def end(self, sequence: int) -> None:
        """This is the last record: whatever waits lands now."""
        self._end = self._durable = sequence
        self._news.set()

    def wait(self, tell: Callable[[], None], *, stall_s: float = STALL_S) -> None:
        """Returns when the table has the last record; calls `tell` a few times a second. Raises what landing failed with, and
        LakeError where nothing moves for `stall_s`."""
        clock = self._parts.clock
        position, moved_s = self.position, clock.monotonic_s()
        while self._thread.is_alive():
            self._thread.join(self._look_s)
            tell()
            if self.position != position:
                position, moved_s = self.position, clock.monotonic_s()
            elif clock.monotonic_s() - moved_s > stall_s:
                raise LakeError(self._stalled(stall_s))
        if self._error is not None:
            raise self._error

    def stop(self, *, at_once: bool = False) -> None:
        """Ends the thread after the batch it is at; `at_once` does not wait for that, for a process that is about to end. A batch
        lands whole or not at all."""
        self._stopped = True
        self._news.set()
        if self._thread.is_alive() and not at_once:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_over():
                if not self._has_batch():
                    self._wait_for_news()
                    continue
                try:
                    self._land()
                except LakeOwnedError:
                    self._look_on()
                except LakeConflictError:  # on an object store there is no lock
                    self._wait_for_news()
        except Exception as error:  # noqa: BLE001 - `wait` raises it
            self._error = error

    def _land(self) -> None:
        with opened_lander(self._parts) as (lander, table):
            self.is_elsewhere = False
            while not self._is_over():
                has_landed = self._has_batch() and lander.land().read
                self.position = table.position(self._writer)
                if not has_landed:
                    self._wait_for_news()

    def _look_on(self) -> None:
        self.is_elsewhere = True
        if self._table is None:
            self._table = EventsTable.open(volume_of(self._parts.data, self._parts.settings))
        else:
            self._table.refresh()
        if self._table is not None:
            self.position = self._table.position(self._writer)
        self._wait_for_news()

    def _has_batch(self) -> bool:
        """A file lands in full batches: each partition gets a file with every batch that meets it."""
        return self._end is not None or self._durable - self.position >= self._batch_events

    def _is_over(self) -> bool:
        return self._stopped or (self._end is not None and self.position >= self._end)

    def _wait_for_news(self) -> None:
        self._news.wait(self._look_s)
        self._news.clear()

    def _stalled(self, stall_s: float) -> str:
        what = "the process that owns the lake" if self.is_elsewhere else "this process"
        return (
            f"{what} has landed nothing of the import for {stall_s:g} s; its records are durable in the log and land when it goes"
            " on (the lander's own log says why it does not): the same command waits again"
        )
