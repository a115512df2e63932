"""Events of a file to one URL, one request each, until they are all answered or going on makes no sense.

An answer about one event (400, 413, 429 to the end) is that event's outcome. An answer about all of them ends the sending: a key
or platform that is not accepted will not be for the next event either, and a receiver that stays away has to be mended first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from footfall.cli.courier import Courier, Wait, in_order
from footfall.cli.lines import LINE_BYTES_MAX, EventLine
from footfall.client.answers import Answer, answer_of
from footfall.client.settings import Settings
from footfall.clock import SystemClock
from footfall.errors import ApiError, BadRequestError, NetworkError, Violation

_IN_FLIGHT: Final = 16
OF_ONE_EVENT: Final = frozenset({400, 408, 411, 413, 415, 422, 429})
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
        self.refused = None if failed else refused(line, problem)
        self.message = f"{problem.status}: {problem.message}" if problem.status else problem.message


class Sender:
    """Posts to one URL over a few connections. `wait` and `tell` as `Courier` takes them."""

    def __init__(
        self, settings: Settings, *, timeout_s: float, wait: Wait | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        self._secrets = (settings.api_key,)
        self._courier = Courier(settings, timeout_s=timeout_s, wait=wait, tell=tell)

    def send_all(self, lines: Iterable[EventLine]) -> Iterator[Outcome]:
        """One outcome for each line, in order. Raises `Stopped`."""
        return in_order(lines, self._outcome, at_once=_IN_FLIGHT, end=self._courier.end)

    def _outcome(self, line: EventLine) -> Outcome:
        if line.is_cut:
            return too_long(line)
        try:
            response = self._courier.deliver(line.body)
        except ApiError as problem:
            if problem.status not in OF_ONE_EVENT:
                raise Stopped(line, problem) from None
            return refused(line, problem)
        return accepted(line, answer_of(response, secrets=self._secrets, now_ms=SystemClock().now_ms()))


def too_long(line: EventLine) -> Refused:
    """A line that is not worth a request."""
    message = f"not sent: it has more than {LINE_BYTES_MAX:,} bytes, and no receiver takes such an event"
    return Refused(index=line.index, status=413, message=message)


def accepted(line: EventLine, answer: Answer) -> Accepted:
    return Accepted(index=line.index, warnings=len(answer.report.warnings) if answer.report else 0)


def refused(line: EventLine, problem: ApiError) -> Refused:
    violations = problem.violations if isinstance(problem, BadRequestError) else ()
    return Refused(index=line.index, status=problem.status, message=problem.message, violations=violations)
