"""What a receiver answered, as a value or an exception.

The status alone decides what happened; the body only adds words (`delivery.answers`). A receiver that quotes an event in its
message must not put a shopper into a log, so the identifiers of the event and the key are struck out of every text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

import msgspec

from footfall.delivery.answers import DECODE_ERRORS, Rejected, message_of, read_batch_answer, retry_after, safe
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

T = TypeVar("T")

VIOLATIONS_MAX: Final = 256


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


class _Detailed(msgspec.Struct, frozen=True):
    index: int
    details: Any = None


class _Reported(msgspec.Struct, frozen=True):
    index: int
    test: msgspec.Raw


class _Particulars(msgspec.Struct, frozen=True):
    """What the answer to a batch says beyond who was taken."""

    rejected: tuple[_Detailed, ...] = ()
    reports: tuple[_Reported, ...] = ()


_decode_report = msgspec.json.Decoder(Report).decode
_decode_particulars = msgspec.json.Decoder(_Particulars).decode
_decode_test = msgspec.json.Decoder(_TestAnswer).decode
_decode_any = msgspec.json.Decoder().decode


def answer_of(response: Response, *, secrets: Collection[str], now_ms: int) -> Answer:
    """The answer where the status is 2xx; otherwise raises the ApiError for it. `now_ms` reads `Retry-After` dates."""
    if 200 <= response.status < 300:
        return Answer(status=response.status, body=response.body, report=_report(response.body))
    raise error_of(response, secrets=secrets, now_ms=now_ms)


def error_of(response: Response, *, secrets: Collection[str], now_ms: int) -> ApiError:
    """The exception a refusal stands for. `secrets` are struck out of its texts."""
    retry_after_s = retry_after(response.headers.get("retry-after", ""), now_ms=now_ms)
    details = _object(response.body).get("details") if response.status == 400 else None
    return _error(response.status, message_of(response, secrets=secrets), details, secrets=secrets, retry_after_s=retry_after_s)


def batch_answers_of(response: Response, *, secrets: Sequence[Collection[str]], now_ms: int) -> list[Answer | ApiError]:
    """What a 2xx to a batch says of each of its events, in their order; `secrets` are those of each.

    InternalServerError where it does not speak of each exactly once: nobody knows then what became of them.
    """
    answer = read_batch_answer(response.body, events=len(secrets))
    if answer is None:
        raise InternalServerError(_UNREADABLE, status=502)
    rejected = {rejection.index: rejection for rejection in answer.rejected}
    particulars = _decoded(_decode_particulars, response.body) or _Particulars()
    details = {rejection.index: rejection.details for rejection in particulars.rejected}
    reports = {report.index: _decoded(_decode_report, report.test) for report in particulars.reports}
    retry_after_s = retry_after(response.headers.get("retry-after", ""), now_ms=now_ms)

    def refusal(rejection: Rejected, own: Collection[str]) -> ApiError:
        message = safe(rejection.message, own) or "the receiver gave no reason"
        return _error(rejection.status, message, details.get(rejection.index), secrets=own, retry_after_s=retry_after_s)

    return [
        refusal(rejected[index], own)
        if index in rejected
        else Answer(status=response.status, body=b"", report=reports.get(index))
        for index, own in enumerate(secrets)
    ]


_UNREADABLE: Final = (
    "the answer does not say what became of each event; is the receiver a Footfall? Some may be stored, so send them again with "
    "the same ids"
)


def _error(
    status: int, message: str, details: object, *, secrets: Collection[str], retry_after_s: float | None
) -> InternalServerError | RejectedError:
    if status >= 500:
        return InternalServerError(message, status=status, retry_after_s=retry_after_s)
    if status == 429:
        return TooManyRequestsError(message, retry_after_s=retry_after_s)
    if status == 400:
        return BadRequestError(message, violations=_violations(details, secrets))
    return _CLASSES.get(status, RejectedError)(message, status=status)


_CLASSES: Final[dict[int, type[RejectedError]]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
}


def _report(body: bytes) -> Report | None:
    if b'"test"' not in body:
        return None
    answer = _decoded(_decode_test, body)
    return answer.test if answer is not None else None  # somebody else's answer; the event is accepted all the same


def _decoded(decode: Callable[[bytes], T], body: bytes | msgspec.Raw) -> T | None:
    try:
        return decode(body)
    except DECODE_ERRORS:
        return None


def _object(body: bytes) -> dict[str, Any]:
    decoded = _decoded(_decode_any, body)
    return decoded if isinstance(decoded, dict) else {}


def _violations(details: object, secrets: Collection[str]) -> tuple[Violation, ...]:
    """What `google.rpc.BadRequest` details list, in either spelling; whatever does not fit is passed over."""
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
