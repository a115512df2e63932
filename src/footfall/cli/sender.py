"""Bodies of events to one URL, a few at a time, until they are all answered or going on makes no sense.

An answer about one event (400, 413, 429 to the end) is that event's outcome. An answer about all of them ends the sending: a key
or platform that is not accepted will not be for the next event either, and a receiver that stays away has to be mended first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from footfall.cli.lines import LINE_BYTES_MAX, EventLine
from footfall.client.answers import answer_of
from footfall.client.settings import Settings
from footfall.clock import SystemClock
from footfall.delivery.transport import HttpTransport, Request
from footfall.errors import ApiError, BadRequestError, NetworkError, Violation

_IN_FLIGHT: Final = 16
_PAUSES_S: Final = (0.5, 2.0, 5.0)
"""Between attempts at a network failure, a 408, 429 or 5xx; a `Retry-After` that is longer wins, up to `_PAUSE_S_MAX`."""
_PAUSES_AT_FIRST_S: Final = (0.2,)
"""While nothing was ever answered: most likely the address is wrong, and a person waits."""
_PAUSE_S_MAX: Final = 30.0
_OF_THIS_EVENT: Final = frozenset({400, 408, 411, 413, 415, 422, 429})
"""4xx answers that say nothing about the next event."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """`warnings` counts what a Footfall test platform found weak in it."""

    index: int
    warnings: int


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not accepted, as `footfall send --json` lists it. `status` is that of the answer."""

    index: int
    status: int
    message: str
    violations: tuple[Violation, ...] = ()


Outcome: TypeAlias = Accepted | Refused


class Stopped(Exception):  # noqa: N818  (names what the sending is)
    """Going on makes no sense. `refused` is the answer that said so, None where the receiver failed or was not reached; lines
    after `line` may have arrived, or not."""

    def __init__(self, line: EventLine, problem: ApiError) -> None:
        super().__init__(problem.message)
        failed = isinstance(problem, NetworkError) or problem.status >= 500
        self.line = line
        self.refused = None if failed else _refused(line, problem)
        self.message = f"{problem.status}: {problem.message}" if problem.status else problem.message


class Sender:
    """Posts to one URL over a few connections."""

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        key = ("X-API-Key", settings.api_key)
        self._headers = (key, ("Content-Type", "application/json"), ("Accept", "application/json"))
        self._transport = HttpTransport()
        self._answered = False
        self._ending = threading.Event()

    def send_all(self, lines: Iterable[EventLine]) -> Iterator[Outcome]:
        """One outcome for each line, in order. Raises `Stopped`."""
        waiting: deque[Future[Outcome]] = deque()
        lines = iter(lines)
        pool = ThreadPoolExecutor(_IN_FLIGHT)
        try:
            waiting += (pool.submit(self._outcome, line) for line in islice(lines, _IN_FLIGHT))
            while waiting:
                yield waiting.popleft().result()
                waiting += (pool.submit(self._outcome, line) for line in islice(lines, 1))
        finally:
            self._ending.set()  # nobody sleeps on
            pool.shutdown(wait=False, cancel_futures=True)

    def _outcome(self, line: EventLine) -> Outcome:
        if line.is_cut:
            message = f"not sent: it has more than {LINE_BYTES_MAX:,} bytes, and no receiver takes such an event"
            return Refused(index=line.index, status=413, message=message)
        attempt = 0
        while True:
            try:
                return self._accepted(line)
            except ApiError as error:
                problem = error
            pause_s = self._pause_s(problem, attempt)
            if pause_s is None or self._ending.wait(pause_s):
                break
            attempt += 1
        if problem.status not in _OF_THIS_EVENT:
            raise Stopped(line, problem)
        return _refused(line, problem)

    def _accepted(self, line: EventLine) -> Accepted:
        request = Request(url=self._settings.url, headers=self._headers, body=line.body, timeout_s=self._timeout_s)
        response = self._transport.send(request)
        self._answered = True
        answer = answer_of(response, secrets=(self._settings.api_key,), now_ms=SystemClock().now_ms())
        return Accepted(index=line.index, warnings=len(answer.report.warnings) if answer.report else 0)

    def _pause_s(self, problem: ApiError, attempt: int) -> float | None:
        """How long to wait before the same request is tried again; None when it should not be."""
        passes = problem.status in {0, 408, 429} or problem.status >= 500
        schedule = _PAUSES_S if self._answered else _PAUSES_AT_FIRST_S
        if not passes or attempt >= len(schedule):
            return None
        return min(_PAUSE_S_MAX, max(schedule[attempt], getattr(problem, "retry_after_s", None) or 0.0))


def _refused(line: EventLine, problem: ApiError) -> Refused:
    violations = problem.violations if isinstance(problem, BadRequestError) else ()
    return Refused(index=line.index, status=problem.status, message=problem.message, violations=violations)
