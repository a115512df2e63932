"""What the server says: the refusals of the door, their words, and the bytes of every answer.

Order, status, code and wording are the contract of design sections 5.1 to 5.3. A refusal is a value; nothing here knows the
protocol object it will be written to.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from footfall.errors import GRPC_CODES, InvalidEventError, LogError, LogFullError, Violation
from footfall.registry.snapshot import Scope
from footfall.server.inflate import InflateError

Headers = list[tuple[str, str]]

JSON: Final[Headers] = [("content-type", "application/json")]
EMPTY_OBJECT: Final = b"{}"
"""The whole answer of a live platform: a JSON object without `code`, which mcm-cli would take for an error."""

_BAD_REQUEST_TYPE: Final = "type.googleapis.com/google.rpc.BadRequest"
_encode: Final = msgspec.json.Encoder().encode


class Refusal(msgspec.Struct, frozen=True):
    """An answer other than 200. `close`: the connection ends after it, because the rest of the request will not be read."""

    status: int
    message: str
    violations: tuple[Violation, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    category: str = ""
    """stands in each of `details`, on the routes whose published document wants one"""

    def body(self) -> bytes:
        listed = details(self.violations, category=self.category)
        return _encode({"code": GRPC_CODES[self.status], "message": self.message, "details": listed})

    def head(self) -> Headers:
        return [*JSON, *self.headers, *([("connection", "close")] if self.close else [])]


def details(violations: tuple[Violation, ...], *, category: str = "") -> list[dict[str, Any]]:
    if not violations:
        return []
    categorized = {"type": _BAD_REQUEST_TYPE, "category": category} if category else {}
    return [{"@type": _BAD_REQUEST_TYPE, **categorized, "field_violations": violations}]


EVENTS_PATH: Final = "/rmp/event/v1/platforms/{platform}/userevents"
BATCH_PATH: Final = EVENTS_PATH + ":batch"
SEGMENT_PATH: Final = "/cdp/SEGMENT"
ERASURE_PATH: Final = "/rmp/mgmt/v1/platforms/{platform_id}/data-deletion-requests/user-events"
OPENAPI_PATH: Final = "/openapi.json"

NO_SUCH_PATH: Final = Refusal(404, f"Not Found: events go to POST {EVENTS_PATH}, many at once to …/userevents:batch", close=True)
HOST_HEADER: Final = Refusal(400, "Bad Request: the Host header must come exactly once", close=True)
LENGTH_REQUIRED: Final = Refusal(
    411, "Length Required: send the body with a Content-Length header and without Transfer-Encoding", close=True
)
NO_KEY: Final = Refusal(
    401,
    "no API key: send it in the X-API-Key header",
    headers=(("www-authenticate", 'ApiKey realm="footfall", header="X-API-Key"'),),
)
KEY_TWICE: Final = Refusal(400, "Bad Request: the X-API-Key header must come once", close=True)
NO_PLATFORM_HEADER: Final = Refusal(404, "no platform: send its id in the x-platform-id header")
KEY_UNKNOWN: Final = Refusal(403, "API key not accepted: unknown here; use the key that was made for this platform id")
KEY_MALFORMED: Final = Refusal(
    403, "API key not accepted: its check characters do not match, so it was cut or mistyped; copy it again, whole"
)
KEY_REVOKED: Final = Refusal(403, "API key not accepted: it was revoked; make a new one with `footfall key create`")
KEY_EXPIRED: Final = Refusal(403, "API key not accepted: it has expired; make a new one with `footfall key create`")
FORM_BODY: Final = Refusal(415, "Unsupported Media Type: form bodies are not taken; set Content-Type: application/json")
ENCODED_BODY: Final = Refusal(
    415,
    "Unsupported Media Type: this Content-Encoding is not taken; send gzip, zstd, or the body uncompressed",
    headers=(("accept-encoding", "gzip, zstd"),),
)
BODY_LATE: Final = Refusal(408, "Request Timeout: the body did not arrive in time; send it again", close=True)
BODY_CUT: Final = Refusal(
    400,
    "the body ended before its Content-Length",
    violations=(Violation("", "The connection ended in the middle of the body: send the event again, whole.", "body_truncated"),),
    close=True,
)
TOO_MANY_BYTES: Final = Refusal(503, "the server is holding too many bodies at once: try again", headers=(("retry-after", "1"),))
NO_ROOM: Final = Refusal(
    503, "not stored, there is no room just now: keep the event and send it again", headers=(("retry-after", "5"),)
)
NOT_KNOWN_STORED: Final = Refusal(
    503, "not known to be stored: send it again with the same id and timestamp", headers=(("retry-after", "5"),)
)
ERASURE_NOT_RECORDED: Final = Refusal(
    503, "the erasure is not known to be recorded: send the request again", headers=(("retry-after", "5"),)
)
MANAGEMENT_BUSY: Final = Refusal(
    503, "too many erasure requests are waiting: send the request again", headers=(("retry-after", "5"),)
)
THROTTLED_MESSAGE: Final = "request denied by throttler, try again later"
"""In the documented wording (protocol notes, section 10)."""
STOPPING: Final = Refusal(503, "the server is stopping: try again", headers=(("retry-after", "1"),), close=True)
INTERNAL: Final = Refusal(500, "internal error; the event may or may not be stored: send it again with the same id and timestamp")


def method_not_allowed(allow: str) -> Refusal:
    return Refusal(405, f"Method Not Allowed: use {allow}", headers=(("allow", allow),), close=True)


def too_large(length: int, length_max: int) -> Refusal:
    return Refusal(
        413,
        f"the body has {length} bytes, at most {length_max} are taken: send fewer events or items a request",
        close=True,
    )


def not_inflatable(error: InflateError) -> Refusal:
    if error.status == 503:
        return TOO_MANY_BYTES
    if error.status == 413:
        return Refusal(413, f"{error.message}: send fewer events or items a request")
    return Refusal(
        400, "the body cannot be decompressed", violations=(Violation("", error.message, f"compression_{error.reason}"),)
    )


def too_many_events(count_max: int) -> Refusal:
    return Refusal(413, f"the batch has more than {count_max} events: send it in parts")


def not_stored(error: LogError) -> Refusal:
    """The reason holds paths and sizes: it stands in /readyz, for the operator."""
    return NO_ROOM if isinstance(error, LogFullError) else NOT_KNOWN_STORED


def too_large_stored(events: int) -> Refusal:
    return Refusal(413, f"the {events} events are too large to be stored in one write: send the batch in halves")


def throttled(wait_s: float) -> Refusal:
    """`wait_s` until the sender's bucket has room again."""
    return Refusal(429, THROTTLED_MESSAGE, headers=(retry_after(wait_s),))


def retry_after(wait_s: float) -> tuple[str, str]:
    """The header in whole seconds, one at least."""
    return "retry-after", str(max(1, math.ceil(wait_s)))


def key_without_scope(scope: str, *, needed: Scope = "ingest") -> Refusal:
    what = "asking for erasure" if needed == "manage" else "sending events"
    return Refusal(403, f"this API key has the scope {scope}: {what} needs one made with `--scope {needed}`")


def unknown_platform(platform: str) -> Refusal:
    return Refusal(404, f"no platform {_shown(platform)} here: check the platform id (capitals count)")


def platform_disabled(platform: str) -> Refusal:
    return Refusal(403, f"platform {platform} is disabled: ask whoever runs this server")


def foreign_key(platform: str, key_platform: str) -> Refusal:
    cure = "a test id and its live id have a key each" if _pair(platform) == _pair(key_platform) else "check both"
    return Refusal(403, f"this API key was made for platform {key_platform}, the request names {platform}: {cure}")


def invalid(error: InvalidEventError) -> Refusal:
    return Refusal(400, error.message, violations=error.violations)


def _shown(platform: str) -> str:
    """A platform id as it came, shortened and made printable: it is a stranger's text."""
    return ascii(platform if len(platform) <= 80 else platform[:80] + "…")


def _pair(platform: str) -> str:
    return platform.removesuffix("_TEST")
