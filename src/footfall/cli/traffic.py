"""Events sent at a steady rate, whatever the receiver does: an open loop, and the counts of what came of it.

Each request has a time at which it is due. A receiver that is slow makes requests late, never fewer, and its lateness counts: the
time of an answer is measured from when the request was *due*, because a shopper's browser would not have waited its turn either.
What is still due a second after the time is up is not sent; the rate that was reached says so.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from footfall.cli.courier import Courier
from footfall.client.ids import new_id
from footfall.clock import Clock
from footfall.delivery.answers import read_batch_answer
from footfall.delivery.transport import Response
from footfall.errors import ApiError, InternalServerError, NetworkError

CONNECTIONS_MAX: Final = 32
_REQUESTS_A_CONNECTION_S: Final = 50
_LATENCIES_MAX: Final = 1_000_000
"""Kept for the percentiles; beyond this, later ones take the places of earlier ones."""
_SILENCE_S_MAX: Final = 10.0
"""A receiver that answers nothing for so long is gone."""
_GRACE_S: Final = 1.0
"""For what was due in time and had to wait: a hiccup at the end shall not cost events."""
_OF_ALL: Final = frozenset({401, 403, 404, 405, 501})
"""Answers that the next event would get, too."""
NO_ANSWER: Final = "no answer"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: `rate` events a second for `duration_s`, `batch` of them a request (1: single events)."""

    rate: float
    duration_s: float
    batch: int = 1

    @property
    def requests(self) -> int:
        return max(1, round(self.rate * self.duration_s / self.batch))

    @property
    def connections(self) -> int:
        wanted = -(-self.rate // (self.batch * _REQUESTS_A_CONNECTION_S))
        return int(min(CONNECTIONS_MAX, max(4, wanted), self.requests))


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it, as `footfall simulate --json` prints it. Times are of requests, in milliseconds from when each was due."""

    sent: int
    accepted: int
    refused: int
    failed: int
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    by_type: dict[str, int]
    by_status: dict[str, int]


class Traffic:
    """One run. `run` blocks; `summary` may be asked for meanwhile, from another thread too."""

    def __init__(self, plan: Plan, *, events: Iterator[dict[str, Any]], courier: Courier, clock: Clock) -> None:
        self._plan = plan
        self._events = events
        self._courier = courier
        self._clock = clock
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._next = 0
        self._start_s = self._answered_s = self._last_s = clock.monotonic_s()
        self._by_type: Counter[str] = Counter()
        self._by_status: Counter[str] = Counter()
        self._accepted = self._refused = self._failed = 0
        self._latencies_ms: list[float] = []
        self._requests = 0
        self.problem: ApiError | None = None
        """Why it ended before its time: an answer about every event, or silence."""
        self.first_refusal = ""
        """What the first refused event was told."""

    def run(self, *, watch: Callable[[], None], every_s: float) -> None:
        """Sends everything that is due; `watch` is called every so often in the calling thread."""
        self._start_s = self._answered_s = self._last_s = self._clock.monotonic_s()
        threads = [threading.Thread(target=self._send_on, daemon=True) for _ in range(self._plan.connections)]
        for thread in threads:
            thread.start()
        try:
            while alive := [thread for thread in threads if thread.is_alive()]:
                alive[0].join(every_s)
                watch()
        finally:
            self.end()

    def end(self) -> None:
        """Nothing more is sent; what is under way is still counted as long as the process lives."""
        self._ended.set()
        self._courier.end()

    def summary(self) -> Summary:
        with self._lock:
            latencies = sorted(self._latencies_ms)
            seconds = max(self._last_s - self._start_s, 1e-9)
            is_whole = self._next >= self._plan.requests  # then the pause after the last request belongs to the run
            sent = self._accepted + self._refused + self._failed
            return Summary(
                sent=sent,
                accepted=self._accepted,
                refused=self._refused,
                failed=self._failed,
                seconds=round(seconds, 3),
                rate=round(sent / (max(seconds, self._plan.duration_s) if is_whole else seconds), 1),
                p50_ms=percentile(latencies, 0.50),
                p99_ms=percentile(latencies, 0.99),
                by_type=dict(self._by_type.most_common()),
                by_status=dict(self._by_status.most_common()),
            )

    # -- one connection's thread

    def _send_on(self) -> None:
        while (job := self._due()) is not None:
            due_s, events = job
            try:
                response = self._courier.post(self._body(events))
            except ApiError as problem:
                self._count_problem(events, problem, due_s)
            else:
                self._count_answer(events, response, due_s)

    def _due(self) -> tuple[float, list[dict[str, Any]]] | None:
        """The next request, at its time; None when there is none, or no time left for it."""
        plan = self._plan
        with self._lock:
            due_s = self._start_s + self._next * plan.batch / plan.rate
            if self._next >= plan.requests or self._clock.monotonic_s() > self._start_s + plan.duration_s + _GRACE_S:
                return None
            self._next += 1
            events = [next(self._events) for _ in range(plan.batch)]
        if self._ended.wait(max(0.0, due_s - self._clock.monotonic_s())):
            return None
        return due_s, events

    def _body(self, events: Sequence[dict[str, Any]]) -> bytes:
        now_ms = self._clock.now_ms()
        # fresh ids: a second run with the same seed is other visits of the same people, not a repeat
        stamped = [{**event, "id": new_id(now_ms), "timestamp": str(now_ms)} for event in events]
        return msgspec.json.encode(stamped[0]) if self._plan.batch == 1 else msgspec.json.Encoder().encode_lines(stamped)

    # -- counting

    def _count_answer(self, events: Sequence[dict[str, Any]], response: Response, due_s: float) -> None:
        answer = read_batch_answer(response.body, events=len(events)) if self._plan.batch > 1 else None
        rejected = answer.rejected if answer is not None else ()
        with self._lock:
            self._count_request(events, due_s)
            self._accepted += len(events) - len(rejected)
            self._by_status[str(response.status)] += len(events) - len(rejected)
            self._refused += len(rejected)
            for rejection in rejected:
                self._by_status["429" if rejection.status == 429 else "400"] += 1
                self.first_refusal = self.first_refusal or rejection.message

    def _count_problem(self, events: Sequence[dict[str, Any]], problem: ApiError, due_s: float) -> None:
        no_answer = isinstance(problem, NetworkError)
        with self._lock:
            silent_s = self._clock.monotonic_s() - self._answered_s
            self._count_request(events, due_s, answered=not no_answer)
            self._by_status[str(problem.status) if problem.status else NO_ANSWER] += len(events)
            if no_answer or isinstance(problem, InternalServerError):
                self._failed += len(events)
            else:
                self._refused += len(events)
                self.first_refusal = self.first_refusal or problem.message
            never_answered = self._failed == self._requests * self._plan.batch and set(self._by_status) == {NO_ANSWER}
            gone = no_answer and (silent_s > _SILENCE_S_MAX or never_answered)
            if (gone or problem.status in _OF_ALL) and self.problem is None:
                self.problem = problem
                self._ended.set()

    def _count_request(self, events: Sequence[dict[str, Any]], due_s: float, *, answered: bool = True) -> None:
        self._last_s = self._clock.monotonic_s()
        self._requests += 1
        self._by_type.update(event["event_type"] for event in events)
        if answered:
            self._answered_s = self._last_s
            latency_ms = (self._last_s - due_s) * 1000
            if len(self._latencies_ms) < _LATENCIES_MAX:
                self._latencies_ms.append(latency_ms)
            else:
                self._latencies_ms[self._requests % _LATENCIES_MAX] = latency_ms


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value that `share` of `ascending` do not exceed, in tenths; 0 where there is none."""
    if not ascending:
        return 0.0
    return round(ascending[min(len(ascending) - 1, int(len(ascending) * share))], 1)
