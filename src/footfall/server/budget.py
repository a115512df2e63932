"""How many bytes of bodies one worker holds at a time: reserved before they are read, so that memory has a bound."""

from __future__ import annotations

import threading


class ByteBudget:
    """Shared by all requests of a worker, and by the threads that inflate for them."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self.bytes_held = 0

    def take(self, bytes_count: int) -> bool:
        """Room for that many bytes, to be given back; False where there is none just now."""
        with self._lock:
            if self.bytes_held + bytes_count > self._bytes_max:
                return False
            self.bytes_held += bytes_count
            return True

    def give_back(self, bytes_count: int) -> None:
        with self._lock:
            self.bytes_held -= bytes_count


class Reservation:
    """What one request holds besides its body as sent, growing as it is inflated, until `release`."""

    __slots__ = ("_budget", "_bytes")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._bytes = 0

    def more(self, bytes_count: int) -> bool:
        """Holds so many bytes more, or (False) as many as before."""
        if not self._budget.take(bytes_count):
            return False
        self._bytes += bytes_count
        return True

    def release(self) -> None:
        self._budget.give_back(self._bytes)
        self._bytes = 0
