"""Parcels in hand, in lanes: what may go next, oldest first, and what must wait for another of its lane.

    load ─▶ queue ──┬─▶ pick ─▶ on its way ─▶ release: the lane is free, or its next parcel is ready
                    └─▶ behind[lane]: its lane is on its way, or waiting   ◀─ put_back: first again, now or later

A lane is blocked from the moment one of its parcels was picked until it is released with nobody behind; meanwhile parcels of the
lane that come up in the queue line up behind it, so each is looked at once and no picked parcel is ever overtaken by its lane.
Whoever was picked came before everybody still in the queue, hence ready lanes go first, the oldest of them first of all.

An item is a number, counted up as parcels come, and the parcel. Lanes know nothing of time but what they are told, and nothing of
answers. Nothing here costs more than a fraction of a microsecond a parcel while no lane has trouble.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Final

from footfall.delivery.api import Parcel

Item = tuple[int, Parcel]
_NOBODY: Final[deque[Item]] = deque(maxlen=0)
"""Shared by all lanes with nobody behind; holds nothing, whatever is put into it."""


class Lanes:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._queue: deque[Item] = deque()
        self._behind: dict[int, deque[Item]] = {}
        """Blocked lanes → who stands behind, which mostly is nobody."""
        self._ready: list[tuple[int, int]] = []
        """A heap of the number of the first behind, and its lane: blocked lanes of which nothing is on its way."""
        self._waiting: list[tuple[float, int, int]] = []
        """The same, with the time before which nothing of that lane may go."""
        self._until_s: dict[int, float] = {}
        self.count = 0
        """Parcels in hand, those on their way not counted."""
        self._behind_count = 0
        """Of these, how many are not in the queue."""

    def load(self, parcels: Sequence[Parcel]) -> None:
        self._queue.extend(zip(self._numbers, parcels, strict=False))
        self.count += len(parcels)

    @property
    def can_pick(self) -> bool:
        """Whether anybody might go now; a queue may turn out to hold nobody but blocked lanes."""
        return bool(self._queue or self._ready)

    def count_held(self) -> int:
        """Parcels in hand that cannot go whatever the network does, for their lane is on its way or waits. Costs a look at every
        ready lane."""
        return self._behind_count - sum([len(self._behind[lane]) for _, lane in self._ready])

    @property
    def ripe_s(self) -> float | None:
        """When the next waiting lane becomes ready."""
        return self._waiting[0][0] if self._waiting else None

    def ripen(self, now_s: float) -> None:
        """Lanes whose time has come are ready."""
        while self._waiting and self._waiting[0][0] <= now_s:
            _, number, lane = heappop(self._waiting)
            heappush(self._ready, (number, lane))

    def pick(self, *, events_max: int, bytes_max: int, shares: Mapping[int, int]) -> list[Item]:
        """The next parcels, at most so many and so large together (a single one may be larger); their lanes are blocked now.
        `shares`: how many may go together with a certain number."""
        room = _Room(events_max, bytes_max, shares)
        fresh: list[Item] = []
        picked = self._pick_ready(room)
        queue, behind = self._queue, self._behind
        while queue and len(picked) + len(fresh) < events_max:
            item = queue.popleft()
            lane = item[1].lane
            if lane in behind:
                if behind[lane] is _NOBODY:
                    behind[lane] = deque()
                behind[lane].append(item)
                self._behind_count += 1
            elif room.takes(item):
                fresh.append(item)
            else:
                queue.appendleft(item)
                break
        behind.update(dict.fromkeys([item[1].lane for item in fresh], _NOBODY))
        picked += fresh
        self.count -= len(picked)
        return picked

    def pick_other(self, lane: int, *, failures: Mapping[int, int]) -> list[Item]:
        """One parcel of another lane than this: the one that failed least, and of these the oldest. Empty where there is none.

        Costs a look at every ready lane; for the probes of an outage only.
        """
        others = [(failures.get(number, 0), number, other) for number, other in self._ready if other != lane]
        best = min(others, default=None)
        if (best is None or best[0]) and (found := self._pick_fresh()):
            return found
        if best is None:
            return []
        _, number, other = best
        self._ready.remove((number, other))
        self._ready.sort()
        self.count -= 1
        self._behind_count -= 1
        return [self._behind[other].popleft()]

    @property
    def first_ready_lane(self) -> int | None:
        """The lane of the oldest parcel that was picked before."""
        return self._ready[0][1] if self._ready else None

    def put_back(self, items: Sequence[Item], *, until_s: float | None = None) -> None:
        """Parcels on their way are in hand again, first of their lanes, not to go before `until_s`. Their lanes stay blocked
        until `release`."""
        by_lane: dict[int, list[Item]] = {}
        for item in items:
            by_lane.setdefault(item[1].lane, []).append(item)
        for lane, returned in by_lane.items():
            self._behind[lane] = deque(sorted((*returned, *self._behind[lane]), key=lambda item: item[0]))
            if until_s is not None:
                self._until_s[lane] = max(until_s, self._until_s.get(lane, until_s))
        self.count += len(items)
        self._behind_count += len(items)

    def release(self, lanes: Iterable[int]) -> None:
        """Nothing of these lanes is on its way any more."""
        behind = self._behind
        for lane in lanes:
            followers = behind[lane]
            if not followers:
                del behind[lane]
                continue
            until_s = self._until_s.pop(lane, None)
            if until_s is None:
                heappush(self._ready, (followers[0][0], lane))
            else:
                heappush(self._waiting, (until_s, followers[0][0], lane))

    def delay(self, not_before_s: Mapping[int, float], *, until_s: float) -> None:
        """Ready lanes that begin with one of these numbers wait until then, and until the number's own time has come."""
        ready, self._ready = self._ready, []
        for number, lane in sorted(ready):  # a sorted list is a heap
            if number in not_before_s:
                heappush(self._waiting, (max(until_s, not_before_s[number]), number, lane))
            else:
                self._ready.append((number, lane))

    def _pick_ready(self, room: _Room) -> list[Item]:
        picked: list[Item] = []
        while self._ready:
            number, lane = heappop(self._ready)
            followers = self._behind[lane]
            before = len(picked)
            while followers and room.takes(followers[0]):
                picked.append(followers.popleft())
            if len(picked) == before:
                heappush(self._ready, (number, lane))
                break
        self._behind_count -= len(picked)
        return picked

    def _pick_fresh(self) -> list[Item]:
        """The oldest of the queue whose lane is not blocked."""
        for index, item in enumerate(self._queue):
            if item[1].lane not in self._behind:
                del self._queue[index]
                self._behind[item[1].lane] = _NOBODY
                self.count -= 1
                return [item]
        return []


class _Room:
    """How much more goes into one request."""

    def __init__(self, events: int, size: int, shares: Mapping[int, int]) -> None:
        self._events = events
        self._bytes = size
        self._shares = shares
        self._taken = 0

    def takes(self, item: Item) -> bool:
        """Whether this one goes in too; if so, it has."""
        number, parcel = item
        self._bytes -= len(parcel.body) + 1
        if self._taken and self._bytes < 0:
            return False
        if self._shares and number in self._shares:
            self._events = min(self._events, max(self._taken, self._shares[number]))
        if self._taken >= self._events:
            return False
        self._taken += 1
        return True
