"""Many events in one request (design 5.9): each is judged by itself, all that were accepted are stored in one durable write.

A long batch is worked through in slices, between which the event loop serves everybody else: without them one batch of 10,000
events would hold up every other sender of this worker for a tenth of a second.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

import msgspec

from footfall.clock import Clock
from footfall.errors import GRPC_CODES, InvalidEventError, LogError, Violation
from footfall.events.batch import TooManyEventsError, split_batch
from footfall.events.decode import canonical
from footfall.events.intake import read_event, read_stored
from footfall.log.group_commit import GroupCommit
from footfall.server import answers
from footfall.server.answers import JSON, Headers, Refusal
from footfall.server.report import Report, reported
from footfall.server.settings import LimitSettings
from footfall.server.state import Door
from footfall.server.status import Counters
from footfall.server.throttle import Throttle

_SLICE: Final = 100
"""Events between two looks at the rest of the world: about half a millisecond."""
_VIOLATIONS_MAX: Final = 1_000
"""Violations listed in one answer; the events after that are still named, with their message. A batch of 32 MiB could hold enough
mistakes for an answer a hundred times its size."""
_STORED_BYTES_MAX: Final = 46 << 20
"""What one durable write takes; unknown members with long paths can make a stored batch longer than what was sent."""

_encode: Final = msgspec.json.Encoder().encode


class BatchAnswer(msgspec.Struct, frozen=True):
    """A 200: every event that was not rejected is durable."""

    headers: Headers
    body: bytes


class _Rejected(msgspec.Struct, frozen=True):
    index: int
    code: int
    message: str
    details: list[dict[str, Any]]


class _Reported(msgspec.Struct, frozen=True):
    index: int
    test: Report


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    accepted: int
    rejected: list[_Rejected]
    reports: list[_Reported] | None = None


class _Draft:
    """What is known so far of one batch."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.rejected: list[_Rejected] = []
        self.reports: list[_Reported] = []
        self.throttled = 0
        self.wait_s_max = 0.0
        self._violations_left = _VIOLATIONS_MAX

    def reject(self, index: int, error: InvalidEventError) -> None:
        listed = error.violations[: self._violations_left]
        self._violations_left -= len(listed)
        self.rejected.append(_Rejected(index, GRPC_CODES[400], error.message, answers.details(listed)))

    def throttle(self, index: int, wait_s: float) -> None:
        self.throttled += 1
        self.wait_s_max = max(self.wait_s_max, wait_s)
        self.rejected.append(_Rejected(index, GRPC_CODES[429], answers.THROTTLED_MESSAGE, []))


class Batches:
    """Takes the batches of one worker."""

    def __init__(
        self, *, logs: dict[str, GroupCommit], throttle: Throttle, counters: Counters, clock: Clock, limits: LimitSettings
    ) -> None:
        self._logs = logs
        self._throttle = throttle
        self._counters = counters
        self._clock = clock
        self._event_bytes_max = limits.body_bytes_max
        self._events_max = limits.batch_events_max
        self._ahead_ms_max = round(limits.timestamp_ahead_s * 1000)

    async def take(self, body: bytes, door: Door, *, key_id: str, ndjson: bool) -> BatchAnswer | Refusal:
        """The answer to a batch; `body` is inflated."""
        tally = self._counters.tally(door.platform, "batch")
        try:
            parts = split_batch(body, ndjson=ndjson, events_max=self._events_max)
        except TooManyEventsError as error:
            tally.rejected += 1
            return answers.too_many_events(error.count, self._events_max)
        except InvalidEventError as error:
            tally.rejected += 1
            return answers.invalid(error)
        draft = await self._judged(parts, door, key_id)
        if draft.records:
            if sum(map(len, draft.records)) > _STORED_BYTES_MAX:
                tally.rejected += len(parts)
                return answers.too_large_stored(len(parts))
            try:
                await self._logs[door.mode].append_all(draft.records)
            except LogError as error:
                tally.unavailable += len(parts)
                return answers.not_stored(error)
        tally.accepted += len(draft.records)
        tally.throttled += draft.throttled
        tally.rejected += len(draft.rejected) - draft.throttled
        return _answer(draft, door)

    async def _judged(self, parts: list[bytes], door: Door, key_id: str) -> _Draft:
        draft = _Draft()
        now_ms = self._clock.now_ms()
        for start in range(0, len(parts), _SLICE):
            if start:
                await asyncio.sleep(0)
            self._judge(draft, parts[start : start + _SLICE], start=start, door=door, key_id=key_id, now_ms=now_ms)
        return draft

    def _judge(self, draft: _Draft, parts: list[bytes], *, start: int, door: Door, key_id: str, now_ms: int) -> None:
        take, ahead_ms_max, append = self._throttle.take, self._ahead_ms_max, draft.records.append
        is_live, platform, event_bytes_max = door.mode == "live", door.platform, self._event_bytes_max
        head = b'%b%d,"source":"batch","event":' % (door.record_head, now_ms)
        now_s = self._clock.monotonic_s()
        intake = None
        for index, part in enumerate(parts, start):
            try:
                if len(part) > event_bytes_max:
                    raise _too_long(len(part), event_bytes_max)
                if is_live:
                    content, identifier = read_stored(part, now_ms=now_ms, ahead_ms_max=ahead_ms_max)
                else:
                    intake = read_event(part, now_ms=now_ms, ahead_ms_max=ahead_ms_max)
                    content, identifier = canonical(intake.event), intake.identifier
            except InvalidEventError as error:
                draft.reject(index, error)
                continue
            wait_s = take(platform, key_id, identifier, now_s)
            if wait_s:
                draft.throttle(index, wait_s)
                continue
            append(b"%b%b}" % (head, content))
            if intake is not None:
                draft.reports.append(_Reported(index, reported(intake, now_ms=now_ms)))


def _too_long(length: int, length_max: int) -> InvalidEventError:
    description = f"the event has {length} bytes, at most {length_max} are taken: send fewer items in it"
    return InvalidEventError("the event is too large", (Violation("", description, "event_too_large"),))


def _answer(draft: _Draft, door: Door) -> BatchAnswer:
    headers = JSON
    if draft.throttled:
        headers = [*JSON, ("retry-after", str(max(1, math.ceil(draft.wait_s_max))))]
    reports = draft.reports if door.mode == "test" else None
    return BatchAnswer(headers, _encode(_Body(len(draft.records), draft.rejected, reports)))
