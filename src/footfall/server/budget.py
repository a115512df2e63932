"""How many bytes of bodies one worker holds at a time: reserved before they are read, so that memory has a bound.

No sender may have it all, whatever he announces and never sends: one key holds at most three quarters, so that the others go on,
and batches of all keys together hold at most three quarters, so that single events go on.
"""

from __future__ import annotations

import threading


class ByteBudget:
    """Shared by all requests of a worker, and by the thread that inflates for them."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.share_bytes = share_of(bytes_max)
        self._lock = threading.Lock()
        self._bytes_of_keys: dict[str, int] = {}
        self._bytes_of_batches = 0
        self.bytes_held = 0

    def take(self, bytes_count: int, *, key_id: str, is_batch: bool) -> bool:
        """Room for that many bytes, to be given back; False where there is none just now."""
        with self._lock:
            of_key = self._bytes_of_keys.get(key_id, 0) + bytes_count
            if self.bytes_held + bytes_count > self._bytes_max or of_key > self.share_bytes:
                return False
            if is_batch:
                if self._bytes_of_batches + bytes_count > self.share_bytes:
                    return False
                self._bytes_of_batches += bytes_count
            self.bytes_held += bytes_count
            self._bytes_of_keys[key_id] = of_key
            return True

    def give_back(self, bytes_count: int, *, key_id: str, is_batch: bool) -> None:
        with self._lock:
            self.bytes_held -= bytes_count
            if is_batch:
                self._bytes_of_batches -= bytes_count
            left = self._bytes_of_keys[key_id] - bytes_count
            if left:
                self._bytes_of_keys[key_id] = left
            else:
                del self._bytes_of_keys[key_id]


class Reservation:
    """What one request holds besides its body as sent, growing as it is inflated, until `release`."""

    __slots__ = ("_budget", "_bytes", "_is_batch", "_key_id")

    def __init__(self, budget: ByteBudget, *, key_id: str, is_batch: bool) -> None:
        self._budget = budget
        self._key_id = key_id
        self._is_batch = is_batch
        self._bytes = 0

    def more(self, bytes_count: int) -> bool:
        """Holds so many bytes more, or (False) as many as before."""
        if not self._budget.take(bytes_count, key_id=self._key_id, is_batch=self._is_batch):
            return False
        self._bytes += bytes_count
        return True

    def release(self) -> None:
        if self._bytes:
            self._budget.give_back(self._bytes, key_id=self._key_id, is_batch=self._is_batch)
            self._bytes = 0


def share_of(bytes_max: int) -> int:
    """What one sender, or all batches, may hold of a budget."""
    return bytes_max * 3 // 4
