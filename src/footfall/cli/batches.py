"""Events of a file in batches: NDJSON to `…/userevents:batch`, which is Footfall's own addition to the protocol.

    lines ──▶ a batch ──▶ 200  accepted n, rejected [index, code, …] ──▶ outcomes in the order of the lines
                          │     └ code 8: those were throttled, they go again after Retry-After
                          ├ 413 halves
                          ├ 429, 503, other 5xx, no answer: the same bytes again
                          └ 404, 405, 501: has the receiver batches at all?

A resent batch counts once: events carry an `id`, and the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from footfall.cli.courier import PAUSE_S_MAX, Courier, Wait, in_order
from footfall.cli.lines import EventLine
from footfall.cli.receiver import ask
from footfall.cli.sender import OF_ONE_EVENT, Outcome, Stopped, accepted, refused, too_long
from footfall.client.answers import Answer, batch_answers_of
from footfall.client.settings import Settings
from footfall.clock import SystemClock
from footfall.delivery.document import NO_ROUTE, read_document
from footfall.delivery.transport import Response
from footfall.errors import ApiError, InternalServerError, TooManyRequestsError

EVENTS_MAX: Final = 10_000
BATCH_BYTES_MAX: Final = 4 << 20
"""Half of what a Footfall takes by default: a batch of long events is closed before it has all its lines."""
_IN_FLIGHT: Final = 4
_TIMEOUT_S: Final = 60.0
_FRUITLESS_MAX: Final = 5
"""Attempts in a row after which throttled events are given up when not one of them got through."""


class NoBatchesError(Exception):
    """The receiver takes single events only. Nothing of the first batch was stored."""


class BatchSender:
    """As `Sender`, up to `events_max` events a request. Raises `NoBatchesError` too."""

    def __init__(
        self, settings: Settings, *, events_max: int, wait: Wait | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        self._base_url = settings.base_url
        self._secrets = (settings.api_key,)
        self._events_max = events_max
        self._courier = Courier(settings, batch=True, timeout_s=_TIMEOUT_S, wait=wait, tell=tell)

    def send_all(self, lines: Iterable[EventLine]) -> Iterator[Outcome]:
        """One outcome for each line, in order. Events are not sent by trial: the receiver must say that it takes batches."""
        if self._has_route() is False:
            raise NoBatchesError
        batches = batched(lines, events_max=self._events_max)
        for outcomes in in_order(batches, self._outcomes, at_once=_IN_FLIGHT, end=self._courier.end):
            yield from outcomes

    def _outcomes(self, lines: Sequence[EventLine]) -> list[Outcome]:
        found: list[Outcome] = [too_long(line) for line in lines if line.is_cut]
        found += self._sent([line for line in lines if not line.is_cut])
        return sorted(found, key=lambda outcome: outcome.index)

    def _sent(self, lines: Sequence[EventLine]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        fruitless = 0
        while lines:
            try:
                response = self._courier.deliver(b"\n".join(line.body for line in lines) + b"\n")
            except ApiError as problem:
                return outcomes + self._without_answer(lines, problem)
            done, throttled = self._sorted_out(lines, response)
            outcomes += done
            fruitless = fruitless + 1 if len(throttled) == len(lines) else 0
            lines = [line for line, _ in throttled]
            if lines and (fruitless >= _FRUITLESS_MAX or self._courier.wait(_pause_s(throttled[0][1]))):
                return outcomes + [refused(line, problem) for line, problem in throttled]
        return outcomes

    def _without_answer(self, lines: Sequence[EventLine], problem: ApiError) -> list[Outcome]:
        """What becomes of a batch that was not taken as a batch."""
        if problem.status == 413 and len(lines) > 1:
            middle = len(lines) // 2
            return self._sent(lines[:middle]) + self._sent(lines[middle:])
        if problem.status in NO_ROUTE and not self._has_route():
            raise NoBatchesError from None
        if problem.status in OF_ONE_EVENT and len(lines) == 1:
            return [refused(lines[0], problem)]
        raise Stopped(lines[0], problem) from None

    def _sorted_out(
        self, lines: Sequence[EventLine], response: Response
    ) -> tuple[list[Outcome], list[tuple[EventLine, TooManyRequestsError]]]:
        """Which events are settled, and which were throttled and may go again."""
        done: list[Outcome] = []
        throttled: list[tuple[EventLine, TooManyRequestsError]] = []
        for line, answer in zip(lines, self._understood(lines, response), strict=True):
            if isinstance(answer, Answer):
                done.append(accepted(line, answer))
            elif isinstance(answer, TooManyRequestsError):
                throttled.append((line, answer))
            else:
                done.append(refused(line, answer))
        return done, throttled

    def _understood(self, lines: Sequence[EventLine], response: Response) -> list[Answer | ApiError]:
        """What became of each event; when the answer does not say so of each exactly once, nobody knows."""
        try:
            return batch_answers_of(response, secrets=[self._secrets] * len(lines), now_ms=SystemClock().now_ms())
        except InternalServerError:
            if not self._has_route():
                raise NoBatchesError from None
            raise Stopped(lines[0], _UNREADABLE) from None

    def _has_route(self) -> bool | None:
        """Whether the receiver says of itself that it takes batches: then a 404 is about the platform id. None: it cannot say."""
        answer = ask(self._base_url, timeout_s=_TIMEOUT_S)
        return read_document(answer).takes_batches if answer is not None and answer.status < 500 else None


_UNREADABLE: Final = InternalServerError(
    "the answer does not say what became of each event; some may be stored, so send them again with the same ids", status=502
)
"""Of a receiver that was asked before, and is a Footfall."""


def batched(lines: Iterable[EventLine], *, events_max: int, bytes_max: int = BATCH_BYTES_MAX) -> Iterator[list[EventLine]]:
    """Lines in groups of at most `events_max` lines and `bytes_max` bytes; a line longer than that is a group of its own."""
    batch: list[EventLine] = []
    room = bytes_max
    for line in lines:
        if batch and (len(batch) == events_max or len(line.body) >= room):
            yield batch
            batch, room = [], bytes_max
        batch.append(line)
        room -= len(line.body) + 1
    if batch:
        yield batch


def _pause_s(problem: TooManyRequestsError) -> float:
    return min(PAUSE_S_MAX, max(1.0, problem.retry_after_s or 0.0))
