"""What a receiver answered, as a value or an exception.

Answers come from more than the service: from proxies that speak HTML, from load balancers that say nothing. The status alone
decides what happened; the body only adds words, and is read as far as it makes sense. A receiver that quotes an event in its
message must not put a shopper into a log, so the identifiers of the event and the key are struck out of every text.
"""

from __future__ import annotations

import http
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from footfall.delivery.transport import Response
from footfall.errors import (
    ApiError,
    BadRequestError,
    ForbiddenError,
    InternalServerError,
    MethodNotAllowedError,
    NotFoundError,
    RejectedError,
    TooManyRequestsError,
    UnauthorizedError,
    Violation,
)
from footfall.events.schema import Event, QualityWarning

MESSAGE_CHARS_MAX: Final = 1000
VIOLATIONS_MAX: Final = 256

_CURES: Final = {
    401: "no API key arrived; a proxy on the way may drop the X-API-Key header",
    403: "the key was not accepted for this platform id; keys of the test and the live platform may differ",
    404: "the address or the platform id is wrong; look at platform_name, region or base_url, and platform_id",
    405: "POST is not taken there; look at base_url, and at proxies on the way",
    413: "the event is too large",
    429: "too many events; often all visitors share one default identifier",
}


class ReportedIdentifier(msgspec.Struct, frozen=True, kw_only=True):
    """The identifier an event was counted under: its kind, such as `user_id` or `device.persistent_id`, not its value."""

    kind: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a Footfall test platform understood an event, and what is weak in it. `repr` leaves the event out."""

    event: Event
    """As it would have been stored: normalised names and types."""
    identifier: ReportedIdentifier | None = None
    """None for an event without identifiers (ID_LESS)."""
    warnings: tuple[QualityWarning, ...] = ()
    cases: tuple[str, ...] = ()
    """Which cases of the go-live table this event shows, such as `purchase`."""

    def __repr__(self) -> str:
        return f"Report(identifier={self.identifier!r}, warnings={len(self.warnings)}, cases={self.cases!r})"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The event was accepted. `status` is the 2xx that said so, `body` the bytes with it, which mean nothing more.

    `report` is there when a Footfall test platform answered, and None otherwise.
    """

    status: int
    body: bytes
    report: Report | None = None

    def __repr__(self) -> str:
        return f"Answer(status={self.status}, report={self.report!r})"


class _TestAnswer(msgspec.Struct, frozen=True):
    test: Report


_decode_test = msgspec.json.Decoder(_TestAnswer).decode
_decode_any = msgspec.json.Decoder().decode
_DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


def answer_of(response: Response, *, secrets: Collection[str], now_ms: int) -> Answer:
    """The answer where the status is 2xx; otherwise raises the ApiError for it. `now_ms` reads `Retry-After` dates."""
    if 200 <= response.status < 300:
        return Answer(status=response.status, body=response.body, report=_report(response.body))
    raise error_of(response, secrets=secrets, now_ms=now_ms)


def error_of(response: Response, *, secrets: Collection[str], now_ms: int) -> ApiError:
    """The exception a refusal stands for. `secrets` are struck out of its texts."""
    status = response.status
    body = _object(response.body)
    message = _message(response, body, secrets)
    retry_after_s = retry_after(response.headers.get("retry-after", ""), now_ms=now_ms)
    if status >= 500:
        return InternalServerError(message, status=status, retry_after_s=retry_after_s)
    if status == 429:
        return TooManyRequestsError(message, retry_after_s=retry_after_s)
    if status == 400:
        return BadRequestError(message, violations=violations_in(body, secrets))
    return _CLASSES.get(status, RejectedError)(message, status=status)


_CLASSES: Final[dict[int, type[RejectedError]]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
}


def retry_after(value: str, *, now_ms: int) -> float | None:
    """The seconds a `Retry-After` header asks for, given as seconds or as a date; None where it says nothing readable."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # only refusals pay for it

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_ms / 1000)
    except (ValueError, OverflowError):
        return None


def _report(body: bytes) -> Report | None:
    if b'"test"' not in body:
        return None
    try:
        return _decode_test(body).test
    except _DECODE_ERRORS:
        return None  # somebody else's answer; the event is accepted all the same


def _object(body: bytes) -> dict[str, Any]:
    try:
        decoded = _decode_any(body)
    except _DECODE_ERRORS:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _message(response: Response, body: dict[str, Any], secrets: Collection[str]) -> str:
    said = body.get("message")
    if isinstance(said, str) and said.strip():
        return safe(said, secrets)
    status = response.status
    if 300 <= status < 400:
        elsewhere = _origin(response.headers.get("location", ""))
        return f"the receiver redirects ({status}) to {elsewhere}; the key is not carried there, so correct base_url"
    phrase = http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else "an unknown status"
    kind = response.headers.get("content-type", "").partition(";")[0]
    came = f"{len(response.body)} bytes of {safe(kind, ()) or 'an unnamed type'}" if response.body else "nothing"
    return f"{_CURES.get(status, 'the receiver gave no reason')} ({status} {phrase}, with {came})"


def _origin(location: str) -> str:
    """Scheme and host only: a query may repeat anything."""
    try:
        parts = urlsplit(location)
        host = parts.hostname
    except ValueError:
        return "another path"
    return f"{parts.scheme or 'https'}://{safe(host, ())}" if host else "another path"


def violations_in(body: dict[str, Any], secrets: Collection[str]) -> tuple[Violation, ...]:
    """What `google.rpc.BadRequest` details list, in either spelling; whatever does not fit is passed over."""
    details = body.get("details")
    found: list[Violation] = []
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict) or not str(detail.get("@type", "")).endswith("google.rpc.BadRequest"):
            continue
        listed = detail.get("field_violations", detail.get("fieldViolations"))
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, dict):
                field, description, reason = (
                    safe(str(entry.get(key) or ""), secrets) for key in ("field", "description", "reason")
                )
                found.append(Violation(field, description, reason))
    return tuple(found[:VIOLATIONS_MAX])


def safe(text: str, secrets: Collection[str]) -> str:
    """One printable line without what must not be logged."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return "".join(char if char.isprintable() else " " for char in text[:MESSAGE_CHARS_MAX]).strip()
