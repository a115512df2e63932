"""What the head of a request alone decides: checks 1 to 7 of design 5.1, in that order, before a byte of the body is read."""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple, Protocol

from footfall.clock import Clock
from footfall.registry.keys import digest, is_well_formed
from footfall.registry.snapshot import ApiKey, Scope
from footfall.server import answers
from footfall.server.answers import BATCH_PATH, ERASURE_PATH, EVENTS_PATH, OPENAPI_PATH, SEGMENT_PATH, Refusal
from footfall.server.budget import share_of
from footfall.server.inflate import ENCODINGS
from footfall.server.management import BODY_BYTES_MAX
from footfall.server.settings import LimitSettings
from footfall.server.state import Door, DoorKeeper

_PATH_HEAD, _PATH_TAIL = EVENTS_PATH.split("{platform}")
_BATCH_TAIL: Final = BATCH_PATH.removeprefix(_PATH_HEAD + "{platform}")
_ERASURE_HEAD, _ERASURE_TAIL = ERASURE_PATH.split("{platform_id}")
_FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_ENCODINGS: Final = {"": None, "identity": None, **{name: name for name in ENCODINGS}}


class Route(enum.Enum):
    """The three ways events come in, where the value is the `source` of their records, and the one to have them erased."""

    SINGLE = "api"
    BATCH = "batch"
    SEGMENT = "segment"
    ERASURE = "erasure"


class HttpScope(Protocol):
    """What is used of an RSGI scope."""

    proto: str
    method: str
    path: str
    headers: Any


class Admitted(NamedTuple):
    """A request of a known sender: `length` bytes are announced, `encoding` says how they are compressed. `problem`: what is
    wrong with the head all the same, and counts as this platform's."""

    door: Door
    route: Route
    key_id: str
    length: int
    encoding: str | None
    problem: Refusal | None


class Admission:
    """The doorman of one worker."""

    def __init__(self, keeper: DoorKeeper, *, limits: LimitSettings, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        # what could never be reserved is too large, not "try again"
        self._body_bytes_max = min(limits.body_bytes_max, share_of(limits.bytes_in_flight_max))
        self._batch_bytes_max = min(limits.batch_bytes_max, share_of(limits.bytes_in_flight_max))
        self._erasure_bytes_max = min(BODY_BYTES_MAX, share_of(limits.bytes_in_flight_max))
        self.keys_used: dict[str, int] = {}
        """key id → last use in Unix milliseconds; taken and emptied by whoever writes it to the registry"""

    def admit(self, scope: HttpScope) -> Admitted | Refusal | None:
        """The request with its sender, or why it is nobody's. None: it asks for the OpenAPI document, which needs no key."""
        path = scope.path
        if path.startswith(_PATH_HEAD):
            if path.endswith(_PATH_TAIL):
                route, platform = Route.SINGLE, path[len(_PATH_HEAD) : -len(_PATH_TAIL)]
            elif path.endswith(_BATCH_TAIL):
                route, platform = Route.BATCH, path[len(_PATH_HEAD) : -len(_BATCH_TAIL)]
            else:
                return answers.NO_SUCH_PATH
            if not platform or "/" in platform:
                return answers.NO_SUCH_PATH
        elif path == SEGMENT_PATH:
            route, platform = Route.SEGMENT, ""
        elif path.startswith(_ERASURE_HEAD) and path.endswith(_ERASURE_TAIL):
            route, platform = Route.ERASURE, path[len(_ERASURE_HEAD) : -len(_ERASURE_TAIL)]
            if not platform or "/" in platform:
                return answers.NO_SUCH_PATH
        else:
            return _other(scope)
        if scope.method != "POST":
            return answers.method_not_allowed("POST")
        return self._admit_sender(scope.headers, route, platform)

    def _admit_sender(self, headers: Any, route: Route, platform: str) -> Admitted | Refusal:
        length = self._length(headers, route)
        if isinstance(length, Refusal):
            return length
        if self._keeper.stopping:
            return answers.STOPPING
        keys = headers.get_all("x-api-key")
        if not keys or not keys[0]:
            return answers.NO_KEY
        if len(keys) > 1:  # which of them a proxy in front believed, nobody knows
            return answers.KEY_TWICE
        key = keys[0]
        now_ms = self._clock.now_ms()
        known = self._keeper.keys.get(digest(key))
        needed: Scope = "manage" if route is Route.ERASURE else "ingest"
        if known is None or not known.is_active(now_ms) or known.scope != needed:
            return _key_refusal(key, known, needed=needed)
        if route is Route.SEGMENT:
            platform = headers.get("x-platform-id") or ""
        door = self._keeper.doors.get(platform)
        if door is None:
            return answers.unknown_platform(platform) if platform else answers.NO_PLATFORM_HEADER
        if known.platform != platform:
            return answers.foreign_key(platform, known.platform)
        if door.disabled and route is not Route.ERASURE:  # what is stored stays, and with it the right to have it erased
            return answers.platform_disabled(platform)
        self.keys_used[known.id] = now_ms
        content_type, encoding = headers.get("content-type"), headers.get("content-encoding")
        problem = None
        if content_type is not None and content_type.partition(";")[0].strip().lower() in _FORM_TYPES:
            problem = answers.FORM_BODY
        elif encoding is not None:
            encoding = _encoding(headers)
            if encoding is _UNKNOWN:
                problem = answers.ENCODED_BODY
        return Admitted(door, route, known.id, length, encoding, problem)

    def _length(self, headers: Any, route: Route) -> int | Refusal:
        """The announced length, or what is wrong with the framing."""
        if len(headers.get_all("host")) != 1:
            return answers.HOST_HEADER
        length = headers.get("content-length")
        # the parser lets CL+TE pass as TE: where both could be meant, neither is believed
        if length is None or not length.isdecimal() or "transfer-encoding" in headers:
            return answers.LENGTH_REQUIRED
        length_max = self._body_bytes_max
        if route is Route.BATCH:
            length_max = self._batch_bytes_max
        elif route is Route.ERASURE:
            length_max = self._erasure_bytes_max
        if int(length) > length_max:
            return answers.too_large(int(length), length_max)
        return int(length)


_UNKNOWN: Final = "?"


def _other(scope: HttpScope) -> Refusal | None:
    if scope.path != OPENAPI_PATH:
        return answers.NO_SUCH_PATH
    if scope.method != "GET":
        return answers.method_not_allowed("GET")
    return None if len(scope.headers.get_all("host")) == 1 else answers.HOST_HEADER


def _encoding(headers: Any) -> str | None:
    named = headers.get_all("content-encoding")
    return _ENCODINGS.get(named[0].strip().lower(), _UNKNOWN) if len(named) == 1 else _UNKNOWN


def _key_refusal(key: str, known: ApiKey | None, *, needed: Scope) -> Refusal:
    if known is None:
        ours = key.startswith(("footfall_live_", "footfall_test_"))
        return answers.KEY_MALFORMED if ours and not is_well_formed(key) else answers.KEY_UNKNOWN
    if known.revoked_at is not None:
        return answers.KEY_REVOKED
    if known.scope != needed:
        return answers.key_without_scope(known.scope, needed=needed)
    return answers.KEY_EXPIRED
