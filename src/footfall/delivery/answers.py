"""What an answer says, beyond its status: hints, words, and what became of each event of a batch.

Answers come from more than the service: from proxies that speak HTML, from load balancers that say nothing. The body only adds
words, and is read as far as it makes sense. A receiver that quotes an event in its message must not put a shopper into a log, so
whoever asks for words names what is struck out of them: the key, and the values of the event (`values_in`).

A batch is answered 200 with `{"accepted": n, "rejected": [{"index", "code", "message"}…]}`; who is not rejected is accepted. An
answer that does not speak of each event exactly once is none: nobody knows what became of them.
"""

from __future__ import annotations

import http
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from footfall.delivery.transport import Response
from footfall.errors import GRPC_CODES, NetworkError
from footfall.events.schema import CHANNEL_TYPES, EVENT_TYPES

MESSAGE_CHARS_MAX: Final = 1000
SECRET_CHARS_MIN: Final = 4
"""Shorter values say nothing about anybody, and striking them out would eat the words of a message."""
_SECRETS_MAX: Final = 500
"""To strike out more takes too long; what quotes such an event is not repeated at all."""

_CURES: Final = {
    401: "no API key arrived; a proxy on the way may drop the X-API-Key header",
    403: "the key was not accepted for this platform id; keys of the test and the live platform may differ",
    404: "the address or the platform id is wrong; look at platform_name, region or base_url, and platform_id",
    405: "POST is not taken there; look at base_url, and at proxies on the way",
    407: "a proxy on the way asks for a user and a password; they go into proxy=",
    413: "the event is too large",
    429: "too many events; often all visitors share one default identifier",
}
"""What a status most likely means, for a receiver that gives no reason."""
_REMEDIES: Final = _CURES | {
    401: "no API key arrived: send one; if one was sent, a proxy on the way drops the X-API-Key header",
    403: "the key does not open this platform: it has expired, was revoked, or belongs to another platform id "
    "(test and live ids have keys of their own)",
}
_STATUSES: Final = {code: status for status, code in reversed(GRPC_CODES.items())}
"""The `code` of a rejected event → the status it would have had alone."""

_decode_any: Final = msgspec.json.Decoder().decode
DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


# -- hints


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


# -- words


def said_in(body: bytes, *, secrets: Collection[str]) -> str:
    """The receiver's own message, as one safe line; empty where it has none."""
    try:
        decoded = _decode_any(body)
    except DECODE_ERRORS:
        return ""
    said = decoded.get("message") if isinstance(decoded, dict) else None
    return safe(said, secrets) if isinstance(said, str) else ""


def message_of(response: Response, *, secrets: Collection[str] | None) -> str:
    """Why: in the receiver's words, or else in ours, from the status; in ours where `secrets` is None."""
    said = said_in(response.body, secrets=secrets) if secrets is not None else ""
    return said or _in_our_words(response, _CURES)


def remedy_of(result: Response | NetworkError, *, secrets: Collection[str] | None) -> str:
    """What is wrong with the whole stream and what mends it, for an operator, once. The receiver's own words are added unless
    `secrets` is None, as where there is too much to strike out."""
    if isinstance(result, NetworkError):
        return safe(result.message, secrets or ())
    ours = _in_our_words(result, _REMEDIES)
    said = said_in(result.body, secrets=secrets) if secrets is not None else ""
    return f"{ours}; it says: {said}" if said else ours


def safe(text: str, secrets: Collection[str]) -> str:
    """One printable line without what must not be logged."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return "".join(char if char.isprintable() else " " for char in text[:MESSAGE_CHARS_MAX]).strip()


def values_in(event: bytes) -> list[str] | None:
    """Every value of an event that a message must not repeat: all texts and long numbers but the names of its types. None where
    they are too many, or the event cannot be read: then nothing that a receiver says about it may be repeated.

    The longest come first, so that a value which is part of another leaves no rest of it behind.
    """
    try:
        decoded = _decode_any(event)
    except DECODE_ERRORS:
        return None
    found: set[str] = set()
    _collect(decoded, found)
    if len(found) > _SECRETS_MAX:
        return None
    return sorted(found - EVENT_TYPES - CHANNEL_TYPES, key=len, reverse=True)


def _collect(value: Any, found: set[str]) -> None:
    if len(found) > _SECRETS_MAX:
        return
    if isinstance(value, dict):
        for member in value.values():
            _collect(member, found)
    elif isinstance(value, list):
        for member in value:
            _collect(member, found)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        text = str(value)
        if len(text) >= SECRET_CHARS_MIN:
            found.add(text)


def _in_our_words(response: Response, cures: dict[int, str]) -> str:
    status = response.status
    if 300 <= status < 400:
        elsewhere = _origin(response.headers.get("location", ""))
        return f"the receiver redirects ({status}) to {elsewhere}; the key is not carried there, so correct base_url"
    phrase = http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else "an unknown status"
    kind = response.headers.get("content-type", "").partition(";")[0]
    came = f"{len(response.body)} bytes of {safe(kind, ()) or 'an unnamed type'}" if response.body else "nothing"
    website = "; that is a website or a proxy, not a User Event API" if kind.strip().lower() == "text/html" else ""
    reason = cures.get(status) or ("the receiver fails" if status >= 500 else "the receiver gave no reason")
    return f"{reason} ({status} {phrase}, with {came}{website})"


def _origin(location: str) -> str:
    """Scheme and host only: a query may repeat anything."""
    try:
        parts = urlsplit(location)
        host = parts.hostname
    except ValueError:
        return "another path"
    return f"{parts.scheme or 'https'}://{safe(host, ())}" if host else "another path"


# -- batches


class Rejected(msgspec.Struct, frozen=True):
    """An event of a batch that was not taken, and why."""

    index: int
    code: int
    message: str = ""

    def __repr__(self) -> str:
        return f"Rejected(index={self.index}, code={self.code})"  # the message is the receiver's, and not yet safe

    @property
    def status(self) -> int:
        """What it would have been answered alone; 400 where the code is none we know."""
        return _STATUSES.get(self.code, 400)


class BatchAnswer(msgspec.Struct, frozen=True):
    """What became of a batch. Reports of a test platform are passed over."""

    accepted: int
    rejected: tuple[Rejected, ...] = ()


_decode_batch: Final = msgspec.json.Decoder(BatchAnswer).decode


def read_batch_answer(body: bytes, *, events: int) -> BatchAnswer | None:
    """The answer to a batch of so many events, when it speaks of each exactly once; else None."""
    try:
        answer = _decode_batch(body)
    except DECODE_ERRORS:
        return None
    named = {rejection.index for rejection in answer.rejected}
    if len(named) != len(answer.rejected) or answer.accepted + len(named) != events:
        return None
    return answer if not named or (min(named) >= 0 and max(named) < events) else None
