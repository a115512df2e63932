"""The outbox as a shop uses it: `track` and nothing to wait for.

What `track` promises, and where it is kept:

- An event whose id it returned is on disk: it survives the death of the process (durability="process"), or of the machine
  ("disk"), and is delivered, set aside with the receiver's reason, or given up and counted; tracked = delivered + waiting +
  refused + shed at every moment.
- It raises nothing but what a signal handler raises through it and is no Exception, and blocks for a quarter of a second at the
  very most.
- It may be called from any thread, from a signal handler or a finalizer that interrupted it, and in forked processes, whoever
  forked: each method compares the number of its process first (0.1 µs).

Under way: one encoding, one write(2), no sync unless asked for, no system call to wake a sender that is awake.
"""

from __future__ import annotations

import math
import os
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from os import getpid
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, NoReturn, Self, Unpack

import msgspec

from footfall.client.calls import is_before_forks_in_c, warm_user_agents
from footfall.client.constructors import Members
from footfall.client.ids import new_id
from footfall.client.outbox import processes
from footfall.client.outbox.complaints import Complaints, mistake_in, place_of, shop_frame_of, what_of
from footfall.client.outbox.queue import Queue
from footfall.client.outbox.records import head_of, lane_of, line_of
from footfall.client.outbox.sender import Sender
from footfall.client.outbox.tray import Room, trays_in
from footfall.client.outbox.trays import Counts, Trays
from footfall.client.outbox.worths import PURCHASE, worth_of
from footfall.client.settings import TIMEOUT_S, checked_settings, place_in
from footfall.client.wire import encoded, members_of
from footfall.clock import Clock, SystemClock
from footfall.delivery.api import Exchanges
from footfall.delivery.exchanges import HttpExchanges
from footfall.errors import FootfallError, LogFullError, SettingsError
from footfall.events.schema import Event
from footfall.log.disk import Disk, unsynced_disk

BYTES_MAX: Final = 1 << 30
AGE_S_MAX: Final = 30 * 86_400.0
EXIT_S: Final = 2.0
_BYTES_LEAST: Final = 1 << 20
_PATIENCE_S: Final = 0.25
"""For the lock: only a disk that hangs holds it longer."""
_TRY_AGAIN_S: Final = 3.0
"""After a directory could not be used."""
_GROUP_LINE_BYTES: Final = 90
"""What the log adds to a record, about."""
_STOP_S: Final = 1.0
_GLANCE_S: Final = 0.02


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of one outbox in this process: tracked = delivered + waiting + refused + shed."""

    tracked: int
    """Calls of `track`, and `adopted`."""
    delivered: int
    waiting: int
    """On disk, on their way or due."""
    refused: int
    """Set aside for what the receiver said, and calls that were no event (`mistaken` of them)."""
    shed: int
    """Given up, or never kept; `shed_for` says why."""
    adopted: int
    """Of the tracked: left behind by processes that died."""
    mistaken: int
    shed_for: Mapping[str, int]
    state: Literal["flowing", "retrying", "open", "paused", "unwritable", "closed"]
    reason: str
    """What is wrong and what mends it; empty while nothing is."""


class Outbox:
    """Keeps events on disk and delivers them behind the shop's back, through outages, restarts and forks.

        outbox = Outbox("var/outbox", platform_name="shop", platform_id="SHOP", api_key=key)
        outbox.track(event_type="HOME", channel_type="SITE", user_id=user)

    Make one when the program starts and keep it. All processes of a shop share `directory`; each has a part of its own, and
    what a dead one left is delivered by the living. Where to is said as for `Client`.

    `durability="process"` (events survive kill -9, not a power cut) or `"disk"` (both, for a sync per event). `batch`: None
    sends batches to receivers that say they are Footfall, single events to all others. `bytes_max` bounds the directory part of
    a process: when it is full the oldest PAGE_VIEW events go first, then other browsing, then carts, PURCHASE never; nor is a
    purchase dropped for being older than `age_s_max`. `exit_s` bounds what the end of the program, or `close`, waits for.

    SettingsError for settings that make no sense. A directory that cannot be written raises nothing: the shop runs, the loss is
    logged and counted, and the directory tried again.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        platform_id: str,
        api_key: str,
        platform_name: str | None = None,
        region: str | None = None,
        base_url: str | None = None,
        currency: str | None = None,
        timeout_s: float = TIMEOUT_S,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        durability: Literal["process", "disk"] = "process",
        batch: bool | None = None,
        bytes_max: int = BYTES_MAX,
        age_s_max: float = AGE_S_MAX,
        exit_s: float = EXIT_S,
        exchanges: Callable[[], Exchanges] | None = None,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._settings = settings = checked_settings(
            platform_id=platform_id, api_key=api_key, platform_name=platform_name, region=region, base_url=base_url,
            currency=currency, timeout_s=timeout_s, retries=0, proxy=proxy, tls=tls, ca_file=ca_file,
        )  # fmt: skip
        if durability not in ("process", "disk"):
            raise SettingsError('durability is "process" (survives kill -9) or "disk" (survives a power cut too)')
        if bytes_max < _BYTES_LEAST or age_s_max <= 0 or exit_s < 0:
            raise SettingsError("bytes_max is at least 1 MiB, age_s_max above 0, exit_s not below 0")
        self._root = Path(directory).absolute()
        self._batch = batch
        self._bytes_max = bytes_max
        self._age_s_max = age_s_max
        self._exit_s = exit_s
        self._clock = clock or SystemClock()
        self._disk = disk or (Disk() if durability == "disk" else unsynced_disk(self._root))
        self._make_exchanges = exchanges or self._http
        self._currency = settings.currency
        self._head = head_of(settings.url)
        self._complaints = Complaints(self._clock)
        self._say = self._complaints.say
        self._now_ms = self._clock.now_ms
        self._closed = False
        self._begin()
        processes.remember(self)
        warm_user_agents()
        if self._finds_trays() and not is_before_forks_in_c():
            self._start_sender()

    @classmethod
    def from_env(
        cls, directory: str | os.PathLike[str], environment: Mapping[str, str] | None = None, /, **settings: Any
    ) -> Self:
        """An outbox as the environment says (or the mapping given instead): the variables of `Client.from_env`. `settings` are
        the other keywords of an Outbox."""
        return cls(directory, **place_in(os.environ if environment is None else environment), **settings)

    def track(self, event: Event | Mapping[str, Any] | None = None, /, **fields: Unpack[Members]) -> str:
        """Keeps one event, given as `Client.insert_event` takes it, for delivery; returns its id, or "" when it was not kept.

        Never raises and never waits for the network. "": the call was no event (a misspelt keyword, NaN; logged once for each
        place in the program, counted as refused), or the disk did not take it (logged, counted as shed).
        """
        if getpid() != self.process:
            processes.notice_fork(self)
        try:
            members = members_of(event, fields, currency=self._currency)
            now_ms = self._now_ms()
            event_id = members.get("id")
            if event_id is None:
                members["id"] = event_id = new_id(now_ms)
            if "timestamp" not in members:
                members["timestamp"] = str(now_ms)
            worth = worth_of(members.get("event_type"))
            body = encoded(members)
            lane = lane_of(members, otherwise=self._n)
        except Exception as error:  # noqa: BLE001 - whatever a caller's values do, the request goes on
            return self._mistake(error)
        kept = self._keep(worth, now_ms, lane, body)
        sender = self._sender
        if sender is None or sender.is_asleep:
            self._rouse(sender)
        return str(event_id) if kept else ""

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until nothing waits any more, also of what dead processes left, for `timeout` seconds or for ever; returns
        whether it is so. The waits of the failure protocol are not shortened by it."""
        if getpid() != self.process:
            processes.notice_fork(self)
        until_s = time.monotonic() + (math.inf if timeout is None else timeout)
        if self._sender is None and (self._counts.waiting or self._finds_trays()):
            self._start_sender()
        sender = self._sender
        if sender is None or not sender.is_alive:
            return self._counts.waiting == 0
        sender.look_soon()
        while self._expects_more(sender):
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not sender.is_alive:
                return False
            sender.calm.clear()
            if self._expects_more(sender):
                sender.calm.wait(min(left_s, _GLANCE_S))
        return True

    def stats(self) -> Stats:
        """The counts of now, balanced."""
        if getpid() != self.process:
            processes.notice_fork(self)
        counts = self._counts
        with counts.lock:
            delivered, refused, shed = counts.ended
            logged, adopted = counts.logged, counts.adopted
            mistaken, turned_away, shed_for = counts.mistaken, counts.turned_away, dict(counts.shed_for)
        state, reason = self._state()
        return Stats(
            tracked=logged + adopted + mistaken + turned_away, delivered=delivered,
            waiting=logged + adopted - delivered - refused - shed, refused=refused + mistaken, shed=shed + turned_away,
            adopted=adopted, mistaken=mistaken, shed_for=MappingProxyType(shed_for), state=state, reason=reason,
        )  # fmt: skip

    def close(self) -> None:
        """Delivers what waits for at most `exit_s` seconds, if the receiver takes events, and leaves the rest on disk for the
        next process. What is tracked afterwards is shed. Twice is allowed."""
        if getpid() != self.process:
            processes.notice_fork(self)
        if self._closed:
            return
        self._keep_the_last()
        self._closed = True
        self._rest()
        processes.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Outbox({str(self._root)!r}, {self._settings!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Outbox cannot be pickled: make one in each process, they share the directory")

    # -- the life of a process ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Everything that belongs to one process."""
        self._lock = threading.RLock()
        self._depth = 0  # calls of `_keep` under way in the thread that holds the lock
        self._aside: deque[tuple[int, int, int, bytes]] = deque()
        self._n = 0
        self._no_tray_before_s = self._failed_at_s = -math.inf
        self._unwritable = ""
        self._sender: Sender | None = None
        self._starting = threading.Lock()
        self._counts = counts = Counts()
        self._trays = Trays(
            self._root, to=self._settings.url, room=Room(bytes_max=self._bytes_max), age_s_max=self._age_s_max,
            disk=self._disk, clock=self._clock, counts=counts, appending=self._lock, say=self._say,
        )  # fmt: skip
        self.process = getpid()  # last, so that whoever compares it finds all of the above

    def hold_still(self, timeout_s: float) -> Callable[[], None]:
        """Before a fork: nothing is half written or half open until the function returned is called, in the parent."""
        if getpid() != self.process:
            processes.notice_fork(self)
        held = [lock for lock in (self._lock, self._trays.changing) if lock.acquire(timeout=timeout_s)]

        def go_on() -> None:
            for lock in held:
                lock.release()

        return go_on

    def begin_in_child(self) -> None:
        """After a fork: what waits is the parent's; this process has a tray and a thread of its own when it tracks."""
        sender = self._sender
        for abandon in (self._trays.abandon, *(() if sender is None else (sender.abandon,))):
            try:
                abandon()
            except Exception:  # noqa: BLE001, S110 - a fork that told nobody may copy anything halfway; the child needs none of it
                pass
        self._begin()

    def end_with_process(self) -> None:
        """At the exit of the interpreter. What is tracked after this is on disk for the next process."""
        if getpid() != self.process:
            processes.notice_fork(self)
        if not self._closed:
            self._keep_the_last()
            self._rest()

    def _keep_the_last(self) -> None:
        """What lies aside still, when one signal handler after the other raised through `track`."""
        if self._aside and self._lock.acquire(timeout=_PATIENCE_S):
            try:
                self._write_aside()
            finally:
                self._lock.release()

    def _rest(self) -> None:
        if self._sender is None and self._finds_trays():
            self._start_sender()
        sender = self._sender
        if sender is None:
            with self._lock:
                self._trays.close()
            return
        if self._exit_s:
            self._deliver_the_rest(sender)
        sender.stop(_STOP_S)

    def _deliver_the_rest(self, sender: Sender) -> None:
        until_s = time.monotonic() + self._exit_s
        sender.look_soon()
        while sender.is_alive and sender.is_flowing and self._expects_more(sender):
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return
            sender.calm.clear()
            sender.calm.wait(min(left_s, _GLANCE_S))

    def _expects_more(self, sender: Sender) -> bool:
        return self._counts.waiting > 0 or not sender.looked.is_set() or self._trays.has_more

    def _rouse(self, sender: Sender | None) -> None:
        """Sees to it that somebody delivers. What goes wrong here costs no event: the next call tries again, and a sender looks
        by itself."""
        try:
            if sender is None:
                self._start_sender()
            else:
                sender.ring()
        except Exception as error:  # noqa: BLE001 - the event is kept, and the request goes on
            self._say("bug in rouse", f"the sender of an outbox could not be woken, events are kept: {place_of(error)}")

    def _start_sender(self) -> None:
        with self._lock:
            if self._sender is not None or not self._starting.acquire(False):
                return  # the second: a signal handler that tracks while this very call goes on below it
            try:
                self._sender = self._started_sender()
            finally:
                self._starting.release()

    def _started_sender(self) -> Sender | None:
        if self._closed or sys.is_finalizing():
            return None
        sender = Sender(
            self._trays, exchanges=lambda: self._make_exchanges(), address=self._settings.address(batch=self._batch),
            clock=self._clock, counts=self._counts, appending=self._lock, say=self._say,
        )  # fmt: skip
        try:
            sender.start()
        except RuntimeError:
            self._say("thread", "the system gives no thread for delivery; events are kept, and it is asked again")
            return None
        return sender

    def _http(self) -> Exchanges:
        return HttpExchanges(tls=self._settings.tls, proxy=self._settings.proxy)

    def _finds_trays(self) -> bool:
        try:
            return bool(trays_in(self._disk, self._root))
        except OSError:
            return False

    # -- track, step by step -----------------------------------------------------------------------------------------------------

    def _keep(self, worth: int, at: int, lane: int, body: bytes) -> bool:
        """Whether the event is on disk, or is about to be, when `track` interrupted itself."""
        lock, entered = self._lock, False
        try:
            if not lock.acquire(True, _PATIENCE_S):
                return self._turn_away("busy", "the disk hangs: an event could not be written within a quarter of a second")
            entered = True
            self._depth += 1
            if self._trays.is_writing:  # interrupted by this very call: the one below writes it when it goes on
                self._aside.append((worth, at, lane, body))
                return True
            try:
                return self._write(worth, at, lane, body)
            finally:
                self._write_aside()
        finally:
            if entered:
                self._depth -= 1
                lock.release()
            elif self._depth == 0 and getattr(lock, "_is_owned")():  # noqa: B009 - as threading.Condition does
                lock.release()  # a signal handler raised after the lock was had and before that was noted

    def _write_aside(self) -> None:
        """Under the lock. What a signal handler tracked while `_write` was under way."""
        while self._aside and not self._trays.is_writing:
            self._write(*self._aside.popleft())

    def _write(self, worth: int, at: int, lane: int, body: bytes) -> bool:
        """Under the lock. Whether the event is on disk."""
        trays = self._trays
        trays.is_writing = True
        try:
            if self._closed:
                return self._turn_away("closed", "an event was tracked after the outbox was closed")
            if trays.held_bytes > self._bytes_max and self._is_too_full(worth):
                return self._turn_away("full", "the outbox is full, and only purchases are kept until there is room again")
            queue = trays.own or self._make_tray()
            if queue is None:
                return False
            n = self._n + 1
            line = line_of(self._head, n, at, lane, body)
            queue.append(worth, line, (n, at, lane, body))
            self._n = n
            self._counts.logged += 1
            trays.held_bytes += len(line) + _GROUP_LINE_BYTES
            return True
        except LogFullError:
            self._turn_away("disk-full", f"the disk has no room for events; make some on the volume of {self._root}")
        except (FootfallError, OSError) as error:
            self._turn_away("disk", f"writing to {self._root} failed ({what_of(error)}); a fresh part of it is tried")
            self._leave_tray(what_of(error))
        except ValueError:
            self._turn_away("too-large", "an event is larger than an outbox takes (1 MiB)")
        except Exception as error:  # noqa: BLE001 - whatever it is, the request goes on
            self._turn_away("bug", f"an event could not be written for a reason that nobody foresaw: {place_of(error)}")
            self._leave_tray(place_of(error))
        except BaseException:
            if trays.own is not None:
                trays.own.tray.is_whole = False  # interrupted between bytes and books: a recovery brings up what is there
            trays.retire_own()
            raise
        finally:
            trays.is_writing = False
        return False

    def _is_too_full(self, worth: int) -> bool:
        """Asks the sender to make room. What comes before it did (the network may hold it up) is not even written, the least
        worth first, purchases excepted."""
        trays, sender = self._trays, self._sender
        if not trays.needs_room:
            trays.needs_room = True
            if sender is not None:
                sender.ring()
        return worth != PURCHASE and trays.held_bytes > self._bytes_max + (self._bytes_max >> 4) * (worth + 1)

    def _make_tray(self) -> Queue | None:
        now_s = self._clock.monotonic_s()
        if now_s < self._no_tray_before_s:
            self._turn_away("unwritable", self._unwritable)
            return None
        try:
            queue = self._trays.make_own()
        except Exception as error:  # noqa: BLE001 - as in `_write`
            self._hold_off(now_s, what_of(error))
            self._turn_away("unwritable", self._unwritable)
            return None
        self._unwritable = ""
        return queue

    def _leave_tray(self, why: str) -> None:
        """The next event has a fresh one. But on a disk that fails again so soon each event would, and none would be kept."""
        self._trays.retire_own()
        now_s = self._clock.monotonic_s()
        if now_s < max(self._failed_at_s, self._no_tray_before_s) + _TRY_AGAIN_S:
            self._hold_off(now_s, why)
        self._failed_at_s = now_s

    def _hold_off(self, now_s: float, why: str) -> None:
        self._no_tray_before_s = now_s + _TRY_AGAIN_S
        self._unwritable = f"events cannot be kept in {self._root}: {why}; it is tried again"

    def _turn_away(self, reason: str, text: str) -> bool:
        """Counts and tells; always False."""
        self._counts.turn_away(reason)
        self._say(reason, text)
        return False

    def _mistake(self, error: Exception) -> str:
        self._counts.mistake()
        caller = shop_frame_of(sys._getframe(2))
        where = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        self._complaints.say_once(where, f"{where} tracks what is no event, and nothing is sent: {mistake_in(error)}")
        return ""

    def _state(self) -> tuple[Any, str]:
        if self._closed:
            return "closed", ""
        if self._unwritable:
            return "unwritable", self._unwritable
        course = self._sender.course if self._sender is not None else None
        return (course.phase, course.message) if course is not None else ("flowing", "")
