"""How fast: what a course's rate allows right now, and whether many are throttled or only a few.

A receiver throttles by platform and by shopper, with the same 429. One shopper who is too fast must not slow down the others, so
the stream slows down only when, within a second, more than one lane was throttled and they were a tenth of all that was answered;
and once for everything that was on its way at that time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from footfall.delivery.protocol import Course, Policy, rate_at

_BURST_S: Final = 0.1
"""What was not used can be made up for within this time."""
_MANY: Final = 0.1


class Pace:
    """Counts what went and what came. Not thread-safe."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tokens = 0.0
        self._filled_s = -math.inf
        self._second = -math.inf
        self._accepted = 0
        self._accepted_before = 0
        self._throttled = 0
        self._throttled_lanes: set[int] = set()

    def room(self, course: Course, *, now_s: float) -> int:
        """How many events may go now."""
        rate = rate_at(course, now_s=now_s, policy=self._policy)
        if rate == math.inf:
            self._tokens, self._filled_s = 0.0, -math.inf
            return self._policy.loaded_max
        burst = max(1.0, rate * _BURST_S)
        if self._filled_s == -math.inf:
            self._tokens = 1.0
        else:
            self._tokens = min(burst, self._tokens + (now_s - self._filled_s) * rate)
        self._filled_s = now_s
        return int(self._tokens + 1e-6)  # a microevent: sums of fractions of seconds do not come out even

    def spend(self, events: int) -> None:
        self._tokens -= events

    def next_s(self, course: Course, *, now_s: float) -> float:
        """When the next event may go, if none may now."""
        rate = rate_at(course, now_s=now_s, policy=self._policy)
        return now_s if rate == math.inf else now_s + max(0.0, 1.0 - self._tokens) / rate

    def accepted(self, events: int, *, now_s: float) -> None:
        self._tick(now_s)
        self._accepted += events

    def throttled(self, lanes: Iterable[int], *, events: int, now_s: float) -> None:
        self._tick(now_s)
        self._throttled += events
        self._throttled_lanes.update(lanes)

    @property
    def many_are_throttled(self) -> bool:
        """Whether it is the stream that is too fast, and not one shopper."""
        share = self._throttled / (self._throttled + self._accepted)
        return len(self._throttled_lanes) > 1 and share >= _MANY

    def slowed(self) -> None:
        """The stream was slowed down for what was throttled so far."""
        self._throttled = 0
        self._throttled_lanes.clear()

    def seen(self, *, now_s: float) -> float:
        """Events a second that were taken lately: in this second so far, or in the one before, whichever were more."""
        this_second = self._accepted / max(now_s - self._second, _BURST_S)
        return max(this_second, float(self._accepted_before))

    def _tick(self, now_s: float) -> None:
        if now_s - self._second >= 1.0:
            self._accepted_before = self._accepted if now_s - self._second < 2.0 else 0
            self._accepted = self._throttled = 0
            self._throttled_lanes.clear()
            self._second = now_s
