"""All trays that this process answers for, as one source for the engine: its own, and those of processes that died.

The tray of a dead process is taken up when its lock is free, delivered oldest first, and removed. Half of what is handed out is
old, half is new, while there is both: neither a long backlog nor a busy shop holds the other back. Order is kept within a tray;
across trays the receiver has the timestamps.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from footfall.client.outbox.complaints import what_of
from footfall.client.outbox.queue import DELIVERED, REFUSED, Letter, Lock, Queue
from footfall.client.outbox.records import Refused, encode
from footfall.client.outbox.tray import Room, Tray, clear_leftovers, holds_refused, trays_in
from footfall.client.outbox.worths import NAMES, PURCHASE
from footfall.clock import Clock
from footfall.delivery.api import Parcel, Refusal
from footfall.errors import LogError, LogFullError
from footfall.log.disk import Disk

ADOPTED_MAX: Final = 8
"""Trays of others at once: each holds some descriptors."""
_HELD_MAX: Final = 64
"""And former own ones, which a disk that fails now and then may leave, during a long outage."""
_TAKEN_MAX: Final = 512
_PATIENT_LETTERS: Final = 32
_PATIENT_S: Final = 0.00002
"""After so many letters a thread that is writing an event gets its turn at the interpreter: it gave it up for the system call,
and would otherwise wait for up to 5 ms to have it back. Letting go without a pause does not do: it is retaken at once."""
_EVERY_N: Final = 1 << 62


class Counts:
    """What became of the events, in this process. `logged`, `mistaken` and `turned_away` grow under `lock`, which a signal
    handler may take again; the rest is the sender's alone."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.logged = 0
        self.mistaken = 0
        self.turned_away = 0
        self.adopted = 0
        self.ended = [0, 0, 0]
        self.shed_for: dict[str, int] = {}

    def turn_away(self, reason: str) -> None:
        with self.lock:
            self.turned_away += 1
            self.shed_for[reason] = self.shed_for.get(reason, 0) + 1

    def mistake(self) -> None:
        with self.lock:
            self.mistaken += 1

    def end(self, outcome: int, count: int) -> None:
        self.ended[outcome] += count

    def shed(self, reason: str, count: int) -> None:
        """Why `count` of the events that ended as shed did."""
        with self.lock:
            self.shed_for[reason] = self.shed_for.get(reason, 0) + count

    @property
    def waiting(self) -> int:
        delivered, refused, shed = self.ended
        return self.logged + self.adopted - delivered - refused - shed


class Trays:
    """A `Source` for the engine, and the housekeeping: the sender's, all but `make_own`, `retire_own` and `abandon`."""

    def __init__(
        self, root: Path, *, to: str, room: Room, age_s_max: float, disk: Disk, clock: Clock, counts: Counts, appending: Lock,
        say: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.root = root
        self.own: Queue | None = None
        """Replaced by whoever appends, under the lock that appending needs."""
        self.changing = threading.RLock()
        """Held while descriptors of a tray come or go in the sender's thread, so that a fork meets none half open. Whoever
        appends has the lock for that."""
        self.has_more = False
        """Whether the last look left trays unvisited, because enough had been taken up."""
        self.held_bytes = 0
        """What the trays take on the disk: measured by `tidy`, and added to by whoever appends meanwhile."""
        self.is_writing = False
        """Set by whoever appends, while it does."""
        self.needs_room = False
        """Set by whoever appends when that is too much; cleared by `tidy`."""
        self.is_stuck = False
        """Set by `tidy` when giving up all that may be given up did not make the room."""
        self._others: list[Queue] = []
        self._retiring: deque[Queue] = deque()
        self._kept: set[str] = set()
        self._to = to
        self._room = room
        self._retired = 0  # records in former own trays
        self._tidied: tuple[int, ...] = ()
        self._stored = (0, 0)
        self._age_ms = age_s_max * 1000
        self._disk = disk
        self._clock = clock
        self._counts = counts
        self._say = say
        self._appending = appending
        """Held by whoever appends."""

    @property
    def bytes_max(self) -> int:
        return self._room.bytes_max

    # -- for who appends ---------------------------------------------------------------------------------------------------------

    def make_own(self) -> Queue:
        """The tray of this process, made now. OSError and LogError as `Tray.make`, and LogFullError where there are so many that
        their descriptors are a burden."""
        if len(self._others) + len(self._retiring) >= _HELD_MAX:
            raise LogFullError("writing failed too often, and what was written before is not delivered yet")
        tray = Tray.make(self.root, to=self._to, room=self._room, disk=self._disk, clock=self._clock)
        self.own = own = self._queue(tray, is_fed=True)
        return own

    def retire_own(self) -> None:
        """Nothing more is written to the own tray; what waits in it is delivered. Two steps and no more: a signal handler may
        raise between them, and then it is done again."""
        own = self.own
        if own is not None:
            self._retiring.append(own)
            self.own = None

    # -- Source ------------------------------------------------------------------------------------------------------------------

    def take(self, *, parcels_max: int) -> Sequence[Letter]:
        parcels_max = min(parcels_max, _TAKEN_MAX)
        self._take_in_retired()
        own = self.own
        upto_n = own.tray.last_n if own is not None else 0
        letters: list[Letter] = []
        if self._others:
            letters += self._take_old(-(-parcels_max // 2))
        if own is not None:
            letters += self._take(own, parcels_max - len(letters), upto_n)
        if self._others and len(letters) < parcels_max:
            letters += self._take_old(parcels_max - len(letters))
        return letters

    def delivered(self, parcels: Sequence[Parcel]) -> None:
        self._settle(parcels, DELIVERED)

    def refused(self, parcel: Parcel, refusal: Refusal) -> None:
        letter = _letter(parcel)
        tray = letter.queue.tray
        record = Refused(
            to=tray.label.to, n=letter.n, at=letter.at, lane=letter.lane, position=f"{NAMES[letter.worth]}/{letter.sequence}",
            status=refusal.status, message=refusal.message, event=msgspec.Raw(letter.body),
        )  # fmt: skip
        try:
            tray.set_aside(encode(record) + b"\n")
        except (OSError, LogError, ValueError):
            self._say("aside", "events that the receiver refused could not be set aside: the disk does not take them")
        else:
            self._say(
                "refused",
                f"the receiver refused an event ({refusal.status}): {refusal.message}. It is set aside in {tray.directory}",
            )
        self._settle((letter,), REFUSED)

    @property
    def has_unread(self) -> bool:
        own = self.own
        return bool(self._retiring) or (own is not None and own.has_unread) or any(queue.has_unread for queue in self._others)

    # -- housekeeping ------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Takes up trays of processes that died. Trouble with one does not hide the others."""
        try:
            clear_leftovers(self._disk, self.root, now_ms=self._clock.now_ms())
            directories = trays_in(self._disk, self.root)
        except OSError:
            return  # no such directory, or none that can be read: who appends will say so
        self._tidied = ()
        self.has_more = True  # until this look is over, so that nobody who waits believes half of it
        held = {queue.tray.directory for queue in self._others}
        for directory in directories:
            if len(self._others) >= ADOPTED_MAX:
                return
            own = self.own
            if directory in held or directory.name in self._kept or (own is not None and own.tray.directory == directory):
                continue
            try:
                with self.changing:
                    self._adopt(directory)
            except (OSError, LogError) as error:
                self._say(f"adopt {directory.name}", f"{directory} holds events and cannot be opened: {what_of(error)}")
        self.has_more = False

    def tidy(self) -> None:
        """Removes what has been delivered, gives up what there is no room or time for, finishes trays. Call it about once a
        second."""
        self._take_in_retired()
        self._tidied = self._doings()
        own = self.own
        if own is not None and self._appending.acquire(timeout=0.01):
            try:
                own.feed_again()
                own.show()
            except (OSError, LogError):
                pass  # who appends next meets it
            finally:
                self._appending.release()
        for queue in self._queues():
            self._trim(queue)
        self._shed()
        for queue in list(self._others):
            if queue.is_done:
                self._finish(queue)

    @property
    def could_adopt(self) -> bool:
        """Whether there is room again for what the last look left."""
        return self.has_more and len(self._others) < ADOPTED_MAX

    @property
    def untidy(self) -> bool:
        """Whether anything happened since `tidy`."""
        return self._tidied != self._doings()

    def store(self) -> None:
        """Brings the counts on the disk up to date. Those of calls that were never written go to the own tray."""
        own = self.own
        if own is not None:
            tally, now = own.tray.tallies.tally, (self._counts.mistaken, self._counts.turned_away)
            tally.mistaken += now[0] - self._stored[0]
            tally.turned_away += now[1] - self._stored[1]
            self._stored = now
        for queue in self._queues():
            queue.tray.tallies.store()

    def rewind(self) -> None:
        """Everything handed out and not ended will be handed out again. Only while nobody appends."""
        for queue in self._queues():
            queue.rewind()

    def close(self) -> None:
        """Gives every tray back; those in which nothing waits are removed. Only while nobody appends."""
        self._take_in_retired()
        self.store()
        with self.changing:
            own = self.own
            self._retired += 0 if own is None else sum(own.tray.lasts)
            queues, self._others, self.own = self._queues(), [], None
            for queue in queues:
                queue.close()
                try:
                    queue.tray.finish_writing()
                    self._remove_or_close(queue)
                except (OSError, LogError) as error:
                    self._say("close", f"{queue.tray.directory} could not be closed properly: {what_of(error)}")

    def abandon(self) -> None:
        """In a forked child: lets go of what is the parent's, of as much as can be."""
        for queue in self._queues():
            with suppress(OSError):
                queue.close()
            with suppress(OSError):
                queue.tray.abandon()
        self._others, self.own = [], None

    def _doings(self) -> tuple[int, ...]:
        counts = self._counts
        return (counts.logged, counts.mistaken, counts.turned_away, counts.adopted, *counts.ended)

    def _take_in_retired(self) -> None:
        """What appending left when a disk failed, or a signal handler raised through it: finished here, where none can."""
        if not self._retiring or not self._appending.acquire(timeout=0.1):
            return
        try:
            while self._retiring:
                queue = self._retiring.popleft()
                if queue is self.own:
                    self.own = None
                if queue not in self._others:
                    queue.tray.finish_writing()
                    queue.stop_feeding()
                    self._retired += sum(queue.tray.lasts)
                    self._others.append(queue)
            # If appending was interrupted, its last record had not been counted.
            self._counts.logged = self._retired + (0 if self.own is None else sum(self.own.tray.lasts))
        finally:
            self._appending.release()

    def _queues(self) -> list[Queue]:
        own = self.own
        return [*self._others, *self._retiring, *(() if own is None else (own,))]

    def _queue(self, tray: Tray, *, is_fed: bool) -> Queue:
        return Queue(
            tray, disk=self._disk, appending=self._appending, is_fed=is_fed, counted=self._counts.end, shed=self._give_up,
            found=self._found_own if is_fed else self._found_old,
        )  # fmt: skip

    def _found_own(self, count: int) -> None:
        self._retired += count
        self._counts.logged += count

    def _found_old(self, count: int) -> None:
        self._counts.adopted += count

    def _give_up(self, reason: str, text: str, count: int) -> None:
        self._counts.shed(reason, count)
        self._say(reason, text)

    def _take_old(self, letters_max: int) -> list[Letter]:
        letters: list[Letter] = []
        for queue in list(self._others):
            if len(letters) < letters_max:
                letters += self._take(queue, letters_max - len(letters), _EVERY_N)
        return letters

    def _take(self, queue: Queue, letters_max: int, upto_n: int) -> list[Letter]:
        too_old_ms = int(self._clock.now_ms() - self._age_ms)
        letters: list[Letter] = []
        try:
            while len(letters) < letters_max:
                few = min(_PATIENT_LETTERS, letters_max - len(letters))
                found = queue.take(letters_max=few, upto_n=upto_n, too_old_ms=too_old_ms)
                letters += found
                if len(found) < few:
                    break
                if self.is_writing:
                    time.sleep(_PATIENT_S)
        except (OSError, LogError) as error:
            self._say("read", f"{queue.tray.directory} cannot be read: {what_of(error)}")
        return letters

    def _settle(self, parcels: Sequence[Parcel], outcome: int) -> None:
        by_queue: dict[int, list[Letter]] = {}
        for parcel in parcels:
            letter = _letter(parcel)
            by_queue.setdefault(id(letter.queue), []).append(letter)
        for letters in by_queue.values():
            letters[0].queue.settle(letters, outcome)

    def _adopt(self, directory: Path) -> None:
        tray = Tray.claim(directory, to=self._to, room=self._room, disk=self._disk, clock=self._clock)
        if tray is None:
            return
        queue = self._queue(tray, is_fed=False)
        self._counts.adopted += queue.waiting()
        self._others.append(queue)

    def _trim(self, queue: Queue) -> None:
        try:
            queue.trim()
            if queue.tray.trim_refused():
                self._say(
                    "refused-full", f"so many events were refused that the oldest of them are removed from {queue.tray.directory}"
                )
        except (OSError, LogError) as error:
            self._say("trim", f"delivered events cannot be removed from {queue.tray.directory}: {what_of(error)}")

    def _shed(self) -> None:
        too_old_ms = int(self._clock.now_ms() - self._age_ms)
        try:
            for queue in self._queues():
                queue.shed_older(too_old_ms)
            held_bytes = self._bytes_count()
            while held_bytes > self._room.bytes_max and (freed := self._shed_one()):
                held_bytes -= freed
            self.held_bytes = held_bytes
            self.is_stuck = held_bytes > self._room.bytes_max
            self.needs_room = False
        except (OSError, LogError) as error:
            self._say("shed", f"the outbox in {self.root} cannot make room: {what_of(error)}")

    def _bytes_count(self) -> int:
        return sum(queue.tray.bytes_of(worth) for queue in self._queues() for worth in range(len(NAMES)))

    def _shed_one(self) -> int:
        """Gives up one segment, of the least worth that has one, the oldest first; returns the bytes that this freed."""
        for worth in range(PURCHASE):
            for queue in self._queues():
                before = queue.tray.bytes_of(worth)
                if queue.shed_oldest(worth):
                    return before - queue.tray.bytes_of(worth)
        return 0

    def _finish(self, queue: Queue) -> None:
        with self.changing:
            try:
                if not queue.tray.is_whole:
                    queue.recover()
                    return
                self._others.remove(queue)
                queue.close()
                self._remove_or_close(queue)
            except (OSError, LogError) as error:
                self._say("finish", f"{queue.tray.directory} cannot be cleared away: {what_of(error)}")

    def _remove_or_close(self, queue: Queue) -> None:
        tray = queue.tray
        if queue.is_done and tray.is_whole and not self._holds_refused(tray):
            tray.remove()
        else:
            self._kept.add(tray.directory.name)
            tray.close()

    def _holds_refused(self, tray: Tray) -> bool:
        try:
            return holds_refused(self._disk, tray.directory)
        except (OSError, LogError):
            return True  # damaged: whoever looks after the directory is told, and gives them up


def _letter(parcel: Parcel) -> Letter:
    assert isinstance(parcel, Letter)  # noqa: S101 - the engine returns what it was handed
    return parcel
