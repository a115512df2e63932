"""The public listener: takes an event, answers for it. This is the hot path.

The order of checks is a contract (design 5.1): everything the head of a request can decide is decided before a byte of the body
is read. 200 leaves this module only after the log said the record is durable.

Facts of Granian this code stands on (measured; see docs/architecture.md):
- `await protocol()` raises on a body that was cut; the streaming iterator calls it complete. Only the first is used to take an
  event; the second only to throw away what a refused sender is still sending, so that it gets to read the answer.
- it has no limit of size or time: the size comes from Content-Length, the time from `BodySweeper`.
- paths arrive percent-decoded, header names in lower case, doubled headers doubled.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any, Final, Protocol

from footfall.clock import Clock
from footfall.errors import InvalidEventError, LogError, LogFullError
from footfall.events.decode import canonical
from footfall.events.intake import read_event
from footfall.log.group_commit import GroupCommit
from footfall.registry.keys import digest, is_well_formed
from footfall.registry.snapshot import ApiKey
from footfall.server import answers
from footfall.server.answers import EMPTY_OBJECT, JSON, Refusal
from footfall.server.report import report_of
from footfall.server.settings import LimitSettings
from footfall.server.state import Door, DoorKeeper
from footfall.server.sweeper import BodySweeper

logger = logging.getLogger("footfall.server")

_PATH_HEAD: Final = "/rmp/event/v1/platforms/"
_PATH_TAIL: Final = "/userevents"
_OPENAPI_PATH: Final = "/openapi.json"
_FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_DRAIN_BYTES_MAX: Final = 16 * 1024 * 1024
_DRAIN_PAUSE_S: Final = 0.3
_DRAIN_S_MAX: Final = 10.0
"""How much of a refused body is read and thrown away, until which pause, and for how long, before the connection is left."""


class HttpScope(Protocol):
    """What is used of an RSGI scope."""

    proto: str
    method: str
    path: str
    headers: Any


class IngestApp:
    """The RSGI application of one worker. One event loop, no locks."""

    def __init__(
        self,
        *,
        keeper: DoorKeeper,
        live: GroupCommit,
        test: GroupCommit,
        clock: Clock,
        limits: LimitSettings,
        openapi: bytes,
    ) -> None:
        self._keeper = keeper
        self._logs = {"live": live, "test": test}
        self._clock = clock
        self._body_bytes_max = limits.body_bytes_max
        self._bytes_in_flight_max = limits.bytes_in_flight_max
        self._ahead_ms_max = round(limits.timestamp_ahead_s * 1000)
        self._openapi = openapi
        self._bytes_in_flight = 0
        self.sweeper = BodySweeper(timeout_s=limits.body_timeout_s, clock=clock)
        self.requests_open = 0
        self.keys_used: dict[str, int] = {}
        """key id → last use in Unix milliseconds; taken and emptied by whoever writes it to the registry"""

    async def __rsgi__(self, scope: HttpScope, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(1002)
            return
        self.requests_open += 1
        try:
            await self._serve(scope, protocol)
        except Exception as error:  # noqa: BLE001  (the last resort: the sender gets an answer, and no detail)
            # the places without the exception's text, which may quote an event
            places = "".join(traceback.format_tb(error.__traceback__))
            logger.error("unexpected %s in the request handler\n%s", type(error).__name__, places)  # noqa: TRY400
            _respond(protocol, answers.INTERNAL)
        finally:
            self.requests_open -= 1

    async def _serve(self, scope: HttpScope, protocol: Any) -> None:
        if scope.path == _OPENAPI_PATH and scope.method == "GET":
            protocol.response_bytes(200, JSON, self._openapi)
            return
        admission = self._admit(scope)
        if type(admission) is Door:
            length = int(scope.headers.get("content-length"))
            if self._bytes_in_flight + length <= self._bytes_in_flight_max:
                self._bytes_in_flight += length
                try:
                    await self._take(admission, protocol)
                finally:
                    self._bytes_in_flight -= length
                return
            admission = answers.TOO_MANY_BYTES
        assert isinstance(admission, Refusal)  # noqa: S101  (narrows the union for the reader and the type checker)
        _respond(protocol, admission)
        await self._drain(protocol)

    # -- from the head alone

    def _admit(self, scope: HttpScope) -> Door | Refusal:
        """The door this request may use, or why not: checks 1 to 7 of design 5.1, in that order."""
        path = scope.path
        if not (path.startswith(_PATH_HEAD) and path.endswith(_PATH_TAIL)):
            return answers.method_not_allowed("GET") if path == _OPENAPI_PATH else answers.NO_SUCH_PATH
        platform = path[len(_PATH_HEAD) : -len(_PATH_TAIL)]
        if not platform or "/" in platform:
            return answers.NO_SUCH_PATH
        if scope.method != "POST":
            return answers.method_not_allowed("POST")
        headers = scope.headers
        framing = self._framing_refusal(headers)
        if framing is not None:
            return framing
        if self._keeper.stopping:
            return answers.STOPPING
        key = headers.get("x-api-key")
        if not key:
            return answers.NO_KEY
        now_ms = self._clock.now_ms()
        known = self._keeper.keys.get(digest(key))
        if known is None or not known.is_active(now_ms) or known.scope != "ingest":
            return _key_refusal(key, known)
        door = self._keeper.doors.get(platform)
        if door is None:
            return answers.unknown_platform(platform)
        if known.platform != platform:
            return answers.foreign_key(platform, known.platform)
        if door.disabled:
            return answers.platform_disabled(platform)
        self.keys_used[known.id] = now_ms
        return _content_refusal(headers) or door

    def _framing_refusal(self, headers: Any) -> Refusal | None:
        if len(headers.get_all("host")) != 1:
            return answers.HOST_HEADER
        length = headers.get("content-length")
        # the parser lets CL+TE pass as TE: where both could be meant, neither is believed
        if length is None or not length.isdecimal() or "transfer-encoding" in headers:
            return answers.LENGTH_REQUIRED
        if int(length) > self._body_bytes_max:
            return answers.too_large(int(length), self._body_bytes_max)
        return None

    # -- with the body

    async def _take(self, door: Door, protocol: Any) -> None:
        body = await self._read_body(protocol)
        if type(body) is not bytes:
            assert isinstance(body, Refusal)  # noqa: S101
            _respond(protocol, body)
            return
        now_ms = self._clock.now_ms()
        try:
            intake = read_event(body, now_ms=now_ms, ahead_ms_max=self._ahead_ms_max)
            record = b'%b%d,"source":"api","event":%b}' % (door.record_head, now_ms, canonical(intake.event))
            await self._logs[door.mode].append(record)
        except InvalidEventError as error:
            _respond(protocol, answers.invalid(error))
        except LogFullError:  # the reason holds paths and sizes: it stands in /readyz, for the operator
            _respond(protocol, answers.NO_ROOM)
        except LogError:
            _respond(protocol, answers.NOT_KNOWN_STORED)
        else:
            answer = EMPTY_OBJECT if door.mode == "live" else report_of(intake, now_ms=now_ms)
            protocol.response_bytes(200, JSON, answer)

    async def _read_body(self, protocol: Any) -> bytes | Refusal:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self.sweeper.watch(task)
        try:
            body: bytes = await protocol()
        except asyncio.CancelledError:
            if not self.sweeper.took(task):
                raise
            return answers.BODY_LATE
        except RuntimeError:  # RSGIProtocolClosed: the body was cut, or the sender is gone
            return answers.BODY_CUT
        finally:
            self.sweeper.release(task)
        return body

    async def _drain(self, protocol: Any) -> None:
        """Reads on after a refusal, as long as something comes: closing at once would reset the connection under a sender that is
        still writing, and it would never see the answer (3 of 20 did not, with a 2 MB body on loopback)."""
        loop = asyncio.get_running_loop()
        drained_bytes = 0
        end_s = loop.time() + _DRAIN_S_MAX
        try:
            async with asyncio.timeout(_DRAIN_PAUSE_S) as patience:
                async for chunk in protocol:
                    drained_bytes += len(chunk)
                    if not chunk or drained_bytes > _DRAIN_BYTES_MAX:
                        return
                    patience.reschedule(min(loop.time() + _DRAIN_PAUSE_S, end_s))
        except (TimeoutError, RuntimeError):  # it stopped sending, or is gone
            return


def _key_refusal(key: str, known: ApiKey | None) -> Refusal:
    if known is None:
        ours = key.startswith(("footfall_live_", "footfall_test_"))
        return answers.KEY_MALFORMED if ours and not is_well_formed(key) else answers.KEY_UNKNOWN
    if known.revoked_at is not None:
        return answers.KEY_REVOKED
    if known.scope != "ingest":
        return answers.key_without_scope(known.scope)
    return answers.KEY_EXPIRED


def _content_refusal(headers: Any) -> Refusal | None:
    content_type = headers.get("content-type")
    if content_type is not None and content_type.partition(";")[0].strip().lower() in _FORM_TYPES:
        return answers.FORM_BODY
    encoding = headers.get("content-encoding")
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        return answers.ENCODED_BODY
    return None


def _respond(protocol: Any, refusal: Refusal) -> None:
    protocol.response_bytes(refusal.status, refusal.head(), refusal.body())
