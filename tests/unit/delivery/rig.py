"""A pump on a bench: a source in memory, a receiver that is a function, and a clock that nobody waits for."""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec

from footfall.clock import ManualClock
from footfall.delivery.address import Address
from footfall.delivery.api import Done, Parcel, Refusal
from footfall.delivery.protocol import Course, Policy
from footfall.delivery.pump import Pump
from footfall.delivery.transport import Request, Response
from footfall.errors import NetworkError

OK = Response(status=200, body=b"{}")
FOOTFALL = Response(
    status=200,
    body=json.dumps(
        {"info": {"x-footfall": True, "version": "9"}, "paths": {"/rmp/event/v1/platforms/{platform}/userevents:batch": {}}}
    ).encode(),
)

Judge = Callable[[list[str], float], Response | NetworkError]
"""The ids in a post, and the second at which it was sent → the answer."""


def parcel(number: int, *, lane: int | None = None, size: int = 0, **members: Any) -> Parcel:
    event = {"id": f"e{number}", **members} | ({"pad": "x" * size} if size else {})
    return Parcel(body=msgspec.json.encode(event), lane=number if lane is None else lane)


def id_of(one: Parcel) -> str:
    return str(json.loads(one.body)["id"])


def answer(status: int, message: str = "", **headers: str) -> Response:
    body = json.dumps({"code": 1, "message": message}).encode() if message else b""
    return Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body)


def batch_answer(ids: Sequence[str], codes: dict[str, int], **headers: str) -> Response:
    """What a Footfall says of a batch: `codes` are those of the events that it did not take."""
    rejected = [
        {"index": index, "code": codes[event_id], "message": "no"} for index, event_id in enumerate(ids) if event_id in codes
    ]
    body = json.dumps({"accepted": len(ids) - len(rejected), "rejected": rejected}).encode()
    return Response(status=200, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body)


class Shelf:
    """A source in memory that accepts no word twice."""

    def __init__(self, parcels: Iterable[Parcel] = ()) -> None:
        self.stock = deque(parcels)
        self.taken: set[Parcel] = set()
        self.delivered_ids: list[str] = []
        self.refusals: dict[str, Refusal] = {}

    def take(self, *, parcels_max: int) -> Sequence[Parcel]:
        helping = [self.stock.popleft() for _ in range(min(parcels_max, len(self.stock)))]
        self.taken.update(helping)
        return helping

    def delivered(self, parcels: Sequence[Parcel]) -> None:
        for one in parcels:
            self.taken.remove(one)
            self.delivered_ids.append(id_of(one))

    def refused(self, parcel: Parcel, refusal: Refusal) -> None:
        self.taken.remove(parcel)
        self.refusals[id_of(parcel)] = refusal


class Attempt(NamedTuple):
    at_s: float
    ids: tuple[str, ...]
    """Empty: the question for the document."""
    url: str
    headers: tuple[tuple[str, str], ...]


class Receiver:
    """Exchanges whose other end is `judge`. Answers take `latency_s` of virtual time; waiting takes none of ours."""

    def __init__(
        self, judge: Judge, clock: ManualClock, *, document: Response | NetworkError, latency_s: Callable[[], float]
    ) -> None:
        self.judge = judge
        self.document: Response | NetworkError = document
        self.attempts: list[Attempt] = []
        self.in_flight_max = 0
        self._clock = clock
        self._latency_s = latency_s
        self._due: list[tuple[float, int, Done]] = []
        self._numbers = count()

    def start(self, request: Request, *, token: Any) -> None:
        now_s = self._clock.monotonic_s()
        ids = [str(json.loads(line)["id"]) for line in request.body.splitlines()]
        self.attempts.append(Attempt(now_s, tuple(ids), request.url, request.headers))
        result = self.judge(ids, now_s) if ids else self.document
        heapq.heappush(self._due, (now_s + self._latency_s(), next(self._numbers), Done(token, result)))
        self.in_flight_max = max(self.in_flight_max, len(self._due))

    def wait(self, timeout_s: float) -> list[Done]:
        now_s = self._clock.monotonic_s()
        until_s = min(now_s + timeout_s, self._due[0][0]) if self._due else now_s + timeout_s
        self._clock.advance(max(0.0, until_s - now_s))
        ended: list[Done] = []
        while self._due and self._due[0][0] <= until_s:
            ended.append(heapq.heappop(self._due)[2])
        return ended

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Bench:
    """Everything together. `told` is what the pump said, with the time."""

    def __init__(
        self,
        judge: Judge,
        parcels: Iterable[Parcel] = (),
        *,
        batch: bool | None = False,
        document: Response | NetworkError = FOOTFALL,
        latency_s: Callable[[], float] = lambda: 0.0,
        policy: Policy | None = None,
        random: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.clock = ManualClock()
        self.shelf = Shelf(parcels)
        self.receiver = Receiver(judge, self.clock, document=document, latency_s=latency_s)
        self.told: list[tuple[float, Course]] = []
        self.pump = Pump(
            self.shelf,
            exchanges=self.receiver,
            address=Address(base_url="http://127.0.0.1:1", platform_id="SHOP", api_key="key-of-shop", timeout_s=5, batch=batch),
            policy=policy or Policy(),
            clock=self.clock,
            random=random,
            tell=lambda course: self.told.append((self.now_s, course)),
        )

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    def run(self, until_s: float, *, turns_max: int = 200_000) -> None:
        """Up to that second, or until there is nothing left to do."""
        for _ in range(turns_max):
            if self.now_s >= until_s or not (self.shelf.stock or self.pump.loaded):
                return
            self.pump.turn(until_s - self.now_s)
        raise AssertionError(f"busy without end at {self.now_s} s: {self.pump.course}")

    def times_s(self, event_id: str = "") -> list[float]:
        """When posts were tried (of this event), to the millisecond."""
        return [round(one.at_s, 3) for one in self.receiver.attempts if one.ids and (not event_id or event_id in one.ids)]

    def assert_balance(self, tracked: int) -> None:
        assert len(self.shelf.delivered_ids) + len(self.shelf.refusals) + len(self.shelf.taken) + len(self.shelf.stock) == tracked
        assert len(set(self.shelf.delivered_ids) | set(self.shelf.refusals)) == tracked - len(self.shelf.taken) - len(
            self.shelf.stock
        )
        assert self.pump.loaded == len(self.shelf.taken)
