"""What a receiver answers to one request: a pure decision, in the order of the real server (design 5.1).

    path 404, method 405, size 413, key 401 and 403, platform 404, form or encoding 415, JSON and rules 400, throttle 429, 200

Framing is the listener's part, since requests in memory have none. Of the server's routes the Segment one is missing, and of its
encodings zstd: no client of ours uses either.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from footfall.client.testing import answers
from footfall.client.testing.book import Arrival
from footfall.clock import Clock
from footfall.delivery.transport import Response
from footfall.errors import InvalidEventError, Violation
from footfall.events.batch import TooManyEventsError, is_ndjson, split_batch
from footfall.events.decode import decode_canonical, decode_event
from footfall.events.intake import Intake, read_batch, read_event
from footfall.events.schema import Event, Identifier
from footfall.registry.keys import is_well_formed

BODY_BYTES_MAX: Final = 64 * 1024
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
_BATCH_INFLATED_BYTES_MAX: Final = 32 * 1024 * 1024
_BATCH_EVENTS_MAX: Final = 10_000
_BATCH_EVENT_BYTES_MAX: Final = 256 * 1024
"""The defaults of the server (design 5.11)."""

_PATH_HEAD, _SINGLE_TAIL = answers.EVENTS_PATH.split("{platform}")
_BATCH_TAIL: Final = answers.BATCH_PATH.split("{platform}")[1]
_FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_GZIP_WINDOW_BITS: Final = 31

Route = Literal["single", "batch", "document"]
Throttle = Callable[[Identifier | None], float]
"""An event's identifier → the seconds its sender should wait, 0 where it may pass."""


class Asked(NamedTuple):
    """A request as a receiver sees it: the path decoded, header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, tuple[str, ...]]
    body: bytes


class Judgement(NamedTuple):
    """The answer, and what became of each event."""

    response: Response
    arrivals: list[Arrival]


class Judge:
    """Decides for one platform id and its key."""

    def __init__(self, *, platform_id: str, api_key: str, footfall: bool, clock: Clock) -> None:
        self._platform_id = platform_id
        self._api_key = api_key
        self._footfall = footfall
        self._clock = clock

    def carries_events(self, asked: Asked) -> bool:
        """Whether the request is one that brings events, well or badly."""
        return asked.method == "POST" and self._route(asked.path)[0] in ("single", "batch")

    def judge(self, asked: Asked, *, throttle: Throttle) -> Judgement:
        route, platform = self._route(asked.path)
        if route is None:
            return Judgement(self._no_such_path(), [])
        method = "GET" if route == "document" else "POST"
        if asked.method != method:
            return Judgement(answers.refused(405, f"Method Not Allowed: use {method}", headers={"allow": method}), [])
        if route == "document":
            return Judgement(answers.document(), [])
        body = self._head_refusal(asked, route, platform) or _inflated(asked, route)
        if isinstance(body, Response):
            return self._refused_whole(body, asked.body)
        if route == "batch":
            return self._batch(body, asked, throttle)
        return self._single(body, throttle)

    # -- the head

    def _route(self, path: str) -> tuple[Route | None, str]:
        if path == answers.DOCUMENT_PATH:
            return ("document" if self._footfall else None), ""
        if not path.startswith(_PATH_HEAD):
            return None, ""
        route: Route = "batch" if path.endswith(_BATCH_TAIL) and self._footfall else "single"
        tail = _BATCH_TAIL if route == "batch" else _SINGLE_TAIL
        platform = path.removeprefix(_PATH_HEAD).removesuffix(tail)
        if not path.endswith(tail) or not platform or "/" in platform:
            return None, ""
        return route, platform

    def _no_such_path(self) -> Response:
        if not self._footfall:
            return answers.not_found_by_the_original()
        message = f"Not Found: events go to POST {answers.EVENTS_PATH}, many at once to …/userevents:batch"
        return answers.refused(404, message)

    def _head_refusal(self, asked: Asked, route: Route, platform: str) -> Response | None:
        length, length_max = len(asked.body), BATCH_BYTES_MAX if route == "batch" else BODY_BYTES_MAX
        if length > length_max:
            return too_large(length, length_max)
        keys = list(asked.headers.get("x-api-key", ()))
        if not keys or not keys[0]:
            challenge = {"www-authenticate": 'ApiKey realm="footfall", header="X-API-Key"'}
            return answers.refused(401, "no API key: send it in the X-API-Key header", headers=challenge)
        if len(keys) > 1:
            return answers.refused(400, "Bad Request: the X-API-Key header must come once")
        if keys[0] != self._api_key:
            return answers.refused(403, _key_message(keys[0]))
        if platform != self._platform_id:
            return answers.refused(404, f"no platform {_shown(platform)} here: check the platform id (capitals count)")
        if _content_type(asked).partition(";")[0].strip().lower() in _FORM_TYPES:
            message = "Unsupported Media Type: form bodies are not taken; set Content-Type: application/json"
            return answers.refused(415, message)
        return None

    # -- the body

    def _single(self, body: bytes, throttle: Throttle) -> Judgement:
        now_ms = self._clock.now_ms()
        try:
            intake = read_event(body, now_ms=now_ms)
        except InvalidEventError as error:
            arrival = _refused_arrival(body, 400, error)
            return Judgement(self._invalid(error), [arrival])
        wait_s = throttle(intake.identifier)
        if wait_s:
            response = answers.refused(429, answers.THROTTLED_MESSAGE, headers=answers.retry_after(wait_s))
            return Judgement(response, [_throttled_arrival(intake.event)])
        report = answers.report_of(intake, now_ms=now_ms) if self._footfall else None
        return Judgement(answers.accepted(report), [Arrival(outcome="accepted", status=200, event=intake.event)])

    def _batch(self, body: bytes, asked: Asked, throttle: Throttle) -> Judgement:
        try:
            parts = split_batch(body, ndjson=is_ndjson(_content_type(asked)), events_max=_BATCH_EVENTS_MAX)
        except TooManyEventsError:
            message = f"the batch has more than {_BATCH_EVENTS_MAX} events: send it in parts"
            return self._refused_whole(answers.refused(413, message), body)
        except InvalidEventError as error:
            return self._refused_whole(self._invalid(error), body)
        now_ms = self._clock.now_ms()
        arrivals: list[Arrival] = []
        rejected: list[dict[str, Any]] = []
        reports: list[dict[str, Any]] = []
        longest_wait_s, left_to_list = 0.0, answers.VIOLATIONS_MAX
        for index, found in enumerate(read_batch(parts, now_ms=now_ms, bytes_max=_BATCH_EVENT_BYTES_MAX)):
            if isinstance(found, InvalidEventError):
                rejected.append(answers.rejection(index, found, listed_max=left_to_list))
                left_to_list = max(0, left_to_list - len(found.violations))
                arrivals.append(_refused_arrival(parts[index], 400, found))
                continue
            intake = Intake(decode_canonical(msgspec.json.encode(found[0])), found[1])
            wait_s = throttle(intake.identifier)
            if wait_s:
                rejected.append(answers.throttling(index))
                longest_wait_s = max(longest_wait_s, wait_s)
                arrivals.append(_throttled_arrival(intake.event))
                continue
            reports.append({"index": index, "test": answers.report_of(intake, now_ms=now_ms)})
            arrivals.append(Arrival(outcome="accepted", status=200, event=intake.event))
        return Judgement(answers.batch_answer(len(reports), rejected=rejected, reports=reports, wait_s=longest_wait_s), arrivals)

    def _invalid(self, error: InvalidEventError) -> Response:
        return answers.refused(400, error.message, violations=error.violations if self._footfall else ())

    def _refused_whole(self, response: Response, body: bytes) -> Judgement:
        """A request that was refused without a look at its events counts as one arrival."""
        message = str(msgspec.json.decode(response.body)["message"])
        arrival = Arrival(outcome="refused", status=response.status, event=_understood(body), message=message)
        return Judgement(response, [arrival])


def too_large(length: int, length_max: int) -> Response:
    """The answer to a body that is not looked into."""
    return answers.refused(
        413, f"the body has {length} bytes, at most {length_max} are taken: send fewer events or items a request"
    )


def _inflated(asked: Asked, route: Route) -> bytes | Response:
    named = list(asked.headers.get("content-encoding", ()))
    encoding = named[0].strip().lower() if len(named) == 1 else "," if named else ""
    if encoding in ("", "identity"):
        return asked.body
    if encoding not in ("gzip", "x-gzip"):
        message = "Unsupported Media Type: this Content-Encoding is not taken; send gzip, zstd, or the body uncompressed"
        if encoding == "zstd":
            message = "Unsupported Media Type: a receiver for tests inflates gzip only"
        return answers.refused(415, message, headers={"accept-encoding": "gzip, zstd"})
    bytes_max = _BATCH_INFLATED_BYTES_MAX if route == "batch" else BODY_BYTES_MAX
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        inflated = inflater.decompress(asked.body, bytes_max + 1)
    except zlib.error:
        inflated = b""
    if len(inflated) > bytes_max:
        return answers.refused(413, f"the body inflates to more than {bytes_max} bytes: send fewer events or items a request")
    if not inflater.eof or inflater.unused_data:
        violation = Violation("", "the body is damaged, or is no gzip", "compression_corrupt")
        return answers.refused(400, "the body cannot be decompressed", violations=(violation,))
    return inflated


def _refused_arrival(body: bytes, status: int, error: InvalidEventError) -> Arrival:
    return Arrival(outcome="refused", status=status, event=_understood(body), message=error.message, violations=error.violations)


def _throttled_arrival(event: Event) -> Arrival:
    return Arrival(outcome="throttled", status=429, event=event, message=answers.THROTTLED_MESSAGE)


def _understood(body: bytes) -> Event | None:
    """The event as far as it is one, to show what was refused."""
    try:
        return decode_event(body)
    except InvalidEventError:
        return None


def _key_message(key: str) -> str:
    if key.startswith(("footfall_live_", "footfall_test_")) and not is_well_formed(key):
        return "API key not accepted: its check characters do not match, so it was cut or mistyped; copy it again, whole"
    return "API key not accepted: unknown here; use the key that was made for this platform id"


def _shown(platform: str) -> str:
    return ascii(platform if len(platform) <= 80 else platform[:80] + "…")


def _content_type(asked: Asked) -> str:
    return (asked.headers.get("content-type") or ("",))[0]
