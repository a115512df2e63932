"""The thread that delivers what waits, one a process and outbox. It never dies of an error: it tells, waits and begins anew.

It sleeps in the exchanges' `wait`. Whoever appends looks at `is_asleep`, a plain attribute, and rings only then: set before the
engine looks into the source for the last time, it cannot miss what is appended after that look.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Final

from footfall.client.outbox.complaints import logger
from footfall.client.outbox.trays import Counts, Trays
from footfall.clock import Clock
from footfall.delivery.address import Address
from footfall.delivery.api import Exchanges
from footfall.delivery.protocol import Course, Policy
from footfall.delivery.pump import Pump

LOOK_S: Final = 30.0
"""How often the trays of processes that died meanwhile are looked for."""
_TIDY_S: Final = 1.0
_MAKE_ROOM_S: Final = 0.02
"""How often it is tidied when there is no room."""
_BUSY_TURN_S: Final = 1.0
_NAP_S: Final = 0.005
_NAPS: Final = 50
"""While events keep coming the sender looks for them by itself, every 5 ms, and is not rung: a ring costs the one who tracks the
interpreter, 40 µs in the middle (measured), since the other thread takes it at once. After a quarter of a second it sleeps."""
_AGAIN_S: Final = 1.0
"""After an error that nobody foresaw."""


class Sender:
    """Drives an engine over the trays until told to stop; then gives both back."""

    def __init__(
        self, trays: Trays, *, exchanges: Callable[[], Exchanges], address: Address, clock: Clock, counts: Counts,
        appending: threading.RLock, say: Callable[[str, str, BaseException | None], None],
    ) -> None:  # fmt: skip
        self.is_asleep = False
        """Whoever finds it True after an append rings once."""
        self.calm = threading.Event()
        """Set at the end of each turn in which nothing waits."""
        self.looked = threading.Event()
        """Set by a look for trays of the dead."""
        self._trays = trays
        self._make_exchanges = exchanges
        self._address = address
        self._clock = clock
        self._counts = counts
        self._appending = appending
        self._say = say
        self._exchanges: Exchanges | None = None
        self._pump: Pump | None = None
        self._stopping = threading.Event()
        self._naps = 0
        self._look_at_s = clock.monotonic_s()
        self._tidy_at_s = self._look_at_s
        self._thread = threading.Thread(target=self._run, name="footfall-outbox", daemon=True)

    def start(self) -> None:
        """RuntimeError: the system gives no thread."""
        self._thread.start()

    @property
    def course(self) -> Course | None:
        """Where the stream stands; None before the first turn."""
        pump = self._pump
        return None if pump is None else pump.course

    @property
    def is_flowing(self) -> bool:
        course = self.course
        return course is None or course.phase == "flowing"

    def ring(self) -> None:
        """Ends its sleep. From any thread, cheap."""
        self.is_asleep = False
        exchanges = self._exchanges
        if exchanges is not None:
            exchanges.wake()

    def look_soon(self) -> None:
        """Looks for trays of the dead at the next turn, and sets `looked`."""
        self.looked.clear()
        self._look_at_s = self._clock.monotonic_s()
        self.ring()

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread after its turn; whether it ended in time. It gives everything back, however long it takes."""
        self._stopping.set()
        self.ring()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def abandon(self) -> None:
        """In a forked child, which has no such thread: closes its copies of the parent's connections, without a word to the
        receiver. The frames of the lost thread would hold them open for ever."""
        self._close_exchanges()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._work()
                except Exception as error:  # noqa: BLE001 - a bug here must neither end the shop nor the delivery
                    if sys.is_finalizing():
                        return
                    kind = type(error).__name__
                    self._say(f"bug {kind}", f"the sender of an outbox met what nobody foresaw ({kind}) and begins anew", error)
                    self._begin_anew()
                    self._stopping.wait(_AGAIN_S)
        finally:
            if not sys.is_finalizing():
                self._end()

    def _work(self) -> None:
        if self._pump is None:
            self._pump = self._engine()
        while not self._stopping.is_set():
            now_s = self._clock.monotonic_s()
            if now_s >= self._tidy_at_s or (self._must_hurry and now_s >= self._tidy_at_s - _TIDY_S + _MAKE_ROOM_S):
                self._tidy_at_s = now_s + _TIDY_S
                self._trays.tidy()
                self._trays.store()
            if now_s >= self._look_at_s or self._trays.could_adopt:
                self._look_at_s = now_s + LOOK_S
                self._trays.look()
                self.looked.set()
            self._turn(self._pump, now_s)

    @property
    def _must_hurry(self) -> bool:
        return self._trays.needs_room and not self._trays.is_stuck

    def _turn(self, pump: Pump, now_s: float) -> None:
        has_nothing = not self._trays.has_unread and pump.course.phase == "flowing"
        self.is_asleep = has_nothing and self._naps >= _NAPS
        if self._stopping.is_set():
            return
        timeout_s = _MAKE_ROOM_S if self._must_hurry else _BUSY_TURN_S
        if self.is_asleep and not pump.loaded and not self._trays.untidy:
            timeout_s = max(0.0, self._look_at_s - now_s)
        elif has_nothing and not self.is_asleep:
            timeout_s = _NAP_S
        moved = pump.turn(timeout_s)
        self.is_asleep = False
        self._naps = 0 if moved else self._naps + 1
        if self._counts.waiting == 0 and not self._trays.has_more:
            self.calm.set()

    def _engine(self) -> Pump:
        policy = Policy()
        # What the engine holds cannot be given up when there is no room, so it is a small part of the whole.
        policy = Policy(loaded_bytes_max=min(policy.loaded_bytes_max, self._trays.bytes_max >> 4))
        self._exchanges = self._make_exchanges()
        return Pump(
            self._trays, exchanges=self._exchanges, address=self._address, policy=policy, clock=self._clock, tell=self._tell
        )

    def _tell(self, course: Course) -> None:
        """Once for each change of phase."""
        if course.phase == "flowing":
            logger.info("the receiver takes events again; what waited is being delivered")
        elif course.phase == "retrying":
            logger.warning("events are kept and tried again: %s", course.message)
        else:
            logger.error("delivery has stopped; events are kept, the next attempt follows by itself: %s", course.message)

    def _begin_anew(self) -> None:
        self._close_exchanges()
        self._pump = None
        with self._appending:
            self._trays.rewind()

    def _end(self) -> None:
        self._close_exchanges()
        with self._appending:
            self._trays.close()

    def _close_exchanges(self) -> None:
        exchanges, self._exchanges = self._exchanges, None
        if exchanges is not None:
            exchanges.close()
