"""Time as a value: whoever needs "now" is handed a clock, so that a test can move time without waiting.

Wall time is only ever written down (timestamps of events, `received_at`); waiting and timeouts use monotonic time, which no
operator and no leap second can turn back.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the code may know of time. Neither call blocks or raises."""

    def now_ms(self) -> int:
        """Wall time: whole milliseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that only goes forward; its zero means nothing."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until told: the in-memory twin of `SystemClock`, shipped for tests of our users too."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_s = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward by `seconds` (0 or more)."""
        if seconds < 0:
            raise ValueError("a clock is advanced, never turned back")
        self._now_ms += round(seconds * 1000)
        self._monotonic_s += seconds
