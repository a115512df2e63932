"""How fast events may come: one bucket of tokens per identifier, per platform id and per key, in this worker's memory.

A bucket is one number, the time at which it will be full again (the generic cell rate algorithm). Each event moves it one
interval, 1 / rate, into the future, and is refused while it lies more than a burst of intervals ahead. A bucket that nobody has
touched since that time need not exist at all, so most of them live for a fraction of a second.

Each of N workers grants a N-th of every rate, since they share nothing. Buckets are forgotten at a restart. A person's bucket is
found by a number that Python's keyed hash makes of the identifier: no identifier is kept here, none could be read out.
Knows nothing of HTTP, and nothing of time but what it is told.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import islice
from typing import Final

import msgspec

from footfall.registry.snapshot import Limit, Limits, Rate

_PURGE_AT_MIN: Final = 1024
"""Buckets below which nothing is swept: 0.1 MB."""
_TOLERANCE_S_MAX: Final = 0.001


class Throttle:
    """The buckets of one worker. Not thread-safe; no call blocks or raises.

    `default` is the limit of an identifier where the registry says nothing; platform ids and keys have none then.
    """

    def __init__(self, *, default: Rate | None, workers: int, buckets_max: int) -> None:
        self._default = default
        self._workers = workers
        self._identifiers = _Buckets(buckets_max)
        self._platforms = _Buckets(buckets_max)
        self._keys = _Buckets(buckets_max)
        self._unlisted = self._pace_of(Limits())
        self._paces: dict[str, _Paces] = {}

    @property
    def buckets(self) -> int:
        """How many buckets are held now, those not yet swept included."""
        return len(self._identifiers.full_at) + len(self._platforms.full_at) + len(self._keys.full_at)

    def use(self, limits: Mapping[str, Limits]) -> None:
        """From now on these limits apply, by platform id. Buckets stay as they are."""
        self._paces = {platform: self._pace_of(own) for platform, own in limits.items()}

    def take(self, platform: str, key_id: str, identifier: Hashable | None, now_s: float) -> float:
        """Takes one event's token from each bucket it counts in: 0.0. Or, where one is empty, takes none and tells in how many
        seconds (above 0) each would have one.

        `identifier` is its kind and value as one thing, None for an event that names nobody (ID_LESS). `now_s` is monotonic.
        """
        paces = self._paces.get(platform, self._unlisted)
        pace = paces.identifier
        if paces.is_shared:
            wait_s = self._take_shared(platform, key_id, identifier, paces, now_s)
            if pace is None or identifier is None or wait_s > 0.0:
                return wait_s
        elif pace is None or identifier is None:
            return 0.0
        buckets = self._identifiers
        # written out instead of called: this is the path of nearly every event
        full_at = buckets.full_at
        person = hash((platform, identifier))
        full_at_s = full_at.get(person, now_s)
        if full_at_s <= now_s:
            full_at_s = now_s
        elif full_at_s - now_s > pace.ahead_max_s:
            return buckets.wait_s(person, pace, now_s)
        full_at[person] = full_at_s + pace.interval_s
        if len(full_at) > buckets.purge_at:
            buckets.purge(now_s)
        return 0.0

    def _take_shared(self, platform: str, key_id: str, identifier: Hashable | None, paces: _Paces, now_s: float) -> float:
        """The platform id's and the key's part of `take`: takes theirs when the identifier's bucket has one, too."""
        wait_s = 0.0
        if paces.identifier is not None and identifier is not None:
            wait_s = self._identifiers.wait_s(hash((platform, identifier)), paces.identifier, now_s)
        if paces.platform is not None:
            wait_s = max(wait_s, self._platforms.wait_s(hash(platform), paces.platform, now_s))
        if paces.key is not None:
            wait_s = max(wait_s, self._keys.wait_s(hash(key_id), paces.key, now_s))
        if wait_s == 0.0:
            if paces.platform is not None:
                self._platforms.take(hash(platform), paces.platform, now_s)
            if paces.key is not None:
                self._keys.take(hash(key_id), paces.key, now_s)
        return wait_s

    def _pace_of(self, limits: Limits) -> _Paces:
        platform = _pace(limits.platform, default=None, workers=self._workers)
        key = _pace(limits.key, default=None, workers=self._workers)
        return _Paces(
            identifier=_pace(limits.identifier, default=self._default, workers=self._workers),
            platform=platform,
            key=key,
            is_shared=platform is not None or key is not None,
        )


class _Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A rate as buckets use it. An event is granted while the bucket would be full at most `ahead_max_s` from now."""

    interval_s: float
    ahead_max_s: float
    burst: int


class _Paces(msgspec.Struct, frozen=True, kw_only=True):
    """The three of one platform id, None for no limit. `is_shared`: the platform id or the key has one."""

    identifier: _Pace | None
    platform: _Pace | None
    key: _Pace | None
    is_shared: bool


class _Buckets:
    """Buckets of one kind: hash of the name → when it is full again, in monotonic seconds; the oldest first.

    Swept whenever there are twice as many as the last sweep left, so that a sweep costs each new bucket the same small share
    however many there are, and never the memory of more than `buckets_max`.
    """

    __slots__ = ("_buckets_max", "full_at", "purge_at")

    def __init__(self, buckets_max: int) -> None:
        self.full_at: dict[int, float] = {}
        self._buckets_max = buckets_max
        self.purge_at = min(_PURGE_AT_MIN, buckets_max)

    def wait_s(self, name: int, pace: _Pace, now_s: float) -> float:
        """Seconds until this bucket has a token; 0.0 when it has."""
        ahead_s = self.full_at.get(name, now_s) - now_s
        if ahead_s <= pace.ahead_max_s:
            return 0.0
        if ahead_s > pace.burst * pace.interval_s:
            # Emptier than empty: the limit was narrower when these tokens were taken. Empty is the worst it can be now.
            ahead_s = pace.burst * pace.interval_s
            self.full_at[name] = now_s + ahead_s
        return ahead_s - (pace.burst - 1) * pace.interval_s

    def take(self, name: int, pace: _Pace, now_s: float) -> None:
        self.full_at[name] = max(self.full_at.get(name, now_s), now_s) + pace.interval_s
        if len(self.full_at) > self.purge_at:
            self.purge(now_s)

    def purge(self, now_s: float) -> None:
        """Drops buckets that are full again; where that is not enough, the oldest, whose owners so begin with a full one."""
        kept = {name: at_s for name, at_s in self.full_at.items() if at_s > now_s}
        room = self._buckets_max - self._buckets_max // 8  # else the next sweep would be due at once
        if len(kept) > room:
            kept = dict(islice(kept.items(), len(kept) - room, None))
        self.full_at = kept
        self.purge_at = min(self._buckets_max, max(_PURGE_AT_MIN, 2 * len(kept)))


def _pace(limit: Limit, *, default: Rate | None, workers: int) -> _Pace | None:
    rate = default if limit == "default" else limit
    if not isinstance(rate, Rate):
        return None
    burst = max(1, rate.burst // workers)
    interval_s = workers / rate.per_s
    # a little more than the burst, so that rounding never refuses a token that is there; no rate grows by it
    tolerance_s = min(_TOLERANCE_S_MAX, interval_s / 2)
    return _Pace(interval_s=interval_s, ahead_max_s=(burst - 1) * interval_s + tolerance_s, burst=burst)
