"""Many events in one request (design 5.9): each is judged by itself, all that were accepted are stored in one durable write.

A long batch is worked through in slices, between which the event loop serves everybody else: without them one batch of 10,000
events would hold up every other sender of this worker for a tenth of a second.

The records of a slice are made by one call of the encoder, and all of a batch reach the log in one piece, never as a list of a
thousand: with that, and with lines found by a stream, an event of the shop's mix takes 4.2 µs of one core over HTTP, durable,
where it took 6.0. (One call of the decoder for many lines would bring 0.1 µs more, but msgspec's also takes two values on one
line, and one value on two.)
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from footfall.clock import Clock
from footfall.errors import GRPC_CODES, InvalidEventError, LogError
from footfall.events.batch import TooManyEventsError, split_batch
from footfall.events.decode import decode_canonical
from footfall.events.intake import Intake, Prepared, read_batch
from footfall.log.group_commit import GroupCommit
from footfall.registry.keys import Mode
from footfall.server import answers
from footfall.server.answers import JSON, Headers, Refusal
from footfall.server.report import Report, reported
from footfall.server.settings import LimitSettings
from footfall.server.state import Door
from footfall.server.status import Counters
from footfall.server.throttle import Throttle

_SLICE: Final = 100
"""Events between two looks at the rest of the world: a third of a millisecond."""
_EVENT_BYTES: Final = 1_024
"""Where events are longer than this on average, a slice has fewer."""
_VIOLATIONS_MAX: Final = 1_000
"""Violations listed in one answer; the events after that are still named, with their message. A batch of 32 MiB could hold enough
mistakes for an answer a hundred times its size."""
_STORED_BYTES_MAX: Final = 46 << 20
"""What one durable write takes; unknown members with long paths can make a stored batch longer than what was sent."""

_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


EVENT_BYTES_MAX: Final = 256 * 1024
"""One event of a batch: what a record of the log surely holds, however much the paths of unknown members add to it."""


class BatchAnswer(msgspec.Struct, frozen=True):
    """A 200: every event that was not rejected is durable."""

    headers: Headers
    body: bytes


class _Record(msgspec.Struct, frozen=True, gc=False):
    """A line of the log, the same as `Door.record_head` with its event: gc=False, since it lives for one slice."""

    platform: str
    mode: Mode
    received_at: int
    source: str
    event: object


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
        self.accepted = 0
        self.slices: list[bytes] = []
        """the records of each slice, as they will stand in the log"""
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
        self,
        *,
        logs: dict[str, GroupCommit],
        throttle: Throttle,
        counters: Counters,
        clock: Clock,
        limits: LimitSettings,
        event_bytes_max: int = EVENT_BYTES_MAX,
    ) -> None:
        self._logs = logs
        self._throttle = throttle
        self._counters = counters
        self._clock = clock
        self._event_bytes_max = event_bytes_max
        self._events_max = limits.batch_events_max
        self._ahead_ms_max = round(limits.timestamp_ahead_s * 1000)

    async def take(self, body: bytes, door: Door, *, key_id: str, ndjson: bool) -> BatchAnswer | Refusal:
        """The answer to a batch; `body` is inflated."""
        tally = self._counters.tally(door.platform, "batch")
        try:
            parts = split_batch(body, ndjson=ndjson, events_max=self._events_max)
        except TooManyEventsError:
            tally.rejected += 1
            return answers.too_many_events(self._events_max)
        except InvalidEventError as error:
            tally.rejected += 1
            return answers.invalid(error)
        draft = await self._judged(parts, door, key_id=key_id, bytes_count=len(body))
        if draft.accepted:
            if sum(map(len, draft.slices)) > _STORED_BYTES_MAX:
                tally.rejected += len(parts)
                return answers.too_large_stored(len(parts))
            try:
                await self._logs[door.mode].append_lines(b"".join(draft.slices), count=draft.accepted)
            except LogError as error:
                tally.unavailable += len(parts)
                return answers.not_stored(error)
        tally.accepted += draft.accepted
        tally.throttled += draft.throttled
        tally.rejected += len(draft.rejected) - draft.throttled
        return _answer(draft, door)

    async def _judged(self, parts: list[bytes], door: Door, *, key_id: str, bytes_count: int) -> _Draft:
        draft = _Draft()
        now_ms = self._clock.now_ms()
        step = _SLICE if bytes_count <= len(parts) * _EVENT_BYTES else max(1, _SLICE * _EVENT_BYTES * len(parts) // bytes_count)
        for start in range(0, len(parts), step):
            if start:
                await asyncio.sleep(0)
            self._judge(draft, parts[start : start + step], start=start, door=door, key_id=key_id, now_ms=now_ms)
        return draft

    def _judge(self, draft: _Draft, parts: list[bytes], *, start: int, door: Door, key_id: str, now_ms: int) -> None:
        take, platform, mode = self._throttle.take, door.platform, door.mode
        now_s = self._clock.monotonic_s()
        records: list[_Record] = []
        read = read_batch(parts, now_ms=now_ms, bytes_max=self._event_bytes_max, ahead_ms_max=self._ahead_ms_max)
        for index, found in enumerate(read, start):
            if isinstance(found, InvalidEventError):
                draft.reject(index, found)
                continue
            event, identifier = found
            wait_s = take(platform, key_id, identifier, now_s)
            if wait_s:
                draft.throttle(index, wait_s)
                continue
            records.append(_Record(platform, mode, now_ms, "batch", event))
            if mode == "test":
                draft.reports.append(_Reported(index, _report(found, now_ms=now_ms)))
        draft.slices.append(_encode_lines(records))
        draft.accepted += len(records)


def _report(accepted: Prepared, *, now_ms: int) -> Report:
    event, identifier = accepted
    return reported(Intake(decode_canonical(_encode(event)), identifier), now_ms=now_ms)


def _answer(draft: _Draft, door: Door) -> BatchAnswer:
    headers = JSON
    if draft.throttled:
        headers = [*JSON, answers.retry_after(draft.wait_s_max)]
    reports = draft.reports if door.mode == "test" else None
    return BatchAnswer(headers, _encode(_Body(draft.accepted, draft.rejected, reports)))
