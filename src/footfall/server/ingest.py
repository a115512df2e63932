"""The public listener: takes events, answers for them. This is the hot path. (What asks for erasure it hands to `management`.)

The order of checks is a contract (design 5.1): `admission` decides everything the head of a request can decide, then the body is
read, inflated, understood, throttled and stored. 200 leaves this module only after the log said the records are durable.

Facts of Granian this code stands on (measured; see docs/architecture.md):
- `await protocol()` raises on a body that was cut; the streaming iterator calls it complete. Only the first is used to take an
  event; the second only to throw away what a refused sender is still sending, so that it gets to read the answer.
- it has no limit of size or time: the size comes from Content-Length, the time from `BodySweeper`.
- paths arrive percent-decoded, header names in lower case, doubled headers doubled.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import current_task
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any, Final

from footfall.clock import Clock
from footfall.errors import InvalidEventError, LogError
from footfall.events.batch import is_ndjson
from footfall.events.decode import canonical
from footfall.events.intake import read_event, read_stored
from footfall.log.group_commit import GroupCommit
from footfall.server import answers
from footfall.server.admission import Admission, Admitted, HttpScope, Route
from footfall.server.answers import EMPTY_OBJECT, JSON, Headers, Refusal
from footfall.server.batches import Batches
from footfall.server.budget import ByteBudget, Reservation
from footfall.server.inflate import InflateError, inflate
from footfall.server.management import BODY_BYTES_MAX, Management, classified
from footfall.server.report import report_of
from footfall.server.settings import LimitSettings
from footfall.server.state import DoorKeeper
from footfall.server.status import Counters, Tally
from footfall.server.sweeper import BodySweeper
from footfall.server.throttle import Throttle

logger = logging.getLogger("footfall.server")

_DRAIN_BYTES_MAX: Final = 16 * 1024 * 1024
_DRAIN_PAUSE_S: Final = 0.3
_DRAIN_S_MAX: Final = 10.0
"""How much of a refused body is read and thrown away, until which pause, and for how long, before the connection is left."""
_INFLATE_HERE_BYTES_MAX: Final = 4 * 1024
"""A compressed body up to this long is inflated on the event loop: a thread would cost more."""


class IngestApp:
    """The RSGI application of one worker. One event loop, no locks."""

    def __init__(
        self,
        *,
        keeper: DoorKeeper,
        live: GroupCommit,
        test: GroupCommit,
        throttle: Throttle,
        counters: Counters,
        clock: Clock,
        limits: LimitSettings,
        openapi: bytes,
        management: Management,
    ) -> None:
        self._logs = {"live": live, "test": test}
        self._throttle = throttle
        self._counters = counters
        self._clock = clock
        self._limits = limits
        self._ahead_ms_max = round(limits.timestamp_ahead_s * 1000)
        self._openapi = openapi
        self._management = management
        self.admission = Admission(keeper, limits=limits, clock=clock)
        self.sweeper = BodySweeper(timeout_s=limits.body_timeout_s, clock=clock)
        self._batches = Batches(logs=self._logs, throttle=throttle, counters=counters, clock=clock, limits=limits)
        self.budget = ByteBudget(limits.bytes_in_flight_max)
        # one thread: each would keep a heap of its own, as large as the largest body it ever inflated
        self._inflating = ThreadPoolExecutor(1, thread_name_prefix="footfall-inflate")
        self._headers = JSON
        self._goodbye: Headers = []
        self.requests_open = 0

    def let_go(self) -> None:
        """From now on every good answer asks the sender to open a new connection for the next event."""
        self._goodbye = [("connection", "close")]
        self._headers = [*JSON, *self._goodbye]

    async def __rsgi__(self, scope: HttpScope, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(1002)
            return
        began_s = perf_counter()
        self.requests_open += 1
        status = 500
        try:
            status = await self._serve(scope, protocol)
        except Exception as error:  # the last resort: the sender gets an answer, and no detail
            # the journal writes the places without the exception's text, which may quote an event
            logger.error("unexpected error in the request handler", exc_info=error)  # noqa: TRY400
            _respond(protocol, answers.INTERNAL)
        finally:
            self.requests_open -= 1
            self._counters.answered(status, perf_counter() - began_s)

    async def _serve(self, scope: HttpScope, protocol: Any) -> int:
        """Answers; returns the status."""
        admitted = self.admission.admit(scope)
        if type(admitted) is not Admitted:
            if admitted is None:
                protocol.response_bytes(200, JSON, self._openapi)
                return 200
            assert isinstance(admitted, Refusal)  # noqa: S101  (narrows the union for the reader and the type checker)
            self._counters.refused(admitted.status)
            return await self._refuse(protocol, admitted)
        if admitted.route is Route.ERASURE:
            return await self._take_erasure(admitted, protocol)
        tally = self._counters.tally(admitted.door.platform, admitted.route.value)
        if admitted.problem is not None:
            tally.rejected += 1
            return await self._refuse(protocol, admitted.problem)
        length, key_id, is_batch = admitted.length, admitted.key_id, admitted.route is Route.BATCH
        if not self.budget.take(length, key_id=key_id, is_batch=is_batch):
            tally.unavailable += 1
            return await self._refuse(protocol, answers.TOO_MANY_BYTES)
        try:
            body = await self._body(protocol)
            if isinstance(body, Refusal):
                tally.rejected += 1
                return _respond(protocol, body)
            if admitted.encoding is None and not is_batch:  # nearly all
                return await self._take_one(body, admitted, protocol, tally)
            return await self._take_other(body, admitted, scope, protocol, tally)
        finally:
            self.budget.give_back(length, key_id=key_id, is_batch=is_batch)

    async def _body(self, protocol: Any) -> bytes | Refusal:
        """The body, whole, or why it did not come."""
        task = current_task()
        assert task is not None  # noqa: S101
        self.sweeper.watch(task)
        try:
            body: bytes = await protocol()
            return body
        except asyncio.CancelledError:
            if not self.sweeper.took(task):
                raise
            return answers.BODY_LATE
        except RuntimeError:  # RSGIProtocolClosed: the body was cut, or the sender is gone
            return answers.BODY_CUT
        finally:
            self.sweeper.release(task)

    # -- with the body

    async def _take_one(self, body: bytes, admitted: Admitted, protocol: Any, tally: Tally) -> int:
        door = admitted.door
        now_ms = self._clock.now_ms()
        answer = EMPTY_OBJECT
        iso = admitted.route is Route.SEGMENT
        try:
            if door.mode == "live":
                content, identifier = read_stored(body, now_ms=now_ms, ahead_ms_max=self._ahead_ms_max, iso_timestamps=iso)
            else:
                intake = read_event(body, now_ms=now_ms, ahead_ms_max=self._ahead_ms_max, iso_timestamps=iso)
                content, identifier = canonical(intake.event), intake.identifier
                answer = report_of(intake, now_ms=now_ms)
            wait_s = self._throttle.take(door.platform, admitted.key_id, identifier, self._clock.monotonic_s())
            if wait_s:
                tally.throttled += 1
                return _respond(protocol, answers.throttled(wait_s))
            source = b"segment" if iso else b"api"
            record = b'%b%d,"source":"%b","event":%b}' % (door.record_head, now_ms, source, content)
            await self._logs[door.mode].append(record)
        except InvalidEventError as error:
            tally.rejected += 1
            return _respond(protocol, answers.invalid(error))
        except LogError as error:
            tally.unavailable += 1
            return _respond(protocol, answers.not_stored(error))
        tally.accepted += 1
        protocol.response_bytes(200, self._headers, answer)
        return 200

    async def _take_other(self, body: bytes, admitted: Admitted, scope: HttpScope, protocol: Any, tally: Tally) -> int:
        """A body that is compressed, or a batch, or both."""
        inflation = Reservation(self.budget, key_id=admitted.key_id, is_batch=admitted.route is Route.BATCH)
        try:
            if admitted.encoding is not None:
                inflated = await self._inflated(body, admitted, inflation)
                if isinstance(inflated, Refusal):  # a body that could not be looked into counts as one event
                    if inflated.status == 503:
                        tally.unavailable += 1
                    else:
                        tally.rejected += 1
                    return _respond(protocol, inflated)
                body = inflated
            if admitted.route is not Route.BATCH:
                return await self._take_one(body, admitted, protocol, tally)
            ndjson = is_ndjson(scope.headers.get("content-type"))
            answer = await self._batches.take(body, admitted.door, key_id=admitted.key_id, ndjson=ndjson)
            if isinstance(answer, Refusal):
                return _respond(protocol, answer)
            protocol.response_bytes(200, [*answer.headers, *self._goodbye], answer.body)
            return 200
        finally:
            inflation.release()

    async def _take_erasure(self, admitted: Admitted, protocol: Any) -> int:
        """A request of the management route: no event, so none of the counts of events."""
        if admitted.problem is not None:
            return await self._refuse(protocol, admitted.problem)
        key_id = admitted.key_id
        if not self.budget.take(admitted.length, key_id=key_id, is_batch=True):  # as large as one
            return await self._refuse(protocol, answers.TOO_MANY_BYTES)
        inflation = Reservation(self.budget, key_id=key_id, is_batch=True)
        try:
            body = await self._body(protocol)
            if admitted.encoding is not None and isinstance(body, bytes):
                body = await self._inflated(body, admitted, inflation)
            if isinstance(body, Refusal):
                return _respond(protocol, classified(body))
            refusal = await self._management.erase(body, platform=admitted.door.platform, key_id=key_id)
            if refusal is not None:
                return _respond(protocol, refusal)
            protocol.response_bytes(200, self._headers, EMPTY_OBJECT)
            return 200
        finally:
            inflation.release()
            self.budget.give_back(admitted.length, key_id=key_id, is_batch=True)

    async def _inflated(self, body: bytes, admitted: Admitted, reservation: Reservation) -> bytes | Refusal:
        limits = self._limits
        bytes_max = limits.body_bytes_max
        if admitted.route is Route.BATCH:
            bytes_max = limits.batch_inflated_bytes_max
        elif admitted.route is Route.ERASURE:
            bytes_max = BODY_BYTES_MAX
        assert admitted.encoding is not None  # noqa: S101
        work = partial(
            inflate,
            body,
            admitted.encoding,
            bytes_max=bytes_max,
            ratio_max=limits.inflate_ratio_max,
            reserve=reservation.more,
        )
        try:
            if len(body) <= _INFLATE_HERE_BYTES_MAX:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._inflating, work)
        except InflateError as error:
            return answers.not_inflatable(error)

    async def _refuse(self, protocol: Any, refusal: Refusal) -> int:
        """Answers before the body was read, then reads on as long as something comes: closing at once would reset the
        connection under a sender that is still writing, who would never see the answer (3 of 20 did not, with 2 MB)."""
        _respond(protocol, refusal)
        loop = asyncio.get_running_loop()
        drained_bytes = 0
        end_s = loop.time() + _DRAIN_S_MAX
        try:
            async with asyncio.timeout(_DRAIN_PAUSE_S) as patience:
                async for chunk in protocol:
                    drained_bytes += len(chunk)
                    if not chunk or drained_bytes > _DRAIN_BYTES_MAX:
                        break
                    patience.reschedule(min(loop.time() + _DRAIN_PAUSE_S, end_s))
        except (TimeoutError, RuntimeError):  # it stopped sending, or is gone
            pass
        return refusal.status


def _respond(protocol: Any, refusal: Refusal) -> int:
    protocol.response_bytes(refusal.status, refusal.head(), refusal.body())
    return refusal.status
