"""One body to one URL, tried again while that makes sense, and several of them at once.

The waits are those of somebody at a terminal who follows the failure protocol (protocol notes, section 12): at least 5 s after a
5xx, then twice and four times as long, and then the person is told. Only while nothing was ever answered they are short, since
then the address is most likely wrong.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from footfall.client.answers import error_of
from footfall.client.settings import Settings
from footfall.clock import Clock, SystemClock
from footfall.delivery.transport import HttpTransport, Request, Response, Transport
from footfall.errors import ApiError

PAUSES_S: Final = (5.0, 10.0, 20.0)
"""Between attempts at a 5xx, or at a network that failed midway; a `Retry-After` that is longer wins, up to `PAUSE_S_MAX`."""
PAUSES_OF_LIMITS_S: Final = (0.5, 2.0, 5.0)
"""After a 408 or 429 that names no time."""
PAUSES_AT_FIRST_S: Final = (0.2,)
"""While nothing was ever answered: most likely the address is wrong, and a person waits."""
PAUSE_S_MAX: Final = 30.0
_ANSWER_BYTES_MAX: Final = 64 << 20
"""Of a test platform's answer to 10,000 events: each report repeats its event."""

Wait = Callable[[float], bool]
"""Waits that many seconds, or until all sending is to end, and returns whether it is."""

_Job = TypeVar("_Job")
_Done = TypeVar("_Done")


class Courier:
    """Posts bodies of one kind to one URL. From any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        batch: bool = False,
        timeout_s: float,
        wait: Wait | None = None,
        tell: Callable[[str], None] | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._form = settings.address().form(batch=batch)
        self._secrets = (settings.api_key,)
        self._timeout_s = timeout_s
        self._transport = transport or HttpTransport(answer_bytes_max=_ANSWER_BYTES_MAX)
        self._clock = clock or SystemClock()
        self._ending = threading.Event()
        self._tell = tell
        self._told_s = float("-inf")
        self._answered = False
        self.wait = wait or self._ending.wait

    def deliver(self, body: bytes) -> Response:
        """The 2xx that came in the end. Raises the `ApiError` of the last attempt. Blocks for as long as the waits add up to."""
        attempt = 0
        while True:
            try:
                return self.post(body)
            except ApiError as error:
                problem = error
            pause_s = pause_of(problem, attempt=attempt, answered=self._answered)
            if pause_s is None:
                raise problem
            self._say(problem, pause_s)
            if self.wait(pause_s):
                raise problem
            attempt += 1

    def post(self, body: bytes) -> Response:
        """One attempt."""
        request = Request(url=self._form.url, headers=self._form.headers, body=body, timeout_s=self._timeout_s)
        response = self._transport.send(request)
        self._answered = True
        if 200 <= response.status < 300:
            return response
        raise error_of(response, secrets=self._secrets, now_ms=self._clock.now_ms())

    def end(self) -> None:
        """Nobody waits on. Requests under way end as they would have."""
        self._ending.set()

    def _say(self, problem: ApiError, pause_s: float) -> None:
        """Once for all that wait at the same time: a silent minute looks like a hanging command."""
        now_s = self._clock.monotonic_s()
        if self._tell is not None and pause_s >= PAUSES_S[0] and now_s >= self._told_s:
            self._told_s = now_s + pause_s
            status = f"{problem.status}: " if problem.status else ""
            self._tell(f"{status}{problem.message}; trying again in {pause_s:g} s")


def pause_of(problem: ApiError, *, attempt: int, answered: bool) -> float | None:
    """How long to wait before the same request is tried again, None where it should not be. `attempt` counts from 0;
    `answered`: whether this receiver ever said anything."""
    if problem.status in {408, 429}:
        schedule: tuple[float, ...] = PAUSES_OF_LIMITS_S
    elif problem.status >= 500:
        schedule = PAUSES_S
    elif problem.status == 0:
        schedule = PAUSES_S if answered else PAUSES_AT_FIRST_S
    else:
        return None
    if attempt >= len(schedule):
        return None
    return min(PAUSE_S_MAX, max(schedule[attempt], getattr(problem, "retry_after_s", None) or 0.0))


def in_order(jobs: Iterable[_Job], work: Callable[[_Job], _Done], *, at_once: int, end: Callable[[], None]) -> Iterator[_Done]:
    """What `work` made of each job, in the order of the jobs, a few at once. `end` is called when no more is wanted."""
    waiting: deque[Future[_Done]] = deque()
    jobs = iter(jobs)
    pool = ThreadPoolExecutor(at_once)
    try:
        waiting += (pool.submit(work, job) for job in islice(jobs, at_once))
        while waiting:
            yield waiting.popleft().result()
            waiting += (pool.submit(work, job) for job in islice(jobs, 1))
    finally:
        end()
        pool.shutdown(wait=False, cancel_futures=True)
