"""What reached a receiver, in order, and who waits for it. Written by the threads that take events in, read by the test."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from footfall.errors import Violation
from footfall.events.schema import Event

ARRIVALS_MAX: Final = 10_000
"""Arrivals remembered one by one, the newest; accepted events are all kept, for they are what a test asks about."""

Outcome = Literal["accepted", "repeated", "refused", "throttled", "failed"]


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One event that reached the receiver, and what became of it.

    `repeated`: accepted, as an event that had been accepted before. `refused`: the sender's mistake. `failed`: a fault that the
    test switched on. A request that is refused as a whole counts as one arrival.
    """

    outcome: Outcome
    status: int
    """Of the answer; for an event of a batch the one it would have had alone; 0 where no answer was given."""
    event: Event | None
    """As far as it could be understood."""
    message: str = ""
    violations: tuple[Violation, ...] = ()


class Book:
    """The arrivals at one receiver."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.clear()

    def clear(self) -> None:
        with self._changed:
            self._accepted: list[Event] = []
            self._known: set[tuple[str, str, int]] = set()
            self._arrivals: deque[Arrival] = deque(maxlen=ARRIVALS_MAX)
            self._received = 0

    def enter(self, arrivals: Iterable[Arrival]) -> None:
        with self._changed:
            for arrival in arrivals:
                self._received += 1
                if arrival.outcome == "accepted" and arrival.event is not None and not self._is_new(arrival.event):
                    arrival = msgspec.structs.replace(arrival, outcome="repeated")
                self._arrivals.append(arrival)
            self._changed.notify_all()

    def _is_new(self, event: Event) -> bool:
        """Enters an accepted event, unless it came before: the same id, type and time, as everywhere (design 5.8)."""
        key = (event.id, event.event_type, event.timestamp)
        if event.id and key in self._known:
            return False
        self._known.add(key)
        self._accepted.append(event)
        return True

    @property
    def received(self) -> int:
        return self._received

    def accepted(self) -> tuple[Event, ...]:
        with self._changed:
            return tuple(self._accepted)

    def arrivals(self) -> tuple[Arrival, ...]:
        with self._changed:
            return tuple(self._arrivals)

    def wait(self, is_enough: Callable[[Sequence[Event]], bool], *, seconds: float) -> tuple[Event, ...]:
        """The accepted events, as soon as they are enough, or those there are when the seconds have passed."""
        with self._changed:
            self._changed.wait_for(lambda: is_enough(self._accepted), timeout=seconds)
            return tuple(self._accepted)
