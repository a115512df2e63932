"""Ends requests whose body does not arrive: one periodic look at all of them, instead of a timer for each.

A timeout per request costs 15 to 22 % of the rate (measured: `asyncio.wait_for`, `asyncio.timeout`); a dict entry and one sweep a
second cost nothing that shows. All timeouts are equal, so the dict's insertion order is the order of deadlines.
"""

from __future__ import annotations

import asyncio
from typing import Any

from footfall.clock import Clock


class BodySweeper:
    """The tasks now reading a body. Owned by one event loop."""

    def __init__(self, *, timeout_s: float, clock: Clock) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._taken: set[asyncio.Task[Any]] = set()

    def watch(self, task: asyncio.Task[Any]) -> None:
        self._deadlines[task] = self._clock.monotonic_s() + self._timeout_s

    def release(self, task: asyncio.Task[Any]) -> None:
        self._deadlines.pop(task, None)
        if self._taken:
            self._taken.discard(task)

    def took(self, task: asyncio.Task[Any]) -> bool:
        """Whether a cancellation that arrived in `task` is this sweeper's; if so the task may go on and answer."""
        if task not in self._taken:
            return False
        task.uncancel()
        return True

    def sweep(self) -> int:
        """Cancels the reading of every overdue body; returns how many."""
        now_s = self._clock.monotonic_s()
        overdue = []
        for task, deadline_s in self._deadlines.items():
            if deadline_s > now_s:
                break
            overdue.append(task)
        for task in overdue:
            self._taken.add(task)
            del self._deadlines[task]
            task.cancel()
        return len(overdue)
